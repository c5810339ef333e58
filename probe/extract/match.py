"""Whether a store is the one that is asked for: of the same backbone, and made from the same images.

Its spec tells the backbone. Ids cannot tell two folders of the same name apart, so extraction stores a digest of each
image file, and before a store is used a few images that are on disk are compared.

    require_features(store, backbone.identity())
    require_images(store, root, manifest.images("pocket"))
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from feature_cache import FeatureStore, Spec, StoreError, differences
from probe.data import content_digest, has_image, read_image
from probe.errors import UsageError

SAMPLES = 32


def require_features(store: FeatureStore, asked: Spec) -> None:
    """Raises UsageError, naming the keys in which the store's spec is not the one asked for."""
    lines = feature_differences(store.spec, asked)
    if lines:
        raise UsageError(
            f"{store.path} holds other features than the ones asked for ({'; '.join(lines)}); "
            f"delete it to extract anew, or use another --cache.{_second_checkpoint(lines, asked)}"
        )


def _second_checkpoint(lines: list[str], asked: Spec) -> str:
    """What to do where nothing but the weights of a library's model differ: a name of its own for each."""
    if len(lines) != 1 or not lines[0].startswith("backbone.weights_sha256") or "library" not in asked["backbone"]:
        return ""
    backbone, px = asked["backbone"], asked["preprocessing"]["px"]
    row = f"library: {backbone['library']}, model: {backbone['model']}, px: {px}, weights: FILE"
    return (
        " To keep both, give this checkpoint a name of its own, in a YAML file that --catalogue names: "
        f"`backbones: {{NAME: {{{row}}}}}`."
    )


def other_transforms(path: Path, name: str, spec: Spec) -> list[str]:
    """A sentence for each store beside `path` that has features of the same weights, by another name, of pixels that
    were prepared in another way."""
    found = []
    for other in sorted(path.parent.glob("*.h5")):
        if other == path or other.stem.partition("@")[0] == path.stem.partition("@")[0]:
            continue
        try:
            theirs = FeatureStore(other).spec
        except StoreError:  # which whoever reads it is told
            continue
        keys = ("library", "model", "weights_sha256")
        ours, others = spec.get("backbone", {}), theirs.get("backbone", {})
        if ours.get("weights_sha256") and all(ours.get(key) == others.get(key) for key in keys):
            lines = differences(theirs.get("preprocessing", {}), spec.get("preprocessing", {}))
            if lines:
                found.append(
                    f"{other} has features of the same weights as '{name}', of images that are prepared in another way "
                    f"({'; '.join(lines)}): they are not the same features"
                )
    return found


def feature_differences(found: Spec, asked: Spec) -> list[str]:
    """Where a spec differs in the keys that are asked for.

    Package versions are left to the writer, who adds rows; the files that foreign features came in differ from source
    to source.
    """
    asked = {key: value for key, value in asked.items() if key not in ("packages", "files", "ids", "format")}
    return differences(_restricted(found, asked), asked)


def _restricted(spec: Spec, to: Spec) -> Spec:
    """The keys of `spec` that `to` has, in its sections too; what a section's key holds is taken whole.

    All keys of the preprocessing: one that is not told there stands for pixels as they were before there was the key.
    """
    restricted = {}
    for name, part in to.items():
        found = spec.get(name)
        if isinstance(part, dict) and isinstance(found, dict | None):
            section = found or {}
            keys = part | section if name == "preprocessing" else part
            found = {key: section.get(key) for key in keys}
        restricted[name] = found
    return restricted


def require_images(store: FeatureStore, root: Path | None, images: Sequence[str]) -> None:
    """Compares up to 32 stored images, evenly spread, with the files below `root`; files that are gone are passed over.

    Raises UsageError, naming the image, for one whose content is not what the store was made from.
    """
    known = [image for image in images if image in store]
    if root is None or not known:
        return
    chosen = [known[i] for i in np.linspace(0, len(known) - 1, min(SAMPLES, len(known))).astype(int)]
    for image, digest in zip(chosen, store.contents[store.rows_of(chosen)].tolist(), strict=True):
        if digest and has_image(root, image) and content_digest(read_image(root, image)) != digest:
            raise UsageError(
                f"{store.path} was made from other images than those in {root}: {image} differs; give the source "
                "another name, delete the store to extract anew, or use another --cache."
            )
