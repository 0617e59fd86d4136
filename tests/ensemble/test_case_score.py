"""Case scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.ensemble.case_score import CaseScore

SLICES = np.array([[0.1, 0.2], [0.5, 0.4], [0.9, 0.0], [0.3, 0.3]])
CASES = np.array([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("max", [[0.9, 0.4], [0.3, 0.3]]),
        ("top_k_mean", [[0.7, 0.3], [0.3, 0.3]]),
        ("noisy_or", [[1 - 0.9 * 0.5 * 0.1, 1 - 0.8 * 0.6], [0.3, 0.3]]),
    ],
)
def test_rules(rule, expected) -> None:
    np.testing.assert_allclose(CaseScore(rule, 2)(SLICES, CASES), expected)
