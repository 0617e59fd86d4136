"""How sure the system is: conformal sets of cases and slices, and how far its members disagree.

Disagreement is the standard deviation of the members' probabilities, each calibrated by itself (or the members' own
scales would differ, not their opinions). It is taken without slice interpolation, where every network that reads has read
every slice, so it costs no further pass. Of a case it is the standard deviation of the networks' case scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.case_score import CaseScore
from ich_pipeline.ensemble.conformal import ConformalLabel

if TYPE_CHECKING:
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.ensemble.reading import Reading

ONE_MEMBER = "one member: no disagreement"


@dataclass(frozen=True)
class Uncertainty:
    """What validation taught about certainty.

    Attributes:
        coverage: of the conformal sets, of each class, in 0..1.
        cases, slices: by label, limits on final case scores and on final slice probabilities.
        networks: of every trained network one calibration a label, for probabilities without slice interpolation.
    """

    coverage: float
    cases: Mapping[str, ConformalLabel]
    slices: Mapping[str, ConformalLabel]
    networks: Mapping[str, tuple[Calibration, ...]]

    def of_networks(
        self, probabilities: Mapping[str, NDArray[np.floating]], names: Sequence[str]
    ) -> NDArray[np.float64] | None:
        """Calibrated probabilities of shape (networks, slices, labels); None where there is one network only.

        Args:
            probabilities: by architecture (slices, labels), without interpolation, uncalibrated.
            names: the networks to compare.
        """
        if len(names) < 2:
            return None
        return np.stack(
            [
                np.stack([c(probabilities[name][:, k]) for k, c in enumerate(self.networks[name])], axis=1)
                for name in names
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "coverage": self.coverage,
            "cases": {name: limits.to_json() for name, limits in self.cases.items()},
            "slices": {name: limits.to_json() for name, limits in self.slices.items()},
            "networks": {name: [c.to_json() for c in of] for name, of in self.networks.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Uncertainty:
        """Inverse of :meth:`to_json`."""
        return cls(
            value["coverage"],
            {name: ConformalLabel.from_json(limits) for name, limits in value["cases"].items()},
            {name: ConformalLabel.from_json(limits) for name, limits in value["slices"].items()},
            {name: tuple(Calibration.from_json(c) for c in of) for name, of in value["networks"].items()},
        )


@dataclass(frozen=True)
class Disagreement:
    """Standard deviations over networks: of slice probabilities (slices, labels), of case scores (cases, labels)."""

    slices: NDArray[np.float64]
    cases: NDArray[np.float64]


def disagreement(
    uncertainty: Uncertainty,
    probabilities: Mapping[str, NDArray[np.floating]],
    names: Sequence[str],
    case_score: CaseScore,
    case_index: NDArray[np.integer],
    neighbours: NDArray[np.integer],
) -> Disagreement | None:
    """Of the named networks on whole cases; None where there is one only. ``neighbours`` as in :class:`CaseScore`."""
    opinions = uncertainty.of_networks(probabilities, names)
    if opinions is None:
        return None
    cases = np.stack([case_score(each, case_index, neighbours) for each in opinions])
    return Disagreement(opinions.std(axis=0), cases.std(axis=0))


@dataclass(frozen=True)
class CaseUncertainty:
    """What a case's answer and page say.

    Attributes:
        coverage: of the sets, in 0..1.
        sets: by label, the case's set in one word.
        reasons: by label, why there is no set.
        slice_sets: by label, one word a slice; labels without sets are missing.
        disagreement: by label, of the case; None where :attr:`reason` says why.
        slice_disagreement: shape (slices, labels); None with the other.
        reason: why there is no disagreement.
    """

    coverage: float
    sets: Mapping[str, str]
    reasons: Mapping[str, str]
    slice_sets: Mapping[str, tuple[str, ...]]
    disagreement: Mapping[str, float] | None
    slice_disagreement: NDArray[np.float64] | None
    reason: str | None


def of_case(ensemble: Ensemble, reading: Reading) -> CaseUncertainty | None:
    """Of a reading of one case; None where the ensemble knows nothing of certainty."""
    known = ensemble.uncertainty
    if known is None:
        return None
    labels = ensemble.labels.columns
    spread = reading.disagreement
    return CaseUncertainty(
        coverage=known.coverage,
        sets={
            name: str(known.cases[name].words(reading.case_scores[0, k]))
            for k, name in enumerate(labels)
            if known.cases[name].reason is None
        },
        reasons={name: reason for name in labels if (reason := known.cases[name].reason) is not None},
        slice_sets={
            name: tuple(str(word) for word in known.slices[name].words(reading.final[:, k]))
            for k, name in enumerate(labels)
            if known.slices[name].reason is None
        },
        disagreement=None if spread is None else dict(zip(labels, spread.cases[0].tolist(), strict=True)),
        slice_disagreement=None if spread is None else spread.slices,
        reason=ONE_MEMBER if spread is None else None,
    )
