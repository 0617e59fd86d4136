"""The small project of the report's tests."""

from tests.report.conftest import inputs, params  # noqa: F401
