"""The stages of dvc.yaml, in its order, with their matrix items: what runs where no DVC does (folds, demo), and how long."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ich_pipeline.config import Params
from ich_pipeline.core.yaml_text import read_yaml

TOP = Path(__file__).parents[2]  # of the code; a stage may run in a folder that holds none (cross-validation)


def stages(params: Params) -> list[tuple[str, str | None]]:
    """Every stage and matrix item as ``("train", "vgg16")``; dvc.yaml lists each stage after those that it needs."""
    found: list[tuple[str, str | None]] = []
    for name, stage in _described().items():
        if "matrix" not in stage:
            found.append((name, None))
            continue
        (key,) = stage["matrix"].values()
        found += [(name, item) for item in getattr(params, key.strip("${}"))]
    return found


def code_of(stages: Iterable[str]) -> list[Path]:
    """The Python files that the results of these stages come from, as dvc.yaml says."""
    named = {
        dep for stage in stages for dep in _described()[stage]["deps"] if dep.startswith(("flows/", "ich_pipeline/"))
    }
    return sorted(
        {path for dep in named for path in ([TOP / dep] if dep.endswith(".py") else (TOP / dep).rglob("*.py"))}
    )


def _described() -> dict[str, dict[str, Any]]:
    return read_yaml((TOP / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def title(stage: str, item: str | None) -> str:
    """``train@vgg16``, as DVC names it."""
    return f"{stage}@{item}" if item else stage
