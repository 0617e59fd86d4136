"""The cohort of the evaluation, as a fixture."""

from tests.evaluation.conftest import cohort  # noqa: F401
