"""The small world of the tests of fitting."""

from tests.fit.conftest import cached, world  # noqa: F401
