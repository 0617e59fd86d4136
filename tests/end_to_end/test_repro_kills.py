"""``make repro`` killed at ten random moments: nothing runs on, and in the end everything is as if nobody had disturbed it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from .conftest import Project
from .test_chain import digest

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

KILLS = 10
LONGEST_S = 60  # of a disturbed run; the stages that ended before are not run again
# Where a stage's bytes hold no moment of the run: the report and the registration name the run and its time.
SAME = ("ingest", "split", "window", "pretrain", "features", "train", "ablate", "sequence", "baselines", "calibrate")


def test_kills_of_repro_change_nothing(chain: Project, fresh: Callable[[str], Project]) -> None:
    project = fresh("disturbed")
    rng = np.random.default_rng(14)
    met = []
    for number in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.pipeline"],
            cwd=project.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(2, LONGEST_S))
        family = psutil.Process(process.pid).children(recursive=True)
        met.append(next((" ".join(one.cmdline()[2:]) for one in family[::-1] if "flows." in str(one.cmdline())), "-"))
        victim = family[-1] if family and number % 3 == 2 else process  # a stage by itself, or the whole run
        victim.kill()
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=90)
        assert not alive, [one.cmdline() for one in alive]
    print("killed in:", met)
    done = project.run("flows.pipeline")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "version 1, alias challenger" in done.stdout, "of the runs that were killed nothing is registered"
    for folder in SAME:
        assert digest(project.root / "work" / folder) == digest(chain.root / "work" / folder), folder
