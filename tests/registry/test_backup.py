"""A record that was backed up stands in another folder as it stood, without the first one; a damaged backup changes nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.registry.backup import MANIFEST, back_up, restore
from tests.made.system import PATIENT_ID, PATIENT_NAME, Studies


def run(*arguments: str | Path) -> str:
    """What Python prints, in a process of its own: MLflow remembers stores within one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}  # it sets them itself
    environment = {**clean, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ich(*arguments: str | Path) -> str:
    return run("-m", "ich_pipeline.cli.main", *arguments)


@pytest.fixture(scope="module")
def saved(registered: int, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backup of a project with a champion; its own record is out of reach meanwhile."""
    ich("promote", "--override", "--reason", "the first one", "--person", "A. Radiologist")
    target = tmp_path_factory.mktemp("elsewhere") / "record.tar"
    said = ich("backup", target)
    assert f"ich restore {target}" in said and target.stat().st_mode & 0o777 == 0o600
    yield target


@pytest.fixture
def clone(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone in another place, with nothing but its settings."""
    folder = tmp_path / "other place"
    (folder / "mlruns").mkdir(parents=True)
    (folder / "mlruns" / ".gitkeep").touch()
    shutil.copy(project / "params.yaml", folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


def test_it_answers_elsewhere_as_it_did(
    saved: Path, project: Path, clone: Path, studies: Studies, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as there:
        there.chdir(project)
        before = ich("models"), ich("history")
        ich("predict", studies.folder, "--out", tmp_path / "before")
    away = project / "mlruns"
    away.rename(project / "away")  # whoever reads the first folder fails
    try:
        assert f"files of {project}" in ich("restore", saved)
        assert (ich("models"), ich("history")) == before and "A. Radiologist" in before[1]
        assert "every file is as it was registered" in ich("models", "verify")
        ich("predict", studies.folder, "--out", tmp_path / "after")
        load = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlruns/mlflow.db'); print(mlflow.pyfunc.load_model("
        assert "input" in run("-c", f"{load}'models:/ich-ensemble@champion').metadata.signature)")
    finally:
        (project / "away").rename(away)
    for name in ("predictions.json", "predictions.csv"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
    assert (clone / "mlruns" / ".gitkeep").exists()
    with pytest.raises(InputError, match="restore into a fresh clone"):
        restore(saved)


def test_what_is_not_as_it_was_written_is_refused_and_changes_nothing(saved: Path, clone: Path, tmp_path: Path) -> None:
    whole, rng = saved.read_bytes(), np.random.default_rng(17)
    with tarfile.open(saved) as archive:
        inside = [member.offset_data + int(rng.integers(member.size)) for member in archive if member.size]
    broken = tmp_path / "broken.tar"
    for place in rng.choice(inside, 12, replace=False):
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"name another backup|is no whole backup|holds no backup.json"):
            restore(broken)
    for length in (0, 100, len(whole) // 2, whole.rfind(MANIFEST.encode())):
        broken.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"holds no backup.json|is no whole backup|damaged or missing"):
            restore(broken)
    assert [path.name for path in (clone / "mlruns").iterdir()] == [".gitkeep"]
    assert sorted(path.name for path in clone.iterdir() if path.name != ".state") == ["mlruns", "params.yaml"]


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "mlruns/../../outside", "params.yaml", "mlruns", "mlruns/link"]
)
def test_hostile_members_are_refused(clone: Path, tmp_path: Path, name: str) -> None:
    hostile = tmp_path / "hostile.tar"
    with tarfile.open(hostile, "w") as archive:
        info = tarfile.TarInfo(name)
        if name.endswith("link"):
            info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        else:
            info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="is no whole backup"):
        restore(hostile)
    assert [path.name for path in (clone / "mlruns").iterdir()] == [".gitkeep"]
    assert not (tmp_path / "outside").exists()


def test_mistakes_are_one_sentence(saved: Path, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is no record yet"):
        back_up(tmp_path / "a.tar")
    with pytest.raises(InputError, match="exists: name a new file"):
        back_up(saved)
    with pytest.raises(InputError, match="cannot be read"):
        restore(tmp_path / "nowhere.tar")
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(variable, "http://user:secret@127.0.0.1:9")
        for call in (lambda: back_up(tmp_path / "a.tar"), lambda: restore(saved)):
            with pytest.raises(InputError, match=variable) as caught:
                call()
            assert "secret" not in str(caught.value)
        monkeypatch.delenv(variable)


def test_no_patient_is_in_it(saved: Path) -> None:
    with tarfile.open(saved) as archive:
        text = archive.extractfile(MANIFEST)
        assert text is not None
        names = set(json.load(text)["files"])
        content = b"".join(part.read() for member in archive if (part := archive.extractfile(member)))
    assert names == {member for member in names if member.startswith("mlruns/")}
    assert not [word for word in (PATIENT_ID, PATIENT_NAME) if word.encode() in content]
