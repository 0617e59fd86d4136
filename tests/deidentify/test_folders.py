"""Folders and the command: the same bytes however it is run, lost files, archives, mistakes, real exports."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydicom.uid import (
    SecondaryCaptureImageStorage,
)
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.deidentify import scan
from ich_pipeline.deidentify.folder import deidentify_files
from ich_pipeline.deidentify.key import load_key, new_key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.ingest.scan import list_files


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def export(tmp_path, make_ct, to_bytes):
    """Two patients, a copy of one slice, and files that are set aside."""
    root = tmp_path / "Doe Jane"
    for patient in ("P1", "P2"):
        (root / patient).mkdir(parents=True)
        for number in range(1, 10):
            ds = make_ct(number, patient, f"1.2.3.{patient[1]}", f"1.2.3.{patient[1]}.1")
            (root / patient / f"IM{number:02d}").write_bytes(to_bytes(ds))
    shutil.copyfile(root / "P1" / "IM03", root / "copy of Jane")
    (root / "page").write_bytes(to_bytes(make_ct(90, SOPClassUID=SecondaryCaptureImageStorage)))
    (root / "notes.txt").write_text("Jane Doe, born on 2 January 1950")
    (root / "gone").symlink_to(root / "nowhere")
    return root


def test_same_bytes_whatever_the_workers(export, tmp_path, key):
    trees = []
    for workers in (1, 2):
        target = tmp_path / f"out{workers}"
        target.mkdir()
        result = deidentify_files(list_files(export), target, key, Options(), workers)
        trees.append(tree(target))
    assert trees[0] == trees[1] and len(trees[0]) == 19
    assert sum(name.endswith("_2.dcm") for name in trees[0]) == 1
    assert result.summary == "22 files: 19 de-identified, 3 set aside; 2 patients"
    assert len(result.rows) == len({row.source for row in result.rows}) == 22


@dataclass(frozen=True)
class Deadly:
    """Stands for a file on which a library ends the process or never comes back."""

    code: str

    def read_bytes(self) -> None:
        eval(self.code)


def test_a_file_that_kills_or_hangs_its_process_is_lost_alone(export, tmp_path, key):
    files: list[Any] = list_files(export)[:4]
    files[1] = (Deadly("__import__('os').kill(__import__('os').getpid(), 11)"), "kills")
    files[2] = (Deadly("sum(range(10**15))"), "hangs")
    (tmp_path / "out").mkdir()
    result = deidentify_files(files, tmp_path / "out", key, Options(), 1, seconds=3.0)
    assert [row.cleaned.outcome.value for row in result.rows] == [
        "deidentified",
        *["process_ended"] * 2,
        "deidentified",
    ]


def ich(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def test_the_page_explains_every_outcome(project_root):
    page = (project_root / "docs" / "deidentification.md").read_text()
    rows = [f"| `{o.value}` | {o.explanation} |" for o in Outcome]
    assert "\n".join(rows) in page


def test_the_command(export, project, tmp_path, to_bytes, make_ct):
    keyfile, out = tmp_path / "key", tmp_path / "out"
    assert ich("deidentify", "--new-key", keyfile)[0] == 0
    (tmp_path / "labels.csv").write_text("SOPInstanceUID,any,who\n1.2.3.1.1.1,1,Jane Doe\n")
    status, said, err = ich("deidentify", export, "--out", out, "--key", keyfile, "--labels", tmp_path / "labels.csv")
    assert (status, err) == (0, ""), err
    assert "22 files: 19 de-identified, 3 set aside; 2 patients." in said
    assert sorted(p.name for p in out.iterdir()) == ["account.csv", "dicom", "labels.csv", "removed.csv", "report.json"]
    account = pd.read_csv(out / "account.csv", keep_default_na=False)
    assert len(account) == 22
    assert account["reason"].value_counts().to_dict() == {
        "deidentified": 19, "secondary_capture": 1, "not_dicom": 1, "unreadable": 1,
    }  # fmt: skip
    assert set(account["path"]) - {""} == {
        p.relative_to(out / "dicom").as_posix() for p in (out / "dicom").rglob("*.dcm")
    }
    report = json.loads((out / "report.json").read_text())
    assert report["second_pass"] == {"files": 19, "files_with_findings": 0}
    assert report["key"] == load_key(keyfile).fingerprint
    removed = pd.read_csv(out / "removed.csv").set_index(["attribute", "what"])["elements"]
    assert removed["PatientName", "replaced"] == removed["StudyDate", "date_shifted"] == 19
    labels = pd.read_csv(out / "labels.csv", dtype=str)
    assert labels.columns.tolist() == ["SOPInstanceUID", "any"]
    assert labels["SOPInstanceUID"][0] in set(account["SOPInstanceUID"])
    everything = said.encode() + b"".join(name.encode() + data for name, data in tree(out).items())
    secret = keyfile.read_text().split()[1]
    for word in (b"Jane", b"Doe", b"1.2.3.1", b"19500102", secret.encode(), bytes.fromhex(secret)):
        assert word not in everything
    assert ich("deidentify", out / "dicom", "--check") == (0, "Files with findings: 0.\n", "")
    Path("params.yaml").unlink()  # then the settings are those of a profile
    assert ich("deidentify", export, "--out", tmp_path / "again", "--key", keyfile)[0] == 0
    status, said, _ = ich("deidentify", export / "P1", "--check")
    assert status == 1 and "PatientName: not a pseudonym" in said and "Jane" not in said.replace(str(export), "")


def test_a_second_run_gives_the_same_bytes_and_another_key_other_names(export, project, tmp_path):
    new_key(tmp_path / "a")
    new_key(tmp_path / "b")
    for out, name in (("one", "a"), ("two", "a"), ("three", "b")):
        assert ich("deidentify", export, "--out", tmp_path / out, "--key", tmp_path / name)[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert not set(tree(tmp_path / "one" / "dicom")) & set(tree(tmp_path / "three" / "dicom"))


def test_mistakes_are_one_sentence(export, project, tmp_path):
    keyfile = tmp_path / "key"
    new_key(keyfile)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    cases = {
        ("deidentify",): "SOURCE is missing",
        ("deidentify", export): "--out and --key are needed",
        ("deidentify", export, "--out", tmp_path / "full", "--key", keyfile): "exists and is not empty",
        ("deidentify", export, "--out", export / "in", "--key", keyfile): "contain one another",
        ("deidentify", tmp_path / "nowhere", "--out", tmp_path / "o", "--key", keyfile): "nowhere is missing: name",
        (
            "deidentify",
            export,
            "--out",
            tmp_path / "o",
            "--key",
            tmp_path / "none",
        ): "is missing: `ich deidentify --new-key",
        (
            "deidentify",
            export,
            "--out",
            tmp_path / "o",
            "--key",
            keyfile,
            "--linkage",
            tmp_path / "o" / "l",
        ): "keep it elsewhere",
        (
            "deidentify",
            export,
            "--out",
            tmp_path / "o",
            "--key",
            keyfile,
            "--longest-shift",
            0,
        ): "number of days from 1",
        ("deidentify", "--new-key", keyfile): "never overwritten",
    }
    for arguments, sentence in cases.items():
        status, _, err = ich(*arguments)
        assert (status, err.count("\n")) == (2, 1) and sentence in err, (arguments, err)
    assert not (tmp_path / "o").exists()


@pytest.fixture
def packed(export, tmp_path):
    """The export in archives: one patient in a zip within a zip, the other in a tar.gz, the rest in a folder."""
    root = tmp_path / "packed"
    root.mkdir()
    with zipfile.ZipFile(tmp_path / "Jane.zip", "w", zipfile.ZIP_DEFLATED) as inner:
        for path in sorted((export / "P1").iterdir()):
            inner.write(path, f"P1/{path.name}")
    with zipfile.ZipFile(root / "Doe Jane.zip", "w") as outer:
        outer.write(tmp_path / "Jane.zip", "Jane.zip")
    with tarfile.open(root / "Doe.tar.gz", "w:gz") as archive:
        archive.add(export / "P2", "P2")
    for name in ("copy of Jane", "page", "notes.txt"):
        shutil.copyfile(export / name, root / name)
    return root


def test_archives_give_the_files_of_the_folder(export, packed, project, tmp_path):
    keyfile = tmp_path / "key"
    new_key(keyfile)
    assert ich("deidentify", export, "--out", tmp_path / "plain", "--key", keyfile)[0] == 0
    linkage = tmp_path / "linkage.csv"
    status, said, err = ich(
        "deidentify", packed, "--out", tmp_path / "out", "--key", keyfile, "--linkage", linkage
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "24 files: 19 de-identified, 5 set aside; 2 patients." in said
    names = {name: data for name, data in tree(tmp_path / "out" / "dicom").items() if "_2" not in name}
    plain = {name: data for name, data in tree(tmp_path / "plain" / "dicom").items() if "_2" not in name}
    assert names == plain and len(names) == 18
    account = pd.read_csv(tmp_path / "out" / "account.csv", keep_default_na=False)
    assert account["reason"].value_counts().to_dict() == {
        "deidentified": 19, "archive": 3, "secondary_capture": 1, "not_dicom": 1,
    }  # fmt: skip
    linked = pd.read_csv(linkage, dtype=str)
    assert set(linked["source"]) == set(account["source"]) and len(set(account["source"])) == 24
    assert "Doe Jane.zip/Jane.zip/P1/IM01" in set(linked["original_path"])
    assert b"Jane" not in b"".join(name.encode() + data for name, data in tree(tmp_path / "out").items())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "account.csv", "dicom", "removed.csv", "report.json",
    ]  # fmt: skip


def test_a_damaged_archive_is_accounted_for_and_names_nobody(packed, project, tmp_path, monkeypatch):
    keyfile, scratch = tmp_path / "key", tmp_path / "scratch"
    new_key(keyfile)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    cut = (tmp_path / "Jane.zip").read_bytes()
    (packed / "Jane Doe.zip").write_bytes(cut[: len(cut) * 2 // 3])
    (packed / "Jane.rar").write_bytes(b"Rar!\x1a\x07\x00" + bytes(600))
    status, said, err = ich("deidentify", packed, "--out", tmp_path / "out", "--key", keyfile)
    assert (status, err) == (0, "") and "Jane" not in said.replace(str(tmp_path), "")
    account = pd.read_csv(tmp_path / "out" / "account.csv", keep_default_na=False)
    reasons = account["reason"].value_counts()
    assert reasons["archive_broken"] >= 1 and reasons["archive_unsupported"] == 1
    assert not account.loc[account["reason"].str.startswith("archive"), "detail"].any(), "a detail may name a member"
    status, said, _ = ich("deidentify", packed, "--check")
    assert status == 1
    assert "Jane.rar: not looked at: an archive, or a compression in one, that is not read here" in said
    assert "Doe Jane.zip/Jane.zip/P1/IM01: " in said
    only = tmp_path / "only.zip"
    only.write_bytes(b"PK\x03\x04" + bytes(50))
    status, _, err = ich("deidentify", only, "--out", tmp_path / "none", "--key", keyfile)
    assert (status, err.count("\n")) == (2, 1)
    assert "only.zip holds no file that can be read (only.zip" in err and "only.zip: archive_broken" in err
    assert list(scratch.iterdir()) == [] and not list(tmp_path.glob(".*"))


@pytest.mark.long
def test_real_exports_leave_no_name(real_data, tmp_path, key):
    """The names, numbers and dates of every real file are searched for in every output."""
    found: set[str] = set()
    files = [f for f in list_files(real_data / "dicom_pacs") if f[0].stat().st_size < 3e6][::20]
    files += list_files(real_data / "ctich_dicom" / "dicom")[::150]
    for path, _ in files:
        original = scan.parse(path.read_bytes())
        if "PatientID" in original:
            found |= scan.identifiers(original, [code for code, _ in Options().codes])
    target = tmp_path / "out"
    target.mkdir()
    result = deidentify_files(files, target, key, Options(), 1)
    assert result.outcomes[Outcome.DEIDENTIFIED] > len(files) / 2
    assert result.outcomes[Outcome.IDENTIFIER_LEFT] == result.outcomes[Outcome.BROKEN_HEADER] == 0
    for path in target.rglob("*.dcm"):
        assert scan.findings(path.read_bytes(), found) == []
