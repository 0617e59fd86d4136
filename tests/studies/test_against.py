"""`ich evaluate --against`: the figures of two systems are those of the definitions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from ich_pipeline.evaluation.agreement import PairedDifference
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.studies.against_page import against_notes, area_rows
from tests.studies.two_systems import TRUTH, N, compared, scores, write, write_tables


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path, Path]:
    return write_tables(tmp_path)


def brute_force(first: np.ndarray, second: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Difference of areas and DeLong's error of it, by comparing every positive with every negative."""
    kernels = []
    for s in (first, second):
        p, q = s[truth == 1][:, None], s[truth == 0][None, :]
        kernels.append((p > q) + 0.5 * (p == q))
    kernel = kernels[0] - kernels[1]
    rows, columns = kernel.shape
    return kernel.mean(), math.sqrt(kernel.mean(1).var(ddof=1) / rows + kernel.mean(0).var(ddof=1) / columns)


def test_areas_are_those_of_the_definitions(tables) -> None:
    found = compared(*tables)
    assert found["columns"] == [{"other": "any", "labels": "ICH"}, {"other": "subdural", "labels": "SDH"}]
    assert found["not_compared"] == [] and found["excluded"] == []
    for k, name in enumerate(("ICH", "SDH")):
        truth, (a, b), entry = TRUTH[:, k], scores()[:, :, k], found["findings"][name]
        assert (entry["n"], entry["positives"]) == (N, truth.sum())
        for key, measure in (("auc", roc_auc_score), ("ap", average_precision_score)):
            assert entry[key]["system"]["value"] == pytest.approx(measure(truth, a))
            assert entry[key]["other"]["value"] == pytest.approx(measure(truth, b))
            gain = entry[key]["difference"]
            assert gain["value"] == pytest.approx(measure(truth, a) - measure(truth, b))
            assert gain["low"] < gain["value"] < gain["high"]
        value, error = brute_force(a, b, truth)
        half = norm.ppf(0.975) * error
        assert entry["auc"]["difference"]["delong"] == pytest.approx(
            {"low": value - half, "high": value + half, "p": 2 * norm.sf(abs(value) / error)}
        )


def test_the_bootstrap_is_of_the_same_draws(tables) -> None:
    """Each draw gives both systems; the quantiles are of its differences."""
    differences = []
    truth, (a, b) = TRUTH[:, 0], scores()[:, :, 0]
    for counts in draw_counts(N, 100, 1):
        w = np.asarray(counts, float)
        differences.append(
            average_precision_score(truth, a, sample_weight=w) - average_precision_score(truth, b, sample_weight=w)
        )
    gain = compared(*tables)["findings"]["ICH"]["ap"]["difference"]
    assert (gain["low"], gain["high"]) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_decisions_are_compared_at_each_systems_threshold(tables) -> None:
    found = compared(*tables, other=0.35)["findings"]
    assert set(found["SDH"]["points"]) == {"threshold"}, "a decision is on any"
    truth, (a, b) = TRUTH[:, 0] == 1, scores()[:, :, 0]
    for point, (x, y) in {"threshold": (a >= 0.5, b >= 0.35), "decision": (a > 0.4, b > 0.3)}.items():
        for rate, (ours, theirs) in {
            "sensitivity": (x[truth], y[truth]), "specificity": (~x[~truth], ~y[~truth])
        }.items():  # fmt: skip
            entry = found["ICH"]["points"][point][rate]
            assert entry["system"]["value"] == pytest.approx(ours.mean())
            assert entry["other"]["value"] == pytest.approx(theirs.mean())
            crossed = [
                [(ours & theirs).sum(), (ours & ~theirs).sum()],
                [(~ours & theirs).sum(), (~ours & ~theirs).sum()],
            ]
            assert entry["mcnemar"]["system_alone_right"] == crossed[0][1]
            assert entry["mcnemar"]["other_alone_right"] == crossed[1][0]
            assert entry["mcnemar"]["exact_p"] == pytest.approx(mcnemar(crossed, exact=True).pvalue)  # pyright: ignore
            low, high = PairedDifference(int(crossed[0][1]), int(crossed[1][0]), len(ours)).interval(0.95)
            assert entry["difference"] == pytest.approx(
                {"value": ours.mean() - theirs.mean(), "low": low, "high": high, "method": "tango"}
            )


def test_the_published_paired_interval(tmp_path: Path) -> None:
    """Fagerland, Lydersen and Laake 2014: 1 and 7 discordant of 21, -0.517 to -0.026, exact p 0.0703."""
    right = [(1, 1)] * 1 + [(1, 0)] * 1 + [(0, 1)] * 7 + [(0, 0)] * 12
    rows = [*right, (0, 0), (0, 1)]
    labels = write(tmp_path / "l.csv", "case,any", *(f"c{i},{int(i < 21)}" for i in range(23)))
    a, b = (write(tmp_path / f"{n}.csv", "case,any", *(f"c{i},{r[n]}" for i, r in enumerate(rows))) for n in (0, 1))
    entry = compared(a, b, labels)["findings"]["any"]["points"]["threshold"]["sensitivity"]
    assert (entry["difference"]["low"], entry["difference"]["high"]) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert entry["mcnemar"]["exact_p"] == pytest.approx(0.0703, abs=5e-5)


