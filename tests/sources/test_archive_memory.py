"""Archives whose own lists would fill the memory, before a byte of a member is read."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator

import pytest

HEADER = 1 << 17  # bytes instead of LARGEST_HEADER: the same in less time
MEMORY = 24 << 20  # bytes that opening any of these may take
BLOCK = 512


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("ich_pipeline.sources.tars.LARGEST_HEADER", HEADER)
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY, f"{peak:,} bytes"


def header(kind: bytes, size: int = 0, name: str = "x") -> bytearray:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return bytearray(info.tobuf(tarfile.GNU_FORMAT))


def summed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def old_map(blocks: int) -> bytes:
    """A GNU sparse member whose map goes on and on, each block saying that another follows."""
    first = header(tarfile.GNUTYPE_SPARSE)
    first[482] = 1
    one = (b"%011o\0%011o\0" % (1, 1)) * 21 + b"\1" + bytes(7)
    return summed(first) + one * blocks + bytes(2 * BLOCK)


def new_map(numbers: int) -> bytes:
    """The same as GNU tar writes it today: in front of the member's bytes, as text."""
    said = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1", "GNU.sparse.name": "x"}
    pax = b"".join(b"%d %s=%s\n" % (len(f"00 {k}={v}\n"), k.encode(), v.encode()) for k, v in said.items())
    text = b"%d\n" % (numbers // 2) + b"1\n" * numbers
    text += bytes(-len(text) % BLOCK)
    padded = pax + bytes(-len(pax) % BLOCK)
    return (
        summed(header(tarfile.XHDTYPE, len(pax)))
        + padded
        + summed(header(tarfile.REGTYPE, len(text)))
        + text
        + bytes(1024)
    )


def global_headers(count: int) -> bytes:
    """Names that hold for all members that follow, which a reader gathers."""
    parts = []
    for number in range(count):
        value = "v" * (1 << 14)
        line = f" k{number}={value}\n"
        length = len(line) + 6
        pax = f"{length}{line}".encode()
        parts.append(summed(header(tarfile.XGLTYPE, len(pax))) + pax + bytes(-len(pax) % BLOCK))
        parts.append(summed(header(tarfile.REGTYPE)))
    return b"".join(parts) + bytes(1024)


@pytest.mark.parametrize(
    "hostile",
    [lambda: old_map(HEADER // BLOCK + 9), lambda: new_map(HEADER), lambda: global_headers(12)],
    ids=["sparse map in blocks", "sparse map as text", "global headers"],
)
def test_a_tar_header_without_end(open_folder, hostile: Callable[[], bytes]):
    opened = open_folder({"x.tar.gz": gzip.compress(hostile(), 1)})
    assert opened.reasons["x.tar.gz"] == "archive_bomb" and "header" in opened.details["x.tar.gz"]


def test_a_sparse_file_is_read(open_folder):
    opened = open_folder({"x.tar": old_map(0)[:482] + b"\0" + old_map(0)[483:], "y.tar": new_map(0)})
    assert set(opened.reasons.values()) <= {"archive", "archive_broken"}


def entry(name: bytes) -> bytes:
    return struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name


def test_a_zip_directory_of_more_entries_than_allowed_is_not_parsed(open_folder, limits, monkeypatch):
    """The end record may say anything of their number: the entries themselves count."""
    directory = entry(b"a") * 100_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 4, 0)
    made = []
    plain = zipfile.ZipInfo.__init__
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda self, *a, **k: made.append(1) or plain(self, *a, **k))
    many = limits.model_copy(update={"members": 50_000})
    opened = open_folder({"x.zip": b"PK\x03\x04" + directory + end}, many)
    assert opened.reasons == {"x.zip": "archive_bomb"} and "in its directory" in opened.details["x.zip"]
    assert not made


def test_small_bombs_share_what_goes_beyond_the_ratio(open_folder, limits, monkeypatch):
    monkeypatch.setattr("ich_pipeline.sources.budget.RATIO_FROM", 1 << 20)
    few = limits.model_copy(update={"ratio": 10.0})
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(700_000))
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("plain", b"some bytes" * 100)
    opened = open_folder({**{f"{n}.zip": bomb.getvalue() for n in range(6)}, "9.zip": good.getvalue()}, few)
    assert "9.zip/plain" in opened.files, "a good one is read after them"
    assert sum(map(len, opened.files.values())) < (1 << 20) + 10 * 6 * len(bomb.getvalue()) + 1000
    assert [opened.reasons[f"{n}.zip"] for n in range(6)].count("archive_bomb") >= 4
