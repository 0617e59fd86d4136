"""What can stop a training on any machine, as sentences: no room on disk, no memory, a loss that is no number."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from ich_pipeline.core.errors import Fault, InputError

NO_ROOM = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file grew too large",
}
OUT_OF_MEMORY = ("ResourceExhausted", "RESOURCE_EXHAUSTED", "out of memory", "Unable to allocate")


class NotFinite(Exception):
    """The loss, or what a step made of the weights, is no number."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss of step {step} was not finite")


@contextlib.contextmanager
def told(network: str, batch_size: int, accumulate: int, kept: Path | None) -> Iterator[None]:
    """Turn what a machine runs out of into :class:`Fault` with what to do.

    Args:
        network: its key in ``networks``.
        batch_size: slices in a batch.
        accumulate: parts that a batch passes in.
        kept: file of the state to resume from; None where none is kept.
    """
    try:
        yield
    except (InputError, Fault):
        raise
    except NotFinite as error:
        raise Fault(
            f"{error}: lower networks.{network}.learning_rate or training.gradient_clip_norm in params.yaml, or take "
            f"dtype float32; the training then begins anew. {_state(kept, 'The last good state stays')}"
        ) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        number = _errno(error)
        if number in NO_ROOM:
            raise Fault(
                f"{NO_ROOM[number]} on disk ({reason[:200]}): make room and start again. {_state(kept, 'It goes on from')}"
            ) from None
        if isinstance(error, MemoryError) or any(sign in reason for sign in OUT_OF_MEMORY):
            raise Fault(
                f"out of memory with batches of {batch_size} in {accumulate} part{'s' * (accumulate > 1)} ({reason[:200]}): raise "
                f"training.accumulate or lower networks.{network}.batch_size in params.yaml, or end what else uses the device; "
                f"with unchanged settings it goes on. {_state(kept, 'It goes on from')}"
            ) from None
        if "eterministic" in reason and "UnimplementedError" in reason:
            raise Fault(
                f"{network} has a step without repeatable arithmetic on this graphics card ({reason[:200]}): set "
                f"TF_DETERMINISTIC_OPS=0 to train without equal bytes. {_state(kept, 'It goes on from')}"
            ) from None
        raise


def _state(kept: Path | None, words: str) -> str:
    return f"{words} {kept}." if kept is not None and kept.is_file() else "No state was kept yet."


def _errno(error: BaseException) -> int | None:
    """The system's error number, also where HDF5 tells it in words alone."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return error.errno
    return next((number for number in NO_ROOM if f"errno = {number}," in str(error)), None)
