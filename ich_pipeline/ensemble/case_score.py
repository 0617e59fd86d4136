"""From slice probabilities to a case's score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CaseScore:
    """The rule: ``max``, ``top_k_mean`` (mean of the ``top_k`` largest; of all where there are fewer), ``noisy_or``."""

    rule: Literal["max", "top_k_mean", "noisy_or"]
    top_k: int

    def __call__(self, slices: NDArray[np.floating], case_index: NDArray[np.integer]) -> NDArray[np.float64]:
        """Score every case.

        Args:
            slices: probabilities of shape (slices, labels).
            case_index: shape (slices,): the case of each slice, 0 to cases - 1, every case with a slice.

        Returns:
            Shape (cases, labels), in 0..1.
        """
        values = np.asarray(slices, dtype=np.float64)
        return np.stack([self._one(values[case_index == case]) for case in range(int(case_index.max()) + 1)])

    def _one(self, slices: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.rule == "max":
            return slices.max(axis=0)
        if self.rule == "top_k_mean":
            return np.sort(slices, axis=0)[-self.top_k :].mean(axis=0)
        return 1.0 - np.prod(1.0 - slices, axis=0)
