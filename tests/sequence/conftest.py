"""The helpers of these tests are modules beside them, since one of them is read under another backend."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]
import tiny  # noqa: E402, F401  # pyright: ignore[reportMissingImports]  registers the small backbones
from lesions import sequences  # noqa: E402

from ich_pipeline.sequence.fit import CohortSequences  # noqa: E402


@pytest.fixture(scope="session")
def train() -> CohortSequences:
    return sequences(80, 1, unlabelled=True)


@pytest.fixture(scope="session")
def validation() -> CohortSequences:
    return sequences(40, 2)
