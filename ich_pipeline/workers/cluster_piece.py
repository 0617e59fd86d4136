"""A piece of work on a Dask worker: what travels there, and what the worker does with it.

The work itself is done in a child of the worker (:mod:`ich_pipeline.workers.child`), so that a decoder that crashes or
hangs takes neither the worker nor what else it is at. Nothing here needs numpy, a decoder or Prefect.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ich_pipeline
from ich_pipeline.workers.child import Child, Crash

# What may change a byte of the result: all workers must have the versions of the run that they work for.
LIBRARIES = ("numpy", "scipy", "blosc2", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm")
LOOK_SECONDS = 1.0  # between two looks whether the run is still there
IDLE_SECONDS = 60.0  # a child without work is ended after that

_seen = ""  # the last run's token that this worker has seen: once seen, it can only go


class Sealed:
    """A value that shows nothing: Dask and Prefect log and display arguments, and these name patients."""

    __slots__ = ("_data",)

    def __init__(self, value: Any) -> None:
        self._data = pickle.dumps(value)

    def open(self) -> Any:
        """The value."""
        return pickle.loads(self._data)

    def __repr__(self) -> str:
        return f"Sealed({len(self._data)} bytes)"

    def __sizeof__(self) -> int:
        return len(self._data)


@dataclass(frozen=True)
class Place:
    """What a worker must have before it may work for a run.

    Attributes:
        environment: :func:`environment` of the run.
        directory: the run's current folder; paths in tasks may be relative to it.
        token: a file that is there as long as the run is.
        sample: one of the files that tasks read.
        sample_bytes: its :func:`size_of`.
        patience: seconds in which a network file system may come to show them.
    """

    environment: dict[str, str]
    directory: str
    token: str
    sample: str
    sample_bytes: int
    patience: float

    def lacks(self) -> str | None:
        """What this worker lacks, to be said behind its name; None where it can work.

        Names no file of the source: the sentence may be shown where patients' names have no place.
        """
        here = environment()
        for name, wanted in self.environment.items():
            if here.get(name) != wanted:
                return f"has {name} {here.get(name, 'missing')} where this run has {wanted}"
        global _seen
        until = time.monotonic() + (0 if _seen == self.token else self.patience)
        while missing := self._unseen():
            if time.monotonic() >= until:
                return f"does not see {missing}"
            time.sleep(0.2)
        _seen = self.token
        return None

    def _unseen(self) -> str | None:
        if not Path(self.directory).is_dir():
            return f"{self.directory}, where this run was started"
        if not Path(self.token).exists():
            return f"{Path(self.token).parent}, where this run writes"
        return None if size_of(Path(self.sample)) == self.sample_bytes else "the files of the source"


@dataclass(frozen=True)
class Piece:
    """Tasks for one worker; pickled parts, so that the worker itself need not import what they are made of."""

    place: Place
    function: bytes
    tasks: tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    """Of a piece: what the worker lacks, or the function's exception, or a pickled result or a crash for each task."""

    lacks: str | None = None
    error: Exception | None = None
    results: tuple[bytes | Crash, ...] = ()


@functools.cache
def environment() -> dict[str, str]:
    """Name → version of all that may change a byte of the ingest's results, the project's own code included."""
    code = hashlib.sha256()
    folder = Path(ich_pipeline.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        code.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    found = {"Python": platform.python_version(), "ich_pipeline": code.hexdigest()[:12]}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, −1 where it cannot be had."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def look_at(place: Sealed) -> Sealed:
    """:meth:`Place.lacks` of the worker that this is run on."""
    return Sealed(place.open().lacks())


def ingest_piece(piece: Sealed) -> Sealed:
    """Do a :class:`Piece`; raises nothing, since Dask logs what is raised with its arguments."""
    opened: Piece = piece.open()
    lacking = opened.place.lacks()
    if lacking:
        return Sealed(Answer(lacks=lacking))
    child = _children.take()
    try:
        results: list[bytes | Crash] = []
        call = functools.partial(_call, directory=opened.place.directory, function=opened.function)
        for task in opened.tasks:
            result = _done(child, call, task, Path(opened.place.token))
            if result is None:
                return Sealed(Answer(lacks="worked for a run that has ended"))
            results.append(result)
        answer = Answer(results=tuple(results))
    except Exception as error:
        answer = Answer(error=error)
    finally:
        _children.put(child)
    return Sealed(answer)


def _done(child: Child, call: Callable[[bytes], bytes], task: bytes, token: Path) -> bytes | Crash | None:
    """The result, or None where the run ended first: its client was killed, and nobody waits for it."""
    child.give(call, task)
    while True:
        if child.line.poll(LOOK_SECONDS):
            answer = child.answer()
            if answer is not None:
                return answer[0]
        elif not token.exists():
            child.stop()
            return None


def _call(task: bytes, directory: str, function: bytes) -> bytes:
    """Runs in the child."""
    os.chdir(directory)
    return pickle.dumps(pickle.loads(function)(pickle.loads(task)))


class _Children:
    """The children of this worker that wait for their next piece: a start takes about a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Child, threading.Timer] = {}

    def take(self) -> Child:
        with self._lock:
            if not self._idle:
                return Child(silent=True)
            child, timer = self._idle.popitem()
            timer.cancel()
            return child

    def put(self, child: Child) -> None:
        timer = threading.Timer(IDLE_SECONDS, self._end, (child,))
        timer.daemon = True
        with self._lock:
            self._idle[child] = timer
            timer.start()

    def _end(self, child: Child) -> None:
        with self._lock:
            mine = self._idle.pop(child, None)
        if mine is not None:
            child.stop()


_children = _Children()
