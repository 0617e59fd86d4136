"""The atlas: what each subtype classically looks like in the training set, and which of its images a new slice resembles.

Everything here sees training slices only. For each subtype the *classic features* are the features that are relevant in
most of its positives (:mod:`ich_pipeline.explain.features`); its examples are ranked by how much of those they show. The
prediction basis of a new slice are the examples of the predicted subtype that are nearest in the space of its classic
features, among the atlas or among all training positives (``explain.basis_pool``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.features import basis_space, classic_features, relevance
from ich_pipeline.explain.storage import read_arrays, write_arrays
from ich_pipeline.files import read_json, write_json
from ich_pipeline.labels import Labels

SCHEMA = "atlas/1"
NO_POSITIVES = "no positive training slice"
NO_FEATURES = "no feature speaks for it in any positive training slice"


def example_id(sop_instance_uid: str) -> str:
    """Name of a training slice that people may see: a hash of its SOPInstanceUID."""
    return "S" + hashlib.sha256(f"slice|{sop_instance_uid}".encode()).hexdigest()[:10]


@dataclass(frozen=True)
class AtlasEntry:
    """A subtype's part of the atlas.

    Attributes:
        label: the subtype.
        reason: why there is nothing to show, or None.
        positives: rows of the training positives in the pool.
        classic: indices of the classic features, most often relevant first.
        ranked: pool rows of the atlas examples, most classic first.
        scores: how much of the classic features each of ``ranked`` shows (sum of contributions to the logit).
        reference: (positives, k) ascending distance of each training positive to its k nearest examples of other
            patients; NaN where there are not as many.
    """

    label: str
    reason: str | None
    positives: NDArray[np.int32]
    classic: NDArray[np.int32]
    ranked: NDArray[np.int32]
    scores: NDArray[np.float32]
    reference: NDArray[np.float32]


@dataclass(frozen=True)
class BasisExample:
    """A training slice shown as the reason for a prediction.

    Attributes:
        label: the predicted subtype.
        example: its :func:`example_id`.
        case_id: its case.
        distance: L2 distance of normalised relevance, 0 (same pattern) to sqrt(2).
        percentile: share of training positives, in per cent, whose own nearest example (the same rank, of another
            patient) is at least as near; small is unusually near. None where too few patients give no reference.
        thumbnail: int16 HU (t, t).
        attention: (h, w) in 0..1, or None where the map locates nothing.
        truth: its positive subtypes.
    """

    label: str
    example: str
    case_id: str
    distance: float
    percentile: float | None
    thumbnail: NDArray[np.int16]
    attention: NDArray[np.float32] | None
    truth: tuple[str, ...]


@dataclass(frozen=True)
class Atlas:
    """All training positives (the pool) and, per subtype, its classic features and ranked examples.

    Attributes:
        labels: the labels; arrays over subtypes follow their order.
        architecture: whose features these are.
        method: what made the maps.
        pool: basis_pool setting, ``"atlas"`` or ``"training"``.
        kernel: (F, 1 + subtypes) the head's weights.
        examples: example_id of each pool row.
        case_ids, patient_keys: of each pool row.
        truth: uint8 (n, subtypes).
        features: float32 (n, F).
        thumbnails: int16 HU (n, t, t).
        maps: float32 (n, subtypes, h, w); zero where it locates nothing.
        entries: one a subtype.
    """

    labels: Labels
    architecture: str
    method: str
    pool: str
    kernel: NDArray[np.float32]
    examples: tuple[str, ...]
    case_ids: tuple[str, ...]
    patient_keys: tuple[str, ...]
    truth: NDArray[np.uint8]
    features: NDArray[np.float32]
    thumbnails: NDArray[np.int16]
    maps: NDArray[np.float32]
    entries: tuple[AtlasEntry, ...]

    def entry(self, label: str) -> AtlasEntry:
        """The part of one subtype; ValueError for an unknown one."""
        return self.entries[self.labels.subtypes.index(label)]

    def candidates(self, label: str) -> NDArray[np.int32]:
        """Pool rows that may be a prediction basis of ``label``."""
        entry = self.entry(label)
        return entry.ranked if self.pool == "atlas" else entry.positives

    @cached_property
    def _spaces(self) -> dict[str, NDArray[np.float32]]:
        return {e.label: self.project(self.features[self.candidates(e.label)], e.label) for e in self.entries}

    def project(self, features: NDArray[np.float32], label: str) -> NDArray[np.float32]:
        """Features (n, F) in the space of a subtype's classic features; rows of length 1, or zero."""
        weights = self.kernel[:, self.labels.index(label)]
        return basis_space(relevance(features, weights), self.entry(label).classic)

    def basis(self, features: NDArray[np.float32], label: str, neighbours: int) -> list[BasisExample]:
        """The nearest examples of a predicted subtype, nearest first.

        Args:
            features: (F,) of one slice, from the same network (``Attention.features``).
            label: the predicted subtype.
            neighbours: how many.

        Returns:
            at most ``neighbours``; none where the subtype has no examples or the slice shows none of its classic
            features.
        """
        query = self.project(np.asarray(features, np.float32)[None], label)[0].astype(np.float64)
        rows = self.candidates(label)
        if not query.any() or not len(rows):
            return []
        distances = np.sqrt(((self._spaces[label].astype(np.float64) - query) ** 2).sum(axis=1))
        nearest = np.argsort(distances, kind="stable")[:neighbours]
        return [self._example(label, int(rows[i]), float(distances[i]), rank) for rank, i in enumerate(nearest)]

    def attention(self, row: int, label: str) -> NDArray[np.float32] | None:
        """The map of a pool row for a subtype, or None where it locates nothing."""
        found = self.maps[row, self.labels.subtypes.index(label)]
        return found if found.any() else None

    def truth_of(self, row: int) -> tuple[str, ...]:
        """The positive subtypes of a pool row."""
        return tuple(name for name, present in zip(self.labels.subtypes, self.truth[row], strict=True) if present)

    def _example(self, label: str, row: int, distance: float, rank: int) -> BasisExample:
        return BasisExample(
            label,
            self.examples[row],
            self.case_ids[row],
            distance,
            percentile(self.entry(label).reference, rank, distance),
            self.thumbnails[row],
            self.attention(row, label),
            self.truth_of(row),
        )

    def save(self, folder: Path) -> None:
        """Write ``atlas.npz`` (no pickle; equal bytes for equal content) and ``atlas.json`` into an existing folder."""
        arrays = {"kernel": self.kernel, "truth": self.truth, "features": self.features, "thumbnails": self.thumbnails}
        arrays["maps"] = self.maps
        for entry in self.entries:
            for name in ("positives", "classic", "ranked", "scores", "reference"):
                arrays[f"{entry.label}.{name}"] = getattr(entry, name)
        write_arrays(folder / "atlas.npz", arrays)
        described = {
            "schema": SCHEMA,
            "any": self.labels.any,
            "subtypes": list(self.labels.subtypes),
            "architecture": self.architecture,
            "method": self.method,
            "basis_pool": self.pool,
            "reasons": {e.label: e.reason for e in self.entries},
            "examples": list(self.examples),
            "case_ids": list(self.case_ids),
            "patient_keys": list(self.patient_keys),
        }
        write_json(folder / "atlas.json", described)

    @classmethod
    def load(cls, folder: Path) -> Atlas:
        """Read what :meth:`save` wrote; InputError for a missing file or another schema."""
        described = read_json(folder / "atlas.json")
        arrays = read_arrays(folder / "atlas.npz", described.get("schema"), SCHEMA)
        entries = tuple(
            AtlasEntry(
                label,
                described["reasons"][label],
                *(arrays[f"{label}.{name}"] for name in ("positives", "classic", "ranked", "scores", "reference")),
            )
            for label in described["subtypes"]
        )
        return cls(
            Labels(described["any"], tuple(described["subtypes"])),
            described["architecture"],
            described["method"],
            described["basis_pool"],
            arrays["kernel"],
            tuple(described["examples"]),
            tuple(described["case_ids"]),
            tuple(described["patient_keys"]),
            arrays["truth"],
            arrays["features"],
            arrays["thumbnails"],
            arrays["maps"],
            entries,
        )


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
        positives = np.flatnonzero(truth[:, column]).astype(np.int32)
        contributions = relevance(attention.features[positives], kernel[:, labels.index(label)])
        patients = np.asarray(patient_keys, dtype=object)[positives]
        entries.append(_entry(label, explain, positives, contributions, patients))
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
        np.ascontiguousarray(attention.maps[:, 1:]),
        tuple(entries),
    )


