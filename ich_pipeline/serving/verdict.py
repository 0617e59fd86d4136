"""Cases that a model has no answer for: it learned from synthetic heads and the input is not known to be one, or from other scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.explain.case import ExplainedCase, case_thresholds, slice_thresholds
from ich_pipeline.precedent.model import Judgement
from ich_pipeline.windowing.windows import WindowLike


def withheld_case(
    no_answer: str,
    judged: Judgement | None,
    *,
    case_id: str,
    sop_instance_uids: Sequence[str],
    hu: NDArray[np.int16],
    positions_mm: NDArray[np.floating],
    windows: Sequence[WindowLike],
    ensemble: Ensemble,
) -> ExplainedCase:
    """The case with its pictures alone. No network reads it, so that nothing can slip out: every score is NaN.

    Args:
        no_answer: why.
        judged: how like those of training the scan is; None where nobody asked.
        case_id: name of the case.
        sop_instance_uids: n slices in order.
        hu: (n, Rows, Columns).
        positions_mm: (n,).
        windows: all configured windows.
        ensemble: whose answer is withheld.
    """
    labels = ensemble.labels
    nothing = np.full((len(hu), len(labels)), np.nan)
    return ExplainedCase(
        case_id=case_id,
        labels=labels,
        sop_instance_uids=tuple(sop_instance_uids),
        positions_mm=np.asarray(positions_mm),
        hu=hu,
        windows=tuple(windows),
        first=nothing,
        second=nothing,
        final=nothing,
        reread=np.zeros(len(hu), bool),
        case_scores=np.full(len(labels), np.nan),
        case_score_rule=ensemble.case_score.rule,
        decision=None,
        operating_point=ensemble.decision,
        threshold=ensemble.decision_threshold,
        gate=ensemble.gate_threshold,
        slice_thresholds=slice_thresholds(ensemble),
        case_thresholds=case_thresholds(ensemble),
        shown={},
        attention={},
        basis={},
        reasons={},
        uncalibrated={},
        uncertainty=None,
        no_answer=no_answer,
        judged=judged,
    )
