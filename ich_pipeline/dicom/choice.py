"""Which series of a study is read: plain rules in a fixed order, and the sentence that says which one told.

Of the series that are left after every file was judged by itself:

1. the earlier entry of ``ingest.kernel_preference`` (sharp kernels are set aside before);
2. more of the head covered: a whole centimetre less counts as less. A gap covers nothing;
3. fewer gaps;
4. the thickness nearest to ``ingest.preferred_thickness_mm``, in tenths of a millimetre;
5. more positions;
6. the lower SeriesNumber, then the lower SeriesInstanceUID, so that the choice never depends on file names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.dicom.series import Group

COVERAGE_STEP_MM = 10.0
UNKNOWN_OFF = 10**6  # tenths of a millimetre: a thickness that nobody knows comes last
_TOLERANCE_MM = 1e-6  # a coverage that is short by exactly one step is short, whatever the rounding


class Standing(NamedTuple):
    """Sort key of a series among the others of its study: the smallest is chosen."""

    kernel: int
    short_cm: int
    gaps: int
    off_tenths_mm: int
    fewer_positions: int
    tie: tuple


def kernel_place(group: Group, ingest: IngestParams) -> int:
    """Index of the first entry of ``kernel_preference`` that the series' kernel meets; beyond the last for none."""
    kind = sharpness(group.first.kernel, group.first.series_description)
    names = [value.strip().upper() for value in group.first.kernel.split("\\")]
    for place, entry in enumerate(ingest.kernel_preference):
        if entry == kind or any(fnmatchcase(name, entry.upper()) for name in names if name):
            return place
    return len(ingest.kernel_preference)


def standings(groups: Sequence[Group], ingest: IngestParams) -> list[Standing]:
    """The standing of each series of one study, in the given order."""
    kernels = [kernel_place(group, ingest) for group in groups]
    # Against the best of the same kernel, not by rounding: 144.9 mm and 145.1 mm are one coverage.
    best = {k: max(g.coverage_mm for g, other in zip(groups, kernels, strict=True) if other == k) for k in kernels}
    return [
        Standing(
            kernel,
            int((best[kernel] - group.coverage_mm + _TOLERANCE_MM) // COVERAGE_STEP_MM),
            len(group.gaps),
            _off_tenths_mm(group, ingest),
            -len(group.slots),
            (
                group.first.series_number if group.first.series_number is not None else 2**31,
                group.first.series_uid,
                group.first.orientation or (),
            ),
        )
        for group, kernel in zip(groups, kernels, strict=True)
    ]


def _off_tenths_mm(group: Group, ingest: IngestParams) -> int:
    off = 10 * abs(thickness_mm(group) - ingest.preferred_thickness_mm)
    return UNKNOWN_OFF if math.isnan(off) else round(off)


def thickness_mm(group: Group) -> float:
    """SliceThickness, or the usual step where it is missing; NaN for a single slice without."""
    return group.first.thickness_mm if group.first.thickness_mm is not None else group.spacing_mm


def why_behind(group: Group, standing: Standing, chosen: Group, ahead: Standing, ingest: IngestParams) -> str:
    """Why ``chosen`` goes before ``group``: the first rule that tells them apart."""
    if standing.kernel != ahead.kernel:
        preferred = ingest.kernel_preference[ahead.kernel]
        mine = group.first.kernel or "no ConvolutionKernel"
        return f"has {mine}, and kernel_preference names the chosen series' kernel earlier ({preferred})"
    if standing.short_cm != ahead.short_cm:
        return f"covers {group.coverage_mm:.0f} mm, the chosen series {chosen.coverage_mm:.0f} mm"
    if standing.gaps != ahead.gaps:
        return f"has gaps ({len(group.gaps)}), the chosen series has {len(chosen.gaps) or 'none'}"
    if standing.off_tenths_mm != ahead.off_tenths_mm:
        mine, other = thickness_mm(group), thickness_mm(chosen)
        if math.isnan(mine):
            return "has one slice without SliceThickness"
        return (
            f"is {mine:g} mm thick, the chosen series {other:g} mm, {ingest.preferred_thickness_mm:g} mm is preferred"
        )
    if standing.fewer_positions != ahead.fewer_positions:
        return f"has {len(group.slots)} positions, the chosen series {len(chosen.slots)}"
    return "is equal to the chosen series; the lower SeriesNumber, then SeriesInstanceUID, goes first"
