"""A backbone as a few lines of Python, for those who have its library and weights, and no probe.

code = plain_code(row)          # PlainCode("import timm", ["backbone = timm.create_model('resnet50', ...)"], ...)
"""

from dataclasses import dataclass

from probe.backbones.catalogue import adapter
from probe.backbones.row import BackboneRow
from probe.errors import UsageError


@dataclass(frozen=True)
class PlainCode:
    """What the adapter's `build` makes, without weights."""

    imports: str
    backbone: list[str]
    """Statements that make the module `backbone`."""
    features: str = "backbone(images)"
    """(B, 3, px, px) normalised `images` -> (B, D), as an expression."""
    prefix: str = ""
    """What the keys of what `build` makes begin with, where `backbone` is a part of that."""


def plain_code(row: BackboneRow) -> PlainCode:
    """Raises UsageError for a backbone that only probe, or an adapter of the user's own, can make."""
    found = None if row.library in ("built-in", "foreign") else getattr(adapter(row.library), "plain_code", None)
    if found is None:
        raise UsageError(
            f"the backbone {row.model} is of the library '{row.library}', and no code without probe makes it; export a "
            "run on a backbone of open_clip, timm or transformers."
        )
    return found(row)
