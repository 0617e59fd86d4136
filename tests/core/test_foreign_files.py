"""A file of the user's own under a name that a command writes is found unchanged, and one sentence says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.commands.ingest import _WRITTEN as INGESTED
from ich_pipeline.deidentify.key import new_key
from ich_pipeline.studies.evaluate import OWN_FILES as EVALUATED
from ich_pipeline.watch.feedback import TABLES, WRITTEN
from ich_pipeline.watch.watched import JSON, PAGE

COMMANDS = {
    "ingest": (("in",), INGESTED),
    "evaluate": (("p.csv", "--labels", "l.csv"), EVALUATED),
    "deidentify": (("in", "--key", "k"), ("labels.csv", "account.csv", "removed.csv", "report.json")),
    "watch": ((), (JSON, PAGE)),
    "feedback": (("v.csv",), (*TABLES, WRITTEN)),
}
CASES = [(command, name) for command, (_, names) in COMMANDS.items() for name in names]
CONTENTS = [b"case,any\nA,1\n", b"{}", b'{"schema": "mine"}', b"<html>mine</html>", b"\x00\xff"]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, (arguments, done.output, done.stderr)
    return done.stderr


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(("command", "name"), CASES)
def test_what_a_command_did_not_write_stays(project: Path, command: str, name: str, content: bytes) -> None:
    for table in ("p.csv", "l.csv"):
        (project / table).write_text("case,any\n" + "".join(f"C{i},{i % 2}\n" for i in range(20)))
    new_key(project / "k")
    (project / "in").mkdir()
    (project / "in" / "a").write_text("an export")
    (project / "out").mkdir()
    (project / "out" / name).write_bytes(content)
    before = everything(project / "out")
    arguments, _ = COMMANDS[command]
    forced = ("--force",) if command == "ingest" else ()
    assert "--out out " in refused(command, *arguments, "--out", "out", *forced)
    assert everything(project / "out") == before


@pytest.mark.parametrize("content", CONTENTS)
def test_a_bill_of_materials_replaces_none_but_one(project: Path, content: bytes) -> None:
    (project / "bom.json").write_bytes(content)
    (project / "lock.txt").write_text("a==1 --hash=sha256:" + "0" * 64 + "\n")
    refused("sbom", "lock.txt", "--out", "bom.json")
    assert (project / "bom.json").read_bytes() == content


def test_settings_that_were_kept_before_stay(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text() + "# mine\n")
    (project / "params.yaml.bak").write_text("# older\n")
    refused("profile", "laptop")
    assert (project / "params.yaml.bak").read_text() == "# older\n" and "# mine" in params.read_text()


def test_an_evaluation_is_replaced_by_the_next(project: Path) -> None:
    for table in ("p.csv", "l.csv"):
        (project / table).write_text("case,any\n" + "".join(f"C{i},{i % 2}\n" for i in range(20)))
    for _ in range(2):
        done = CliRunner().invoke(app, ["evaluate", "p.csv", "--labels", "l.csv", "--out", "out", "--bootstrap", "10"])
        assert done.exit_code == 0, done.stderr
    (project / "out" / "notes.txt").write_text("mine")
    refused("evaluate", "p.csv", "--labels", "l.csv", "--out", "out")
