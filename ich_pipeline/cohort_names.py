"""The names of the four cohorts, below everything that uses them."""

from __future__ import annotations

TRAIN, VALIDATION = "train", "validation"
RETROSPECTIVE, PROSPECTIVE = "test_retrospective", "test_prospective"
COHORTS = (TRAIN, VALIDATION, RETROSPECTIVE, PROSPECTIVE)
TESTS = (RETROSPECTIVE, PROSPECTIVE)
