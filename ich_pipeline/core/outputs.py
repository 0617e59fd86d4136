"""Where a command may write, and what of the user's own must not lie there: looked at before any work."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import beside, real_place, refuse_mount, tidied

WORKING = ("partial", "old", "fetched", "lock")  # ``.NAME.KIND`` beside an output; removed by the runs that write it
_LONGEST = 255 - len("..unusable.partial")  # bytes of a name on most disks, less what the longest of ours adds


def working_places(output: Path) -> tuple[Path, ...]:
    """The places beside ``output`` that a run which writes it makes, and removes."""
    whole = output.resolve()
    return tuple(beside(whole, kind) for kind in WORKING)


def lies_in(path: Path, place: Path) -> bool:
    """Does ``path`` lie in ``place``, itself or the link that it is?"""
    return any(one.is_relative_to(place) for one in (path.resolve(), path.parent.resolve() / path.name))


def check_output(output: Path, option: str, *, replaced: bool = True) -> None:
    """Refuse a folder that a command could not write in the end.

    Args:
        output: a folder, there or not.
        option: how the user names it, ``"--out"``; empty for a place that has no option.
        replaced: as a whole; else files are written into it.

    Raises:
        InputError: it has no name, none that can be written, or is a file, a loop of links or a mount point.
    """
    called = f"{option} {output}".strip()
    _check_name(output, called)
    try:
        real = real_place(output)
    except RuntimeError:
        raise InputError(f"{called} is a link that leads back to itself: name another folder.") from None
    if real.exists() and not real.is_dir():
        raise InputError(f"{called} is a file: name a folder.")
    if replaced:
        refuse_mount(real)
    elif real.exists() and not os.access(real, os.W_OK | os.X_OK):
        raise InputError(f"{called} cannot be written: name another folder, or mend its permissions.")


def refuse_foreign(folder: Path, option: str, ours: Mapping[str, Callable[[bytes], bool]]) -> None:
    """Refuse a folder with a file of a name that the command writes, which it did not write: it would be replaced.

    Args:
        folder: there or not.
        option: how the user names it.
        ours: name → whether this content is of an earlier run.

    Raises:
        InputError: there is such a file, or what bears its name is none.
    """
    for name, is_ours in ours.items():
        path = folder / name
        if os.path.lexists(path) and not (path.is_file() and is_ours(path.read_bytes())):
            raise InputError(
                f"{f'{option} {folder}'.strip()} holds {name}, which is not of an earlier run of this command and would be replaced: "
                "name another folder, or rename it."
            )


def json_with(*keys: str) -> Callable[[bytes], bool]:
    """Is a file a JSON object with these keys?"""

    def found(content: bytes) -> bool:
        try:
            values = json.loads(content)
        except ValueError:
            return False
        return isinstance(values, dict) and values.keys() >= set(keys)

    return found


def check_new_file(path: Path, option: str) -> None:
    """Refuse a file that is there, or that could not be made in the end.

    Raises:
        InputError: it exists, has no name, or its folder cannot be made or written.
    """
    called = f"{option} {path}"
    _check_name(path, called)
    if path.exists():
        raise InputError(f"{called} exists: name a new file.")
    try:
        with tidied(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        raise InputError(f"{called} cannot be written ({error.strerror}): name another file.") from None


def check_apart(output: Path, option: str, *inputs: tuple[str, Path]) -> None:
    """Refuse what the user names within a place that the run removes.

    Args:
        output: what the command writes.
        option: how the user names it.
        inputs: what else the user names, each with how: ``("SOURCE", path)``.

    Raises:
        InputError: one of them lies in ``.NAME.partial``, ``.NAME.fetched`` or another one beside the output.
    """
    for place in working_places(output):
        for what, path in inputs:
            refuse_within(place, f"{what} {path}".strip(), path, f"{option} {output}".strip())


def refuse_within(place: Path, called: str, path: Path, writes: str) -> None:
    """Refuse a path within a place that a run removes.

    Raises:
        InputError: it lies there.
    """
    if lies_in(path, place):
        raise InputError(f"{called} lies in {place.name}, which a run that writes {writes} removes: keep it elsewhere.")


def _check_name(path: Path, called: str) -> None:
    if path.name in ("", ".."):
        raise InputError(f"{called} has no name of its own: name a new one.")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        called = called.encode(errors="backslashreplace").decode()
        raise InputError(f"{called} is no valid UTF-8, which tables cannot be written to: name another one.") from None
    if len(path.name.encode()) > _LONGEST:
        raise InputError(f"{called}: the name is longer than {_LONGEST} bytes: name a shorter one.")
