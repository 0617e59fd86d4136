"""Series: files grouped by series and geometry, each group ordered along its normal and judged as a whole."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.geometry import axial_normal, coverage_mm, gap_ends, group_positions, median_step, neighbours
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason

ORIENTATION_TOLERANCE = 2e-3  # per direction cosine; scanners write them with rounding noise
SPACING_TOLERANCE_MM = 1e-3
SAME_THICKNESS = 1.1  # times the thinnest of a class; scanners write 4.998 beside 5
DYNAMIC_FROM = 3  # pictures at one position; two are a repeated slice


@dataclass(frozen=True)
class Group:
    """Slices of one series with one geometry.

    Attributes:
        slots: the headers at each position, towards the head; within a slot in order of preference.
        positions_mm: float64, one for each slot, along the normal; NaN where the files have none.
        reason: None for a candidate, else why its files are set aside.
        gaps: positions on both sides of every step that is too large.
        coverage_mm: what the slices cover along the normal.
    """

    slots: tuple[tuple[Header, ...], ...]
    positions_mm: NDArray[np.float64]
    reason: Reason | None = None
    detail: str = ""
    gaps: tuple[tuple[float, float], ...] = ()
    coverage_mm: float = float("nan")

    @property
    def first(self) -> Header:
        """A header that stands for what all share."""
        return self.slots[0][0]

    @property
    def headers(self) -> list[Header]:
        """All headers."""
        return [header for slot in self.slots for header in slot]

    @property
    def spacing_mm(self) -> float:
        """Median step between positions; NaN for a single one."""
        return median_step(self.positions_mm)


def group_series(headers: Iterable[Header], ingest: IngestParams) -> list[Group]:
    """Group CT images by series, geometry and verdict; candidates with too few slices or a wrong spacing are set aside.

    Args:
        headers: of any files; those that are no CT images of a known series are passed over.
        ingest: minimum_slices, minimum_coverage_mm, slice_thickness_mm and spacing_tolerance count.

    Returns:
        Groups in an order that does not depend on file names.
    """
    by_series: dict[tuple, list[list[Header]]] = defaultdict(list)
    for header in sorted((h for h in headers if h.is_ct_image), key=_file_order):
        key = (header.study_uid, header.series_uid, header.reason or "", header.rows, header.columns, header.kernel)
        members = by_series[key]
        for member in members:
            if _same_geometry(member[0], header):
                member.append(header)
                break
        else:
            members.append([header])
    groups = [
        _judge(_stack(part, ingest), ingest)
        for key in sorted(by_series)
        for member in by_series[key]
        for part in _reconstructions(member, ingest)
    ]
    return sorted(groups, key=lambda g: (g.first.study_uid, g.first.series_uid))


def _file_order(header: Header) -> tuple:
    def number(value: int | None) -> int:
        return value if value is not None else 2**31

    return (number(header.acquisition_number), number(header.instance_number), header.sop_instance_uid, header.name)


def near(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    """Do two vectors of a header differ by no more than this in any component? An unknown one is near an unknown one only."""
    if one is None or other is None:
        return one is other
    return max(abs(x - y) for x, y in zip(one, other, strict=True)) <= tolerance


def _same_geometry(one: Header, other: Header) -> bool:
    return near(one.orientation, other.orientation, ORIENTATION_TOLERANCE) and near(
        one.spacing_mm, other.spacing_mm, SPACING_TOLERANCE_MM
    )


def _reconstructions(headers: list[Header], ingest: IngestParams) -> list[list[Header]]:
    """Split thin and thick copies of one stretch that share a series; two thicknesses one above the other stay together."""
    first = headers[0]
    normal = axial_normal(first.orientation) if first.orientation else None
    if normal is None:
        return [headers]
    parts: list[tuple[float, list[Header]]] = []
    for header in sorted(headers, key=lambda h: h.thickness_mm or 0.0):
        if header.thickness_mm is None or header.position is None:
            return [headers]
        if parts and header.thickness_mm <= SAME_THICKNESS * parts[-1][0]:
            parts[-1][1].append(header)
        else:
            parts.append((header.thickness_mm, [header]))
    if len(parts) == 1 or any(len(part) < ingest.minimum_slices for _, part in parts):
        return [headers]
    along = [(np.array([h.position for h in part]) @ normal, thickness) for thickness, part in parts]
    extents = sorted((float(a.min()), float(a.max()), thickness) for a, thickness in along)
    copies = any(low < last - thickness for (_, last, thickness), (low, _, _) in itertools.pairwise(extents))
    return [sorted(part, key=_file_order) for _, part in parts] if copies else [headers]


def thicknesses_mm(headers: Iterable[Header]) -> NDArray[np.float64]:
    """SliceThickness of each slice, NaN where unknown."""
    return np.array([np.nan if h.thickness_mm is None else h.thickness_mm for h in headers], dtype=np.float64)


def _stack(headers: list[Header], ingest: IngestParams) -> Group:
    """Order towards the head; one normal for all, so that rounding noise in the orientation moves no slice."""
    first = headers[0]
    points = [h.position for h in headers if h.position]
    normal = axial_normal(first.orientation) if first.orientation else None
    if normal is None or len(points) < len(headers):
        # Set aside already (localizers and the like): the order does not matter, each file stands for itself.
        return Group(tuple((h,) for h in headers), np.full(len(headers), np.nan), first.reason, first.detail)
    positions = np.array(points) @ normal
    order = group_positions(positions)
    slots = tuple(tuple(headers[i] for i in slot) for slot in order)
    at = np.array([positions[slot[0]] for slot in order])
    links, _ = neighbours(at, thicknesses_mm(slot[0] for slot in slots), ingest.spacing_tolerance)
    covered = coverage_mm(at, links, first.thickness_mm)
    return Group(slots, at, first.reason, first.detail, gap_ends(at, links), covered)


def too_small(positions: int, covered_mm: float, ingest: IngestParams) -> tuple[Reason, str] | None:
    """Why so few positions, or so little of the head, are set aside; None where they are enough."""
    if positions < ingest.minimum_slices:
        return Reason.TOO_FEW_SLICES, f"{positions} positions, at least {ingest.minimum_slices} are needed"
    if covered_mm < ingest.minimum_coverage_mm:
        detail = f"covers {covered_mm:.0f} mm, at least {ingest.minimum_coverage_mm:g} mm are needed"
        return Reason.COVERAGE_TOO_SMALL, detail
    return None


def _judge(group: Group, ingest: IngestParams) -> Group:
    if group.reason is not None:
        return group
    low, high = ingest.slice_thickness_mm
    verdict = None
    pictures = float(np.median([len({h.sop_instance_uid for h in slot}) for slot in group.slots]))
    if pictures >= DYNAMIC_FROM:
        verdict = Reason.DYNAMIC, f"{pictures:.0f} pictures at one position"
    elif group.first.thickness_mm is None and not low <= group.spacing_mm <= high and len(group.slots) > 1:
        detail = f"SliceThickness missing, spacing {group.spacing_mm:.2f} mm, allowed {low:g} to {high:g}"
        verdict = Reason.THICKNESS_OUT_OF_RANGE, detail
    verdict = verdict or too_small(len(group.slots), group.coverage_mm, ingest)
    return group if verdict is None else replace(group, reason=verdict[0], detail=verdict[1])
