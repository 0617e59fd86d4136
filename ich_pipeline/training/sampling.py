"""Batches: which slices, how transformed; read one batch ahead of the device, and able to go on from any batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import AugmentationParams
from ich_pipeline.training.augmentation import draw_transforms
from ich_pipeline.training.data import CohortSlices

T = TypeVar("T")


@dataclass(frozen=True)
class SamplerState:
    """Where the sampling stands: enough to draw the next batch and all after it."""

    generators: tuple[dict[str, Any], dict[str, Any]]  # of the transforms and of the order: numpy's own state
    waiting: NDArray[np.int64]  # what is left of the passes drawn so far

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` reads them back."""
        return {"generators": list(self.generators), "waiting": self.waiting.tolist()}

    @staticmethod
    def from_json(values: dict[str, Any]) -> SamplerState:
        """The state that :meth:`to_json` gave."""
        transforms, order = values["generators"]
        return SamplerState((transforms, order), np.asarray(values["waiting"], np.int64))


@dataclass(frozen=True)
class Batch:
    """One optimiser step's input, and the state that the next batch is drawn from."""

    hu: NDArray[np.float32]  # (n, s, s), HU
    transforms: NDArray[np.float32]  # (n, 8)
    truth: NDArray[np.float32]  # (n, labels)
    after: SamplerState


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


class Sampler:
    """Endless batches of equal size over shuffled passes; a batch may end one pass and begin the next.

    Every pass holds all positive slices and draws its own negative ones, so that over the passes all are seen. All
    chance comes from the seed.
    """

    def __init__(
        self,
        slices: CohortSlices,
        a_pass: int,
        size: int,
        ranges: AugmentationParams,
        seed: int,
        state: SamplerState | None = None,
    ) -> None:
        """Begin at the seed, or go on from ``state``.

        Args:
            slices: what to draw from.
            a_pass: slices in one pass, :func:`slices_a_pass`.
            size: slices in a batch.
            ranges: of the random transforms.
            seed: the network's.
            state: of an earlier sampler with the same other arguments.
        """
        self._slices, self._a_pass, self._size, self._ranges = slices, a_pass, size, ranges
        self._transforms, self._order = (np.random.default_rng([seed, k]) for k in (1, 2))
        self._waiting = np.empty(0, np.int64)
        if state is not None:
            self._transforms.bit_generator.state, self._order.bit_generator.state = state.generators
            self._waiting = state.waiting
        self._positive = np.flatnonzero(slices.truth[:, 0])
        self._negative = np.flatnonzero(slices.truth[:, 0] == 0)

    @property
    def state(self) -> SamplerState:
        """Where it stands."""
        generators: Any = tuple(g.bit_generator.state for g in (self._transforms, self._order))
        return SamplerState(generators, self._waiting)

    def draw(self) -> NDArray[np.int64]:
        """Positions of the next batch's slices."""
        while len(self._waiting) < self._size:
            drawn = self._order.permutation(self._negative)[: self._a_pass - len(self._positive)]
            a_pass = self._order.permutation(np.concatenate([self._positive, drawn]))
            self._waiting = np.concatenate([self._waiting, a_pass])
        chosen, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        return chosen

    def __iter__(self) -> Iterator[Batch]:
        while True:
            chosen = self.draw()
            hu = self._slices.hu[chosen].astype(np.float32)
            transforms = draw_transforms(self._transforms, len(chosen), hu.shape[1], self._ranges)
            yield Batch(hu, transforms, self._slices.truth[chosen].astype(np.float32), self.state)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is in use: reading never keeps the device waiting."""
    source = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, source, end)
            yield item  # type: ignore[misc]
