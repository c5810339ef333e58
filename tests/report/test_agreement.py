"""Rank agreement: Spearman's correlation of what is measured with what is printed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from probe.metrics.rank_correlation import spearman
from probe.report.agreement import agreement_line, rank_agreement
from probe.report.render.markdown import markdown
from tests.report.test_render import row_of, table_of

few = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12)


@settings(deadline=None)
@given(few.filter(lambda pairs: all(len(set(values)) > 1 for values in zip(*pairs, strict=True))))
def test_it_is_scipys_with_equal_values_too(pairs: list[tuple[int, int]]):
    first, second = zip(*pairs, strict=True)
    assert spearman(first, second) == pytest.approx(spearmanr(first, second)[0])


def test_it_is_over_the_rows_that_have_both_and_stands_below_the_table():
    rows = [row_of("a", 10.0, 50.0), row_of("b", 20.0, 60.0), row_of("c", 30.0, 55.0, "other-benchmark")]
    table = table_of([*rows, row_of("d", 40.0), row_of("e", None, 70.0)])
    assert {(found.metric, found.rho, found.rows) for found in rank_agreement(table)} == {
        ("mMP@5", 0.5, 3),
        ("R@1", 0.5, 3),
    }
    line = "Rank agreement with the printed values (Spearman): mMP@5 0.50, R@1 0.50; 3 rows."
    assert agreement_line(table) == line
    assert f"- {line}" in markdown(table)


def test_two_rows_have_no_rank_agreement_and_neither_have_equal_ones():
    assert not rank_agreement(table_of([row_of("a", 10.0, 50.0), row_of("b", 20.0, 60.0)]))
    assert not rank_agreement(table_of([row_of(name, 10.0, 50.0 + n) for n, name in enumerate("abc")]))
