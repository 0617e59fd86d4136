"""The parts of the flows that no stage shows: what is hidden from Prefect, read from a stage, or left by old settings."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from flows.engine import beforehand, data
from flows.engine import dvc as dvc_command
from flows.engine.boundary import fault
from flows.engine.run import run
from flows.engine.stage import Stage, StageResult
from flows.engine.stage_task import whole_events
from flows.pipeline import remove_left_over
from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.lock import project_locked, stage_locked


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder as the current one, with no Prefect API named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


def test_uids_do_not_reach_prefect() -> None:
    from flows.engine.prefect_show import redacted

    text = "data/labels.csv names 2.25.98253389850243818485678897055875868488 and 1.2.840.10008.1.2; AUC 0.912, version 3.11.7"
    assert redacted(text) == "data/labels.csv names [UID] and [UID]; AUC 0.912, version 3.11.7"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            "data/labels.csv names 2 slices that are not in the DICOM files (SOPInstanceUID 1.2.3.4.5#3, Doe^Jane, …): remove",
            "data/labels.csv names 2 slices that are not in the DICOM files (SOPInstanceUID [UID]): remove",
        ),
        (
            "data/labels.csv, line 3 (SOPInstanceUID Doe Jane): any is 'Jane\\'s', but must be 0 or 1: mend that value.",
            "data/labels.csv, line 3 (SOPInstanceUID [UID]): any is [VALUE], but must be 0 or 1: mend that value.",
        ),
        ("line 3: SOPInstanceUID 'Doe J' is empty or", "line 3: SOPInstanceUID [UID] is empty or"),
        ('line 3: SOPInstanceUID "Doe\'s" is empty or', "line 3: SOPInstanceUID [UID] is empty or"),
        ("line 3: StudyInstanceUID Doe J is labelled twice", "line 3: StudyInstanceUID [UID] is labelled twice"),
        ("data/dicom/Doe (Jane)/x cannot be listed (No", "data/dicom/[FILE] cannot be listed (No"),
        ("ERROR: 'data/dicom/Doe Jane/x' is gone", "ERROR: 'data/dicom/[FILE]' is gone"),
        (
            "validate failed: ValueError: no number: 'Doe' (the traceback is in .state/faults/validate.txt).",
            "validate failed: ValueError (the traceback is in .state/faults/validate.txt).",
        ),
        ("Running stage 'evaluate@x':", "Running stage 'evaluate@x':"),
        ("data/dicom holds no files", "data/dicom holds no files"),
        ("a.csv lacks the columns SOPInstanceUID, any: its", "a.csv lacks the columns SOPInstanceUID, any: its"),
        ("the column SOPInstanceUID more than once: keep", "the column SOPInstanceUID more than once: keep"),
    ],
)
def test_of_a_sentence_prefect_is_not_told_whose_it_is(sentence: str, told: str) -> None:
    from flows.engine.prefect_show import redacted

    assert redacted(sentence) == told


def test_sentences_about_what_went_wrong_stay_here() -> None:
    from flows.engine.prefect_show import failed, says_what_went_wrong

    state = failed(ValueError("Doe^Jane"))
    assert state.is_failed() and "Doe" not in state.model_dump_json() and str(state.message).startswith("ValueError:")
    for line in ("train@x: data/Doe is", "train@x failed: E: Doe", "train@x stopped: Doe", "ERROR: 'data/Doe' is gone"):
        assert says_what_went_wrong(line, "train@x"), line
    for line in ("Running stage 'train@x':", "> python -m flows.train x", "epoch 1: loss 0.3"):
        assert not says_what_went_wrong(line, "train@x"), line


def test_half_written_events_wait(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"progress": 0.5, "text": "a"}\n{"prog')
    with path.open() as arriving:
        assert list(whole_events(arriving)) == [{"progress": 0.5, "text": "a"}]
        with path.open("a") as more:
            more.write('ress": 1.0, "text": "b"}\n')
        assert list(whole_events(arriving)) == [{"progress": 1.0, "text": "b"}]
        assert list(whole_events(arriving)) == []


def test_folders_that_params_no_longer_name_are_removed(here: Path, project_root: Path) -> None:
    params = load_params(project_root / "ich_pipeline" / "profiles" / "phantom.yaml")
    for name in ("train/vgg16", "train/densenet121", "ablate/vgg16", "evaluate/test_prospective", "evaluate/old"):
        (here / "work" / name).mkdir(parents=True)
    remove_left_over(params)
    left = sorted(p.relative_to(here / "work").as_posix() for p in (here / "work").glob("*/*"))
    assert left == ["evaluate/test_prospective", "train/vgg16"]


def test_lines_of_a_command_come_as_they_are_written_and_its_failure_is_told() -> None:
    script = "import sys, time; print('a', flush=True); time.sleep(1.2); print('why it failed', file=sys.stderr); sys.exit(3)"
    seen = []
    with pytest.raises(dvc_command.DvcError, match="why it failed") as caught:
        for line in dvc_command.lines([sys.executable, "-c", script], heartbeat=0.3):
            seen.append(line)
    assert [line for line in seen if line] == ["a", "why it failed"] and "" in seen
    assert not caught.value.mistake


def test_exit_status_2_of_a_stage_is_the_users_mistake() -> None:
    script = "print('ingest: data is empty'); print('ERROR: failed to reproduce x: failed to run: y, exited with 2'); raise SystemExit(255)"
    with pytest.raises(dvc_command.DvcError, match="ingest: data is empty") as caught:
        list(dvc_command.lines([sys.executable, "-c", script]))
    assert caught.value.mistake


def test_a_killed_stage_is_named_with_its_signal() -> None:
    script = (
        "print('> python -m flows.train vgg16');"
        "print(\"ERROR: failed to reproduce 'train@vgg16': failed to run: python -m flows.train vgg16, exited with -9\");"
        "raise SystemExit(255)"
    )
    with pytest.raises(dvc_command.DvcError, match=r"train@vgg16 was killed \(signal 9, often for lack of memory\)"):
        list(dvc_command.lines([sys.executable, "-c", script]))


def test_the_commands_chatter_is_never_the_reason() -> None:
    script = (
        "print('split: too few patients'); print('Updating lock file'); print('> python -m x'); raise SystemExit(1)"
    )
    with pytest.raises(dvc_command.DvcError, match="split: too few patients"):
        list(dvc_command.lines([sys.executable, "-c", script]))


def test_a_second_run_in_the_same_folder_is_refused(here: Path) -> None:
    script = "import sys, time; from ich_pipeline.core.lock import project_locked\nwith project_locked():\n print('in', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "in\n"
        with pytest.raises(InputError, match=rf"another run \(process {first.pid}\) is at work"), project_locked():
            pass
        first.kill()  # the system lets go of the lock
    with project_locked():
        pass


def test_what_the_file_system_refuses_is_the_users_to_mend(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault("x", OSError(errno.ENOSPC, "No space left on device", "work/a")) == 2
    assert "the disk is full (at work/a)" in capsys.readouterr().err
    assert fault("x", PermissionError(errno.EACCES, "Permission denied", "data/b")) == 2
    assert "data/b cannot be read or written here" in capsys.readouterr().err
    (here / ".state").write_text("no folder can be made here")
    assert fault("x", RuntimeError("broken")) == 1
    said = capsys.readouterr().err
    assert said.startswith("x failed: RuntimeError: broken (the traceback is in ")
    Path(said.split("is in ")[1].rstrip(").\n")).unlink()


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_a_run_ends_what_it_started(here: Path, received: signal.Signals) -> None:
    """SIGTERM lets a stage tidy up, once; of a run that was killed outright no stage goes on writing beside the next."""
    child = (
        "import os, signal, time; count = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: count.append(1))\n"
        "print(os.getpid(), flush=True)\n"
        "while not count: time.sleep(0.1)\n"
        "time.sleep(1); open('told', 'w').write(str(len(count)))"
    )
    stage = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    script = (
        "import sys; from ich_pipeline.core.stopping import stop_on_signals; from flows.engine.dvc import lines\n"
        "stop_on_signals()\n"
        f"for line in lines([sys.executable, '-c', {stage!r}]): print(line, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as top:
        assert top.stdout is not None
        process = psutil.Process(int(top.stdout.readline()))
        top.send_signal(received)
        assert top.wait(60) != 0
    gone, _ = psutil.wait_procs([process], timeout=60)
    assert gone and (here / "told").read_text() == "1"


def test_a_stage_that_is_still_ending_is_not_run_beside_itself(
    here: Path, project_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", here / "params.yaml")
    (here / "data").mkdir()
    ran = []

    def body(stage: Stage) -> StageResult:
        ran.append(stage.title)
        return StageResult("done")

    with stage_locked("train@vgg16"):
        assert run("train", body, "vgg16") == 2
        assert f"another run (process {os.getpid()}) runs stage train@vgg16" in capsys.readouterr().err
        assert run("train", body, "resnet50") == 0
    assert run("train", body, "vgg16") == 0 and ran == ["train@resnet50", "train@vgg16"]


@pytest.fixture
def tracked(here: Path) -> Path:
    """A DVC project without git, with a small cohort of the user's own in data/."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=here, check=True)
    (here / "data" / "dicom").mkdir(parents=True)
    (here / "data" / "dicom" / "a").write_text("not read here")
    (here / "data" / "labels.csv").write_text("SOPInstanceUID,any\n1.2,0\n")
    return here


