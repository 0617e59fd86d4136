"""A version as a server needs it: its files, found to be what was registered, and what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_pipeline.registry import store, versions
from ich_pipeline.registry.remembered import Version
from ich_pipeline.serving.code import BUNDLE


@dataclass(frozen=True)
class Opened:
    """A version that may be loaded.

    Attributes:
        version: as the registry knows it.
        folder: its files (an MLflow model).
        training_data: JSON values of :class:`ich_pipeline.serving.origin.Origin`; its ``words``; and ``dvc``, DVC's hash of the
            raw input: ``untracked`` where DVC tracked none, empty where the run that made the version is gone.
    """

    version: Version
    folder: Path
    training_data: dict[str, Any]


def open_version(version: Version) -> Opened:
    """Check a version's files and look up the rest. Imports MLflow and pydicom, which whoever is told need not.

    Raises:
        InputError: its files are gone, or are not what was registered.
    """
    folder = versions.verified_folder(version)  # first: for files that lie here it needs no MLflow

    from mlflow.exceptions import MlflowException

    from ich_pipeline.serving.bundle import read_origin

    client = store.client()
    found = client.get_model_version(version.name, str(version.number))
    try:
        data = client.get_run(str(found.run_id)).data.tags.get("ich.data", "")
    except MlflowException:  # purged
        data = ""
    origin = read_origin(folder / BUNDLE)
    training_data = {**origin.to_json(), "words": origin.words, "dvc": data}
    return Opened(version, folder, training_data)
