"""Forests of randomised trees as plain arrays: learnt with scikit-learn, read without it, kept in a file that holds no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier

LEAF = -1  # in place of a feature
PLACES = 1 << 18  # slices times trees that are walked at once: about 10 MB
ARRAYS = ("feature", "number", "right", "roots", "starts")


@dataclass(frozen=True)
class Forest:
    """One forest a label; its score is the mean over its trees.

    Attributes:
        feature: of each node, which feature it asks for; :data:`LEAF` in a leaf, int16 (nodes,).
        number: of each node the threshold, up to which one goes on to the next node in the array; in a leaf the share of
            positives, float32 (nodes,).
        right: of each node the one to go on to above the threshold, int32 (nodes,).
        roots: first node of each tree, int32 (trees,), label by label.
        starts: of each label the first of its trees, and last the number of trees, int32 (labels + 1,).
    """

    feature: NDArray[np.int16]
    number: NDArray[np.float32]
    right: NDArray[np.int32]
    roots: NDArray[np.int32]
    starts: NDArray[np.int32]

    @classmethod
    def of(cls, labels: Sequence[Sequence[Tree]]) -> Forest:
        """From the trees of each label."""
        trees = [tree for of_label in labels for tree in of_label]
        sizes = np.array([len(tree.feature) for tree in trees])
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls(
            feature=np.concatenate([tree.feature for tree in trees]),
            number=np.concatenate([tree.number for tree in trees]),
            right=np.concatenate([tree.right + root for tree, root in zip(trees, roots, strict=True)]).astype(np.int32),
            roots=roots.astype(np.int32),
            starts=np.concatenate([[0], np.cumsum([len(of_label) for of_label in labels])]).astype(np.int32),
        )

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, labels) in 0..1, of features (n, f); a slice's do not depend on the others."""
        found = np.empty((len(features), len(self.starts) - 1))
        for label, (first, end) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            roots = self.roots[first:end]
            step = max(PLACES // len(roots), 1)
            for start in range(0, len(features), step):
                block = slice(start, start + step)
                found[block, label] = self._leaves(features[block], roots).mean(axis=1, dtype=np.float64)
        return found

    def _leaves(self, features: NDArray[np.float32], roots: NDArray[np.int32]) -> NDArray[np.float32]:
        """What every tree's leaf says of every slice, (n, trees)."""
        at = np.broadcast_to(roots, (len(features), len(roots))).ravel().copy()
        row = np.repeat(np.arange(len(features)), len(roots))
        on_the_way = np.flatnonzero(self.feature[at] != LEAF)
        while len(on_the_way):
            node = at[on_the_way]
            left = features[row[on_the_way], self.feature[node]] <= self.number[node]
            at[on_the_way] = node = np.where(left, node + 1, self.right[node])
            on_the_way = on_the_way[self.feature[node] != LEAF]
        return self.number[at].reshape(len(features), len(roots))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """By name, for a file."""
        return {name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """Inverse of :meth:`to_arrays`."""
        return cls(**{name: arrays[name] for name in ARRAYS})


def mean_forest(forests: Sequence[Forest]) -> Forest:
    """The forest that says the mean of these, which have the same number of trees a label."""
    labels = len(forests[0].starts) - 1
    return Forest.of([[tree for forest in forests for tree in forest_trees(forest, k)] for k in range(labels)])


def forest_trees(forest: Forest, label: int) -> list[Tree]:
    """The trees of one label."""
    ends = np.append(forest.roots[1:], len(forest.feature))
    places = range(forest.starts[label], forest.starts[label + 1])
    return [_cut(forest, int(forest.roots[place]), int(ends[place])) for place in places]


def learnt_trees(fitted: ExtraTreesClassifier) -> list[Tree]:
    """The trees of a fitted forest of two classes.

    Thresholds are rounded down to float32, which decides on float32 features as the float64 threshold does.
    """
    return [_tree(estimator.tree_) for estimator in fitted.estimators_]


def constant_trees(share: float, count: int) -> list[Tree]:
    """Trees that say the same of every slice."""
    leaf = Tree(np.array([LEAF], np.int16), np.array([share], np.float32), np.zeros(1, np.int32))
    return [leaf] * count


@dataclass(frozen=True)
class Tree:
    """Arrays of one tree as in :class:`Forest`, with ``right`` counted from its first node."""

    feature: NDArray[np.int16]
    number: NDArray[np.float32]
    right: NDArray[np.int32]


def _cut(forest: Forest, start: int, end: int) -> Tree:
    return Tree(forest.feature[start:end], forest.number[start:end], forest.right[start:end] - np.int32(start))


def _tree(tree: Any) -> Tree:
    leaf = tree.children_left < 0
    inner = np.flatnonzero(~leaf)
    if not np.array_equal(tree.children_left[inner], inner + 1):
        raise RuntimeError("scikit-learn no longer writes a node's left child next to it")
    weights = tree.value[:, 0, :]
    share = weights[:, 1] / weights.sum(axis=1)
    threshold = tree.threshold.astype(np.float32)
    above = threshold > tree.threshold
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    return Tree(
        feature=np.where(leaf, LEAF, tree.feature).astype(np.int16),
        number=np.where(leaf, share, threshold).astype(np.float32),
        right=np.where(leaf, 0, tree.children_right).astype(np.int32),
    )
