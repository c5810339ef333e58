"""From published data alone to the papers' tables, by the one script that `probe plan` writes, which is interrupted and
started again; then every number of these tables anew: from the stored features, the heads' files and UnED's lists, in
float64 and plain loops.
"""

import csv
import os
import signal
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tests.integration.commands import Shell
from tests.integration.toy import DOMAINS, METRICS, Toy, make_toy

pytestmark = pytest.mark.slow

TABLES = ("unifex_table5", "uned_table4", "uned_supp_s4", "uned_table5", "unifex_table3")
NAMES = ("Food2k", "CARS196", "SOP", "InShop", "iNat", "Met", "GLDv2", "Rp2k")
COLUMNS: dict[str, str] = {printed: domain.name for printed, domain in zip(NAMES, DOMAINS, strict=True)}
ENCODERS = {"IN": "uned-in", "CLIP": "uned-clip", "DINOv2": "uned-dinov2"}
REGIMES = {
    "PCAw": {"head.kind": "pca-whitening"},
    "UJCDS": {"training.sampler": "dataset-size", "training.classifier": "joint"},
    "UJCRR": {"training.sampler": "round-robin", "training.classifier": "joint"},
    "USCRR": {"training.sampler": "round-robin", "training.classifier": "separate"},
    "USCSS": {"training.sampler": "specialist-steps", "training.classifier": "separate"},
}
INTERRUPTED_AFTER = 20  # runs

Facts = Mapping[str, Any]
"""Of a run's configuration, by dotted keys: what makes it the run of a row."""
Values = dict[str, dict[str, float]]
"""By domain or column, and metric, in percent."""


def facts(table: str, row: str, encoder: str | None) -> Facts:
    """What the papers say of a row, by its name. `encoder`: the recipe's, whose names are not the papers'."""
    if table == "unifex_table5":
        loss = {"ArcFace with dyn. margin": "dynamic-arcface"}.get(row, row.lower().replace(" ", "-"))
        return {"backbone": "siglip-so400m-14-384", "head.kind": "linear", "loss.kind": loss}
    if table == "unifex_table3":
        head = "average-pooling" if row.endswith("pooling") else "random-projection"
        return {"backbone": encoder, "head.kind": head}
    if table == "uned_table5":
        return {"backbone": "openclip-vit-h14-projected", "head.kind": "full-dimension"}
    shown, _, regime = row.partition("+")
    if not regime:
        return {"backbone": ENCODERS[shown.split(" ")[0]], "head.kind": "full-dimension"}
    if regime in REGIMES:
        return {"backbone": ENCODERS[shown], **REGIMES[regime]}
    return {"backbone": ENCODERS[shown], "domain": "each" if regime == "Oracle" else COLUMNS[regime]}


