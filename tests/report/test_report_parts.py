"""Choice of cases, Markdown, windows of the pages, overlays."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.localisation import LocalisationSummary
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.report.case_page import Truth, case_page
from ich_pipeline.report.cases import LISTED_FAILURES, choose_cases, listed_failures
from ich_pipeline.report.conclusions import (
    interpolation_conclusion,
    reading_conclusion,
    reading_rows,
    sequence_conclusion,
)
from ich_pipeline.report.figures import error_bars
from ich_pipeline.report.localisation import control_words
from ich_pipeline.report.method import overview_steps, settings
from ich_pipeline.report.metrics import as_text, markdown, result_rows
from ich_pipeline.report.pictures import ct_uri, draw_map, map_in_head, window_filters
from ich_pipeline.report.points import point_rows
from ich_pipeline.report.render import distance, score
from ich_pipeline.windowing.windows import Window, clip_range, window_channels
from tests.made.explained import head, made_case, maps, placed


def _pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def _cases() -> pd.DataFrame:
    scores = [0.9, 0.8, 0.3, 0.1, 0.7, 0.2, 0.05]
    truth = [1, 1, 1, 1, 0, 0, 0]
    return pd.DataFrame(
        {"case_id": list("abcdefg"), "final_any": scores, "truth_any": truth, "decision": [s > 0.5 for s in scores]}
    )


NO_FAILURES = pd.DataFrame(columns=["kind", "case_id", "score"])


def test_each_kind_gives_its_most_telling_case_first():
    chosen = choose_cases(_cases(), NO_FAILURES, "any", "t", 4, 1)
    assert [c.kind for c in chosen] == ["true positive", "false negative", "false positive", "true negative"]
    assert [c.case_id for c in chosen[:3]] == ["a", "d", "e"]
    assert chosen[3].case_id in "fg"
    assert chosen == choose_cases(_cases(), NO_FAILURES, "any", "t", 4, 1)
    assert sorted(c.case_id for c in choose_cases(_cases(), NO_FAILURES, "any", "t", 99, 1)) == list("abcdefg")


def _failing(misses: int, alarms: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cases of which some are decided wrongly, and the failures as evaluate writes them, worst first."""
    rows = [
        *((f"m{i:02}", 0.1 + 0.01 * i, 1, False) for i in range(misses)),
        *((f"f{i:02}", 0.9 - 0.01 * i, 0, True) for i in range(alarms)),
        *((f"p{i}", 0.95, 1, True) for i in range(3)),
        *((f"n{i}", 0.05, 0, False) for i in range(3)),
    ]
    cases = pd.DataFrame(rows, columns=["case_id", "final_any", "truth_any", "decision"])
    kinds = ["false negative"] * misses + ["false positive"] * alarms
    wrong = cases.head(misses + alarms)
    return cases, pd.DataFrame({"kind": kinds, "case_id": wrong["case_id"], "score": wrong["final_any"]})


@pytest.mark.parametrize(("misses", "alarms"), [(0, 0), (1, 0), (7, 1), (30, 25)])
def test_every_listed_failure_has_a_page_and_the_number_of_pages_is_bounded(misses: int, alarms: int):
    cases, failures = _failing(misses, alarms)
    chosen = choose_cases(cases, failures, "any", "t", 4, 1)
    paged = {(c.kind, c.case_id, c.score) for c in chosen}
    listed = list(listed_failures(failures)[["kind", "case_id", "score"]].itertuples(index=False, name=None))
    assert len(listed) == min(misses, LISTED_FAILURES) + min(alarms, LISTED_FAILURES)
    assert set(listed) <= paged
    assert len(chosen) == len({c.case_id for c in chosen}) <= 4 + 2 * LISTED_FAILURES
    # The failures follow what was chosen before; the worst of those come first.
    assert chosen[:4] == choose_cases(cases, NO_FAILURES, "any", "t", 4, 1)
    rest = [(c.kind, c.case_id, c.score) for c in chosen[4:]]
    assert rest == [row for row in listed if row in rest]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_every_window_comes_out_of_the_union_picture_by_its_own_function(params, function: str):
    windows = [Window(w.name, w.center, w.width, function) for w in params.windowing.windows]
    low, high = clip_range(windows)
    hu = np.linspace(low - 20, high + 20, 400).round().astype(np.int16).reshape(20, 20)
    grey = _pixels(ct_uri(hu, 20, windows)).astype(int)
    for f, window in zip(window_filters(windows), windows, strict=True):
        table = np.array([float(value) for value in f.table.split()])
        assert table.shape == (256,), "a browser meets every grey exactly, whatever the function"
        steepest = (high - low) / 255 * 1.05 / window.width  # half a grey level each way
        np.testing.assert_allclose(table[grey], window_channels(hu, [window])[..., 0], atol=steepest / 2 + 2e-3)


