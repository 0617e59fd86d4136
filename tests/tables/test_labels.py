"""Label order and the rule of "any"."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.tables.labels import Labels

LABELS = Labels("bleed", ("epidural", "subdural"))


def test_any_comes_first() -> None:
    assert LABELS.columns == ("bleed", "epidural", "subdural")
    assert len(LABELS) == 3
    assert [LABELS.index(name) for name in LABELS.columns] == [0, 1, 2]


def test_unknown_label_has_no_index() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        LABELS.index("chronic")


def test_rule_of_any() -> None:
    result = LABELS.any_of(np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.int8))
    assert result.tolist() == [0, 1, 1, 1]
    assert result.dtype == np.int8
    assert LABELS.any_of(np.zeros((0, 2), dtype=np.int8)).shape == (0,)
