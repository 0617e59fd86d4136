"""One run at a time in one place: two that write into one folder at once would spoil each other."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import beside, put_back, real_place, tidied

LOCK = Path(".state/run.lock")
INSIDE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_PATIENCE, _POLL = 0.1, 0.02  # seconds: the run that held it may be removing its file right now
_LONGEST_NUMBER = 20  # bytes; of a process


class Busy(InputError):
    """Another run holds the lock: later it goes."""


@contextlib.contextmanager
def project_locked() -> Iterator[None]:
    """Hold the project's lock; the system lets go of it when the process ends, however it ends.

    Raises:
        Busy: another run holds it.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _hold(LOCK, "is at work in this folder"):
        yield


@contextlib.contextmanager
def stage_locked(title: str) -> Iterator[None]:
    """Hold the lock of one stage: of a run that was killed, it may still be ending.

    Raises:
        Busy: it runs already.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _hold(LOCK.with_name(f"{title}.lock"), f"runs stage {title} in this folder"):
        yield


@contextlib.contextmanager
def output_locked(output: Path, option: str, *, inside: bool = False) -> Iterator[Path]:
    """Hold ``.NAME.lock`` beside what a command writes, or ``.lock`` inside it, and yield it; it is gone after the block.

    What a run that was killed left between two names is put back. The lock is made before any work, so a place that
    cannot be written is told at once. A run that was killed leaves the file, which holds nobody up.

    Args:
        output: a folder that was found fit by :func:`ich_pipeline.core.outputs.check_output`.
        option: how the user names it.
        inside: what is written does not replace the folder, whose parent may be another's.

    Raises:
        InputError: another run holds it, nothing can be written there, or a file of that name is no lock.
    """
    place = real_place(output)
    lock = place / INSIDE if inside else beside(place, "lock")
    was_empty = _is_empty(lock)
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


def was_locked(output: Path) -> bool:
    """Does a lock lie inside a folder, of a run that is at it or was killed?"""
    lock = real_place(output) / INSIDE
    return lock.is_file() and not lock.is_symlink() and lock.read_bytes()[: _LONGEST_NUMBER + 1].strip().isdigit()


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except FileNotFoundError:  # another run has just ended
        return False


@contextlib.contextmanager
def _hold(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, which says the number of this process.

    Raises:
        Busy: another run holds it.
        InputError: a file of that name is no lock.
        OSError: it cannot be made or written; a link there counts as such, since what it leads to is the user's own.
    """
    if path.is_file() and not path.is_symlink():
        found = path.read_bytes()[: _LONGEST_NUMBER + 1].strip()
        if found and not found.isdigit():
            raise InputError(f"{path} is no lock of a run, and would be one: rename that file.")
    lock = FileLock(path, timeout=_PATIENCE, poll_interval=_POLL, thread_local=False, on_acquired=_sign)
    try:
        lock.acquire()
    except Timeout:
        if not path.exists():  # the library takes it for a file that others keep removing: on /proc there can be none
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        who = path.read_text(errors="replace").strip()
        raise Busy(f"another run (process {who or 'unknown'}) {what}: wait for it, or stop it.") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # some network disks have none, and are no worse off than before
            raise
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
