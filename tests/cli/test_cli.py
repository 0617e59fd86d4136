"""``ich``: exit statuses, one sentence for a mistake, never a traceback."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.commands import doctor
from ich_pipeline.config.profile import profiles


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of ``ich …`` on a wide terminal."""
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def nowhere_else(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server or store of this machine's own is named."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)


def edit(**changes: object) -> None:
    """Change top-level settings of params.yaml."""
    values = yaml.safe_load(Path("params.yaml").read_text())
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def test_a_wrong_setting_is_one_sentence_with_status_2() -> None:
    edit(phantom={"patiens": 3})
    status, out, err = ich("cohort", "phantom")
    assert (status, out) == (2, "")
    assert err.startswith("ich: params.yaml: phantom.patiens is not a setting; did you mean 'patients'?")
    assert err.count("\n") == 1
    assert not Path("data").exists()


def test_a_fault_is_one_sentence_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> str:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("ich_pipeline.config.profile.switch", broken)
    status, out, err = ich("profile", "phantom")
    assert (status, out) == (1, "")
    assert err == "ich failed: RuntimeError: two lines (the traceback is in .state/faults/ich.txt).\n"
    assert "Traceback" in Path(".state/faults/ich.txt").read_text()


def test_usage_errors_have_status_2() -> None:
    assert ich("bogus")[0] == 2
    assert ich("predict")[0] == 2
    assert ich("predict", "somewhere")[0] == 2  # no --out
    assert ich("promote", "--version", "latest")[0] == 2


def test_profiles_are_shown_and_switched() -> None:
    names = list(profiles())
    assert {"phantom"} <= set(names)
    status, out, _ = ich("profile")
    assert status == 0 and out == f"params.yaml: phantom. Profiles: {', '.join(names)}.\n"
    assert ich("profile", "--show", "phantom")[1] == Path("params.yaml").read_text()
    assert ich("profile", "phantom")[1] == "params.yaml is profile phantom already.\n"
    status, _, err = ich("profile", "nobody")
    assert status == 2 and err == f"ich: There is no profile 'nobody'; choose one of {', '.join(names)}.\n"


def test_edited_settings_are_kept(project: Path) -> None:
    edit(seed=5)
    edited = Path("params.yaml").read_text()
    assert ich("profile")[1].startswith("params.yaml: phantom, edited.")
    status, out, _ = ich("profile", "phantom")
    assert status == 0 and "params.yaml.bak" in out
    assert Path("params.yaml.bak").read_text() == edited
    assert Path("params.yaml").read_text() == profiles()["phantom"]
    Path("params.yaml.bak").unlink()
    ich("profile", next(name for name in reversed(profiles())))  # from an unedited file: nothing to keep
    assert not Path("params.yaml.bak").exists()


def test_every_profile_is_a_valid_file(project: Path) -> None:
    for name in profiles():
        ich("profile", name)
        status, out, _ = ich("profile")
        assert status == 0 and out.startswith(f"params.yaml: {name}.")


def test_the_phantom_never_replaces_what_a_user_brought() -> None:
    edit(phantom={"patients": 4, "slices": 4, "size": 64})
    mine = Path("data") / "dicom" / "mine.dcm"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    status, _, err = ich("cohort", "phantom")
    assert status == 2 and "--replace" in err and mine.read_bytes() == b"mine"
    status, out, err = ich("cohort", "phantom", "--replace")
    assert status == 0, err
    assert "4 synthetic patients" in out and not mine.exists()
    assert json.loads(Path("data/cohort.json").read_text())["kind"] == "phantom"
    assert ich("cohort", "phantom")[0] == 0  # its own mark may be replaced


def test_a_folder_is_brought_with_its_labels(tmp_path: Path) -> None:
    edit(phantom={"patients": 4, "slices": 4, "size": 64})
    assert ich("cohort", "phantom")[0] == 0
    source = tmp_path / "export"
    shutil.copytree("data/dicom", source)
    shutil.copy("data/labels.csv", tmp_path / "labels.csv")
    status, out, err = ich("cohort", "folder", source, "--labels", tmp_path / "labels.csv")
    assert status == 0, err
    assert "Next: `make repro`" in out
    assert json.loads(Path("data/cohort.json").read_text())["kind"] == "folder"
    status, _, err = ich("cohort", "folder", tmp_path / "nowhere", "--labels", tmp_path / "labels.csv")
    assert status == 2 and "nowhere" in err
    assert Path("data/labels.csv").is_file()


def test_only_deidentified_copies_enter_data(tmp_path: Path) -> None:
    edit(phantom={"patients": 4, "slices": 4, "size": 64})
    assert ich("cohort", "phantom")[0] == 0
    source, key = tmp_path / "export", tmp_path / "key"
    shutil.copytree("data/dicom", source)
    labels = Path("data/labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(labels)
    assert ich("deidentify", "--new-key", key)[0] == 0
    arguments = ("cohort", "folder", source, "--labels", tmp_path / "labels.csv", "--deidentify")
    status, _, err = ich(*arguments, tmp_path / "no-key")
    assert status == 2 and "no-key" in err
    assert Path("data/labels.csv").read_text() == labels, "nothing is changed"
    status, out, err = ich(*arguments, key)
    assert status == 0, err
    assert "de-identified" in out
    old, new = (pd.read_csv(io.StringIO(text)) for text in (labels, Path("data/labels.csv").read_text()))
    assert not set(old["SOPInstanceUID"]) & set(new["SOPInstanceUID"])
    assert old["any"].sum() == new["any"].sum() and len(old) == len(new)
    assert len(pd.read_csv("data/deidentification_account.csv")) == sum(p.is_file() for p in source.rglob("*"))
    assert not list(Path(".state").glob("deidentified-*"))


def test_models_and_promote_without_a_model() -> None:
    assert ich("models") == (0, "ich-ensemble has no version yet: `make repro` registers one.\n", "")
    status, _, err = ich("promote")
    assert status == 2 and "make repro" in err


def test_doctor_runs_and_changes_nothing(project: Path) -> None:
    status, out, err = ich("doctor")
    assert status == 0, out + err
    for word in ("Python", "TensorFlow", "MLflow store", "Prefect API", "DVC remote", "data/", "weights vgg16", "disk"):
        assert word in out
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


def test_doctor_says_what_is_broken_and_what_to_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"vgg16": {**yaml.safe_load(Path("params.yaml").read_text())["networks"]["vgg16"], "weights": "gone.h5"}}
    edit(networks=network)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    Path("mlruns").mkdir()
    Path("mlruns/mlflow.db").write_text("this is no database, " * 100)
    Path("requirements.lock").write_text("numpy==0.0.1 \\\n    --hash=sha256:0\nno-such-package==1.0\n")
    found = {check.name: check for check in doctor.examine()}
    for name in ("weights vgg16", "Prefect API", "MLflow store", "packages"):
        assert found[name].works is False and found[name].essential and found[name].advice, name
    assert "no-such-package" in found["packages"].detail and "locked 0.0.1" in found["packages"].detail
    assert "model" not in found
    assert ich("doctor")[0] == 1


@pytest.mark.parametrize("weights", ["none", "imagenet", "phantom", "own.weights.h5", "own.keras", "other"])
def test_doctor_finds_nothing_wrong_with_any_beginning_that_is_there(project: Path, weights: str) -> None:
    network = yaml.safe_load(Path("params.yaml").read_text())["networks"]["vgg16"]
    edit(networks={"vgg16": {**network, "weights": weights, "input_range": [0, 1] if weights == "own.keras" else None}})
    Path("own.weights.h5").touch()
    Path("own.keras").touch()
    Path("other").mkdir()  # the folder of another network
    found = {check.name: check for check in doctor.examine()}
    assert found["weights vgg16"].works is not False


def test_doctor_names_a_dvc_remote_and_wrong_settings() -> None:
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = s3://bucket\n")
    edit(seed="text")
    found = {check.name: check for check in doctor.examine()}
    assert found["DVC remote"].works and found["DVC remote"].detail == "store"
    assert found["parameters"].works is False and "seed" in found["parameters"].advice


def test_the_version_is_told() -> None:
    status, out, _ = ich("--version")
    assert status == 0 and out.startswith("ich ") and out.count("\n") == 1


@pytest.mark.parametrize("command", [("models",), ("promote",)])
def test_a_folder_in_which_the_record_cannot_lie_is_one_sentence(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "why? not"
    shutil.copytree(Path.cwd(), odd)
    monkeypatch.chdir(odd)
    status, out, err = ich(*command)
    assert (status, out) == (2, "") and "question mark" in err and err.count("\n") == 1
    assert not (tmp_path / "why").exists()
    [check] = doctor._mlflow(None)
    assert (check.works, check.essential) == (False, True) and "rename that folder" in check.advice


def test_make_without_an_environment_says_what_to_do(project_root: Path, tmp_path: Path) -> None:
    shutil.copy(project_root / "Makefile", tmp_path)

    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", "-C", str(tmp_path), *arguments], capture_output=True, text=True)

    missing = make("doctor")
    assert missing.returncode == 2 and "`make setup` makes it" in missing.stdout
    assert "this list" in make().stdout
    assert not (tmp_path / ".venv").exists()
