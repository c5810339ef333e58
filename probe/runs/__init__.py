"""Run directories: how runs are planned, recognised, made, written and read."""

from probe.runs.checkpoint import RunCheckpoint
from probe.runs.code import code_of, modules_of, scoring_modules
from probe.runs.directory import Environment, RunDirectory
from probe.runs.index import RunIndex
from probe.runs.run import Run
from probe.runs.scored import CONFIG, PER_QUERY, ScoredFolder, write_scored
from probe.runs.sealed import DIGESTS, digest_of, read_digests, seal
from probe.runs.sweeps import SweepError, sweep

__all__ = [
    "CONFIG",
    "DIGESTS",
    "PER_QUERY",
    "Environment",
    "Run",
    "RunCheckpoint",
    "RunDirectory",
    "RunIndex",
    "ScoredFolder",
    "SweepError",
    "code_of",
    "digest_of",
    "modules_of",
    "read_digests",
    "scoring_modules",
    "seal",
    "sweep",
    "write_scored",
]
