"""How the atlas is made: classic features, who may stand for a subtype, ranking, reference distances."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.explain.atlas import Atlas, AtlasEntry
from ich_pipeline.explain.atlas_checks import Checks, HeldOut, coverage, deletion, meets, retrieval
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.features import classic_features, relevance
from ich_pipeline.explain.lesions import MaskedSlice
from ich_pipeline.explain.localisation import Draws
from ich_pipeline.explain.patches import Firing, strongest
from ich_pipeline.tables.labels import Labels

NO_POSITIVES = "no positive training slice"
NO_FEATURES = "no feature tells it from the other positive training slices"
NOT_MET = "in no training slice put forward does the map's region lie at the lesion"
LEVEL_MM = 15.0  # two examples of one patient are this far apart
UNKNOWN, MISSED, MET = -1, 0, 1  # whether the region of a slice meets its lesion


@dataclass(frozen=True)
class Head:
    """The network's head, and what stands for the network: kernel (F, L), bias (L,), SHA-256 of its weights."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    weights: str


@dataclass(frozen=True)
class Slices:
    """The training slices with at least one subtype.

    Attributes:
        thumbnails: int16 HU (n, t, t).
        truth: 0/1 (n, subtypes).
        sop_instance_uids, case_ids, patient_keys: n each.
        positions_mm: (n,), along the slice normal.
        masked: index of a slice → the slice with its lesions, where there are masks.
    """

    thumbnails: NDArray[np.int16]
    truth: NDArray[np.integer]
    sop_instance_uids: Sequence[str]
    case_ids: Sequence[str]
    patient_keys: Sequence[str]
    positions_mm: NDArray[np.floating]
    masked: Mapping[int, MaskedSlice]


def example_id(sop_instance_uid: str) -> str:
    """Name of a training slice that people may see: a hash of its SOPInstanceUID."""
    return "S" + hashlib.sha256(f"slice|{sop_instance_uid}".encode()).hexdigest()[:10]


def build_atlas(
    labels: Labels,
    explain: ExplainParams,
    head: Head,
    attention: Attention,
    fired: Firing,
    slices: Slices,
    held_out: HeldOut,
    draws: Draws,
) -> Atlas:
    """Build the atlas from the training slices with at least one subtype.

    Args:
        labels: the labels; arrays over labels have ``any`` first.
        explain: settings, with what was chosen on validation in place.
        head: of the network.
        attention: maps and features of the slices.
        fired: where the channels fire in the slices.
        slices: of training.
        held_out: of validation, to check the atlas by.
        draws: of the bootstrap.
    """
    maker = _Maker(labels, explain, head, attention, fired, slices, held_out, draws)
    maps_of = map_labels(labels, explain)
    return Atlas(
        labels,
        explain.architecture,
        head.weights,
        attention.method,
        explain.basis_pool,
        np.asarray(head.kernel, np.float32),
        tuple(example_id(uid) for uid in slices.sop_instance_uids),
        tuple(slices.case_ids),
        tuple(slices.patient_keys),
        np.asarray(slices.truth, np.uint8),
        attention.features,
        np.asarray(slices.thumbnails, np.int16),
        maps_of,
        np.ascontiguousarray(attention.maps[:, [labels.index(name) for name in maps_of]]),
        attention.grid,
        tuple(maker.entry(label) for label in labels.subtypes),
    )


def map_labels(labels: Labels, explain: ExplainParams) -> tuple[str, ...]:
    """The labels whose maps are drawn."""
    return labels.subtypes if explain.maps == "subtypes" else (labels.any,)


