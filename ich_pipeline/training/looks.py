"""Looks at the validation set while training, and which of them is the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.loss import ClassWeights, mean_loss


@dataclass(frozen=True)
class Look:
    """One look at the validation set. A figure that the cohort cannot give is None."""

    look: int  # from 1
    step: int  # optimiser steps so far
    epoch: float  # passes over the training slices so far
    loss: float  # mean training loss since the last look, or the end of the frozen passes
    val_loss: float
    val_map: float | None  # mean average precision over the subtypes with positives in at least two patients
    val_auc_any: float | None
    learning_rate: float  # of the last step

    def better_than(self, best: Look | None) -> bool:
        """Whether its validation mAP is higher; where validation gives none, its validation loss lower."""
        if best is None:
            return True
        if self.val_map is None or best.val_map is None:
            return self.val_loss < best.val_loss
        return self.val_map > best.val_map


def look_steps(total: int, looks: int) -> set[int]:
    """After which steps to look: evenly over the training, the last time at its end."""
    return {round(total * (k + 1) / looks) for k in range(looks)} - {0}


def take_look(
    number: int,
    step: int,
    epoch: float,
    loss: float,
    rate: float,
    validation: CohortSlices,
    probabilities: NDArray[np.float32],
    weights: ClassWeights,
) -> Look:
    """The figures of a look from the network's answers (n, labels) to the validation slices."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = validation.truth
    # One patient's slices tell nothing of the next patient: such a finding has no part in choosing the weights.
    patients = validation.table["patient_key"].to_numpy()
    estimable = [k for k in range(1, truth.shape[1]) if len(set(patients[truth[:, k] > 0])) >= 2]
    precisions = [float(average_precision_score(truth[:, k], probabilities[:, k])) for k in estimable]
    both_kinds = 0 < truth[:, 0].sum() < len(truth)
    return Look(
        look=number,
        step=step,
        epoch=epoch,
        loss=loss,
        val_loss=mean_loss(truth, probabilities, weights),
        val_map=float(np.mean(precisions)) if precisions else None,
        val_auc_any=float(roc_auc_score(truth[:, 0], probabilities[:, 0])) if both_kinds else None,
        learning_rate=rate,
    )
