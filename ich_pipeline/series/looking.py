"""Which slices of a group show brain inside a skull: a look at a few of them, before any series is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.decode import SliceReader
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason, Status
from ich_pipeline.dicom.stored import PixelError
from ich_pipeline.series.group_volume import not_hounsfield
from ich_pipeline.series.series import Group
from ich_pipeline.workers.child import watching

EVERY_MM = 6.0  # slices nearer than this show the same
AT_MOST = 40  # slices looked at of a group


# Does a slice show brain inside a skull? So that two hundred millimetres of neck are no more of the head than it is.

SOFT_HU = (-10, 110)  # after averaging: fluid, brain and blood, and neither fat nor bone
BONE_HU = 140  # of any 1 mm within a pixel: a newborn's skull is thin and soft
DENSE_HU = 250  # after averaging: what nobody takes for anything but bone
TISSUE_HU = -300  # what is joined above it is the body; a table or a holder is not joined to it
FINE_MM, WORKING_MM = 1.0, 2.0  # pixel after the first averaging, and after the second
THIN = 2  # times 2 mm: a bridge up to so wide joins nothing to the body
DIRECTIONS = 72
LEAST_BONE_MM2 = 100.0  # of a piece; what is less may be noise
LEAST_RING = 0.65  # share of directions with bone; half a skull may be open
LEAST_SOFT = 0.55  # of what lies within the bone and is no bone
LEAST_MM2 = 1500.0  # of soft tissue within the bone
FARTHEST_MM = 130.0  # from the middle: no head reaches farther
# Jaw and pelvis are rings of bone too, but with muscle within and more flesh around them than within. At the vertex, where the
# bone is cut aslant, the scalp may be more than what lies within.
MUSCLE_HU = 44.0  # median; brain has 27 to 43 in real heads
MOST_AROUND = 1.4  # times the area within
LEAST_FLESHY_MM2 = 4000.0


def shows_brain(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> bool:
    """Does an axial slice show brain inside a skull?

    Args:
        hu: int16 of shape (Rows, Columns).
        spacing_mm: between rows, between columns.
    """
    picture, dense, (down, right) = _averaged(hu, spacing_mm)
    pixel = down * right
    body = _body(picture)
    bone = _without_specks(body & (dense >= BONE_HU), pixel)
    soft = body & ~bone & (picture >= SOFT_HU[0]) & (picture <= SOFT_HU[1])
    if np.count_nonzero(soft) * pixel < LEAST_MM2 or not bone.any():
        return False
    filled = np.asarray(ndimage.binary_fill_holes(body), bool)
    rows, columns = np.nonzero(filled)
    y, x = np.indices(picture.shape, dtype=np.float32)
    y, x = (y - rows.mean()) * down, (x - columns.mean()) * right
    radius = np.hypot(x, y)
    sector = ((np.arctan2(y, x) + np.pi) * (DIRECTIONS / (2 * np.pi))).astype(int) % DIRECTIONS
    outer = np.zeros(DIRECTIONS, np.float32)
    near = bone & (radius <= FARTHEST_MM)
    np.maximum.at(outer, sector[near], radius[near])
    if np.count_nonzero(outer) < LEAST_RING * DIRECTIONS:
        return False
    inside = filled & (radius < outer[sector]) & ~bone
    area, within = int(np.count_nonzero(inside)), inside & soft
    if np.count_nonzero(within) * pixel < LEAST_MM2 or np.count_nonzero(within) < LEAST_SOFT * area:
        return False
    around = np.count_nonzero(body & ~bone & (radius >= outer[sector]))
    fleshy = area * pixel >= LEAST_FLESHY_MM2 and around >= MOST_AROUND * area
    return not (fleshy and float(np.median(picture[within])) >= MUSCLE_HU)


def shows_bone(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> bool:
    """Does a slice show bone at all? Where nothing does, nothing is said about a skull."""
    picture, _, (down, right) = _averaged(hu, spacing_mm)
    return bool(np.count_nonzero(picture >= DENSE_HU) * down * right >= LEAST_BONE_MM2)


def _body(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The largest piece of the picture that is no air, without what hardly touches it."""
    tissue = picture >= TISSUE_HU
    pieces = np.zeros(picture.shape, np.int32)
    if not ndimage.label(ndimage.binary_opening(tissue, iterations=THIN), output=pieces):
        return np.zeros(picture.shape, bool)
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(ndimage.binary_dilation(largest, iterations=THIN), bool) & tissue


def _without_specks(bone: NDArray[np.bool_], pixel_mm2: float) -> NDArray[np.bool_]:
    pieces = np.zeros(bone.shape, np.int32)
    ndimage.label(bone, np.ones((3, 3)), output=pieces)
    sizes = np.bincount(pieces.ravel())
    return bone & (sizes >= LEAST_BONE_MM2 / pixel_mm2)[pieces]


