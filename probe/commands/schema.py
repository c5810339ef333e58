"""`probe schema`: the JSON schema of a kind of file, by which editors complete and check it.

probe schema recipe > recipe.schema.json
"""

from enum import StrEnum
from typing import Annotated

import typer


class Described(StrEnum):
    """What `probe schema` takes."""

    recipe = "recipe"
    catalogue = "catalogue"
    curation = "curation"


def schema(file: Annotated[Described, typer.Argument(metavar="FILE", help="recipe, catalogue or curation.")]) -> None:
    """Print the JSON schema of recipes, catalogues or curations, for editors.

    With `# yaml-language-server: $schema=recipe.schema.json` in its first line, an editor completes a recipe's keys.
    """
    import json

    from probe.backbones import BackboneRow
    from probe.data import curation_schema
    from probe.recipes import recipe_schema

    schemas = {
        Described.recipe: recipe_schema,
        Described.catalogue: BackboneRow.catalogue_schema,
        Described.curation: curation_schema,
    }
    typer.echo(json.dumps(schemas[file](), indent=2))
