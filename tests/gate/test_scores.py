"""What is kept of a version's reading: its figures are the test's own, and nobody can tell whose they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.config import SubgroupParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import sha256_of
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.evaluation.metrics import Level, label_metrics
from ich_pipeline.gate.scores import GAPS, CaseScores, case_scores

BANDS = SubgroupParams(minimum_patients=3, age_years=(40,), thickness_mm=(2.5,), lesion_ml=(1,))
LABELS = b"SOPInstanceUID,any\n1.2.3,1\n"


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Eight cases of seven patients with five slices each, of which the last has no label."""
    rng = np.random.default_rng(0)
    names, people = [f"C{k}" for k in range(8)], [f"P{max(k, 1)}" for k in range(8)]
    slices = pd.DataFrame({"case_id": np.repeat(names, 5), "final_any": rng.random(40)})
    truth = pd.array(rng.integers(0, 2, 40), dtype="Int8")
    truth[4::5] = pd.NA
    cases = pd.DataFrame(
        {
            "case_id": names,
            "patient_key": people,
            "final_any": rng.random(8),
            "let_through": [False] + [True] * 7,
            "decision": [False, True] * 4,
            "truth_any": [0, 1] * 4,
        }
    )
    facts = pd.DataFrame(
        {
            "Manufacturer": ["Siemens"] * 6 + ["GE"] * 2,
            "sex": "",
            "thickness_mm": 5.0,
            "age_years": [np.nan] + [50.0] * 7,
        }
    )
    return cases, slices.assign(truth_any=truth), facts


def made(labels: bytes = LABELS) -> CaseScores:
    cases, slices, facts = tables()
    return case_scores("test_prospective", labels, cases, slices, facts, "any", BANDS, ["Not shown."])


def test_the_sums_are_those_of_the_slices_figures() -> None:
    _, slices, _ = tables()
    known = slices[slices["truth_any"].notna()]
    score, truth = known["final_any"].to_numpy(float), known["truth_any"].to_numpy(int)
    figures = label_metrics(score, truth, {}, Level(np.arange(32), draw_counts(32, 10, 0)))
    cases = made().cases
    assert cases["slices"].sum() == 32
    assert cases["squared"].sum() / 32 == pytest.approx(figures["brier"].value)
    assert cases[list(GAPS)].sum().abs().sum() / 32 == pytest.approx(figures["ece"].value)
    assert cases["called"].sum() == 4 and cases["truth"].sum() == 4
    assert np.isneginf(cases["score"]).sum() == 1, "a case that was stopped ranks below all others"


def test_names_are_keyed_and_small_groups_are_not_named(tmp_path: Path) -> None:
    found = made()
    assert found.cases["case"].is_monotonic_increasing and found.cases["patient"].nunique() == 7
    assert made().cases.equals(found.cases)
    others = made(LABELS + b"1.2.4,0\n")
    assert others.test_set != found.test_set
    assert not set(others.cases["case"]) & set(found.cases["case"]), "the key is the test's own"
    assert sorted(found.cases["Manufacturer"].unique()) == ["", "Siemens"], "two patients are no group"
    assert sorted(found.cases["age"].unique()) == ["", "40 and above years"]
    found.save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert not any(f'"{letter}{k}"' in text for letter in "CP" for k in range(8)) and "1.2.3" not in text


def test_they_come_back_as_they_were(tmp_path: Path) -> None:
    found = made()
    found.save(tmp_path / "a.json")
    again = CaseScores.load(tmp_path / "a.json")
    pd.testing.assert_frame_equal(again.cases, found.cases, check_dtype=False, check_like=True)
    assert (again.test, again.test_set, again.cautions) == (found.test, found.test_set, found.cautions)
    again.save(tmp_path / "b.json")
    assert sha256_of(tmp_path / "a.json") == sha256_of(tmp_path / "b.json")
    (tmp_path / "a.json").write_text('{"schema": "case_scores/0"}')
    with pytest.raises(InputError, match="schema 'case_scores/0'"):
        CaseScores.load(tmp_path / "a.json")
