"""What a user gets wrong: one sentence that says what, where and what to do; exit code 2; no traceback."""

from pathlib import Path

import pytest

from tests.conftest import slow
from tests.integration.commands import ROOT, Shell, photos


def message(shell: Shell, line: str, code: int = 2) -> str:
    done = shell(line, code)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def recipe(folder: Path, old: str, new: str) -> Path:
    text = (ROOT / "recipes" / "quickstart.yaml").read_text()
    assert old in text
    path = folder / "recipe.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_a_mistake_in_a_recipe_is_named_before_any_work_starts(shell: Shell, tmp_path: Path):
    path = recipe(tmp_path, "margin: 0.5", "margni: 0.5")
    for command in ("fit", "table"):
        text = message(shell, f"probe {command} {path}")
        assert "unknown key 'margni'; did you mean 'margin'?" in text
        assert str(path) in text
    assert not (shell.home / "features").exists()


def test_a_missing_image_stops_before_any_work_and_all_are_listed(shell: Shell, tmp_path: Path):
    folder = photos(tmp_path / "photos")
    lines = ["image,source,label,domain,split,role"]
    lines += [f"class{n}/{i}.png,photos,class{n},things,test,both" for n in range(8) for i in range(6)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    text = message(shell, f"probe extract {folder} --backbone descriptor")
    assert "16 image(s)" in text
    assert "class0/4.png" in text
    [listing] = (shell.home / "out").glob("missing-*.txt")
    assert len(listing.read_text().splitlines()) == 16
    assert not (shell.home / "features").exists()


@pytest.mark.slow
def test_a_corrupt_image_is_skipped_recorded_and_reported(shell: Shell, tmp_path: Path):
    folder = photos(tmp_path / "photos")
    broken = folder / "class1" / "2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    done = shell(f"probe extract {folder} --backbone descriptor")
    assert "31 images" in done.stderr
    assert "1 could not be decoded" in done.stderr
    assert "class1/2.png" in done.stderr


@pytest.mark.slow
def test_too_many_corrupt_images_stop_the_run_and_the_work_is_kept(shell: Shell, tmp_path: Path):
    folder = photos(tmp_path / "photos")
    for number in (1, 2, 3):
        (folder / f"class{number}" / "0.png").write_bytes(b"")
    text = message(shell, f"probe extract {folder} --backbone descriptor", code=1)
    assert "3 images of photos could not be decoded" in text
    assert "--max-failures" in text
    done = shell(f"probe extract {folder} --backbone descriptor --max-failures 0.2")
    assert "29 images" in done.stderr


@pytest.mark.slow  # each of the three sentences has its quick test in tests/backbones
def test_an_unknown_backbone_names_the_nearest(shell: Shell, tmp_path: Path):
    folder = photos(tmp_path / "photos")
    assert "did you mean 'descriptor'?" in message(shell, f"probe extract {folder} --backbone descripto")
    assert "did you mean 'resnet50'?" in message(shell, f"probe extract {folder} --backbone timm:resnet5")
    assert "did you mean 'siglip-so400m-14-384'?" in message(shell, "probe backbones siglip-so400m-384")


@pytest.mark.slow
def test_missing_weights_say_which_file_to_bring(shell: Shell, tmp_path: Path):
    folder = photos(tmp_path / "photos")
    text = message(shell, f"probe extract {folder} --backbone timm:resnet18")
    assert "timm/resnet18.a1_in1k" in text
    assert "model.safetensors" in text
    text = message(shell, f"probe extract {folder} --backbone timm:resnet18 --weights nowhere.safetensors")
    assert "nowhere.safetensors" in text
    text = message(shell, f"probe extract {folder} --backbone mobilenetv1 --catalogue recipes/pocket.yaml")
    assert "mobilenetv1_100.tf_qat_in1k_nohead.safetensors" in text


def test_missing_data_says_where_it_was_looked_for(shell: Shell):
    text = message(shell, "probe extract nothing --backbone descriptor")
    assert str(shell.home / "data" / "nothing") in text


@pytest.mark.parametrize("followed", [False, slow(True)])
def test_fit_without_features_names_the_extract_command(shell: Shell, tmp_path: Path, followed: bool):
    folder = photos(tmp_path / "photos")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"title: Photos\ndata: {folder}\ndefaults: {{backbone: descriptor, seeds: [0]}}\n"
        "rows: [{name: Pooled, head: {kind: average-pooling}}]\n"
    )
    text = message(shell, f"probe fit {path}")
    command = f"probe extract {folder} --backbone descriptor"
    assert command in text
    if followed:
        shell(command)
        assert "1 run(s) fitted" in shell(f"probe fit {path}").stderr


def test_table_lists_the_extract_command_of_a_recipe_whose_caches_are_missing(shell: Shell):
    done = shell("probe table recipes/pocket.yaml")
    assert "probe extract pocket --backbone mobilenetv1 --catalogue recipes/pocket.yaml" in done.stdout
    assert "62.7" in done.stdout  # what is known is shown all the same
    assert (shell.home / "out" / "tables" / "pocket.md").exists()


def test_debug_shows_the_traceback(shell: Shell):
    assert "Traceback" in shell("probe extract nothing --backbone descriptor --debug", 1).stderr


@pytest.mark.slow
def test_help_names_every_command_and_each_has_its_own(shell: Shell):
    text = shell("probe --help").stdout
    for command in ("backbones", "extract", "fit", "evaluate", "table"):
        assert command in text
        assert "Usage" in shell(f"probe {command} --help").stdout


def test_a_folder_that_cannot_be_written_to_is_one_sentence(shell: Shell):
    text = message(shell, "probe table unifex_appendix_table5 --out /proc/out", 1)
    assert text.startswith("error: /proc/out")
    assert "mend that and give the same command again" in text or "ask for the right to it" in text


def test_a_name_that_is_too_long_is_one_sentence(shell: Shell):
    text = message(shell, f"probe table unifex_appendix_table5 --out {'x' * 300}", 1)
    assert "File name too long; shorten the name." in text
