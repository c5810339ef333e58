"""Where a backbone's weights are: in a file on this machine, or in a repository of the hub, at a revision.

It is kept with the features and with the runs that were made by them, and decides nothing: the weights' digest does.

    WeightsLocation.of(Path("mobilenetv1.safetensors"), repository=None)
    WeightsLocation(file="model.safetensors", repository="timm/resnet50.a1_in1k", revision="767268603c...")
"""

from pathlib import Path
from typing import Self

from probe.backbones.hub import fetch
from probe.errors import ProbeError, UsageError
from probe.validation import Strict

SNAPSHOTS = "snapshots"  # what the hub's cache calls the folder of a repository's revisions
FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer in place of the weights; run `git lfs pull` where it lies",
    b"<!doctype": "a web page; download the file itself",
    b"<html": "a web page; download the file itself",
    b"{": "JSON, such as the index of weights in several shards; merge the shards into one file",
}
"""What is often found in the place of weights, by how it begins."""


class WeightsLocation(Strict):
    file: str
    """Its absolute path, or its name in the repository."""
    repository: str | None = None
    """Of the hub."""
    revision: str | None = None
    """A commit of the repository."""

    @classmethod
    def of(cls, path: Path, repository: str | None) -> Self:
        """Of a file, which is that of the hub's cache where it is a repository's."""
        if repository is None:
            return cls(file=str(path.absolute()))
        folder = next(folder for folder in path.parents if folder.parent.name == SNAPSHOTS)
        return cls(file=path.relative_to(folder).as_posix(), repository=repository, revision=folder.name)

    def find(self, what: str, instead: str) -> Path:
        """The file; of a repository, from the hub's cache or the network.

        `what` the file is and what to do `instead` go into the error. Raises UsageError where it is not there.
        """
        if self.repository is not None:
            return fetch(self.repository, (self.file,), what, instead, self.revision)
        if not Path(self.file).is_file():
            raise UsageError(f"{what} are not where they were, {self.file}; {instead} or put it back there.")
        return Path(self.file)


def require_weights(file: Path) -> bytes:
    """Its first bytes. Raises ProbeError for a file of FOREIGN."""
    with file.open("rb") as opened:
        head = opened.read(512)
    text = b"" if b"\0" in head[:8] else head.lstrip().lower()  # a length, as safetensors begin with, is no text
    if foreign := next((what for start, what in FOREIGN.items() if text.startswith(start)), None):
        raise ProbeError(f"{file} is {foreign}.")
    return head
