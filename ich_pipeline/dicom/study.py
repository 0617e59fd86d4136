"""One study: try its candidate series in order of preference, decode the first that holds, account for all its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.decode import SliceReader
from ich_pipeline.dicom.geometry import neighbours, tilt_deg
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.parallel import watching
from ich_pipeline.dicom.plausibility import constant_slice, implausible_volume
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.series import Group, not_chosen_because
from ich_pipeline.dicom.stored import PixelError

Verdicts = dict[str, tuple[Reason, str]]


@dataclass(frozen=True)
class Volume:
    """A decoded series, ordered towards the head.

    Attributes:
        headers: one a slice.
        hu: int16 of shape (slices, Rows, Columns).
        positions_mm: float64, along the normal, rising.
        neighbours: int32 of shape (slices, 2): index of the slice before and after, −1 for none.
        gaps: steps that are too large for the series.
        duplicates: further slices at positions that are taken.
        tilt_deg: see :func:`ich_pipeline.dicom.geometry.tilt_deg`.
    """

    headers: tuple[Header, ...]
    hu: NDArray[np.int16]
    positions_mm: NDArray[np.float64]
    neighbours: NDArray[np.int32]
    gaps: int
    duplicates: int
    tilt_deg: float

    @property
    def spacing_mm(self) -> float:
        """Median step between slices; NaN for a single one."""
        return float(np.median(np.diff(self.positions_mm))) if len(self.headers) > 1 else float("nan")


@dataclass(frozen=True)
class StudyReading:
    """What became of one study's candidates.

    Attributes:
        volume: the chosen series, None where none is usable.
        chosen: index of the chosen group in the given order, −1 for none.
        group_reasons: reason and detail of each group, in the given order.
        verdicts: file name → reason and detail, for every file of every group.
    """

    volume: Volume | None
    chosen: int
    group_reasons: tuple[tuple[Reason, str], ...]
    verdicts: Verdicts


def read_study(
    groups: Sequence[Group], ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]] | None = None
) -> StudyReading:
    """Decode the best usable series of a study.

    A file that cannot be decoded is rejected and its neighbours stay; only where too few slices are left does the next
    series of the study get its turn.

    Args:
        groups: the study's candidates, at least one, in any order.
        ingest: minimum_slices, spacing_tolerance and pixels count.
        failed: verdicts of slices whose decoding is known to bring the process down: rejected unread.
    """
    order = sorted(range(len(groups)), key=lambda i: groups[i].rank)
    verdicts: Verdicts = {}
    reasons: dict[int, tuple[Reason, str]] = {}
    chosen, volume = -1, None
    for i in order:
        if volume is not None:
            reasons[i] = (Reason.NOT_CHOSEN, not_chosen_because(groups[i], groups[chosen]))
            verdicts |= {h.name: reasons[i] for h in groups[i].headers}
            continue
        volume, outcome, problem = _decode(groups[i], ingest, failed or {})
        verdicts |= outcome
        if volume is not None:
            chosen = i
            reasons[i] = (Reason.USED, _chosen_because(groups, i))
        else:
            reasons[i] = problem
    return StudyReading(volume, chosen, tuple(reasons[i] for i in range(len(groups))), verdicts)


def _chosen_because(groups: Sequence[Group], chosen: int) -> str:
    if len(groups) == 1:
        return "the only usable series of the study"
    best = groups[chosen]
    return f"first of {len(groups)} usable series: {best.coverage_mm:.0f} mm covered, {len(best.slots)} positions"


def _decode(
    group: Group, ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]]
) -> tuple[Volume | None, Verdicts, tuple[Reason, str]]:
    """The volume or None, verdicts of all files, and what the group as a whole met."""
    first = group.first
    assert first.rows and first.columns and first.orientation  # a candidate has them
    verdicts: Verdicts = {}
    reader = SliceReader(ingest.pixels.inflated_mib)
    hu = np.empty((len(group.slots), first.rows, first.columns), dtype=np.int16)
    used: list[Header] = []
    positions: list[float] = []
    for slot, position in zip(group.slots, group.positions_mm, strict=True):
        taken: Header | None = None
        for header in slot:
            if taken is not None:
                copy = header.sop_instance_uid == taken.sop_instance_uid
                reason = Reason.DUPLICATE_INSTANCE if copy else Reason.DUPLICATE_POSITION
                verdicts[header.name] = (reason, "" if copy else f"position {position:.2f} mm")
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
    problem = None
    if len(used) < ingest.minimum_slices:
        problem = (
            Reason.TOO_FEW_SLICES,
            f"{len(used)} slices can be decoded, at least {ingest.minimum_slices} are needed",
        )
    elif evidence := implausible_volume(hu[: len(used)], ingest.pixels.plausible):
        problem = (Reason.IMPLAUSIBLE_HU, evidence)
    if problem:
        readable = (Reason.USED, Reason.DUPLICATE_INSTANCE, Reason.DUPLICATE_POSITION)
        return None, {n: problem if r in readable else (r, d) for n, (r, d) in verdicts.items()}, problem
    along = np.array(positions)
    thickness = np.array([h.thickness_mm if h.thickness_mm is not None else np.nan for h in used])
    links, gaps = neighbours(along, thickness, ingest.spacing_tolerance)
    return (
        Volume(
            headers=tuple(used),
            hu=hu[: len(used)],
            positions_mm=along,
            neighbours=links,
            gaps=gaps,
            duplicates=sum(r in (Reason.DUPLICATE_INSTANCE, Reason.DUPLICATE_POSITION) for r, _ in verdicts.values()),
            tilt_deg=tilt_deg(np.array([h.position for h in used]), first.orientation),
        ),
        verdicts,
        (Reason.USED, ""),
    )
