"""``ich feedback``: verdicts matched to the record, counted by version; a sentence for each row that does not count."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import load_params
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.watch import record
from tests.made.served import line

TRUE = {0: 1, 1: 1, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0, 7: 1}  # study to verdict
CALLED = {0: True, 1: True, 2: False, 3: True, 4: False, 5: False, 6: False}


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def bare(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: nothing but params.yaml."""
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(bare: Path) -> Path:
    """A record of seven studies with an answer, one that was not read, and the first again by version 2."""
    names = load_params().label_set.columns
    record.place().mkdir(parents=True)
    with record.locked():
        known = record.key()
        kept = []
        for number in TRUE:
            called = CALLED.get(number)
            about = {"scores": None, "called": None, "outcome": "not read"}
            if called is not None:
                score = (0.9 if called else 0.1) - number / 100
                about = {"scores": dict.fromkeys(names, score), "called": dict.fromkeys(names, called)}
                about["outcome"] = "suspected" if called else "not suspected"
            case = known.token("case", case_id(f"1.2.{number}"))
            accession = known.token("accession", f"ACC{min(number, 6)}")
            kept.append(line(number, case=case, accession=accession, **about))
        kept.append(
            type(kept[0])(
                **{**vars(kept[0]), "version": 2, "outcome": "not suspected", "called": dict.fromkeys(names, False)}
            )
        )
        record.append(kept, record.place() / "2026-01.jsonl")
    return bare


def table(path: Path, column: str, rows: list[str], findings: str = "any") -> Path:
    path.write_text("\n".join([f"{column},{findings},reader,date", *rows]) + "\n")
    return path


def rates(out: str, version: str) -> list[str]:
    (row,) = [text for text in out.splitlines() if re.match(rf"\s*ich-ensemble/{version}\s+any", text)]
    return re.findall(r"\d\.\d{3} \(\d\.\d{3}–\d\.\d{3}\)|–(?=\s|$)", row)


def text(successes: int, trials: int) -> str:
    low, high = proportion_confint(successes, trials, method="wilson")
    return f"{successes / trials:.3f} ({low:.3f}–{high:.3f})"


@pytest.mark.parametrize("column", ["StudyInstanceUID", "case_id"])
def test_figures_by_version(served: Path, column: str) -> None:
    name = (lambda uid: uid) if column == "StudyInstanceUID" else case_id
    rows = [f"{name(f'1.2.{number}')},{true},Dr A,2026-02-0{number + 1}" for number, true in TRUE.items()]
    status, out, err = ich("feedback", table(served / "v.csv", column, rows))
    assert status == 0, err
    # 2 hits, 1 miss, 1 false alarm, 3 right
    assert rates(out, "1") == [text(2, 3), text(3, 4), text(2, 3), text(3, 4)]
    assert rates(out, "2") == [text(0, 1), "–", "–", text(0, 1)]
    assert "ich-ensemble/1: 1 cases with a verdict had no answer" in err
    assert "cannot train" in out
    written = list(csv.DictReader((served / "feedback" / "labels.csv").open()))
    assert {row[column]: int(row["any"]) for row in written} == {name(f"1.2.{n}"): true for n, true in TRUE.items()}
    done = ich(
        "evaluate", "feedback/predictions.csv", "--labels", "feedback/labels.csv", "--level", "case", "--allow-missing"
    )
    assert done[0] == 0, done[2]
    found = json.loads((served / "evaluation" / "metrics.json").read_text())
    assert found["case"]["any"]["auc"]["value"] == pytest.approx(9.5 / 12, abs=0.2)


