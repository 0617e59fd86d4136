"""What requests bring: forms of any shape, cut anywhere, in pieces of any size."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ich_pipeline.core.errors import InputError
from ich_pipeline.service.engine import TooLarge
from ich_pipeline.service.uploads import FORM, Limits, NoUpload, TooSlow, receive

LIMITS = Limits(1 << 20, 8, 5.0)
BOUNDARY = "x-boundary"
TYPE = f"{FORM}; boundary={BOUNDARY}"


def form(parts: list[tuple[str | None, bytes]]) -> bytes:
    """A form as browsers send it (RFC 7578); a part without a name is a field."""
    whole = b""
    for name, data in parts:
        file = "" if name is None else f'; filename="{name}"'
        whole += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"{file}\r\n\r\n'.encode() + data + b"\r\n"
    return whole + f"--{BOUNDARY}--\r\n".encode()


def received(body: bytes, kind: str = TYPE, piece: int = 1 << 16, limits: Limits = LIMITS) -> list[tuple[str, bytes]]:
    """Name and bytes of each file that lies on the disk afterwards."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(receive(pieces(), kind, Path(folder) / "files", limits))
        assert all(path.parent == Path(folder) / "files" and path.name.isdigit() for path, _ in found)
        assert all(path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0 for path, _ in found)
        return [(name, path.read_bytes()) for path, name in found]


names = st.none() | st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n'), min_size=1, max_size=20)
contents = st.binary(max_size=200) | st.sampled_from([b"\r\n", b"\r\n--", f"\r\n--{BOUNDARY}".encode()[:-1], b"--"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, contents), max_size=6), st.integers(1, 80))
@example([("../../etc/passwd", b"a"), ("../../etc/passwd", b"b")], 7)
def test_a_form_gives_its_files_whatever_the_pieces(parts: list[tuple[str | None, bytes]], piece: int) -> None:
    files = [data for name, data in parts if name is not None]
    if not files:
        with pytest.raises(InputError, match="holds no file"):
            received(form(parts), piece=piece)
        return
    found = received(form(parts), piece=piece)
    assert sorted(data for _, data in found) == sorted(files)
    assert len({name for name, _ in found}) == len(found) and [name for name, _ in found] == sorted(n for n, _ in found)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 300))
def test_a_damaged_form_is_a_sentence_or_files(data: st.DataObject, piece: int) -> None:
    whole = bytearray(form([("a", b"1" * 50), (None, b"field"), ("b", b"\r\n2")]))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        received(bytes(whole[: data.draw(st.integers(0, len(whole)))]), piece=piece)
    except InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)


def test_other_bodies_and_limits() -> None:
    assert received(b"PK", "application/zip; charset=utf-8") == [("body", b"PK")]
    for body, kind, wrong, words in (
        (b"x", "text/plain", NoUpload, "Content-Type is text/plain"),
        (b"x", "", NoUpload, "Content-Type is missing"),
        (b"x", FORM, InputError, "without a boundary"),
        (b"", "application/zip", InputError, "holds no file"),
        (b"x" * (LIMITS.bytes + 1), "application/zip", TooLarge, "larger than 1,048,576 bytes"),
        (form([("a", b"")] * (LIMITS.files + 1)), TYPE, TooLarge, "more than 8 parts"),
        (form([("a" * LIMITS.bytes, b"")])[: LIMITS.bytes], TYPE, TooLarge, "header of more than"),
        (form([("a", b"1")])[:-6], TYPE, InputError, "cut short"),
    ):
        with pytest.raises(wrong, match=words):
            received(body, kind)


def test_a_body_that_does_not_come_in_time(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(5)

    with pytest.raises(TooSlow, match=r"within 0\.05 s"):
        asyncio.run(receive(slow(), "application/zip", tmp_path / "files", Limits(9, 9, 0.05)))
