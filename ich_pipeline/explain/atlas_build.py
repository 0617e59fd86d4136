"""How the atlas is made: classic features, who may stand for a subtype, ranking, reference distances."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.explain.atlas import Atlas, AtlasEntry
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.features import classic_features, relevance
from ich_pipeline.tables.labels import Labels

NO_POSITIVES = "no positive training slice"
NO_FEATURES = "no feature tells it from the other positive training slices"


def example_id(sop_instance_uid: str) -> str:
    """Name of a training slice that people may see: a hash of its SOPInstanceUID."""
    return "S" + hashlib.sha256(f"slice|{sop_instance_uid}".encode()).hexdigest()[:10]


def build_atlas(
    labels: Labels,
    explain: ExplainParams,
    kernel: NDArray[np.float32],
    attention: Attention,
    thumbnails: NDArray[np.int16],
    truth: NDArray[np.integer],
    sop_instance_uids: Sequence[str],
    case_ids: Sequence[str],
    patient_keys: Sequence[str],
) -> Atlas:
    """Build the atlas from the training slices with at least one subtype.

    Args:
        labels: the labels; arrays over labels have ``any`` first.
        explain: settings.
        kernel: (F, L) the head's weights.
        attention: maps and features of the n slices.
        thumbnails: int16 HU (n, t, t).
        truth: 0/1 (n, subtypes).
        sop_instance_uids, case_ids, patient_keys: n each.
    """
    truth = np.asarray(truth, np.uint8)
    entries = []
    for column, label in enumerate(labels.subtypes):
        contributions = relevance(attention.features, kernel[:, labels.index(label)])
        entries.append(_entry(label, column, explain, truth, contributions, np.asarray(patient_keys, dtype=object)))
    maps_of = map_labels(labels, explain)
    return Atlas(
        labels,
        explain.architecture,
        attention.method,
        explain.basis_pool,
        np.asarray(kernel, np.float32),
        tuple(example_id(uid) for uid in sop_instance_uids),
        tuple(case_ids),
        tuple(patient_keys),
        truth,
        attention.features,
        np.asarray(thumbnails, np.int16),
        maps_of,
        np.ascontiguousarray(attention.maps[:, [labels.index(name) for name in maps_of]]),
        attention.grid,
        tuple(entries),
    )


def map_labels(labels: Labels, explain: ExplainParams) -> tuple[str, ...]:
    """The labels whose maps are drawn."""
    return (labels.any,) if explain.maps == "any" else labels.subtypes


def _entry(
    label: str,
    column: int,
    explain: ExplainParams,
    truth: NDArray[np.uint8],
    contributions: NDArray[np.float32],
    patients: NDArray[np.object_],
) -> AtlasEntry:
    has = truth[:, column] == 1
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
        reference=np.full((len(eligible), explain.basis_neighbours), np.nan, np.float32),
    )
    if not len(positives) or not len(classic.features):
        return replace(found, reason=NO_FEATURES if len(positives) else NO_POSITIVES)
    shown = classic.excess(contributions).mean(axis=1)
    space = classic.space(contributions[eligible])
    ranked = rank_examples(shown[eligible], space, patients[eligible], explain)
    pool = np.asarray(ranked) if explain.basis_pool == "atlas" else np.arange(len(eligible))
    return replace(
        found,
        discrimination=discrimination(shown, has),
        ranked=eligible[ranked],
        scores=shown[eligible][ranked].astype(np.float32),
        reference=reference_distances(space, patients[eligible], pool, explain.basis_neighbours),
    )


def discrimination(shown: NDArray[np.floating], has: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; NaN where all slices or none have the subtype."""
    from sklearn.metrics import roc_auc_score

    return float("nan") if has.all() or not has.any() else float(roc_auc_score(has, shown))


def rank_examples(
    shown: NDArray[np.float64], space: NDArray[np.float32], patients: NDArray[np.object_], explain: ExplainParams
) -> list[int]:
    """Most classic first, none nearer than ``near_duplicate`` to one before it, few of a patient.

    Args:
        shown: (n,) how much more of the classic features each shows than other positives; those that show no more
            are left out.
        space: (n, classic) their place in the space of the classic features.
        patients: (n,) patient of each.
        explain: atlas_per_label, atlas_per_patient, near_duplicate.
    """
    chosen: list[int] = []
    for row in np.argsort(-shown, kind="stable"):
        if len(chosen) == explain.atlas_per_label or shown[row] <= 0:
            break
        if sum(patients[c] == patients[row] for c in chosen) >= explain.atlas_per_patient:
            continue
        if any(np.linalg.norm(space[c] - space[row]) < explain.near_duplicate for c in chosen):
            continue
        chosen.append(int(row))
    return chosen


def reference_distances(
    space: NDArray[np.float32], patients: NDArray[np.object_], pool: NDArray[np.integer], neighbours: int
) -> NDArray[np.float32]:
    """Distances of each slice to its nearest examples of other patients: (n, neighbours), NaN where there are none."""
    from scipy.spatial.distance import cdist

    reference = np.full((len(space), neighbours), np.nan, np.float32)
    for row in range(len(space)):
        others = pool[patients[pool] != patients[row]]
        found = np.sort(cdist(space[row : row + 1], space[others])[0])[:neighbours] if space[row].any() else []
        reference[row, : len(found)] = found
    return reference
