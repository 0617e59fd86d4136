"""The fitted ensemble: everything between the networks' probabilities and a decision, frozen and readable.

``ensemble.json`` is the only state: SI degree a network, combiner, calibration, gate, operating points, case score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, write_json
from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.case_score import CaseScore
from ich_pipeline.ensemble.combiners import Combiner
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.ensemble.uncertainty import Uncertainty
from ich_pipeline.sequence.member import architecture_of, has_head
from ich_pipeline.tables.labels import Labels

SCHEMA = "ensemble/3"
# The number rises where an older version of this software would read on and be wrong: it took the kind "platt" for no
# calibration at all (2), and the rule "neighbours" for noisy-or (3).
READABLE = ("ensemble/1", "ensemble/2", SCHEMA)
Points = Mapping[str, Mapping[str, OperatingPoint]]


@dataclass(frozen=True)
class ReadingModel:
    """From the networks' probabilities of one reading to calibrated ones: a combiner, then one calibration a label."""

    combiner: Combiner
    calibrations: tuple[Calibration, ...]

    def __call__(self, probabilities: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
        """Calibrated probabilities of shape (slices, labels) from one such array a member."""
        return self.calibrate(self.combiner(probabilities))

    def calibrate(self, combined: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate combined scores of shape (slices, labels), label by label."""
        return np.stack([c(combined[:, k]) for k, c in enumerate(self.calibrations)], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings."""
        return {"combiner": self.combiner.to_json(), "calibrations": [c.to_json() for c in self.calibrations]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ReadingModel:
        """Inverse of :meth:`to_json`."""
        return cls(
            Combiner.from_json(value["combiner"]), tuple(Calibration.from_json(c) for c in value["calibrations"])
        )


@dataclass(frozen=True)
class Ensemble:
    """The system's reader.

    Attributes:
        labels: names and order of every label axis.
        degrees: SI degree of each member, also of those that the combiner does not use; 0 with a sequence head.
        first_reading: for probabilities without SI (degree 0).
        second_reading: for probabilities at each network's degree.
        gate: on the first reading's slice probability of "any": at or above it a slice is read again.
        slice_points, case_points: label to operating point name to threshold, on final scores.
        decision: the operating point of the case decision.
        case_score: rule of the case score.
        uncertainty: conformal sets and disagreement; None in an ensemble that was made without them.
    """

    labels: Labels
    degrees: Mapping[str, float]
    first_reading: ReadingModel
    second_reading: ReadingModel
    gate: OperatingPoint
    slice_points: Points
    case_points: Points
    decision: str
    case_score: CaseScore
    uncertainty: Uncertainty | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """What serving needs: architectures, and ``<architecture>+sequence`` for one with its sequence head."""
        used = (*self.first_reading.combiner.members, *self.second_reading.combiner.members)
        return tuple(dict.fromkeys(used))

    @property
    def heads(self) -> tuple[str, ...]:
        """Architectures whose sequence head serving needs."""
        return tuple(architecture_of(member) for member in self.members if has_head(member))

    @property
    def gate_threshold(self) -> float:
        """Threshold of :attr:`gate`."""
        if self.gate.threshold is None:
            raise ValueError("the gate has no threshold")
        return self.gate.threshold

    @property
    def decision_threshold(self) -> float:
        """Case threshold on "any" of the operating point that decides."""
        threshold = self.case_points[self.labels.any][self.decision].threshold
        if threshold is None:
            raise ValueError(f"the operating point {self.decision} has no threshold")
        return threshold

    def first(self, probabilities: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
        """Calibrated first reading.

        Args:
            probabilities: for each member (slices, labels), degree 0.

        Returns:
            Shape (slices, labels), float64 in 0..1.
        """
        return self.first_reading(probabilities)

    def second(self, probabilities: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
        """Calibrated second reading; ``probabilities`` at each member's :attr:`degrees`."""
        return self.second_reading(probabilities)

    def reread(self, first: NDArray[np.float64], neighbours: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which slices are read again: those at or above the gate, and their neighbours.

        Args:
            first: first reading, shape (slices, labels).
            neighbours: shape (slices, 2): rows of the slices before and after; -1 at an end or a gap.
        """
        return spread(self.suspicious(first), neighbours)

    def suspicious(self, first: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Slices whose own first reading of "any" reaches the gate; shape (slices,)."""
        return first[:, self.labels.index(self.labels.any)] >= self.gate_threshold

    def decide(self, case_scores: NDArray[np.float64], let_through: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Case decisions: the final score of "any" reaches the threshold in a case that the first reading let through.

        Args:
            case_scores: shape (cases, labels), final.
            let_through: shape (cases,): a slice of the case reached the gate.
        """
        return let_through & (case_scores[:, self.labels.index(self.labels.any)] >= self.decision_threshold)

    def to_json(self) -> dict[str, Any]:
        """The content of ``ensemble.json``."""
        return {
            "schema": SCHEMA,
            "labels": {"any": self.labels.any, "subtypes": list(self.labels.subtypes)},
            "degrees": dict(self.degrees),
            "first_reading": self.first_reading.to_json(),
            "second_reading": self.second_reading.to_json(),
            "gate": self.gate.to_json(),
            "slice_points": _points_to_json(self.slice_points),
            "case_points": _points_to_json(self.case_points),
            "decision": self.decision,
            "case_score": {"rule": self.case_score.rule, "top_k": self.case_score.top_k},
            "uncertainty": None if self.uncertainty is None else self.uncertainty.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ensemble:
        """Inverse of :meth:`to_json`."""
        # Older versions of the registered model have none.
        uncertainty = value.get("uncertainty")
        return cls(
            labels=Labels(value["labels"]["any"], tuple(value["labels"]["subtypes"])),
            degrees=dict(value["degrees"]),
            first_reading=ReadingModel.from_json(value["first_reading"]),
            second_reading=ReadingModel.from_json(value["second_reading"]),
            gate=OperatingPoint.from_json(value["gate"]),
            slice_points=_points_from_json(value["slice_points"]),
            case_points=_points_from_json(value["case_points"]),
            decision=value["decision"],
            case_score=CaseScore(value["case_score"]["rule"], value["case_score"]["top_k"]),
            uncertainty=None if uncertainty is None else Uncertainty.from_json(uncertainty),
        )

    def save(self, path: Path) -> None:
        """Write ``ensemble.json`` atomically; equal ensembles give equal bytes."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Ensemble:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, no JSON, or of another version.
        """
        value = read_json(path)
        found = value.get("schema") if isinstance(value, dict) else None
        if found not in READABLE:
            raise InputError(
                f"{path} has schema {found!r} where this version reads {', '.join(READABLE)}: run the calibrate stage."
            )
        return cls.from_json(value)


def spread(marked: NDArray[np.bool_], neighbours: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The marked slices and their neighbours (shape (slices, 2), rows or -1)."""
    rows = np.asarray(neighbours)[marked].ravel()
    spread_out = marked.copy()
    spread_out[rows[rows >= 0]] = True
    return spread_out


def _points_to_json(points: Points) -> dict[str, Any]:
    return {label: {name: point.to_json() for name, point in named.items()} for label, named in points.items()}


def _points_from_json(value: Mapping[str, Any]) -> dict[str, dict[str, OperatingPoint]]:
    return {
        label: {name: OperatingPoint.from_json(point) for name, point in named.items()}
        for label, named in value.items()
    }
