"""A version as a server needs it: its files, found to be what was registered, and what it was made from and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_pipeline.registry import ledger, store, versions
from ich_pipeline.registry.remembered import Version


@dataclass(frozen=True)
class Opened:
    """A version that may be loaded.

    Attributes:
        version: as the registry knows it.
        folder: its files (an MLflow model).
        data: DVC's hash of the raw input that it learned from; ``untracked`` where DVC tracked none, empty where the run that
            made it is gone.
        tests: name of each test that its networks and ensemble were evaluated on → sha256 of that test's label file, as the
            test ledger has them.
    """

    version: Version
    folder: Path
    data: str
    tests: dict[str, str]


def open_version(version: Version) -> Opened:
    """Check a version's files and look up the rest. Imports MLflow.

    Raises:
        InputError: its files are gone, or are not what was registered.
    """
    from mlflow.exceptions import MlflowException

    folder = versions.verified_folder(version)
    client = store.client()
    found = client.get_model_version(version.name, str(version.number))
    try:
        data = client.get_run(str(found.run_id)).data.tags.get("ich.data", "")
    except MlflowException:  # purged
        data = ""
    model = found.tags.get(versions.MODEL)
    tests = {look.test: look.test_set for look in ledger.looks() if look.model == model}
    return Opened(version, folder, data, dict(sorted(tests.items())))
