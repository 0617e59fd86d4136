"""Which series of a study is read: plain rules in a fixed order, and the sentence that says which one told.

Of the series that are left after every file was judged by itself:

1. one that shows the head: where another, or a last resort of the study, shows three times as much brain inside a skull
   (:mod:`ich_pipeline.series.looking`), a series is of the neck or an end of the head, whatever its length;
2. the earlier entry of ``ingest.kernel_preference`` (sharp kernels are set aside before);
3. more brain: two whole centimetres less count as less. Where no series shows any, more millimetres covered, a whole
   centimetre less counting as less. A gap covers nothing;
4. fewer gaps;
5. the thickness nearest to ``ingest.preferred_thickness_mm``, in tenths of a millimetre;
6. pixels that went through no lossy compression;
7. less beside the brain: two whole centimetres more count as more, so a neck below earns nothing;
8. more positions;
9. the lower SeriesNumber, then the lower SeriesInstanceUID, then the earlier acquisition, so that the choice never depends on
   file names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.kernels import sharpness
from ich_pipeline.series.series import Group

COVERAGE_STEP_MM = 10.0
BRAIN_STEP_MM = 20.0  # it is told from slices 6 mm apart, and the last ones at the vertex are in doubt
LEAST_SHARE = (
    1 / 3
)  # of the most brain that a series of the study shows; below it a series is of another part, or an end
UNKNOWN_OFF = 10**6  # tenths of a millimetre: a thickness that nobody knows comes last
_TOLERANCE_MM = 1e-6  # a coverage that is short by exactly one step is short, whatever the rounding


class Standing(NamedTuple):
    """Sort key of a series among the others of its study: the smallest is chosen."""

    elsewhere: bool
    kernel: int
    short: int
    gaps: int
    off_tenths_mm: int
    lossy: bool
    beside_brain: int
    fewer_positions: int
    tie: tuple
    reach_mm: float  # of brain where any series shows some, else covered


def kernel_place(group: Group, ingest: IngestParams) -> int:
    """Index of the first entry of ``kernel_preference`` that the series' kernel meets; beyond the last for none."""
    kind = sharpness(group.first.kernel, group.first.series_description)
    names = [value.strip().upper() for value in group.first.kernel.split("\\")]
    for place, entry in enumerate(ingest.kernel_preference):
        if entry == kind or any(fnmatchcase(name, entry.upper()) for name in names if name):
            return place
    return len(ingest.kernel_preference)


def standings(
    groups: Sequence[Group], ingest: IngestParams, brains: Sequence[float] | None = None, most: float = 0.0
) -> list[Standing]:
    """The standing of each series of one study, in the given order.

    Args:
        groups: of one study.
        ingest: kernel_preference and preferred_thickness_mm count.
        brains: millimetres of brain that each shows; None where that makes no difference.
        most: millimetres of brain that another series of the study shows.
    """
    kernels = [kernel_place(group, ingest) for group in groups]
    most = max([most, *(brains or [])])
    elsewhere = [brain < LEAST_SHARE * most for brain in brains or [0.0] * len(groups)]
    reaches = list(brains) if brains and most > 0 else [group.coverage_mm for group in groups]
    step = BRAIN_STEP_MM if most > 0 else COVERAGE_STEP_MM
    like = list(zip(elsewhere, kernels, strict=True))
    # Against the best of the same kernel, not by rounding: 144.9 mm and 145.1 mm are one coverage.
    best = {key: max(reach for reach, other in zip(reaches, like, strict=True) if other == key) for key in like}
    beside = [group.coverage_mm - reach for group, reach in zip(groups, reaches, strict=True)]
    least = {key: min(mm for mm, other in zip(beside, like, strict=True) if other == key) for key in like}
    return [
        Standing(
            *key,
            int((best[key] - reach + _TOLERANCE_MM) // step),
            len(group.gaps),
            _off_tenths_mm(group, ingest),
            group.lossy,
            int((mm - least[key] + _TOLERANCE_MM) // step),
            -len(group.slots),
            (
                _last(group.first.series_number),
                group.first.series_uid,
                group.first.orientation or (),
                min(_last(header.acquisition_number) for header in group.headers),
                group.first.sop_instance_uid,
            ),
            reach,
        )
        for group, key, reach, mm in zip(groups, like, reaches, beside, strict=True)
    ]


def _last(number: int | None) -> int:
    return number if number is not None else 2**31


def _off_tenths_mm(group: Group, ingest: IngestParams) -> int:
    off = 10 * abs(thickness_mm(group) - ingest.preferred_thickness_mm)
    return UNKNOWN_OFF if math.isnan(off) else round(off)


def thickness_mm(group: Group) -> float:
    """SliceThickness, or the usual step where it is missing; NaN for a single slice without."""
    return group.first.thickness_mm if group.first.thickness_mm is not None else group.spacing_mm


def why_behind(group: Group, standing: Standing, chosen: Group, ahead: Standing, ingest: IngestParams) -> str:
    """Why ``chosen`` goes before ``group``: the first rule that tells them apart."""
    if standing.elsewhere != ahead.elsewhere:
        return f"shows {standing.reach_mm:.0f} mm of brain inside a skull, the chosen series {ahead.reach_mm:.0f} mm"
    if standing.kernel != ahead.kernel:
        preferred = ingest.kernel_preference[ahead.kernel]
        mine = group.first.kernel or "no ConvolutionKernel"
        return f"has {mine}, and kernel_preference names the chosen series' kernel earlier ({preferred})"
    if standing.short != ahead.short and (standing.reach_mm, ahead.reach_mm) != (group.coverage_mm, chosen.coverage_mm):
        return f"shows {standing.reach_mm:.0f} mm of brain, the chosen series {ahead.reach_mm:.0f} mm"
    if standing.short != ahead.short:
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
    if standing.lossy != ahead.lossy:
        return "was compressed with loss, the chosen series was not"
    if standing.beside_brain != ahead.beside_brain:
        mine, other = group.coverage_mm - standing.reach_mm, chosen.coverage_mm - ahead.reach_mm
        return f"goes {mine:.0f} mm beyond the brain, the chosen series {other:.0f} mm"
    if standing.fewer_positions != ahead.fewer_positions:
        return f"has {len(group.slots)} positions, the chosen series {len(chosen.slots)}"
    if group.first.series_uid == chosen.first.series_uid and group.acquisition:
        return "is equal to the chosen one; the earlier acquisition goes first"
    return "is equal to the chosen series; the lower SeriesNumber, then SeriesInstanceUID, goes first"
