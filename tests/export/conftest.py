"""The small runs of tests/embed, for exports."""

from tests.embed.conftest import run, world

__all__ = ["run", "world"]
