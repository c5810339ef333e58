"""The scores of an evaluation as tables: a line a domain, the balanced mean last, values with their 95 % intervals.

for table in score_tables("mine on sample", evaluation, ["mMP@5"], ["merged"], ["clean"]):
    print_table(table, printer())
"""

from collections.abc import Iterator, Sequence

from rich.table import Table as RichTable
from rich.text import Text

from probe.evaluate import EvaluationFolder
from probe.metrics import MEAN, Scores, intervals

INTERVALS = "In %, with 95 % bootstrap intervals over queries."
QUIRKS = (
    "official: as UnED's published evaluator counts. Where query and index are one set it drops rank 1 unseen, it sums "
    "n over a query's labels, and it rounds to three decimals before it averages."
)

Interval = tuple[float, float]


def score_tables(
    title: str, evaluation: EvaluationFolder, metrics: Sequence[str], indexes: Sequence[str], protocols: Sequence[str]
) -> Iterator[RichTable]:
    """One for each index and protocol; where both are asked for, the official one has the difference in points.

    The official one has the metrics with an official rule; without any, there is none.
    """
    for index in indexes:
        for protocol in protocols:
            scores = evaluation.scores.of(protocol, index)
            scored = [metric for metric in metrics if metric in scores.mean]
            if not scored:
                continue
            grid = RichTable(title=Text(f"{title}, {index} index, {protocol} protocol"), title_justify="left")
            for name in ("domain", *scored, "queries", "nothing to find"):
                grid.add_column(name, justify="left" if name == "domain" else "right")
            if protocol == "clean":
                per_query = evaluation.per_query(index)
                grid.caption = Text(INTERVALS)
                cells = {metric: _with_intervals(scores, metric, intervals(per_query, metric)) for metric in scored}
            else:
                clean = evaluation.scores.of("clean", index) if "clean" in protocols else None
                grid.caption = Text(f"In %{', in brackets official minus clean in points' if clean else ''}.")
                cells = {metric: _with_differences(scores, metric, clean) for metric in scored}
            for domain, values in scores.domains.items():
                counts = (f"{values.queries:,}", f"{values.nothing_to_find:,}")
                grid.add_row(Text(domain), *(Text(cells[metric][domain]) for metric in scored), *counts)
            grid.add_section()
            grid.add_row(MEAN, *(Text(cells[metric][MEAN]) for metric in scored), style="bold")
            yield grid


def _with_intervals(scores: Scores, metric: str, bounds: dict[str, Interval]) -> dict[str, str]:
    """`62.7 [60.1, 65.2]`, by domain and for `Mean`."""
    cells = {}
    for name, value in _values(scores, metric).items():
        interval = f" [{100 * bounds[name][0]:.1f}, {100 * bounds[name][1]:.1f}]" if name in bounds else ""
        cells[name] = "-" if value is None else f"{100 * value:.1f}{interval}"
    return cells


def _with_differences(scores: Scores, metric: str, clean: Scores | None) -> dict[str, str]:
    """`62.9 (+0.2)`, by domain and for `Mean`."""
    cells, others = {}, _values(clean, metric) if clean else {}
    for name, value in _values(scores, metric).items():
        other = others.get(name)
        difference = "" if value is None or other is None else f" ({round(100 * (value - other), 2) + 0.0:+.2f})"
        cells[name] = "-" if value is None else f"{100 * value:.1f}{difference}"
    return cells


def _values(scores: Scores, metric: str) -> dict[str, float | None]:
    return {name: domain.values[metric] for name, domain in scores.domains.items()} | {MEAN: scores.mean[metric]}
