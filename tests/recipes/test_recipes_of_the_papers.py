"""Every printed table has a recipe, every printed value is in one, and every recipe makes a table without any data."""

import math
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from probe.backbones.catalogue import find_backbone
from probe.data.curation import read_curations
from probe.data.dataset import find_dataset
from probe.data.manifest import COLUMNS as MANIFEST
from probe.data.sample import SAMPLE
from probe.fit import Epochs, TrainedConfig
from probe.planning.inventory import Inventory
from probe.recipes.display import PARAMETERS, is_score
from probe.recipes.printed import COLUMNS, read_printed_values
from probe.recipes.recipe import Recipe, read_recipe
from probe.recipes.row import Row
from probe.report.model_size import SIZE_COLUMN
from probe.report.render.markdown import markdown
from probe.report.table import Table, TableRow, build_table
from probe.workspace import Workspace
from tests.conftest import Shared
from tests.data.published import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
REFERENCE = ROOT / "recipes" / "reference"
PRINTED = sorted(path.stem for path in REFERENCE.glob("un*_*.csv"))


@cache
def recipe_of(name: str) -> Recipe:
    return read_recipe(ROOT / "recipes" / f"{name}.yaml")


@cache
def table_of(name: str) -> Table:
    """Without data, features or runs."""
    nowhere = ROOT / "no such folder"
    return build_table(Inventory(recipe_of(name), Workspace(nowhere / "data", nowhere / "features", nowhere / "out")))


def is_ours(row: Row | TableRow) -> bool:
    """A row beside those of the paper."""
    return row.name.startswith("Ours: ")


def test_every_printed_table_has_a_recipe_of_its_name():
    numbers = {"unifex_table": 6, "unifex_appendix_table": 5, "uned_table": 6, "uned_supp_s": 5}
    tables = {f"{name}{number}" for name, count in numbers.items() for number in range(1, count + 1)}
    assert {"unifex_fig2_table", *tables} == set(PRINTED)
    for name in PRINTED:
        assert recipe_of(name).reference is not None, name
        assert recipe_of(name).reference.path.stem == name  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["encoders", *PRINTED])
def test_a_reference_is_the_printed_file_byte_for_byte(name: str, shared: Shared):
    path = REFERENCE / f"{name}.csv"
    assert path.read_bytes() == shared(f"reference/{path.name}").read_bytes()


@pytest.mark.parametrize("name", PRINTED)
def test_every_printed_value_stands_in_its_table_and_nothing_else_does(name: str):
    table, reference = table_of(name), recipe_of(name).reference
    assert reference is not None
    of_file = {
        (row, column, metric): value
        for row, columns in reference.rows.items()
        for column, values in columns.items()
        for metric, value in values.items()
    }
    shown = {
        (row.relation.printed, row.relation.columns.get(column, column), metric): value
        for row in table.rows
        for column, values in row.printed.items()
        for metric, value in values.items()
    }
    assert shown == of_file
    for row in table.rows:
        for column, values in row.printed.items():
            assert column in table.columns
            assert values.keys() <= set(table.metrics(column))


@pytest.mark.parametrize("name", PRINTED)
def test_a_row_that_is_not_the_printed_experiment_says_why(name: str):
    for row in recipe_of(name).rows:
        if is_ours(row):
            assert row.relation.printed is None
            assert not row.marked
            continue
        assert row.relation.printed is not None
        assert row.relation.compared is not None
        if row.relation.compared in ("linear-probe", "other-benchmark", "printed-only"):
            assert row.relation.because


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_makes_a_table_without_data_and_says_what_it_needs(path: Path):
    recipe = recipe_of(path.stem)
    if recipe.data == SAMPLE:
        return
    table = table_of(path.stem)
    assert [row.name for row in table.rows] == [row.name for row in recipe.rows]
    assert table.columns
    runs = any(row.runs for row in recipe.rows)
    counted = any(row.relation.compared == "recomputed" and not row.runs for row in recipe.rows)
    of_data = recipe.static is not None and counted and not any(row.cells for row in table.rows)
    assert bool(table.commands) == (runs or of_data or recipe.claims is not None)


def test_what_recipes_name_exists():
    drawn = {curation.name for path in (ROOT / "recipes/curation").glob("*.yaml") for curation in read_curations(path)}
    for path in RECIPES:
        recipe = recipe_of(path.stem)
        if recipe.data not in ("", SAMPLE, "pocket"):
            assert find_dataset(recipe.data)
        for row in recipe.rows:
            assert row.train is None or row.train in drawn
            for backbone in row.backbones:
                assert backbone == find_backbone(backbone.name, backbone.catalogue)


def test_scores_are_in_percent_whatever_the_paper_prints():
    for name in PRINTED:
        for row in read_printed_values(REFERENCE / f"{name}.csv").rows.values():
            for values in row.values():
                for metric, value in values.items():
                    if is_score(metric):
                        assert 1 < value.value <= 100, (name, metric)