def _entry(
    label: str,
    explain: ExplainParams,
    positives: NDArray[np.int32],
    contributions: NDArray[np.float32],
    patients: NDArray[np.object_],
) -> AtlasEntry:
    none = np.zeros(0, np.int32)
    empty = np.zeros((0, explain.basis_neighbours), np.float32)
    if not len(positives):
        return AtlasEntry(label, NO_POSITIVES, positives, none, none, np.zeros(0, np.float32), empty)
    classic = classic_features(contributions, explain.classic_features)
    if not len(classic):
        return AtlasEntry(label, NO_FEATURES, positives, none, none, np.zeros(0, np.float32), empty)
    shown = np.maximum(contributions[:, classic], 0).sum(axis=1, dtype=np.float64)
    space = basis_space(contributions, classic)
    ranked = rank_examples(shown, space, patients, explain)
    pool = np.asarray(ranked) if explain.basis_pool == "atlas" else np.arange(len(positives))
    reference = reference_distances(space, patients, pool, explain.basis_neighbours)
    return AtlasEntry(label, None, positives, classic, positives[ranked], shown[ranked].astype(np.float32), reference)


def rank_examples(
    shown: NDArray[np.float64], space: NDArray[np.float32], patients: NDArray[np.object_], explain: ExplainParams
) -> list[int]:
    """Most classic first, none nearer than ``near_duplicate`` to one before it, few of a patient.

    Args:
        shown: (n,) how much of the classic features each positive shows; those that show none are left out.
        space: (n, classic) their normalised relevance.
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
    """Distances of each positive to its nearest examples of other patients: (n, neighbours), NaN where there are none."""
    from scipy.spatial.distance import cdist

    reference = np.full((len(space), neighbours), np.nan, np.float32)
    for row in range(len(space)):
        others = pool[patients[pool] != patients[row]]
        found = np.sort(cdist(space[row : row + 1], space[others])[0])[:neighbours] if space[row].any() else []
        reference[row, : len(found)] = found
    return reference


def percentile(reference: NDArray[np.float32], rank: int, distance: float) -> float | None:
    """Share (per cent) of positives whose example of the same rank is at least as near; None without a reference."""
    if rank >= reference.shape[1]:
        return None
    known = reference[:, rank][~np.isnan(reference[:, rank])]
    return float(100 * (known <= np.float32(distance)).mean()) if len(known) else None
