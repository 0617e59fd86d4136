"""The atlas: what each subtype classically looks like in the training set, and which of its images a new slice resembles.

Everything here sees training slices only. For each subtype the *classic features* are the features that tell its positives
from the other positive slices (:mod:`ich_pipeline.explain.features`); its examples are ranked by how much more of those
they show. The prediction basis of a new slice are the examples of the predicted subtype that are nearest in the space of
its classic features, among the atlas or among all training positives (``explain.basis_pool``). Where a subtype has enough
slices that show nothing else (``explain.single_finding_minimum``), only those stand for it: in the others it is open what
the network goes by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.described_arrays import read_arrays, write_arrays
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_versioned, write_json
from ich_pipeline.explain.atlas_checks import Checks
from ich_pipeline.explain.features import Classic, relevance
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.patches import Patches
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.tables.labels import Labels

SCHEMA = "atlas/4"
ARRAYS = ("positives", "eligible", "ranked", "scores", "reference", "reference_patients")  # of an entry
CLASSIC, PATCHES = ("features", "centre", "spread"), ("channels", "rows", "at")
AGAIN = "run the stage atlas again; a model that was registered with it, register again"


@dataclass(frozen=True)
class AtlasEntry:
    """A subtype's part of the atlas.

    Attributes:
        label: the subtype.
        reason: why there is nothing to show, or None.
        positives: rows of the training positives in the pool.
        single: whether only slices without another finding may stand for it.
        eligible: rows of the positives that may stand for it.
        classic: its classic features.
        discrimination: area under the ROC curve of :attr:`scores` over all training positives, those with the subtype
            against those without; 0.5 tells nothing. NaN where all or none have it.
        ranked: pool rows of the atlas examples, most classic first.
        scores: how much more of the classic features each of ``ranked`` shows than the other positives, in standard
            deviations, mean over the features.
        reference: (true positives, k) ascending distance of each held-out true positive
            (:class:`~ich_pipeline.explain.atlas_checks.HeldOut`) to its k nearest examples; NaN where there are not as many.
        reference_patients: whose they are, a number for each.
        patches: where its classic features fire strongest in the pool.
        checks: what is known of it.
    """

    label: str
    reason: str | None
    positives: NDArray[np.int32]
    single: bool
    eligible: NDArray[np.int32]
    classic: Classic
    discrimination: float
    ranked: NDArray[np.int32]
    scores: NDArray[np.float32]
    reference: NDArray[np.float32]
    reference_patients: NDArray[np.int32]
    patches: Patches
    checks: Checks = field(default=Checks(), kw_only=True)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What goes into the file of arrays; :meth:`of_arrays` reads it back."""
        return {
            **{name: getattr(self, name) for name in ARRAYS},
            **{name: getattr(self.classic, name) for name in CLASSIC},
            **{f"patches.{name}": getattr(self.patches, name) for name in PATCHES},
            "single": np.array(self.single),
            "discrimination": np.array(self.discrimination),
        }

    @classmethod
    def of_arrays(
        cls, label: str, reason: str | None, arrays: Mapping[str, NDArray[Any]], checks: Checks
    ) -> AtlasEntry:
        """Inverse of :meth:`arrays`."""
        found = {name: arrays[name] for name in ARRAYS}
        return cls(
            label=label,
            reason=reason,
            single=bool(arrays["single"].item()),
            classic=Classic(*(arrays[name] for name in CLASSIC)),
            patches=Patches(*(arrays[f"patches.{name}"] for name in PATCHES)),
            discrimination=float(arrays["discrimination"].item()),
            checks=checks,
            **found,
        )


@dataclass(frozen=True)
class Standing:
    """How a distance compares with those of validation slices in which the system named the finding, and was right.

    Attributes:
        percentile: share of them, in per cent, whose own nearest example (the same rank) is at least as near; small is
            unusually near, large is far.
        slices, patients: how many they are.
    """

    percentile: float
    slices: int
    patients: int