def test_a_value_of_a_unifex_table_is_its_fraction_in_percent():
    values = read_printed_values(REFERENCE / "unifex_table5.csv").rows["Sub-Center ArcFace"]
    assert values["GUIEC val (public LB)"]["mMP@5"].value == 72.0


def test_abbreviated_numbers_keep_what_is_printed():
    tenth = read_printed_values(REFERENCE / "unifex_table6.csv").rows["10th [24]"]["model size"]
    assert {metric: (value.value, value.display) for metric, value in tenth.items()} == {
        "total parameters": (1_045e6, "1,045M"),
        "trainable parameters": (22e6, "22.0M"),
    }


def test_a_metric_may_say_where_it_was_measured():
    top = read_printed_values(REFERENCE / "uned_table5.csv").rows["Top 1"]
    assert top == {"GUIEC private split": {"mMP@5": (72.8, None, None)}}


def test_a_file_with_one_line_a_row_has_counts_and_texts(tmp_path: Path):
    path = tmp_path / "wide.csv"
    path.write_text(
        "dataset,split,year,n_images,n_classes,unseen_classes\nA,val,2020,4.1M,349k,partly(dagger)\nB,test,2021,7,,\n"
    )
    rows = read_printed_values(path).rows
    assert list(rows) == ["A val", "B test"]
    values = {metric: of_column[metric] for metric, of_column in rows["A val"].items()}
    assert (values["images"].value, values["images"].text) == (4_100_000, "4.1M")
    assert math.isnan(values["unseen classes"].value)
    assert values["unseen classes"].display == "partly†"
    assert list(rows["B test"]) == ["images"]


def test_unifexs_sizes_are_those_of_one_centre_a_class():
    three, one = (row.cells[SIZE_COLUMN] for row in table_of("unifex_table6").rows[-2:])
    assert [three[name].mean for name in PARAMETERS] == [434_980_992, 428_299_392, 6_755_392]
    assert [one[name].mean for name in PARAMETERS] == [430_526_592, 428_299_392, 2_300_992]
    printed = table_of("unifex_table6").rows[-1].printed[SIZE_COLUMN]
    assert {name: value.value / 1e6 for name, value in printed.items()} == {
        "total parameters": round(one["total parameters"].mean / 1e6),
        "trainable parameters": round(one["trainable parameters"].mean / 1e6, 1),
    }


def test_unifexs_printed_validation_stands_beside_the_measured_one():
    """Tables 4, 5 and A1 to A4 print the validation set's score; Table 3's rows train nothing and have none."""
    tables = ["unifex_table4", "unifex_table5", *(f"unifex_appendix_table{number}" for number in range(1, 5))]
    for name in tables:
        table = table_of(name)
        assert table.means == ["Mean", "Validation"]
        assert all("mMP@5" in row.printed["Validation"] for row in table.rows if not is_ours(row))
    tested = {row.name: row.printed["Mean"]["mMP@5"].value for row in table_of(tables[1]).rows if "Mean" in row.printed}
    assert tested == {"Sub-Center ArcFace": 72.1, "CurricularFace": 71.5}
    assert table_of("unifex_table3").means == ["Mean"]


def test_a_counted_table_shows_what_is_in_the_annotations(tmp_path: Path):
    for name in ("uned-met", "uned-sop"):
        PUBLISHED[name].write(tmp_path)
    table = build_table(
        Inventory(recipe_of("uned_table2"), Workspace(tmp_path, tmp_path / "features", tmp_path / "out"))
    )
    cells = {row.name: {name: cell[name].mean for name, cell in row.cells.items()} for row in table.rows if row.cells}
    assert cells == {"SOP": {"images": 1, "classes": 1}, "Met": {"images": 2, "classes": 2}}
    assert table.missing == ["not found: Food2k, CARS196, InShop, iNaturalist (2018), GLDv2, Rp2k"]
    assert [command.split(" --")[0] for command in table.commands][:2] == [
        "probe data list uned-food2k",
        "probe data list uned-cars196",
    ]
    assert "SOP: images: 1 counted, 48,942 printed" in table.notes
    assert "48,942 printed" in markdown(table)


def test_a_recount_of_as_many_images_and_classes_is_the_printed_number(tmp_path: Path):
    counts = (("train", "train", 6346, 78, 0), ("val", "both", 1708, 20, 78), ("test", "both", 8131, 98, 98))
    rows = [
        (f"{split}{image}.jpg", "cars196", str(first + image % classes), "cars196", split, role)
        for split, role, images, classes, first in counts
        for image in range(images)
    ]
    (tmp_path / "uned-cars196").mkdir()
    pl.DataFrame(rows, MANIFEST, orient="row").write_csv(tmp_path / "uned-cars196" / "manifest.csv")
    for name, places in (("uned_table2", ["CARS196"]), ("uned_table3", ["CARS196 val", "CARS196 test"])):
        table = build_table(Inventory(recipe_of(name), Workspace(tmp_path, tmp_path / "features", tmp_path / "out")))
        found = {row.name: row for row in table.rows if row.cells}
        assert list(found) == places
        for row in found.values():
            for metric, of_column in row.printed.items():
                assert row.cells[metric][metric].display == of_column[metric].display
        assert table.notes == []


