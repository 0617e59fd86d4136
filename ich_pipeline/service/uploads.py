"""What a request brings, as files on the disk: written as it comes, within limits, under names of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from ich_pipeline.core.errors import InputError
from ich_pipeline.service.engine import TooLarge
from ich_pipeline.sources.listing import Names
from ich_pipeline.sources.names import shown

FORM = "multipart/form-data"
BODIES = ("application/zip", "application/dicom", "application/octet-stream", "application/x-tar", "application/gzip")
HOW = f"send DICOM files as {FORM}, or a zip (or one file) as the body with Content-Type {BODIES[0]} or {BODIES[2]}"
_BLOCK = 1 << 18  # bytes that are decoded at a time; a part's header may take as many


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
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind not in (FORM, *BODIES):
        raise NoUpload(f"Content-Type is {shown(kind) or 'missing'}: {HOW}.")
    if kind == FORM and not (boundary and boundary.isascii()):
        raise InputError(f"Content-Type {FORM} comes without a boundary: {HOW}.")
    folder.mkdir(mode=0o700)
    with contextlib.closing(_Files(folder)) as files:
        form = _Form(boundary, files, limits.files) if kind == FORM else None
        count = 0
        try:
            async with asyncio.timeout(limits.seconds):
                async for data in body:
                    count += len(data)
                    if count > limits.bytes:
                        raise TooLarge(
                            f"the body is larger than {limits.bytes:,} bytes: send one study, or one series."
                        )
                    for start in range(0, len(data), _BLOCK):
                        (form or files).write(data[start : start + _BLOCK])
        except TimeoutError:
            raise TooSlow(f"the body did not come within {limits.seconds:g} s: send it once more.") from None
        if form is not None:
            form.write(None)
    if not files.found:
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

    def write(self, data: bytes) -> None:
        if not self.found:
            self.begin("body")
        if self._file is not None:
            self._file.write(data)

    def close(self) -> None:
        """What is written from now on belongs to no file."""
        if self._file is not None:
            self._file.close()
        self._file = None


class _Form:
    """The parts of a form that are files; other fields are passed over."""

    def __init__(self, boundary: str, files: _Files, parts: int) -> None:
        self._decoder = MultipartDecoder(boundary.encode(), 4 * _BLOCK, max_parts=parts)
        self._files, self._parts = files, parts

    def write(self, data: bytes | None) -> None:
        """Decode what came; None at the end."""
        try:
            self._decoder.receive_data(data)
            while not isinstance(event := self._decoder.next_event(), NeedData | Epilogue):
                if isinstance(event, File):
                    self._files.begin(event.filename)
                elif isinstance(event, Field):
                    self._files.close()
                elif isinstance(event, Data) and self._files.found:
                    self._files.write(event.data)
        except RequestEntityTooLarge:
            raise TooLarge(
                f"the form has more than {self._parts:,} parts, or a part with a very long header."
            ) from None
        except ValueError:
            raise InputError(f"the form is damaged or cut short: {HOW}.") from None
