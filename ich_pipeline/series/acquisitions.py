"""Scans within one series: two acquisitions over one stretch are two scans, for the head moves in between.

Acquisitions that adjoin are one scan: many scanners count every turn of the tube as an acquisition of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.geometry import SAME_POSITION_MM, along, axial_normal, median_step
from ich_pipeline.dicom.header import Header
from ich_pipeline.series.passes import Positions, Units, Way, by_acquisition, runs, ways

OVERLAPPING = 0.7  # of a thickness: two slices that are nearer show the same tissue
BORDER_SLICES, BORDER_SHARE = 2, 0.25  # up to so many of a piece may lie on its neighbour's end
EVEN = 1.3  # of two steps that are alike, the larger to the smaller
REGULAR = 0.6  # of the steps of a scan are like the step before; slices of several scans mixed are not
OFF_GRID = 0.1  # of a step: so far from a whole number of steps
HOLE = 1.5  # times the smaller of the steps beside it: a slice is lost there
TURN = 2.5  # thicknesses: slices of one turn of the tube are no farther apart
LONG = 4  # slices of a pass, on average; numbers in no order make shorter ones
ADJOIN, ONE_GRID = 0.95, 1.05  # odd and even slices of one scan are a thickness apart, in equal steps


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


def between(piece: Positions, scan: Positions, minimum_slices: int) -> NDArray[np.bool_]:
    """Which slices of a piece lie between slices of a whole scan where it has no hole? They are another scan's, however thin."""
    places = _places(scan)
    if not regular(scan, minimum_slices):
        return np.zeros(len(piece), bool)
    steps = np.diff(places)
    beside = np.minimum(np.append(np.inf, steps[:-1]), np.append(steps[1:], np.inf))
    whole = np.concatenate([[False], steps <= HOLE * beside, [False]])
    return whole[np.searchsorted(places, piece)]


def interleaved(piece: Positions, scan: Positions, thickness_mm: float) -> bool:
    """May two passes be the odd and the even slices of one scan? They adjoin, and are even together."""
    steps = np.diff(np.sort(np.concatenate([piece, scan])))
    return bool(steps.min() >= ADJOIN * thickness_mm and steps.max() <= ONE_GRID * steps.min())


def same_stretch(piece: Positions, scan: Positions, reach: float, minimum_slices: int) -> bool:
    """Does a piece lie on a scan, by more than the slice or two by which stretches that adjoin may overlap?

    A piece that fills holes does not.
    """
    on = _on(piece, scan, reach, minimum_slices)
    return _more_than_border(on, len(scan)) or _more_than_border(between(scan, piece, minimum_slices), len(piece))


def _on(piece: Positions, scan: Positions, reach: float, minimum_slices: int) -> NDArray[np.bool_]:
    if regular(scan, minimum_slices):
        reach = min(reach, median_step(_places(scan)) * HOLE / 2)  # slices may be thicker than their step
    return overlap(piece, scan, reach) | between(piece, scan, minimum_slices)


def _more_than_border(on: NDArray[np.bool_], others: int) -> bool:
    count = int(on.sum())
    border = count <= BORDER_SLICES and count <= BORDER_SHARE * min(len(on), others) and not on.all()
    return count > 0 and not border


def regular(positions: Positions, minimum_slices: int) -> bool:
    """Is it a scan by itself: enough slices, most at the step of the one before, or at one step but for those that are lost?"""
    steps = np.diff(_places(positions))
    if len(steps) + 1 < max(minimum_slices, 3):
        return False
    alike = np.maximum(steps[1:], steps[:-1]) <= EVEN * np.minimum(steps[1:], steps[:-1])
    times = steps / steps.min()
    lost = np.abs(times - np.round(times)).max() <= OFF_GRID and len(steps) >= times.sum() / 2
    return bool(lost) or float(alike.mean()) >= REGULAR


def _places(positions: Positions) -> Positions:
    """Each place once, rising."""
    rising = np.sort(positions)
    return rising[np.append(True, np.diff(rising) > SAME_POSITION_MM)]


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
    copies: dict[tuple, list[int]] = defaultdict(list)
    for i, header in enumerate(headers):
        copies[header.sop_instance_uid, header.position].append(i)
    of = {same[0]: same for same in copies.values()}  # a file that is there twice is no pass of its own
    parts = _Parts(headers, positions, reach_mm(positions, headers), minimum_slices)
    found = parts.with_lone_copies(parts.scans(list(of)))
    kept = [parts.apart(scan) for scan in found]
    left = [i for scan, stays in zip(found, kept, strict=True) for run in scan for i in run if i not in stays]

    def files(slices: Iterable[int]) -> list[Header]:
        return [headers[i] for i in sorted(i for one in slices for i in of[one])]

    return Scans([files(stays) for stays in kept], files(left))