def test_the_settings_of_unifexs_model_are_those_of_the_recipe():
    different = []
    for row in table_of("unifex_appendix_table5").rows:
        if row.cells:
            measured = str(row.cells["setting"]["setting"].display)
            printed = str(row.printed["setting"]["setting"].display)
            try:
                same = float(measured) == float(printed)
            except ValueError:
                continue
            different += [] if same else [row.name]
    assert different == []


def test_printed_totals_of_uned_add_up():
    for name in ("uned_table2", "uned_table3"):
        rows = read_printed_values(REFERENCE / f"{name}.csv").rows
        for total in (row for row in rows if row.startswith("Total")):
            split = total.removeprefix("Total")
            parts = [values for row, values in rows.items() if row.endswith(split) and row != total]
            for metric, value in rows[total].items():
                assert sum(part[metric][metric].value for part in parts) == value[metric].value, (name, total, metric)


def test_references_are_of_a_known_layout():
    assert COLUMNS[-2:] == ["value", "std"]
    for path in REFERENCE.glob("*.csv"):
        if path.stem != "encoders":
            assert read_printed_values(path).rows, path


def trained_configs(name: str) -> dict[str, TrainedConfig]:
    """Of each trained row, its first seed's."""
    return {row.name: run for row in recipe_of(name).rows for run in row.runs[:1] if isinstance(run, TrainedConfig)}


PUBLISHED_INITS = {  # where the papers' code starts the class matrix
    "lecun-uniform": [
        *("uned_table4", "uned-udon", "uned-gldv2-met", "pocket-regimes"),
        *(f"uned_supp_s{n}" for n in range(1, 5)),
    ],
    "linear": ["ilias-linear"],
    "xavier": [
        *(f"unifex_table{n}" for n in range(4, 7)),
        *(f"unifex_appendix_table{n}" for n in range(1, 5)),
        "uned_table6",  # UniFEx's head on the 5th place's features; the 6th's start is not stated
        "guiec-6th-place",  # not stated
    ],
}


@pytest.mark.parametrize(("init", "name"), [(init, name) for init, names in PUBLISHED_INITS.items() for name in names])
def test_class_matrices_start_as_the_paper_starts_them(init: str, name: str):
    assert {config.loss.options["init"] for config in trained_configs(name).values()} == {init}


def test_every_recipe_of_a_paper_that_trains_is_among_those_with_a_published_start():
    papers = [path.stem for path in RECIPES if path.stem.startswith(("uned", "unifex", "ilias", "guiec"))]
    known = {name for names in PUBLISHED_INITS.values() for name in names}
    assert {name for name in papers if trained_configs(name)} == known - {"pocket-regimes"}


@pytest.mark.parametrize(
    "name", ["uned_table4", "uned_supp_s1", "uned_supp_s3", "uned_supp_s4", "uned-udon", "uned-gldv2-met"]
)
def test_uneds_specialists_train_for_up_to_30_epochs_and_its_universal_models_for_7(name: str):
    specialists = {row.name for row in recipe_of(name).rows if row.specialists}
    for row, config in trained_configs(name).items():
        epochs = 30 if row in specialists or config.domain is not None else 7
        assert config.training.length == Epochs(epochs=epochs), row
        assert config.training.freeze_head_epochs in (0, 2)


def test_the_published_specialist_steps_are_whole_epochs_of_up_to_30():
    steps = trained_configs("uned_table4")["IN+USCSS"].training.sampler.options["specialist_steps"]
    *printed, _total = read_printed_values(REFERENCE / "uned_table2.csv").rows.values()
    steps_of_epochs = [values["images"]["images"].value // 128 for values in printed]
    assert [count / of_epoch for count, of_epoch in zip(steps.values(), steps_of_epochs, strict=True)] == [
        3, 11, 28, 28, 4, 8, 6, 4,
    ]  # fmt: skip
    assert 30 * sum(steps_of_epochs) == 663_480, "of the eight specialists of a seed, as the recipe's header says"


@pytest.mark.parametrize("name", ["unifex_table5", "uned_table4", "uned_table5"])
def test_rows_of_ours_stand_last_and_are_said_not_to_be_from_the_paper(name: str):
    recipe = recipe_of(name)
    ours = [is_ours(row) for row in recipe.rows]
    assert sum(ours) >= 3
    assert ours == sorted(ours)
    assert '"Ours" are not from the paper' in recipe.about
    assert {row.runs[0].head.kind for row in recipe.rows if is_ours(row)} >= {"discriminant", "distilled", "auto"}
