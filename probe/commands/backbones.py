"""`probe backbones`: the catalogue, a part of it, or one backbone.

probe backbones · backbones siglip · backbones siglip-so400m-14-384
"""

from typing import Annotated

import typer

from probe.commands.options import Catalogue, Json


def backbones(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A name of the catalogue or a part of names, or timm:NAME and the like."),
    ] = None,
    catalogue: Catalogue = None,
    json: Json = False,
) -> None:
    """List the backbones that there are, or those with a name in common, or tell everything of one.

    Of one: preprocessing, feature, where its weights are.
    """
    from probe.backbones import all_backbones, find_backbone, print_backbone, print_catalogue
    from probe.commands.answers import backbones_answer, print_json
    from probe.terminal import printer

    known = all_backbones(catalogue)
    chosen = [each for each in known if name is None or name.lower() in f"{each.name} {each.row.family}".lower()]
    if name is not None and (name in [each.name for each in known] or not chosen):
        chosen = [find_backbone(name, catalogue)]
    if json:
        print_json(backbones_answer(chosen))
    elif len(chosen) == 1 and name is not None:
        print_backbone(chosen[0], printer())
    else:
        print_catalogue(chosen, printer())
