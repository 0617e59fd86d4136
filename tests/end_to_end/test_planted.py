"""Identifiers planted everywhere in a raw cohort, and the whole pipeline under a real Prefect server: none gets out.

Raw files name patients in data/ and work/, as the README says. Everything else is searched to the last byte: Prefect's database
and log, MLflow's database and artifacts, the reports, DVC's metrics and lock, ``.state``, and what a run that succeeds says.
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from ich_pipeline.config import load_params
from ich_pipeline.core.files import write_json
from ich_pipeline.phantom import create_phantom
from ich_pipeline.tables.cohort_mark import MARK, OWN
from tests.deidentify.conftest import NUMBERS, WORDS, Plants, encode, name_as, new_marks, plant
from tests.end_to_end.conftest import Project
from tests.prefect_server import Server, prefect_server, stop

WAIT = 240
CONTRAST = "contrast agent"


def dump(server: Server) -> bytes:
    """Every byte below the server's folder and in its log, and the database as SQL."""
    parts = [path.read_bytes() for path in (*server.home.rglob("*"), server.log) if path.is_file()]
    with contextlib.closing(sqlite3.connect(server.home / "prefect.db")) as connection:
        parts.append("\n".join(connection.iterdump()).encode())
    return b"\n".join(parts)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Prefect server of the test's own."""
    with prefect_server(tmp_path) as found:
        yield found


def plant_all(project: Project) -> Plants:
    """Make the phantom, plant marks in every CT file of it, and let its labels follow: a user's own raw cohort."""
    data = project.root / "data"
    create_phantom(load_params(project.root / "params.yaml"), data, workers=1)
    plants, names = new_marks()
    numbers: dict[str, dict[str, str]] = defaultdict(dict)  # of a keyword: value → the ending that stands for it
    renamed: dict[str, str] = {}

    def ending(keyword: str, value: str) -> str:
        return numbers[keyword].setdefault(
            value, f"{'.' if keyword.endswith('UID') else ''}{len(numbers[keyword]) + 1}"
        )

    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    files = sorted(path for path in (data / "dicom").rglob("*") if path.is_file())
    folder = data / "dicom" / f"{names['folder name']}_Head"
    folder.mkdir()
    for number, path in enumerate(files):
        ds = pydicom.dcmread(path)
        old = [str(ds[keyword].value) for keyword in keywords]
        name_as(ds, names, *(ending(keyword, value) for keyword, value in zip(keywords, old, strict=True)))
        renamed[old[3]] = ds.SOPInstanceUID
        (folder / f"{names['file name']}_{number}").write_bytes(plant(ds, names))
        path.unlink()
    ds.SOPInstanceUID += ".6"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SeriesInstanceUID += ".6"
    ds.ContrastBolusAgent = f"none, says {names[CONTRAST]}"
    (folder / f"{names['file name']}_contrast").write_bytes(encode(ds))
    for table in ("labels.csv", "masks.csv"):
        rows = list(csv.reader((data / table).read_text().splitlines()))
        text = "\n".join(",".join([renamed.get(row[0], row[0]), *row[1:]]) for row in rows)
        (data / table).write_text(text + "\n")
    (data / "readers.csv").write_text("reader,case,decision\n")
    for path in data.iterdir():
        if path.name not in ("dicom", "labels.csv", "masks.csv", "readers.csv"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(data / MARK, {"kind": OWN, "settings": {}, "settings_sha256": ""})
    return plants


def searched(project: Project) -> bytes:
    """Every byte below the project that is neither the user's data nor a stage's working files."""
    parts = []
    for path in sorted(project.root.rglob("*")):
        first = path.relative_to(project.root).parts[0]
        if first not in ("data", "work", ".dvc", ".git") and path.is_file():
            parts += [str(path.relative_to(project.root)).encode(), path.read_bytes()]
    for database in (project.root / "mlruns").glob("*.db"):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            parts.append("\n".join(connection.iterdump()).encode())
    return b"\n".join(parts)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_mark_leaves_data_and_work(fresh: Callable[[str], Project], server: Server) -> None:
    project = fresh("planted")
    plants = plant_all(project)
    assert set(plants.places.values()) == {*WORDS, *NUMBERS} and len(plants.places) >= 40
    raw = b"".join(str(p).encode() + p.read_bytes() for p in (project.root / "data").rglob("*") if p.is_file())
    assert set(plants.found_in(raw)) == set(plants.places.values()), "every plant is really there"
    labels = project.root / "data" / "labels.csv"
    good = labels.read_text()

    # What goes wrong is told on the user's terminal, with the name that is at fault; the server is another's.
    unknown, value = plants.number("an unknown slice"), plants.mark("a value in a table")
    labels.write_text(f"{good}1.2.826.0.9.{unknown},{','.join('0' * 6)}\n")
    failed = project.run("flows.pipeline", **server.client)
    assert failed.returncode == 2 and unknown in failed.stderr, failed.stdout[-3000:] + failed.stderr[-3000:]
    failed = project.run("flows.validate", **server.client)  # a flow of its own
    assert failed.returncode == 2 and unknown in failed.stderr, failed.stderr[-3000:]
    labels.write_text(good.replace(",0\n", f",{value}\n", 1))
    failed = project.run("flows.validate", **server.client)
    assert failed.returncode == 2 and value in failed.stderr, failed.stderr[-3000:]
    labels.write_text(good)
    account = project.root / "work" / "ingest" / "account.csv"
    kept = account.read_text()
    account.write_text(kept.replace(",0\n", f",{value}\n", 1))  # a fault: the library's words hold the value
    failed = project.run("flows.validate", **server.client)
    assert failed.returncode == 1 and value in failed.stderr, failed.stderr[-3000:]
    account.write_text(kept)
    faults = project.root / ".state" / "faults"
    assert value in (faults / "validate.txt").read_text()
    shutil.rmtree(faults)  # a traceback stays with who runs the stage
    assert plants.found_in(dump(server)) == []

    done = project.run("flows.pipeline", **server.client)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    alone = [project.run(f"flows.{stage}", **server.client) for stage in ("ingest", "validate", "split")]
    assert [one.returncode for one in alone] == [0, 0, 0], [one.stderr[-2000:] for one in alone]
    stop(server.process)

    assert plants.found_in((project.root / "work" / "ingest" / "account.csv").read_bytes()), "the ingest knows them"
    told = dump(server)
    for word in (
        b"Running stage 'evaluate@test_retrospective'",
        b"InputError: the terminal",
        b"set_aside",
        b"expectations hold",
    ):
        assert word in told, "the server has not been told what it should be"
    assert plants.found_in(told) == []
    said = "".join(one.stdout + one.stderr for one in (done, *alone)).encode()
    assert b"Registered: " in said and plants.found_in(said) == []
    out = searched(project)
    for word in (b"ich.stage", b"reports/index.html", b"Model card"):
        assert word in out, "the search looked elsewhere"
    assert plants.found_in(out) == []
