"""What a terminal shows of a long run: how many of how many, and the time left."""

from __future__ import annotations

import io
import sys
import time

import pytest

from ich_pipeline.core.progress import terminal


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_many_of_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    seen = []
    for item in terminal(iter("abc"), "reading", 3):
        end = time.monotonic() + 60
        while f"{len(seen)} of 3" not in shown.getvalue():  # a thread of its own shows it
            assert time.monotonic() < end, shown.getvalue()
            time.sleep(0.01)
        seen.append(item)
    assert seen == ["a", "b", "c"] and "reading" in shown.getvalue()


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(terminal([1, 2], "reading", 2)) == [1, 2]
    assert capsys.readouterr() == ("", "")