@dataclass(frozen=True)
class Mission:
    """A home in which the script has been run."""

    toy: Toy
    shell: Shell
    first: list[str] = field(default_factory=list)
    """What the script said until it was interrupted."""
    kept: dict[Path, int] = field(default_factory=dict)
    """What was finished then, with the times of its last change."""

    @property
    def home(self) -> Path:
        return self.toy.home

    @property
    def finished(self) -> dict[Path, int]:
        files = [*self.home.glob("features/*/*.h5"), *self.home.glob("out/runs/[!.]*/metrics.json")]
        return {file: file.stat().st_mtime_ns for file in files}

    def interrupt(self) -> None:
        """Ctrl-C in the terminal of the script, in the midst of a fit."""
        script = self.shell.start("bash plan.sh > first.log 2>&1", own_group=True)
        while len(list(self.home.glob("out/runs/[!.]*/metrics.json"))) < INTERRUPTED_AFTER and script.poll() is None:
            time.sleep(0.05)
        os.killpg(script.pid, signal.SIGINT)
        code = script.wait(60)
        self.first.append((self.home / "first.log").read_text())
        assert code == 130, self.first[0]
        self.kept.update(self.finished)

    def table(self, name: str) -> dict[tuple[str, str, str], dict[str, str]]:
        """The lines of a table, by row, column and metric."""
        with (self.home / "out" / "tables" / f"{name}.csv").open() as file:
            return {(line["row"], line["column"], line["metric"]): line for line in csv.DictReader(file)}

    def recipe(self, name: str) -> dict[str, Any]:
        return yaml.safe_load((self.home / "recipes" / f"{name}.yaml").read_text())

    @cached_property
    def runs(self) -> list[tuple[Path, dict[str, Any]]]:
        """With their configurations."""
        files = sorted(self.home.glob("out/runs/[!.]*/config.yaml"))
        return [(file.parent, yaml.safe_load(file.read_text())["config"]) for file in files]

    def runs_with(self, wanted: Facts) -> Iterator[tuple[Path, dict[str, Any]]]:
        domain = wanted.get("domain")
        for path, config in self.runs:
            known = {key: config[key] if key in config else _at(config, key) for key in wanted}
            if domain == "each" and config["domain"]:
                known["domain"] = "each"
            if known == wanted and (domain or not config["domain"]):
                yield path, config

    def rows(self, table: str) -> dict[str, list[Values]]:
        """Of each row that can be measured its seeds, computed anew, by printed columns and the mean of domains."""
        return {
            row["name"]: self._seeds(facts(table, row["name"], row.get("backbone")))
            for row in self.recipe(table)["rows"]
            if row.get("compared") != "printed-only"
        }

    def _seeds(self, wanted: Facts) -> list[Values]:
        by_seed: dict[int, Values] = {}
        for path, config in self.runs_with(wanted):
            of_run = self.values[path]
            only = config["domain"] if wanted.get("domain") == "each" else None  # the oracle's, for its own queries
            by_seed.setdefault(config["seed"], {}).update({only: of_run[only]} if only else of_run)
        assert by_seed, wanted
        return [balanced(values) for values in by_seed.values()]

    @cached_property
    def stores(self) -> dict[Path, dict[str, np.ndarray]]:
        """The features in float64, by image."""
        return {path: _features(path) for path in self.home.glob("features/*/*.h5")}

    def features(self, backbone: str, pictures: "list[Shown]") -> np.ndarray:
        """(N, D)."""
        folder = self.home / "features"
        return np.stack([self.stores[folder / each.source / f"{backbone}.h5"][each.image] for each in pictures])

    @cached_property
    def values(self) -> dict[Path, Values]:
        """Of each run, computed anew; of a specialist for all domains."""
        return {path: self._values(path, config) for path, config in self.runs}

    def _values(self, path: Path, config: dict[str, Any]) -> Values:
        backbone = config["backbone"] + ("@test" if config["views"] else "")
        queries, index = shown_in_test(self.toy)
        heads = embed(config["head"], load_file(path / "head.safetensors"), self.features(backbone, [*queries, *index]))
        return score(queries, index, heads[: len(queries)], heads[len(queries) :], config["distance"])


