"""Scans within one series: two acquisitions over one stretch are two scans, for the head moves in between.

Acquisitions that adjoin are one scan: many scanners count every turn of the tube as an acquisition of its own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.geometry import SAME_POSITION_MM, along, axial_normal, median_step
from ich_pipeline.dicom.header import Header

OVERLAPPING = 0.7  # of a thickness: two slices that are nearer show the same tissue
BORDER_SLICES, BORDER_SHARE = 2, 0.25  # up to so many of a piece may lie on its neighbour's end
FEW_TIMES = 4  # moments of acquisition; more of them are of slices, not of scans
EVEN = 1.3  # largest step of a whole scan to its smallest

Positions = NDArray[np.float64]


def along_normal(headers: Sequence[Header]) -> Positions | None:
    """Where slices lie along the normal of the first one's plane, in mm; None where one has no place or the plane is not axial."""
    first = headers[0].orientation
    normal = axial_normal(first) if first else None
    points = [h.position for h in headers if h.position]
    if normal is None or len(points) < len(headers):
        return None
    return along(np.array(points), normal)


def reach_mm(positions: Positions, headers: Sequence[Header]) -> float:
    """Two slices nearer than this show the same tissue; where no thickness is known, the step counts instead."""
    known = [h.thickness_mm for h in headers if h.thickness_mm]
    step = median_step(np.unique(np.round(positions, 2)))
    return OVERLAPPING * (min(known) if known else 0.0 if np.isnan(step) else step)


def covered(positions: Positions, by: Positions, reach: float) -> NDArray[np.bool_]:
    """Which positions lie within ``reach`` mm of one of ``by``?"""
    if len(by) == 0 or len(positions) == 0:
        return np.zeros(len(positions), bool)
    return np.abs(positions[:, None] - by[None, :]).min(axis=1) < reach


def overlap(piece: Positions, scan: Positions, reach: float) -> NDArray[np.bool_]:
    """Which slices of a piece lie within the extent of a scan and show what one of its slices shows?"""
    inside = (piece >= scan.min() - SAME_POSITION_MM) & (piece <= scan.max() + SAME_POSITION_MM)
    return covered(piece, scan, reach) & inside


def same_stretch(piece: Positions, scan: Positions, reach: float) -> bool:
    """Does a piece lie on a scan, by more than the slice or two by which stretches that adjoin may overlap?

    A piece that fills holes does not.
    """
    on = overlap(piece, scan, reach)
    count = int(on.sum())
    border = count <= BORDER_SLICES and count <= BORDER_SHARE * min(len(piece), len(scan)) and not on.all()
    return count > 0 and not border


@dataclass(frozen=True)
class Scans:
    """Slices of one geometry as scans, and those left over where the ends of two acquisitions of one scan overlap."""

    scans: list[list[Header]]
    left_over: list[Header]


def part_scans(headers: list[Header], minimum_slices: int) -> Scans:
    """The scans among slices of one geometry and thickness, each in the given order; usually there is one.

    Args:
        headers: in the order of acquisition and instance numbers.
        minimum_slices: a whole scan has so many.
    """
    positions = along_normal(headers)
    if positions is None or len(headers) < 2:
        return Scans([headers], [])
    reach = reach_mm(positions, headers)
    found: list[list[int]] = []
    for part in _stacked(_by_acquisition(headers), positions, reach):
        passes = _passes([headers[i] for i in part], positions[part])
        again = _stacked([[part[i] for i in one] for one in passes], positions, reach)
        clean = len(again) > 1 and all(_whole(positions[one], minimum_slices) for one in again)
        found += again if clean else [part]
    found = _with_lone_copies(found, positions, minimum_slices)
    kept = [_apart(part, headers, positions, reach) for part in found]
    left = [headers[i] for part, stays in zip(found, kept, strict=True) for i in part if i not in stays]
    return Scans([[headers[i] for i in sorted(stays)] for stays in kept], left)


def _by_acquisition(headers: Sequence[Header]) -> list[list[int]]:
    parts: dict[int, list[int]] = defaultdict(list)
    for i, header in enumerate(headers):
        parts[2**31 if header.acquisition_number is None else header.acquisition_number].append(i)
    return [parts[number] for number in sorted(parts)]


def _stacked(pieces: list[list[int]], positions: Positions, reach: float) -> list[list[int]]:
    """Pieces in their order put together, each onto the latest scan that it does not lie on."""
    found: list[list[int]] = []
    for piece in pieces:
        for scan in reversed(found):
            if not same_stretch(positions[piece], positions[scan], reach):
                scan += piece
                break
        else:
            found.append(list(piece))
    return found


def _with_lone_copies(found: list[list[int]], positions: Positions, minimum_slices: int) -> list[list[int]]:
    """A few slices at places of a scan are its repeated slices, not a scan: they stand in where one of it is broken."""
    scans = [part for part in found if len(part) >= minimum_slices]
    for few in (part for part in found if len(part) < minimum_slices):
        here = (scan for scan in scans if covered(positions[few], positions[scan], SAME_POSITION_MM).all())
        home = next(here, None)
        if home is None:
            scans.append(few)
        else:
            home += few
    return scans


def _apart(part: list[int], headers: Sequence[Header], positions: Positions, reach: float) -> set[int]:
    """The slices without those that lie between slices of an earlier acquisition at its end, but at none of its places."""
    pieces = [[part[i] for i in piece] for piece in _by_acquisition([headers[i] for i in part])]
    kept = list(pieces[0])
    for piece in pieces[1:]:
        here = positions[piece]
        crowded = overlap(here, positions[kept], reach) & ~covered(here, positions[kept], SAME_POSITION_MM)
        kept += [i for i, out in zip(piece, crowded, strict=True) if not out]
    return set(kept)


def _passes(headers: Sequence[Header], positions: Positions) -> list[list[int]]:
    """The runs of slices that were taken one after another in one direction, where numbers do not tell acquisitions apart."""
    times = [h.acquired for h in headers if h.acquired is not None]
    numbers = [h.instance_number for h in headers if h.instance_number is not None]
    known, numbered = len(times) == len(headers), len(numbers) == len(headers)
    if known and 2 <= len(set(times)) <= FEW_TIMES:
        return [[i for i, t in enumerate(times) if t == moment] for moment in sorted(set(times))]
    keys = list(zip(times if known else [0.0] * len(headers), numbers if numbered else [0] * len(headers), strict=True))
    order = sorted(range(len(headers)), key=keys.__getitem__)
    if len(set(keys)) < len(keys):
        return [order]
    runs, direction = [[order[0]]], 0.0
    for before, after in itertools.pairwise(order):
        step = float(positions[after] - positions[before])
        if step * direction < 0:
            runs.append([after])
            direction = 0.0
            continue
        direction = direction or step
        runs[-1].append(after)
    return runs


def _whole(positions: Positions, minimum_slices: int) -> bool:
    """Is it a scan by itself: enough slices at even steps?"""
    steps = np.diff(np.sort(positions))
    return len(positions) >= max(minimum_slices, 2) and bool(steps.max() <= EVEN * max(steps.min(), 1e-6))
