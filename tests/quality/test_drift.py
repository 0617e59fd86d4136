"""Drift: found where it was planted, seldom where nothing differs; and a retraining that waits for more patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows import arrivals
from ich_pipeline.config import Params
from ich_pipeline.core.files import write_table
from ich_pipeline.quality.drift import drift, in_words
from ich_pipeline.tables.label_tables import UID, write_labels
from tests.splits.test_splits import LABELS

Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def tables(patients: int, seed: int) -> Tables:
    """Series, slices and labels of patients alike."""
    draw = np.random.default_rng(seed)
    keys = [f"P{i:04d}" for i in range(patients)]
    series = pd.DataFrame(
        {
            "patient_key": keys,
            "case_id": [f"C{i:04d}" for i in range(patients)],
            "StudyDate": "20200101",
            "SliceThickness": draw.choice([1.0, 2.5, 5.0], patients),
            "spacing_mm": draw.normal(5, 0.5, patients),
            "row_spacing_mm": draw.normal(0.45, 0.02, patients),
            "slices": draw.integers(28, 40, patients),
            "air_share": draw.normal(0.5, 0.05, patients),
            "soft_share": draw.normal(0.25, 0.03, patients),
            "Manufacturer": draw.choice(["A", "B", "C"], patients),
            "ConvolutionKernel": draw.choice(["H31s", "STANDARD", ""], patients),
            "PatientSex": draw.choice(["F", "M"], patients),
            "chosen": True,
        }
    )
    slices = pd.DataFrame({"case_id": series["case_id"], "patient_key": keys, UID: [f"1.{i}" for i in range(patients)]})
    slices["hu_median"], slices["hu_p99"] = draw.normal(-990, 5, patients), draw.normal(1200, 60, patients)
    table = slices[[UID]].assign(**{name: draw.integers(0, 2, patients) for name in LABELS.subtypes})
    table.insert(1, "any", table[list(LABELS.subtypes)].max(axis=1))
    return series, slices, table


def found_in(made: Tables, new: int) -> pd.DataFrame:
    keys = made[0]["patient_key"]
    return drift(*made, LABELS, set(keys.tail(new)), set(keys))


def test_nothing_is_found_where_nothing_differs() -> None:
    alarms = sum(bool(found_in(tables(120, seed), 30)["drifted"].any()) for seed in range(15))
    assert alarms <= 3  # 5 % of 15, and what chance adds


def test_what_differs_is_found_and_named() -> None:
    series, slices, table = tables(200, 1)
    series.loc[160:, "Manufacturer"] = "D"
    series.loc[160:, "SliceThickness"] = 0.6
    slices.loc[160:, "hu_p99"] += 300
    table.loc[160:, ["any", "subdural"]] = 1
    found = found_in((series, slices, table), 40)
    drifted = set(found.loc[found["drifted"], "trait"])
    assert {"Manufacturer", "SliceThickness", "hu_p99", "patients with subdural"} <= drifted
    assert "air_share" not in drifted and "PatientSex" not in drifted
    (row,) = found[found["trait"] == "Manufacturer"].to_dict("records")
    assert row["new"] == "D 100%" and not row["before"].startswith("D")
    assert "SliceThickness 0.6, before 2.5 (q " in in_words(found, 40, 160)


def test_sealed_labels_are_not_looked_at() -> None:
    series, slices, table = tables(60, 2)
    learners = set(series["patient_key"].head(50))
    new = set(series["patient_key"].tail(20))
    before = drift(series, slices, table, LABELS, new, learners)
    sealed = slices.loc[~slices["patient_key"].isin(learners), UID]
    table.loc[table[UID].isin(sealed), list(LABELS.columns)] = 7
    pd.testing.assert_frame_equal(drift(series, slices, table, LABELS, new, learners), before)
    assert any(before["trait"].str.startswith("patients with"))


def test_too_few_are_not_compared() -> None:
    assert found_in(tables(40, 3), 4).empty
    assert in_words(found_in(tables(40, 3), 4), 4, 36) == (
        "4 new patients beside 36: too few of one to say whether they differ."
    )


def test_a_retraining_waits_for_enough_new_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    monkeypatch.chdir(tmp_path)
    series, slices, table = tables(60, 4)
    params = params.model_copy(update={"retrain": params.retrain.model_copy(update={"minimum_new_patients": 10})})

    def arrive(count: int) -> None:
        write_table(Path("work/ingest/series.parquet"), series.head(count), "series/3")
        write_table(Path("work/ingest/slices.parquet"), slices.head(count), "slices/2")
        rows = series.head(count)[["patient_key", "case_id"]].assign(cohort="train")
        write_table(Path("work/split/cohorts.parquet"), rows, "cohorts/1")
        write_labels(Path("data/labels.csv"), table.head(count), LABELS)

    arrive(40)
    assert arrivals.look(params).new == 40  # nobody was seen before: there is nothing to compare with
    arrivals.note_seen()
    assert arrivals.look(params) == arrivals.Arrivals(0)
    for count in (41, 49):
        arrive(count)
        with pytest.raises(arrivals.NotYet, match=f"^{count - 40} new patients, fewer than"):
            arrivals.look(params)
    arrive(50)  # those who were too few before count still
    said = arrivals.look(params)
    assert said.new == 10 and said.sentence.startswith("10 new patients beside 40: ")
    assert said.drift is not None and {"Manufacturer", "patients with any"} <= set(said.drift["trait"])