def test_a_drawing_stays_in_the_head_and_marks_the_maximum():
    values = np.zeros((8, 8))
    values[2, 5], values[0, 0], values[7, 7] = 0.5, 1.0, 1.0  # the largest are in air and on the table
    drawing = draw_map(placed(values), head(), 0.5)
    assert drawing is not None
    numbers = np.array([[float(v) for v in p.split()] for p in drawing.path.strip("MZ").split("L")])
    np.testing.assert_allclose(numbers.mean(axis=0), [100 * 5.5 / 8, 100 * 2.5 / 8], atol=1.5)
    np.testing.assert_allclose(drawing.peaks[0], [100 * 5.5 / 8, 100 * 2.5 / 8], atol=1)
    inside = map_in_head(placed(values), head())
    assert inside is not None and inside.max() == inside[int(128 * 2.5 / 8), int(128 * 5.5 / 8)]
    assert not inside[:10].any()
    assert not inside[-10:].any()


def test_nothing_is_drawn_where_nothing_is_left():
    only_air = np.zeros((8, 8))
    only_air[0, 0] = 1
    assert draw_map(placed(only_air), head(), 0.5) is None
    assert draw_map(None, head(), 0.5) is None
    assert draw_map(placed(np.ones((8, 8))), np.full((16, 16), -1000, np.int16), 0.5) is None


def test_the_drawing_follows_the_grid_not_the_tiling():
    values = np.zeros((7, 7), np.float32)
    values[3, 5] = 1
    drawing = draw_map(PlacedMap(values, CellGrid((0.2, 0.2), (0.1, 0.1))), head(), 0.5)
    assert drawing is not None
    np.testing.assert_allclose(drawing.peaks[0], [70, 50], atol=1)


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
    learnt = {"vgg16": (Window("brain", 38.2514, 91.73),)}
    rows = dict(settings(params, {}, inputs.ensemble, "LayerCAM", learnt, inputs.calibrated))
    assert rows["Windows as vgg16 learnt them"] == "brain 38.25/91.73"
    assert "for each positive slice" in rows["Negatives drawn a pass"]
    training = params.training.model_copy(update={"negatives_per_positive": None})
    other = params.model_copy(update={"training": training})
    rows = dict(settings(other, {}, inputs.ensemble, "LayerCAM", {}, inputs.calibrated))
    assert rows["Negatives drawn a pass"].startswith("all")


def test_a_slice_that_no_subtype_can_be_named_for_shows_the_map_of_any(params):
    labels = params.label_set
    case = made_case(
        params,
        np.full((1, len(labels)), 0.6),
        slice_thresholds=np.full(len(labels), np.nan),
        shown={0: ()},
        attention={0: maps(labels.any)},
        uncalibrated=dict.fromkeys(labels.subtypes, "too few"),
    )
    page = case_page(case)
    assert "where the score for “any” comes from (LayerCAM)" in page
    assert "One map for all findings" in page
    assert "<h3>Prediction basis" not in page


def test_the_page_orders_findings_and_bolds_what_decides(params):
    labels = params.label_set
    values = [[0.9, 0.2, 0.6, 0.3, 0.1, 0.1]]
    case = made_case(
        params,
        values,
        slice_thresholds=[0.5, 0.3, 0.1, 0.2, 0.2, 0.2],
        shown={0: ("intraparenchymal", "intraventricular")},
        attention={0: maps("intraparenchymal", "intraventricular")},
    )
    page = case_page(case)
    assert re.findall(r'class="n decides">([0-9.]+)', page) == ["0.90", "0.60"]  # not IVH: 0.30 is below 0.5
    assert re.findall(r'class="layer (on)?" data-label="(\w+)"', page) == [
        ("on", labels.subtypes[1]),
        ("", labels.subtypes[2]),
    ]
    assert page.index("Prediction basis: intraparenchymal") < page.index("Prediction basis: intraventricular")
    assert "One map for all findings" not in page


