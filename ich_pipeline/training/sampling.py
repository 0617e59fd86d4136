"""Batches: which slices, how transformed. Batch k follows from seed and k alone, so a training goes on from any step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import AugmentationParams
from ich_pipeline.training.augmentation import draw_transforms
from ich_pipeline.training.backend import keras
from ich_pipeline.training.data import CohortSlices


def slices_a_pass(truth: NDArray[np.int8], negatives_per_positive: float | None) -> int:
    """Slices in one pass: all of them, or every positive one and so many times as many negative ones.

    Args:
        truth: (n, labels); column 0 is "any".
        negatives_per_positive: None for all slices, as in the paper.
    """
    positives = int(truth[:, 0].sum())
    if negatives_per_positive is None or positives == 0:
        return len(truth)
    return positives + min(round(negatives_per_positive * positives), len(truth) - positives)


class Batches(keras.utils.PyDataset):
    """Batches of equal size over shuffled passes; a batch may end one pass and begin the next.

    Every pass holds all positive slices and draws its own negative ones, so that over the passes all are seen. An item is
    ``({"hu": (n, s, s) in HU, "transforms": (n, 8)}, truth (n, labels))``, float32. The next one is read in a thread while
    one is in use: reading does not keep the device waiting.
    """

    def __init__(
        self,
        slices: CohortSlices,
        a_pass: int,
        size: int,
        ranges: AugmentationParams,
        seed: int,
        steps: range = range(0),
        parts: int = 1,
        augment: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        """Prepare.

        Args:
            slices: what to draw from.
            a_pass: slices in one pass, :func:`slices_a_pass`.
            size: slices in a step.
            ranges: of the random transforms.
            seed: the network's.
            steps: of the training, whose batches these are.
            parts: items a step; each holds its share of the slices.
            augment: applies the transforms here; an item's input is then the slices alone.
        """
        super().__init__(workers=1)
        self._slices, self._a_pass, self._size, self._ranges, self._seed = slices, a_pass, size, ranges, seed
        self._steps, self._parts, self._augment = steps, parts, augment
        self._positive = np.flatnonzero(slices.truth[:, 0])
        self._negative = np.flatnonzero(slices.truth[:, 0] == 0)
        self._drawn = lru_cache(maxsize=2)(self._draw_pass)
        self._thread = ThreadPoolExecutor(1)
        self._coming: tuple[int, Future[Any]] | None = None

    def rows(self, step: int) -> NDArray[np.int64]:
        """Positions of a step's slices."""
        first = step * self._size
        passes = range(first // self._a_pass, (first + self._size - 1) // self._a_pass + 1)
        start = first - passes.start * self._a_pass
        return np.concatenate([self._drawn(number) for number in passes])[start : start + self._size]

    def _draw_pass(self, number: int) -> NDArray[np.int64]:
        order = np.random.default_rng([self._seed, 2, number])
        negative = order.permutation(self._negative)[: self._a_pass - len(self._positive)]
        return order.permutation(np.concatenate([self._positive, negative]))

    def __len__(self) -> int:
        return len(self._steps) * self._parts

    def __getitem__(self, index: int) -> tuple[Any, NDArray[np.float32]]:
        # Not Keras' own workers: what they have read when Keras peeks at the first batch would come before it.
        coming, self._coming = self._coming, None
        batch = coming[1].result() if coming is not None and coming[0] == index else self._read(index)
        if index + 1 < len(self):
            self._coming = (index + 1, self._thread.submit(self._read, index + 1))
        return batch

    def _read(self, index: int) -> tuple[Any, NDArray[np.float32]]:
        position, part = divmod(index, self._parts)
        step, size = self._steps[position], self._size // self._parts
        cut = slice(part * size, (part + 1) * size)
        rows = self.rows(step)[cut]
        hu = self._slices.hu[rows].astype(np.float32)
        drawn = np.random.default_rng([self._seed, 1, step])
        transforms = draw_transforms(drawn, self._size, hu.shape[1], self._ranges)[cut]
        truth = self._slices.truth[rows].astype(np.float32)
        if self._augment is not None:
            return np.asarray(self._augment(hu, transforms)), truth
        return {"hu": hu, "transforms": transforms}, truth
