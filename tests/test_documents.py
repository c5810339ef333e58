"""README and docs/: what they name exists. Their commands and Python are run by tests/integration/test_quickstart.py."""

import re
from pathlib import Path

import pytest

from tests.documents import PAGES, ROOT, check_command, fences, lines, prose, spans

NAMES = [page.name for page in PAGES]
RUN = {"sh", "python"}  # by tests/integration: all that a page has of these
CHECKED = {"yaml"}  # below
NOT_RUN = {"text", "json"}  # shown only: needs downloads or a network, or is output


def page(name: str) -> str:
    return (ROOT / "README.md" if name == "README.md" else ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_run_or_checked_or_marked_as_text(name: str):
    for language, _ in fences(page(name)):
        assert language in RUN | CHECKED | NOT_RUN, f"{name}: a block in '{language}' is of no kind that a test knows"
    assert page(name).count("```") == 2 * len(fences(page(name)))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "README.md"])
def test_a_block_that_is_run_holds_nothing_that_the_tests_pass_over(name: str):
    for language, block in fences(page(name)):
        if language == "sh":
            assert all(line.startswith("probe ") for line in lines(block)), f"{name}: {block}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_with_its_options_wherever_it_stands(name: str):
    text = page(name)
    written = [line for language, block in fences(text) if language in ("sh", "text") for line in lines(block)]
    for line in [*written, *spans(text)]:
        if line.startswith("probe "):
            check_command(line)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "recipes").rglob("*.yaml")))
def test_the_commands_at_the_head_of_a_recipe_exist(name: str):
    [path] = (ROOT / "recipes").rglob(name)
    comments = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    for line in lines("\n".join(comments)):
        if line.startswith("probe "):
            check_command(line)


def test_a_command_or_option_or_choice_that_there_is_not_is_noticed():
    for line in ("probe fitt", "probe fit RECIPE --job 2", "probe evaluate RUN --data sample --combine soap"):
        with pytest.raises(AssertionError, match="there is no|takes soup"):
            check_command(line)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_within_the_project_leads_somewhere(name: str):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page(name))):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = folder / file if file else folder / name
        assert path.exists(), f"{name}: {target}"
        assert not heading or heading in anchors(path), f"{name}: {target}"


def anchors(path: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readmes_index_has_every_page():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", page("README.md")))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")}
