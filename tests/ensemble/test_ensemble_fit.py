"""The fitted ensemble: thresholds hold on the scores that they are for, absent labels say so, JSON keeps everything."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.case_score import cases_positive
from ich_pipeline.ensemble.fit import cross_calibrated, fit_ensemble
from ich_pipeline.ensemble.model import Ensemble, spread
from ich_pipeline.ensemble.ranking import mean_average_precision


def fit(cohort, params):
    return fit_ensemble(cohort.labels, cohort.predictions, cohort.case_index, cohort.neighbours, params)


@pytest.fixture(scope="module")
def fitted(cohort, ensemble_params):
    return fit(cohort, ensemble_params)


def test_gate_and_points_reach_their_targets_on_validation(fitted, cohort) -> None:
    ensemble, _, validation = fitted
    truth = cohort.predictions.truth
    assert (validation.first[truth[:, 0] == 1, 0] >= ensemble.gate_threshold).mean() >= 0.95
    for k, name in enumerate(cohort.labels.columns):
        points = ensemble.slice_points[name]
        assert (validation.final[truth[:, k] == 1, k] >= points["high_sensitivity"].threshold).mean() >= 0.95
        assert (validation.final[truth[:, k] == 0, k] < points["high_specificity"].threshold).mean() >= 0.9
        sensitivity = (validation.final[truth[:, k] == 1, k] >= points["balanced"].threshold).mean()
        assert points["balanced"].sensitivity == pytest.approx(sensitivity)


def test_case_points_count_cases_that_the_gate_stops_as_negative(fitted) -> None:
    ensemble, _, validation = fitted
    point = ensemble.case_points["any"]["balanced"]
    called = validation.let_through & (validation.case_scores[:, 0] >= point.threshold)
    assert point.sensitivity == pytest.approx(called[validation.case_truth[:, 0] == 1].mean())
    assert point.specificity == pytest.approx((~called[validation.case_truth[:, 0] == 0]).mean())


def test_final_is_the_second_reading_where_reread_only(fitted) -> None:
    _, _, validation = fitted
    assert 0 < validation.reread.sum() < len(validation.reread)
    np.testing.assert_array_equal(validation.final[validation.reread], validation.second[validation.reread])
    np.testing.assert_array_equal(validation.final[~validation.reread], validation.first[~validation.reread])


def test_the_reported_figure_is_not_above_the_best_candidate_by_luck(fitted, cohort) -> None:
    _, choice, validation = fitted
    best = max(figure.value for *_, figure in choice.candidate_figures)
    honest = mean_average_precision(
        validation.honest[:, 1:], cohort.predictions.truth[:, 1:], cohort.predictions.patients
    )
    assert honest < best + 0.01
    assert honest > 0.5


def test_calibration_lowers_the_cross_validated_brier_score(fitted, cohort, ensemble_params) -> None:
    _, _, validation = fitted
    truth = cohort.predictions.truth
    calibrated = cross_calibrated(validation.combined_second, cohort.predictions, ensemble_params.folds)
    before = ((validation.combined_second - truth) ** 2).mean(axis=0)
    assert (((calibrated - truth) ** 2).mean(axis=0) < before).all()


def test_json_round_trip_is_exact(fitted, cohort, tmp_path) -> None:
    ensemble = fitted[0]
    ensemble.save(tmp_path / "ensemble.json")
    loaded = Ensemble.load(tmp_path / "ensemble.json")
    assert loaded == ensemble
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "ensemble.json").read_bytes()
    probabilities = cohort.predictions.at(ensemble.degrees)
    np.testing.assert_array_equal(loaded.second(probabilities), ensemble.second(probabilities))


def test_another_version_is_refused_in_one_sentence(fitted, tmp_path) -> None:
    content = fitted[0].to_json() | {"schema": "ensemble/0"}
    (tmp_path / "ensemble.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"ensemble/0.*ensemble/1, ensemble/2, ensemble/3"):
        Ensemble.load(tmp_path / "ensemble.json")


def test_the_version_before_platt_had_its_name_is_still_read(fitted, cohort, tmp_path) -> None:
    ensemble = fitted[0]
    second = replace(ensemble.second_reading, calibrations=(Calibration("platt", 0.8, -0.3),) * len(ensemble.labels))
    now = replace(ensemble, second_reading=second)
    text = json.dumps(now.to_json() | {"schema": "ensemble/1"}).replace('"platt"', '"temperature"')
    (tmp_path / "ensemble.json").write_text(text)
    old = Ensemble.load(tmp_path / "ensemble.json")
    assert {c.kind for c in old.second_reading.calibrations} == {"platt"}
    probabilities = cohort.predictions.at(ensemble.degrees)
    np.testing.assert_array_equal(old.second(probabilities), now.second(probabilities))


def test_fitting_twice_gives_equal_content(fitted, cohort, ensemble_params) -> None:
    assert fit(cohort, ensemble_params)[0].to_json() == fitted[0].to_json()


def test_a_label_absent_from_validation_is_null_with_a_reason(cohort_without_epidural, ensemble_params) -> None:
    ensemble, _, _ = fit(cohort_without_epidural, ensemble_params)
    k = ensemble.labels.index("epidural")
    assert ensemble.second_reading.calibrations[k].kind == "shift"
    assert "0 calibration patients" in (ensemble.second_reading.calibrations[k].reason or "")
    for points in (ensemble.slice_points, ensemble.case_points):
        for point in points["epidural"].values():
            assert point.threshold is None
            assert point.reason == "no positive in calibration"
    assert ensemble.slice_points["subdural"]["balanced"].threshold is not None


def test_too_few_patients_and_no_negative_case_are_the_users_to_mend(two_patients, cohort, ensemble_params) -> None:
    with pytest.raises(InputError, match="2 patients and calibration needs 4"):
        fit(two_patients, ensemble_params)
    sick = cohort.predictions.truth[:, 0][cohort.case_index * 8 + 3] >= 0
    bleeding = np.isin(cohort.case_index, np.unique(cohort.case_index[cohort.predictions.truth[:, 0] == 1])) & sick
    chosen = cohort.predictions.rows(bleeding)
    with pytest.raises(InputError, match="positive among 30 cases"):
        fit_ensemble(
            cohort.labels,
            chosen,
            np.unique(cohort.case_index[bleeding], return_inverse=True)[1],
            np.full((int(bleeding.sum()), 2), -1),
            ensemble_params,
        )


def test_spread_reaches_the_neighbours_and_stops_at_a_gap() -> None:
    neighbours = np.array([[-1, 1], [0, -1], [-1, 3], [2, -1]])
    np.testing.assert_array_equal(spread(np.array([False, True, False, False]), neighbours), [True, True, False, False])


def test_cases_positive() -> None:
    slices = np.array([[0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(cases_positive(slices, np.array([0, 0, 1])), [[1, 0], [0, 0]])
