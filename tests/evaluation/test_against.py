"""`ich evaluate --against`: two systems on the same rows, and one sentence for every mistake."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from typer.testing import CliRunner

from ich_pipeline.cli import app
from ich_pipeline.commands.evaluate import OWN_FILES
from ich_pipeline.evaluation.against import compare_systems
from ich_pipeline.evaluation.agreement import PairedDifference
from ich_pipeline.evaluation.study import Study, StudyOptions
from ich_pipeline.external.match import match_tables
from ich_pipeline.external.matched import Choices
from ich_pipeline.report.against_page import area_rows, decision_rows

N = 60


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


@pytest.fixture
def scores() -> np.ndarray:
    """Two systems' probabilities of two findings, with ties: shape (2, rows, 2)."""
    rng = np.random.default_rng(5)
    signal = np.array([0.4, 0.2])[:, None, None] * truth_of()
    return np.clip(signal + rng.random((2, N, 2)) * 0.6, 0, 1).round(2)


def truth_of() -> np.ndarray:
    return (np.random.default_rng(6).random((N, 2)) < 0.4).astype(int)


@pytest.fixture
def tables(scores: np.ndarray, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A, B (other names and order of columns, other order of rows) and labels."""
    a, b = scores
    labels = [f"c{i},{x},{y}" for i, (x, y) in enumerate(truth_of())]
    return (
        write(tmp_path / "a.csv", "case,ICH,SDH,decision", *(f"c{i},{x},{y},{int(x > 0.4)}" for i, (x, y) in enumerate(a))),
        write(tmp_path / "b.csv", "subdural,any,Decision,case", *(f"{y},{x},{int(x > 0.3)},c{i}" for i, (x, y) in list(enumerate(b))[::-1])),
        write(tmp_path / "l.csv", "case,ICH,SDH", *labels),
    )  # fmt: skip


def compared(a: Path, b: Path, labels: Path, other: float = 0.5, **choices: Any) -> dict[str, Any]:
    table = match_tables(a, labels, None, Choices(**choices), b)
    options = StudyOptions(dict.fromkeys(table.labels, 0.5), 0.05, 0.95, 100, 1)
    return compare_systems(Study(table, options), dict.fromkeys(table.labels, other))


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "160"})
    return done.exit_code, done.stdout, done.stderr


def refused(*arguments: str | Path) -> str:
    status, _, error = run(*arguments)
    assert status == 2 and error.startswith("ich: ") and len(error.strip().splitlines()) == 1, error
    return error


def brute_force(first: np.ndarray, second: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Difference of areas and DeLong's error of it, by comparing every positive with every negative."""
    kernels = []
    for s in (first, second):
        p, q = s[truth == 1][:, None], s[truth == 0][None, :]
        kernels.append((p > q) + 0.5 * (p == q))
    kernel = kernels[0] - kernels[1]
    rows, columns = kernel.shape
    return kernel.mean(), math.sqrt(kernel.mean(1).var(ddof=1) / rows + kernel.mean(0).var(ddof=1) / columns)


def test_areas_are_those_of_the_definitions(tables, scores: np.ndarray) -> None:
    found = compared(*tables)
    assert found["columns"] == [{"other": "any", "labels": "ICH"}, {"other": "subdural", "labels": "SDH"}]
    assert found["not_compared"] == [] and found["excluded"] == []
    for k, name in enumerate(("ICH", "SDH")):
        truth, (a, b), entry = truth_of()[:, k], scores[:, :, k], found["findings"][name]
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


def test_the_bootstrap_is_of_the_same_draws(tables, scores: np.ndarray) -> None:
    """Each draw gives both systems; the quantiles are of its differences."""
    from ich_pipeline.evaluation.bootstrap import draw_counts

    differences = []
    truth, (a, b) = truth_of()[:, 0], scores[:, :, 0]
    for counts in draw_counts(N, 100, 1):
        w = np.asarray(counts, float)
        differences.append(
            average_precision_score(truth, a, sample_weight=w) - average_precision_score(truth, b, sample_weight=w)
        )
    gain = compared(*tables)["findings"]["ICH"]["ap"]["difference"]
    assert (gain["low"], gain["high"]) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_decisions_are_compared_at_each_systems_threshold(tables, scores: np.ndarray) -> None:
    found = compared(*tables, other=0.35)["findings"]
    assert set(found["SDH"]["points"]) == {"threshold"}, "a decision is on any"
    truth, (a, b) = truth_of()[:, 0] == 1, scores[:, :, 0]
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


def test_the_figures_of_the_first_stay_what_they_are(tables, tmp_path: Path) -> None:
    a, b, labels = tables
    common = (a, "--labels", labels, "--bootstrap", "30", "--with-identifiers")
    assert run(*common, "--out", tmp_path / "alone")[0] == 0
    bare = write(tmp_path / "bare.csv", "case,any,Other", *(f"{r.split(',')[3]},{r.split(',')[1]},1" for r in b.read_text().splitlines()[3:]))  # fmt: skip
    status, said, error = run(*common, "--against", bare, "--allow-missing", "--against-threshold", "ich=0.25", "--out", tmp_path / "two")  # fmt: skip
    assert status == 0, error
    before, after = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("alone", "two"))
    against = after.pop("against")
    assert after["about"]["files"].pop("against")["name"] == "bare.csv"
    assert after["about"]["unused_columns"].pop("against") == ["Other"]
    assert after == before
    assert (tmp_path / "two/failures.csv").read_bytes() == (tmp_path / "alone/failures.csv").read_bytes()
    assert {p.name for p in (tmp_path / "two").iterdir()} == set(OWN_FILES)
    assert against["not_compared"] == ["SDH"] and against["thresholds"] == {"ICH": 0.25}
    assert against["findings"]["ICH"]["n"] == N - 2
    assert against["excluded"] == [{"what": "rows that the other system lacks", "count": 2}]
    page, text = ((tmp_path / "two" / n).read_text() for n in ("index.html", "metrics.md"))
    for shown in (said, page, text):
        assert "Not compared, for B has no such column: SDH." in shown
        assert "Left out of the comparison: rows that the other system lacks: 2." in shown
    assert "threshold 0.5 of A, 0.25 of B" in page and "threshold 0.5 of A, 0.25 of B" in text
    assert "Not used of bare.csv: Other" in page and ">B: AUC" in (tmp_path / "two/roc.svg").read_text()
    assert run(*common[:-1], "--against", b, "--out", tmp_path / "two")[0] == 0
    written = "".join((tmp_path / "two" / n).read_text() for n in ("index.html", "metrics.md", "metrics.json"))
    assert not re.search(r"\bc17\b", re.sub("base64,[^\"]*", "", written)), "no row is named"


