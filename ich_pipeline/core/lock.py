"""One run at a time in one place: two that write into one folder at once would spoil each other."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import beside, put_back, real_place, tidied

LOCK = Path(".state/run.lock")
INSIDE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the project's lock; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: another run holds it.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _hold(LOCK, "is at work in this folder"):
        yield


@contextlib.contextmanager
def alone_with(output: Path, option: str, *, inside: bool = False) -> Iterator[Path]:
    """Hold ``.NAME.lock`` beside what a command writes, or ``.lock`` inside it, and yield it; it is gone after the block.

    What a run that was killed left between two names is put back. The lock is made before any work, so a place that cannot be written is told at once. A run that was killed leaves the file,
    which holds nobody up.

    Args:
        output: a folder that was found fit by :func:`ich_pipeline.core.outputs.check_output`.
        option: how the user names it.
        inside: what is written does not replace the folder, whose parent may be another's.

    Raises:
        InputError: another run holds it, nothing can be written there, or a file of that name is no lock.
    """
    place = real_place(output)
    lock = place / INSIDE if inside else beside(place, "lock")
    was_empty = lock.is_file() and lock.stat().st_size == 0
    with tidied(lock.parent), contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_hold(lock, f"writes {option} {output}"))
        except OSError as error:
            raise InputError(
                f"{option} {output} cannot be written ({error.strerror}): name another folder, or mend its permissions."
            ) from None
        if not inside:
            put_back(place)
        # While it is held: who waits for this name looks again. An empty file that was there may be the user's own.
        stack.callback(os.truncate, lock, 0) if was_empty else stack.callback(lock.unlink, missing_ok=True)
        yield lock


@contextlib.contextmanager
def _hold(path: Path, what: str) -> Iterator[None]:
    with _locked(path, what) as file:
        file.seek(0)
        if not file.read().strip().isdigit() and path.stat().st_size:
            raise InputError(f"{path} is no lock of a run, and would be one: rename that file.")
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _locked(path: Path, what: str) -> IO[str]:
    while True:
        # A link there is the user's own, and what it leads to must not be written.
        file = os.fdopen(
            os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "r+", errors="replace"
        )
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(file, path):
                return file
        except BlockingIOError:
            with file:
                file.seek(0)
                who = file.read().strip() or "unknown"
            raise InputError(f"another run (process {who}) {what}: wait for it, or stop it.") from None
        except OSError as error:
            if error.errno in _NO_LOCKS:  # some network disks have none, and are no worse off than before
                return file
            file.close()
            raise
        file.close()  # the run that held it has removed it meanwhile


def _is_still(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
