"""A worker whose parent was killed ends with it."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
from multiprocessing.process import BaseProcess


@functools.cache
def end_with_parent() -> None:
    """From now on end this process when its parent ends; in a process that :mod:`multiprocessing` did not start, nothing.

    A worker that goes on after a kill would write into the folder of the run that is started next.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if not parent.is_alive():
        os._exit(1)
    threading.Thread(target=_wait_and_end, args=(parent,), name="end with parent", daemon=True).start()


def _wait_and_end(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
