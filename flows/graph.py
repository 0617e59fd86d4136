"""The stages of dvc.yaml, in its order, with their matrix items: what runs where no DVC does (folds, demo), and how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ich_pipeline.config import Params

GRAPH = Path(__file__).parent.parent / "dvc.yaml"


def stages(params: Params) -> list[tuple[str, str | None]]:
    """Every stage and matrix item as ``("train", "vgg16")``; dvc.yaml lists each stage after those that it needs."""
    described: dict[str, dict[str, Any]] = yaml.safe_load(GRAPH.read_text(encoding="utf-8"))["stages"]
    found: list[tuple[str, str | None]] = []
    for name, stage in described.items():
        if "matrix" not in stage:
            found.append((name, None))
            continue
        (key,) = stage["matrix"].values()
        found += [(name, item) for item in getattr(params, key.strip("${}"))]
    return found


def title(stage: str, item: str | None) -> str:
    """``train@vgg16``, as DVC names it."""
    return f"{stage}@{item}" if item else stage
