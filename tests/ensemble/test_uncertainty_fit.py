"""Conformal limits from the validation cohort: whose scores they are, how often they cover, what is not available."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_pipeline.ensemble.case_score import CaseScore, cases_positive
from ich_pipeline.ensemble.conformal import excluded
from ich_pipeline.ensemble.cross_reading import CrossReading, cross_read
from ich_pipeline.ensemble.fit import fit_ensemble, fit_uncertainty
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.selection import leave_out


def names(cohort) -> tuple[list[str], list[str]]:
    return [f"1.2.{i}" for i in range(len(cohort.case_index))], [f"C{case}" for case in cohort.case_index]


@pytest.fixture(scope="module")
def fitted(cohort, ensemble_params):
    ensemble, _, validation = fit_ensemble(
        cohort.labels, cohort.predictions, cohort.case_index, cohort.neighbours, ensemble_params
    )
    found = fit_uncertainty(
        cohort.labels, cohort.predictions, cohort.case_index, cohort.neighbours, names(cohort), validation.crossed,
        ensemble.case_score, ensemble_params,
    )  # fmt: skip
    return replace(ensemble, uncertainty=found), validation


def test_limits_are_order_statistics_of_cross_fitted_scores(fitted, cohort, ensemble_params) -> None:
    ensemble, validation = fitted
    reading = validation.crossed
    assert isinstance(reading, CrossReading)
    scores = ensemble.case_score(reading.final, cohort.case_index, cohort.neighbours)
    truth = cases_positive(cohort.predictions.truth, cohort.case_index)
    for k, name in enumerate(cohort.labels.columns):
        limits = ensemble.uncertainty.cases[name]
        positive = scores[truth[:, k] == 1, k]
        assert limits.positives == len(positive)
        assert (positive < limits.present_from).sum() == excluded(len(positive), 0.9) - 1
        assert limits.negatives == len(truth) - len(positive)
    # One slice a patient: 30 of 60 bleed, all have a slice that does not.
    assert (ensemble.uncertainty.slices["any"].positives, ensemble.uncertainty.slices["any"].negatives) == (30, 60)


def test_cross_fitted_scores_of_a_patient_do_not_depend_on_its_labels(cohort, ensemble_params) -> None:
    predictions = cohort.predictions
    changed = predictions.truth.copy()
    changed[predictions.patients == 0] = changed[predictions.patients == 0].max(axis=0)
    other = replace(predictions, truth=changed)
    params = ensemble_params.model_copy(update={"folds": 3})
    before, after = (
        cross_read(p, cohort.case_index, cohort.neighbours, leave_out(p, 3), params) for p in (predictions, other)
    )
    assert isinstance(before, CrossReading) and isinstance(after, CrossReading)
    (fold,) = (f for f in leave_out(predictions, 3) if f.rows[0])
    np.testing.assert_array_equal(before.final[fold.rows], after.final[fold.rows])
    assert not np.array_equal(before.final[~fold.rows], after.final[~fold.rows])


def test_a_finding_of_no_patient_is_not_available(cohort_without_epidural, ensemble_params) -> None:
    cohort = cohort_without_epidural
    predictions = cohort.predictions
    reading = cross_read(predictions, cohort.case_index, cohort.neighbours, leave_out(predictions, 5), ensemble_params)
    found = fit_uncertainty(
        cohort.labels, predictions, cohort.case_index, cohort.neighbours, names(cohort), reading, CaseScore("max"),
        ensemble_params,
    )  # fmt: skip
    for level in (found.cases, found.slices):
        assert (
            level["epidural"].reason == "calibration has 0 patients with the finding, and 90% coverage needs at least 9"
        )
        assert level["any"].reason is None


def test_json_round_trip(fitted, tmp_path) -> None:
    ensemble, _ = fitted
    ensemble.save(tmp_path / "ensemble.json")
    assert Ensemble.load(tmp_path / "ensemble.json") == ensemble
    assert set(ensemble.uncertainty.networks) == set(ensemble.degrees)
