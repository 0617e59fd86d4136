"""``ich doctor``: what works here, and what to do about what does not. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ich_pipeline.commands import cohort
from ich_pipeline.config import Params, load_params, profile
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.silence import silent
from ich_pipeline.tables.cohort_mark import cohort_kind

LOCK = Path("requirements.lock")
OTHERS = "ich.doctor"  # entry points: functions that give a Check
FREE_GB = 10  # data, work and models of the phantom profile take about 4


@dataclass(frozen=True)
class Check:
    """One line: ``works`` None where something optional is not there; ``advice`` where there is something to do."""

    name: str
    works: bool | None
    detail: str
    advice: str = ""
    essential: bool = False

    @property
    def sign(self) -> str:
        """✓, ✗, or – for what is optional and not there."""
        return {True: "✓", False: "✗", None: "–"}[self.works]


def examine() -> Iterator[Check]:
    """All checks in order, each as soon as it is done."""
    yield _python()
    yield _packages()
    params: Params | None = None
    try:
        params = load_params()
        yield Check("parameters", True, f"profile {profile.current()}")
    except InputError as error:
        yield Check("parameters", False, "params.yaml is not valid", str(error), essential=True)
    yield _device()
    yield _engine()
    yield from _mlflow(params)
    for other in importlib.metadata.entry_points(group=OTHERS):  # the pipeline's; this package does not know it
        yield other.load()()
    yield _dvc_remote()
    yield _data()
    if params is not None:
        yield from _weights(params)
    yield _disk()
    yield _program("git", ("git",), "commits are not recorded without it")
    yield _program("chromium", ("chromium", "chromium-browser", "google-chrome"), "only tests of the pages use it")
    yield _program("dcmtk", ("storescu", "echoscu"), "only a PACS connection uses it")


def broken(checks: list[Check]) -> bool:
    """Is something essential broken?"""
    return any(check.essential and check.works is False for check in checks)


def _python() -> Check:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info < (3, 14)
    return Check(
        "Python", fits, version, "" if fits else "Use Python 3.11 to 3.13: `make setup PYTHON=…`.", essential=True
    )


def _packages() -> Check:
    if not LOCK.is_file():
        return Check("packages", None, f"no {LOCK} to compare with", "Run from the project's top folder.")
    wanted = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    missing, other = [], []
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found != version:
            other.append(f"{name} {found} (locked {version})")
    if not missing and not other:
        return Check("packages", True, f"{len(wanted)} as locked", essential=True)
    parts = [f"missing: {_some(missing)}"] if missing else []
    parts += [f"other version: {_some(other)}"] if other else []
    return Check(
        "packages",
        False,
        "; ".join(parts),
        "`rm .venv/ready && make setup` installs the locked ones.",
        essential=bool(missing),
    )


def _device() -> Check:
    try:
        with silent():
            import tensorflow as tf

            gpus = tf.config.list_physical_devices("GPU")
    except ModuleNotFoundError as error:
        return Check("TensorFlow", None, f"no {error.name} here", "`pip install 'ich-pipeline[train]'` brings it.")
    except Exception as error:  # a broken binary raises whatever its loader does
        reason = " ".join(str(error).split())[:200]
        return Check("TensorFlow", False, f"does not load: {reason}", "`make setup` installs it anew.", essential=True)
    names = [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus]
    where = f"GPU {', '.join(names)}" if gpus else f"CPU, {os.cpu_count()} cores"
    advice = ""
    if not gpus and shutil.which("nvidia-smi"):
        advice = "There is an NVIDIA driver: `.venv/bin/pip install 'tensorflow[and-cuda]==2.21.0'` uses its GPU."
    return Check("TensorFlow", True, f"{tf.__version__} on {where}", advice, essential=True)


def _engine() -> Check:
    """What `ich predict` and the registered model run on."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        advice = "`pip install 'ich-pipeline[pipeline]'` brings it; `ich predict` needs it."
        return Check("ONNX Runtime", None, f"no {error.name} here", advice)
    except ImportError as error:  # a broken binary
        reason = " ".join(str(error).split())[:200]
        return Check(
            "ONNX Runtime", False, f"does not load: {reason}", "`make setup` installs it anew.", essential=True
        )
    return Check("ONNX Runtime", True, f"{onnxruntime.__version__} on CPU, {os.cpu_count()} cores", essential=True)


