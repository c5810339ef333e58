"""`probe backbones`: the catalogue, or one backbone of it.

probe backbones · backbones siglip-so400m-14-384
"""

from typing import Annotated

import typer

from probe.commands.options import Catalogue


def backbones(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A name of the catalogue, or timm:NAME and the like.")
    ] = None,
    catalogue: Catalogue = None,
) -> None:
    """List the backbones that there are, or tell everything of one: preprocessing, feature, where its weights are."""
    from probe.backbones import all_backbones, find_backbone, print_backbone, print_catalogue
    from probe.terminal import printer

    if name is None:
        print_catalogue(all_backbones(catalogue), printer())
    else:
        print_backbone(find_backbone(name, catalogue), printer())
