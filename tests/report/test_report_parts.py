"""Choice of cases, Markdown, windows of the pages, overlays."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ich_pipeline.report.cases import choose_cases
from ich_pipeline.report.metrics import as_text, markdown
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
    assert "| Any |  | – | 0.900 (0.800–0.950) | not estimable: no positives | – | – |" in text
    assert as_text({"value": 0.5, "low": None, "high": None}) == "0.500"
