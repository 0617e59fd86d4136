"""Curves against scikit-learn; figures are there, and equal in bytes when drawn twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve
from sklearn.metrics import roc_curve as sklearn_roc_curve

from ich_pipeline.evaluation.curves import curve_tables, pr_curve, roc_band, roc_curve
from ich_pipeline.evaluation.figures import curves_of, draw_pr, draw_reliability, draw_roc, reliability


def test_roc_and_pr_equal_scikit_learn(cohort) -> None:
    scores, truth = cohort.reading.final[:, 0].round(2), cohort.truth[:, 0]
    false, true, _ = sklearn_roc_curve(truth, scores, drop_intermediate=False)
    ours = roc_curve(scores, truth)
    np.testing.assert_allclose(ours[0], false)
    np.testing.assert_allclose(ours[1], true)
    precision, recall, _ = precision_recall_curve(truth, scores)
    x, y = pr_curve(scores, truth)
    np.testing.assert_allclose(x, recall[:-1][::-1])
    np.testing.assert_allclose(y, precision[:-1][::-1])
    assert (np.diff(x, prepend=0) * y).sum() == pytest.approx(average_precision_score(truth, scores))
    assert auc(*ours) == pytest.approx(cohort.estimates["slice"]["any"]["auc"].value, abs=0.01)


def test_operating_points_lie_on_the_case_curves_although_the_gate_stops_positives(cohort) -> None:
    # The cases with the highest final scores are stopped: without the gate's rule the curve would call them first.
    stopped = np.isin(np.arange(40), np.argsort(-cohort.reading.case_scores[:, 0])[:3])
    let_through = cohort.reading.let_through & ~stopped
    gated = replace(cohort, reading=replace(cohort.reading, let_through=let_through))
    roc, pr = curves_of(gated)
    found = gated.estimates["case"]["any"]
    for point in ("high_sensitivity", "balanced", "high_specificity"):
        sensitivity = found[f"sensitivity@{point}"].value
        for curve, at in (
            (roc["case"]["any"], (1 - found[f"specificity@{point}"].value, sensitivity)),
            (pr["case"]["any"], (sensitivity, found[f"ppv@{point}"].value)),
        ):
            assert np.isclose(np.stack(curve, axis=1), at).all(axis=1).any(), point
    assert auc(*roc["case"]["any"]) == pytest.approx(found["auc"].value)


def test_band_contains_the_curve_and_comes_from_resampling(cohort) -> None:
    grid = np.linspace(0, 1, 21)
    scores, truth = cohort.reading.final[:, 0], cohort.truth[:, 0]
    low, high = roc_band(scores, truth, cohort.slices, 0.95, grid)
    curve = np.interp(grid, *roc_curve(scores, truth))
    assert (low[1:] <= curve[1:] + 0.02).all() and (high >= curve - 0.02).all()
    who = np.random.default_rng(cohort.seed).integers(40, size=(200, 40))[0]
    rows = np.concatenate([np.flatnonzero(cohort.patients == p) for p in who])
    only = type(cohort.slices)(cohort.slices.patients, cohort.slices.counts[:1])
    np.testing.assert_allclose(
        roc_band(scores, truth, only, 0.95, grid)[0], np.interp(grid, *roc_curve(scores[rows], truth[rows]))
    )


def test_reliability_is_in_tenths() -> None:
    scores = np.linspace(0, 1, 20)
    truth = (scores > 0.5).astype(int)
    predicted, observed = reliability(scores, truth)
    assert len(predicted) == 10
    assert predicted[0] == pytest.approx((scores[0] + scores[1]) / 2)
    np.testing.assert_array_equal(observed, [0] * 5 + [1] * 5)


def test_a_long_legend_leaves_the_precision_plots_as_large_as_the_roc_plots(build, tmp_path, monkeypatch) -> None:
    sizes = []

    def measure(figure, *targets) -> None:
        figure.draw_without_rendering()
        boxes = [ax.get_window_extent() for ax in figure.axes]
        legends = [ax.get_legend().get_window_extent() for ax in figure.axes]
        assert all(legend.y0 > 0 for legend in legends), "a legend is cut off"
        sizes.append([(box.width, box.height) for box in boxes])

    monkeypatch.setattr("ich_pipeline.evaluation.style.save", measure)
    cohort = build(bleeding={"epidural": 1, "subdural": 0, "intraventricular": 1}, replicates=20)
    roc, pr = curves_of(cohort)
    draw_roc(cohort, roc, "test_retrospective", tmp_path / "roc.png")
    draw_pr(cohort, pr, "test_retrospective", tmp_path / "pr.png")
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.02)


def test_figures_are_drawn_also_where_a_label_has_no_curve(build, tmp_path) -> None:
    cohort = build(bleeding={"epidural": 0})
    roc, pr = curves_of(cohort)
    assert "epidural" not in roc["slice"]
    for run in ("one", "two"):
        draw_roc(cohort, roc, "test_retrospective", tmp_path / run / "roc.png")
        draw_pr(cohort, pr, "test_retrospective", tmp_path / run / "pr.png")
        draw_reliability(
            cohort.labels,
            cohort.reading.first,
            cohort.reading.final,
            cohort.truth,
            5,
            "on validation, 12 patients",
            tmp_path / run / "r.png",
        )
    for name in ("roc.png", "pr.png", "r.png"):
        content = (tmp_path / "one" / name).read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 20_000
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"Software" not in content
    table = curve_tables(roc)
    assert list(table.columns) == ["level", "label", "x", "y"]
    assert set(table["level"]) == {"slice", "case"}
