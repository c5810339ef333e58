"""`probe cache` on real stores, as a user types it; the lines that it prints are run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from feature_cache import FeatureStore, StoreWriter
from tests.feature_cache.formats import reseal
from tests.integration.commands import Shell, photos

STORE = "photos/descriptor"
IMAGES = 32
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # for the sake of a shared machine


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Everything that was said, in one line; no traceback."""
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def store_file(shell: Shell, name: str = STORE) -> Path:
    return shell.home / "features" / f"{name}.h5"


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the photos have been extracted, one of them broken."""
    home = tmp_path_factory.mktemp("cache")
    broken = photos(home / "photos") / "class1" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    Shell(home, ONE_THREAD)("probe extract photos --backbone descriptor --workers 0")
    (home / "recipes").unlink()
    return home


@pytest.fixture
def shell(extracted: Path, tmp_path: Path) -> Shell:
    """A copy of it."""
    return Shell(Path(shutil.copytree(extracted, tmp_path / "home")), ONE_THREAD)


def damage(path: Path, column: str) -> set[str]:
    """Flips a bit in the column's first chunk; returns the images in it."""
    ids = FeatureStore(path).ids
    with h5py.File(path) as file:
        data = file[column]
        assert isinstance(data, h5py.Dataset)
        chunk, rows = data.id.get_chunk_info(0), (data.chunks or (0,))[0]
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 11] ^= 4
    path.write_bytes(content)
    return set(ids[:rows])


def interrupted(shell: Shell, sent: signal.Signals) -> set[str]:
    """An extraction, one part an image, that was stopped on its way; returns the images that it kept."""
    store_file(shell).unlink()
    parts = store_file(shell).with_name("descriptor.h5.parts")
    running = shell.start("nice -n 19 probe extract photos --backbone descriptor --workers 0 --batch 1 --part 1")
    while len(list(parts.glob("[0-9]*.h5"))) < 2:
        assert running.poll() is None, running.communicate()
        time.sleep(0.001)
    running.send_signal(sent)
    running.communicate()
    assert running.returncode in (130, -signal.SIGKILL)
    kept = {image for part in parts.glob("[0-9]*.h5") for image in FeatureStore(part).ids}
    assert 2 <= len(kept) < IMAGES - 1
    return kept


def unfinished(shell: Shell, name: str) -> Path:
    """A store of which only two parts exist, with the features of the photos."""
    path, whole = store_file(shell, name), FeatureStore(store_file(shell))
    with StoreWriter(path, whole.spec, dtype=whole.dtype.name) as writer:
        for block in whole.blocks(20):
            writer.add(block)
    return path


def test_list_says_of_every_store_what_it_is(shell: Shell):
    unfinished(shell, "others/unfinished")
    store_file(shell, "others/damaged").write_bytes(store_file(shell).read_bytes()[:-50])
    shell(f"probe cache export {STORE} d.npy")
    shell("probe cache import d.npy --ids d.ids.txt --source others --name mine")
    found = shell("probe cache list").stdout.splitlines()
    lines = {words[0]: line for line in found if (words := re.findall(r"[\w/.-]+", line))}
    assert re.search(r"built-in.* 31 .* 1 .*float16.* complete", lines[STORE])
    assert "2 part(s) to be merged" in lines["others/unfinished"]
    assert "damaged" in lines["others/damaged"]
    assert re.search(r"foreign \(npy\).* 31 .* 0 .*complete", lines["others/foreign-mine"])


def test_list_says_who_is_writing(shell: Shell):
    with StoreWriter(store_file(shell), FeatureStore(store_file(shell)).spec):
        assert re.search(rf"being written by .*\(pid {os.getpid()}\)", told(shell("probe cache list")))


def test_list_of_an_empty_folder_says_how_stores_come_about(shell: Shell):
    assert "no feature stores in nowhere; `probe extract` makes them" in told(shell("probe cache list --cache nowhere"))


