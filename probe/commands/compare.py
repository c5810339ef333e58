"""`probe compare`: whether one run, or several seeds averaged, is better than another on the same queries.

probe compare out/runs/descriptor_linear_arcface_seed0_* --against out/runs/descriptor_pca-whitening_seed0_*
"""

import csv
from collections.abc import Sequence
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from probe.commands.options import Json
from probe.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from probe.commands.answers import ComparisonAnswer
    from probe.metrics import Interval, PairedDifference, QueryValues

AGAINST = "--against"


class SearchedIndex(StrEnum):
    """What `--index` takes."""

    merged = "merged"
    separate = "separate"


class ManyAgainst(TyperCommand):
    """`--against A B C` is `--against A --against B --against C`, so that a shell's pattern stays on its side."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        of_against = False
        for word in args:
            if word.startswith("-"):
                of_against = word.split("=")[0] == AGAINST
            elif of_against and words[-1] != AGAINST:
                words.append(AGAINST)
            words.append(word)
        return super().parse_args(ctx, words)


def _require_format(path: Path | None) -> Path | None:
    if path and path.suffix not in (".csv", ".json"):
        raise UsageError(f"--save {path}: what is written is CSV or JSON; name a .csv or a .json.")
    return path


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of `probe fit` or `probe evaluate`; several: seeds.")
    ],
    against: Annotated[list[Path], typer.Option(AGAINST, metavar="RUN...", help="What to compare with; likewise.")],
    metric: Annotated[str, typer.Option(help="A metric that both were scored with.")] = "mMP@5",
    index: Annotated[SearchedIndex, typer.Option(help="Which index was searched.")] = SearchedIndex.merged,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws for intervals and p.")] = 0,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it to this .csv or .json too.", callback=_require_format)
    ] = None,
    json: Json = False,
) -> None:
    """Compare two runs query by query: difference, its 95 % bootstrap interval, and p of a paired permutation test.

    Several runs on a side are seeds of one: each query's value is their mean. Name the RUNs before --against. Of each
    domain there is p by itself, and with Holm's correction, since they are several tests.
    """
    from probe.commands.answers import as_json, comparison_answer, print_json
    from probe.metrics import compare as compared
    from probe.progress import say
    from probe.storage import write_whole
    from probe.terminal import print_table, print_text, printer

    first, second = (_read(side, metric, index.value) for side in (runs, against))
    differences = compared(first, second, seed=seed)
    names = [_name(run) for run in runs], [_name(run) for run in against]
    answer = comparison_answer(metric, index.value, *names, differences)
    if save:
        text = as_json(answer) + "\n" if save.suffix == ".json" else _csv(answer)
        write_whole(save, text.encode())
        say(f"written to {save}")
    if json:
        print_json(answer)
        return
    print_table(_grid(f"{metric}, {index.value} index: A - B", differences), printer())
    for letter, side in zip("AB", names, strict=True):
        print_text(f"{letter}: {', '.join(side)}", printer())


def _csv(answer: "ComparisonAnswer") -> str:
    """A line a domain, the balanced mean last."""
    from probe.terminal import literal

    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "index", "domain", "a", "b", "difference", "low", "high", "p", "p_holm"])
    for line in answer.domains:
        values = (line.a, line.b, line.difference, *line.interval, line.p, line.p_holm)
        writer.writerow([answer.metric, answer.index, literal(line.domain), *(f"{value:.6g}" for value in values)])
    return text.getvalue()


def _read(runs: Sequence[Path], metric: str, index: str) -> "QueryValues":
    from probe.metrics import averaged
    from probe.runs import ScoredFolder

    folders = [run.resolve() for run in runs]
    if twice := [folder.name for folder in folders if folders.count(folder) > 1]:
        raise UsageError(f"{twice[0]} is named twice on one side; name each run once.")
    return averaged([ScoredFolder(folder).values(index, metric) for folder in folders])


def _grid(title: str, differences: "dict[str, PairedDifference]") -> "Table":
    """In percent and percentage points, a line a domain, the balanced mean last."""
    from rich.table import Table
    from rich.text import Text

    from probe.metrics import COVERED, DRAWS, MEAN

    grid = Table(title=title, title_justify="left", caption=f"in %; {DRAWS:,} draws; docs/evaluation.md")
    for name in ("domain", "A", "B", "difference", f"{COVERED:.0%} interval", "p", "p (Holm)"):
        grid.add_column(name, justify="left" if name == "domain" else "right")
    for column, found in sorted(differences.items(), key=lambda item: item[0] == MEAN):
        if column == MEAN:
            grid.add_section()
        grid.add_row(
            Text(column),
            f"{100 * found.first:.1f}",
            f"{100 * found.second:.1f}",
            f"{100 * found.difference:+.2f}",
            _interval(found.interval),
            f"{found.p:.4f}",
            "" if column == MEAN else f"{found.p_holm:.4f}",
            style="bold" if column == MEAN else "",
        )
    return grid


def _interval(interval: "Interval") -> str:
    return " to ".join(f"{100 * end:+.2f}" for end in interval)


def _name(run: Path) -> str:
    return run.resolve().name
