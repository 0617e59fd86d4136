"""What tells one kind of scan from another, measured on the slices that the networks see.

Each number is one that a radiographer could name: grain, sharpness, bright thin things, where the skull lies, how the head is
turned. They are taken over the slices of a case (:func:`scan_numbers`), where a lesion moves them little and another kernel or
contrast medium much. A number that a slice does not have (no brain in it) is NaN.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.baselines.brain import Brain, Mask, bone_threshold, find_brain
from ich_pipeline.core.progress import Track, quiet

# Name, and what it is for people: "… unlike that of the training scans".
MEASURED = {
    "brain_found": "the share of slices with brain inside a closed skull",
    "brain_median": "the brain's HU",
    "brain_spread": "the spread of the brain's HU",
    "brain_brightest": "the brightest hundredth of the brain",
    "brain_low": "the share of the brain far below its median",
    "sides": "the difference between left and right",
    "shape": "the shape of the inside of the skull",
    "grain": "the noise in the brain",
    "grain_size": "the grain of the noise (another kernel)",
    "thin": "thin bright structures in the brain (vessels with contrast medium, metal)",
    "head_share": "the share of the picture that the head takes",
    "head_shape": "the shape of the head",
    "tilt": "the turn of the head in the picture",
    "skull_height": "where the bone lies, front to back",
    "skull_side": "where the bone lies, left to right",
    "skull_share": "the share of bone in the head",
}
NAMES = tuple(MEASURED)
LOW_HU = 15.0  # below the median: fluid, oedema; a streak of metal is far below
DEEP = 0.08  # from the inner table inwards, in radii: free of the skull's blur
SMALLEST_CORE = 60  # pixels; fewer give no noise
SMALLEST_HEAD = 120  # pixels
LONG = 1.06  # longer over shorter axis of a head from which its turn can be told
AIR_HU = 1.0  # above the lowest HU: no air
LIMIT_HU = 20.0  # of the noise that counts for its grain: no edges
LOOKED_AT = 12  # slices of a case at most: a median over more says the same
ALONE = 40  # cases up to which another process costs more than it brings


def looked_at(count: int) -> NDArray[np.intp]:
    """Which of the slices of a case are measured: :data:`LOOKED_AT` of them at even steps, first and last included."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, LOOKED_AT))).astype(np.intp))


def slice_numbers(hu: NDArray[Any], lowest: float, highest: float) -> NDArray[np.float64]:
    """:data:`NAMES` of one slice.

    Args:
        hu: (s, s), HU, clipped.
        lowest, highest: ends of the clip range, HU.
    """
    picture = np.asarray(hu, np.float32)
    brain = find_brain(picture, highest)
    found = {"brain_found": float(brain is not None), **_head(picture, lowest, highest)}
    if brain is not None:
        found |= _brain(brain, len(picture))
    return np.array([found.get(name, np.nan) for name in NAMES])


def scan_numbers(hu: Any, lowest: float, highest: float) -> NDArray[np.float64]:
    """:data:`NAMES` of a case: the median over its slices that have the number, the share for ``brain_found``.

    Args:
        hu: (n, s, s), HU, clipped.
        lowest, highest: ends of the clip range, HU.
    """
    every = np.stack([slice_numbers(picture, lowest, highest) for picture in hu])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a number that no slice has stays NaN
        numbers = np.nanmedian(every, axis=0)
    numbers[NAMES.index("brain_found")] = every[:, NAMES.index("brain_found")].mean()
    return numbers


def measure_cases(
    array: Path,
    cases: Sequence[NDArray[np.integer]],
    lowest: float,
    highest: float,
    workers: int = 0,
    track: Track = quiet,
) -> NDArray[np.float64]:
    """:func:`scan_numbers` of many cases, (cases, numbers); the same with any number of processes.

    Args:
        array: file of the window stage, int16 (N, s, s), HU.
        cases: rows of each, of the slices that are measured.
        lowest, highest: ends of the clip range, HU.
        workers: processes; 0 is one a core.
        track: shows how far it is.
    """
    work = partial(_measure, array, lowest, highest)
    processes = min(workers or os.cpu_count() or 1, len(cases))
    if processes == 1 or len(cases) <= ALONE:
        return np.stack(list(map(work, track(cases, "numbers of scans", len(cases)))))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return np.stack(list(track(pool.map(work, cases, chunksize=4), "numbers of scans", len(cases))))


