"""The catalogue as people read it: one line a backbone, or all that is known of one. Loads no PyTorch.

print_catalogue(bundled_rows(), Console())
print_backbone(find_backbone("siglip-so400m-14-384"), Console())
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from probe.backbones.catalogue import Backbone
from probe.terminal import print_field, print_table, print_text

RESIZE = {
    "shortest+crop": "shorter side to {scaled}, centre crop of {px} x {px}",
    "squash": "squash to {scaled} x {scaled}",
}


def print_catalogue(backbones: list[Backbone], console: Console) -> None:
    """A table, by family: input size, dimension, parameters, feature, the papers' rows, whether weights are at hand."""
    table = Table(title=f"{len(backbones)} backbones", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("family / name", no_wrap=True)
    for column in ("px", "dim", "params"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("feature", no_wrap=True)
    table.add_column("papers", min_width=8)
    table.add_column("weights", no_wrap=True)
    for family, members in groupby(backbones, lambda backbone: backbone.row.family):
        table.add_row(Text(family or "-", style="bold"))
        for backbone in members:
            row = backbone.row
            table.add_row(
                Text(backbone.name),
                str(row.px),
                str(row.dim or ""),
                f"{row.params / 1e6:,.1f} M" if row.params else "",
                row.feature if backbone.needs_weights else "",
                Text(_papers(row.papers)),
                Text(weights_state(backbone)),
            )
    print_table(table, console)
    print_text(
        "weights: cached, in the local hub cache; fetch, on the hub; file, to be named with --weights; none needed.\n"
        "More of one: probe backbones NAME. Any other model: timm:NAME, open_clip:MODEL/TAG, hf:REPOSITORY, hf:FOLDER.",
        console,
        "dim",
    )


def _papers(rows: tuple[str, ...]) -> str:
    """`UniFEx 3`, `UniFEx 4`, `UnED S1` -> `UniFEx 3, 4; UnED S1`."""
    papers: dict[str, list[str]] = {}
    for row in rows:
        paper, _, table = row.partition(" ")
        papers.setdefault(paper, []).append(table)
    return "; ".join(f"{paper} {', '.join(tables)}" for paper, tables in papers.items())


def weights_state(backbone: Backbone) -> str:
    """Where the weights are: `none` needed, `cached`, `fetch` from the hub, `file` to be named."""
    if not backbone.needs_weights:
        return "none"
    if backbone.weights_at_hand:
        return "cached"
    return "fetch" if backbone.row.hub_repository else "file"


def print_backbone(backbone: Backbone, console: Console) -> None:
    """Every field of the row, what its preprocessing comes to, and where the weights are or how to get them."""
    for name, value in _fields(backbone):
        print_field(name, value, console)


def _fields(backbone: Backbone) -> Iterator[tuple[str, str]]:
    row = backbone.row
    yield "name", backbone.name
    if row.library == "foreign":
        yield "about", "features that another program made and `probe cache import` brought in; nothing else is known"
        return
    yield "family", row.family or "-"
    yield "about", row.about or "-"
    yield "library", row.library
    yield "model", row.model
    if row.options:
        yield "options", ", ".join(f"{key}={value}" for key, value in row.options.items())
    if backbone.needs_weights:
        yield "feature", row.feature
    yield "dim", str(row.dim) if row.dim else "known when it is loaded"
    if row.params:
        yield "parameters", f"{row.params:,}"
    yield "papers", _papers(row.papers) or "-"
    crop = f", centre crop of {row.px} x {row.px}" if row.resize == "squash" and row.scaled != row.px else ""
    by = " on tensors" if row.resampling == "tensor" else ""
    yield "input", f"{RESIZE[row.resize].format(scaled=row.scaled, px=row.px)}{crop}, {row.interpolation}{by}"
    yield "mean, std", f"{list(row.mean)}, {list(row.std)}"
    if row.prefix:
        yield "prefix", row.prefix
    yield from _weights(backbone)


def _weights(backbone: Backbone) -> Iterator[tuple[str, str]]:
    row, at_hand = backbone.row, backbone.weights_at_hand
    if not backbone.needs_weights:
        yield "weights", "needs none"
        return
    if row.hub_repository:
        yield "repository", row.hub_repository
        yield "file", " or ".join(row.hub_files)
    if row.sha256:
        yield "sha256", row.sha256
    if at_hand:
        yield "weights", f"{at_hand} ({_size(at_hand)})"
    elif row.hub_repository:
        yield "weights", f"not here; fetched when needed, or by: hf download {row.hub_repository} {row.hub_files[0]}"
    else:
        yield "weights", f"not on the hub; name the file with --weights: {row.weights or 'of your own'}"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.0f} MB"