def test_info_shows_the_spec_the_fingerprint_and_what_failed(shell: Shell):
    store = FeatureStore(store_file(shell))
    text = shell(f"probe cache info {STORE}").stdout
    for line in (f"file: {store.path}", "state: complete", f"fingerprint: {store.fingerprint}", "failed: 1"):
        assert line in text.splitlines()
    assert f"images: 31 of {store.dim} dimensions, float16" in text
    assert "digests of 31 known" in text
    assert "such as class1/2.png" in text
    assert yaml.safe_load(text[text.index("spec:") :])["spec"] == store.spec
    assert shell(f"probe cache info {store.path}").stdout == text


def test_verify_of_whole_stores_and_parts_exits_with_0(shell: Shell):
    unfinished(shell, "others/unfinished")
    text = told(shell("probe cache verify"))
    for rows in ("descriptor.h5: 31 rows, all good", "000000.h5: 20 rows, all good", "000001.h5: 11 rows, all good"):
        assert rows in text
    assert "31 rows" in told(shell(f"probe cache verify {STORE}"))


def remedy(done: subprocess.CompletedProcess[str]) -> str:
    """The command that `verify` advises."""
    (line,) = {line for line in done.stderr.splitlines() if "probe cache drop" in line}
    return line[line.index("probe cache drop") :]


@pytest.mark.slow
def test_the_remedy_that_verify_prints_takes_out_what_is_bad_and_extract_gets_it_back(shell: Shell):
    """Here all of it is bad: each column has one chunk."""
    path = store_file(shell)
    before = FeatureStore(path)
    ids, features, failed = before.ids, before.load(), before.failed
    damage(path, "failed")
    damage(path, "id")
    done = shell(f"probe cache verify {STORE}", 1)
    assert "31 of 31 rows are bad" in told(done)
    assert "took out 31 of 31 rows, and the list of the images that gave no features" in told(shell(remedy(done)))
    assert "descriptor.h5: 0 rows, all good" in told(shell("probe cache verify"))
    assert "32/32 images" in told(shell("probe extract photos --backbone descriptor --workers 0"))
    after = FeatureStore(path)
    assert (after.ids, after.failed) == (ids, failed)
    np.testing.assert_array_equal(after.load(), features)


@pytest.mark.slow
def test_only_the_lost_images_are_extracted_again(shell: Shell):
    path = store_file(shell)
    store = FeatureStore(path)
    ids, features = store.ids, store.load()
    with h5py.File(path, "r+") as file:
        file["features"][[3, 17], 0] = np.inf  # pyright: ignore
    reseal(path)
    done = shell(f"probe cache verify {STORE}", 1)
    assert f"images: {ids[3]}, {ids[17]}" in told(done)
    shell(remedy(done))
    assert FeatureStore(path).ids == [image for row, image in enumerate(ids) if row not in (3, 17)]
    assert "2/2 images" in told(shell("probe extract photos --backbone descriptor --workers 0"))
    after = FeatureStore(path)
    assert after.ids[-2:] == [ids[3], ids[17]]
    np.testing.assert_array_equal(after.load(ids), features)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["--cache 'my features'", "'my features/photos/descriptor.h5'"])
def test_the_remedy_works_wherever_the_store_was_found(shell: Shell, named: str):
    cache = (shell.home / "features").rename(shell.home / "my features")
    damage(cache / f"{STORE}.h5", "features")
    line = f"probe cache verify {named}"
    shell(remedy(shell(line, 1)))
    shell(line)


@pytest.mark.slow
def test_a_damaged_part_is_found_taken_out_and_extracted_again(shell: Shell):
    path, expected = store_file(shell), FeatureStore(store_file(shell))
    ids, features = expected.ids, expected.load()
    parts = unfinished(shell, "others/unfinished").with_name("unfinished.h5.parts")
    path.unlink()
    parts.rename(path.with_name("descriptor.h5.parts"))
    lost = damage(path.with_name("descriptor.h5.parts") / "000001.h5", "features")
    done = shell("probe cache verify", 1)
    assert "000001.h5: 11 of 11 rows are bad" in told(done)
    shell(remedy(done))
    shell("probe cache verify")
    assert "12/12 images" in told(shell("probe extract photos --backbone descriptor --workers 0"))  # and the failed one
    after = FeatureStore(path)
    assert lost <= set(after.ids)
    np.testing.assert_array_equal(after.load(ids), features)


