"""docs/coverage.md is what docs/coverage.yaml says, row by row of the checklist, and every name in it exists."""

import re

import pytest

from tests.conftest import SHARED
from tests.coverage import PAGE, Row, mistakes, page, read_rows

CHECKLIST = SHARED / "reference" / "SYSTEMS.md"  # compared where it is


@pytest.mark.slow
def test_the_page_is_current_and_every_name_in_it_exists():
    sections = read_rows()
    rows = [row for section in sections.values() for row in section]
    found = mistakes(rows)
    if CHECKLIST.exists():
        found += differences(rows, CHECKLIST.read_text())
    assert not found, "\n".join(found)
    assert PAGE.read_text() == page(sections), "docs/coverage.md is not what docs/coverage.yaml says; run make coverage"


def differences(rows: list[Row], checklist: str) -> list[str]:
    """Rows that are not the checklist's, or have no place though frozen features allow them."""
    wanted = [[cell.strip() for cell in line.split("|")] for line in re.findall(r"^\| *\d.*", checklist, re.MULTILINE)]
    found = [] if len(rows) == len(wanted) else [f"{len(rows)} rows, the checklist has {len(wanted)}"]
    for row, (_, number, _, item, _, frozen, *_) in zip(rows, wanted, strict=False):
        if [str(row.number), row.item] != [number, item]:
            found.append(f"row {row.number} is {row.item}; the checklist's {number} is {item}")
        if frozen.startswith("yes") and not row.where:
            found.append(f"row {number} has no place")
    return found


WRONG = """
probe fitt · probe fit --job · make tables · docs/loss.md · recipes/quickstart.yaml::Arcface · head: linar · lost: 1
loss: {kind: arcface, margins: 1} · backbone: [descriptor, clip-b16] · data: sops · sampler: even · metrics: [mMP@6]
tests/test_coverage.py::test_nothing · recipes/curation/appendix-a1.yaml::a1
"""


def test_names_of_nothing_and_rows_without_a_reason_are_noticed():
    names = re.split(r" · |\n", WRONG.strip())
    assert len(mistakes([Row(number=1, item="", note=" ".join(f"`{name}`" for name in names))])) == len(names)
    assert mistakes([Row(number=2, item="")]) == [
        "row 2 stands in the place of row 1",
        "row 2 has neither a place nor a reason",
    ]
    assert mistakes([Row(number=1, item="", where=[{"loss": "arcface"}, "recipes/uned_table4.yaml"])])
