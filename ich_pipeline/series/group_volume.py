"""A group of slices decoded to one volume, or why it cannot be; and what became of each of its files."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams, PlausibleParams
from ich_pipeline.dicom.decode import Decoded, SliceReader
from ich_pipeline.dicom.geometry import coverage_mm, gap_ends, neighbours, tilt_deg
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.stored import PixelError
from ich_pipeline.series.series import Group, thicknesses_mm, too_small
from ich_pipeline.series.shear import is_tilted, shifts_px, straighten
from ich_pipeline.workers.child import watching

Verdicts = dict[str, tuple[Reason, str]]
_READABLE = (Reason.USED, Reason.DUPLICATE_INSTANCE, Reason.DUPLICATE_POSITION)


# Do the values of a series look like Hounsfield units of a head? The evidence, in figures, where they do not.

AIR_HU = (-1100, -900)
DENSE_HU = 300
OTHER_ZERO_HU = 500  # the air of two neighbours lies no farther apart where both are in one unit


def constant_slice(hu: NDArray[np.int16]) -> str:
    """Evidence that a slice shows nothing, else empty."""
    return f"every pixel is {hu.flat[0]} HU" if hu.min() == hu.max() else ""


def implausible_volume(hu: NDArray[np.int16], limits: PlausibleParams) -> tuple[Reason, str] | None:
    """Reason and evidence where a whole series is not in Hounsfield units, or is and shows no soft tissue; else None.

    Judged over the series, never slice by slice: the vertex and the skull base have little brain. Measured on 42 real heads
    from infants to old age: air 49 to 68 % of the pixels, soft tissue 43 to 67 % of the others; on a plastic head 9 %.

    Args:
        hu: int16 of shape (slices, Rows, Columns).
        limits: what a head must show at least.
    """
    low, high = limits.soft_tissue_hu
    air = soft = 0
    for one in hu:  # slice by slice, so that no second volume is made
        air += int(np.count_nonzero(one <= limits.air_below_hu))
        soft += int(np.count_nonzero((one >= low) & (one <= high)))
    if air < limits.minimum_air * hu.size:
        evidence = (
            f"no air: {air / hu.size:.1%} of the pixels are at or below {limits.air_below_hu:g} HU, "
            f"at least {limits.minimum_air:.1%} are expected; the values run from {hu.min()} to {hu.max()}"
        )
        return Reason.IMPLAUSIBLE_HU, evidence
    others = hu.size - air
    if soft < limits.minimum_soft_tissue * max(others, 1):
        evidence = (
            f"no soft tissue peak: {soft / max(others, 1):.1%} of the pixels that are not air lie in {low:g} to {high:g} HU, "
            f"at least {limits.minimum_soft_tissue:.1%} are expected"
        )
        return Reason.NO_BRAIN if _air_is_right(hu, limits) else Reason.IMPLAUSIBLE_HU, evidence
    return None


def not_hounsfield(hu: NDArray[np.int16], limits: PlausibleParams) -> str:
    """Evidence that slices, whatever of a body they show, are not in Hounsfield units; else empty.

    A picture that was cut out of the body has no air either, but soft tissue, and not a third of it is as dense as bone.
    """
    low, high = limits.soft_tissue_hu
    air = np.count_nonzero(hu <= limits.air_below_hu)
    soft = np.count_nonzero((hu >= low) & (hu <= high))
    dense = np.count_nonzero(hu >= DENSE_HU)
    if air >= limits.minimum_air * hu.size or (soft >= limits.minimum_soft_tissue * hu.size and dense < hu.size / 3):
        return ""
    return f"no air, and hardly soft tissue: the values run from {hu.min()} to {hu.max()}"


def _air_is_right(hu: NDArray[np.int16], limits: PlausibleParams) -> bool:
    """Does most of what counts as air lie at -1000 HU? Then slope and intercept are right, whatever the picture shows."""
    low, high = AIR_HU
    air = near = 0
    for one in hu:
        air += int(np.count_nonzero(one <= limits.air_below_hu))
        near += int(np.count_nonzero((one >= low) & (one <= high)))
    return near > air / 2


@dataclass(frozen=True)
class Volume:
    """A decoded series, ordered towards the head, in the standard view of :mod:`ich_pipeline.dicom.orientation`.

    Attributes:
        series_uid: of the group; slices that were joined to it have others in their headers.
        headers: one a slice.
        hu: int16 of shape (slices, rows, columns): rows towards the back, columns towards the patient's left.
        positions_mm: float64, along the normal, rising.
        neighbours: int32 of shape (slices, 2): index of the slice before and after, −1 for none.
        spacing_mm: between rows and between columns of ``hu``.
        gaps: positions on both sides of every step that is too large for the series.
        duplicates: positions of further slices where one is taken.
        coverage_mm: what the slices cover along the normal.
        tilt_deg: see :func:`ich_pipeline.dicom.geometry.tilt_deg`; of the files, whether corrected or not.
        turn: from the file's picture to ``hu``.
        shifts_px: float64 of shape (slices, 2): how far each of the file's pictures was moved along its rows' and its
            columns' index, before the turn; zeros where no tilt was corrected.
        lost: voxels of the patient that the correction of the tilt moved out of the picture.
    """

    series_uid: str
    headers: tuple[Header, ...]
    hu: NDArray[np.int16]
    positions_mm: NDArray[np.float64]
    neighbours: NDArray[np.int32]
    spacing_mm: tuple[float, float]
    gaps: tuple[tuple[float, float], ...]
    duplicates: tuple[float, ...]
    coverage_mm: float
    tilt_deg: float
    turn: Turn
    shifts_px: NDArray[np.float64]
    lost: int

    def uneven(self, tolerance: float) -> bool:
        """Does a step that is no gap differ from the median step by more than the tolerance (relative)?"""
        steps = np.diff(self.positions_mm)[self.neighbours[:-1, 1] >= 0]
        return len(steps) > 0 and bool((np.abs(steps / np.median(steps) - 1) > tolerance).any())


@dataclass
class _Slices:
    """The slices read so far, from the lowest; and the verdict on every file that was looked at."""

    hu: NDArray[np.int16]
    used: list[Header] = field(default_factory=list)
    positions: list[float] = field(default_factory=list)
    duplicates: list[float] = field(default_factory=list)
    verdicts: Verdicts = field(default_factory=dict)


def decode_group(
    group: Group, ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]]
) -> tuple[Volume | None, Verdicts, tuple[Reason, str]]:
    """The volume, or None and why; and the verdict on every file.

    Args:
        group: a candidate, or a last resort.
        ingest: all but workers and slice_thickness_mm count.
        failed: verdicts of slices whose decoding is known to bring the process down: rejected unread.
    """
    first = group.first
    assert first.rows and first.columns and first.orientation and first.spacing_mm  # a candidate has them
    if large := _too_large(group, ingest):
        return None, {h.name: failed.get(h.name, large) for h in group.headers}, large
    found = _read_slots(group, ingest, failed)
    _without_other_units(found, ingest.pixels.plausible)
    used, along = found.used, np.array(found.positions)
    links, _ = neighbours(along, thicknesses_mm(used), ingest.spacing_tolerance)
    covered = coverage_mm(along, links, first.thickness_mm)
    problem = None
    if small := too_small(len(used), covered, ingest):
        broken = sum(reason not in _READABLE for reason, _ in found.verdicts.values())
        lost = f"{broken} of {len(group.headers)} slices cannot be read; the rest: " if broken else ""
        problem = (small[0], f"{lost}{small[1]}")
    else:
        problem = implausible_volume(found.hu[: len(used)], ingest.pixels.plausible)
    if problem:
        return None, {n: problem if r in _READABLE else (r, d) for n, (r, d) in found.verdicts.items()}, problem
    points = np.array([h.position for h in used], dtype=np.float64)
    tilt = tilt_deg(points, first.orientation)
    hu, shifts, lost = found.hu[: len(used)], np.zeros((len(used), 2)), 0
    if ingest.correct_tilt and is_tilted(tilt, first.orientation):
        shifts = shifts_px(points, first.orientation, first.spacing_mm)
        hu, lost = straighten(hu, shifts)
    turn = Turn.to_standard(first.orientation)
    down, right = first.spacing_mm
    volume = Volume(
        series_uid=first.series_uid,
        headers=tuple(used),
        hu=turn.apply(hu),
        positions_mm=along,
        neighbours=links,
        spacing_mm=(right, down) if turn.transpose else (down, right),
        gaps=gap_ends(along, links),
        duplicates=tuple(found.duplicates),
        coverage_mm=covered,
        tilt_deg=tilt,
        turn=turn,
        shifts_px=shifts,
        lost=lost,
    )
    return volume, found.verdicts, (Reason.USED, "")


def _too_large(group: Group, ingest: IngestParams) -> tuple[Reason, str] | None:
    """Would the volume take more memory than one may? A small file can declare thousands of large frames."""
    slices, rows, columns = len(group.slots), group.first.rows or 0, group.first.columns or 0
    mib = slices * rows * columns * np.dtype(np.int16).itemsize >> 20
    if mib <= ingest.pixels.volume_mib:
        return None
    limit = f"more than ingest.pixels.volume_mib ({ingest.pixels.volume_mib:,})"
    return Reason.TOO_LARGE, f"{slices:,} slices of {rows} x {columns} take {mib:,} MiB, {limit}"


def _read_slots(group: Group, ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]]) -> _Slices:
    """One slice a position: the first in order of preference that can be read."""
    first = group.first
    assert first.rows and first.columns
    readable_slots = sum(any(header.name not in failed for header in slot) for slot in group.slots)
    found = _Slices(np.empty((readable_slots, first.rows, first.columns), dtype=np.int16))
    reader = SliceReader(ingest.pixels.inflated_mib)
    for slot, position in zip(group.slots, group.positions_mm, strict=True):
        taken: tuple[Header, Decoded] | None = None
        for copies in _copies(slot):
            if taken is not None:
                _set_aside(found, [(h, None) for h in copies], taken, float(position))
                continue
            read = list(_read_each(copies, reader, ingest, failed, found.verdicts))
            if not read:
                continue
            # By their pixels, and only where these are equal by their order: names decide nothing.
            taken = (
                min(read, key=lambda one: hashlib.sha256(one[1].hu.tobytes()).digest()) if len(read) > 1 else read[0]
            )
            same = [one for one in read if np.array_equal(one[1].hu, taken[1].hu)]
            # Of a series that was sent twice all slices from one of the two, in whatever order they are.
            before = found.used[-1].series_uid if found.used else ""
            taken = next((one for one in same if one[0].series_uid == before), same[0])
            found.hu[len(found.used)] = taken[1].hu
            found.verdicts[taken[0].name] = (Reason.USED, taken[1].note)
            found.used.append(taken[0])
            found.positions.append(float(position))
            _set_aside(found, [(h, d) for h, d in read if h is not taken[0]], taken, float(position))
    return found


def _without_other_units(found: _Slices, limits: PlausibleParams) -> None:
    """Set aside the slices that are not in Hounsfield units, where others are: a stretch with another RescaleIntercept.

    Stretches are told apart by their air, since neighbours show nearly the same; each is judged as a whole.
    """
    hu = found.hu[: len(found.used)]
    air = np.array([np.percentile(one[::4, ::4], 2) for one in hu])
    starts = np.flatnonzero(np.abs(np.diff(air)) > OTHER_ZERO_HU) + 1
    if not len(starts):
        return
    wrong: Verdicts = {}
    for part in np.split(np.arange(len(hu)), starts):
        problem = implausible_volume(hu[part], limits)
        has_air = np.count_nonzero(hu[part] <= limits.air_below_hu) >= limits.minimum_air * hu[part].size
        if problem and (has_air or not_hounsfield(hu[part], limits)):
            wrong |= {found.used[i].name: (Reason.IMPLAUSIBLE_HU, problem[1]) for i in part}
    if len(wrong) == len(hu):
        return  # the volume as a whole is judged
    found.verdicts |= wrong
    kept = [i for i, header in enumerate(found.used) if header.name not in wrong]
    hu[: len(kept)] = hu[kept]
    found.used, found.positions = [found.used[i] for i in kept], [found.positions[i] for i in kept]


def _copies(slot: Sequence[Header]) -> Iterator[list[Header]]:
    """Files of a position in order of preference; together those between which only pixels can tell."""
    for _, copies in itertools.groupby(slot, key=lambda h: (h.lossy, h.sop_instance_uid)):
        yield list(copies)


def _set_aside(
    found: _Slices, further: Sequence[tuple[Header, Decoded | None]], taken: tuple[Header, Decoded], position: float
) -> None:
    for header, decoded in further:
        copy = header.sop_instance_uid == taken[0].sop_instance_uid
        differs = decoded is not None and not np.array_equal(decoded.hu, taken[1].hu)
        detail = "" if copy else f"position {position:.2f} mm"
        found.verdicts[header.name] = (
            Reason.DUPLICATE_INSTANCE if copy else Reason.DUPLICATE_POSITION,
            "its pixels differ from those of the copy that is read" if differs else detail,
        )
        found.duplicates.append(position)


def _read_each(
    headers: Sequence[Header],
    reader: SliceReader,
    ingest: IngestParams,
    failed: Mapping[str, tuple[Reason, str]],
    verdicts: Verdicts,
) -> Iterator[tuple[Header, Decoded]]:
    """Those that can be read and show something; the others get their verdict."""
    for header in headers:
        if header.name in failed:
            verdicts[header.name] = failed[header.name]
            continue
        try:
            with watching(header.name, ingest.pixels.seconds_per_file):
                decoded = reader.read(header)
        except PixelError as error:
            verdicts[header.name] = (error.reason, error.detail)
            continue
        if nothing := constant_slice(decoded.hu):
            verdicts[header.name] = (Reason.IMPLAUSIBLE_HU, nothing)
            continue
        yield header, decoded
