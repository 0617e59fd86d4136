"""``ich tests`` and the stage split on frozen tests: tables alone, from the first split to an opened test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import ich_pipeline
from flows.engine.run import run
from flows.ledger import publish
from flows.split import body as split_body
from ich_pipeline.cli import main as cli
from ich_pipeline.commands.frozen import note_learners
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.files import read_table, sha256_of, write_table
from ich_pipeline.registry import ledger
from ich_pipeline.splits.frozen import Manifest, read_manifest
from ich_pipeline.tables.cohort_names import PROSPECTIVE, RETROSPECTIVE, TESTS, TRAIN, VALIDATION
from ich_pipeline.tables.label_tables import UID, write_labels
from ich_pipeline.tables.schemas import COHORTS_TABLE

Arrive = Callable[..., None]


def ich(*arguments: str) -> tuple[int, str]:
    """Exit status and everything that ``ich …`` says."""
    done = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "240"})
    return done.exit_code, done.stdout + done.stderr


def members() -> dict[str, set[str]]:
    table = read_table(Path("work/split/cohorts.parquet"), COHORTS_TABLE)
    return {name: set(table.loc[table["cohort"] == name, "patient_key"]) for name in (TRAIN, VALIDATION, *TESTS)}


@pytest.fixture
def arrive(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    series: pd.DataFrame,
    slices: pd.DataFrame,
    table: pd.DataFrame,
    params: Params,
) -> Arrive:
    """Puts the tables of the first ``count`` patients, without some, into a project that is the working directory."""
    raw = yaml.safe_load((Path(ich_pipeline.__file__).parent / "profiles" / "phantom.yaml").read_text())
    raw["split"]["retrospective"]["patients"], raw["split"]["prospective"]["patients"] = 0.1, 0.15
    raw["retrain"] |= {"looks": 2, "next_test": {"patients": 5, "share": 1.0}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICH_EVENTS", str(tmp_path / "events.jsonl"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "data").mkdir()
    dated = series.assign(StudyDate=[f"2020{i // 28 + 1:02d}{i % 28 + 1:02d}" for i in range(len(series))])

    def put(count: int, without: tuple[str, ...] = ()) -> None:
        there = dated.head(count)
        there = there[~there["patient_key"].isin(without)]
        rows = slices[slices["patient_key"].isin(there["patient_key"])]
        write_table(tmp_path / "work/ingest/series.parquet", there, "series/3")
        write_table(tmp_path / "work/ingest/slices.parquet", rows, "slices/2")
        write_labels(tmp_path / "data/labels.csv", table[table[UID].isin(rows[UID])], params.label_set)

    return put


def test_a_year_of_patients(arrive: Arrive, capsys: pytest.CaptureFixture[str]) -> None:
    arrive(30)
    assert run("split", split_body) == 0
    first, outs = members(), Path("work/split")
    drawn = {path: path.read_bytes() for path in outs.rglob("*.parquet")}
    assert ich("tests") == (
        0,
        "No test is frozen: each new patient draws them anew. `ich tests freeze` freezes those of work/split/.\n",
    )
    assert ich("tests", "next") == (2, "ich: no test is frozen yet: `ich tests freeze` does it.\n")
    status, said = ich("tests", "freeze")
    assert status == 0, said
    assert said.startswith("test_retrospective version 1 and test_prospective version 1 are frozen. Next: `make repro`")
    text = Path("frozen.json").read_text()
    assert not any(one in text for one in (*first[TRAIN], *first[PROSPECTIVE], "ID1", "1.29.1"))
    assert json.loads(text)["tests"][1]["labels_sha256"] == sha256_of(outs / "sealed" / f"{PROSPECTIVE}.csv")
    assert run("split", split_body) == 0
    assert {path: path.read_bytes() for path in outs.rglob("*.parquet")} == drawn  # so no network learns again
    assert ich("tests", "freeze") == (0, "The tests are frozen as they are; nothing was changed.\n")

    arrive(33)  # three are new, and later than the test
    assert run("split", split_body) == 0
    assert members() == first
    assert "3 new patients wait for the next prospective test, of 5." in (outs / "validate/index.html").read_text()
    assert ich("tests", "next")[1].startswith("ich: the next prospective test opens with 5 patients, and 3 wait for it")

    arrive(36)
    digest = read_manifest().active[PROSPECTIVE].labels_sha256
    for _ in range(3):
        ledger.record_look(PROSPECTIVE, digest, "model", "results")
    status, said = ich("tests")
    assert status == 0 and "looked at 3 times, with one model. Models were chosen by it more than 2 times" in said
    assert "The next prospective test is full: `ich tests next` opens it." in said
    status, said = ich("tests", "next")
    assert (status, said.startswith("test_prospective version 2 is open, with 5 patients and 5 studies")) == (0, True)
    assert run("split", split_body) == 0
    now = members()
    assert now[PROSPECTIVE] == {f"P{i:024x}" for i in range(30, 35)}
    assert now[RETROSPECTIVE] == first[RETROSPECTIVE]
    assert first[PROSPECTIVE] <= now[TRAIN] | now[VALIDATION]
    assert f"P{35:024x}" not in now[TRAIN] | now[VALIDATION]  # waits for the test after it
    assert "version 2, " in ich("tests")[1] and "retired" in ich("tests")[1]


def test_a_patient_who_vanishes_stops_the_split_until_it_is_frozen_anew(
    arrive: Arrive, capsys: pytest.CaptureFixture[str]
) -> None:
    arrive(30)
    assert run("split", split_body) == 0
    first = members()
    assert ich("tests", "freeze")[0] == 0
    gone = sorted(first[PROSPECTIVE])[0]
    arrive(30, without=(gone,))
    capsys.readouterr()
    assert run("split", split_body) == 2
    assert capsys.readouterr().err == (
        "split: frozen.json: test_prospective version 1 is not as it was frozen: data/ lacks 1 of its 5 studies. Bring "
        "back data/ and the settings of then, or `ich tests freeze` makes version 2 of what is here, of which no earlier figure "
        "holds.\n"
    )
    status, said = ich("tests", "freeze")
    assert status == 0 and said.startswith("test_prospective version 2 (4 of 5 patients) takes the place")
    assert run("split", split_body) == 0
    assert members()[PROSPECTIVE] == first[PROSPECTIVE] - {gone}
    arrive(30)
    assert run("split", split_body) == 0
    assert gone in members()[TRAIN] | members()[VALIDATION]


def test_a_corrected_label_of_a_test_is_another_test(arrive: Arrive, capsys: pytest.CaptureFixture[str]) -> None:
    arrive(30)
    assert run("split", split_body) == 0
    assert ich("tests", "freeze")[0] == 0
    sealed = Path("work/split/sealed") / f"{RETROSPECTIVE}.csv"
    uid = sealed.read_text().splitlines()[1].partition(",")[0]
    labels = Path("data/labels.csv")
    text = labels.read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"{uid},"))
    looked_at = sha256_of(sealed)
    for _ in range(2):
        ledger.record_look(RETROSPECTIVE, looked_at, "model", "results")
    labels.write_text(text.replace(row, f"{uid},1,1,1,1,1,1"))
    assert run("split", split_body) == 2
    assert (
        "test_retrospective version 1 is not as it was frozen: its labels or slices are others"
        in capsys.readouterr().err
    )
    assert ich("tests", "freeze")[0] == 0
    assert run("split", split_body) == 0
    test = read_manifest().active[RETROSPECTIVE]
    assert (test.before, test.labels_sha256) == (looked_at, sha256_of(sealed)) and looked_at != sha256_of(sealed)
    ledger.record_look(RETROSPECTIVE, test.labels_sha256, "other", "results")
    summed = "looked at 3 times, with 2 different models. Models were chosen by it more than 2 times"
    assert summed in ich("tests")[1]
    assert any(summed in sentence for sentence in publish(load_params()))


def test_a_split_of_another_cohort_is_not_frozen(arrive: Arrive) -> None:
    arrive(30)
    assert run("split", split_body) == 0
    arrive(20)
    status, said = ich("tests", "freeze")
    assert (status, said) == (2, "ich: work/split/ is of another cohort than data/ holds: `make repro` first.\n")
    assert not Path("frozen.json").exists() and not Path("data/frozen.key").exists()


def test_who_learned_is_noted_before_the_next_run(arrive: Arrive) -> None:
    note_learners()
    assert not Path("frozen.json").exists()
    arrive(30)
    assert run("split", split_body) == 0
    assert ich("tests", "freeze")[0] == 0
    before = read_manifest()
    assert len(before.learners) == len(members()[TRAIN] | members()[VALIDATION])
    note_learners()
    assert read_manifest() == before
    Path("frozen.json").write_text(Path("frozen.json").read_text().replace('"share": 1.0', '"share": 1e-12'))
    arrive(32)
    assert run("split", split_body) == 0
    note_learners()
    assert len(read_manifest().learners) == len(before.learners) + 2
    assert read_manifest().active == before.active != Manifest().active
