"""Slices whose lesions are known, as the networks see them: what maps are scored against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.explain.placed import slice_head, square
from ich_pipeline.series.placement import Placement
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import Mask
from ich_pipeline.windowing.frame import Frame, Millimetres


@dataclass(frozen=True)
class MaskedSlice:
    """A slice with masks, over the square of its picture that the networks read.

    Attributes:
        case_id, patient: whose it is.
        number: of the slice, from 1 towards the head.
        hu: int16 (side, side).
        head: bool (side, side).
        spacing_mm: between rows, between columns.
        lesions: by label, bool (side, side); their union as "any". A crop to the head may leave one without a pixel.
    """

    case_id: str
    patient: str
    number: int
    hu: NDArray[np.int16]
    head: Mask
    spacing_mm: Millimetres
    lesions: Mapping[str, Mask]

    @classmethod
    def of_volume(
        cls,
        case_id: str,
        patient: str,
        number: int,
        hu: NDArray[np.int16],
        frame: Frame,
        spacing_mm: Millimetres,
        lesions: Mapping[str, Mask],
    ) -> MaskedSlice:
        """From a slice of a volume.

        Args:
            case_id, patient, number: as the attributes.
            hu: int16 (rows, columns), square pixels, from :attr:`ich_pipeline.windowing.crop.Focused.shown`.
            frame: the square of the volume that was read.
            spacing_mm: of the volume.
            lesions: from :func:`lesions_of`.
        """
        seen = square(hu, -1024)
        found = {name: frame.even(frame.cut(mask, False)) for name, mask in lesions.items()}
        return cls(case_id, patient, number, seen, slice_head(seen), frame.even_spacing_mm(spacing_mm), found)

    def others(self, label: str, labels: Labels) -> Mask | None:
        """The lesions of the other findings of the slice; None where there are none, and of "any"."""
        if label == labels.any:
            return None
        found = [mask for name, mask in self.lesions.items() if name not in (label, labels.any)]
        return np.any(found, axis=0) if found else None


def lesions_of(masks: Mapping[str, Mask], place: Placement, labels: Labels) -> dict[str, Mask]:
    """Masks of a slice by label, in the view of its volume, the union of all as "any"; unknown labels are left out.

    A mask of "any" itself is of blood whose kind nobody drew apart.

    Args:
        masks: of the file's picture, from :class:`ich_pipeline.tables.masks.Masks`.
        place: of the file in its volume.
        labels: the labels.
    """
    found = {name: place.to_volume(mask) for name, mask in masks.items() if name in labels.columns and mask.any()}
    if found:
        found[labels.any] = np.any(list(found.values()), axis=0)
    return found
