"""``ich predict``, ``promote`` and ``models`` with a registered model."""

from __future__ import annotations

import csv
import html
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.commands.predict import TABLES
from ich_pipeline.config import Params
from ich_pipeline.core.lock import output_locked
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.registry import store, versions
from tests.sources.s3_server import KEY, SECRET, rclone

CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
PLANTED = ("4711-PLANTED", "PLANTED^PATIENT", "2.25.7", "2.25.8")


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of ``ich …`` on a wide terminal."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def model(registered: int) -> int:
    """Every test here has version 1 as the challenger."""
    return registered


def test_reads_every_study_and_names_none(studies, params: Params, tmp_path: Path) -> None:
    status, out, err = ich("predict", studies.folder, "--out", tmp_path)
    assert status == 0, out + err
    pages = sorted(path.stem for path in tmp_path.glob("C*.html"))
    found = json.loads((tmp_path / "predictions.json").read_text())
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert len(pages) == 2
    assert found["tests"] == versions.live("ich-ensemble").tests != {}
    assert [case["case_id"] for case in found["cases"]] == pages == [row["case_id"] for row in rows]
    for case, row in zip(found["cases"], rows, strict=True):
        assert set(case["probabilities"]) == set(params.label_set.columns)
        assert float(row["any"]) == pytest.approx(case["probabilities"]["any"], abs=1e-6)
        assert row["slices"] == "6" and row["page"] == f"{case['case_id']}.html"
        assert case["case_id"] in out
        sure = case["uncertainty"]
        assert sure["statement"].startswith("Haemorrhage ") and "at 90 % coverage" in sure["statement"]
        assert sure["statement"] in (tmp_path / row["page"]).read_text()
        assert sure["disagreement"] is None and sure["reason"] == "one member: no disagreement"
        last = params.label_set.columns[-1]
        assert sure["sets"][last] is None and "2 patients" in sure["reasons"][last]
        assert {word for one in case["slices"] for word in one["sets"].values()} <= {
            "absent",
            "present",
            "undecided",
            None,
        }
    assert "no DICOM image: 1 of the files" in out
    assert "ich-ensemble version 1" in out
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert not [text for text in PLANTED if text in written + out + err]


def test_what_the_model_s_tests_do_not_show_is_said(studies, tmp_path: Path, model: int) -> None:
    store.client().set_model_version_tag(
        "ich-ensemble", str(model), versions.CAUTION, "Better than <chance> is not shown."
    )
    try:
        status, _, err = ich("predict", *studies.files[0], "--out", tmp_path)
    finally:
        store.client().delete_model_version_tag("ich-ensemble", str(model), versions.CAUTION)
    assert status == 0 and "ich-ensemble version 1 its tests say: Better than <chance> is not shown." in err
    (page,) = tmp_path.glob("C*.html")
    assert "Better than &lt;chance&gt; is not shown." in page.read_text()
    assert json.loads((tmp_path / "predictions.json").read_text())["caution"] == "Better than <chance> is not shown."
    (row,) = csv.DictReader((tmp_path / "predictions.csv").open())
    assert row["caution"] == "Better than <chance> is not shown."


def test_a_line_a_case_where_no_table_fits(studies, tmp_path: Path) -> None:
    status, out, _ = ich("predict", studies.folder, "--out", tmp_path)  # no terminal, however wide it says that it is
    assert status == 0
    cases = json.loads((tmp_path / "predictions.json").read_text())["cases"]
    assert [line for line in out.splitlines() if line.startswith("C")] == [
        f"{c['case_id']}  {'suspected' if c['decision'] else 'not suspected'}  any {c['probabilities']['any']:.3f}  "
        f"{tmp_path / c['case_id']}.html"
        for c in cases
    ]


def test_a_table_on_a_wide_terminal(studies, tmp_path: Path, params: Params) -> None:
    environment = {"COLUMNS": "240", "FORCE_COLOR": "1", "TERM": "xterm"}
    done = CliRunner().invoke(app, ["predict", str(studies.folder), "--out", str(tmp_path)], env=environment)
    (title, *_) = [line for line in done.stdout.splitlines() if "haemorrhage" in line]
    assert all(label in title for label in params.label_set.columns)


