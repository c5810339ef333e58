import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_cache import Failure, Rows, StoreError, StoreWriter
from probe.data.dataset import read_dataset
from probe.data.folder import image_folder
from probe.data.images import content_digest, has_image
from probe.data.manifest import COLUMNS, Manifest
from probe.data.resolve import resolve_data
from probe.errors import UsageError
from probe.extract.plan import plan_extraction
from probe.workspace import Workspace

SPEC = {"backbone": {"model": "tiny"}, "preprocessing": {"px": 32}, "packages": {"pillow": "11.0"}}
Photos = Callable[..., Path]


def store(
    workspace: Workspace, source: str, ids: list[str], failed: list[str] | None = None, root: Path | None = None
) -> Path:
    path = workspace.store(source, "tiny")
    contents = np.array([content_digest((root / image).read_bytes()) for image in ids], np.uint64) if root else None
    with StoreWriter(path, SPEC) as writer:
        failures = [Failure(image, "OSError: truncated") for image in failed or []]
        writer.add(Rows(ids, np.ones((len(ids), 3)), np.ones((len(ids), 2)), contents), failures)
        writer.finish()
    return path


def two_sources(roots: dict[str, Path], images: dict[str, list[str]]) -> Manifest:
    rows = [(image, source, "label", "domain", "test", "both") for source in images for image in images[source]]
    return Manifest(pl.DataFrame(rows, COLUMNS, orient="row"), roots)


def test_all_images_of_a_source_without_a_store_are_to_do_once_each_and_in_order(
    photos: Photos, workspace: Workspace
) -> None:
    folder = photos("shoes", 6)
    frame = image_folder(folder).frame
    twice = pl.concat([frame.reverse(), frame.with_columns(pl.lit("also").alias("label"))])
    (task,) = plan_extraction(Manifest(twice, {"shoes": folder}), "tiny", SPEC, workspace)
    assert task.todo == sorted(frame["image"])
    assert (task.source, task.root, task.stored, task.failed) == ("shoes", folder, 0, 0)
    assert task.store == workspace.store("shoes", "tiny")


def test_images_that_are_stored_or_failed_are_done(photos: Photos, workspace: Workspace) -> None:
    manifest = image_folder(photos("shoes", 6))
    images = manifest.images("shoes")
    store(workspace, "shoes", images[:3], images[3:4])
    (task,) = plan_extraction(manifest, "tiny", SPEC, workspace)
    assert (task.todo, task.stored, task.failed) == (images[4:], 3, 1)
    (again,) = plan_extraction(manifest, "tiny", SPEC, workspace, retry_failed=True)
    assert again.todo == images[3:]


def test_each_source_has_its_own_task_and_store(photos: Photos, workspace: Workspace) -> None:
    roots = {"shoes": photos("shoes", 5), "pets": photos("pets", 3)}
    images = {source: image_folder(root).images(source) for source, root in roots.items()}
    store(workspace, "pets", images["pets"])
    pets, shoes = plan_extraction(two_sources(roots, images), "tiny", SPEC, workspace)
    assert (pets.source, pets.todo, pets.stored) == ("pets", [], 3)
    assert (shoes.source, shoes.todo, shoes.stored) == ("shoes", images["shoes"], 0)


@pytest.mark.parametrize("names", [("met/2020", "met-2020"), ("a b", "a-b"), ("🙂", "🎉")], ids=str)
def test_two_sources_never_share_a_store(photos: Photos, workspace: Workspace, names: tuple[str, str]) -> None:
    roots = {name: photos(f"folder-{i}", 2) for i, name in enumerate(names)}
    images = {name: ["class 0/00.png", "class 1/01.png"] for name in names}
    try:
        tasks = plan_extraction(two_sources(roots, images), "tiny", SPEC, workspace)
    except UsageError:
        return  # refused is not confused
    assert tasks[0].store != tasks[1].store


def test_another_folder_of_the_same_name_is_not_taken_for_extracted(photos: Photos, workspace: Workspace) -> None:
    one, other = (image_folder(photos(f"{user}/images", 4, seed)) for seed, user in enumerate(("ann", "bob")))
    (task,) = plan_extraction(one, "tiny", SPEC, workspace)
    store(workspace, "images", task.todo, root=task.root)
    with pytest.raises(UsageError, match=r"images/tiny\.h5 was made from other images than those in .*bob/images"):
        plan_extraction(other, "tiny", SPEC, workspace)


def test_a_folder_that_was_moved_is_still_the_same(photos: Photos, workspace: Workspace) -> None:
    folder = photos("ann/images", 4)
    (task,) = plan_extraction(image_folder(folder), "tiny", SPEC, workspace)
    store(workspace, "images", task.todo, root=task.root)
    folder.parent.rename(folder.parent.with_name("bob"))
    (task,) = plan_extraction(image_folder(folder.parents[1] / "bob" / "images"), "tiny", SPEC, workspace)
    assert task.todo == []