def _at(config: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return (config.get(section) or {}).get(name)


def _features(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        ids, features = np.asarray(file["id"]), np.asarray(file["features"], np.float64)
    return {image.decode(): vector for image, vector in zip(ids.tolist(), features, strict=True)}


@dataclass(frozen=True)
class Shown:
    """An image of UnED's test."""

    domain: str
    source: str
    image: str
    labels: frozenset[int]


def shown_in_test(toy: Toy) -> tuple[list[Shown], list[Shown]]:
    """Queries, and the index of all domains: their own images where UnED has no list of its index."""
    found: list[list[Shown]] = [[], []]
    for domain in DOMAINS:
        lists = toy.lists[domain.name]
        for of_part, pictures in zip(found, (lists["test"], lists.get("index", lists["test"])), strict=True):
            ids = ((path.removeprefix(domain.prefix), frozenset(labels)) for path, labels in pictures)
            of_part += [Shown(domain.name, domain.source, image, labels) for image, labels in ids]
    return found[0], found[1]


def embed(head: dict[str, Any], weights: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """(N, D) -> (N, d), by the equations of docs/heads.md."""
    weights = {name: values.astype(np.float64) for name, values in weights.items()}
    if head["kind"] == "full-dimension":
        return features
    if head["kind"] == "average-pooling":  # windows that overlap where d does not divide D
        length, dim = features.shape[1], head["dim"]
        windows = [(i * length // dim, -(-(i + 1) * length // dim)) for i in range(dim)]
        return np.stack([features[:, start:stop].mean(axis=1) for start, stop in windows], axis=1)
    if head["kind"] == "pca-whitening":
        return (_unit(features) - weights["mean"]) @ weights["projection"].T
    taken = _unit(features) if head["kind"] == "l2-linear-l2" else features
    return taken @ weights["weight"].T + weights["bias"]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def score(queries: list[Shown], index: list[Shown], asked: np.ndarray, found: np.ndarray, distance: str) -> Values:
    """By domain and metric, in percent, in the merged index."""
    if distance == "cosine":
        near = _unit(asked) @ _unit(found).T
    else:
        near = -np.stack([((found - vector) ** 2).sum(axis=1) for vector in asked])
    of_domain: dict[str, list[tuple[float, ...]]] = {domain.name: [] for domain in DOMAINS}
    for query, similarities in zip(queries, near, strict=True):
        ranked = [index[i] for i in np.argsort(-similarities, kind="stable")]
        results = [each for each in ranked if (each.source, each.image) != (query.source, query.image)]
        hits = [each.domain == query.domain and bool(each.labels & query.labels) for each in results]
        if any(hits):
            of_domain[query.domain].append(metrics_of(hits))
    means = {domain: np.mean(values, axis=0) for domain, values in of_domain.items()}
    return {domain: dict(zip(METRICS, 100 * mean, strict=True)) for domain, mean in means.items()}


def metrics_of(hits: list[bool]) -> tuple[float, float, float]:
    """mMP@5, R@1 and mAP@100 of a query with something to find (UnED, equations 1, 2 and S2, and its code)."""
    n = sum(hits)
    precisions, seen = 0.0, 0
    for rank, hit in enumerate(hits[:100], 1):
        seen += hit
        precisions += hit * seen / rank
    return sum(hits[: min(n, 5)]) / min(n, 5), float(hits[0]), precisions / min(n, 100)


def balanced(values: Values) -> Values:
    """By printed columns, from those of domains, and with their mean."""
    mean = {metric: statistics.fmean(of_domain[metric] for of_domain in values.values()) for metric in METRICS}
    return {"Mean": mean} | {column: values[domain] for column, domain in COLUMNS.items()}


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> Mission:
    home = tmp_path_factory.mktemp("mission")
    mission = Mission(make_toy(home), Shell(home, {"HF_HUB_CACHE": str(home / "hub"), "OMP_NUM_THREADS": "1"}))
    (home / "plan.sh").write_text(mission.shell(f"probe plan {' '.join(TABLES)} --sh").stdout)
    mission.interrupt()
    mission.shell.script("plan.sh")
    mission.shell(f"probe table {' '.join(TABLES)} claims")
    return mission


def test_an_interrupted_script_goes_on_where_it_was(mission: Mission):
    assert mission.first[0].count("interrupted: what is finished is kept") == 1
    assert len(mission.kept) > INTERRUPTED_AFTER
    assert mission.kept.items() <= mission.finished.items()


def test_nothing_is_left_to_run(mission: Mission):
    assert mission.shell(f"probe plan {' '.join(TABLES)}").stdout.strip() == ("there is nothing to run")


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_measured_and_every_number_is_that_of_plain_loops(mission: Mission, table: str):
    lines, rows = mission.table(table), mission.rows(table)
    assert rows
    for row, seeds in rows.items():
        for column in ("Mean", *COLUMNS):
            for metric in METRICS:
                expected = [values[column][metric] for values in seeds]
                line, place = lines[row, column, metric], f"{table}: {row}, {column}, {metric}"
                assert int(line["seeds"]) == len(expected), place
                assert float(line["measured"]) == pytest.approx(statistics.fmean(expected), abs=1e-9), place
                if len(expected) > 1:
                    assert float(line["std"]) == pytest.approx(statistics.stdev(expected), abs=1e-9), place


def test_claims_that_compare_two_rows_have_the_difference_of_plain_loops(mission: Mission):
    metric_of: dict[str, str] = {}
    for claim in mission.recipe("claims")["claims"]:
        for name in claim.get("each", [""]):
            metric_of[claim["claim"].replace("{}", name)] = claim.get("metric", "mMP@5")
    means = {}
    for rows in map(mission.rows, TABLES):
        for (one, seeds), (other, others), column in product(rows.items(), rows.items(), ("Mean", *COLUMNS)):
            text = f"{one} - {other}, {column}"
            means[text] = {metric: _mean(seeds, column, metric) - _mean(others, column, metric) for metric in METRICS}
    lines, checked = mission.table("claims"), 0
    for claim, column, _ in lines:
        if column == "difference" and (claim, "p", "p") in lines:  # without p it is not of test queries
            compared = lines[claim, "rows", "rows"]["measured"]
            if compared in means:
                found = float(lines[claim, column, column]["measured"])
                assert found == pytest.approx(means[compared][metric_of[claim]], abs=1e-9), claim
                checked += 1
    assert checked > 30


def _mean(seeds: list[Values], column: str, metric: str) -> float:
    return statistics.fmean(values[column][metric] for values in seeds)
