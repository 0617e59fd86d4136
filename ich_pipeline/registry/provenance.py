"""What a run was made from: the data's DVC hash, the parameters, the git commit. Nothing of a patient."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from ich_pipeline.config import Params
from ich_pipeline.core.yaml_text import read_yaml

DATA_DVC = Path("data.dvc")
# What a result depends on. dvc.lock and reports/ change while a pipeline runs, which makes nothing dirty.
SOURCES = (
    *("ich_pipeline", "flows", "params.yaml", "dvc.yaml", "data.dvc", "frozen.json"),
    *("requirements.lock", "pyproject.toml"),
)


def data_hash() -> str:
    """The hash that ``data.dvc`` gives the raw input; ``untracked`` where DVC tracks none."""
    if not DATA_DVC.is_file():
        return "untracked"
    outs = (read_yaml(DATA_DVC.read_text(encoding="utf-8")) or {}).get("outs") or [{}]
    return str(outs[0].get("md5") or outs[0].get("etag") or "untracked")


def inputs_hash(params: Params) -> str:
    """sha256 over the data's hash and all parameters: what a run's results are a function of, the code aside."""
    settings = json.dumps(params.model_dump(mode="json", by_alias=True), sort_keys=True)
    return hashlib.sha256(f"{data_hash()}\n{settings}".encode()).hexdigest()


def git_tags() -> dict[str, str]:
    """Commit and whether the sources differ from it; empty outside a git repository or before its first commit."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    present = [name for name in SOURCES if Path(name).exists()]
    dirty = bool(_git("status", "--porcelain", "--", *present)) if present else False
    return {"mlflow.source.git.commit": commit, "ich.git_dirty": str(dirty).lower()}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
