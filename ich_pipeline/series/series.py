"""Series: slices of one geometry, ordered along their normal and judged as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.geometry import coverage_mm, gap_ends, group_positions, median_step, neighbours
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.acquisitions import along_normal

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
        acquisition: which of several in its series it is; empty where it is the only one.
        last_resort: there is a reason, and it is read all the same where its study has nothing better.
        parts: what was joined to it, of several series; empty for a group of one.
    """

    slots: tuple[tuple[Header, ...], ...]
    positions_mm: NDArray[np.float64]
    reason: Reason | None = None
    detail: str = ""
    gaps: tuple[tuple[float, float], ...] = ()
    coverage_mm: float = float("nan")
    acquisition: str = ""
    last_resort: bool = False
    parts: tuple[Group, ...] = ()

    @property
    def first(self) -> Header:
        """A header that stands for what all share."""
        return self.slots[0][0]

    @property
    def headers(self) -> list[Header]:
        """All headers."""
        return [header for slot in self.slots for header in slot]

    @property
    def may_be_read(self) -> bool:
        """A candidate, or a last resort."""
        return self.reason is None or self.last_resort

    @property
    def lossy(self) -> bool:
        """Is a slice there only as a lossy copy?"""
        return any(slot[0].lossy for slot in self.slots)

    @property
    def spacing_mm(self) -> float:
        """Median step between positions; NaN for a single one."""
        return median_step(self.positions_mm)


def thicknesses_mm(headers: Iterable[Header]) -> NDArray[np.float64]:
    """SliceThickness of each slice, NaN where unknown."""
    return np.array([np.nan if h.thickness_mm is None else h.thickness_mm for h in headers], dtype=np.float64)


def stack(headers: list[Header], ingest: IngestParams) -> Group:
    """Order towards the head; one normal for all, so that rounding noise in the orientation moves no slice."""
    first = headers[0]
    positions = along_normal(headers)
    if positions is None:
        # Set aside already (localizers and the like): the order does not matter, each file stands for itself.
        return Group(tuple((h,) for h in headers), np.full(len(headers), np.nan), first.reason, first.detail)
    order = group_positions(positions)
    slots = tuple(tuple(sorted((headers[i] for i in slot), key=lambda h: h.lossy)) for slot in order)
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


def judged(group: Group, ingest: IngestParams) -> Group:
    """The group with its reason where it is no candidate: too few slices, too little of the head, a wrong step, or dynamic."""
    if group.reason is not None:
        return replace(group, last_resort=_still_whole(group, ingest))
    low, high = ingest.slice_thickness_mm
    verdict = None
    often = pictures(group)
    if often >= DYNAMIC_FROM:
        verdict = Reason.DYNAMIC, f"{often:.0f} pictures at one position"
    elif group.first.thickness_mm is None and not low <= group.spacing_mm <= high and len(group.slots) > 1:
        detail = f"SliceThickness missing, spacing {group.spacing_mm:.2f} mm, allowed {low:g} to {high:g}"
        verdict = Reason.THICKNESS_OUT_OF_RANGE, detail
    verdict = verdict or too_small(len(group.slots), group.coverage_mm, ingest)
    return group if verdict is None else replace(group, reason=verdict[0], detail=verdict[1])


def _still_whole(group: Group, ingest: IngestParams) -> bool:
    return group.first.last_resort and too_small(len(group.slots), group.coverage_mm, ingest) is None


def pictures(group: Group) -> float:
    """The usual number of pictures at one position, copies counted once."""
    return float(np.median([len({h.sop_instance_uid for h in slot}) for slot in group.slots]))