def test_identifiers_only_when_asked(studies, tmp_path: Path) -> None:
    status, _, _ = ich(
        "predict", *studies.files[0], "--out", tmp_path, "--with-identifiers", "--model", "ich-ensemble/1"
    )
    assert status == 0
    (row,) = csv.DictReader((tmp_path / "predictions.csv").open())
    assert row["StudyInstanceUID"] == "2.25.71"
    (case,) = json.loads((tmp_path / "predictions.json").read_text())["cases"]
    assert {one["SOPInstanceUID"] for one in case["slices"]} == {f"2.25.7{index + 100}" for index in range(6)}
    assert "PLANTED" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_study_that_cannot_be_read_is_named_with_its_reason(studies, tmp_path: Path) -> None:
    sources = [*studies.files[0], studies.files[1][0]]  # of the second study one slice alone
    status, _, err = ich("predict", *sources, "--out", tmp_path)
    assert status == 1  # some, not all, were read
    assert "1 of 2 studies could not be read" in err
    assert len(list(tmp_path.glob("C*.html"))) == 1
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [bool(row["reason"]) for row in sorted(rows, key=lambda r: r["reason"])] == [False, True]
    assert "could not be read: no usable CT series" in err
    status, _, err = ich("predict", studies.files[1][0], "--out", tmp_path / "none")
    assert status == 2 and "None of 1 studies could be read" in err
    assert {path.name for path in (tmp_path / "none").iterdir()} == set(TABLES)
    (row,) = csv.DictReader((tmp_path / "none" / "predictions.csv").open())
    assert "no usable CT series" in row["reason"] and row["decision"] == ""


def test_what_to_beware_of_in_a_scan_is_said_wherever_its_answer_stands(studies, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, path in enumerate(studies.files[0]):
        dataset = pydicom.dcmread(path)
        dataset.ImageType = ["ORIGINAL", "SECONDARY", "AXIAL"]  # nothing better is there: read as a last resort
        dataset.save_as(source / str(number))
    status, _, err = ich("predict", source, studies.files[1][0].parent, "--out", tmp_path / "out")
    assert status == 0, err
    rows = {row["case_id"]: row["caution"] for row in csv.DictReader((tmp_path / "out" / "predictions.csv").open())}
    cases = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]
    [case] = [one for one in cases if one["scan_cautions"]]
    [caution] = case["scan_cautions"]
    assert caution.startswith("read as a last resort")
    assert f"Caution: {case['case_id']}: {caution}." in err
    assert caution in rows.pop(case["case_id"]) and not any("last resort" in other for other in rows.values())
    pages = {one["case_id"]: (tmp_path / "out" / f"{one['case_id']}.html").read_text() for one in cases}
    assert {name for name, page in pages.items() if "Read as a last resort" in page} == {case["case_id"]}


def test_sources_that_hold_nothing(tmp_path: Path) -> None:
    status, _, err = ich("predict", tmp_path / "missing", "--out", tmp_path / "out" / "deep")
    assert (status, err.count("\n")) == (
        2,
        1,
    ) and "missing is missing: name a folder, an archive, a DICOMDIR, or s3://" in err
    source = tmp_path / "source"
    source.mkdir()
    (source / "text").write_text("no DICOM")
    with zipfile.ZipFile(source / "a.zip", "w") as archive:
        archive.write(source / "text", "inside")
    with zipfile.ZipFile(source / "b.zip", "w") as archive:
        archive.write(source / "text", "../outside")
    status, _, err = ich("predict", source, "--out", tmp_path / "out" / "deep")
    assert (status, err.count("\n")) == (2, 1)
    words = "source holds no DICOM image (files looked at: 2; not read: b.zip/../outside: archive_member_unsafe"
    assert words in err and not (tmp_path / "out").exists()
    status, _, err = ich("predict", source, "--out", source / "out")  # what the run itself puts there is not counted
    assert status == 2 and words in err and sorted(p.name for p in source.iterdir()) == ["a.zip", "b.zip", "text"]
    with output_locked(tmp_path / "out", "--out", inside=True):
        status, _, err = ich("predict", source, "--out", tmp_path / "out")
    assert status == 2 and "another run" in err


