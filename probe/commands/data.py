"""`probe data`: which data sets are known and are here, whether they are sound, and training sets drawn from them.

probe data list [NAME] · check DATA... · stats [DATA]... · curate RECIPE
"""

from typing import Annotated

import typer

from probe.options import DEFAULT, DataRoot

app = typer.Typer(no_args_is_help=True, help="Look at data sets, check them, count them, and draw training sets.")


@app.command("list", epilog="Example: probe data list sop")
def list_datasets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A data set, to be told everything of it.")
    ] = None,
    data_root: DataRoot = DEFAULT.data_root,
) -> None:
    """List the data sets that are known: where to get them, what is published of them, and whether they are here."""
    from probe.data.dataset import all_datasets, find_dataset
    from probe.data.listing import print_dataset, print_datasets
    from probe.terminal import printer

    if name is None:
        print_datasets(all_datasets(), data_root, printer())
    else:
        print_dataset(find_dataset(name), data_root, printer())
