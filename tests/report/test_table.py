"""Tables: what they show is what the runs measured, and what is missing is said."""

import csv
import io
import json
import statistics
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from feature_cache import Failure, Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.planning.inventory import Inventory
from probe.recipes.recipe import read_recipe
from probe.report.render.files import write_files
from probe.report.render.long_csv import long_csv
from probe.report.render.markdown import markdown
from probe.report.render.terminal import show
from probe.report.table import Table, build_table
from probe.runs import sweep
from tests.report.world import RECIPE, World


def measured(world: World) -> Table:
    sweep(Inventory(world.recipe, world.workspace).runs(), "cpu")
    return build_table(Inventory(world.recipe, world.workspace))


def terminal_text(table: Table) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show(table, console)
    return console.export_text()


def csv_line(table: Table, row: str, column: str, metric: str = "mMP@5") -> dict[str, str]:
    lines = csv.DictReader(io.StringIO(long_csv(table)))
    [found] = [line for line in lines if (line["row"], line["column"], line["metric"]) == (row, column, metric)]
    return found


def test_a_cell_is_the_mean_and_deviation_of_its_runs(world: World):
    world.write_store()
    table = measured(world)
    files = sorted(world.workspace.runs.glob("descriptor_random-projection_*/metrics.json"))
    values = [
        100 * json.loads(file.read_text())["test"]["clean"]["merged"]["domains"]["cars"]["mMP@5"] for file in files
    ]
    assert len(values) == 3
    cell = table.rows[1].cells["cars"]["mMP@5"]
    assert cell.mean == pytest.approx(statistics.fmean(values))
    assert cell.std == pytest.approx(statistics.stdev(values))


def test_one_run_has_no_deviation(world: World):
    world.write_store()
    assert measured(world).rows[0].cells["Mean"]["R@1"].std is None


def test_printed_values_stand_beside_the_measured_ones(world: World):
    world.write_store()
    table = measured(world)
    assert "50.5 / -" in terminal_text(table)
    assert "| printed (exact) |  |  | 50.5 |  |  | 61.0 |  |  |" in markdown(table)
    line = csv_line(table, "Full", "birds", "R@1")
    assert line["printed"] == "61.0"
    assert float(line["measured"]) == table.rows[0].cells["birds"]["R@1"].mean


def test_the_best_mean_is_bold_and_no_other(world: World):
    world.write_store()
    table = measured(world)
    best = max(row.cells["Mean"]["mMP@5"].mean for row in table.rows)
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in markdown(table).splitlines() if "|" in line}
    for row in table.rows:
        assert lines[row.name].split(" | ")[3].startswith("**") == (row.cells["Mean"]["mMP@5"].mean == best)


def test_a_recipe_without_data_shows_its_printed_values_and_what_to_do(world: World):
    table = build_table(Inventory(replace(world.recipe, data="absent"), world.workspace))
    text = terminal_text(table)
    assert "50.5" in text
    assert "no data 'absent'" in text
    assert "probe extract absent --backbone descriptor" in text
    assert table.columns == ["Mean", "birds"]


def test_a_recipe_without_features_names_the_extract_command_and_then_the_fit_command(world: World):
    table = build_table(Inventory(world.recipe, world.workspace))
    places = f"--data-root {world.workspace.data_root} --cache {world.workspace.cache}"
    assert table.commands == [
        f"probe extract small --backbone descriptor --split test {places}",
        f"probe fit {world.recipe.path} {places} --out {world.workspace.out}",
    ]


def test_each_missing_backbone_of_fused_features_and_of_views_has_one_command(world: World):
    text = RECIPE.replace(
        "- {name: Random}",
        """- {name: Fused, backbone: [descriptor, siglip-so400m-14-384]}
  - {name: Fused again, backbone: [siglip-so400m-14-384, descriptor], append: [width]}
  - {name: Views, backbone: siglip-so400m-14-384, views: true}""",
    )
    world.recipe.path.write_text(text)
    world.write_store()
    table = build_table(Inventory(read_recipe(world.recipe.path), world.workspace))
    extract = [command for command in table.commands if "extract" in command]
    names = ["siglip-so400m-14-384", "siglip-so400m-14-384@test"]
    assert [command.split("--backbone ")[1].split()[0] for command in extract] == names
    assert len(table.missing) == 2
    assert [row.planned for row in table.rows] == [1, 3, 3, 3]
    assert "Fused again" in terminal_text(table)


