"""The names of the four cohorts and of a file beside them, below everything that uses them."""

from __future__ import annotations

TRAIN, VALIDATION = "train", "validation"
RETROSPECTIVE, PROSPECTIVE = "test_retrospective", "test_prospective"
COHORTS = (TRAIN, VALIDATION, RETROSPECTIVE, PROSPECTIVE)
TESTS = (RETROSPECTIVE, PROSPECTIVE)
CAUTIONS = "cautions.json"  # of work/split: a list of sentences without which the figures of a test mislead
