"""SIGTERM and a closed terminal stop a command as Ctrl-C does: what is half done is removed, and its processes end."""

from __future__ import annotations

import signal
from types import FrameType


def stop_on_signals() -> None:
    """From now on both raise KeyboardInterrupt; a signal that the caller ignores (``nohup``) stays ignored."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for received in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(received) is not signal.SIG_IGN:
            signal.signal(received, stop)
