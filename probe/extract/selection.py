"""Which cached features a run reads, as plain data: of one backbone or several, in which views, with sizes or without.

Selection(backbone=["clip-b16", "dinov2-b14"], append=["width", "height", "aspect"])
"""

from typing import Any, Literal, get_args

from pydantic import field_validator, model_validator

from probe.validation import Strict

Size = Literal["width", "height", "aspect"]
View = Literal["train", "test", "inference"]


class Selection(Strict):
    """The features of an image, in the order of their columns.

    `backbone`: one, whose features are taken as they are stored, or several, each L2-normalised and then concatenated
    (the fusion of GUIEC's 10th place). `views`: train on NAME@train, be scored on NAME@test (UniFEx's protocol), or,
    with `inference`, on NAME@inference (the same, to the bit).
    `append`: columns for the size of the original image behind the L2-normalised features (GUIEC's 5th place).
    """

    backbone: str | tuple[str, ...]
    views: bool | Literal["inference"] = False
    append: tuple[Size, ...] = ()

    @property
    def backbones(self) -> tuple[str, ...]:
        return (self.backbone,) if isinstance(self.backbone, str) else self.backbone

    @property
    def normalized(self) -> bool:
        """Whether each backbone's features are L2-normalised: where columns of different origin stand side by side."""
        return len(self.backbones) > 1 or bool(self.append)

    def stores(self, split: str) -> list[str]:
        """Names of the stores that hold the features of a split, in the order of the columns."""
        if not self.views:
            return list(self.backbones)
        view = "train" if split == "train" else "test" if self.views is True else self.views
        return [f"{name}@{view}" for name in self.backbones]

    @property
    def features_name(self) -> str:
        """`clip-b16+dinov2-b14@views+width`."""
        views = f"@{'views' if self.views is True else self.views}" if self.views else ""
        return "+".join(self.backbones) + views + "".join(f"+{size}" for size in self.append)

    @field_validator("backbone", mode="before")
    @classmethod
    def _names(cls, backbone: Any) -> Any:
        names = [backbone] if isinstance(backbone, str) else backbone
        if (
            not isinstance(names, list | tuple)
            or not names
            or not all(isinstance(name, str) and name for name in names)
        ):
            raise ValueError("name a backbone, or several in a list")
        return names[0] if len(names) == 1 else _distinct(tuple(names))

    @field_validator("append")
    @classmethod
    def _columns(cls, append: tuple[Size, ...]) -> tuple[Size, ...]:
        return _distinct(append)

    @model_validator(mode="after")
    def _views_are_not_named_twice(self) -> "Selection":
        for name in self.backbones:
            if self.views and name.rpartition("@")[2] in get_args(View) and "@" in name:
                raise ValueError(f"`views` takes both views of a backbone; name '{name.rpartition('@')[0]}' alone")
        return self


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{value}' is there twice")
    return values
