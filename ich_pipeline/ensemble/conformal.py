"""Split-conformal sets of one finding, class by class: "absent", "present", both, or neither.

A set holds "present" unless the score is lower than all but a few of those of calibration patients who have the finding,
and "absent" unless it is higher than all but a few of those who do not (label-conditional or Mondrian conformal
prediction: Vovk, Gammerman and Shafer 2005, ch. 4.5; Vovk 2013, doi 10.1007/s10994-013-5355-6). With ``n`` exchangeable
patients of a class ``k = floor((1 - coverage)(n + 1))`` may be "a few": then a new patient of that class has a set that
holds the truth with a probability of at least ``coverage``, whatever the prevalence and however bad the score is.

Slices of a patient, and cases of a patient, are not exchangeable with those of others, so each patient gives one row a
class. The promise is for one row drawn at random from a new patient's rows of that class: not for all slices of a
patient at once, and not for several findings at once.

The scores are cross-fitted (:mod:`ich_pipeline.ensemble.cross_reading`): those of a patient come from an ensemble that was
fitted without that patient, while a new patient is read by the one fitted on all. So the promise is not exact here, as
in cross-conformal prediction (Vovk 2015, doi 10.1007/s10472-013-9368-4). Stage evaluate counts what it comes to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ABSENT, PRESENT, UNDECIDED, NEITHER = "absent", "present", "undecided", "neither"
NOT_AVAILABLE = "not available"
WORDS = (ABSENT, PRESENT, UNDECIDED, NEITHER)


def excluded(patients: int, coverage: float) -> int:
    """How many of a class's calibration patients may lie beyond the limit; in exact decimals, as ``coverage`` is written."""
    return math.floor((1 - Fraction(str(coverage))) * (patients + 1))


def minimum_patients(coverage: float) -> int:
    """The fewest calibration patients of a class with which anything can be excluded."""
    return math.ceil(1 / (1 - Fraction(str(coverage)))) - 1


@dataclass(frozen=True)
class ConformalLabel:
    """The two limits of one finding.

    Attributes:
        absent_to: the highest score whose set holds "absent"; None with ``reason``.
        present_from: the lowest score whose set holds "present"; None with ``reason``.
        negatives, positives: calibration patients of each class.
        reason: why there are no sets; None otherwise.
    """

    absent_to: float | None
    present_from: float | None
    negatives: int
    positives: int
    reason: str | None = None

    def holds(self, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each score's set holds "absent", and whether it holds "present"; ValueError where there are no sets."""
        if self.absent_to is None or self.present_from is None:
            raise ValueError(f"no conformal sets: {self.reason}")
        values = np.asarray(scores, dtype=np.float64)
        return values <= self.absent_to, values >= self.present_from

    def words(self, scores: ArrayLike) -> NDArray[np.str_]:
        """One of :data:`WORDS` a score; :data:`NOT_AVAILABLE` where there are no sets."""
        if self.reason is not None:
            return np.full(np.shape(scores), NOT_AVAILABLE)
        absent, present = self.holds(scores)
        return np.where(absent & present, UNDECIDED, np.where(absent, ABSENT, np.where(present, PRESENT, NEITHER)))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "absent_to": self.absent_to,
            "present_from": self.present_from,
            "negatives": self.negatives,
            "positives": self.positives,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ConformalLabel:
        """Inverse of :meth:`to_json`."""
        return cls(**value)


def fit_conformal(negative: ArrayLike, positive: ArrayLike, coverage: float) -> ConformalLabel:
    """The limits of one finding.

    Args:
        negative, positive: scores of the calibration patients without and with the finding, one each.
        coverage: of each class, in 0..1.

    Returns:
        No sets, with the reason, where a class has fewer than :func:`minimum_patients`: no score could then be excluded,
        and every set would hold everything.
    """
    low, high = np.sort(np.asarray(positive, np.float64)), np.sort(np.asarray(negative, np.float64))[::-1]
    for kind, found in (("with", len(low)), ("without", len(high))):
        if excluded(found, coverage) == 0:
            reason = (
                f"calibration has {found} patients {kind} the finding, and {coverage:.0%} coverage needs at least "
                f"{minimum_patients(coverage)}"
            )
            return ConformalLabel(None, None, len(high), len(low), reason)
    return ConformalLabel(
        absent_to=float(high[excluded(len(high), coverage) - 1]),
        present_from=float(low[excluded(len(low), coverage) - 1]),
        negatives=len(high),
        positives=len(low),
    )


def one_a_patient(names: Sequence[str], patients: NDArray[np.integer], members: NDArray[np.bool_]) -> NDArray[np.intp]:
    """One of each patient's member rows: that whose name has the smallest SHA-256, which nothing else can bend.

    Args:
        names: SOPInstanceUID or case_id of each row.
        patients: number of each row's patient, shape (rows,).
        members: rows to choose from, shape (rows,); a patient without one is left out.

    Returns:
        Rows, in the order of the patients' numbers.
    """
    rows = np.flatnonzero(members)
    hashes = np.array([hashlib.sha256(names[int(row)].encode()).hexdigest() for row in rows], dtype="U64")
    order = rows[np.argsort(hashes, kind="stable")]
    return order[np.unique(patients[order], return_index=True)[1]]