def test_damaged_rows_of_parts_are_not_taken_out_while_another_process_writes_the_store(shell: Shell):
    path = unfinished(shell, "others/unfinished")
    damage(path.with_name("unfinished.h5.parts") / "000000.h5", "features")
    with StoreWriter.resume(path):
        assert "is being written by" in told(shell("probe cache drop others/unfinished --damaged", 1))


def test_verify_of_a_file_that_cannot_be_opened_exits_with_1_and_looks_at_the_others_too(shell: Shell):
    store_file(shell, "photos/broken").write_bytes(store_file(shell).read_bytes()[:-50])
    text = told(shell("probe cache verify", 1))
    assert "broken.h5 is damaged" in text
    assert "descriptor.h5: 31 rows, all good" in text
    shell("probe cache drop photos/broken --yes")
    shell("probe cache verify")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_the_parts_of_an_interrupted_extraction_are_merged(shell: Shell, sent: signal.Signals):
    expected = FeatureStore(store_file(shell))
    ids, features = expected.ids, expected.load()
    kept = interrupted(shell, sent)
    assert "part(s) to be merged" in told(shell("probe cache list"))
    assert f"{len(kept)} images" in told(shell(f"probe cache merge {STORE}"))
    merged = FeatureStore(store_file(shell))
    assert merged.ids == [image for image in ids if image in kept]
    np.testing.assert_array_equal(merged.load(), features[: len(kept)])
    assert [file.name for file in store_file(shell).parent.iterdir()] == ["descriptor.h5"]


def test_a_store_that_another_machine_made_is_merged(shell: Shell):
    path = store_file(shell)
    whole = FeatureStore(path)
    for name, chosen in (("one/descriptor", slice(0, 20)), ("two/descriptor", slice(10, 31))):
        rows = np.zeros(31, bool)
        rows[chosen] = True
        with StoreWriter(store_file(shell, name), whole.spec) as writer:
            for block in whole.blocks():
                writer.add(block.select(rows))
            writer.finish()
    text = told(shell(f"probe cache merge one/descriptor {store_file(shell, 'two/descriptor')}"))
    assert "11 of 21 images are new" in text
    merged = FeatureStore(store_file(shell, "one/descriptor"))
    assert merged.ids == whole.ids
    np.testing.assert_array_equal(merged.load(), whole.load())
    np.testing.assert_array_equal(merged.contents, whole.contents)


@pytest.mark.slow
def test_a_store_of_another_spec_is_not_merged(shell: Shell):
    whole = FeatureStore(store_file(shell))
    with StoreWriter(store_file(shell, "other"), whole.spec | {"more": 1}) as writer:
        writer.add(next(whole.blocks()))
        writer.finish()
    assert "more: 1, not null" in told(shell(f"probe cache merge {STORE} other", 1))


def test_drop_asks_first_and_off_a_terminal_wants_yes(shell: Shell):
    path = store_file(shell)
    assert f"this deletes {path}; add --yes" in told(shell(f"probe cache drop {STORE} < /dev/null", 2))
    assert path.exists()
    shell(f"probe cache drop {STORE} --yes")
    assert not list((shell.home / "features").rglob("*.h5*"))


def test_a_store_that_is_being_written_is_not_dropped(shell: Shell):
    with StoreWriter(store_file(shell), FeatureStore(store_file(shell)).spec):
        assert f"(pid {os.getpid()})" in told(shell(f"probe cache drop {STORE} --yes", 1))
    assert len(FeatureStore(store_file(shell))) == 31


