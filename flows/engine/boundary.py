"""The boundary of every ``python -m flows.…``: what goes wrong becomes one sentence on stderr and an exit status."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from flows.engine import layout
from flows.engine.dvc import DvcError
from ich_pipeline.core.errors import Fault, InputError, refusal
from ich_pipeline.core.files import close_to_others, keep_private

PRIVATE = (layout.DATA, layout.WORK, layout.STATE, layout.MLRUNS, Path(".dvc/cache"), Path(".dvc/tmp"))


def exit_status(title: str, work: Callable[[], None], stopped: str) -> int:
    """Do the work; returns 0, 2 for what the user can mend, 1 for faults, 130 where it was interrupted.

    Args:
        title: begins every sentence.
        work: raises :class:`InputError`, :class:`Fault`, :class:`DvcError` or anything else.
        stopped: what a person who interrupted it should know.

    What is made meanwhile is its owner's alone, and so are, before and after, the folders with patients' data: DVC, when it
    is called by hand, puts files there in its own way.
    """
    keep_private()
    try:
        _close()
        work()
    except InputError as error:
        print(f"{title}: {error}", file=sys.stderr)
        return 2
    except DvcError as error:
        print(f"{title}: {error}", file=sys.stderr)
        return 2 if error.mistake else 1
    except Fault as error:
        print(f"{title} stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{title}: stopped; {stopped}.", file=sys.stderr)
        return 130
    except Exception as error:
        return fault(title, error)
    finally:
        _close()
    return 0


def _close() -> None:
    for folder in PRIVATE:
        close_to_others(folder)


def fault(title: str, error: Exception) -> int:
    """Say in one sentence what broke; returns the exit status.

    2 where the file system refused (the user can mend that), else 1, with the traceback in ``.state/faults``.
    """
    sentence = refusal(error)
    if sentence:
        print(f"{title}: {sentence}", file=sys.stderr)
        return 2
    path = layout.STATE / "faults" / f"{title}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        with tempfile.NamedTemporaryFile("w", suffix=f"-{title}.txt", delete=False, encoding="utf-8") as file:
            file.write(traceback.format_exc())
        path = Path(file.name)
    reason = " ".join(str(error).split())[:400]
    print(f"{title} failed: {type(error).__name__}: {reason} (the traceback is in {path}).", file=sys.stderr)
    return 1