def test_missing_images_are_all_listed_in_a_file_and_five_on_screen(photos: Photos, workspace: Workspace) -> None:
    folder = photos("shoes", 9)
    manifest = image_folder(folder)
    missing = [folder / image for image in manifest.images("shoes")[1:8]]
    for path in missing:
        path.unlink()
    with pytest.raises(UsageError) as caught:
        plan_extraction(manifest, "tiny", SPEC, workspace)
    said = str(caught.value)
    assert said.startswith(f"7 image(s) of {folder} are missing on disk, the first: {missing[0]}, ")
    assert str(missing[4]) in said
    assert str(missing[5]) not in said
    (listing,) = workspace.out.iterdir()
    assert listing.name == "missing-shoes.txt"
    assert str(listing) in said
    assert listing.read_text().split("\n") == [*map(str, missing), ""]


def two_copies_of_gldv2(workspace: Workspace, kaggle: int) -> tuple[Path, Path]:
    """Two images in UnED's folder, so many in Kaggle's, and Kaggle's list of three; the folders."""
    uned, kaggles = workspace.data_root / "gldv2/images", workspace.data_root / "google_landmark_recognition_2021"
    for folder, number in ((uned, 2), (kaggles, kaggle)):
        for i in range(number):
            image = folder / f"train/0/0/0/000{i}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(b"content")
    kaggles.mkdir(exist_ok=True)
    (kaggles / "train.csv").write_text("id,landmark_id\n0000,7\n0001,7\n0002,7\n")
    return uned, kaggles


def test_where_a_second_copy_of_the_source_has_what_is_missing_the_option_that_takes_it_is_named(
    workspace: Workspace,
) -> None:
    uned, kaggles = two_copies_of_gldv2(workspace, 3)
    with pytest.raises(UsageError) as caught:
        plan_extraction(read_dataset("gldv2", workspace.data_root), "tiny", SPEC, workspace)
    assert f"the first: {uned / 'train/0/0/0/0002.jpg'}; " in str(caught.value)
    assert str(caught.value).endswith(f"; {kaggles} has 1 of them: add --source-root gldv2={kaggles}.")
    assert (workspace.out / "missing-gldv2.txt").exists()
    roots = {"gldv2": kaggles}
    (task,) = plan_extraction(resolve_data("gldv2", workspace.data_root, roots), "tiny", SPEC, workspace)
    assert len(task.todo) == 3


def test_a_second_copy_that_lacks_images_too_is_no_remedy_by_itself(workspace: Workspace) -> None:
    uned, kaggles = two_copies_of_gldv2(workspace, 0)
    (kaggles / "train/0/0/0").mkdir(parents=True)
    (kaggles / "train/0/0/0/0002.jpg").write_bytes(b"content")
    with pytest.raises(UsageError) as caught:
        plan_extraction(read_dataset("gldv2", workspace.data_root), "tiny", SPEC, workspace)
    assert str(caught.value).endswith(f"; {kaggles} has 1 of them: put them into {uned} too.")


def test_images_that_are_stored_need_not_be_on_disk_any_more(photos: Photos, workspace: Workspace) -> None:
    folder = photos("shoes", 4)
    manifest = image_folder(folder)
    images = manifest.images("shoes")
    store(workspace, "shoes", images[:2])
    (folder / images[0]).unlink()
    (task,) = plan_extraction(manifest, "tiny", SPEC, workspace)
    assert task.todo == images[2:]


def test_an_image_is_found_under_its_decomposed_name(photos: Photos, workspace: Workspace) -> None:
    folder = photos("shoes", 1)
    name = "caf\u00e9.png"
    (folder / "class 0" / "00.png").rename(folder / "class 0" / unicodedata.normalize("NFD", name))
    (task,) = plan_extraction(image_folder(folder), "tiny", SPEC, workspace)
    assert task.todo == [f"class 0/{name}"]
    assert has_image(task.root, task.todo[0])


def test_a_store_of_another_preprocessing_is_refused_with_the_key(photos: Photos, workspace: Workspace) -> None:
    manifest = image_folder(photos("shoes", 2))
    path = store(workspace, "shoes", manifest.images("shoes"))
    with pytest.raises(UsageError) as caught:
        plan_extraction(manifest, "tiny", SPEC | {"preprocessing": {"px": 64}}, workspace)
    assert f"{path} holds other features than the ones asked for (preprocessing.px: 32, not 64)" in str(caught.value)


def test_a_store_of_other_package_versions_is_still_read(photos: Photos, workspace: Workspace) -> None:
    manifest = image_folder(photos("shoes", 2))
    store(workspace, "shoes", manifest.images("shoes"))
    (task,) = plan_extraction(manifest, "tiny", SPEC | {"packages": {"pillow": "12.0"}}, workspace)
    assert task.todo == []


def test_a_damaged_store_is_an_error_and_not_extracted_over(photos: Photos, workspace: Workspace) -> None:
    manifest = image_folder(photos("shoes", 2))
    path = store(workspace, "shoes", manifest.images("shoes"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"tiny\.h5 is damaged"):
        plan_extraction(manifest, "tiny", SPEC, workspace)
