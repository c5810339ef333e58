"""Checkpoints as people have them: wrapped, averaged, with what a trainer left in them, or no weights at all."""

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probe.backbones.catalogue import find_backbone
from probe.backbones.checkpoint import State, fit, read_state
from probe.errors import ProbeError, UsageError


def state(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {"stem.weight": torch.randn(3, 2, generator=generator), "stem.bias": torch.randn(3, generator=generator)}


def below(prefix: str, seed: int = 0) -> State:
    return {prefix + key: value for key, value in state(seed).items()}


def saved(tmp_path: Path, content: Any) -> Path:
    torch.save(content, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def assert_read(path: Path, expected: State, prefix: str | None = None) -> None:
    found = read_state(path, prefix)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"state_dict": state(1), "state_dict_ema": state()}, "state_dict_ema, not of state_dict"),
        ({"student": state(1), "teacher": state()}, "teacher, not of student"),
        ({"model": state(1), "ema": {"module": state()}}, "ema, not of model"),
        ({"params": state(1), "params_ema": state()}, "params_ema, not of params"),
    ],
)
def test_of_several_states_the_averaged_one_is_taken_and_said(
    tmp_path: Path, content: Any, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_read(saved(tmp_path, content), state())
    assert f"model.pth: the weights are those of {taken}\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["net", "network", "model_state_dict", "teacher", "params"])
def test_a_single_state_is_found_below_its_usual_names(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}
    assert_read(saved(tmp_path, {"epoch": 3, name: state(), "optimizer": optimizer}), state())
    assert capsys.readouterr().err == ""


def test_without_a_state_the_keys_that_there_are_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, {"epoch": 3, "weights_of_mine": state()})
    with pytest.raises(UsageError, match=r"it has epoch \(int\), weights_of_mine \(dict\): save one from it"):
        read_state(path)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.", "module.model.", "_orig_mod.module.backbone."])
def test_what_trainers_put_in_front_of_all_names_is_taken_off(tmp_path: Path, wrapper: str) -> None:
    assert_read(saved(tmp_path, below(wrapper)), state())


def test_a_prefix_that_begins_like_a_wrapper_is_looked_for_as_it_stands(tmp_path: Path) -> None:
    path = saved(tmp_path, below("model.backbone.") | below("model.momentum.", 1))
    assert_read(path, state(), "model.backbone.")
    assert_read(path, state(), "backbone.")


def test_the_prefix_below_which_the_model_lies_is_named(tmp_path: Path) -> None:
    module = torch.nn.Module()
    module.stem = torch.nn.Linear(2, 3)
    path = saved(tmp_path, below("encoder_q.") | below("encoder_k.", 1))
    with pytest.raises(
        UsageError, match=r"below 'encoder_q\.' and below 'encoder_k\.', which a catalogue row can name"
    ):
        fit(module, read_state(path), path)
    fit(module, read_state(path, "encoder_q."), path)
    assert torch.equal(module.stem.weight, state()["stem.weight"])


def test_options_and_scores_beside_the_weights_are_no_obstacle(tmp_path: Path) -> None:
    options = argparse.Namespace(lr=0.1, output=tmp_path)
    scores = {"best": np.float64(81.3), "top1": np.float32(1), "curve": np.arange(3.0), "epoch": np.int64(4)}
    assert_read(saved(tmp_path, {"model": state(), "args": options, **scores}), state())


class Trainer:
    """Not known where the file is read."""


def test_code_that_a_file_needs_is_named_and_not_run(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": state(), "trainer": Trainer()})
    with pytest.raises(
        ProbeError, match=r"it needs code to be run \(\S*test_checkpoint\.Trainer\).*save its state_dict"
    ):
        read_state(path)


def test_the_kind_of_file_is_told_by_its_content(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    shutil.copy(tmp_path / "model.safetensors", tmp_path / "pytorch_model.bin")
    assert_read(tmp_path / "pytorch_model.bin", state())


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("<!DOCTYPE html><title>Sign in</title>", "a web page; download the file itself"),
        ("\n<html lang=en>", "a web page; download the file itself"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer in place of the weights"),
        (json.dumps({"weight_map": {"stem.bias": "1.safetensors"}}), "JSON, such as the index of weights in several"),
    ],
)
def test_what_is_found_in_the_place_of_weights_is_named(tmp_path: Path, name: str, content: str, what: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ProbeError, match=rf"{re.escape(name)} is {what}"):
        read_state(tmp_path / name)


def test_what_is_no_checkpoint_is_named_before_it_is_compared_with_what_is_stored(tmp_path: Path) -> None:
    page = tmp_path / "model.safetensors"
    page.write_text("<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(ProbeError, match=r"model\.safetensors is a web page"):
        find_backbone("timm:resnet18", weights=page).spec()


def test_a_list_of_tensors_whose_length_reads_as_the_beginning_of_json_is_read(tmp_path: Path) -> None:
    """31,520 bytes are " {", as a number of eight bytes."""
    path = tmp_path / "model.safetensors"
    for padding in range(30_900, 31_520, 8):
        save_file(state(), path, {"": "x" * padding})
        if path.read_bytes().startswith(b" {\0"):
            break
    assert path.read_bytes().startswith(b" {\0")
    assert_read(path, state())