@dataclass(frozen=True)
class BasisExample:
    """A training slice shown as the reason for a prediction.

    Attributes:
        label: the predicted subtype.
        example: its :func:`~ich_pipeline.explain.atlas_build.example_id`.
        case_id: its case.
        distance: L2 distance in the space of the classic features, 0 (same pattern) to 2.
        standing: among held-out true positives; None where validation has none.
        thumbnail: int16 HU (t, t).
        attention: its map, or None where it locates nothing.
        truth: its positive subtypes.
    """

    label: str
    example: str
    case_id: str
    distance: float
    standing: Standing | None
    thumbnail: NDArray[np.int16]
    attention: PlacedMap | None
    truth: tuple[str, ...]


@dataclass(frozen=True)
class Atlas:
    """All training positives (the pool) and, per subtype, its classic features and ranked examples.

    Attributes:
        labels: the labels; arrays over subtypes follow their order.
        architecture: whose features these are.
        weights: SHA-256 of that network's weights.
        method: what made the maps.
        pool: basis_pool setting, ``"atlas"`` or ``"training"``.
        kernel: (F, 1 + subtypes) the head's weights.
        examples: example_id of each pool row.
        case_ids, patient_keys: of each pool row.
        truth: uint8 (n, subtypes).
        features: float32 (n, F).
        thumbnails: int16 HU (n, t, t).
        map_labels: whose maps are kept: "any" alone, or every subtype (``explain.maps``).
        maps: float32 (n, map_labels, h, w); zero where it locates nothing.
        grid: where the cells of the maps lie.
        entries: one a subtype.
    """

    labels: Labels
    architecture: str
    weights: str
    method: str
    pool: str
    kernel: NDArray[np.float32]
    examples: tuple[str, ...]
    case_ids: tuple[str, ...]
    patient_keys: tuple[str, ...]
    truth: NDArray[np.uint8]
    features: NDArray[np.float32]
    thumbnails: NDArray[np.int16]
    map_labels: tuple[str, ...]
    maps: NDArray[np.float32]
    grid: CellGrid
    entries: tuple[AtlasEntry, ...]

    def check_network(self, weights: str, source: Path) -> None:
        """Refuse the atlas of another network: its features and distances would mean nothing.

        Args:
            weights: SHA-256 of the network's weights file.
            source: named in the error.

        Raises:
            InputError: the atlas was made with other weights.
        """
        if weights != self.weights:
            raise InputError(
                f"{source} was made with other weights of {self.architecture} than stand beside it: run the stage atlas, "
                "and register the model again."
            )

    def entry(self, label: str) -> AtlasEntry:
        """The part of one subtype; ValueError for an unknown one."""
        return self.entries[self.labels.subtypes.index(label)]

    def candidates(self, label: str) -> NDArray[np.int32]:
        """Pool rows that may be a prediction basis of ``label``."""
        entry = self.entry(label)
        return entry.ranked if self.pool == "atlas" else entry.eligible

    @cached_property
    def _spaces(self) -> dict[str, NDArray[np.float32]]:
        return {e.label: self.project(self.features[self.candidates(e.label)], e.label) for e in self.entries}

    def project(self, features: NDArray[np.float32], label: str) -> NDArray[np.float32]:
        """Features (n, F) in the space of a subtype's classic features; rows of length 1, or zero."""
        return self.entry(label).classic.space(relevance(features, self.kernel[:, self.labels.index(label)]))

    def basis(self, features: NDArray[np.float32], label: str, neighbours: int) -> list[BasisExample]:
        """The nearest examples of a predicted subtype, nearest first.

        Args:
            features: (F,) of one slice, from the same network (``Attention.features``).
            label: the predicted subtype.
            neighbours: how many.

        Returns:
            at most ``neighbours``; none where the subtype has no examples, or the slice shows exactly as much of each
            classic feature as the other positives on average.
        """
        query = self.project(np.asarray(features, np.float32)[None], label)[0].astype(np.float64)
        rows = self.candidates(label)
        if not query.any() or not len(rows):
            return []
        distances = np.sqrt(((self._spaces[label].astype(np.float64) - query) ** 2).sum(axis=1))
        nearest = np.argsort(distances, kind="stable")[:neighbours]
        return [self._example(label, int(rows[i]), float(distances[i]), rank) for rank, i in enumerate(nearest)]

    def attention(self, row: int, label: str) -> PlacedMap | None:
        """The map of a pool row for a subtype (or the one for "any"), or None where it locates nothing."""
        found = self.maps[row, self.map_labels.index(label if label in self.map_labels else self.labels.any)]
        return PlacedMap(found, self.grid) if found.any() else None

    def truth_of(self, row: int) -> tuple[str, ...]:
        """The positive subtypes of a pool row."""
        return tuple(name for name, present in zip(self.labels.subtypes, self.truth[row], strict=True) if present)

    def _example(self, label: str, row: int, distance: float, rank: int) -> BasisExample:
        return BasisExample(
            label,
            self.examples[row],
            self.case_ids[row],
            distance,
            standing(self.entry(label), rank, distance),
            self.thumbnails[row],
            self.attention(row, label),
            self.truth_of(row),
        )

    def save(self, folder: Path) -> None:
        """Write ``atlas.npz`` (no pickle; equal bytes for equal content) and ``atlas.json`` into an existing folder."""
        arrays = {"kernel": self.kernel, "truth": self.truth, "features": self.features, "thumbnails": self.thumbnails}
        arrays["maps"] = self.maps
        for entry in self.entries:
            arrays |= {f"{entry.label}.{name}": values for name, values in entry.arrays().items()}
        write_arrays(folder / "atlas.npz", {name: np.asarray(values, order="C") for name, values in arrays.items()})
        described = {
            "schema": SCHEMA,
            "any": self.labels.any,
            "subtypes": list(self.labels.subtypes),
            "architecture": self.architecture,
            "weights": self.weights,
            "method": self.method,
            "basis_pool": self.pool,
            "map_labels": list(self.map_labels),
            "grid": self.grid.to_json(),
            "reasons": {e.label: e.reason for e in self.entries},
            "checks": {e.label: e.checks.to_json() for e in self.entries},
            "examples": list(self.examples),
            "case_ids": list(self.case_ids),
            "patient_keys": list(self.patient_keys),
        }
        write_json(folder / "atlas.json", described)

    @classmethod
    def load(cls, folder: Path) -> Atlas:
        """Read what :meth:`save` wrote; InputError for a missing file or another schema."""
        described = read_versioned(folder / "atlas.json", SCHEMA, AGAIN)
        arrays = read_arrays(folder / "atlas.npz", "run `make repro`, or the stage that writes it")
        entries = tuple(
            AtlasEntry.of_arrays(
                label,
                described["reasons"][label],
                {name.removeprefix(f"{label}."): a for name, a in arrays.items() if name.startswith(f"{label}.")},
                Checks.from_json(described["checks"][label]),
            )
            for label in described["subtypes"]
        )
        return cls(
            Labels(described["any"], tuple(described["subtypes"])),
            described["architecture"],
            described["weights"],
            described["method"],
            described["basis_pool"],
            arrays["kernel"],
            tuple(described["examples"]),
            tuple(described["case_ids"]),
            tuple(described["patient_keys"]),
            arrays["truth"],
            arrays["features"],
            arrays["thumbnails"],
            tuple(described["map_labels"]),
            arrays["maps"],
            CellGrid.from_json(described["grid"]),
            entries,
        )


def standing(entry: AtlasEntry, rank: int, distance: float) -> Standing | None:
    """Where a distance to the example of a rank stands among held-out true positives; None where there are none."""
    if rank >= entry.reference.shape[1]:
        return None
    there = ~np.isnan(entry.reference[:, rank])
    if not there.any():
        return None
    nearer = entry.reference[there, rank] <= np.float32(distance)
    return Standing(float(100 * nearer.mean()), int(there.sum()), len(np.unique(entry.reference_patients[there])))
