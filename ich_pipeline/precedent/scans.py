"""Cases, as they are described and judged together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scans:
    """What is known of cases.

    Attributes:
        numbers: (cases, numbers) of :func:`.scan_numbers.scan_numbers`.
        features: pooled features of the slices, (slices, F).
        layouts: of :func:`.nearest.layouts`, (slices, fields).
        case: of each slice, 0 to cases - 1.
        owners: number of each case's patient, (cases,).
    """

    numbers: NDArray[np.float64]
    features: NDArray[np.floating]
    layouts: NDArray[np.floating]
    case: NDArray[np.integer]
    owners: NDArray[np.integer]

    def of(self, chosen: NDArray[np.bool_]) -> Scans:
        """The same of some cases only, numbered anew in their order."""
        kept = chosen[self.case]
        number = np.cumsum(chosen) - 1
        return Scans(
            self.numbers[chosen], self.features[kept], self.layouts[kept], number[self.case[kept]], self.owners[chosen]
        )