@pytest.mark.slow
def test_fused_features_and_sizes_are_measured_from_the_recipe(world: World):
    world.write_store()
    with StoreWriter(world.workspace.store("small", "foreign:other"), {"provenance": "foreign"}) as writer:
        ids = world.images[:-1]
        writer.add(
            Rows(ids, np.random.default_rng(1).normal(size=(len(ids), 8)), np.zeros((len(ids), 2))),
            [Failure(world.images[-1], "OSError: empty")],
        )
        writer.finish()
    row = (
        '{name: Fused, backbone: [descriptor, "foreign:other"], append: [width, aspect], head: {kind: full-dimension}}'
    )
    world.recipe.path.write_text(RECIPE.replace("{name: Random}", row))
    table = measured(replace(world, recipe=read_recipe(world.recipe.path)))
    assert [row.dim for row in table.rows] == [16, 16 + 8 + 2]
    assert any("descriptor+foreign:other+width+aspect: 1 rows left out" in note for note in table.notes)
    assert not table.missing


def test_a_faulty_manifest_is_reported_in_its_table(world: World):
    manifest = world.workspace.data_root / "small" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("domain", "domian", 1))
    table = build_table(Inventory(world.recipe, world.workspace))
    assert any("lacks the column 'domain'" in line for line in table.missing)
    assert not table.commands
    assert "50.5" in terminal_text(table)


def test_a_recipe_that_was_not_fitted_names_the_fit_command(world: World):
    world.write_store()
    table = build_table(Inventory(world.recipe, world.workspace))
    assert [command.split(" --")[0] for command in table.commands] == [f"probe fit {world.recipe.path}"]
    assert not table.missing
    assert "0/3" in terminal_text(table)


def test_features_of_another_preprocessing_are_refused_not_shown(world: World):
    spec = find_backbone("descriptor").spec()
    world.write_store(spec | {"preprocessing": spec["preprocessing"] | {"px": 96}})
    table = build_table(Inventory(world.recipe, world.workspace))
    assert "preprocessing.px" not in " ".join(table.commands)
    assert any("px: 96, not 128" in line for line in table.missing)
    assert not any(row.cells for row in table.rows)


def test_images_that_could_not_be_decoded_are_noted(world: World):
    world.write_store(failed="cars/cars9/2.jpg")
    table = measured(world)
    assert any("1 rows left out" in note and "cars/cars9/2.jpg" in note for note in table.notes)
    assert "cars/cars9/2.jpg" in markdown(table)


def test_a_changed_manifest_is_measured_anew(world: World):
    world.write_store()
    measured(world)
    manifest = world.workspace.data_root / "small" / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    table = build_table(Inventory(world.recipe, world.workspace))
    assert not any(row.cells for row in table.rows)


def test_names_are_shown_as_they_are_whatever_their_brackets(world: World):
    rows = [replace(row, name=f"{row.name} [old] [/b]") for row in world.recipe.rows]
    table = build_table(Inventory(replace(world.recipe, title="A [small] table", rows=rows), world.workspace))
    assert "A [small] table" in terminal_text(table)
    assert "Full [old] [/b]" in terminal_text(table)


def test_files_are_named_after_the_recipe(world: World):
    world.write_store()
    files = write_files(measured(world), world.workspace.tables)
    assert [file.name for file in files] == ["small.md", "small.csv", "small.tex", "small.html"]
    assert files[0].read_text().startswith("# A small table\n")


def test_a_row_that_has_seen_the_index_images_is_marked_and_ranked_among_no_others(world: World):
    world.write_store()
    fitted = "  - {name: Fitted, head: {kind: discriminant, dim: 8, fit_to: small}}\n"
    world.recipe.path.write_text(RECIPE + fitted)
    recipe = read_recipe(world.recipe.path)
    sweep(Inventory(recipe, world.workspace).runs(), "cpu")
    table = build_table(Inventory(recipe, world.workspace))
    assert {row.name: row.marked for row in table.rows} == {"Full": True, "Random": True, "Fitted": False}
    assert "Fitted: has seen the index images, not their labels, and is not ranked among the others" in table.notes


@pytest.mark.slow
def test_the_discriminant_is_advised_where_heads_were_trained_on_few_classes_and_is_not_there(world: World):
    def advice(rows: str) -> list[str]:
        world.recipe.path.write_text(RECIPE.replace("  - {name: Random}\n", rows))
        recipe = read_recipe(world.recipe.path)
        sweep(Inventory(recipe, world.workspace).runs(), "cpu")
        return [note for note in build_table(Inventory(recipe, world.workspace)).notes if "discriminant" in note]

    world.write_store()
    trained = (
        "  - {name: %s, head: {kind: linear, dim: 8}, loss: {kind: arcface}, training: {epochs: 1}, seeds: [%d]}\n"
    )
    few = trained % ("ArcFace", 0) + trained % ("Again", 1)
    [note] = advice(few)
    assert note.startswith("ArcFace, Again: trained on 12 classes; with so few, `head: {kind: discriminant}` has been")
    assert not advice(few + "  - {name: Discriminant, head: {kind: discriminant, dim: 8}}\n")
    assert not advice("  - {name: Random}\n")
