"""The public data sets through the command line: on small exports of their form, and on real ones where they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.cohorts.bring import agreement
from ich_pipeline.cohorts.cq500 import FINDINGS, READERS, read_cq500
from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.rsna2019 import read_rsna2019
from ich_pipeline.cohorts.source_table import ICH_LABELS, KEY
from ich_pipeline.config import Params
from ich_pipeline.tables.label_tables import STUDY, UID, read_case_labels, read_labels

WriteExport = Callable[[Path, Sequence[Mapping[str, object]]], Path]
COLUMNS = list(ICH_LABELS.columns)


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # the challenge's UIDs are none, as in its files
def test_rsna2019(project: Path, tmp_path: Path, write_export: WriteExport) -> None:
    names = ["ID_00a1", "ID_00a2", "ID_00a3"]
    source = write_export(
        tmp_path / "export", [{UID: name, STUDY: "ID_st", "SeriesInstanceUID": "ID_se"} for name in names]
    )
    text = "ID,Label\n" + "".join(
        f"{name}_{label},{int(name == 'ID_00a2' and label in ('any', 'subdural'))}\n"
        for name in names
        for label in COLUMNS
    )
    table = tmp_path / "stage_2_train.csv"
    table.write_text(text + "ID_00a1_any,0\n")
    status, out, err = ich("cohort", "rsna2019", source, "--labels", table)
    assert (status, out) == (2, "") and not Path("data").exists()
    assert "1 repeated row that says the same (line 20 ID_00a1: any)" in err and err.count("\n") == 1
    status, out, err = ich("cohort", "rsna2019", source, "--labels", table, "--lenient")
    assert status == 0, err
    assert "3 labelled (1 with any). Left out: 1 repeated row that says the same." in out and "make repro" in out
    assert rows_of(Path("data/labels.csv"))[1:] == [
        ["ID_00a1", *"000000"], ["ID_00a2", *"100001"], ["ID_00a3", *"000000"],
    ]  # fmt: skip
    assert json.loads(Path("data/cohort.json").read_text())["kind"] == "rsna2019"


def test_physionet_ctich_missing_images_are_named_missing_patients_are_a_fault(
    project: Path, tmp_path: Path, write_export: WriteExport
) -> None:
    source = write_export(
        tmp_path / "export", [{UID: f"2.25.{n}", "PatientID": "CTICH-050", "InstanceNumber": n} for n in (1, 2, 4)]
    )
    header = "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage,Fracture_Yes_No"
    rows = [f"50,{n},0,0,0,{int(n == 4)},0,{int(n != 4)},{n % 2}" for n in (4, 3, 2, 1)]
    table = tmp_path / "hemorrhage_diagnosis.csv"
    table.write_text("\n".join([header, *rows, "51,1,0,0,0,0,0,1,0"]) + "\n")
    status, _, err = ich("cohort", "physionet-ctich", source, "--labels", table)
    assert status == 2 and "1 label without an image in the folder (line 6 patient 51 slice 1); mend" in err
    table.write_text("\n".join([header, *rows]) + "\n")
    status, out, err = ich("cohort", "physionet-ctich", source, "--labels", table)
    assert status == 0, err
    assert "Noted: 1 label whose image the data set lacks." in out
    assert rows_of(Path("data/labels_report.csv"))[1:] == [["missing_image", "note", "patient 50 slice 3", "3", ""]]
    assert rows_of(Path("data/labels.csv"))[1:] == [
        ["2.25.1", *"000000"], ["2.25.2", *"000000"], ["2.25.4", *"110000"],
    ]  # fmt: skip
    assert rows_of(Path("data/labels_aside.csv")) == [
        [UID, "Fracture_Yes_No"], ["2.25.1", "1"], ["2.25.2", "0"], ["2.25.4", "0"],
    ]  # fmt: skip


def test_a_label_that_fits_two_images_is_a_fault(project: Path, tmp_path: Path, write_export: WriteExport) -> None:
    slices = [
        {UID: f"2.25.{n}", "PatientID": "050", "InstanceNumber": 1 + n % 2, "SeriesInstanceUID": f"2.25.{n // 2 + 10}"}
        for n in range(3)
    ]
    source = write_export(tmp_path / "export", slices)
    header = "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage"
    table = tmp_path / "t.csv"
    table.write_text(f"{header}\n50,1,0,0,0,0,0,1\n50,2,0,0,0,0,0,1\n")
    status, _, err = ich("cohort", "physionet-ctich", source, "--labels", table)
    assert status == 2
    assert "1 label that fits several images (line 2 patient 50 slice 1: 2 slices); mend" in err


def test_cq500(project: Path, tmp_path: Path, write_export: WriteExport, params: Params) -> None:
    slices = [
        {
            UID: f"2.25.{100 + n}",
            STUDY: f"2.25.{50 + n // 2}",
            "SeriesInstanceUID": f"2.25.{20 + n}",
            "PatientID": f"CQ500-CT-{n // 2}",
        }
        for n in range(4)
    ]
    source = write_export(tmp_path / "export", slices)
    header = ["name", "Category", *(f"{r}:{FINDINGS[c]}" for r in READERS for c in COLUMNS)]
    table = tmp_path / "reads.csv"
    rows = ["CQ500-CT-1,B1,1,0,0,0,0,1,1,0,0,0,0,1,0,0,0,0,0,0", "CQ500-CT-0,B2" + ",0" * 18]
    table.write_text("\n".join([",".join(header), *rows]) + "\n")
    status, out, err = ich("cohort", "cq500", source, "--labels", table)
    assert status == 0, err
    assert "2 cases labelled (1 with any)." in out and "no network can be trained on them" in out
    cases = read_case_labels(Path("data/case_labels.csv"), params.label_set)
    assert cases.to_numpy().tolist() == [["2.25.50", 0, 0, 0, 0, 0, 0], ["2.25.51", 1, 0, 0, 0, 0, 1]]
    assert len(read_labels(Path("data/labels.csv"), params.label_set)) == 0
    readers = rows_of(Path("data/readers.csv"))
    assert readers[0] == ["reader", "case", "label", "decision"] and len(readers) == 1 + 3 * 2 * 6
    assert ["R2", "2.25.51", "subdural", "1"] in readers and ["R3", "2.25.51", "any", "0"] in readers
    kappas = json.loads(Path("data/agreement.json").read_text())
    assert kappas["cases"] == 2 and kappas["findings"]["epidural"]["fleiss"]["kappa"] is None
    assert rows_of(Path("data/labels_aside.csv"))[0][:3] == [STUDY, "Category", "R1:ICH"]
    for file in Path("data").glob("*.*"):
        assert "CQ500-CT" not in file.read_text(), "PatientID stays in the images"


# Real tables


def test_the_real_rsna_table(real_data: Path) -> None:
    path = real_data / "labels" / "rsna2019_long.csv"
    account = LabelAccount()
    found = read_rsna2019(path, ICH_LABELS, account).table.set_index(KEY)
    assert account.findings == [] and len(found) == 5001
    long = pd.read_csv(path)
    parts = long["ID"].str.rsplit("_", n=1, expand=True)
    wide = long.assign(name=parts[0], label=parts[1]).pivot_table(index="name", columns="label", values="Label")
    assert (wide.loc[found.index, COLUMNS].to_numpy() == found[COLUMNS].to_numpy()).all()
    assert found[COLUMNS].sum().tolist() == [721, 17, 240, 163, 272, 301]


def test_the_real_rsna_table_with_planted_faults(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "labels" / "rsna2019_long.csv"
    text = path.read_text().splitlines()
    first, second = text[1].rsplit(",", 1)[0], text[7].rsplit(",", 1)[0]
    contrary = 1 - int(text[7].rsplit(",", 1)[1])
    worse = tmp_path / "worse.csv"
    worse.write_text("\n".join([*text[:-1], text[1], f"{second},{contrary}"]) + "\n")
    account = LabelAccount()
    table = read_rsna2019(worse, ICH_LABELS, account).table
    assert account.counts(notes=False) == {
        LabelFault.INCOMPLETE: 1, LabelFault.DUPLICATE_EQUAL: 1, LabelFault.DUPLICATE_CONTRADICTING: 1,
    }  # fmt: skip
    assert len(table) == 4999
    assert first.rsplit("_", 1)[0] in set(table[KEY]) and second.rsplit("_", 1)[0] not in set(table[KEY])


def test_the_real_cq500_table(real_data: Path) -> None:
    path = real_data / "labels" / "cq500_reads.csv"
    account = LabelAccount()
    rows = read_cq500(path, ICH_LABELS, account)
    assert rows.votes is not None
    assert account.counts(notes=False) == {}
    assert account.counts(notes=True) == {LabelFault.READER_CONTRADICTION: 2, LabelFault.NO_SUBTYPE_AGREED: 6}
    reads = pd.read_csv(path).set_index("name")
    found = rows.table.set_index(KEY)
    ours = agreement(rows.votes)
    assert ours["cases"] == len(found) == 491
    names = {**FINDINGS, **{name: name for name in ("MassEffect", "MidlineShift", "CalvarialFracture", "Fracture")}}
    for label, name in names.items():
        votes = reads[[f"{reader}:{name}" for reader in READERS]].to_numpy()
        of_label = ours["findings"][label]
        if label in COLUMNS:
            assert (found.loc[reads.index, label].to_numpy() == (votes.sum(axis=1) >= 2)).all()
        assert of_label["majority"] == int((np.median(votes, axis=1)).sum())
        assert of_label["fleiss"]["kappa"] == pytest.approx(fleiss_kappa(aggregate_raters(votes)[0]), abs=1e-12)
        for pair in of_label["pairs"]:
            a, b = (READERS.index(reader) for reader in pair["readers"])
            assert pair["kappa"] == pytest.approx(cohen_kappa_score(votes[:, a], votes[:, b]), abs=1e-12)
            assert pair["agreement"] == pytest.approx((votes[:, a] == votes[:, b]).mean(), abs=1e-12)


def test_the_real_cq500_majority_is_the_truth_of_the_publication(real_data: Path) -> None:
    """Against it the authors' own probabilities reach the AUCs that they published (Chilamkurthy et al. 2018, abstract, as
    preprint: arXiv 1803.05854), and the two batches have the published sizes."""
    rows = read_cq500(real_data / "labels" / "cq500_reads.csv", ICH_LABELS, LabelAccount())
    assert rows.aside is not None
    assert rows.aside["Category"].value_counts().to_dict() == {"B1": 214, "B2": 277}
    truth = rows.table.set_index(KEY)
    scores = pd.read_csv(real_data / "labels" / "cq500_prediction_probabilities.csv").set_index("name")
    published = {"ICH": 0.9419, "IPH": 0.9544, "IVH": 0.9310, "SDH": 0.9521, "EDH": 0.9731, "SAH": 0.9574}
    for label, name in FINDINGS.items():
        auc = roc_auc_score(truth.loc[scores.index, label], scores[name])
        assert round(auc, 4) == published[name], name


@pytest.mark.long  # copies 1,203 files twice
def test_the_real_ctich_table_gives_the_labels_of_the_folder(project: Path, real_data: Path) -> None:
    real = real_data / "ctich_dicom"
    brought = {}
    for kind, table in (("physionet-ctich", "hemorrhage_diagnosis.csv"), ("folder", "labels.csv")):
        status, out, err = ich("cohort", kind, real / "dicom", "--labels", real / table, "--replace")
        assert status == 0, err
        assert "1,203 CT images among them, 1,203 labelled (147 with any)." in out
        brought[kind] = Path("data/labels.csv").read_bytes()
        if kind == "physionet-ctich":
            assert "Noted: 16 labels whose images the data set lacks." in out
            assert [row[0] for row in rows_of(Path("data/labels_report.csv"))[1:]] == ["missing_image"] * 16
    assert brought["physionet-ctich"] == brought["folder"]
    given = pd.read_csv(real / "labels.csv", dtype=str).sort_values(UID)
    assert rows_of(Path("data/labels.csv"))[1:] == given[[UID, *COLUMNS]].to_numpy().tolist()
