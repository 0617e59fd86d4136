"""The HU rule: randomised trees on what a threshold and a ruler measure in a slice and in its neighbours. No network.

For every slice 41 numbers inside the skull (:data:`.hu_features.NAMES`): the share of pixels 5, 10, 15, 20, 25, 30 and 40 HU above the brain's
median; size of the largest and second largest connected blob 10, 15, 20 and 30 HU above it, the largest one's compactness and distance to the
inner table; bright shares of rim and centre; asymmetry about the head's midline; median, spread, tails, area and elongation of the inside. Then the same
numbers of the slice before and after. One forest of extremely randomised trees a label (Geurts, Ernst and Wehenkel 2006), classes weighted to
balance, trained on the same training patients as the networks. Its scores rank; they are not calibrated.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TITLE = "HU rule"
HOW = (
    "no network: randomised trees on brightness above the brain's median, size, shape and place of bright blobs, and asymmetry, in a slice "
    "and its neighbours"
)
MINIMUM_PATIENTS = 2  # with positives; from one patient a forest learns the patient
LEAF = 3  # slices in a leaf, at least
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Lesson:
    """What a forest learns from.

    Attributes:
        rows: the training slices, (m,).
        truth: 0 and 1, (m, labels).
        patients: whose each one is, (m,).
        prevalence: of each label among all training slices, of which these may be a choice, (labels,).
    """

    rows: NDArray[np.integer]
    truth: NDArray[np.integer]
    patients: NDArray
    prevalence: NDArray[np.float64]


def hu_rule(features: Features, lesson: Lesson, trees: int, seed: int) -> NDArray[np.float64]:
    """Train on some slices and read all.

    Args:
        features: (n, f), with those of the neighbours.
        lesson: which of them are trained on.
        trees: of each label's forest.
        seed: all chance comes from it.

    Returns:
        Scores in 0..1, (n, labels). A label that fewer than two of the patients have, or are without, has its prevalence everywhere.
    """
    columns = [
        _one(features, lesson, k, trees, zlib.crc32(f"{seed} {TITLE} {k}".encode()))
        for k in range(lesson.truth.shape[1])
    ]
    return np.stack(columns, axis=1)


def _one(features: Features, lesson: Lesson, label: int, trees: int, seed: int) -> NDArray[np.float64]:
    from sklearn.ensemble import ExtraTreesClassifier

    truth = lesson.truth[:, label]
    if min(len(np.unique(lesson.patients[truth == value])) for value in (0, 1)) < MINIMUM_PATIENTS:
        return np.full(len(features), lesson.prevalence[label])
    forest = ExtraTreesClassifier(
        trees, min_samples_leaf=LEAF, class_weight="balanced", random_state=seed, n_jobs=-1
    ).fit(features[lesson.rows], truth)
    forest.set_params(n_jobs=1)  # several threads would add the trees' answers in the order in which they finish
    return forest.predict_proba(features)[:, 1]


def choose_slices(truth: NDArray[np.integer], patients: NDArray, maximum: int, seed: int) -> NDArray[np.intp]:
    """Positions of at most ``maximum`` slices to train on, rising; all where there are no more.

    Positive ones first, then negative ones; of either, every patient's first slice (in random order) before any patient's
    second, so that a long scan does not outweigh others. Where the positive ones alone are too many, a half is left for the rest.

    Args:
        truth: of "any", 0 and 1, (n,).
        patients: whose each slice is, (n,).
    """
    if len(truth) <= maximum:
        return np.arange(len(truth))
    rng = np.random.default_rng([seed, len(truth)])
    positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(truth != 1)
    wanted = min(len(positive), max(maximum // 2, maximum - len(negative)))
    chosen = [_balanced(positive, patients, wanted, rng), _balanced(negative, patients, maximum - wanted, rng)]
    return np.sort(np.concatenate(chosen))


def _balanced(positions: NDArray[np.intp], patients: NDArray, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    shuffled = rng.permutation(positions)
    seen: dict[object, int] = {}
    turn = np.empty(len(shuffled), np.intp)  # which of its patient's slices each one is
    for i, patient in enumerate(patients[shuffled].tolist()):
        turn[i] = seen[patient] = seen.get(patient, -1) + 1
    return shuffled[np.argsort(turn, kind="stable")[:count]]