def test_rows_that_one_table_lacks(tables, tmp_path: Path) -> None:
    a, b, labels = tables
    lines = b.read_text().splitlines()
    fewer = write(tmp_path / "fewer.csv", lines[0], *lines[1:-3])
    more = write(tmp_path / "more.csv", *lines, "0.1,0.1,0,new")
    gaps = write(tmp_path / "gaps.csv", lines[0], ",0.5,1,c59", "0.5,0.2,,c58", *lines[3:])
    end = ("--labels", labels, "--out", tmp_path / "o")
    assert f"{fewer} lacks 3 of the 60 rows of {a} (first: line 2)" in refused(a, *end, "--against", fewer)
    assert f"{a} lacks 1 of the 61 rows of {more} (first: line 62)" in refused(a, *end, "--against", more)
    assert f"{gaps}, line 2: subdural has no probability" in refused(a, *end, "--against", gaps)
    assert not (tmp_path / "o").exists()
    found = compared(a, more, labels, allow_missing=True)
    assert found["excluded"] == [{"what": "rows of the other system that are not evaluated", "count": 1}]
    assert found["findings"] == compared(a, b, labels)["findings"]
    found = compared(a, gaps, labels, allow_missing=True)
    assert [found["findings"][k]["n"] for k in ("ICH", "SDH")] == [60, 59]
    assert found["findings"]["ICH"]["points"]["decision"]["n"] == 59
    assert {e["what"]: e["count"] for e in found["excluded"]} == {
        "SDH: rows without a probability of both systems": 1, "rows without a decision of both systems": 1
    }  # fmt: skip
    holes = write(tmp_path / "holes.csv", "case,any", *(f"c{i}," for i in range(N)))
    entry = compared(a, holes, labels, allow_missing=True)
    assert "no row has" in entry["findings"]["ICH"]["reason"]
    assert "not estimable: no row has" in area_rows(entry)[0]["AUC of A"] and decision_rows(entry, {"ICH": 0.5}) == []


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