def test_data_dvc_names_the_data_as_it_is_before_anything_runs(tracked: Path, project_root: Path) -> None:
    from ich_pipeline.registry.provenance import data_hash

    params = load_params(project_root / "ich_pipeline" / "profiles" / "phantom.yaml")
    assert "now tracks the folder cohort" in data.ensure(params)
    first = data_hash()
    assert data.ensure(params) == "data/ holds the folder cohort"
    assert data_hash() == first
    (tracked / "data" / "labels.csv").write_text("SOPInstanceUID,any\n1.2,1\n")
    assert "as it is in data/" in data.ensure(params)
    assert data_hash() not in (first, "untracked")


def test_missing_weights_are_said_before_anything_runs(here: Path, project_root: Path) -> None:
    settings = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    settings["networks"]["vgg16"]["weights"] = "nowhere.weights.h5"
    (here / "params.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=r"networks\.vgg16\.weights names nowhere\.weights\.h5, which is no file"):
        beforehand.check(load_params(here / "params.yaml"))
    settings["networks"]["vgg16"]["weights"] = "none"
    (here / "params.yaml").write_text(yaml.safe_dump(settings))
    beforehand.check(load_params(here / "params.yaml"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 48}, r"networks\.inception_v3\.image_size 48.*75"),
        ({"weights": "imagenet", "frozen_layers": "mixed_7"}, r"frozen_layers 'mixed_7' is no layer .* mean mixed7"),
    ],
)
def test_networks_that_cannot_be_built_are_said_before_anything_runs(
    here: Path, project_root: Path, changes: dict, sentence: str
) -> None:
    settings = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    settings["networks"]["inception_v3"].update(changes)
    settings["windowing"]["sizes"].append(48)
    (here / "params.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=sentence):
        beforehand.check(load_params(here / "params.yaml"))


def test_a_damaged_pointer_is_said(tracked: Path, project_root: Path) -> None:
    params = load_params(project_root / "ich_pipeline" / "profiles" / "phantom.yaml")
    (tracked / "data.dvc").write_text("outs: [")
    with pytest.raises(InputError, match=r"data\.dvc is damaged: `git checkout"):
        data.ensure(params)


def test_a_phantom_that_lost_files_is_made_anew(here: Path, project_root: Path) -> None:
    import yaml

    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=here, check=True)
    values = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    values["phantom"].update(patients=12, slices=4, size=64)
    (here / "params.yaml").write_text(yaml.safe_dump(values))
    params = load_params()
    assert data.ensure(params).startswith("data/ made")
    pointer = (here / "data.dvc").read_bytes()
    shutil.rmtree(next(path for path in (here / "data" / "dicom").iterdir() if path.is_dir()))
    assert "anew" in data.ensure(params)
    assert (here / "data.dvc").read_bytes() == pointer
    assert data.ensure(params) == "data/ holds the phantom cohort"


def test_nothing_stands_behind_what_runs_a_module(project_root: Path) -> None:
    """What is defined behind ``if __name__ == "__main__"`` is not there yet when DVC runs the stage; who imports it sees it."""
    for path in (*(project_root / "flows").rglob("*.py"), *(project_root / "ich_pipeline").rglob("*.py")):
        body = ast.parse(path.read_text()).body
        guards = [i for i, one in enumerate(body) if isinstance(one, ast.If) and "__main__" in ast.unparse(one.test)]
        assert guards in ([], [len(body) - 1]), path
