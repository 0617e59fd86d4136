"""Slices of cases as padded sequences, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 16  # sequences are padded to a multiple of it: few lengths to compile for
GROUP = 256  # slices whose features are in memory at once, but for longer cases


@dataclass(frozen=True)
class Batch:
    """Cases side by side, padded at their ends; rows beyond the last case are padding as a whole.

    Attributes:
        features: float32 (cases, length, F).
        logits: float32 (cases, length, labels), of the network alone.
        mask: bool (cases, length), False where there is no slice.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def inputs(self) -> list[NDArray]:
        """As the head's model takes them."""
        return [self.features, self.logits, self.mask]


def rows_of_cases(case_index: NDArray[np.integer]) -> list[NDArray[np.intp]]:
    """Rows of each case, 0 to cases - 1, in the order that they come in."""
    order = np.argsort(case_index, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(case_index[order])) + 1)


def padded_length(slices: int) -> int:
    """Length of the sequence that holds so many slices."""
    return -(-slices // STEP) * STEP


def batch_of(
    features: NDArray[np.floating],
    logits: NDArray[np.floating],
    cases: Sequence[NDArray[np.integer]],
    size: int,
    length: int,
) -> Batch:
    """A batch of ``size`` cases, given by their rows in order; ``features`` may be a memory map."""
    batch = Batch(
        np.zeros((size, length, features.shape[1]), np.float32),
        np.zeros((size, length, logits.shape[1]), np.float32),
        np.zeros((size, length), bool),
    )
    for at, rows in enumerate(cases):
        batch.features[at, : len(rows)] = features[rows]
        batch.logits[at, : len(rows)] = logits[rows]
        batch.mask[at, : len(rows)] = True
    return batch


def by_length(cases: Sequence[NDArray[np.integer]], size: int) -> Iterator[tuple[int, list[NDArray[np.integer]]]]:
    """Batches of at most ``size`` cases whose sequences are equally long, with that length.

    A case's sequence then depends on the case alone, not on its company.
    """
    lengths = np.array([padded_length(len(rows)) for rows in cases])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        for start in range(0, len(chosen), size):
            yield int(length), [cases[i] for i in chosen[start : start + size]]


def by_cases(
    answer: Callable[[Batch], Any],
    features: NDArray[np.floating],
    logits: NDArray[np.floating],
    case_index: NDArray[np.integer],
    size: int,
) -> NDArray[np.float32]:
    """What a head answers for slices, float32 of the shape of ``logits``.

    Args:
        answer: from a batch to (cases, length, labels).
        features: (n, F); may be a memory map.
        logits: (n, labels).
        case_index: (n,) case of each slice; the slices of a case come in order of position.
        size: cases in a batch.
    """
    result = np.empty(logits.shape, np.float32)
    for length, cases in by_length(rows_of_cases(case_index), size):
        answers = np.asarray(answer(batch_of(features, logits, cases, size, length)))
        for rows, found in zip(cases, answers, strict=False):
            result[rows] = found[: len(rows)]
    return result


def groups(cases: Sequence[NDArray[np.integer]]) -> Iterator[list[NDArray[np.integer]]]:
    """Whole cases, as many as make :data:`GROUP` slices, so that memory does not grow with the number of cases."""
    group: list[NDArray[np.integer]] = []
    for rows in cases:
        group.append(rows)
        if sum(map(len, group)) >= GROUP:
            yield group
            group = []
    if group:
        yield group