def test_mapped_columns(tables, tmp_path: Path) -> None:
    a, b, labels = tables
    for name in ("new", "old"):
        (tmp_path / f"{name}.csv").write_text(a.read_text().replace("ICH,SDH", "score,SDH"))
    found = compared(tmp_path / "new.csv", tmp_path / "old.csv", labels, pairs=(("score", "ICH"),))
    assert found["columns"] == [{"other": "score", "labels": "ICH"}]
    found = compared(tmp_path / "new.csv", b, labels, pairs=(("score", "ICH"),))
    assert found["columns"] == [{"other": "any", "labels": "ICH"}]


def test_one_sentence_for_each_mistake(tables, tmp_path: Path) -> None:
    a, b, labels = tables
    end = ("--labels", labels, "--out", tmp_path / "o", "--against")
    assert "nil.csv is missing" in refused(a, *end, tmp_path / "nil.csv")
    assert "is the table of predictions itself" in refused(a, *end, a)
    assert "is the table of labels itself" in refused(a, *end, labels)
    (tmp_path / "link.csv").symlink_to(a)
    assert "is the table of predictions itself" in refused(a, *end, tmp_path / "link.csv")
    for rows, sentence in (
        (("who,any", "c0,0.5"), "has no column 'case' that names the rows"),
        (("case,any", "x,0.5"), "no case of"),
        (("case,tumour", *(f"c{i},0.5" for i in range(N))), "no column of a finding that is evaluated"),
        (("case,any,ich", *(f"c{i},0.5,0.5" for i in range(N))), "name the same finding"),
        (("case,any", *(f"c{i},5" for i in range(N))), "between 0 and 1"),
        (("case,any", "c0,0.5", "c0,0.5"), "stands twice"),
    ):
        assert sentence in refused(a, *end, write(tmp_path / "wrong.csv", *rows))
    assert "name its table with --against" in refused(a, *end[:-1], "--against-threshold", "0.3")
    assert "--against-threshold 7: '7' is no number" in refused(a, *end, b, "--against-threshold", "7")
    assert "no finding 'EDH'" in refused(a, *end, b, "--against-threshold", "EDH=0.2")
    assert not (tmp_path / "o").exists()


def test_one_patient_alone_is_not_described(tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", "case,patient,any", *(f"c{i},P{i // 3},{int(i < 3)}" for i in range(12)))
    a, b = (write(tmp_path / f"{n}.csv", "case,any", *(f"c{i},{(i * n) % 12 / 12}" for i in range(12))) for n in (5, 7))
    found = compared(a, b, labels)
    entry = found["findings"]["any"]
    assert entry["auc"]["difference"]["value"] is None and "one patient" in entry["auc"]["difference"]["reason"]
    assert "one patient" in entry["points"]["threshold"]["reason"]
    assert "not estimable" in area_rows(found)[0]["AUC of A"] and area_rows(found)[0]["p"] == "–"
