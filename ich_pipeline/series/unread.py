"""Stretches of the head that are not read: they lie in another series, or their files cannot be read.

Of every slice of the study that has a place, and lies where nothing is read, one of three is known: it shows brain, it shows none,
or nobody can tell, since its file is damaged, its header incomplete, or its values no Hounsfield units. The first and the last
are said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.geometry import SAME_POSITION_MM, along, axial_normal
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason, Status
from ich_pipeline.dicom.verdict import FARTHEST_MM
from ich_pipeline.series.cautions import UNREAD, UNREADABLE
from ich_pipeline.series.group_volume import Verdicts, Volume
from ich_pipeline.series.joining import series_of
from ich_pipeline.series.looking import EVERY_MM, Look, spread
from ich_pipeline.series.series import Group

# What is set aside for its kind, as kernels, phases and copies that are never read, usually reaches a little farther than what
# is read: so much more is worth a word. What is too short, or rejected, is of no such kind.
WORTH_MM = 20.0
_SHORT = (None, Reason.TOO_FEW_SLICES, Reason.COVERAGE_TOO_SMALL)
# Nothing is missing from a head that shows so much, where the header or the frame of reference says so too.
WHOLE_BRAIN_MM = 90.0
HEAD_MM = 250.0  # no head is longer: what lies farther off, and cannot be looked at, is no part of it
SCOUTS = 2  # pictures of a localizer
RUNS = 4  # stretches that a sentence names


class _Found(NamedTuple):
    """Slices that are not read, as a sentence puts them together."""

    words: str
    reason: Reason
    of_a_kind: bool  # see WORTH_MM


def not_read(
    volume: Volume,
    chosen: Group,
    groups: Sequence[Group],
    look: Look,
    verdicts: Verdicts,
    elsewhere: Callable[[Header], str],
) -> tuple[tuple[str, ...], Verdicts]:
    """A sentence for each kind of slices that lie where nothing is read; and the verdicts of files that were found unreadable.

    Args:
        volume: what is read.
        chosen: the group that it was read from.
        groups: the other groups of its study.
        look: at pixels.
        verdicts: of the files of the chosen group.
        elsewhere: what in a header names another part of the body; empty for nothing.
    """
    found: dict[_Found, list[float]] = defaultdict(list)
    for slot, at in zip(chosen.slots, chosen.positions_mm, strict=True):
        if np.abs(volume.positions_mm - at).min() > SAME_POSITION_MM:
            found[_Found(UNREADABLE, verdicts[slot[0].name][0], False)].append(float(at))
    read, broken = set(series_of(volume.headers)), Verdicts()
    for group in groups:
        of_a_kind = group.reason not in _SHORT and group.reason.status is not Status.REJECTED
        other = "of this series" if group.first.series_uid in read else "lie in another series and"
        for at, headers, brain in _beyond(volume, group, look, elsewhere):
            reason = group.reason or Reason.NOT_CHOSEN
            if not brain:
                broken |= {h.name: look.broken[h.name] for h in headers}
                reason = broken[headers[0].name][0]
            found[_Found(f"{other} {UNREAD}" if brain else UNREADABLE, reason, of_a_kind)].append(at)
    said = ((what, np.unique(np.round(at, 1))) for what, at in found.items())
    return tuple(
        f"{'slice' if len(at) == 1 else 'slices'} at {_runs(at, volume.positions_mm)} mm {what.words} "
        f"({len(at)}, {what.reason})"
        for what, at in said
        if not what.of_a_kind or at[-1] - at[0] >= WORTH_MM
    ), broken


def _runs(at: NDArray[np.float64], read: NDArray[np.float64]) -> str:
    """``0.0…55.0, 80.0``: the stretches between which slices are read."""
    between = np.searchsorted(read, at)
    runs = [at[between == gap] for gap in np.unique(between)]
    said = [f"{run[0]:.1f}" if len(run) == 1 else f"{run[0]:.1f}…{run[-1]:.1f}" for run in runs[:RUNS]]
    return ", ".join([*said, "…"] if len(runs) > RUNS else said)


def _beyond(
    volume: Volume, group: Group, look: Look, elsewhere: Callable[[Header], str]
) -> Iterator[tuple[float, tuple[Header, ...], bool]]:
    """Position in the volume's frame, and files, of a group's slices where nothing is read; do they show brain, or may they?"""
    slots = [slot for slot in group.slots if _has_a_place(slot[0])]
    if not slots or (group.reason is Reason.LOCALIZER and len(slots) <= SCOUTS):
        return
    first = volume.headers[0]
    normal = axial_normal(first.orientation or ())
    assert normal is not None  # it was read
    at = np.array([along(_centre(slot[0]), normal) for slot in slots])
    order = np.argsort(at, kind="stable")
    slots, at = [slots[i] for i in order], at[order]
    apart = np.abs(at[:, None] - volume.positions_mm[None, :]).min(axis=1)
    step = float(np.median(np.diff(volume.positions_mm))) if len(volume.headers) > 1 else 0.0
    margin = max(first.thickness_mm or 0.0, step)
    beyond = np.flatnonzero(apart > margin + 0.1)
    if not len(beyond) or (_moved(volume, group) and _whole(volume, look)):
        return
    picks = beyond[spread(at[beyond])]
    brain = look.at([slots[i] for i in picks])
    here = np.flatnonzero(apart > margin / 2 + 0.1)  # those that nothing read shows, now that some lie beyond
    unknown: set[int] = set()
    if None in brain:
        unknown = {int(i) for i, one in zip(here, look.at([slots[i] for i in here]), strict=True) if one is None}
    seen = at[picks][[one is True for one in brain]]
    every = float(np.median(np.diff(at[picks]))) if len(picks) > 1 else EVERY_MM
    for i in here if len(seen) else ():
        near = every - 0.1 + (0 if i in beyond else margin)  # nobody looked at those beside what is read
        if i not in unknown and seen.min() - near <= at[i] <= seen.max() + near:
            yield float(at[i]), slots[i], True
    if unknown and elsewhere(group.first) and _whole(volume, look):
        return
    low, high = volume.positions_mm[-1] - HEAD_MM, volume.positions_mm[0] + HEAD_MM
    for i in sorted(unknown):
        if low <= at[i] <= high:
            yield float(at[i]), slots[i], False


def _has_a_place(header: Header) -> bool:
    if not header.position or not header.orientation or max(map(abs, header.position)) > FARTHEST_MM:
        return False
    return axial_normal(header.orientation) is not None


def _centre(header: Header) -> NDArray[np.float64]:
    """The middle of a slice in patient coordinates: corners of planes that lean otherwise cannot be compared."""
    row, column = np.reshape(np.asarray(header.orientation, dtype=np.float64), (2, 3))
    down, right = header.spacing_mm or (0.0, 0.0)
    to_middle = row * right * ((header.columns or 1) - 1) / 2 + column * down * ((header.rows or 1) - 1) / 2
    return np.array(header.position, dtype=np.float64) + to_middle


def _moved(volume: Volume, group: Group) -> bool:
    one, other = volume.headers[0].frame_of_reference, group.first.frame_of_reference
    return bool(one and other and one != other)


def _whole(volume: Volume, look: Look) -> bool:
    """Does the volume show as much brain as a whole head does?"""
    picks = spread(volume.positions_mm)
    brain = look.brain_at([(volume.headers[i],) for i in picks])
    step = float(np.median(np.diff(volume.positions_mm[picks]))) if len(picks) > 1 else 0.0
    return float(brain.sum()) * step >= WHOLE_BRAIN_MM
