"""`ich evaluate` on tables of every form: the figures and the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from ich_pipeline.studies.match import match_tables
from ich_pipeline.studies.matched import Choices
from tests.made.study_tables import FINDINGS, refused, run, write


def test_the_published_areas_of_cq500(real_data: Path, tmp_path: Path) -> None:
    """Chilamkurthy et al. 2018, table of the CQ500 results: AUCs to four digits."""
    folder = real_data / "labels"
    if not (folder / "cq500_reads.csv").is_file():
        pytest.skip("no CQ500 tables in the real data")
    out = tmp_path / "out"
    status, said, error = run(
        folder / "cq500_prediction_probabilities.csv", "--labels", folder / "cq500_reads.csv", "--out", out, "--bootstrap", "20"
    )  # fmt: skip
    assert status == 0, error
    found = json.loads((out / "metrics.json").read_text())["case"]
    published = {"ICH": 0.9419, "IPH": 0.9544, "IVH": 0.9310, "SDH": 0.9521, "EDH": 0.9731, "SAH": 0.9574}
    assert {name: round(found[name]["auc"]["value"], 4) for name in published} == published
    assert all(found[n]["auc"]["delong"]["low"] < v < found[n]["auc"]["delong"]["high"] for n, v in published.items())
    assert "0.9419" in said and "majority of R1, R2, R3" in said


def test_figures_are_those_of_the_definitions(tables, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        run(
            tables[0],
            "--labels",
            tables[1],
            "--out",
            out,
            "--threshold",
            "0.5",
            "--threshold",
            "sdh=0.4",
            "--bootstrap",
            "50",
        )[0]
        == 0
    )
    found = json.loads((out / "metrics.json").read_text())
    table = match_tables(tables[0], tables[1], None, Choices())
    assert table.names[0] == "case-0" and table.labels == FINDINGS
    for k, name in enumerate(FINDINGS):
        truth, scores = table.truth[:, k], table.scores[:, k]
        assert found["case"][name]["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        assert found["case"][name]["ap"]["value"] == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
        called = scores >= {"ICH": 0.5, "SDH": 0.4}[name]
        tn, fp, fn, tp = (int(v) for v in confusion_matrix(truth, called).ravel())
        assert found["confusion"][name]["threshold"] == {
            "true_positives": tp, "false_negatives": fn, "false_positives": fp, "true_negatives": tn,
        }  # fmt: skip
        assert found["case"][name]["ppv@threshold"]["value"] == pytest.approx(tp / (tp + fp))
        assert found["case"][name]["npv@threshold"]["value"] == pytest.approx(tn / (tn + fn))
        assert found["case"][name]["f1@threshold"]["value"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        for r, entry in enumerate(found["readers"][name]):
            read = table.reads[:, r, k]
            assert entry["sensitivity"]["value"] == pytest.approx((read[truth == 1] == 1).mean())
            assert entry["auc"]["reader"]["value"] == pytest.approx(roc_auc_score(truth, read))
            assert entry["noninferiority"]["margin"] == 0.05
            right = (called == truth)[truth == 1], (read == truth)[truth == 1]
            assert entry["mcnemar"]["sensitivity"]["system_alone_right"] == int((right[0] & ~right[1]).sum())
        for r, entry in enumerate(found["leave_one_reader_out"][name]):
            others = np.delete(table.reads[:, :, k], r, axis=1)
            agreed = others[:, 0] == others[:, 1]
            assert entry["split"] == int((~agreed).sum()) and entry["n"] == int(agreed.sum())
            assert entry["sensitivity"]["value"] == pytest.approx(
                table.reads[agreed & (others[:, 0] == 1), r, k].mean()
            )
            assert entry["auc"]["system"]["value"] == pytest.approx(roc_auc_score(others[agreed, 0], scores[agreed]))


def test_the_page_says_what_must_be_known_and_needs_nothing_else(tables, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(tables[0], "--labels", tables[1], "--out", out, "--bootstrap", "20")[0] == 0
    page = (out / "index.html").read_text()
    assert "part of the reference" in page and "Against the other readers alone" in page
    assert "given and not chosen" in page and "Not used of the predictions: Other" in page
    assert "Nothing was left out." in page and "case-1" not in page
    for target in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert target.startswith(("data:", "#")) or (out / target).is_file(), target
    for anchor in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{anchor}"' in page
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    assert set(first) == {"index.html", "metrics.json", "metrics.md", "roc.png", "roc.svg", "failures.csv"}
    assert run(tables[0], "--labels", tables[1], "--out", out, "--bootstrap", "20", "--with-identifiers")[0] == 0
    for name in ("metrics.json", "metrics.md", "roc.png", "roc.svg"):
        assert (out / name).read_bytes() == first[name], f"equal input gives equal bytes: {name}"
    assert "case-" in (out / "index.html").read_text()
    failures = (out / "failures.csv").read_text().splitlines()
    assert failures[0] == "finding,kind,line,name,score"
    scores = [float(row.split(",")[-1]) for row in failures[1:] if row.startswith("ICH,false negative")]
    assert scores == sorted(scores) and len(scores) > 1


def test_readers_of_another_table_are_not_called_part_of_the_reference(tables, tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", "case,any", *(f"case-{i},{i % 2}" for i in range(40)))
    readers = write(tmp_path / "r.csv", "reader,case,decision", *(f"A,case-{i},{i % 2}" for i in range(30)))
    out = tmp_path / "out"
    status, said, error = run(
        tables[0], "--labels", labels, "--readers", readers, "--id", "name=case", "--out", out, "--bootstrap", "20"
    )
    assert status == 0, error
    assert "part of the reference" not in said
    found = json.loads((out / "metrics.json").read_text())
    (entry,) = found["readers"]["any"]
    assert entry["n"] == 30 and entry["sensitivity"]["value"] == 1.0 and found["leave_one_reader_out"]["any"] == []


def test_slices_are_gathered_into_cases_and_patients_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [
        (f"1.2.{i}", f"C{i // 4}", f"P{i // 8}", round(float(rng.random()), 3), int(rng.random() < 0.3))
        for i in range(80)
    ]
    predictions = write(tmp_path / "p.csv", "SOPInstanceUID,case_id,any", *(f"{u},{c},{s}" for u, c, _, s, _ in rows))
    labels = write(tmp_path / "l.csv", "SOPInstanceUID,PatientID,any", *(f"{u},{p},{t}" for u, _, p, _, t in rows))
    by_slice = match_tables(predictions, labels, None, Choices())
    assert by_slice.level == "slice" and by_slice.grouped_by == "patientid" and by_slice.patients.max() == 9
    by_case = match_tables(predictions, labels, None, Choices(level="case"))
    assert by_case.level == "case" and len(by_case.names) == 20 and by_case.patients.max() == 9
    for c in range(20):
        of = rows[4 * c : 4 * c + 4]
        assert by_case.scores[c, 0] == max(r[3] for r in of) and by_case.truth[c, 0] == max(r[4] for r in of)
    bare = write(tmp_path / "bare.csv", "SOPInstanceUID,any", *(f"{u},{s}" for u, _, _, s, _ in rows))
    alone = write(tmp_path / "alone.csv", "SOPInstanceUID,any", *(f"{u},{t}" for u, _, _, _, t in rows))
    assert "--case" in refused(bare, "--labels", alone, "--level", "case", "--out", tmp_path / "o")
    status, said, _ = run(bare, "--labels", alone, "--out", tmp_path / "o", "--bootstrap", "20")
    assert status == 0 and "too narrow" in said


def test_the_challenges_form_of_both_tables(tmp_path: Path) -> None:
    names = [f"ID_{i}_{f}" for i in range(12) for f in ("any", "subdural")]
    labels = write(
        tmp_path / "l.csv", "ID,Label", *(f"{n},{i % 3 == 0:d}" for i, n in enumerate(names)), f"{names[0]},1"
    )
    predictions = write(tmp_path / "p.csv", "ID,Label", *(f"{n},{0.3 + i % 5 / 10:.1f}" for i, n in enumerate(names)))
    found = match_tables(predictions, labels, None, Choices())
    assert found.level == "slice" and found.labels == ("any", "subdural") and len(found.names) == 12
    write(labels, "ID,Label", *(f"{n},1" for n in names), f"{names[0]},0")
    assert "stands twice with different values" in refused(predictions, "--labels", labels)


def test_our_own_tables_are_read_as_they_are(cohort, tmp_path: Path) -> None:
    """Evaluate's case table on both sides gives the case figures of the pipeline where nothing was stopped by the gate."""
    import pandas as pd

    from ich_pipeline.core.files import write_table
    from ich_pipeline.evaluation.tables import case_table
    from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE

    slices = pd.DataFrame(
        {"case_id": [f"C{c}" for c in cohort.case_index], "patient_key": [f"P{p}" for p in cohort.patients]}
    )
    path = tmp_path / "cases.parquet"
    write_table(path, case_table(cohort, slices), CASE_PREDICTIONS_TABLE)
    found = match_tables(path, path, None, Choices())
    assert found.labels == cohort.labels.columns and found.grouped_by == "patient_key" and found.level == "case"
    np.testing.assert_array_equal(found.scores, cohort.reading.case_scores)
    np.testing.assert_array_equal(found.truth, cohort.case_truth)
    np.testing.assert_array_equal(found.decisions == 1, cohort.reading.decisions)
    out = tmp_path / "out"
    assert run(path, "--labels", path, "--out", out, "--bootstrap", "20")[0] == 0
    figures = json.loads((out / "metrics.json").read_text())["case"]["any"]
    expected = cohort.metrics()["case"]["any"]
    for key in ("sensitivity", "specificity", "ppv", "npv", "f1"):
        assert figures[f"{key}@decision"]["value"] == pytest.approx(expected[f"{key}@balanced"]["value"])
        assert figures[f"{key}@decision"]["wilson"] == pytest.approx(expected[f"{key}@balanced"]["wilson"])
