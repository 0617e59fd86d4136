"""Trainings side by side: with several GPUs each training has one, as long as a slot of a Prefect concurrency limit is free.

DVC allows it: while a stage's command runs, the project is locked for the stage's own files only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import groupby

from ich_pipeline.config import Params

LIMIT = "ich-gpu"  # its slots are this machine's GPUs; the Prefect page shows who holds them
TRAININGS = ("train", "ablate")  # stages whose items need nothing of each other, and of each other's


def devices(params: Params) -> list[str]:
    """The GPUs that trainings may share out: what CUDA_VISIBLE_DEVICES names, else all that nvidia-smi lists.

    One at most where every training takes them all (``training.gpus: all``): there is nothing to share out then.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = [name.strip() for name in visible.split(",")] if visible is not None else _listed()
    named = [name for name in found if name and name != "-1"]
    return named[:1] if params.training.gpus == "all" else named


def groups(stages: Sequence[str], together: bool) -> list[list[str]]:
    """The stages in their order, those that may run at the same time in one group; each alone unless ``together``."""
    if not together:
        return [[name] for name in stages]
    made: list[list[str]] = []
    for training, run in groupby(stages, lambda name: name.split("@")[0] in TRAININGS):
        names = list(run)
        made += [names] if training else [[name] for name in names]
    return made


class Slots:
    """Hands each training a GPU of its own. Only made where a Prefect API answers.

    Args:
        names: the GPUs; the concurrency limit is set to their number.
    """

    def __init__(self, names: Sequence[str]) -> None:
        from prefect.client.orchestration import get_client

        self._free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in names:
            self._free.put(name)
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(LIMIT, len(names))

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        """Wait for a slot; the name of the GPU that comes with it. A killed run's slot comes free with its lease."""
        from prefect.concurrency.sync import concurrency

        # A server that is away for a moment must not end hours of training.
        with concurrency(LIMIT, strict=True, raise_on_lease_renewal_failure=False):
            name = self._free.get()
            try:
                yield name
            finally:
                self._free.put(name)


def _listed() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = subprocess.run([program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return asked.stdout.split() if asked.returncode == 0 else []
