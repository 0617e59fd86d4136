"""The numbers of the HU rule: what a person with a ruler and a threshold would measure on one slice.

All are relative (HU to the brain's median inside the skull, areas to the inside's), so that neither scanner calibration nor picture size
decides. A slice without a brain (above the vertex, below the skull) is all zeros.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.baselines.brain import Brain, Mask, find_brain
from ich_pipeline.core.progress import Track, quiet

STEPS_HU = (5, 10, 15, 20, 25, 30, 40)  # above the median
BLOB_STEPS_HU = (10, 15, 20, 30)
PLACE_STEPS_HU = (10, 20)  # for rim against centre, and left against right
SIDE_STEPS_HU = (10, 20)  # brighter than the mirror image by this
LOW_HU = 15  # below the median: fluid, oedema
RIM = 0.2  # depth up to which a pixel is of the rim
PIXELS = 128  # pictures of twice this size and more are averaged down: about 2 mm a pixel, which also quiets the noise
NAMES = (
    "area", "elongation", "median", "spread", "q95", "q99", "low_share",
    *(f"share_{step}" for step in STEPS_HU),
    *(f"blob_{what}_{step}" for step in BLOB_STEPS_HU for what in ("area", "second", "compact", "depth")),
    *(f"{place}_{step}" for step in PLACE_STEPS_HU for place in ("rim", "centre", "sides")),
    "asymmetry", "asymmetry_q99", *(f"brighter_{step}" for step in SIDE_STEPS_HU), "brighter_blob",
)  # fmt: skip


def slice_features(hu: NDArray[Any], highest: float) -> NDArray[np.float32]:
    """Measure one slice.

    Args:
        hu: (s, s), HU, clipped.
        highest: upper end of the clip range, HU.

    Returns:
        Shape (len(NAMES),): shares are of the area inside the skull, depths as in :class:`~.brain.Brain`.
    """
    picture = averaged(hu)
    brain = find_brain(picture, highest)
    if brain is None:
        return np.zeros(len(NAMES), np.float32)
    values = brain.hu[brain.inside]
    middle = float(np.median(values))
    over = brain.hu - np.float32(middle)
    of = np.sort(values - np.float32(middle))
    quarter, three, q95, q99 = (float(of[int(share * (len(of) - 1))]) for share in (0.25, 0.75, 0.95, 0.99))
    found = [len(values) / picture.size, brain.elongation, middle, three - quarter, q95, q99]
    found.append(np.searchsorted(of, -LOW_HU) / len(of))
    found += [1 - np.searchsorted(of, step) / len(of) for step in STEPS_HU]
    for step in BLOB_STEPS_HU:
        found += _blobs(brain.inside & (over >= step), brain)
    for step in PLACE_STEPS_HU:
        found += _places(brain.inside & (over >= step), brain)
    found += _sides(over, brain)
    return np.array(found, np.float32)


def neighbourhood(features: NDArray[np.float32], neighbours: NDArray[np.integer]) -> NDArray[np.float32]:
    """A slice's numbers, then those of the slice before and of the slice after it; its own where there is none.

    Args:
        features: (n, f).
        neighbours: (n, 2), rows of ``features``; -1 for none.

    Returns:
        Shape (n, 3 f).
    """
    own = np.arange(len(features))
    sides = [np.where(neighbours[:, k] < 0, own, neighbours[:, k]) for k in (0, 1)]
    return np.concatenate([features, *(features[side] for side in sides)], axis=1)


def averaged(hu: NDArray[Any]) -> NDArray[np.float32]:
    """The picture, where it is large, averaged over squares of whole pixels to 128 pixels at least; (s, s) to (t, t)."""
    side = max(len(hu) // PIXELS, 1)
    size = len(hu) // side
    whole = np.asarray(hu)[: size * side, : size * side]
    return whole.reshape(size, side, size, side).mean(axis=(1, 3), dtype=np.float32)


def _blobs(bright: Mask, brain: Brain) -> Iterator[float]:
    """Share of the largest and of the second connected blob; compactness and mean depth of the largest."""
    labelled: Any = ndimage.label(bright)
    blobs, count = labelled
    if not count:
        yield from (0.0, 0.0, 0.0, 0.0)
        return
    sizes = np.bincount(blobs.ravel())[1:]
    inside = np.count_nonzero(brain.inside)
    largest = blobs == int(np.argmax(sizes)) + 1
    yield sizes.max() / inside
    yield np.sort(sizes)[-2] / inside if count > 1 else 0.0
    yield compactness(largest)
    yield float(brain.depth[largest].mean())


def compactness(blob: Mask) -> float:
    """Area over the area of a disc with the same second moments: 1 for a disc, about 0 for a thread.

    A pixel counts as a square (its own moment is 1/12 along each axis), so that one alone has a value: 0.955.
    """
    rows, columns = np.nonzero(blob)
    moments = rows.var() + columns.var() + 1 / 6
    return float(len(rows) / (2 * np.pi * moments))


def _places(bright: Mask, brain: Brain) -> Iterator[float]:
    """Bright share of the rim, of the centre, and the difference of the halves left and right of the midline."""
    rim = brain.inside & (brain.depth <= RIM)
    for place in (rim, brain.inside & ~rim):
        yield np.count_nonzero(bright & place) / max(np.count_nonzero(place), 1)
    # What is bright while its mirror image is not, less the other way round on each side: the sides' difference.
    columns = np.broadcast_to(np.arange(bright.shape[1]), bright.shape)
    left, right = columns < brain.mirror[1], columns > brain.mirror[1]
    yield abs(np.count_nonzero(bright & left) - np.count_nonzero(bright & right)) / np.count_nonzero(brain.inside)


def _sides(over: NDArray[np.float32], brain: Brain) -> Iterator[float]:
    """How much brighter pixels are than their mirror images: mean, 99th percentile, shares, and the largest such blob."""
    total = np.count_nonzero(brain.inside)
    if not brain.paired.any():
        yield from (0.0,) * (3 + len(SIDE_STEPS_HU))
        return
    apart = np.where(brain.paired, over - over[brain.mirror], np.float32(0))
    of = np.sort(apart[brain.paired])
    yield float(np.abs(of).mean())
    yield float(of[int(0.99 * (len(of) - 1))])
    for step in SIDE_STEPS_HU:
        yield np.count_nonzero(apart >= step) / total
    labelled: Any = ndimage.label(apart >= SIDE_STEPS_HU[0])
    blobs, count = labelled
    yield np.bincount(blobs.ravel())[1:].max() / total if count else 0.0


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