def test_every_row_that_does_not_count_has_a_sentence(served: Path) -> None:
    good = "1.2.0,1,Dr A,2026-02-01"
    bad = {
        "9.9,1,Dr A,2026-02-01": "StudyInstanceUID '9.9' is no case in the record",
        ",1,Dr A,2026-02-01": "StudyInstanceUID is empty",
        "1.2.1,yes,Dr A,2026-02-01": "any is 'yes', but must be 0 or 1",
        "1.2.1,1,,2026-02-01": "reader is empty",
        "1.2.1,1,Dr A,01.02.2026": "date '01.02.2026' is no date",
        "1.2.1,1,Dr A,2999-01-01": "date 2999-01-01 is yet to come",
        "1.2.0,0,Dr A,2026-02-02": "Dr A has a verdict on this case in line 2 already",
    }
    status, out, err = ich("feedback", table(served / "v.csv", "StudyInstanceUID", [good, *bad]))
    assert status == 2
    for number, said in enumerate(bad.values(), start=3):
        assert f"v.csv, line {number}: {said}" in err
    assert rates(out, "1")[0] == text(1, 1)
    assert len(list(csv.DictReader((served / "feedback" / "labels.csv").open()))) == 1


def test_readers_who_are_split_decide_nothing(served: Path) -> None:
    rows = [f"1.2.0,{value},Dr {name},2026-02-01" for name, value in (("A", 1), ("B", 0))]
    rows += [f"1.2.1,{value},Dr {name},2026-02-01" for name, value in (("A", 1), ("B", 0), ("C", 1))]
    status, out, err = ich("feedback", table(served / "v.csv", "StudyInstanceUID", rows))
    assert status == 2 and "1.2.0: its 2 readers are split about any" in err
    assert rates(out, "1")[0] == text(1, 1)


def test_a_subtype_makes_any(served: Path) -> None:
    names = load_params().label_set
    findings = ",".join(names.subtypes)
    rows = ["1.2.0,1" + ",0" * (len(names.subtypes) - 1) + ",Dr A,2026-02-01"]
    assert ich("feedback", table(served / "v.csv", "StudyInstanceUID", rows, findings))[0] == 0
    (row,) = csv.DictReader((served / "feedback" / "labels.csv").open())
    assert row["any"] == "1" and row[names.subtypes[0]] == "1"
    rows = ["1.2.0,0,1,Dr A,2026-02-01"]
    status, _, err = ich("feedback", table(served / "v.csv", "StudyInstanceUID", rows, f"any,{names.subtypes[0]}"))
    assert status == 2 and "any is 0, but a subtype is 1" in err


def test_an_accession_number_of_two_studies_names_none(served: Path) -> None:
    rows = ["ACC3,0,Dr A,2026-02-01", "ACC6,0,Dr A,2026-02-01"]
    status, out, err = ich("feedback", table(served / "v.csv", "AccessionNumber", rows))
    assert status == 2 and "AccessionNumber 'ACC6' is of 2 studies" in err
    assert rates(out, "1") == ["–", text(0, 1), text(0, 1), "–"]


def test_verdicts_on_suspected_cases_alone_are_told(served: Path) -> None:
    names = load_params().label_set.columns
    more = {"scores": dict.fromkeys(names, 0.1), "called": dict.fromkeys(names, False)}
    with record.locked():
        record.append([line(100 + k, **more) for k in range(40)], record.place() / "2026-01.jsonl")
    rows = [f"1.2.{number},{TRUE[number]},Dr A,2026-02-01" for number in (0, 1, 3)]
    status, _, err = ich("feedback", table(served / "v.csv", "StudyInstanceUID", rows))
    assert status == 0 and "3 of 3 suspected cases have a verdict, and 0 of 44 others" in err


def test_a_table_that_is_none_is_one_sentence(served: Path) -> None:
    for header, said in (
        ("case_id,StudyInstanceUID,any,reader,date", "needs one of the columns"),
        ("case_id,any,date", "needs one of the columns"),
        ("case_id,any,reader,date,tumour", "has the column 'tumour'"),
    ):
        path = served / "v.csv"
        path.write_text(f"{header}\n" + ",".join("1" * len(header.split(","))) + "\n")
        status, out, err = ich("feedback", path)
        assert (status, out) == (2, "") and said in err and err.count("\n") == 1
    assert not (served / "feedback").exists()


def test_without_a_record(bare: Path) -> None:
    path = table(bare / "v.csv", "case_id", ["C1,1,Dr A,2026-02-01"])
    status, _, err = ich("feedback", path)
    assert status == 2 and "holds no record of what was served" in err
