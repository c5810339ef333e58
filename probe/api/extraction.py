"""Features of images, as `probe extract` stores them.

store = extract("photos/", backbone="timm:resnet50", weights="resnet50.safetensors")
"""

from pathlib import Path

from feature_cache import FeatureStore
from probe.backbones import find_backbone
from probe.data import HuggingFaceData, Manifest, is_hugging_face, resolve_data, write_data_set
from probe.errors import UsageError
from probe.extract import Settings, extract_sources
from probe.workspace import Workspace


def extract(
    images: str | Path | Manifest | HuggingFaceData,
    backbone: str,
    *,
    weights: str | Path | None = None,
    catalogue: str | Path | None = None,
    precision: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    dtype: str = "float16",
    device: str = "auto",
    data_root: str | Path | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
) -> FeatureStore:
    """The store of a backbone's features of all images; what is stored already is not extracted again.

    `images`: a folder, of images or tar shards, a manifest or its file, a known data set, `sample`, or a data set of
    Hugging Face's `datasets`, whose images are written as files below `data_root` first. `backbone`: a row of the
    catalogue, or `timm:NAME` and the like; `weights`: its checkpoint, if not the hub's. `dtype`: how features are
    stored. Folders are those of the command line. An interrupted extraction goes on where it stopped.
    Raises UsageError for images of several sources, which have a store each (`probe extract` makes them).
    """
    workspace = Workspace.named(data_root, cache, out)
    images = write_data_set(images, workspace.data_root) if is_hugging_face(images) else images
    manifest = images if isinstance(images, Manifest) else resolve_data(str(images), workspace.data_root)
    if len(manifest.sources) > 1:
        raise UsageError(
            f"{manifest.where} has images of {len(manifest.sources)} sources, with a store each; use `probe extract`, "
            "or extract the folder of one."
        )
    chosen = find_backbone(backbone, *(Path(file) if file else None for file in (catalogue, weights)))
    settings = Settings(batch=batch_size, workers=workers, dtype=dtype)
    extract_sources([manifest], chosen, workspace, settings, device, precision)
    return FeatureStore(workspace.store(manifest.sources[0], chosen.name))
