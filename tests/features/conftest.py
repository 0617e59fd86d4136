"""The small backbones of the training tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import tiny  # noqa: F401  # type: ignore[import-not-found]  registers them
