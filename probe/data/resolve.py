"""What a user may write for DATA: `sample`, a known data set, a folder, a manifest file, or a name below the data root.

The name of a known data set means that data set in whatever folder one is: a manifest of its name below the data root,
else its published annotations. A folder that is called so is meant by its path, `./sop`.

resolve_data("pocket", data_root)     # <data_root>/pocket/manifest.csv
"""

from pathlib import Path

from probe.data import tar
from probe.data.dataset import MissingDataError, all_datasets, find_dataset, is_known, read_dataset
from probe.data.folder import IMAGE_SUFFIXES, image_folder
from probe.data.manifest import Manifest, read_manifest
from probe.data.sample import SAMPLE, ensure_sample
from probe.errors import UsageError, nearest
from probe.progress import say

MANIFESTS = ("manifest.parquet", "manifest.csv")


def resolve_data(
    data: str, data_root: Path, roots: dict[str, Path] | None = None, datasets: Path | None = None
) -> Manifest:
    """The manifest that `data` means; the bundled sample is built on its first use.

    `roots`: where images of a source lie, in place of their usual folder. `datasets`: a catalogue of the user's own.

    Raises MissingDataError, naming the places that were looked at, when there is none.
    """
    if not data:
        raise UsageError("the name of the data is empty; name a known data set, a folder or a manifest.")
    if data == SAMPLE:
        return _from_path(ensure_sample(data_root), data_root, roots)
    here, below = Path(data).expanduser(), data_root / data
    if is_known(data, datasets):
        found = _manifest_in(below)
        return _from_path(below, data_root, roots) if found else _known(data, data_root, roots, datasets)
    for path in (here, below):
        if path.exists():
            return _from_path(path, data_root, roots)
    known = [SAMPLE, *(dataset.name for dataset in all_datasets(datasets)), *_folders(data_root)]
    raise MissingDataError(
        f"no data '{data}': neither {here} nor {below} exists; name a folder, a manifest or a known data set "
        f"({nearest(data, known).rstrip('.')}), or point --data-root at the folder that holds it."
    )


def _folders(data_root: Path) -> list[str]:
    return [path.name for path in data_root.iterdir() if path.is_dir()] if data_root.is_dir() else []


def known_data(name: str, data_root: Path, datasets: Path | None = None) -> Manifest:
    """A data set of the catalogue as recipes draw from it and tables count it: its published annotations, or else a
    manifest of its name below the data root, which is said."""
    file = _manifest_in(data_root / name)
    if file and not find_dataset(name, datasets).is_here(data_root):
        say(f"{name}: read from {file}; the published annotations are not here")
        return read_manifest(file, data_root=data_root)
    return read_dataset(name, data_root, datasets)


def is_here(data: str, data_root: Path, datasets: Path | None = None) -> bool:
    """Whether there is anything to read: a known data set (or whole splits), a path, a name below the data root."""
    if is_known(data, datasets):
        return find_dataset(data, datasets).is_here(data_root) or _manifest_in(data_root / data) is not None
    return data == SAMPLE or Path(data).expanduser().exists() or (data_root / data).exists()


def _known(name: str, data_root: Path, roots: dict[str, Path] | None, datasets: Path | None) -> Manifest:
    """A data set of the catalogue, whatever else lies in its folder."""
    try:
        manifest = read_dataset(name, data_root, datasets)
    except MissingDataError as error:
        if not Path(name).exists():
            raise
        raise MissingDataError(f"{str(error).rstrip('.')}; for the folder here write ./{name}.") from error
    unknown = sorted((roots or {}).keys() - set(manifest.sources))
    if unknown:
        raise UsageError(f"'{name}' has no source '{unknown[0]}'; {nearest(unknown[0], manifest.sources)}")
    manifest.roots.update(roots or {})
    return manifest


def _manifest_in(folder: Path) -> Path | None:
    return next((folder / name for name in MANIFESTS if (folder / name).exists()), None)


def _from_path(path: Path, data_root: Path, roots: dict[str, Path] | None) -> Manifest:
    if path.suffix.lower() == tar.SUFFIX and path.is_file():
        raise UsageError(f"{path} is one tar; name the folder that it lies in, or a manifest of its images.")
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise UsageError(f"{path} is an image; name the folder that it lies in.")
    file = path if path.is_file() else _manifest_in(path)
    if file:
        return read_manifest(file, roots, data_root)
    if roots:
        raise UsageError(f"--source-root {next(iter(roots))}: {path} has no manifest, so it has no sources to move.")
    return image_folder(path)


def source_roots(assignments: list[str]) -> dict[str, Path]:
    """`["met=/data/met"]` -> {"met": Path("/data/met")}. Raises UsageError for another form or no such folder."""
    roots = {}
    for assignment in assignments:
        source, _, folder = assignment.partition("=")
        if not source or not folder or not Path(folder).is_dir():
            raise UsageError(f"--source-root {assignment}: write SOURCE=FOLDER, with a folder that exists.")
        roots[source] = Path(folder)
    return roots
