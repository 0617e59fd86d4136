"""The parts of the flows that no stage shows: what is hidden from Prefect, read from a stage, or left by old settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from flows import dvc_command, stale
from flows.pipeline import _whole_events
from flows.prefect_api import UI_FILE, api_url, running_ui
from ich_pipeline.config import load_params
from ich_pipeline.errors import InputError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder as the current one, with no Prefect API named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


def test_uids_do_not_reach_prefect() -> None:
    from flows.prefect_show import redacted

    text = "data/labels.csv names 2.25.98253389850243818485678897055875868488 and 1.2.840.10008.1.2; AUC 0.912, version 3.11.7"
    assert redacted(text) == "data/labels.csv names [UID] and [UID]; AUC 0.912, version 3.11.7"


def test_half_written_events_wait(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"progress": 0.5, "text": "a"}\n{"prog')
    with path.open() as arriving:
        assert list(_whole_events(arriving)) == [{"progress": 0.5, "text": "a"}]
        with path.open("a") as more:
            more.write('ress": 1.0, "text": "b"}\n')
        assert list(_whole_events(arriving)) == [{"progress": 1.0, "text": "b"}]
        assert list(_whole_events(arriving)) == []


def test_folders_that_params_no_longer_name_are_removed(here: Path, project_root: Path) -> None:
    params = load_params(project_root / "ich_pipeline" / "profiles" / "phantom.yaml")
    for name in ("train/vgg16", "train/densenet121", "ablate/vgg16", "evaluate/test_prospective", "evaluate/old"):
        (here / "work" / name).mkdir(parents=True)
    stale.remove(params)
    left = sorted(p.relative_to(here / "work").as_posix() for p in (here / "work").glob("*/*"))
    assert left == ["evaluate/test_prospective", "train/vgg16"]


def test_a_dead_ui_is_not_running(here: Path) -> None:
    UI_FILE.parent.mkdir()
    pages = {"pid": str(os.getpid()), "prefect_api": "http://127.0.0.1:9/api"}
    UI_FILE.write_text(json.dumps(pages))
    assert running_ui() == pages
    assert api_url() is None, "nothing answers there"
    UI_FILE.write_text(json.dumps({**pages, "pid": str(2**22 - 3)}))
    assert running_ui() == {}


def test_a_configured_api_that_does_not_answer_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(InputError, match="no Prefect API answers"):
        api_url()


def test_lines_of_a_command_come_as_they_are_written_and_its_failure_is_told() -> None:
    script = "import sys, time; print('a', flush=True); time.sleep(1.2); print('why it failed', file=sys.stderr); sys.exit(3)"
    seen = []
    with pytest.raises(dvc_command.DvcError, match="why it failed") as caught:
        for line in dvc_command.lines([sys.executable, "-c", script], heartbeat=0.3):
            seen.append(line)
    assert seen[0] == "a" and "" in seen and seen[-1] == "why it failed"
    assert not caught.value.mistake


def test_exit_status_2_of_a_stage_is_the_users_mistake() -> None:
    script = "print('ingest: data is empty'); print('ERROR: failed to reproduce x: failed to run: y, exited with 2'); raise SystemExit(255)"
    with pytest.raises(dvc_command.DvcError, match="ingest: data is empty") as caught:
        list(dvc_command.lines([sys.executable, "-c", script]))
    assert caught.value.mistake
