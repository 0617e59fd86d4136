"""What MLflow said is good as long as its record is untouched; then it is asked again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ich_pipeline.config import Params
from ich_pipeline.registry import remembered, store, versions

ASK = """
import sys
from ich_pipeline.registry import versions
found = versions.live(sys.argv[1])
print(found.number, sorted(found.aliases), "mlflow" in sys.modules, versions.model_folder(found))
"""


def ask(name: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", ASK, name], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()


def test_mlflow_is_asked_when_its_record_changed_and_only_then(registered: int, params: Params) -> None:
    name = params.registry.model_name
    found = versions.versions(name)
    folder = versions.model_folder(found[0])
    assert remembered.recall(name) == found
    assert ask(name) == [f"{registered} ['challenger'] False {folder}"]
    store.client().set_registered_model_alias(name, "champion", "1")  # as MLflow's own page does it
    assert remembered.recall(name) is None
    assert ask(name) == [f"{registered} ['challenger', 'champion'] True {folder}"]
    store.client().delete_registered_model_alias(name, "champion")
    assert versions.live(name).aliases == ("challenger",)
    assert versions.move(*versions.candidate(name)).startswith("champion of")
    assert remembered.recall(name) is not None, "who moves an alias here leaves it ready for the next"
    assert ask(name) == [f"{registered} ['challenger', 'champion'] False {folder}"]


def test_what_is_broken_or_of_another_version_is_not_believed(registered: int, params: Params) -> None:
    name = params.registry.model_name
    versions.versions(name)
    (place,) = Path(remembered.FOLDER).iterdir()
    good = place.read_text()
    for broken in ("", "[]", '{"schema": "versions/0"}', good.replace('"number"', '"other"'), good[:-20]):
        place.write_text(broken)
        assert remembered.recall(name) is None
    place.write_text(good)
    assert remembered.recall(name) is not None
    os.utime(store.MLRUNS / store.DATABASE)
    assert remembered.recall(name) is None
    assert json.loads(good)["name"] == name


def test_nothing_is_remembered_of_a_store_elsewhere(registered: int, params: Params, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert remembered.state() is None and remembered.recall(params.registry.model_name) is None
