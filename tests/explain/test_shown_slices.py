"""Which slices are explained, and for which findings."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.case import shown_slices
from ich_pipeline.tables.labels import Labels

LABELS = Labels("any", ("epidural", "subdural"))
THRESHOLDS = np.array([0.5, 0.4, 0.4])


def test_a_neighbour_read_again_is_explained_like_any_other():
    final = np.array([[0.6, 0.1, 0.3], [0.7, 0.1, 0.5], [0.9, 0.6, 0.1]])
    reread = np.array([True, True, True])
    assert shown_slices(final, reread, THRESHOLDS, LABELS) == {2: ("epidural",), 1: ("subdural",)}


def test_the_slice_that_gives_the_case_score_is_always_there():
    # Slice 0 reaches no subtype's threshold, and was not even read again; the case's score is still its own.
    final = np.array([[0.9, 0.1, 0.3], [0.6, 0.1, 0.2], [0.5, 0.5, 0.1]])
    reread = np.array([False, True, True])
    assert shown_slices(final, reread, THRESHOLDS, LABELS) == {0: ("subdural",), 2: ("epidural",)}


def test_a_label_on_a_scale_of_its_own_is_not_compared():
    final = np.array([[0.9, 0.1, 0.3]])
    nowhere = np.full(3, np.nan)
    reread = np.array([True])
    assert shown_slices(final, reread, nowhere, LABELS, {"subdural": "too few"}) == {0: ("epidural",)}
    assert shown_slices(final, reread, nowhere, LABELS, LABELS.subtypes) == {0: ()}
    # Its own threshold is on its own scale and still holds.
    assert shown_slices(final, reread, np.array([0.5, 0.4, 0.2]), LABELS, ("subdural",)) == {0: ("subdural",)}


@pytest.mark.parametrize("score", [0.1, 0.99])
def test_nothing_is_explained_where_the_gate_let_nothing_through(score):
    assert shown_slices(np.full((4, 3), score), np.zeros(4, bool), THRESHOLDS, LABELS) == {}


def test_the_finding_farthest_above_its_threshold_leads():
    labels = Labels("any", ("epidural", "subdural", "subarachnoid", "intraventricular"))
    thresholds = np.array([0.5, 0.4, 0.1, 0.02, 0.05])
    final = np.array([[0.9, 0.7, 0.3, 0.03, 0.2]])  # 1.75, 3, 1.5 and 4 times their thresholds
    reread = np.array([True])
    assert shown_slices(final, reread, thresholds, labels, most=3) == {0: ("intraventricular", "subdural", "epidural")}
    assert shown_slices(final, reread, thresholds, labels, most=1) == {0: ("intraventricular",)}


def test_a_slice_is_not_shown_for_a_finding_that_it_does_not_name():
    # Both slices reach both thresholds; with one finding a slice, neither is shown for subdural.
    final = np.array([[0.9, 0.9, 0.41], [0.8, 0.85, 0.42], [0.7, 0.8, 0.43]])
    assert shown_slices(final, np.ones(3, bool), THRESHOLDS, LABELS, most=1) == {0: ("epidural",), 1: ("epidural",)}
