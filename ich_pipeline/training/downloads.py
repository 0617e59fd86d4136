"""ImageNet weights as Keras itself fetches them: into its cache, in a process of its own.

Keras reads ``KERAS_HOME``, the folder of its cache, once, when it is imported. So a folder of ours can be the cache in a new
process alone; and nothing here may import Keras before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.workers.child import Crash
from ich_pipeline.workers.parallel import OneProcess

CACHE = "models"  # where Keras puts weights within KERAS_HOME
_requested: list[str] = []  # addresses, in the process that downloads


class _NotNow(Exception):
    """Ends a download before its first byte."""


def addresses(architectures: Sequence[str], home: Path) -> Iterator[str]:
    """Where Keras would download each from; nothing is downloaded.

    Args:
        architectures: names of ``keras.applications``.
        home: an empty folder.

    Raises:
        InputError: no such architecture, or Keras has no weights of it.
    """
    yield from _each(partial(_download, home=home, only_ask=True), architectures)


def download(architectures: Sequence[str], home: Path) -> Iterator[str]:
    """Let Keras download each into ``home / CACHE``, check its hash where it states one, and say where it came from.

    Raises:
        InputError: no such architecture, or Keras has no weights of it.
        OSError: whatever hindered the download.
    """
    yield from _each(partial(_download, home=home, only_ask=False), architectures)


def _each(task: partial[str], architectures: Sequence[str]) -> Iterator[str]:
    for answer in OneProcess().run(task, architectures):
        if isinstance(answer, Crash):
            raise OSError(f"its process ended with exit code {answer.exitcode}")
        yield answer


def _download(architecture: str, home: Path, only_ask: bool) -> str:
    """In the process: the address of an architecture's weights, which then lie in the cache unless ``only_ask``."""
    if "keras" not in sys.modules:
        os.environ["KERAS_HOME"] = str(home)

        def heard(event: str, arguments: tuple) -> None:  # Python tells of every request before it is sent
            if event == "urllib.Request":
                _requested.append(str(arguments[0]))
                if only_ask:
                    raise _NotNow

        sys.addaudithook(heard)
    from ich_pipeline.training.backbones import architecture_function

    make = architecture_function(architecture)
    _requested.clear()
    try:
        make(weights="imagenet", include_top=False)
    except _NotNow:
        pass
    except Exception as error:  # Keras raises plain exceptions for whatever happens
        raise OSError(" ".join(str(error).split())[:300]) from None
    if not _requested:
        raise InputError(f"Keras has no ImageNet weights for {architecture}: choose another architecture.")
    return _requested[0]
