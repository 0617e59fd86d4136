"""What belongs together is not parted by a signal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from ich_pipeline.core.stopping import STOPPING, not_between, stop_on_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {one: signal.getsignal(one) for one in STOPPING}
    for one in STOPPING:  # the tests' own caller may ignore one (nohup, a job in the background)
        signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("received", STOPPING)
def test_a_signal_stops_behind_what_belongs_together(received: signal.Signals) -> None:
    stop_on_signals()
    done = []
    with pytest.raises(KeyboardInterrupt):
        with not_between():
            os.kill(os.getpid(), received)
            os.kill(os.getpid(), received)
            done.append("inside")
        done.append("behind")
    assert done == ["inside"]
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), received)


def test_an_error_inside_is_raised_and_handlers_come_back() -> None:
    stop_on_signals()
    before = [signal.getsignal(one) for one in STOPPING]
    with pytest.raises(ValueError, match="inside"), not_between():
        raise ValueError("inside")
    assert [signal.getsignal(one) for one in STOPPING] == before


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    with not_between():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_in_another_thread_nothing_happens() -> None:
    done: list[str] = []

    def work() -> None:
        with not_between():
            done.append("inside")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["inside"]