def test_studies_in_archives_are_read_as_those_in_folders(studies, tmp_path: Path) -> None:
    """A zip with one study, a zip in a tar with the other, and a file that is damaged."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    assert ich("predict", studies.folder, "--out", plain)[0] == 0
    sources = tmp_path / "sources"
    sources.mkdir()
    for place, files in ((sources / "one.zip", studies.files[0]), (tmp_path / "two.zip", studies.files[1])):
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, f"PLANTED^PATIENT/{path.name}")
    with tarfile.open(sources / "PLANTED^PATIENT.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "two.zip", "two.zip")
    damaged = (sources / "one.zip").read_bytes()
    (sources / "PLANTED^PATIENT.zip").write_bytes(damaged[: len(damaged) // 2])
    status, out, err = ich("predict", sources, "--out", packed)
    assert status == 1 and "ich: PLANTED^PATIENT.zip was not read: an archive" in err and "cut short" in err, out + err
    assert {path.name for path in packed.iterdir()} == {path.name for path in plain.iterdir()}, "no member is left"
    for path in plain.glob("C*.html"):
        assert (packed / path.name).read_bytes() == path.read_bytes()
    tables = json.loads((packed / "predictions.json").read_text())
    assert tables["cases"] == json.loads((plain / "predictions.json").read_text())["cases"]
    assert tables["files_not_read"]["archive_broken"] >= 1
    assert not [p for p in packed.iterdir() if "PLANTED" in p.read_text()], "names of files are for the terminal alone"


def test_studies_in_a_bucket_are_read_as_those_in_folders(studies, tmp_path: Path, monkeypatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "root"
    for number, files in enumerate(studies.files):
        (root / "bucket" / f"study{number}").mkdir(parents=True)
        for path in files:
            shutil.copyfile(path, root / "bucket" / f"study{number}" / path.name)
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert ich("predict", *studies.files[0], *studies.files[1], "--out", plain)[0] == 0
    with rclone(root) as port:
        at = ("--endpoint-url", f"http://127.0.0.1:{port}", "--out", out)
        status, said, err = ich("predict", "s3://bucket/study0", "s3://bucket/study1", *at)
        assert status == 0, said + err
        status, _, err = ich("predict", "s3://bucket/nothing", *at)
        assert (status, err.count("\n")) == (2, 1) and "s3://bucket/nothing holds no objects" in err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in plain.iterdir()}
    assert not (tmp_path / ".out.fetched").exists()
    status, _, err = ich("predict", *studies.files[0], *at)
    assert (status, err.count("\n")) == (2, 1) and "--endpoint-url" in err and "leave it out" in err


def test_what_a_killed_run_left_is_gone_and_counts_for_nothing(studies, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"
    for name in (".members/0", ".unfinished/C0.html"):
        (out / name).parent.mkdir(parents=True)
        shutil.copyfile(studies.files[1][0], out / name)
    for number, path in enumerate(studies.files[0]):
        shutil.copyfile(path, source / str(number))
    before = everything(out)
    status, _, err = ich("predict", source, "--out", out)  # no lock: they may be the user's own
    assert (status, err.count("\n")) == (2, 1) and ".members, where a run works" in err
    assert everything(out) == before
    (out / ".lock").write_text("4711")
    status, said, err = ich("predict", source, "--out", out)
    assert status == 0 and "Left aside" not in said, said + err
    (row,) = csv.DictReader((out / "predictions.csv").open())
    assert {path.name for path in out.iterdir()} == {*TABLES, row["page"]}


def test_the_worklist_links_every_page_and_never_replaces_a_page_of_the_users_own(studies, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ich("predict", *studies.files[0], *studies.files[1], "--out", out, "--with-identifiers")[0] == 0
    page = (out / "index.html").read_text()
    cases = json.loads((out / "predictions.json").read_text())["cases"]
    assert all(f'href="{one["case_id"]}.html"' in page and one["sentence"] in html.unescape(page) for one in cases)
    assert "study date" in page and "PLANTED" not in page
    assert ich("predict", *studies.files[0], "--out", out)[0] == 0, "a worklist of an earlier run is replaced"
    assert "study date" not in (out / "index.html").read_text()
    (out / "index.html").write_text("<html>mine</html>")
    status, _, err = ich("predict", *studies.files[0], "--out", out)
    assert (status, err.count("\n")) == (2, 1) and "holds index.html, which is not of an earlier run" in err
    assert (out / "index.html").read_text() == "<html>mine</html>"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [*TABLES, "the page", ".members/a", ".unfinished/a.html", ".lock"])
@pytest.mark.parametrize("content", [b"case,any\nA,0.5\n", b"{}"])
def test_a_file_of_the_user_s_own_under_a_name_of_ours_stays(
    studies, tmp_path: Path, name: str, content: bytes
) -> None:
    out = tmp_path / "out"
    place = out / (
        f"{case_id(str(pydicom.dcmread(studies.files[0][0]).StudyInstanceUID))}.html" if name == "the page" else name
    )
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    before = everything(out)
    status, _, err = ich("predict", *studies.files[0], "--out", out)
    assert (status, err.count("\n")) == (2, 1), err
    assert everything(out) == before


def test_an_unknown_model_is_one_sentence(studies, tmp_path: Path) -> None:
    status, _, err = ich("predict", studies.folder, "--out", tmp_path, "--model", "ich-ensemble/nobody")
    assert status == 2
    assert err.count("\n") == 1 and "ich-ensemble/challenger, ich-ensemble/1" in err


def test_promote_and_models() -> None:
    status, out, _ = ich("promote")
    assert status == 0 and out.startswith("champion of ich-ensemble is now version 1; before there was none. Gate: ")
    assert ich("promote", "--version", "1")[1] == "champion of ich-ensemble is version 1 already; nothing moved.\n"
    status, _, err = ich("promote", "--version", "5")
    assert status == 2 and err == "ich: --version 5 is no version of ich-ensemble; registered: 1.\n"
    status, out, _ = ich("models")
    assert status == 0 and "challenger, champion" in out and "0.9000" in out
    status, out, _ = ich("doctor")
    assert "version 1 (challenger, champion)" in out
