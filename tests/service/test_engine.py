"""One version in a process of its own: what is slow or deadly costs one request, and a version must pass its test."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json
from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.registry.example import example_answer, example_input
from ich_pipeline.registry.opened import Opened
from ich_pipeline.registry.remembered import Version
from ich_pipeline.service.engine import EXAMPLE, Engine, Interrupted, Work, self_test
from ich_pipeline.serving.content import content_of
from ich_pipeline.serving.golden import FILE
from ich_pipeline.serving.system import System
from tests.made.system import Studies


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version's files as MLflow has them; its example is written as MLflow writes it."""
    import base64
    import json

    folder = tmp_path_factory.mktemp("version")
    shutil.copytree(bundle, folder / "artifacts" / "bundle")
    table = example_input()
    table["hu"] = [base64.encodebytes(one).decode() for one in table["hu"]]
    (folder / EXAMPLE).write_text(json.dumps({"columns": list(table.columns), "data": table.to_numpy().tolist()}))
    return folder


def test_a_version_that_answers_no_probabilities_fails_its_test(folder: Path, tmp_path: Path) -> None:
    system = System.load(folder / "artifacts" / "bundle")
    self_test(system, folder)
    reading = replace(
        system.ensemble.first_reading, calibrations=(Calibration("platt", float("nan")),) * len(system.labels)
    )
    broken = replace(system, ensemble=replace(system.ensemble, first_reading=reading, second_reading=reading))
    with pytest.raises(InputError, match="scores that are no probabilities"):
        self_test(broken, folder)
    for text in ("", "{}", '{"columns": ["hu"], "data": [["AAAA"]]}'):
        (tmp_path / EXAMPLE).write_text(text)
        with pytest.raises(InputError, match="no example"):
            self_test(system, tmp_path)


def test_a_version_that_answers_otherwise_than_when_it_was_registered_fails_its_test(folder: Path) -> None:
    system, golden = System.load(folder / "artifacts" / "bundle"), folder / "artifacts" / FILE
    known = example_answer(folder / "artifacts" / "bundle")
    assert np.array(known["final"]).shape == (4, len(system.labels.columns))
    try:
        for change in ({}, {"final": (np.array(known["final"]) + 5e-5).tolist()}):  # of another processor
            write_json(golden, {**known, **change})
            self_test(system, folder)
        nudged = np.array(known["final"])
        nudged[2, 0] -= 2e-3
        for change, said in (
            ({"final": nudged.tolist()}, r"final differ by 0\.002"),
            ({"first": known["first"][:3]}, "first differ"),
            ({"case_scores": [None, *known["case_scores"][1:]]}, "case scores differ"),
            ({"sentence": "Not suspected."}, "said 'Not suspected.' when it was registered"),
        ):
            write_json(golden, {**known, **change})
            with pytest.raises(InputError, match=said):
                self_test(system, folder)
    finally:
        golden.unlink()


def test_a_slow_request_and_a_crash_cost_that_request(
    folder: Path, studies: Studies, params: Params, tmp_path: Path
) -> None:
    digest = content_of(folder / "artifacts" / "bundle").digest
    version = Version("ich-ensemble", 1, (), digest, {}, "", 0, "", "", str(folder), {}, "")
    engine = Engine()
    files = tuple((path, path.name) for path in studies.files[0])
    work = Work(files, tmp_path, params.ingest.archives, False, False, False)
    engine.load(Opened(version, folder, {}))
    process = engine._process._child._process
    assert process is not None
    with pytest.raises(Interrupted, match=r"longer than 0\.001 s") as slow:
        engine.read(work, 0.001)
    assert slow.value.timed_out and process.poll() == -signal.SIGKILL
    done = engine.read(work, 60)
    assert done.result.stat().st_size and len(done.cases) == 1 and done.peak_mib > 50
    assert engine._process._child._process is not None
    os.kill(engine._process._child._process.pid, signal.SIGKILL)
    with pytest.raises(Interrupted, match="exit code -9") as ended:
        engine.read(work, 60)
    assert not ended.value.timed_out
    engine.stop()