@dataclass(frozen=True)
class _Maker:
    """Makes the entries; see :func:`build_atlas`."""

    labels: Labels
    explain: ExplainParams
    head: Head
    attention: Attention
    fired: Firing
    slices: Slices
    held_out: HeldOut
    draws: Draws

    def entry(self, label: str) -> AtlasEntry:
        explain, column = self.explain, self.labels.index(label)
        weights = self.head.kernel[:, column]
        contributions = relevance(self.attention.features, weights)
        truth, patients = np.asarray(self.slices.truth), np.asarray(self.slices.patient_keys, dtype=object)
        has = truth[:, column - 1] == 1
        positives = np.flatnonzero(has).astype(np.int32)
        alone = np.flatnonzero(has & (truth.sum(axis=1) == 1)).astype(np.int32)
        single = len(alone) >= explain.single_finding_minimum
        eligible = alone if single else positives
        classic = classic_features(contributions[has], contributions[~has], explain.classic_features)
        nothing = np.zeros(0, np.int32)
        found = AtlasEntry(
            label=label,
            reason=None,
            positives=positives,
            single=single,
            eligible=eligible,
            classic=classic,
            discrimination=float("nan"),
            ranked=nothing,
            scores=nothing.astype(np.float32),
            reference=np.zeros((0, explain.basis_neighbours), np.float32),
            reference_patients=nothing,
            patches=strongest(self.fired, classic.features, self.slices.patient_keys),
        )
        if not len(positives) or not len(classic.features):
            return replace(found, reason=NO_FEATURES if len(positives) else NO_POSITIVES)
        shown = classic.excess(contributions).mean(axis=1)
        space = classic.space(contributions)
        ranking = rank_examples(
            shown[eligible],
            space[eligible],
            patients[eligible],
            self.slices.positions_mm[eligible],
            lambda row: self._met(int(eligible[row]), label),
            explain,
        )
        ranked = eligible[ranking.rows]
        candidates = ranked if explain.basis_pool == "atlas" else eligible
        theirs = np.isin(patients, patients[ranked])
        query = self.held_out.truth[:, column - 1] == 1
        who = [p for p, is_it in zip(self.held_out.patients, query, strict=True) if is_it]
        asked = self.held_out.features[query]
        asked_space = classic.space(relevance(asked, weights))
        right = self.held_out.named[query, column - 1]
        checks = Checks(
            put_forward=ranking.checked,
            met=ranking.met,
            patients=len(set(patients[ranked])),
            coverage=coverage(space[ranked], space[has & ~theirs], space[~has]),
            deletion=deletion(asked, who, weights, float(self.head.bias[column]), classic.features, self.draws),
            retrieval=retrieval(asked_space, who, space, has, self.draws),
        )
        return replace(
            found,
            reason=None if ranking.rows or not ranking.checked else NOT_MET,
            discrimination=discrimination(shown, has),
            ranked=ranked,
            scores=shown[ranked].astype(np.float32),
            reference=reference_distances(asked_space[right], space[candidates], explain.basis_neighbours),
            reference_patients=np.unique(np.array(who, dtype=str), return_inverse=True)[1][right].astype(np.int32),
            checks=checks,
        )

    def _met(self, row: int, label: str) -> int:
        one = self.slices.masked.get(row)
        if one is None or label not in one.lesions:
            return UNKNOWN
        drawn = label if label in map_labels(self.labels, self.explain) else self.labels.any
        placed = self.attention.map(row, self.labels.index(drawn))
        explain = self.explain
        return (
            MET
            if placed is not None and meets(placed, one, label, explain.region_fraction, explain.hit_tolerance_mm)
            else MISSED
        )


def discrimination(shown: NDArray[np.floating], has: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; NaN where all slices or none have the subtype."""
    from sklearn.metrics import roc_auc_score

    return float("nan") if has.all() or not has.any() else float(roc_auc_score(has, shown))


@dataclass(frozen=True)
class Ranking:
    """Examples, most classic first, and what was seen on the way: slices with a mask, and how many of them met the lesion."""

    rows: list[int]
    checked: int
    met: int


def rank_examples(
    shown: NDArray[np.float64],
    space: NDArray[np.float32],
    patients: NDArray[np.object_],
    positions_mm: NDArray[np.floating],
    met: Callable[[int], int],
    explain: ExplainParams,
) -> Ranking:
    """Most classic first, none nearer than ``near_duplicate`` to one before it, few of a patient and those at levels apart.

    A slice whose region misses its lesion is counted and left out.

    Args:
        shown: (n,) how much more of the classic features each shows than other positives; those that show no more
            are left out.
        space: (n, classic) their place in the space of the classic features.
        patients: (n,) patient of each.
        positions_mm: (n,) along the slice normal.
        met: UNKNOWN, MISSED or MET of a row; asked of those alone that are put forward.
        explain: atlas_per_label, atlas_per_patient, near_duplicate.
    """
    chosen: list[int] = []
    seen: list[int] = []
    for row in np.argsort(-shown, kind="stable"):
        if len(chosen) == explain.atlas_per_label or shown[row] <= 0:
            break
        same = [c for c in chosen if patients[c] == patients[row]]
        if len(same) >= explain.atlas_per_patient:
            continue
        if any(abs(positions_mm[c] - positions_mm[row]) < LEVEL_MM for c in same):
            continue
        if any(np.linalg.norm(space[c] - space[row]) < explain.near_duplicate for c in chosen):
            continue
        seen.append(met(int(row)))
        if seen[-1] != MISSED:
            chosen.append(int(row))
    return Ranking(chosen, len(seen) - seen.count(UNKNOWN), seen.count(MET))


def reference_distances(
    query: NDArray[np.float32], examples: NDArray[np.float32], neighbours: int
) -> NDArray[np.float32]:
    """Ascending distances of held-out slices to their nearest examples: (n, neighbours), NaN where there are none.

    Args:
        query: (n, c) held-out slices in the space of the classic features; a row of zeros has no nearest example.
        examples: (m, c) what a prediction basis searches.
        neighbours: how many.
    """
    from scipy.spatial.distance import cdist

    reference = np.full((len(query), neighbours), np.nan, np.float32)
    shown = query.any(axis=1)
    if shown.any() and len(examples):
        found = np.sort(cdist(query[shown], examples), axis=1)[:, :neighbours]
        reference[shown, : found.shape[1]] = found
    return reference
