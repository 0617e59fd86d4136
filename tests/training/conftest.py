"""The helpers of these tests are modules beside them, since a killed training is a script of its own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tiny  # noqa: F401  registers the small backbone
