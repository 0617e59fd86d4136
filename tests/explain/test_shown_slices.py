"""Which slices are explained, and for which labels."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.case import shown_slices
from ich_pipeline.labels import Labels

LABELS = Labels("any", ("epidural", "subdural"))
THRESHOLDS = np.array([0.5, 0.4, 0.4])


def test_a_neighbour_read_again_is_explained_like_any_other():
    final = np.array([[0.6, 0.1, 0.3], [0.7, 0.1, 0.5], [0.9, 0.6, 0.1]])
    reread = np.array([True, True, True])
    assert shown_slices(final, reread, THRESHOLDS, LABELS) == {2: ("any", "epidural"), 1: ("any", "subdural")}


def test_the_slice_that_gives_the_case_score_is_always_there():
    # Slice 0 reaches no subtype's threshold, and was not even read again; the case's score is still its own.
    final = np.array([[0.9, 0.1, 0.3], [0.6, 0.1, 0.2], [0.5, 0.5, 0.1]])
    reread = np.array([False, True, True])
    assert shown_slices(final, reread, THRESHOLDS, LABELS) == {0: ("any", "subdural"), 2: ("any", "epidural")}


def test_a_label_on_a_scale_of_its_own_is_not_compared():
    final = np.array([[0.9, 0.1, 0.3]])
    nowhere = np.full(3, np.nan)
    reread = np.array([True])
    assert shown_slices(final, reread, nowhere, LABELS, {"subdural": "too few"}) == {0: ("any", "epidural")}
    assert shown_slices(final, reread, nowhere, LABELS, LABELS.subtypes) == {0: ("any",)}
    # Its own threshold is on its own scale and still holds.
    assert shown_slices(final, reread, np.array([0.5, 0.4, 0.2]), LABELS, ("subdural",)) == {0: ("any", "subdural")}


@pytest.mark.parametrize("score", [0.1, 0.99])
def test_nothing_is_explained_where_the_gate_let_nothing_through(score):
    assert shown_slices(np.full((4, 3), score), np.zeros(4, bool), THRESHOLDS, LABELS) == {}
