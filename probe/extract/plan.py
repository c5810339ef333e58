"""What there is to extract: for each source of a manifest, the store and the images it still lacks.

Planning reads stores and looks at files, and loads no model, so asking again for finished work is answered at once.

    for task in plan_extraction(manifest, backbone.name, backbone.spec(), workspace):
        print(task.source, len(task.todo))
"""

from dataclasses import dataclass
from pathlib import Path

from feature_cache import FeatureStore, Spec
from probe.data import Manifest, missing_images, other_copy
from probe.errors import UsageError
from probe.extract.match import require_features, require_images
from probe.storage import write_whole
from probe.workspace import Workspace, file_name

FLOAT16 = "float16"


@dataclass(frozen=True)
class Settings:
    """How to extract.

    `workers`: decoding processes; None for as many as suit the machine. `part`: images that a crash can cost at most,
    in whole batches. `dtype`: None for that of what is stored, else float16. `max_failures`: share of a source's images
    that may fail before the run stops; one may always fail. `splits`: only the images that have a row of one of these;
    `limit`: of these, only the first of each source, for a dry look; the store then says itself what it lacks.
    `pinned`: batches lie in page-locked memory, for a GPU to fetch.
    """

    batch: int = 64
    workers: int | None = None
    part: int = 1024
    dtype: str | None = None
    max_failures: float = 0.01
    retry_failed: bool = False
    splits: tuple[str, ...] | None = None
    limit: int | None = None
    pinned: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or (self.workers or 0) < 0:
            raise UsageError(
                f"a batch of {self.batch} images by {self.workers} processes; a batch has one image at least, and "
                "processes are none or more."
            )
        if self.dtype not in (None, FLOAT16, "float32"):
            raise UsageError(f"there is no dtype '{self.dtype}' of stored features; name float16 or float32.")

    @property
    def stored_as(self) -> str:
        """The dtype, or the usual one."""
        return self.dtype or FLOAT16


@dataclass(frozen=True)
class Task:
    """The images of one source that one store still lacks, in the order in which they are extracted."""

    source: str
    root: Path
    store: Path
    todo: list[str]
    stored: int
    failed: int


def plan_extraction(
    manifest: Manifest,
    backbone: str,
    spec: Spec,
    workspace: Workspace,
    retry_failed: bool = False,
    limit: int | None = None,
) -> list[Task]:
    """One task for each source, also where nothing is left to do. `limit`: of its first images only.

    Raises UsageError for images that are missing on disk (all of them are listed in a file) and for a store of other
    features or other images.
    """
    tasks = []
    for source in manifest.sources:
        store_path = workspace.store(source, backbone)
        todo = manifest.images(source)[:limit]
        stored = failed = 0
        if store_path.exists():
            store = FeatureStore(store_path)
            require_features(store, spec)
            require_images(store, manifest.roots[source], todo)
            failures = {failure.id for failure in store.failed}
            done = set() if retry_failed else failures
            todo = [image for image in todo if image not in store and image not in done]
            stored, failed = len(store), len(failures)
        tasks.append(Task(source, manifest.roots[source], store_path, todo, stored, failed))
    _require_files(tasks, manifest, workspace)
    return tasks


def _require_files(tasks: list[Task], manifest: Manifest, workspace: Workspace) -> None:
    lacking = [(task, images) for task in tasks if (images := missing_images(task.root, task.todo))]
    missing = [str(task.root / image) for task, images in lacking for image in images]
    if missing:
        listing = workspace.out / f"missing-{file_name(manifest.name)}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        write_whole(listing, ("\n".join(missing) + "\n").encode())
        copies = (
            other_copy(task.source, task.root, images, task.todo, workspace.data_root, workspace.datasets)
            for task, images in lacking
        )
        elsewhere = "".join(f"; {copy}" for copy in copies if copy)
        raise UsageError(
            f"{len(missing):,} image(s) of {manifest.where} are missing on disk, the first: {', '.join(missing[:5])}; "
            f"all are listed in {listing}{elsewhere}."
        )
