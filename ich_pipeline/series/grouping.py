"""Files to groups: by series, geometry, kernel and thickness, scan by scan; and what is one head put together again."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.geometry import along, axial_normal, same_plane, same_spacing
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.acquisitions import part_scans
from ich_pipeline.series.joining import SAME_THICKNESS, join_series
from ich_pipeline.series.series import DYNAMIC_FROM, Group, judged, pictures, stack


def group_series(headers: Iterable[Header], ingest: IngestParams) -> list[Group]:
    """Group CT images by series, geometry and verdict; candidates with too few slices or a wrong spacing are set aside.

    Args:
        headers: of any files; those that are no CT images of a known series are passed over.
        ingest: minimum_slices, minimum_coverage_mm, slice_thickness_mm and spacing_tolerance count.

    Returns:
        Groups in an order that does not depend on file names.
    """
    by_series: dict[tuple, list[list[Header]]] = defaultdict(list)
    images = sorted((h for h in headers if h.is_ct_image), key=_file_order)
    home = _home_series(images)
    for header in images:
        series = home.get((header.study_uid, header.sop_instance_uid), header.series_uid)
        key = (
            header.study_uid,
            series,
            header.reason or "",
            header.last_resort,
            header.rows,
            header.columns,
            header.kernel,
        )
        members = by_series[key]
        for member in members:
            if _same_geometry(member[0], header):
                member.append(header)
                break
        else:
            members.append([header])
    groups = [
        group
        for key in sorted(by_series)
        for member in by_series[key]
        for part in _reconstructions(member, ingest)
        for group in _scans(part, ingest)
    ]
    groups = [judged(group, ingest) for group in join_series(groups, ingest)]
    return sorted(groups, key=lambda g: (g.first.study_uid, g.first.series_uid))


def _home_series(images: Sequence[Header]) -> dict[tuple[str, str], str]:
    """Of slices that lie under two SeriesInstanceUIDs of a study: the one of lower number, to which all copies are counted."""
    first: dict[str, Header] = {}
    series: dict[tuple[str, str], set[tuple[int, str]]] = defaultdict(set)
    for header in images:
        other = first.setdefault(header.sop_instance_uid, header)
        if header.series_uid != other.series_uid and header.study_uid == other.study_uid:
            found = ((_number(h.series_number), h.series_uid) for h in (other, header))
            series[header.study_uid, header.sop_instance_uid].update(found)
    return {slice_: min(found)[1] for slice_, found in series.items()}


def _file_order(header: Header) -> tuple:
    """By what a file holds: a copy that lost nothing before one that did. The name tells apart what nothing else does."""
    return (
        _number(header.acquisition_number),
        _number(header.instance_number),
        header.lossy,
        header.sop_instance_uid,
        _number(header.series_number),
        header.series_uid,
        header.transfer_syntax,
        header.position or (),
        header.orientation or (),
        header.name,
    )


def _number(value: int | None) -> int:
    return value if value is not None else 2**31


def _same_geometry(one: Header, other: Header) -> bool:
    return same_plane(one.orientation, other.orientation) and same_spacing(one.spacing_mm, other.spacing_mm)


def _scans(headers: list[Header], ingest: IngestParams) -> list[Group]:
    """The scans that one series holds; a stretch that was taken over and over stays whole, and so do files set aside."""
    whole = stack(headers, ingest)
    if not headers[0].may_be_read or pictures(whole) >= DYNAMIC_FROM:
        return [whole]
    found = part_scans(headers, ingest.minimum_slices)
    if len(found.scans) == 1 and not found.left_over:
        return [whole]
    groups = [replace(stack(part, ingest), acquisition=_acquisition(part)) for part in found.scans]
    few = "a second acquisition of a stretch of this series"
    lost = [h.set(Reason.OTHER_ACQUISITION, few) if h.reason is None else h for h in found.left_over]
    return [*groups, *([stack(lost, ingest)] if lost else [])]


def _acquisition(headers: Sequence[Header]) -> str:
    numbers = sorted({h.acquisition_number for h in headers if h.acquisition_number is not None})
    return f"AcquisitionNumber {numbers[0]}" if numbers else "a pass"


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
    lines = [(along(np.array([h.position for h in part]), normal), thickness) for thickness, part in parts]
    extents = sorted((float(a.min()), float(a.max()), thickness) for a, thickness in lines)
    copies = any(low < last - thickness for (_, last, thickness), (low, _, _) in itertools.pairwise(extents))
    return [sorted(part, key=_file_order) for _, part in parts] if copies else [headers]
