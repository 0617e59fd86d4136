"""The cohort of the evaluation and a table to judge, as fixtures."""

from tests.evaluation.conftest import cohort  # noqa: F401
from tests.made.study_tables import tables  # noqa: F401