def test_the_page_opens_where_the_first_line_points(params):
    """Not at the slice that scores highest for any haemorrhage, and with the map of the finding that is named first."""
    labels = params.label_set
    values = np.full((3, len(labels)), 0.1)
    values[:, 0] = (0.7, 0.9, 0.8)
    values[[0, 2], labels.index("subdural")] = (0.95, 0.96)
    values[1, labels.index("epidural")] = 0.7
    case = made_case(
        params, values, slice_thresholds=np.full(len(labels), 0.5),
        shown={0: ("subdural",), 1: ("epidural",), 2: ("subdural",)},
        attention={0: maps("subdural"), 1: maps("epidural"), 2: maps("subdural")},
    )  # fmt: skip
    page = case_page(case)
    assert "Suspected: subdural, side not determined, slices 1 and 3; epidural possible, slice 2; others" in page
    assert json.loads(re.findall(r'id="facts">(.*?)</script>', page)[0])["start"] == 2
    assert re.findall(r'<option value="(\w+)"', page) == ["subdural", "epidural"]
    assert re.findall(r'class="meter (\w*)"', page) == ["alarm", "check", "", "", "", "alarm"]
    assert re.findall(r'class="(named|check)( strange)?" title="slice (\d)', page) == [
        ("named", "", "1"),
        ("check", "", "2"),
        ("named", "", "3"),
    ]


@pytest.mark.parametrize(
    ("decision", "truth", "headline", "tone"),
    [
        (False, ("subdural",), "Missed: the reference is positive", "alarm"),
        (False, (), "Not suspected.", "neutral"),
        (False, None, "Not suspected.", "neutral"),
        (True, (), "Suspected: haemorrhage of no named kind, highest in slice 1.", "alarm"),
        (True, ("subdural",), "Suspected: haemorrhage of no named kind, highest in slice 1.", "alarm"),
    ],
)
def test_the_headline_knows_the_reference(params, decision, truth, headline, tone):
    labels = params.label_set
    values = np.full((2, len(labels)), 0.2)
    values[0, 0] = 0.6 if decision else 0.4
    case = made_case(
        params, values, slice_thresholds=np.full(len(labels), 0.9), shown={0: ("epidural",)},
        attention={0: maps(labels.any)}, decision=decision,
    )  # fmt: skip
    known = None if truth is None else Truth(truth, np.zeros((2, len(labels)), int))
    page = case_page(case, truth=known)
    assert f"<strong>{headline}</strong>" in page
    assert f'class="verdict {tone}"' in page
    assert ("False alarm" in page) == (decision and truth == ())
    assert "Most probable finding, below its threshold: epidural" in page
    assert page.count('class="named"') == int(decision)  # red in the strip only where the first line names the slice


def test_near_distances_are_told_apart():
    assert [distance(v) for v in (0.00041, 0.0123, 0.5, 0.0)] == ["0.0004", "0.012", "0.50", "0.0000"]


def _reading(**changed) -> dict:
    found = {"value": 0.9, "low": 0.85, "high": 0.95}
    better = {"value": 0.92, "low": 0.87, "high": 0.96}
    gain = {
        "auc_any": {"value": 0.02, "low": 0.01, "high": 0.03},
        "mean_ap": {"value": 0.02, "low": -0.01, "high": 0.05},
    }
    made = {"slices": 100, "slices_reread": 90, "first": {"auc_any": found, "mean_ap": found}, "gain": gain}
    return {**made, "final": {"auc_any": better, "mean_ap": better}, **changed}


def test_the_conclusion_on_reading_twice_claims_no_more_than_the_interval():
    words = reading_conclusion(_reading())
    assert "from 0.900 to 0.920: +0.020 (+0.010 to +0.030), a gain" in words
    assert "from 0.900 to 0.920: +0.020 (-0.010 to +0.050), no difference shown" in words
    assert "spares little" in words
    none = {"value": 0.0, "low": None, "high": None, "reason": "equal in all bootstrap replicates"}
    missing = {"value": None, "low": None, "high": None, "reason": "no positives"}
    words = reading_conclusion(_reading(gain={"auc_any": none, "mean_ap": missing}, slices_reread=20))
    assert "stayed at 0.920: both readings rank the slices alike" in words
    assert "spares little" not in words and "precision" not in words
    assert [row["reading"] for row in reading_rows(_reading())] == ["first reading", "final, after the second reading"]