def _mlflow(params: Params | None) -> Iterator[Check]:
    from ich_pipeline.registry import store

    if importlib.util.find_spec("mlflow") is None:
        yield Check("MLflow store", None, "no mlflow here", "`pip install 'ich-pipeline[pipeline]'` brings it.")
        return
    try:
        uri = store.tracking_uri()
    except InputError as error:
        yield Check("MLflow store", False, "this folder's name cannot be used", str(error), essential=True)
        return
    database = store.MLRUNS / store.DATABASE
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        if not database.is_file():
            yield Check("MLflow store", True, f"{database} does not exist yet; the first run makes it")
            return
        try:
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
                connection.execute("SELECT count(*) FROM runs")
        except sqlite3.Error as error:
            advice = f"Move {database} away; `make repro` makes it anew and registers the model again."
            yield Check("MLflow store", False, f"{database}: {error}", advice, essential=True)
            return
    try:
        from ich_pipeline.registry.versions import versions

        found = versions(params.registry.model_name) if params else []
    except Exception as error:  # a remote store fails in its own ways
        reason = " ".join(str(error).split())[:200]
        advice = "Start that server, or unset MLFLOW_TRACKING_URI to use mlruns/ here."
        yield Check("MLflow store", False, f"{uri}: {reason}", advice, essential=True)
        return
    yield Check("MLflow store", True, str(database) if not os.environ.get("MLFLOW_TRACKING_URI") else uri)
    if params:
        shown = ", ".join(f"version {v.number}" + (f" ({', '.join(v.aliases)})" if v.aliases else "") for v in found)
        advice = "" if found else "`make repro` registers one."
        yield Check("model", True if found else None, f"{params.registry.model_name}: {shown or 'none yet'}", advice)


def _dvc_remote() -> Check:
    found = ConfigParser()
    try:
        found.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
    except ConfigError as error:
        return Check("DVC remote", False, " ".join(str(error).split()), "Mend .dvc/config.", essential=True)
    names = [m.group(1) for section in found.sections() if (m := re.search(r'remote\s+"?([^"\']+)"?', section))]
    if not names:
        return Check(
            "DVC remote", None, "none; data and results stay here", "`dvc remote add -d NAME URL` shares them."
        )
    return Check("DVC remote", True, ", ".join(names))


def _data() -> Check:
    kind = cohort_kind(cohort.DATA)
    if kind is None:
        advice = "`make repro` makes the phantom; `ich cohort folder SOURCE --labels CSV` brings yours."
        return Check("data/", None, "missing", advice)
    pointer = Path("data.dvc")
    tracked = "tracked by data.dvc" if pointer.is_file() else "not tracked yet; `make repro` does it"
    return Check("data/", True, f"{kind} cohort, {tracked}")


def _weights(params: Params) -> Iterator[Check]:
    for name in params.architectures:
        weights = params.networks[name].weights
        if weights == "none":
            yield Check(f"weights {name}", True, "none: trained from random weights")
        elif weights == "imagenet":
            cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
            plain = name.replace("_", "")
            held = [f.name for f in cache.glob("*notop*.h5") if f.name.replace("_", "").lower().startswith(plain)]
            advice = "" if held else "Keras downloads them at the first training; without a network give a path."
            yield Check(
                f"weights {name}", True if held else None, f"imagenet: {held[0] if held else 'not here yet'}", advice
            )
        elif weights == "phantom":
            yield Check(f"weights {name}", True, "phantom: learnt on synthetic heads by the stage pretrain")
        else:
            there = Path(weights).exists()  # a file, or the folder of a network of this project
            advice = "" if there else f"Put it there or change networks.{name}.weights in params.yaml."
            yield Check(f"weights {name}", there, weights if there else f"{weights} is missing", advice, essential=True)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    enough = free >= FREE_GB
    advice = "" if enough else f"Free at least {FREE_GB} GB: data, volumes, weights and models need them."
    return Check("disk", enough, f"{free:.0f} GB free", advice)


def _program(
    name: str, commands: tuple[str, ...], use: str, which: Callable[[str], str | None] = shutil.which
) -> Check:
    path = next((found for command in commands if (found := which(command))), None)
    return Check(name, True if path else None, path or f"not installed; {use}")


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:4])} and {len(names) - 4} more"