def _stacked(passes: Units, lies_on: Callable[[list[int], list[int]], bool]) -> list[Units]:
    """Passes in their order put together, each onto the latest scan that it does not lie on."""
    found: list[Units] = []
    for one in passes:
        for scan in reversed(found):
            if not lies_on(one, [i for other in scan for i in other]):
                scan.append(one)
                break
        else:
            found.append([one])
    return found


@dataclass(frozen=True)
class _Parts:
    """Parts the slices of one geometry. A scan is here a list of passes, a pass a list of indices of slices."""

    headers: Sequence[Header]
    positions: Positions
    reach: float
    minimum_slices: int

    def scans(self, slices: list[int]) -> list[Units]:
        """By the first way to tell passes that leaves whole scans, each looked at again; else by AcquisitionNumber as it is."""
        wide = TURN * self.reach / OVERLAPPING
        for way in ways(self.headers, slices, self.positions, wide):
            found = self._passes_stacked(way)
            if len(found) > 1 and self._clean(found):
                return [part for scan in found for part in self._again(scan)]
        return _stacked(by_acquisition(self.headers, slices), self._overlaps)

    def _overlaps(self, unit: list[int], scan: list[int]) -> bool:
        return _more_than_border(overlap(self.positions[unit], self.positions[scan], self.reach), len(scan))

    def _again(self, scan: Units) -> list[Units]:
        found = self.scans([i for run in scan for i in run])
        return found if len(found) > 1 else [scan]

    def _passes_stacked(self, way: Way) -> list[Units]:
        passes = [run for units in way.sequences for run in runs(units, self.positions, self.reach, self._touches)]
        return _stacked(passes, lambda run, scan: self._same_stretch(run, scan, one_acquisition=way.one_acquisition))

    def _touches(self, unit: list[int], run: list[int]) -> bool:
        return bool(_on(self.positions[unit], self.positions[run], self.reach, self.minimum_slices).any())

    def _same_stretch(self, run: list[int], scan: list[int], *, one_acquisition: bool) -> bool:
        piece, there = self.positions[run], self.positions[scan]
        thickness = min(self.headers[i].thickness_mm or np.inf for i in run)
        if one_acquisition and interleaved(piece, there, thickness):
            return False
        return same_stretch(piece, there, self.reach, self.minimum_slices)

    def _clean(self, scans: list[Units]) -> bool:
        """Are there whole scans, and beside them a few slices at most? Numbers in no order leave neither."""
        lengths = [len(run) for scan in scans for run in scan]
        if sum(lengths) < LONG * len(lengths):
            return False
        parts = [self._at(scan) for scan in scans]
        whole = [regular(part, self.minimum_slices) for part in parts]
        few = [len(part) < self.minimum_slices for part in parts]
        return any(whole) and all(one or other for one, other in zip(whole, few, strict=True))

    def with_lone_copies(self, found: list[Units]) -> list[Units]:
        """A few slices at places of a scan are its repeated slices, not a scan: they stand in where one of it is broken."""
        sizes = [sum(map(len, scan)) for scan in found]
        scans = [scan for scan, size in zip(found, sizes, strict=True) if size >= self.minimum_slices]
        for few in (scan for scan, size in zip(found, sizes, strict=True) if size < self.minimum_slices):
            here = self._at(few)
            home = next((s for s in scans if covered(here, self._at(s), SAME_POSITION_MM).all()), None)
            if home is None:
                scans.append(few)
            else:
                home += few
        return scans

    def _at(self, scan: Units) -> Positions:
        return self.positions[[i for run in scan for i in run]]

    def apart(self, scan: Units) -> set[int]:
        """The slices without those that lie between slices of an earlier pass at its end, but at none of its places."""
        kept = list(scan[0])
        for run in scan[1:]:
            here = self.positions[run]
            crowded = overlap(here, self.positions[kept], self.reach)
            crowded &= ~covered(here, self.positions[kept], SAME_POSITION_MM)
            kept += [i for i, out in zip(run, crowded, strict=True) if not out]
        return set(kept)
