"""Series and their choice: group candidates by series and geometry, order each, choose one a study by plain rules.

The rules, in this order, for the series of a study that are left after every file was judged by itself:

1. a kernel known as soft before an unknown one (sharp ones are set aside before);
2. more of the head covered, in whole centimetres;
3. more slices;
4. the lower SeriesNumber, then the lower SeriesInstanceUID, so that the choice never depends on file names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.geometry import axial_normal, group_positions
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.dicom.reasons import Reason

ORIENTATION_TOLERANCE = 2e-3  # per direction cosine; scanners write them with rounding noise
SPACING_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Group:
    """Slices of one series with one geometry.

    Attributes:
        slots: the headers at each position, towards the head; within a slot in order of preference.
        positions_mm: float64, one for each slot, along the normal.
        reason: None for a candidate, else why its files are set aside.
    """

    slots: tuple[tuple[Header, ...], ...]
    positions_mm: NDArray[np.float64]
    reason: Reason | None = None
    detail: str = ""

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
        return float(np.median(np.diff(self.positions_mm))) if len(self.positions_mm) > 1 else float("nan")

    @property
    def coverage_mm(self) -> float:
        """From the first position to the last, and one slice more."""
        if len(self.positions_mm) < 2:
            return self.first.thickness_mm or 0.0
        return float(self.positions_mm[-1] - self.positions_mm[0]) + self.spacing_mm

    @property
    def rank(self) -> tuple:
        """Sort key of the choice: the smallest is chosen."""
        first = self.first
        return (
            sharpness(first.kernel, first.series_description) != "soft",
            -round(self.coverage_mm / 10),
            -len(self.slots),
            first.series_number if first.series_number is not None else 2**31,
            first.series_uid,
            first.orientation,
        )


def find_mixed_identity(headers: Iterable[Header]) -> list[Header]:
    """Set aside every file whose study, series or slice UID also stands for another patient, study or series."""
    headers = list(headers)
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    claims = {
        "StudyInstanceUID": lambda h: (h.study_uid, h.patient_id),
        "SeriesInstanceUID": lambda h: (h.series_uid, h.study_uid),
        "SOPInstanceUID": lambda h: (
            h.sop_instance_uid,
            f"{h.series_uid}|{h.orientation}|{h.position}|{h.rows}|{h.columns}",
        ),
    }
    named = [h for h in headers if h.is_ct_image]
    for keyword, claim in claims.items():
        for header in named:
            uid, owner = claim(header)
            owners[keyword, uid].add(owner)
    result = []
    for header in headers:
        mixed = [k for k, claim in claims.items() if len(owners.get((k, claim(header)[0]), ())) > 1]
        clash = header.reason is None and mixed
        result.append(header.set(Reason.MIXED_IDENTITY, f"{mixed[0]} is shared") if clash else header)
    return result


def group_series(headers: Iterable[Header], ingest: IngestParams) -> list[Group]:
    """Group CT images by series, geometry and verdict; candidates with too few slices or a wrong spacing are set aside.

    Args:
        headers: of any files; those that are no CT images of a known series are passed over.
        ingest: minimum_slices and slice_thickness_mm count.

    Returns:
        Groups in an order that does not depend on file names.
    """
    by_series: dict[tuple, list[list[Header]]] = defaultdict(list)
    for header in sorted((h for h in headers if h.is_ct_image), key=_file_order):
        members = by_series[header.study_uid, header.series_uid, header.reason or "", header.rows, header.columns]
        for member in members:
            if _same_geometry(member[0], header):
                member.append(header)
                break
        else:
            members.append([header])
    groups = [_judge(_stack(member), ingest) for key in sorted(by_series) for member in by_series[key]]
    return sorted(groups, key=lambda g: (g.first.study_uid, g.first.series_uid))


def not_chosen_because(group: Group, chosen: Group) -> str:
    """Why ``chosen`` went before ``group``: the first rule that tells them apart."""
    mine, other = group.rank, chosen.rank
    if mine[0] != other[0]:
        return "another series has a kernel known as soft"
    if mine[1] != other[1]:
        return f"covers {group.coverage_mm:.0f} mm, the chosen series {chosen.coverage_mm:.0f} mm"
    if mine[2] != other[2]:
        return f"has {len(group.slots)} positions, the chosen series {len(chosen.slots)}"
    return "equal to the chosen series; the lower SeriesNumber, then SeriesInstanceUID, goes first"


def _file_order(header: Header) -> tuple:
    def number(value: int | None) -> int:
        return value if value is not None else 2**31

    return (number(header.acquisition_number), number(header.instance_number), header.sop_instance_uid, header.name)


def _same_geometry(one: Header, other: Header) -> bool:
    def near(a: Sequence[float] | None, b: Sequence[float] | None, tolerance: float) -> bool:
        if a is None or b is None:
            return a is b
        return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= tolerance

    return near(one.orientation, other.orientation, ORIENTATION_TOLERANCE) and near(
        one.spacing_mm, other.spacing_mm, SPACING_TOLERANCE_MM
    )


def _stack(headers: list[Header]) -> Group:
    """Order towards the head; one normal for all, so that rounding noise in the orientation moves no slice."""
    first = headers[0]
    points = [h.position for h in headers if h.position]
    normal = axial_normal(first.orientation) if first.orientation else None
    if normal is None or len(points) < len(headers):
        # Set aside already (localizers and the like): the order does not matter, each file stands for itself.
        return Group(tuple((h,) for h in headers), np.full(len(headers), np.nan), first.reason, first.detail)
    positions = np.array(points) @ normal
    slots = group_positions(positions)
    at = np.array([positions[slot[0]] for slot in slots])
    return Group(tuple(tuple(headers[i] for i in slot) for slot in slots), at, first.reason, first.detail)


def _judge(group: Group, ingest: IngestParams) -> Group:
    if group.reason is not None:
        return group
    low, high = ingest.slice_thickness_mm
    if len(group.slots) < ingest.minimum_slices:
        detail = f"{len(group.slots)} positions, at least {ingest.minimum_slices} are needed"
        return Group(group.slots, group.positions_mm, Reason.TOO_FEW_SLICES, detail)
    if group.first.thickness_mm is None and not low <= group.spacing_mm <= high:
        detail = f"SliceThickness missing, spacing {group.spacing_mm:.2f} mm, allowed {low:g} to {high:g}"
        return Group(group.slots, group.positions_mm, Reason.THICKNESS_OUT_OF_RANGE, detail)
    return group
