"""What is known of a subtype's part of the atlas: are its regions at the lesion, its features needed, its examples found again.

Figures of validation patients, beside chance, with intervals by patient. None where there is nothing to measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.evaluation.bootstrap import draw_counts, has_width, interval
from ich_pipeline.explain.lesions import MaskedSlice
from ich_pipeline.explain.localisation import Draws, Interval, near
from ich_pipeline.explain.placed import PlacedMap

MET = 0.5  # share of the region's weight at the lesion from which it meets it
MOST_MET = 0.8  # share of the slices put forward below which a subtype's regions are said to miss
RANDOM_SETS = 50  # of features, each as many as the classic ones
COVERED_BY_CHANCE = 0.1  # share of the positives without the subtype that a radius of coverage may hold


@dataclass(frozen=True)
class Figure:
    """A mean over ``slices`` of ``patients`` beside what chance gives; ``interval`` is of ``value − chance``."""

    value: float
    chance: float
    interval: Interval
    slices: int
    patients: int


@dataclass(frozen=True)
class Checks:
    """Of one subtype.

    Attributes:
        put_forward: slices that the ranking reached and that have a mask; only those that met are shown.
        met: of these, the region lies at the lesion (:func:`meets`).
        patients: that the examples come from.
        coverage: share of the subtype's positives, without the examples' patients, that lie nearer to an example than nine in ten
            of the other positives do (:data:`COVERED_BY_CHANCE`).
        deletion: fall of the probability in held-out positives when the classic features are zero; chance: as many others.
        retrieval: mean average precision of the training positives, ranked by distance from held-out positives.
    """

    put_forward: int = 0
    met: int = 0
    patients: int = 0
    coverage: float | None = None
    deletion: Figure | None = None
    retrieval: Figure | None = None

    @property
    def misses(self) -> bool:
        """Whether fewer regions met the lesion than :data:`MOST_MET`."""
        return self.met < MOST_MET * self.put_forward

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Checks:
        """Inverse of :meth:`to_json`."""
        figures = {}
        for name in ("deletion", "retrieval"):
            one = values[name]
            bounds = one and one["interval"]
            figures[name] = one and Figure(**{**one, "interval": (bounds[0], bounds[1]) if bounds else None})
        return cls(**{**values, **figures})


@dataclass(frozen=True)
class HeldOut:
    """Validation slices with at least one subtype.

    Attributes:
        features: (n, F), pooled.
        truth: 0/1 (n, subtypes).
        named: (n, subtypes), whether the system names the subtype, by scores that are out of sample.
        patients: of each.
    """

    features: NDArray[np.float32]
    truth: NDArray[np.uint8]
    named: NDArray[np.bool_]
    patients: Sequence[str]


def meets(placed: PlacedMap, shown: MaskedSlice, label: str, fraction: float, tolerance_mm: float) -> bool:
    """Whether half of the weight of a map's region lies within the tolerance of the label's lesion.

    Args:
        placed: the map.
        shown: the slice; it has a lesion of the label.
        label: the finding.
        fraction: of the maximum, from which a pixel belongs to the region.
        tolerance_mm: how far from the lesion still counts.
    """
    lesion = shown.lesions[label]
    values = placed.inside(shown.head | lesion)
    region = np.where(values >= fraction * values.max(), values, 0)
    return bool(lesion.any() and region[near(lesion, shown.spacing_mm, tolerance_mm)].sum() >= MET * region.sum() > 0)


def deletion(
    features: NDArray[np.float32],
    patients: Sequence[str],
    weights: NDArray[np.float32],
    bias: float,
    classic: NDArray[np.int32],
    draws: Draws,
) -> Figure | None:
    """By how much the probability of a subtype falls when its classic features are zero, and when as many random ones are.

    Args:
        features: (n, F) of held-out positives of the subtype.
        patients: n.
        weights: (F,), the label's column of the head's kernel.
        bias: of the label.
        classic: the classic features.
        draws: of the bootstrap; its seed also draws the random features.
    """
    if not len(features) or not len(classic):
        return None
    shares = features.astype(np.float64) * weights
    logits = shares.sum(axis=1) + bias
    whole = _sigmoid(logits)
    fell = whole - _sigmoid(logits - shares[:, classic].sum(axis=1))
    random = np.random.default_rng(draws.seed)
    by_chance = np.zeros(len(features))
    for _ in range(RANDOM_SETS):
        drawn = random.choice(len(weights), len(classic), replace=False)
        by_chance += (whole - _sigmoid(logits - shares[:, drawn].sum(axis=1))) / RANDOM_SETS
    return _figure(fell, by_chance, patients, draws)


def retrieval(
    query: NDArray[np.float32], patients: Sequence[str], pool: NDArray[np.float32], has: NDArray[np.bool_], draws: Draws
) -> Figure | None:
    """Mean average precision of training positives ranked by their distance from held-out positives of a subtype.

    Args:
        query: (n, c) held-out positives in the space of the subtype's classic features.
        patients: n.
        pool: (m, c) training positives of any subtype in that space.
        has: (m,), which of them show the subtype; chance is their share.
        draws: of the bootstrap.
    """
    from scipy.spatial.distance import cdist
    from sklearn.metrics import average_precision_score

    if not len(query) or has.all() or not has.any() or not query.shape[1]:
        return None
    distances = cdist(query.astype(np.float64), pool.astype(np.float64))
    found = np.array([average_precision_score(has, -row) for row in distances])
    return _figure(found, np.full(len(found), has.mean()), patients, draws)


def coverage(
    examples: NDArray[np.floating], positives: NDArray[np.floating], others: NDArray[np.floating]
) -> float | None:
    """See :attr:`Checks.coverage`; all in the space of the classic features, None where one of the three is empty."""
    from scipy.spatial.distance import cdist

    if not (len(examples) and len(positives) and len(others)):
        return None
    radius = np.quantile(cdist(others, examples).min(axis=1), COVERED_BY_CHANCE)
    return float((cdist(positives, examples).min(axis=1) <= radius).mean())


def _figure(values: NDArray[np.float64], chance: NDArray[np.float64], patients: Sequence[str], draws: Draws) -> Figure:
    people, of = np.unique(np.array(patients, dtype=str), return_inverse=True)
    bounds = None
    if len(people) > 1:
        counts = draw_counts(len(people), draws.replicates, draws.seed)[:, of]
        bounds = interval(counts @ (values - chance) / counts.sum(axis=1), draws.confidence)
    kept = bounds if bounds and has_width(bounds) else None
    return Figure(float(values.mean()), float(chance.mean()), kept, len(values), len(people))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))
