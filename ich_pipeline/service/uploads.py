"""What a request brings, as files on the disk: written as it comes, within limits, under names of our own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

from ich_pipeline.core.errors import InputError
from ich_pipeline.service.engine import TooLarge
from ich_pipeline.sources.listing import Names
from ich_pipeline.sources.names import shown

FORM = "multipart/form-data"
BODIES = ("application/zip", "application/dicom", "application/octet-stream", "application/x-tar", "application/gzip")
HOW = f"send DICOM files as {FORM}, or a zip (or one file) as the body with Content-Type {BODIES[0]} or {BODIES[2]}"
_HEAD = 1 << 14  # bytes of a part's header
_FILE = re.compile(rb'^content-disposition:[^\r\n]*;[ \t]*filename\*?="?([^"\r\n]*)', re.IGNORECASE | re.MULTILINE)


class NoUpload(InputError):
    """The body is of a kind that is not read here."""


class TooSlow(InputError):
    """The body did not come in time."""


@dataclass(frozen=True)
class Limits:
    """Of one request.

    Attributes:
        bytes: of its body.
        files: in a form; and members of archives.
        seconds: until it is here.
    """

    bytes: int
    files: int
    seconds: float


async def receive(
    body: AsyncIterator[bytes], content_type: str, folder: Path, limits: Limits
) -> tuple[tuple[Path, str], ...]:
    """Write the files of a request into a folder.

    Args:
        body: as it comes.
        content_type: the header.
        folder: missing; it is made.
        limits: of the request.

    Returns:
        path and name of each file, sorted by name.

    Raises:
        InputError: the form is damaged, or there is no file.
        TooLarge: a limit is passed.
        NoUpload: neither a form nor a file.
        TooSlow: it takes longer than allowed.
    """
    header = Message()
    header["Content-Type"] = content_type
    kind, boundary = header.get_content_type() if content_type else "", str(header.get_param("boundary") or "")
    if kind not in (FORM, *BODIES):
        raise NoUpload(f"Content-Type is {shown(kind) or 'missing'}: {HOW}.")
    if kind == FORM and not (boundary and boundary.isascii()):
        raise InputError(f"Content-Type {FORM} comes without a boundary: {HOW}.")
    folder.mkdir(mode=0o700)
    with contextlib.closing(_Files(folder)) as files:
        form = _Form(boundary, files, limits.files) if kind == FORM else None
        if form is None:
            files.begin("body")
        count = 0
        try:
            async with asyncio.timeout(limits.seconds):
                async for data in body:
                    count += len(data)
                    if count > limits.bytes:
                        raise TooLarge(
                            f"the body is larger than {limits.bytes:,} bytes: send one study, or one series."
                        )
                    (form or files).write(data)
        except TimeoutError:
            raise TooSlow(f"the body did not come within {limits.seconds:g} s: send it once more.") from None
        if form is not None:
            form.end()
    if not count or not files.found:
        raise InputError(f"the request holds no file: {HOW}.")
    return tuple(sorted(files.found, key=lambda one: one[1]))


class _Files:
    """Files that are written one after the other; a body that is no form is one file."""

    def __init__(self, folder: Path) -> None:
        self.found: list[tuple[Path, str]] = []
        self._folder, self._names = folder, Names()
        self._file: IO[bytes] | None = None

    def begin(self, name: str) -> None:
        """What is written from now on belongs to another file."""
        self.close()
        path = self._folder / f"{len(self.found):06d}"
        self._file = path.open("xb")
        self.found.append((path, self._names.unique(shown(name) or "file")))

    def write(self, data: bytes | bytearray) -> None:
        if self._file is not None:
            self._file.write(data)

    def close(self) -> None:
        """What is written from now on belongs to no file."""
        if self._file is not None:
            self._file.close()
        self._file = None


class _Form:
    """The parts of a form that are files (RFC 7578); other fields are passed over.

    Written here: of what comes with Prefect and MLflow, Werkzeug's decoder adds a carriage return to a file where a piece ends
    between the last two hyphens (3.1.9).
    """

    def __init__(self, boundary: str, files: _Files, parts: int) -> None:
        self._line = f"\r\n--{boundary}".encode()
        self._rest = bytearray(b"\r\n")  # the first line may begin the body
        self._files, self._parts, self._most = files, parts, parts
        self._in_head = self._ended = False

    def write(self, data: bytes) -> None:
        """Take what came."""
        self._rest += data
        while not self._ended and (self._head() if self._in_head else self._content()):
            pass

    def end(self) -> None:
        """Nothing more comes."""
        if not self._ended:
            raise InputError(f"the form is cut short: {HOW}.")

    def _content(self) -> bool:
        """Up to the next line between parts; False: more must come."""
        at = self._rest.find(self._line)
        whole = at >= 0 and len(self._rest) >= at + len(self._line) + 2
        known = at if at >= 0 else max(len(self._rest) - len(self._line) + 1, 0)
        self._files.write(self._rest[:known])
        del self._rest[:known]
        if not whole:
            return False
        sign = self._rest[len(self._line) : len(self._line) + 2]
        if sign not in (b"--", b"\r\n"):
            raise InputError(f"the form is damaged, a part is not divided from the next: {HOW}.")
        del self._rest[: len(self._line) + 2]
        self._files.close()
        self._ended, self._in_head = sign == b"--", True
        return True

    def _head(self) -> bool:
        at = self._rest.find(b"\r\n\r\n")
        if max(at, 0 if at >= 0 else len(self._rest)) > _HEAD:
            raise TooLarge(f"the form has a part with a header of more than {_HEAD:,} bytes: {HOW}.")
        if at < 0:
            return False
        head = bytes(self._rest[:at])
        del self._rest[: at + 4]
        self._parts -= 1
        if self._parts < 0:
            raise TooLarge(f"the form has more than {self._most:,} parts: send one study, or one series.")
        if found := _FILE.search(head):
            self._files.begin(found[1].decode(errors="replace"))
        self._in_head = False
        return True
