"""For children of the ingest alone (PYTHONPATH): a file with one of these words in its name does what a decoder may do."""

from __future__ import annotations

import os
import signal
import sys
import time


def _opened(event: str, arguments: tuple) -> None:
    if event != "open" or not isinstance(arguments[0], str):
        return
    name = os.path.basename(arguments[0])  # noqa: PTH119
    if "kills" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif "hangs" in name:
        sum(range(10**15))  # a loop within C: no Python handler would run
    elif "slow" in name:
        time.sleep(0.3)


if any("ich_pipeline.workers.child" in argument for argument in sys.orig_argv):
    sys.addaudithook(_opened)