@pytest.mark.slow
def test_what_was_exported_can_be_imported_and_is_the_same(shell: Shell):
    store = FeatureStore(store_file(shell))
    assert "d.npy, ids in d.ids.txt" in told(shell(f"probe cache export {STORE} d.npy"))
    np.testing.assert_array_equal(np.load(shell.home / "d.npy"), store.load())
    line = "probe cache import d.npy --ids d.ids.txt --source photos --name mine"
    path = store_file(shell, "photos/foreign-mine")
    assert f"31 images of photos in {path}" in told(shell(line))
    again = FeatureStore(path)
    assert again.ids == store.ids
    np.testing.assert_array_equal(again.load(), store.load())
    before = path.stat().st_ino, path.stat().st_mtime_ns
    shell(line)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert "provenance: foreign" in shell("probe cache info photos/foreign-mine").stdout
    assert "exists already" in told(shell(f"probe cache export {STORE} d.npy", 1))


@pytest.mark.slow  # each has its quick test in tests/feature_cache/test_foreign.py
def test_mistakes_of_an_import_are_one_sentence(shell: Shell):
    np.save(shell.home / "d.npy", np.ones((2, 3)))
    (shell.home / "ids.txt").write_text("a.jpg\nb.jpg\n")
    start = "probe cache import d.npy --source photos --name mine"
    assert "--ids goes with a .npy file" in told(shell(start, 1))
    assert "--dtype float32" in told(shell(f"{start} --ids ids.txt", 1))
    assert "2 images" in told(shell(f"{start} --ids ids.txt --dtype float32"))
    assert "'nowhere.npy' does not exist" in told(shell("probe cache import nowhere.npy --source a --name b", 2))


@pytest.mark.slow
def test_a_wrong_name_gets_the_nearest(shell: Shell):
    for line in ("info", "verify", "merge", "drop --yes"):
        text = told(shell(f"probe cache {line} photos/descripto", 2))
        assert "there is no feature store 'photos/descripto'" in text
        assert "did you mean 'photos/descriptor'?" in text
    assert "did you mean 'photos/descriptor'?" in told(shell("probe cache export photo/descriptor d.npy", 2))
    assert "there is no feature store" in told(shell("probe cache info x --cache nowhere", 2))


def test_plain_h5py_reads_a_store_without_any_of_our_code(shell: Shell):
    code = (
        "import h5py, sys\n"
        "with h5py.File(sys.argv[1]) as f:\n"
        "    print(f['features'].shape[0], f['features'].dtype, f['id'].asstr()[0], *sorted(f))\n"
        "assert 'feature_cache' not in sys.modules\n"
    )
    command = [sys.executable, "-I", "-c", code, str(store_file(shell))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    columns = ("content", "failed", "features", "id", "size")
    assert said == ["31", "float16", "class0/0.png", *(f"{name}{end}" for name in columns for end in ("", "_digest"))]


@pytest.mark.skipif(not shutil.which("h5dump"), reason="h5dump is not installed")
def test_h5dump_shows_the_columns_and_reads_their_values(shell: Shell):
    path = str(store_file(shell))
    header = subprocess.run(["h5dump", "-H", path], capture_output=True, text=True, check=True).stdout
    for name in ("features", "id", "size", "content", "failed"):
        assert f'DATASET "{name}"' in header
    described = dict(re.findall(r'DATASET "(\w+)" \{(.*?DATASPACE)', header, re.DOTALL))
    assert re.search(r"H5T_FLOAT\b.*16-bit|16-bit.*float|H5T_IEEE_F16LE", described["features"], re.DOTALL)
    assert "H5T_CSET_UTF8" in described["id"]
    assert "H5T_STD_I32LE" in described["size"]
    assert "H5T_STD_U64LE" in described["content"]
    values = subprocess.run(["h5dump", "-d", "/id", path], capture_output=True, text=True, check=True).stdout
    assert '"class0/0.png' in values
