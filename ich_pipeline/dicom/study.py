"""One study: try its candidate series in order of preference, decode the first that holds, account for all its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.child import watching
from ich_pipeline.dicom.choice import standings, why_behind
from ich_pipeline.dicom.decode import SliceReader
from ich_pipeline.dicom.geometry import coverage_mm, gap_ends, neighbours, tilt_deg
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.dicom.plausibility import constant_slice, implausible_volume
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.series import Group, thicknesses_mm, too_small
from ich_pipeline.dicom.shear import is_tilted, shifts_px, straighten
from ich_pipeline.dicom.stored import PixelError

Verdicts = dict[str, tuple[Reason, str]]


@dataclass(frozen=True)
class Volume:
    """A decoded series, ordered towards the head, in the standard view of :mod:`ich_pipeline.dicom.orientation`.

    Attributes:
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


@dataclass(frozen=True)
class StudyReading:
    """What became of one study's candidates.

    Attributes:
        volume: the chosen series, None where none is usable.
        chosen: index of the chosen group in the given order, −1 for none.
        group_reasons: reason and detail of each group, in the given order.
        places: place of each group in the choice, in the given order: 1 the chosen one, 2 the runner-up and so on, 0 for one
            whose pixels left too little.
        verdicts: file name → reason and detail, for every file of every group.
    """

    volume: Volume | None
    chosen: int
    group_reasons: tuple[tuple[Reason, str], ...]
    places: tuple[int, ...]
    verdicts: Verdicts


def read_study(
    groups: Sequence[Group], ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]] | None = None
) -> StudyReading:
    """Decode the best usable series of a study.

    A file that cannot be decoded is rejected and its neighbours stay; only where too few slices are left does the next
    series of the study get its turn.

    Args:
        groups: the study's candidates, at least one, in any order.
        ingest: all but workers and slice_thickness_mm count.
        failed: verdicts of slices whose decoding is known to bring the process down: rejected unread.
    """
    standing = standings(groups, ingest)
    order = sorted(range(len(groups)), key=standing.__getitem__)
    verdicts: Verdicts = {}
    reasons: dict[int, tuple[Reason, str]] = {}
    places = [0] * len(groups)
    chosen, volume = -1, None
    for i in order:
        if volume is not None:
            behind = why_behind(groups[i], standing[i], groups[chosen], standing[chosen], ingest)
            reasons[i] = (Reason.NOT_CHOSEN, behind)
            verdicts |= {h.name: reasons[i] for h in groups[i].headers}
            if places[i] == 2:
                reasons[chosen] = (Reason.USED, f"{reasons[chosen][1]}; the runner-up {behind}")
            continue
        volume, outcome, why = _decode(groups[i], ingest, failed or {})
        verdicts |= outcome
        if volume is None:
            reasons[i] = why
            continue
        chosen = i
        left = order[order.index(i) :]
        for place, j in enumerate(left, start=1):
            places[j] = place
        alone = "the only usable series of the study"
        reasons[i] = (Reason.USED, alone if len(left) == 1 else f"first of {len(left)} usable series")
    return StudyReading(volume, chosen, tuple(reasons[i] for i in range(len(groups))), tuple(places), verdicts)


def _decode(
    group: Group, ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]]
) -> tuple[Volume | None, Verdicts, tuple[Reason, str]]:
    """The volume, or None and why; and the verdict on every file."""
    first = group.first
    assert first.rows and first.columns and first.orientation and first.spacing_mm  # a candidate has them
    if large := _too_large(group, ingest):
        return None, {h.name: failed.get(h.name, large) for h in group.headers}, large
    verdicts: Verdicts = {}
    reader = SliceReader(ingest.pixels.inflated_mib)
    readable_slots = sum(any(header.name not in failed for header in slot) for slot in group.slots)
    hu = np.empty((readable_slots, first.rows, first.columns), dtype=np.int16)
    used: list[Header] = []
    positions: list[float] = []
    duplicates: list[float] = []
    for slot, position in zip(group.slots, group.positions_mm, strict=True):
        taken: Header | None = None
        for header in slot:
            if taken is not None:
                copy = header.sop_instance_uid == taken.sop_instance_uid
                reason = Reason.DUPLICATE_INSTANCE if copy else Reason.DUPLICATE_POSITION
                verdicts[header.name] = (reason, "" if copy else f"position {position:.2f} mm")
                duplicates.append(float(position))
                continue
            if header.name in failed:
                verdicts[header.name] = failed[header.name]
                continue
            try:
                with watching(header.name, ingest.pixels.seconds_per_file):
                    decoded = reader.read(header)
            except PixelError as error:
                verdicts[header.name] = (error.reason, error.detail)
                continue
            nothing = constant_slice(decoded.hu)
            if nothing:
                verdicts[header.name] = (Reason.IMPLAUSIBLE_HU, nothing)
                continue
            hu[len(used)] = decoded.hu
            verdicts[header.name] = (Reason.USED, decoded.note)
            taken = header
            used.append(header)
            positions.append(float(position))
    along = np.array(positions)
    links, _ = neighbours(along, thicknesses_mm(used), ingest.spacing_tolerance)
    covered = coverage_mm(along, links, first.thickness_mm)
    readable = (Reason.USED, Reason.DUPLICATE_INSTANCE, Reason.DUPLICATE_POSITION)
    problem = None
    if small := too_small(len(used), covered, ingest):
        broken = sum(reason not in readable for reason, _ in verdicts.values())
        lost = f"{broken} of {len(group.headers)} slices cannot be read; the rest: " if broken else ""
        problem = (small[0], f"{lost}{small[1]}")
    elif evidence := implausible_volume(hu[: len(used)], ingest.pixels.plausible):
        problem = (Reason.IMPLAUSIBLE_HU, evidence)
    if problem:
        return None, {n: problem if r in readable else (r, d) for n, (r, d) in verdicts.items()}, problem
    points = np.array([h.position for h in used], dtype=np.float64)
    tilt = tilt_deg(points, first.orientation)
    hu, shifts, lost = hu[: len(used)], np.zeros((len(used), 2)), 0
    if ingest.correct_tilt and is_tilted(tilt, first.orientation):
        shifts = shifts_px(points, first.orientation, first.spacing_mm)
        hu, lost = straighten(hu, shifts)
    turn = Turn.to_standard(first.orientation)
    down, right = first.spacing_mm
    volume = Volume(
        headers=tuple(used),
        hu=turn.apply(hu),
        positions_mm=along,
        neighbours=links,
        spacing_mm=(right, down) if turn.transpose else (down, right),
        gaps=gap_ends(along, links),
        duplicates=tuple(duplicates),
        coverage_mm=covered,
        tilt_deg=tilt,
        turn=turn,
        shifts_px=shifts,
        lost=lost,
    )
    return volume, verdicts, (Reason.USED, "")


def _too_large(group: Group, ingest: IngestParams) -> tuple[Reason, str] | None:
    """Would the volume take more memory than one may? A small file can declare thousands of large frames."""
    slices, rows, columns = len(group.slots), group.first.rows or 0, group.first.columns or 0
    mib = slices * rows * columns * np.dtype(np.int16).itemsize >> 20
    if mib <= ingest.pixels.volume_mib:
        return None
    limit = f"more than ingest.pixels.volume_mib ({ingest.pixels.volume_mib:,})"
    return Reason.TOO_LARGE, f"{slices:,} slices of {rows} x {columns} take {mib:,} MiB, {limit}"