def _averaged(
    hu: NDArray[np.int16], spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[float, float]]:
    """The picture in pixels of about 2 mm; the densest 1 mm of each pixel; and their sides in mm."""
    fine, spacing_mm = _blocks(hu, spacing_mm, FINE_MM)
    coarse, sides = _blocks(fine.mean(axis=(1, 3), dtype=np.float32), spacing_mm, WORKING_MM)
    return coarse.mean(axis=(1, 3)), coarse.max(axis=(1, 3)), sides


def _blocks(
    picture: NDArray[np.int16] | NDArray[np.float32], spacing_mm: tuple[float, float], wanted_mm: float
) -> tuple[NDArray[Any], tuple[float, float]]:
    """The picture cut into blocks of about so many mm: (rows, within, columns, within), and a block's sides in mm."""
    down, right = (max(1, round(wanted_mm / step)) for step in spacing_mm)
    rows, columns = picture.shape[0] // down, picture.shape[1] // right
    blocks = picture[: rows * down, : columns * right].reshape(rows, down, columns, right)
    return blocks, (down * spacing_mm[0], right * spacing_mm[1])


@dataclass
class Look:
    """Looks at slices, each once.

    Attributes:
        ingest: its limits while files are decoded.
        failed: slices whose decoding is known to bring the process down.
        seen: whether a slice shows brain, by name of the file; None where nobody can tell.
        broken: why nobody can tell.
    """

    ingest: IngestParams
    failed: Mapping[str, tuple[Reason, str]]
    seen: dict[str, bool | None] = field(default_factory=dict)
    broken: dict[str, tuple[Reason, str]] = field(default_factory=dict)

    def at(self, slots: Sequence[tuple[Header, ...]]) -> list[bool | None]:
        """Which slices show brain; None for one of which no copy can be read. :attr:`broken` then says why, of each."""
        reader = SliceReader(self.ingest.pixels.inflated_mib)
        return [next((b for h in slot if (b := self._brain(h, reader)) is not None), None) for slot in slots]

    def brain_at(self, slots: Sequence[tuple[Header, ...]]) -> NDArray[np.bool_]:
        """Which slices show brain; one that cannot be read shows none."""
        return np.array([bool(brain) for brain in self.at(slots)], dtype=bool)

    def brain_mm(self, group: Group) -> float:
        """How much of the patient's length shows brain, to about the distance of the slices looked at."""
        picks = spread(group.positions_mm)
        at = group.positions_mm[picks]
        brain = self.brain_at([group.slots[i] for i in picks])
        if len(at) < 2:
            return float(brain.sum()) * (group.first.thickness_mm or 0.0)
        return float(brain.sum() * np.median(np.diff(at)))

    def _brain(self, header: Header, reader: SliceReader) -> bool | None:
        if header.name not in self.seen:
            found = self._look(header, reader)
            self.seen[header.name] = found if isinstance(found, bool) else None
            if not isinstance(found, bool):
                self.broken[header.name] = found
        return self.seen[header.name]

    def _look(self, header: Header, reader: SliceReader) -> bool | tuple[Reason, str]:
        if header.name in self.failed:
            return self.failed[header.name]
        if header.spacing_mm is None or (header.reason and header.reason.status is Status.REJECTED):
            return header.reason or Reason.HEADER_INCOMPLETE, header.detail
        try:
            with watching(header.name, self.ingest.pixels.seconds_per_file):
                hu = reader.read(header).hu
        except PixelError as error:
            return error.reason, error.detail
        if shows_brain(hu, (header.spacing_mm[0], header.spacing_mm[1])):
            return True
        wrong = not_hounsfield(hu, self.ingest.pixels.plausible)
        return (Reason.IMPLAUSIBLE_HU, wrong) if wrong else False


def spread(positions: NDArray[np.float64], every_mm: float = EVERY_MM) -> list[int]:
    """Indices of slices to look at: no two nearer than ``every_mm``, at most 40.

    Args:
        positions: shape (n,), rising, mm.
    """
    if len(positions) == 0:
        return []
    every = max(every_mm, float(positions[-1] - positions[0]) / (AT_MOST - 1))
    picks = [0]
    for i in range(1, len(positions)):
        if positions[i] - positions[picks[-1]] >= every - 1e-6:
            picks.append(i)
    return picks


def no_skull(hu: NDArray[np.int16], positions: NDArray[np.float64], spacing_mm: tuple[float, float]) -> bool:
    """Does a volume show bone, and nowhere brain inside a skull? Then it is another part of the body, or a part of a head.

    Args:
        hu: int16 of shape (slices, rows, columns).
        positions: shape (slices,), rising, mm.
        spacing_mm: between rows, between columns.
    """
    picks = sorted(spread(positions), key=lambda i: abs(i - len(hu) // 2))  # the middle shows it soonest
    if any(shows_brain(hu[i], spacing_mm) for i in picks):
        return False
    return any(shows_bone(hu[i], spacing_mm) for i in picks)
