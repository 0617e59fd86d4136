"""States to resume a training from: one file, written whole or not at all, that ends with the same weights' bytes.

The file is a numpy archive: the network's and the optimiser's variables, the best look's weights and answers, and one
JSON text with the step and the history. (Keras' BackupAndRestore loses the states of dropout: docs/decisions.md.)
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_file
from ich_pipeline.training.looks import Look

SCHEMA = "checkpoint/2"
FILE = "state.npz"


@dataclass(frozen=True)
class Best:
    """The best look so far, with what the network then was and answered."""

    look: Look
    weights: tuple[NDArray[Any], ...]
    probabilities: NDArray[np.float32]  # (validation slices, labels)


@dataclass(frozen=True)
class State:
    """A training between two steps."""

    step: int  # optimiser steps done
    history: tuple[Look, ...]
    best: Best | None
    stopped: str | None  # why it ended; None while it goes on
    variables: tuple[NDArray[Any], ...]  # :attr:`Trainer.variables`; none when it has ended


class Checkpoint:
    """Where a training keeps its state. ``minutes`` between two; 0 keeps one after every step."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.path = Path(folder) / FILE
        self._seconds = minutes * 60
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: State) -> bool:
        """Keep a state in place of the last one.

        Returns:
            Whether it was kept: a state with values that are not finite leaves the last good one where it is.

        Raises:
            OSError: no room; the last state is kept.
        """
        best = state.best
        arrays = {f"variable_{k}": value for k, value in enumerate(state.variables)}
        if not all(np.isfinite(value).all() for value in arrays.values() if value.dtype.kind == "f"):
            return False
        if best is not None:
            arrays |= {f"best_{k}": value for k, value in enumerate(best.weights)}
            arrays["probabilities"] = best.probabilities
        told = {
            "schema": SCHEMA,
            "step": state.step,
            "history": [asdict(look) for look in state.history],
            "best": best and best.look.look,
            "stopped": state.stopped,
        }
        arrays["told"] = np.asarray(json.dumps(told))
        with atomic_file(self.path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())  # or a rename may outlive the data after a power cut
        self._last = time.monotonic()
        return True

    def load(self) -> State | None:
        """The state kept last; None where there is none.

        Raises:
            InputError: the file is damaged or of another version.
        """
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                told = json.loads(str(kept["told"]))
                if told["schema"] != SCHEMA:
                    raise ValueError(f"schema {told['schema']!r}")
                history = tuple(Look(**look) for look in told["history"])
                best = None
                if told["best"] is not None:
                    best = Best(history[told["best"] - 1], _numbered(kept, "best_"), kept["probabilities"])
                return State(told["step"], history, best, told["stopped"], _numbered(kept, "variable_"))
        except (ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.path} is no state that this version can resume ({reason}): remove it, and the training begins anew."
            ) from None


def _numbered(kept: Any, prefix: str) -> tuple[NDArray[Any], ...]:
    count = sum(name.startswith(prefix) for name in kept.files)
    return tuple(kept[f"{prefix}{k}"] for k in range(count))


def fitting(values: Sequence[NDArray[Any]], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether kept arrays are of these shapes, in this order."""
    return [tuple(value.shape) for value in values] == [tuple(shape) for shape in shapes]
