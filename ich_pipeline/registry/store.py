"""Where MLflow keeps its record: a SQLite file in ``mlruns/``, or what MLFLOW_TRACKING_URI names.

MLflow takes seconds to import, so it is imported inside functions. Its telemetry is off.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ich_pipeline.core.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLRUNS = Path("mlruns")
DATABASE = "mlflow.db"
EXPERIMENT = "ich-pipeline"


def tracking_uri() -> str:
    """The user's MLFLOW_TRACKING_URI, else the SQLite file in the project's ``mlruns/``.

    Raises:
        InputError: that file's URI could not be written.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or _own_uri()


def registry_uri() -> str:
    """The user's MLFLOW_REGISTRY_URI, else the tracking store."""
    return os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri()


def is_own() -> bool:
    """Whether runs go into the project's own store, not into one that others may use."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    return not named or named == f"sqlite:///{(MLRUNS / DATABASE).absolute()}"


def _own_uri() -> str:
    place = (MLRUNS / DATABASE).absolute()  # absolute, since MLflow keeps one connection a URI
    if "?" in str(place):
        raise InputError(
            f"the project lies in {place.parent.parent}, and MLflow's record cannot lie in a folder with a question mark in its name: "
            "rename that folder, or set MLFLOW_TRACKING_URI to another store."
        )
    return f"sqlite:///{place}"


@contextlib.contextmanager
def locked(name: str = "store") -> Iterator[None]:
    """Hold the project's record alone: two trainings that start at once must make one database and one parent run."""
    MLRUNS.mkdir(parents=True, exist_ok=True)
    with (MLRUNS / f".{name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def client() -> MlflowClient:
    """A client of the store; makes the database and the experiment the first time (some seconds)."""
    _quiet()
    import mlflow

    uri = tracking_uri()
    own = is_own()
    with locked():
        if own:
            _prepare_database(MLRUNS / DATABASE)
        found = mlflow.MlflowClient(uri, registry_uri())
        if found.get_experiment_by_name(EXPERIMENT) is None:
            # Without a location MLflow would put artifacts into a folder of whatever directory is current.
            location = (MLRUNS.absolute() / "artifacts").as_uri() if own else None
            found.create_experiment(EXPERIMENT, artifact_location=location)
    return found


def experiment_id(found: MlflowClient) -> str:
    """Identifier of the project's experiment, which :func:`client` has made."""
    experiment = found.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise LookupError(f"MLflow at {shown_uri()} lost its experiment {EXPERIMENT}")
    return experiment.experiment_id


def shown_uri() -> str:
    """:func:`tracking_uri` for sentences: without the user and the password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", tracking_uri())


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables of the environment for the block, which MLflow reads in each of its functions."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def without_bytecode() -> Iterator[None]:
    """Neither this process nor those that it starts in the block write compiled files beside the code that they run."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with environment(PYTHONDONTWRITEBYTECODE="1"):
            yield
    finally:
        sys.dont_write_bytecode = before


def _quiet() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    for name in ("alembic", "mlflow.store.db.utils"):  # a hundred lines about migrations of a database just made
        logging.getLogger(name).setLevel(logging.WARNING)


def _prepare_database(path: Path) -> None:
    """Write-ahead logging, once (the mode stays in the file): the server reads while a training writes."""
    if not path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
