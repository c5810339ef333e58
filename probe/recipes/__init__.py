"""Recipes: their schema, their rows, changes on the command line, and the values that papers print.

A recipe is checked as a whole before any work: an error names the file and the key.

    from probe.recipes import read_recipe
    read_recipe(Path("recipes/quickstart.yaml")).rows
"""

from probe.recipes.claim import Claim, Combination, Operand
from probe.recipes.difference import Difference
from probe.recipes.display import PARAMETERS, TEXTS, VALIDATION, VERDICTS, Display, format_value, is_score
from probe.recipes.overrides import Overrides
from probe.recipes.printed import MEAN, PrintedValue, PrintedValues
from probe.recipes.recipe import Recipe, find_recipe, find_recipes, read_recipe, require_distinct_columns
from probe.recipes.row import PrintedRelation, Row
from probe.recipes.schema import recipe_schema
from probe.recipes.static import StaticValues
from probe.recipes.training_sets import curation_commands, folder_of_tables, undrawable

__all__ = [
    "MEAN",
    "PARAMETERS",
    "TEXTS",
    "VALIDATION",
    "VERDICTS",
    "Claim",
    "Combination",
    "Difference",
    "Display",
    "Operand",
    "Overrides",
    "PrintedRelation",
    "PrintedValue",
    "PrintedValues",
    "Recipe",
    "Row",
    "StaticValues",
    "curation_commands",
    "find_recipe",
    "find_recipes",
    "folder_of_tables",
    "format_value",
    "is_score",
    "read_recipe",
    "recipe_schema",
    "require_distinct_columns",
    "undrawable",
]
