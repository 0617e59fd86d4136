"""The head on frozen features: the paper's sigmoid on pooled features, fitted to its optimum in place of step by step.

One weighted logistic regression a label (weights by class frequency, as in training; an L2 penalty on standardised
features). It is convex, so there is one answer, no learning rate and no early stopping, and a fit takes a second.

With folds, every patient is read by heads that never saw it. The heads of all folds are brought to one scale and
their mean is the head that ships: a mean of linear heads is a linear head.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.training.loss import class_weights

SMALLEST_SPREAD = 1e-6  # of a feature; below it says nothing, and is left as it is
ITERATIONS, HALVINGS = 30, 8
GRADIENT = 1e-5  # at which a fit has arrived: loss a slice for one standard deviation of a feature
SMALLEST_BEND = 1e-9  # keeps a label that is separated without a doubt solvable
LARGE = 1 << 29  # bytes of features from which folds are fitted one after another
# Along an axis of a variance below this share of the penalty, a weight keeps less than a hundredth of what it would have
# without the penalty: such axes are left out.
NO_PULL = 0.04


@dataclass(frozen=True)
class Head:
    """Weights of the layer ``head``: float64 kernel (F, labels) and bias (labels,), of features as they come."""

    kernel: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, labels) of features (n, F)."""
        return features @ self.kernel + self.bias

    def probabilities(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """(n, labels) of features (n, F)."""
        return expit(self.logits(features)).astype(np.float32)

    def scaled(self, factor: NDArray[np.float64], shift: NDArray[np.float64]) -> Head:
        """The head whose logits are ``factor * logits + shift``, both (labels,)."""
        return Head(self.kernel * factor, self.bias * factor + shift)


def fit_heads(
    views: Sequence[NDArray[np.floating]], truth: NDArray[np.integer], penalties: Sequence[float], cap: float
) -> list[Head]:
    """A head for each strength of the penalty, from the strongest on, each starting where the one before ended.

    Args:
        views: feature arrays (n, F), each of the same n slices (as they are, mirrored, …); all count alike.
        truth: 0 and 1, (n, labels). A label of one kind only gets a constant: its share, smoothed.
        penalties: falling; of half the squared length of the weights on standardised features, beside the mean loss a slice.
        cap: of the class weights (:func:`ich_pipeline.training.loss.class_weights`).
    """
    stacked = np.concatenate([np.asarray(view, np.float32) for view in views])
    y = np.tile(truth, (len(views), 1)).astype(np.float32)
    mean = stacked.mean(axis=0, dtype=np.float64)
    spread = stacked.std(axis=0, dtype=np.float64)
    spread = np.where(spread > SMALLEST_SPREAD, spread, 1.0)
    x = (stacked - mean.astype(np.float32)) / spread.astype(np.float32)
    weights = class_weights(truth, cap)
    w = np.where(y > 0, weights.positive, weights.negative).astype(np.float32)
    w /= w.mean(axis=0)
    counts = truth.sum(axis=0)
    two_kinds = (counts > 0) & (counts < len(truth))
    share = (counts + 0.5) / (len(truth) + 1)
    constant = np.log(share / (1 - share))
    variances, axes = np.linalg.eigh(x.T @ x / np.float32(len(x)))
    used = variances > NO_PULL * min(penalties)
    variances, axes = variances[used], axes[:, used]
    rotated = np.column_stack([x @ axes, np.ones(len(x), np.float32)])
    found = np.zeros((len(variances) + 1, y.shape[1]))
    found[-1] = constant
    heads = []
    for penalty in penalties:
        for k in np.flatnonzero(two_kinds):
            found[:, k] = _fitted(rotated, y[:, k], w[:, k], penalty, found[:, k])
        kernel = axes @ found[:-1] / spread[:, None]
        heads.append(Head(kernel, found[-1] - mean @ kernel))
    return heads


def _fitted(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    w: NDArray[np.float32],
    penalty: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weights and, last, the bias of one label at the optimum, by Newton's method with halved steps where one overshoots.

    Args:
        x: (n, K + 1), the last column ones, which no penalty pulls.
        y: (n,) 0 and 1. w: (n,) weights with mean 1.
        penalty: of half the squared length of the weights.
        start: (K + 1,).
    """
    pull = np.full(x.shape[1], penalty)
    pull[-1] = 0.0
    sign = 2 * y - 1

    def loss(at: NDArray[np.float64]) -> float:
        away = np.logaddexp(0, -sign * (x @ at.astype(np.float32)))
        return float((w * away).mean(dtype=np.float64) + (pull * at * at).sum() / 2)

    at, value = start, loss(start)
    for _ in range(ITERATIONS):
        p = expit(x @ at.astype(np.float32))
        slope = (x.T @ (w * (p - y))).astype(np.float64) / len(x) + pull * at
        if np.abs(slope).max() < GRADIENT:
            break
        bend = (x.T @ (x * (w * p * (1 - p))[:, None])).astype(np.float64) / len(x)
        bend[np.diag_indices_from(bend)] += pull + SMALLEST_BEND
        step = cho_solve(cho_factor(bend, overwrite_a=True, check_finite=False), slope, check_finite=False)
        for halving in range(HALVINGS):
            new = loss(at - step / 2**halving)
            if new <= value:
                break
        else:
            break  # float32 can tell no better point
        at, value = at - step / 2**halving, new
    return at


@dataclass(frozen=True)
class CrossFitted:
    """What :func:`cross_fit` found.

    Attributes:
        penalty: the chosen one.
        figures: by penalty, the AUC of label 0 ("any") out of fold, on one scale. By the loss, the strongest penalty would win
            for its modest numbers, though it ranks worse. Without the one scale, the weakest would: where few patients have a
            finding, a fold without some of them says less of everything, so their slices rank low; strong penalties suffer
            most. "any" has most patients; a mean over labels follows the finding of one patient (docs/decisions.md).
        folds: one head a fold, on one scale; ``folds[k]`` never saw the slices of fold k.
        mean: their mean, the head that ships.
    """

    penalty: float
    figures: dict[float, float]
    folds: tuple[Head, ...]
    mean: Head


def cross_fit(
    views: Sequence[NDArray[np.floating]],
    truth: NDArray[np.integer],
    fold: NDArray[np.integer],
    penalties: Sequence[float],
    cap: float,
    track: Track = quiet,
) -> CrossFitted:
    """Fit a head without each fold, choose the penalty by what they say of the slices they did not see, join them.

    Scale: a head's logits depend on which patients it learnt from. Each head's are moved and stretched to the mean and
    spread that the heads have on average over all these slices; no label is read for it.

    Args:
        views: as in :func:`fit_heads`; the first one is the slices as they are.
        truth: (n, labels).
        fold: (n,) fold of each slice's patient, 0 to folds - 1.
        penalties: candidates, falling.
        cap: of the class weights.
        track: shows progress over the folds.
    """
    count = int(fold.max()) + 1

    def without(k: int) -> list[Head]:
        rest = fold != k
        return fit_heads([view[rest] for view in views], truth[rest], penalties, cap)

    # A fold a thread, each with one thread of BLAS: on a busy machine BLAS' own threads wait for one another (67 s for what
    # took 10). Folds of large cohorts follow one another, for their memory.
    bytes_each = len(views) * views[0].nbytes
    workers = min(count, os.cpu_count() or 1) if bytes_each < LARGE else 1
    with threadpool_limits(1 if workers > 1 else None, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        every = list(track(pool.map(without, range(count)), "heads", count))
    figures, scaled = {}, {}
    for position, penalty in enumerate(penalties):
        scaled[penalty] = to_one_scale([of_fold[position] for of_fold in every], views[0])
        figures[penalty] = _auc_of_any(scaled[penalty], views[0], truth, fold)
    # Equal figures, and none at all: the strongest penalty.
    chosen = max(figures, key=lambda penalty: (np.nan_to_num(figures[penalty]), penalty))
    return CrossFitted(chosen, figures, scaled[chosen], mean_head(scaled[chosen]))


def to_one_scale(heads: Sequence[Head], features: NDArray[np.floating]) -> tuple[Head, ...]:
    """Heads whose logits have the same mean and spread over these slices, label by label: what they had on average."""
    logits = [head.logits(features) for head in heads]
    means = np.stack([of.mean(axis=0) for of in logits])
    spreads = np.stack([of.std(axis=0) for of in logits])
    flat = spreads.min(axis=0) <= SMALLEST_SPREAD  # a label that some fold could not fit keeps every head's own scale
    spreads = np.where(flat, 1.0, spreads)
    factors = spreads.mean(axis=0) / spreads
    shifts = np.where(flat, 0.0, means.mean(axis=0) - factors * means)
    return tuple(head.scaled(factor, shift) for head, factor, shift in zip(heads, factors, shifts, strict=True))


def mean_head(heads: Sequence[Head]) -> Head:
    """The head whose logits are the mean of these heads' logits."""
    return Head(np.mean([head.kernel for head in heads], axis=0), np.mean([head.bias for head in heads], axis=0))


def _auc_of_any(
    heads: Sequence[Head], features: NDArray[np.floating], truth: NDArray[np.integer], fold: NDArray[np.integer]
) -> float:
    """Area under the ROC curve of label 0, each slice read by the head of its fold, by mid-ranks; nan without both kinds."""
    scores = np.empty(len(truth))
    for k, head in enumerate(heads):
        scores[fold == k] = head.logits(features[fold == k])[:, 0]
    y = truth[:, 0]
    positives = int(y.sum())
    if not 0 < positives < len(y):
        return float("nan")
    ranks = rankdata(scores)[y > 0].sum() - positives * (positives + 1) / 2
    return float(ranks / (positives * (len(y) - positives)))