def _measure(array: Path, lowest: float, highest: float, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    return scan_numbers(np.load(array, mmap_mode="r")[rows], lowest, highest)


def _brain(brain: Brain, size: int) -> dict[str, float]:
    values = brain.hu[brain.inside]
    median = float(np.median(values))
    quarter, three = np.quantile(values, (0.25, 0.75))
    found = {
        "brain_median": median,
        "brain_spread": float(three - quarter),
        "brain_brightest": float(np.quantile(values, 0.99) - median),
        "brain_low": float((values < median - LOW_HU).mean()),
        "shape": brain.elongation,
    }
    if brain.paired.any():
        # The median: a bleed on one side fills less than half of it, and must not make the scan a stranger.
        found["sides"] = float(np.median(np.abs(brain.hu - brain.hu[brain.mirror])[brain.paired]))
    core = brain.inside & (brain.depth > DEEP)
    if np.count_nonzero(core) >= SMALLEST_CORE:
        found |= _texture(brain.hu, core, size)
    return found


def _texture(hu: NDArray[np.float32], core: Mask, size: int) -> dict[str, float]:
    """Noise as the spread of what a narrow blur takes away, its correlation from pixel to pixel, and thin bright things."""
    noise = hu - ndimage.gaussian_filter(hu, 1.0)
    inside = noise[core]
    spread = 1.4826 * float(np.median(np.abs(inside - np.median(inside))))
    limited = np.clip(noise, -LIMIT_HU, LIMIT_HU)
    beside = [
        (limited[:, 1:] * limited[:, :-1])[core[:, 1:] & core[:, :-1]].mean(),
        (limited[1:] * limited[:-1])[core[1:] & core[:-1]].mean(),
    ]
    width = 2 * max(round(3 * size / 256), 1) + 1  # about 6 mm
    calm = ndimage.gaussian_filter(np.clip(hu, 0, 120), 0.7)
    thin: Any = ndimage.white_tophat(calm, size=width)
    return {
        "grain": float(np.log(spread + 0.3)),
        "grain_size": float(np.mean(beside) / (limited[core].var() + 0.3)),
        "thin": float(np.log(np.quantile(thin[core], 0.99) + 1)),
    }


def _head(picture: NDArray[np.float32], lowest: float, highest: float) -> dict[str, float]:
    """Of the largest body in the picture."""
    mask: Any = ndimage.binary_opening(picture > lowest + AIR_HU)
    filled: Any = ndimage.binary_fill_holes(mask)
    labelled: Any = ndimage.label(filled)
    bodies, count = labelled
    if not count:
        return {"head_share": 0.0}
    body = bodies == np.argmax(np.bincount(bodies.ravel())[1:]) + 1
    rows, columns = np.nonzero(body)
    found = {"head_share": len(rows) / picture.size}
    if len(rows) < SMALLEST_HEAD:
        return found
    y, x = rows - rows.mean(), columns - columns.mean()
    middle, apart = (y.var() + x.var()) / 2, float(np.hypot((y.var() - x.var()) / 2, (y * x).mean()))
    found["head_shape"] = float(np.sqrt((middle + apart) / max(middle - apart, 1e-6)))
    if found["head_shape"] >= LONG:
        found["tilt"] = abs(float(np.degrees(np.arctan2(2 * (y * x).mean(), y.var() - x.var())))) / 2
    bone = np.nonzero(body & (picture >= bone_threshold(highest)))
    length = float(np.sqrt(len(rows)))
    found["skull_share"] = len(bone[0]) / len(rows)
    if len(bone[0]):
        found["skull_height"] = float((bone[0].mean() - rows.mean()) / length)
        found["skull_side"] = abs(float((bone[1].mean() - columns.mean()) / length))
    return found
