import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from probe.backbones.catalogue import Backbone, bundled_rows
from probe.backbones.hub import cached, fetch
from probe.errors import ProbeError, UsageError

FILES = ("model.safetensors", "pytorch_model.bin")
ROOT = Path(__file__).resolve().parents[2]


def ask() -> Path:
    return fetch("org/name", FILES, "the weights of mine", "name the file with --weights,")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`online(metadata, download)`: a network on which these stand for the hub's answers."""

    def answer(metadata: Callable[..., Any], download: Callable[..., Any] = lambda *_, **__: "unused") -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)

    return answer


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def of_the_hub(kind: type[HfHubHTTPError], message: str) -> HfHubHTTPError:
    """Made without the HTTP response that its constructor wants."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def test_the_first_of_the_files_that_is_cached_is_taken(hub: Callable[[str], Path]) -> None:
    folder = hub("org/name")
    assert cached("org/name", FILES) is None
    (folder / "pytorch_model.bin").write_bytes(b"older")
    assert cached("org/name", FILES) == ask() == folder / "pytorch_model.bin"
    (folder / "model.safetensors").write_bytes(b"newer")
    assert cached("org/name", FILES) == ask() == folder / "model.safetensors"


def test_what_is_cached_is_taken_without_asking_the_network(hub: Callable[[str], Path], online) -> None:
    (hub("org/name") / "model.safetensors").write_bytes(b"here")
    online(raising(AssertionError("asked")), raising(AssertionError("asked")))
    assert ask().read_bytes() == b"here"


def test_without_a_network_every_row_says_which_file_to_fetch_and_where_to_put_it() -> None:
    for name, row in bundled_rows().items():
        if row.hub_repository is None:
            continue
        with pytest.raises(UsageError) as caught:
            Backbone(name, row).spec()
        said = str(caught.value)
        assert f"the weights of {name} are not in the local Hugging Face cache" in said
        assert f"`hf download {row.hub_repository} {row.hub_files[0]}`" in said
        assert "--weights" in said
        assert huggingface_hub.constants.HF_HUB_CACHE in said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (ConnectionError("no route"), UsageError, r"hub is out of reach \(no route\); run `hf download org/name"),
        (TimeoutError(), UsageError, r"hub is out of reach \(TimeoutError\)"),
        (of_the_hub(RepositoryNotFoundError, "404"), UsageError, "the hub has no repository org/name"),
        (of_the_hub(GatedRepoError, "403"), ProbeError, "org/name, which asks for consent"),
        (of_the_hub(HfHubHTTPError, "503 Unavailable\nmore"), ProbeError, "the hub refuses .*: 503 Unavailable$"),
        (EntryNotFoundError("404"), UsageError, "org/name has none of model.safetensors, pytorch_model.bin"),
    ],
    ids=["no route", "no answer", "no repository", "gated", "server", "no file"],
)
def test_what_went_wrong_with_the_hub_is_told_apart(online, error: Exception, kind: type, what: str) -> None:
    online(raising(error))
    with pytest.raises(kind, match=what) as caught:
        ask()
    assert "\n" not in str(caught.value)


def test_the_older_file_is_fetched_where_there_is_no_newer(tmp_path: Path, online) -> None:
    def metadata(url: str, **_: object) -> None:
        if url.endswith("model.safetensors"):
            raise EntryNotFoundError("404")

    online(metadata, lambda repository, file, **_: str(tmp_path / repository / file))
    assert ask() == tmp_path / "org/name/pytorch_model.bin"


def test_a_full_disk_is_not_called_a_missing_network(online) -> None:
    online(lambda *_, **__: None, raising(OSError(28, "No space left on device")))
    with pytest.raises(ProbeError, match=r"could not be fetched and stored.*No space left on device") as caught:
        ask()
    assert "out of reach" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_not_asked_again_and_again(tmp_path: Path) -> None:
    code = "from probe.backbones.catalogue import find_backbone; find_backbone('clip-vit-b16').spec()"
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "hub is out of reach" in done.stderr
    assert "Retry" not in done.stderr
