"""Workers of a run that was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WORK = """
import pathlib, time

def work(folder):
    (pathlib.Path(folder) / "begun").touch()
    time.sleep(6)
    (pathlib.Path(folder) / "written").touch()
"""

SCRIPT = """
import sys
from ich_pipeline.workers.parallel import run_tasks
from work_of_the_test import work

if __name__ == "__main__":
    list(run_tasks(work, [sys.argv[1]], 1))
"""


def test_a_worker_writes_nothing_after_its_parent_was_killed(tmp_path: Path, project_root: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    (tmp_path / "work_of_the_test.py").write_text(WORK)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(project_root)},
        start_new_session=True,
    )
    try:
        while not (tmp_path / "begun").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _ in range(200):
            try:
                os.killpg(parent.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the worker is still there")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    assert not (tmp_path / "written").exists()
