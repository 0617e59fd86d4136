"""Stretches of the head that lie in a series other than the one that is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.geometry import along, axial_normal
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.cautions import UNREAD
from ich_pipeline.series.group_volume import Volume
from ich_pipeline.series.looking import EVERY_MM, Look, spread
from ich_pipeline.series.series import Group

# Set aside as a whole for what the series is, not for what is wrong with its files: a head may go on in there.
CONTINUED = frozenset(
    {Reason.TOO_FEW_SLICES, Reason.COVERAGE_TOO_SMALL, Reason.OTHER_ACQUISITION, Reason.THICKNESS_OUT_OF_RANGE}
    | {Reason.BONE_KERNEL, Reason.CONTRAST, Reason.SECONDARY, Reason.REFORMATTED, Reason.VIRTUAL}
)
# Kernels, phases and copies that are never read usually reach a little farther than what is: so much more is worth a word.
WORTH_MM = 20.0
WHOLE_BRAIN_MM = 90.0  # under another frame of reference nothing is missing from a head that shows so much


def not_read(volume: Volume, groups: Sequence[Group], look: Look) -> tuple[str, ...]:
    """A sentence for each series that shows brain where the volume has no slice.

    Args:
        volume: what is read.
        groups: the other groups of its study.
        look: at pixels.
    """
    found = [(group, _stretch(volume, group, look)) for group in groups if _may_continue(group)]
    return tuple(
        f"{'slice' if len(at) == 1 else 'slices'} at {at[0]:.1f}…{at[-1]:.1f} mm {UNREAD} "
        f"({len(at)}, {group.reason or Reason.NOT_CHOSEN})"
        for group, at in found
        if len(at) and (not group.reason or group.reason in _SHORT or at[-1] - at[0] >= WORTH_MM)
    )


_SHORT = (Reason.TOO_FEW_SLICES, Reason.COVERAGE_TOO_SMALL)


def _may_continue(group: Group) -> bool:
    return (group.reason is None or group.reason in CONTINUED) and bool(np.isfinite(group.positions_mm).all())


def _stretch(volume: Volume, group: Group, look: Look) -> NDArray[np.float64]:
    """Positions, in the volume's frame, of a group's slices around those that show brain where the volume has none."""
    first = volume.headers[0]
    assert first.orientation
    normal = axial_normal(first.orientation)
    assert normal is not None  # it was read
    at = along(_centres(group), normal)
    order = np.argsort(at, kind="stable")
    margin = max(
        first.thickness_mm or 0.0, float(np.median(np.diff(volume.positions_mm))) if len(volume.headers) > 1 else 0.0
    )
    beyond = [int(i) for i in order if np.abs(volume.positions_mm - at[i]).min() > margin + 0.1]
    if not beyond or (_moved(volume, group) and _whole(volume, look)):
        return np.empty(0)
    picks = [beyond[i] for i in spread(at[beyond])]
    brain = look.brain_at([group.slots[i] for i in picks])
    if not brain.any():
        return np.empty(0)
    seen = at[picks][brain]
    every = float(np.median(np.diff(at[picks]))) if len(picks) > 1 else EVERY_MM
    here = at[beyond]
    return here[(here >= seen.min() - every + 0.1) & (here <= seen.max() + every - 0.1)]


def _centres(group: Group) -> NDArray[np.float64]:
    """The middle of each slice in patient coordinates: corners of planes that lean otherwise cannot be compared."""
    first = group.first
    assert first.orientation and first.spacing_mm and first.rows and first.columns
    row, column = np.reshape(np.asarray(first.orientation, dtype=np.float64), (2, 3))
    down, right = first.spacing_mm
    to_middle = row * right * (first.columns - 1) / 2 + column * down * (first.rows - 1) / 2
    return np.array([slot[0].position for slot in group.slots], dtype=np.float64) + to_middle


def _moved(volume: Volume, group: Group) -> bool:
    one, other = volume.headers[0].frame_of_reference, group.first.frame_of_reference
    return bool(one and other and one != other)


def _whole(volume: Volume, look: Look) -> bool:
    """Does the volume show as much brain as a whole head does?"""
    picks = spread(volume.positions_mm)
    brain = look.brain_at([(volume.headers[i],) for i in picks])
    step = float(np.median(np.diff(volume.positions_mm[picks]))) if len(picks) > 1 else 0.0
    return float(brain.sum()) * step >= WHOLE_BRAIN_MM
