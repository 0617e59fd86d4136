"""Names of the frames of an enhanced object, which have no SOPInstanceUID of their own: ``UID#n``, n from 1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_FRAME = re.compile(r"([^#]+)#([1-9][0-9]{0,8})")


def frame_name(name: str, frame: int) -> str:
    """What a frame of the file or object of this name is called."""
    return f"{name}#{frame}"


def split_frame(name: str) -> tuple[str, int | None]:
    """The object's own UID and the number of the frame that a slice's name names; None where it names none."""
    found = _FRAME.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, None)


def frame_path(path: str, frame: int) -> str:
    """What a frame is called among files. A file may be called ``path#1``, and none has a NUL in its name."""
    return f"{path}\0{frame}"


def known_slices(uids: Iterable[str], frames: Iterable[int]) -> Iterator[str]:
    """Every name that a label of a slice may bear.

    Args:
        uids: SOPInstanceUID of every file of the input, as the account has it.
        frames: how many frames each of them describes; 0 where it is no enhanced object.
    """
    for uid, count in zip(uids, frames, strict=True):
        yield uid
        for frame in range(1, count + 1):
            yield frame_name(uid, frame)