def test_the_overview_speaks_of_interpolation_where_a_network_of_the_ensemble_uses_it(inputs):
    def second(degree: float) -> str:
        ensemble = dataclasses.replace(inputs.ensemble, degrees={"vgg16": degree})
        return dict(overview_steps(inputs.params, ensemble))["Second reading"]

    assert "interpolated neighbours" in second(0.3) and "vgg16: 0.3" in second(0.3)
    assert "without interpolation" in second(0.0) and "vgg16" not in second(0.0)


def test_the_conclusion_on_interpolation_counts_the_networks(inputs):
    ensemble = dataclasses.replace(inputs.ensemble, degrees={"a": 0.0, "b": 0.3})
    row = {
        f"{k}_gain{e}": v for k in ("auc_any", "mean_ap") for e, v in (("", -0.02), ("_low", -0.03), ("_high", -0.01))
    }
    table = pd.DataFrame([{"architecture": n, "step": "with slice interpolation", **row} for n in ("a", "b")])
    words = interpolation_conclusion(table, ensemble, ("a", "b"))
    assert "slice interpolation was not clearly better for 1 of 2 networks (degree 0): a." in words
    assert "a has degree 0: the step changes nothing." in words
    assert "b, degree 0.3, on this test: AUC of “any” -0.020 (-0.030 to -0.010), a loss" in words


def test_the_conclusion_on_sequence_heads_says_whether_they_help_and_are_used(inputs):
    def table(**gains):
        row = {f"{k}_gain{e}": v for k, of in gains.items() for e, v in zip(("", "_low", "_high"), of, strict=True)}
        return pd.DataFrame([{"architecture": "vgg16", "step": "with sequence head", **row}])

    found = table(auc_any=(0.02, 0.01, 0.03), mean_ap=(0.02, -0.01, 0.05))
    words = sequence_conclusion(found, inputs.ensemble, ["vgg16"])
    assert "AUC of “any” +0.020 (+0.010 to +0.030), a gain" in words
    assert (
        "mean average precision +0.020 (-0.010 to +0.050), no difference shown. The ensemble does not use it." in words
    )
    combiner = dataclasses.replace(inputs.ensemble.second_reading.combiner, members=("vgg16+sequence",))
    reading = dataclasses.replace(inputs.ensemble.second_reading, combiner=combiner)
    using = dataclasses.replace(inputs.ensemble, second_reading=reading)
    assert sequence_conclusion(found, using, ["vgg16"]).endswith("The ensemble uses it.")
    nothing = found.assign(step="multi-window")
    assert sequence_conclusion(nothing, inputs.ensemble, ["vgg16"]) == (
        "Sequence head of vgg16: no epoch was better on validation than the network alone."
    )
    assert sequence_conclusion(nothing, inputs.ensemble, []) == ""


def test_operating_points_stand_side_by_side(inputs, params):
    (test, *_) = inputs.tests
    rows = point_rows(inputs.ensemble, params.ensemble, test.metrics, "any")
    assert [(r["level"], r["operating point"]) for r in rows][3:] == [
        ("Case", "High sensitivity"), ("Case", "Balanced (decides)"), ("Case", "High specificity")
    ]  # fmt: skip
    assert rows[0]["target"] == "sensitivity ≥ 0.95"
    assert rows[0]["calibration"] == "0.900 / 0.900"
    assert " / " in rows[0]["test"]


def _summary(label: str, own, other) -> LocalisationSummary:
    return LocalisationSummary(
        label,
        9,
        0,
        0.5,
        None,
        0.1,
        0.1,
        None,
        0.05,
        0.2,
        None,
        0.05,
        None,
        4,
        sum(own) / 2,
        own,
        sum(other) / 2,
        other,
        0.1,
    )


def test_the_control_is_put_into_words():
    shared, apart = _summary("epidural", (0.3, 0.7), (0.2, 0.6)), _summary("subdural", (0.7, 0.9), (0.0, 0.2))
    assert "not which kind" in str(control_words((shared,), "any"))
    assert "specific" in str(control_words((apart,), "any"))
    assert "for subdural alone" in str(control_words((shared, apart), "any"))
    assert control_words((_summary("any", (0.7, 0.9), (0.0, 0.2)),), "any") is None
