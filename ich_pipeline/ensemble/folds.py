"""Cross-fitting folds over patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patient_folds(patients: NDArray[np.integer], truth: NDArray[np.integer], count: int) -> NDArray[np.intp]:
    """Deal patients to folds so that every label's patients are spread, the rarest label first.

    Deterministic: patients with equal labels are dealt in the order of their number.

    Args:
        patients: shape (slices,): number of each slice's patient.
        truth: 0 and 1, shape (slices, labels).
        count: folds wanted; fewer where there are fewer patients.

    Returns:
        Shape (slices,): fold of each slice, 0 to folds - 1. All slices of a patient are in one fold.
    """
    distinct, which = np.unique(patients, return_inverse=True)
    has = np.zeros((len(distinct), truth.shape[1]), dtype=np.int8)
    np.maximum.at(has, which, truth.astype(np.int8))
    rarest_first = np.argsort(has.sum(axis=0), kind="stable")
    # lexsort's last key is the first to sort by; within equal labels it keeps the patients' order.
    order = np.lexsort([-has[:, label] for label in rarest_first[::-1]])
    fold = np.empty(len(distinct), dtype=np.intp)
    fold[order] = np.arange(len(distinct)) % min(count, len(distinct))
    return fold[which]
