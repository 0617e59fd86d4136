"""A version's reading of its tests, a row a case, kept in the run that registered it: what later versions are compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import sha256_of
from ich_pipeline.gate.scores import CaseScores
from ich_pipeline.registry import store
from ich_pipeline.registry.remembered import Version
from ich_pipeline.registry.versions import TEST

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCORES = "ich.scores."  # prefix of the tags with the SHA-256 of what is kept
FOLDER = "tests"  # of the run's artifacts


def keep(client: MlflowClient, run_id: str, tested: Sequence[CaseScores]) -> dict[str, str]:
    """Log the readings in the run, in the place of earlier ones; returns the version's tags."""
    tags = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in tested:
            path = Path(folder) / f"{one.test}.json"
            one.save(path)
            client.log_artifact(run_id, str(path), FOLDER)
            tags |= {f"{TEST}{one.test}": one.test_set, f"{SCORES}{one.test}": sha256_of(path)}
    return tags


def fetch(version: Version, test: str) -> CaseScores:
    """What :func:`keep` kept of a test.

    Raises:
        InputError: nothing was kept, it is gone, or it was changed since.
    """
    from mlflow.exceptions import MlflowException

    client = store.client()
    found = client.get_model_version(version.name, str(version.number))
    called = f"version {version.number} has no scores of the cases of {test}"
    wanted = found.tags.get(f"{SCORES}{test}")
    if wanted is None or not found.run_id:
        raise InputError(f"{called}: it was registered before they were kept, or without that test.")
    silent = store.environment(MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    with tempfile.TemporaryDirectory() as folder, silent:
        try:
            path = Path(client.download_artifacts(found.run_id, f"{FOLDER}/{test}.json", folder))
        except (MlflowException, OSError):
            raise InputError(f"{called} any more: they are gone from its run {found.run_id}.") from None
        if sha256_of(path) != wanted:
            raise InputError(f"{called}: what is kept of them was changed since.")
        return CaseScores.load(path)