def test_a_system_against_itself_and_the_other_way_round(tables, tmp_path: Path) -> None:
    a, b, labels = tables
    copy = tmp_path / "copy.csv"
    copy.write_bytes(a.read_bytes())
    same = compared(a, copy, labels)
    for entry in same["findings"].values():
        assert entry["auc"]["difference"]["value"] == entry["ap"]["difference"]["value"] == 0
        delong = entry["auc"]["difference"]["delong"]
        assert delong["p"] is None and "no difference to test" in delong["reason"]
        for point in entry["points"].values():
            assert point["sensitivity"]["mcnemar"]["exact_p"] == point["specificity"]["mcnemar"]["exact_p"] == 1
            assert point["sensitivity"]["difference"]["value"] == 0
    about = {"files": {"predictions": {"name": "a.csv"}, "against": {"name": "copy.csv"}}}
    assert any(note.startswith("ICH has no p: ") for note in against_notes({"against": same, "about": about}))
    assert {row["A − B (DeLong)"] for row in area_rows(same)} == {"+0.0000"}
    lines = b.read_text().splitlines()
    write(b, lines[0], *lines[:0:-1])  # the order of A: patients are numbered, and drawn, in the order of the rows
    for k in ("ICH", "SDH"):
        one, two = compared(a, b, labels)["findings"][k], compared(b, a, labels)["findings"][k]
        for key in ("auc", "ap"):
            left, right = one[key]["difference"], two[key]["difference"]
            assert [left[x] for x in ("value", "low", "high")] == pytest.approx(
                [-right[x] for x in ("value", "high", "low")]
            )
        left, right = one["auc"]["difference"]["delong"], two["auc"]["difference"]["delong"]
        assert (left["low"], left["high"], left["p"]) == pytest.approx((-right["high"], -right["low"], right["p"]))
        left, right = (e["points"]["threshold"]["specificity"]["difference"] for e in (one, two))
        assert (left["value"], left["low"]) == pytest.approx((-right["value"], -right["high"]))


def test_cases_gathered_from_slices(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    values, truth = rng.random((2, 90)).round(3), (rng.random(90) < 0.25).astype(int)
    names = [f"1.2.{i}" for i in range(90)]
    labels = write(tmp_path / "l.csv", "SOPInstanceUID,case_id,PatientID,any", *(f"{n},S{i // 3 % 2},P{i // 6},{t}" for i, (n, t) in enumerate(zip(names, truth, strict=True))))  # fmt: skip
    a = write(tmp_path / "a.csv", "SOPInstanceUID,any", *(f"{n},{v}" for n, v in zip(names, values[0], strict=True)))
    b = write(tmp_path / "b.csv", "image,ich", *(f"{n},{v}" for n, v in zip(names[::-1], values[1][::-1], strict=True)))
    entry = compared(a, b, labels, level="case")["findings"]["any"]
    of_case = [v.reshape(30, 3).max(axis=1) for v in (*values, truth)]
    assert entry["n"] == 30 and entry["positives"] == of_case[2].sum()
    assert entry["auc"]["difference"]["value"] == pytest.approx(
        roc_auc_score(of_case[2], of_case[0]) - roc_auc_score(of_case[2], of_case[1])
    )
    assert "several cases" in entry["points"]["threshold"]["note"]
    # Two cases a patient: the test is by patient, as the areas' own intervals are.
    assert entry["auc"]["difference"]["delong"]["p"] != pytest.approx(
        2 * norm.sf(abs(entry["auc"]["difference"]["value"]) / brute_force(*of_case)[1])
    )
    part = write(
        tmp_path / "part.csv", "image,ich", *(f"{n},{v}" for n, v in zip(names[1:], values[1][1:], strict=True))
    )
    found = compared(a, part, labels, level="case", allow_missing=True)
    assert found["findings"]["any"]["n"] == 29, "a case is compared by all its slices, or not at all"
    assert [e["count"] for e in found["excluded"]] == [1, 1]


def test_one_patient_alone_is_not_described(tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", "case,patient,any", *(f"c{i},P{i // 3},{int(i < 3)}" for i in range(12)))
    a, b = (write(tmp_path / f"{n}.csv", "case,any", *(f"c{i},{(i * n) % 12 / 12}" for i in range(12))) for n in (5, 7))
    found = compared(a, b, labels)
    entry = found["findings"]["any"]
    assert entry["auc"]["difference"]["value"] is None and "one patient" in entry["auc"]["difference"]["reason"]
    assert "one patient" in entry["points"]["threshold"]["reason"]
    assert "not estimable" in area_rows(found)[0]["AUC of A"] and area_rows(found)[0]["p"] == "–"
