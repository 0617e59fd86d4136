"""SIGTERM and a closed terminal stop a command as Ctrl-C does: what is half done is removed, and its processes end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_on_signals() -> None:
    """From now on both raise KeyboardInterrupt; a signal that the caller ignores (``nohup``) stays ignored."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for received in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(received) is not signal.SIG_IGN:
            signal.signal(received, stop)


@contextlib.contextmanager
def not_between() -> Iterator[None]:
    """What is inside belongs together: a signal that comes meanwhile stops the command behind it.

    For what takes moments: renames that only make sense together, and the removal of what a run kept meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():  # signals come in the main thread alone
        yield
        return
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in STOPPING}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
        for number in came[:1]:
            signal.raise_signal(number)
