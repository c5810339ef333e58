"""The measured world of the report's tests."""

from tests.report.conftest import measured, world  # noqa: F401
