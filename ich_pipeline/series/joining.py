"""One head under several series: stretches that adjoin, or slices that fill each other's holes, are put together again.

Archives and anonymisers give a slab, or every slice, a SeriesInstanceUID of its own; a scanner may change the kernel on the
way up. Half a head that is read in silence is a missed haemorrhage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.geometry import SAME_POSITION_MM, along, axial_normal, length, same_plane, same_spacing
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.series.acquisitions import ADJOIN, EVEN, OVERLAPPING, between, overlap
from ich_pipeline.series.series import Group, stack

SAME_THICKNESS = 1.1  # times the thinnest of a class; scanners write 4.998 beside 5
WIDEST_GAP = 2.5  # times the larger step or thickness: a slice may be lost where two series meet
ASIDE_MM, ASIDE_SHARE = 2.0, 0.01  # a slice may lie beside the line of the stack, by rounding and by the way between


def join_series(groups: Sequence[Group], ingest: IngestParams) -> list[Group]:
    """Groups of one study that are one head in several series, joined; all others as they are.

    Two are joined when they share frame of reference, matrix, plane and pixel spacing (however these were rounded) and are
    equally sharp, lie in one line, and adjoin or fill each other's holes. Where they differ in thickness or say that they show
    different parts of the body, :attr:`Group.parts` tells what must still be looked at.
    """
    alike: dict[tuple, list[Group]] = defaultdict(list)
    rest: list[Group] = []
    for group in groups:
        may = group.first.may_be_read and np.isfinite(group.positions_mm).all()
        (alike[_kind(group.first)] if may else rest).append(group)
    for members in alike.values():
        rest += _joined(members, ingest) if len(members) > 1 else members
    return rest


def _kind(first: Header) -> tuple:
    sharp = sharpness(first.kernel, first.series_description)
    kernel = "" if sharp == "soft" else first.kernel
    return (first.study_uid, first.reason, first.frame_of_reference, first.rows, first.columns, sharp, kernel)


@dataclass
class _Line:
    """Groups that are one head so far: their slices in a line, with what every further group is compared with."""

    parts: list[Group]
    positions: NDArray[np.float64]  # mm along the plane of the first part
    points: NDArray[np.float64]  # ImagePositionPatient, shape (n, 3)
    thin: float  # least thickness in mm, infinite where nobody knows one
    step: float  # the largest step or thickness

    @classmethod
    def of(cls, group: Group) -> _Line:
        points = _points(group)
        return cls([group], along(points, _normal(group)), points, _thin(group), _step(group))

    def add(self, group: Group) -> None:
        points = _points(group)
        self.parts.append(group)
        self.positions = np.concatenate([self.positions, along(points, _normal(self.parts[0]))])
        self.points = np.concatenate([self.points, points])
        self.thin, self.step = min(self.thin, _thin(group)), max(self.step, _step(group))


def _joined(groups: Sequence[Group], ingest: IngestParams) -> list[Group]:
    lines: list[_Line] = []
    for group in sorted(groups, key=lambda g: (float(g.positions_mm[0]), g.first.series_uid, g.first.sop_instance_uid)):
        fitting = [line for line in lines if _fits(line, group, ingest)]
        if fitting:
            max(fitting, key=lambda line: _kinship(line.parts[-1].first, group.first)).add(group)
        else:
            lines.append(_Line.of(group))
    return [_put_together(line.parts, ingest) if len(line.parts) > 1 else line.parts[0] for line in lines]


def _kinship(one: Header, other: Header) -> tuple[bool, ...]:
    return (
        one.series_uid == other.series_uid,
        one.kernel == other.kernel,
        same_thickness(one, other),
        one.series_description == other.series_description,
        one.acquisition_number == other.acquisition_number,
    )


def same_thickness(one: Header, other: Header) -> bool:
    """Are two slices equally thick, however that was written?"""
    if one.thickness_mm is None or other.thickness_mm is None:
        return one.thickness_mm is other.thickness_mm
    thin, thick = sorted((one.thickness_mm, other.thickness_mm))
    return thick <= SAME_THICKNESS * thin


def _fits(line: _Line, group: Group, ingest: IngestParams) -> bool:
    """May a group continue a line, or fill its holes?"""
    first, other = line.parts[0].first, group.first
    if not same_plane(first.orientation, other.orientation) or not same_spacing(first.spacing_mm, other.spacing_mm):
        return False
    if group.acquisition and any(part.acquisition and part.first.series_uid == other.series_uid for part in line.parts):
        return False  # two scans of one series, which were parted
    points = _points(group)
    here, there = along(points, _normal(line.parts[0])), line.positions
    apart = np.abs(here[:, None] - there[None, :])
    i, j = np.unravel_index(apart.argmin(), apart.shape)
    if not _in_line(points[i] - line.points[j], _normal(line.parts[0])):
        return False
    if there.max() < here.min() or here.max() < there.min():
        same_series = all(part.first.series_uid == other.series_uid for part in line.parts)
        return bool(same_series or apart.min() <= WIDEST_GAP * max(line.step, _step(group)))
    # One within the other's extent: only where each fills the other's holes, and all are equally thick.
    doubled = int((apart.min(axis=1) < SAME_POSITION_MM).sum())
    if not same_thickness(first, other) or (doubled and (doubled > 1 or min(apart.shape) == 1)):
        return False
    thin = min(line.thin, _thin(group))
    alone = between(here, there, ingest.minimum_slices).any() and between(there, here, ingest.minimum_slices).any()
    if alone and (_told_apart(line, group) or apart.min() < ADJOIN * thin):
        return False  # a whole scan has no holes: what lies between its slices is another scan
    reach = OVERLAPPING * thin if np.isfinite(thin) else np.inf
    crowded = overlap(here, there, reach) & (apart.min(axis=1) >= SAME_POSITION_MM)
    return not crowded.any() or _one_grid(line, group, here)


def _told_apart(line: _Line, group: Group) -> bool:
    """Was one acquired after the other, by AcquisitionNumber or by the time?"""
    before = [h for part in line.parts for h in part.headers]
    return _apart([h.acquisition_number for h in before], [h.acquisition_number for h in group.headers]) or _apart(
        [h.acquired for h in before], [h.acquired for h in group.headers]
    )


def _apart(some: Sequence[float | None], others: Sequence[float | None]) -> bool:
    one, other = [v for v in some if v is not None], [v for v in others if v is not None]
    known = len(one) == len(some) and len(other) == len(others)
    return known and (max(one) < min(other) or max(other) < min(one))


def _one_grid(line: _Line, group: Group, here: NDArray[np.float64]) -> bool:
    """Do slices that overlap come from one acquisition, whose even steps are even only with both?"""
    numbers = {h.acquisition_number for part in (*line.parts, group) for h in part.headers}
    whole = np.concatenate([line.positions, here])
    return len(numbers) == 1 and None not in numbers and _even(whole) and not (_even(line.positions) and _even(here))


def _even(positions: NDArray[np.float64]) -> bool:
    steps = np.diff(np.sort(positions))
    return len(steps) > 1 and bool(steps.max() <= EVEN * steps.min())


def _points(group: Group) -> NDArray[np.float64]:
    return np.array([header.position for header in group.headers], dtype=np.float64)


def _normal(group: Group) -> NDArray[np.float64]:
    assert group.first.orientation
    normal = axial_normal(group.first.orientation)
    assert normal is not None  # only groups whose slices have places are joined
    return normal


def _thin(group: Group) -> float:
    return min((h.thickness_mm for h in group.headers if h.thickness_mm), default=np.inf)


def _step(group: Group) -> float:
    """The larger of thickness and usual step in mm; 0 where nobody knows."""
    return max(group.first.thickness_mm or 0.0, group.spacing_mm if len(group.slots) > 1 else 0.0)


def _in_line(way: NDArray[np.float64], normal: NDArray[np.float64]) -> bool:
    """Do two slices lie above one another, along the normal or (of a tilted gantry) along the table?"""
    aside = min(length(way - along(way, normal) * normal), float(np.hypot(way[0], way[1])))
    return aside <= ASIDE_MM + ASIDE_SHARE * length(way)


def _put_together(parts: Sequence[Group], ingest: IngestParams) -> Group:
    headers = [header for part in parts for header in part.headers]
    doubtful = any(_in_doubt(one.first, part, ingest) for one in parts for part in parts)
    acquisitions = {part.acquisition for part in parts}
    return replace(
        stack(headers, ingest),
        parts=tuple(parts) if doubtful else (),
        acquisition=acquisitions.pop() if len(acquisitions) == 1 else "",
    )


def _in_doubt(one: Header, part: Group, ingest: IngestParams) -> bool:
    """May it be another part of the body that adjoins? Then the pixels must show a brain in both."""
    other = part.first
    said = (one.body_part.upper(), one.series_description) == (other.body_part.upper(), other.series_description)
    alike = one.series_uid == other.series_uid or (said and same_thickness(one, other))
    return not alike and len(part.slots) >= ingest.minimum_slices


def series_of(headers: Iterable[Header]) -> list[str]:
    """The SeriesInstanceUIDs, each once, in the order of the slices."""
    return list(dict.fromkeys(header.series_uid for header in headers))
