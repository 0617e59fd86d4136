"""`ich evaluate --against`: what is joined, what is written, and one sentence for every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.studies.against_page import against_markdown, area_rows, decision_rows
from ich_pipeline.studies.evaluate import OWN_FILES
from tests.studies.two_systems import N, compared, write, write_tables


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path, Path]:
    return write_tables(tmp_path)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "160"})
    return done.exit_code, done.stdout, done.stderr


def refused(*arguments: str | Path) -> str:
    status, _, error = run(*arguments)
    assert status == 2 and error.startswith("ich: ") and len(error.strip().splitlines()) == 1, error
    return error


def test_the_figures_of_the_first_stay_what_they_are(tables, tmp_path: Path) -> None:
    a, b, labels = tables
    common = (a, "--labels", labels, "--bootstrap", "30")
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
    written = page + text + json.dumps(against)
    assert not re.search(r"\bc17\b", re.sub('base64,[^"]*', "", written)), "no row is named"


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
    about = {"files": {"predictions": {"name": "a"}, "against": {"name": "b"}}, "thresholds": {"ICH": 0.5}}
    assert "| ICH | " in against_markdown({"against": entry, "about": about})[-2]


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
