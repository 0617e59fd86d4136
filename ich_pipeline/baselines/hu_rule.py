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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.baselines.forest import Forest, Tree, constant_trees, learnt_trees
from ich_pipeline.baselines.hu_features import neighbourhood, slice_features
from ich_pipeline.core.described_arrays import read_described, write_described

MEMBER = "hu_rule"  # its name as a baseline and as a member of the ensemble; no network of Keras is called so
FILE = "rule.npz"
SCHEMA = "hu_rule/1"
TITLE = "HU rule"
HOW = (
    "no network: randomised trees on brightness above the brain's median, size, shape and place of bright blobs, and asymmetry, in a slice "
    "and its neighbours"
)
MINIMUM_PATIENTS = 2  # with positives; from one patient a forest learns the patient
LEAF = 3  # slices in a leaf, at least
Features = NDArray[np.float32]


def member_title(member: str) -> str:
    """A member of the ensemble for people."""
    return TITLE if member == MEMBER else member


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


def learn_forest(features: Features, lesson: Lesson, trees: int, seed: int) -> Forest:
    """Train on some slices.

    Args:
        features: (n, f), with those of the neighbours.
        lesson: which of them are trained on.
        trees: of each label's forest.
        seed: all chance comes from it.

    Returns:
        The forest. A label that fewer than two of the patients have, or are without, has its prevalence everywhere.
    """
    labels = range(lesson.truth.shape[1])
    return Forest.of([_one(features, lesson, k, trees, zlib.crc32(f"{seed} {TITLE} {k}".encode())) for k in labels])


def _one(features: Features, lesson: Lesson, label: int, trees: int, seed: int) -> list[Tree]:
    from sklearn.ensemble import ExtraTreesClassifier

    truth = lesson.truth[:, label]
    if min(len(np.unique(lesson.patients[truth == value])) for value in (0, 1)) < MINIMUM_PATIENTS:
        return constant_trees(float(lesson.prevalence[label]), trees)
    forest = ExtraTreesClassifier(
        trees, min_samples_leaf=LEAF, class_weight="balanced", random_state=seed, n_jobs=-1
    ).fit(features[lesson.rows], truth)
    return learnt_trees(forest)


@dataclass(frozen=True)
class HuRule:
    """A trained rule, ready to read cases; a member of the ensemble where ``ensemble.hu_rule`` says so.

    Attributes:
        labels: names and order of the scores.
        image_size: of the slices that it measures, pixels.
        highest: upper end of the range that these are clipped to, HU.
        forest: asks the numbers.
    """

    labels: tuple[str, ...]
    image_size: int
    highest: float
    forest: Forest

    def read(self, hu: NDArray[Any], neighbours: NDArray[np.integer]) -> NDArray[np.float64]:
        """Scores (n, labels) in 0..1 of slices as the window stage makes them.

        Args:
            hu: (n, image_size, image_size), HU, clipped.
            neighbours: (n, 2), rows of the slices before and after; -1 for none.
        """
        measured = np.stack([slice_features(picture, self.highest) for picture in hu])
        return self.forest.scores(neighbourhood(measured, np.asarray(neighbours)))

    def save(self, path: Path) -> None:
        """Write one ``.npz``; equal rules give equal bytes."""
        about = {"labels": list(self.labels), "image_size": self.image_size, "highest": self.highest}
        write_described(path, SCHEMA, about, self.forest.to_arrays())

    @classmethod
    def load(cls, path: Path) -> HuRule:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged, or of another version.
        """
        about, arrays = read_described(path, SCHEMA, "run `dvc repro -f baselines`, and register the model again")
        return cls(tuple(about["labels"]), about["image_size"], about["highest"], Forest.from_arrays(arrays))


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
