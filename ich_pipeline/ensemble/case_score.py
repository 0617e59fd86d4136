"""From slice probabilities to a case's score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Rule = Literal["max", "top_k_mean", "neighbours", "noisy_or"]


@dataclass(frozen=True)
class CaseScore:
    """How a case's score comes from its slices.

    Attributes:
        rule: ``max``, the highest slice. ``top_k_mean``, the mean of the ``top_k`` highest; of all where there are fewer.
            ``neighbours``, the highest slice of which each counts together with the higher of its neighbours
            (:func:`with_neighbour`). ``noisy_or``, the chance that one is positive at least, were they independent.
        top_k: of ``top_k_mean``; means nothing to the others.
    """

    rule: Rule
    top_k: int = 1

    def __post_init__(self) -> None:
        """Refuse what no version of this software has written."""
        if self.rule not in get_args(Rule) or self.top_k < 1:
            raise ValueError(f"no case score: rule {self.rule!r}, top_k {self.top_k}")

    def __str__(self) -> str:
        """The rule in a word or a few: ``top 3 mean``."""
        words = {
            "top_k_mean": f"top {self.top_k} mean", "neighbours": "agreement of neighbours", "noisy_or": "noisy or",
        }  # fmt: skip
        return words.get(self.rule, self.rule)

    def __call__(
        self, slices: NDArray[np.floating], case_index: NDArray[np.integer], neighbours: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Score every case.

        Args:
            slices: probabilities of shape (slices, labels).
            case_index: shape (slices,): the case of each slice, 0 to cases - 1, every case with a slice.
            neighbours: shape (slices, 2): rows of the slices before and after in the same case, -1 at an end or a gap.

        Returns:
            Shape (cases, labels), in 0..1.
        """
        values = np.asarray(slices, dtype=np.float64)
        if self.rule == "neighbours":
            values = with_neighbour(values, neighbours)
        order = np.argsort(case_index, kind="stable")
        ends = np.flatnonzero(np.diff(np.asarray(case_index)[order])) + 1
        return np.stack([self._one(values[rows]) for rows in np.split(order, ends)])

    def _one(self, slices: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.rule == "top_k_mean":
            return np.sort(slices, axis=0)[-self.top_k :].mean(axis=0)
        if self.rule == "noisy_or":
            return 1.0 - np.prod(1.0 - slices, axis=0)
        return slices.max(axis=0)


def with_neighbour(slices: NDArray[np.float64], neighbours: NDArray[np.integer]) -> NDArray[np.float64]:
    """Each slice's probability joined with the higher one of its neighbours, as their geometric mean.

    Blood is seen in the slice above or below too, an artefact seldom is. One neighbour must agree and not both, for the
    first and last slice of a lesion have one without blood. A slice without any neighbour counts by itself.

    Args:
        slices: shape (slices, labels).
        neighbours: shape (slices, 2), rows or -1.

    Returns:
        Shape (slices, labels).
    """
    rows = np.asarray(neighbours)
    beside = np.where((rows >= 0)[:, :, None], slices[rows], -1.0).max(axis=1)
    return np.where(beside >= 0, np.sqrt(slices * np.maximum(beside, 0.0)), slices)


def cases_positive(slices: NDArray, case_index: NDArray[np.integer]) -> NDArray[np.int8]:
    """1 for each case with a slice that is 1 (or True): shape (slices, k) to (cases, k)."""
    cases = np.zeros((int(case_index.max()) + 1, slices.shape[1]), dtype=np.int8)
    np.maximum.at(cases, case_index, slices.astype(np.int8))
    return cases
