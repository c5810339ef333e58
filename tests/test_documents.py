"""README and docs/: what they name exists. What they tell to run is run by tests/integration/test_quickstart.py."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from probe.data.curation import read_curations
from probe.fit import SAMPLERS, Training
from probe.heads import HeadConfig
from probe.losses import LossConfig
from probe.metrics import METRIC_KINDS
from probe.recipes.recipe import RecipeFile, read_recipe
from probe.recipes.row import RowFile
from probe.recipes.static import STATIC_RECIPES
from probe.validation import models_in
from tests.documents import PAGES, ROOT, check_command, fences, lines, prose, spans, whole

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


def test_the_readmes_commands_stand_where_they_are_run():
    for section in re.split(r"^## ", page("README.md"), flags=re.MULTILINE):
        for language, block in fences(section):
            if language == "sh" and section.partition("\n")[0] not in ("A tour", "Your own folder"):
                assert all(line.startswith("make ") for line in lines(block)), block


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's recipes, for others beside them."""
    return shutil.copytree(ROOT / "recipes", tmp_path_factory.mktemp("pages") / "recipes")


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_of_a_page_is_a_recipe_or_a_piece_of_one(name: str, recipes: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(recipes)
    for file, block in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", page(name), flags=re.DOTALL | re.MULTILINE):
        (recipes / file).write_text(block)  # a module that the page has its reader write
    for number, block in enumerate(block for language, block in fences(page(name)) if language == "yaml"):
        path = recipes / f"{name}-{number}.yaml"
        content = yaml.safe_load(block)
        complete = {"kind", "sources"} & set(content) if isinstance(content, dict) else ()
        path.write_text(block if complete else yaml.safe_dump(whole(content)))
        if "sources" in content:
            assert read_curations(path)
        else:
            assert read_recipe(path).rows


def test_the_page_of_recipes_has_every_key_and_every_kind():
    """The keys of a file and of a row as the code knows them, and what a row's choices are called."""
    text = page("recipes.md")
    known = {key for model in (RecipeFile, RowFile, *STATIC_RECIPES.values()) for key in model.model_fields}
    missing = {*known, "based_on", "like"} - {"seed", *spans(text)}
    assert not missing
    kinds = {model.model_fields["kind"].default for of in (HeadConfig, LossConfig) for model in models_in(of)}
    assert {*kinds, *SAMPLERS.kinds, *Training.choices["classifier"].kinds} <= set(spans(text))


KINDS = ("exact", "recomputed", "linear-probe", "other-benchmark", "printed-only")
TABLES = [
    line.split("|")[2:4] for line in page("tables.md").splitlines() if re.match(r"\| [\w ,]+ \| `\w+\.yaml`", line)
]


@pytest.mark.parametrize(("files", "told"), TABLES, ids=lambda cell: cell.strip())
def test_the_rows_of_a_papers_table_are_of_the_kinds_that_the_page_tells(files: str, told: str):
    rows = [row.relation.compared for file in spans(files) for row in read_recipe(ROOT / "recipes" / file).rows]
    assert {kind for kind in KINDS if kind.replace("-", " ") in told} == {kind for kind in rows if kind}
    for count, kind in re.findall(r"(\d+) ([a-z]+(?: (?:probe|benchmark|only))?)", told):
        assert rows.count(kind.replace(" ", "-")) == int(count), f"{count} {kind}"


def test_every_recipe_is_on_the_page_of_tables():
    assert {path.name for path in (ROOT / "recipes").glob("*.yaml")} <= set(spans(page("tables.md")))


@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_with_its_options_wherever_it_stands(name: str):
    text = page(name)
    written = [line for language, block in fences(text) if language in ("sh", "text") for line in lines(block)]
    for line in [*written, *spans(text)]:
        if line.startswith("probe "):
            check_command(line)


def test_the_commands_at_the_head_of_a_recipe_exist():
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        comments = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
        for line in lines("\n".join(comments)):
            if line.startswith("probe "):
                check_command(line)


def test_a_command_or_option_or_choice_that_there_is_not_is_noticed():
    for line in ("probe fitt", "probe fit RECIPE --job 2", "probe evaluate RUN --data sample --combine soap"):
        with pytest.raises(AssertionError, match=r"there is no|takes soup"):
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


def test_the_table_of_metrics_is_that_of_the_registry():
    rows = re.findall(r"^\| (\S+) \| .* \| (yes|no) \| .* \|$", page("evaluation.md"), flags=re.MULTILINE)
    assert dict(rows) == {kind.form: "yes" if kind.has_official else "no" for kind in METRIC_KINDS}
