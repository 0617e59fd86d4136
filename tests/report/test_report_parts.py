"""Choice of cases, Markdown, windows of the pages, overlays."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ich_pipeline.explain.case import AttentionMap, ExplainedCase
from ich_pipeline.report.case_page import case_page
from ich_pipeline.report.cases import choose_cases
from ich_pipeline.report.figures import error_bars
from ich_pipeline.report.method import settings
from ich_pipeline.report.metrics import as_text, markdown, result_rows
from ich_pipeline.report.pictures import ct_uri, heat_uri, outline_path, smooth, window_filters
from ich_pipeline.report.render import score
from ich_pipeline.windowing import window_channels


def _pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def _cases() -> pd.DataFrame:
    scores = [0.9, 0.8, 0.3, 0.1, 0.7, 0.2, 0.05]
    truth = [1, 1, 1, 1, 0, 0, 0]
    return pd.DataFrame(
        {"case_id": list("abcdefg"), "final_any": scores, "truth_any": truth, "decision": [s > 0.5 for s in scores]}
    )


def test_each_kind_gives_its_most_telling_case_first():
    chosen = choose_cases(_cases(), "any", "t", 4, 1)
    assert [c.kind for c in chosen] == ["true positive", "false negative", "false positive", "true negative"]
    assert [c.case_id for c in chosen[:3]] == ["a", "d", "e"]
    assert chosen[3].case_id in "fg"
    assert chosen == choose_cases(_cases(), "any", "t", 4, 1)
    assert sorted(c.case_id for c in choose_cases(_cases(), "any", "t", 99, 1)) == list("abcdefg")


def test_every_window_comes_out_of_the_union_picture(params):
    windows = params.windowing.windows
    hu = np.arange(-100, 300).reshape(20, 20).astype(np.int16)
    grey = _pixels(ct_uri(hu, 20, windows)).astype(float) / 255
    for f, window in zip(window_filters(windows), windows, strict=True):
        shown = np.clip(f.slope * grey + f.intercept, 0, 1)
        # Half a grey level of 200 HU, seen through the window.
        np.testing.assert_allclose(
            shown, window_channels(hu, [window])[..., 0], atol=0.5 / 255 * 200 / window.width + 1e-4
        )


def test_overlay_is_as_strong_as_the_map():
    alpha = _pixels(heat_uri(np.array([[0.0, 0.5], [1.0, 0.25]])))[..., 3]
    np.testing.assert_array_equal(np.argsort(alpha, axis=None), [0, 3, 1, 2])
    assert alpha[0, 0] == 0


def test_outline_encloses_the_hot_cell():
    attention = np.zeros((8, 8))
    attention[2, 5] = 1
    numbers = np.array([[float(v) for v in p.split()] for p in outline_path(attention, 0.5).strip("MZ").split("L")])
    np.testing.assert_allclose(numbers.mean(axis=0), [100 * 5.5 / 8, 100 * 2.5 / 8], atol=1.5)


def test_smooth_keeps_a_constant_and_the_cell_centres():
    np.testing.assert_allclose(smooth(np.full((7, 7), 0.3)), 0.3)
    values = np.random.default_rng(0).random((8, 8))
    np.testing.assert_allclose(smooth(values, 8), values)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("nan"), "–"), (0.0, "0.00"), (0.001, "< 0.01"), (0.456, "0.46")]
)
def test_scores_for_people(value, text):
    assert score(value) == text


def test_markdown_names_the_reason_where_there_is_no_figure():
    nothing = {"value": None, "low": None, "high": None, "reason": "no positives"}
    found = {"value": 0.9, "low": 0.8, "high": 0.95}
    block = {level: {"any": {"auc": found, "ap": nothing}} for level in ("slice", "case")}
    text = markdown({"test_a": block}, ["test_a"], "balanced", 0.95)
    assert "| Any |  | – | 0.900 (0.800–0.950) | not estimable: no positives | – | – | – | – | – |" in text
    assert as_text({"value": 0.5, "low": None, "high": None}) == "0.500"


def test_the_mean_says_over_how_many_subtypes_it_is():
    value = {"value": 0.5, "low": None, "high": None}
    for count, text in ((3, "Mean of 3 subtypes"), (1, "Mean of 1 subtype")):
        block = {"slice": {"mean": {"ap": {**value, "labels": count}}}}
        assert result_rows(block, "slice", "balanced")[0]["label"] == text


def test_an_error_bar_never_points_the_wrong_way():
    lengths = error_bars(np.array([0.5, 0.9, 0.4]), np.array([0.2, 0.3, np.nan]), np.array([0.6, 0.8, np.nan]))
    np.testing.assert_allclose(lengths, [[0.3, 0.6, 0.0], [0.1, 0.0, 0.0]])


def test_labels_come_in_the_order_of_params_and_the_mean_last(inputs):
    for test in inputs.tests:
        for level in ("slice", "case"):
            assert list(test.metrics[level]) == [*inputs.labels.columns, "mean"]


def test_a_pass_over_a_balanced_sample_is_not_called_an_epoch(inputs, params):
    rows = dict(settings(params, {}, inputs.ensemble, "LayerCAM"))
    assert "for each positive slice" in rows["Negatives drawn a pass"]
    training = params.training.model_copy(update={"negatives_per_positive": None})
    rows = dict(settings(params.model_copy(update={"training": training}), {}, inputs.ensemble, "LayerCAM"))
    assert rows["Negatives drawn a pass"].startswith("all")


def test_a_slice_that_no_subtype_can_be_named_for_shows_the_map_of_any(params):
    labels = params.label_set
    scores = np.full((1, len(labels)), 0.6)
    case = ExplainedCase(
        case_id="C1",
        labels=labels,
        sop_instance_uids=("1.2",),
        positions_mm=np.zeros(1),
        hu=np.zeros((1, 32, 32), np.int16),
        windows=params.windowing.windows,
        first=scores,
        second=scores,
        final=scores,
        reread=np.ones(1, bool),
        case_scores=scores[0],
        case_score_rule="max",
        decision=True,
        operating_point="balanced",
        threshold=0.5,
        gate=0.3,
        slice_thresholds=np.full(len(labels), np.nan),
        attention={0: {labels.any: AttentionMap(np.eye(4, dtype=np.float32), "LayerCAM")}},
        basis={0: {}},
        reasons={},
        uncalibrated=dict.fromkeys(labels.subtypes, "too few"),
    )
    page = case_page(case)
    assert "where the score for any comes from (LayerCAM)" in page
    assert "<h3>Prediction basis" not in page
