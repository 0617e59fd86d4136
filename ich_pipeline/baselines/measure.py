"""The numbers of many slices, measured by several processes out of one memory-mapped array."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.baselines.hu_features import slice_features
from ich_pipeline.core.progress import Track, quiet

BLOCK = 256  # slices a piece of work
ALONE = 2048  # up to so many slices another process costs more than it brings


def measure(
    array: Path, rows: NDArray[np.integer], highest: float, workers: int = 0, track: Track = quiet
) -> NDArray[np.float32]:
    """:func:`~.hu_features.slice_features` of chosen slices; the same bytes with any number of processes.

    Args:
        array: file of the window stage, int16 (N, s, s), HU.
        rows: which slices, (n,).
        highest: upper end of the clip range, HU.
        workers: processes; 0 is one a core.
        track: shows how far it is.

    Returns:
        Shape (n, numbers).
    """
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    work = partial(_measure, array, highest)
    processes = min(workers or os.cpu_count() or 1, len(blocks))
    if processes == 1 or len(rows) <= ALONE:
        return _joined(map(work, track(blocks, "numbers of slices", len(blocks))))
    # Spawned, not forked: the parent has threads of its own. Threads would wait for each other: the numbers are many small steps.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return _joined(track(pool.map(work, blocks), "numbers of slices", len(blocks)))


def _joined(parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(list(parts))


def _measure(array: Path, highest: float, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
    hu = np.load(array, mmap_mode="r")
    return np.stack([slice_features(hu[row], highest) for row in rows])
