"""Archives of every kind and state: each member has its row, nothing escapes, nothing expands without bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import types
import zipfile
import zlib

import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.sources import budget
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.formats import Kind, archive_kind
from ich_pipeline.sources.unpack import unpack

FILES = {"a/IM1": b"one" * 500, "a/IM2": b"", "b/IM1": random.Random(1).randbytes(70_000)}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars(open_folder, make_tar, mode):
    opened = open_folder({"export.bin": make_tar(FILES, mode)})
    assert opened.files == {f"export.bin/{name}": data for name, data in FILES.items()}
    assert opened.reasons == {"export.bin": "archive"}
    assert opened.details == {"export.bin": "3 members"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips(open_folder, make_zip, method):
    opened = open_folder({"sub/export": make_zip(FILES, method), "plain": b"not an archive"})
    inside = {f"sub/export/{name}": data for name, data in FILES.items()}
    assert opened.files == inside | {"plain": b"not an archive"}
    assert opened.reasons == {"sub/export": "archive"}


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_a_compressed_file_that_is_no_tar(open_folder, suffix, compress):
    data = FILES["b/IM1"]
    twice = compress(data) + compress(b"and more")  # several streams in one file are one file
    opened = open_folder({f"IM1.dcm{suffix}": twice, "noname": compress(data), f"empty{suffix}": compress(b"")})
    assert opened.files == {
        f"IM1.dcm{suffix}/IM1.dcm": data + b"and more",
        "noname/content": data,
        f"empty{suffix}/empty": b"",
    }
    assert set(opened.reasons.values()) == {"archive"}


def test_nested_to_the_limit(open_folder, make_zip, make_tar):
    inner = make_zip({"IM1": b"deep"})
    nested = make_tar({"inner.zip": inner, "IM2": b"shallow"}, "w:gz")
    too_deep = make_zip({"x": make_zip({"x": make_zip({"x": inner})})})
    opened = open_folder({"export.zip": make_zip({"n.tgz": nested}), "deep.zip": too_deep})
    assert opened.files == {"export.zip/n.tgz/inner.zip/IM1": b"deep", "export.zip/n.tgz/IM2": b"shallow"}
    assert opened.reasons.pop("deep.zip/x/x/x") == "archive_bomb"
    assert "ingest.archives.depth (3)" in opened.details["deep.zip/x/x/x"]
    assert set(opened.reasons.values()) == {"archive"} and len(opened.reasons) == 6
    on_disk = [path for path in opened.scratch.rglob("*") if path.is_file()]
    assert len(on_disk) == len(opened.files)  # no nested archive is left


def test_a_dicom_file_is_no_archive_whatever_its_preamble():
    assert archive_kind(b"PK\x03\x04".ljust(128, b"\0") + b"DICM", "x") is None
    assert archive_kind(b"PK\x03\x04", "x") is Kind.ZIP
    assert archive_kind(b"PK\x03\x04", "letter.docx") is None
    assert archive_kind(b"BZhello, world", "x") is None


def test_archives_of_other_kinds_are_named(open_folder):
    opened = open_folder({"x.7z": b"7z\xbc\xaf\x27\x1c rest", "x.rar": b"Rar!\x1a\x07\x01\x00 rest"})
    assert opened.reasons == {"x.7z": "archive_unsupported", "x.rar": "archive_unsupported"}


def test_unsafe_members_of_a_tar(open_folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        kinds = {"soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "disk": tarfile.BLKTYPE}
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name in ("../up", "/etc/root", "a/../../up", "./fine", "a//fine"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
    opened = open_folder({"x.tar": out.getvalue()})
    assert opened.files == {"x.tar/fine": b"data", "x.tar/a/fine": b"data"}
    unsafe = {"soft", "hard", "pipe", "disk", "../up", "/etc/root", "a/../../up"}
    assert opened.reasons == {"x.tar": "archive"} | {f"x.tar/{name}": "archive_member_unsafe" for name in unsafe}
    assert opened.details["x.tar/soft"] == "a symbolic link"


def test_unsafe_members_of_a_zip(open_folder):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("empty")
        for name in ("..\\up", "C:\\up", "fold\\fine"):
            info = zipfile.ZipInfo("x")
            info.filename = name  # as an archiver on Windows writes it
            archive.writestr(info, "data")
    opened = open_folder({"x.zip": out.getvalue()})
    assert opened.files == {"x.zip/fold/fine": b"data"}
    assert {name: reason for name, reason in opened.reasons.items() if reason != "archive"} == dict.fromkeys(
        ["x.zip/link", "x.zip/../up", "x.zip/C:/up"], "archive_member_unsafe"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_repeat_are_told_apart(open_folder, make_zip):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for data in ("one", "two", "three"):
            archive.writestr("IM1", data)
        archive.writestr("IM1#2", "other")
        archive.writestr("inner.zip", make_zip({"IM1": b"inner"}))
        archive.writestr("inner.zip/IM1", "folder of the same name")
    opened = open_folder({"x.zip": out.getvalue()})
    assert opened.files == {
        "x.zip/IM1": b"one",
        "x.zip/IM1#2": b"two",
        "x.zip/IM1#3": b"three",
        "x.zip/IM1#2#2": b"other",
        "x.zip/inner.zip/IM1": b"inner",
        "x.zip/inner.zip/IM1#2": b"folder of the same name",
    }


def test_encrypted_and_unread_methods(open_folder, make_zip):
    locked = bytearray(make_zip({"a": b"secret", "b": b"open"}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of the first member, in both its headers
        locked[locked.index(signature) + at] |= 1
    opened = open_folder({"l.zip": bytes(locked), "bz.zip": make_zip({"a": b"x" * 999}, zipfile.ZIP_BZIP2)})
    assert opened.files == {"l.zip/b": b"open"}
    assert opened.reasons == {
        "l.zip": "archive",
        "l.zip/a": "archive_encrypted",
        "bz.zip": "archive",
        "bz.zip/a": "archive_unsupported",
    }
    assert "bzip2" in opened.details["bz.zip/a"]


def test_a_damaged_member_leaves_its_neighbours(open_folder, make_zip):
    data = bytearray(make_zip(FILES, zipfile.ZIP_STORED))
    data[data.index(b"oneone") + 3] ^= 1
    opened = open_folder({"x.zip": bytes(data)})
    assert opened.reasons == {"x.zip": "archive", "x.zip/a/IM1": "archive_broken"}
    assert set(opened.files) == {"x.zip/a/IM2", "x.zip/b/IM1"}


MANY = {f"IM{n}": random.Random(n).randbytes(3000 + n) for n in range(8)}


class _Unseekable(io.RawIOBase):
    """zipfile then writes sizes behind the data, as streaming archivers do."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block) -> int:  # type: ignore[override]
        self.data += block
        return len(block)


def streamed_zip(files: dict[str, bytes]) -> bytes:
    out = _Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, data in files.items():
            archive.writestr(name, data)
    return bytes(out.data)


@pytest.mark.parametrize("kind", ["stored", "deflated", "streamed", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.55, 0.8, 0.95])
def test_a_cut_archive_is_rejected_whole(open_folder, make_zip, make_tar, kind, share):
    whole = {
        "stored": lambda: make_zip(MANY, zipfile.ZIP_STORED),
        "deflated": lambda: make_zip(MANY),
        "streamed": lambda: streamed_zip(MANY),
        "tar": lambda: make_tar(MANY).rstrip(b"\0") + bytes(1024),  # without tar's padding: every byte counts
        "tar.gz": lambda: make_tar(MANY, "w:gz"),
        "tar.bz2": lambda: make_tar(MANY, "w:bz2"),
        "tar.xz": lambda: make_tar(MANY, "w:xz"),
    }[kind]()
    cut = whole[: int(len(whole) * share)]
    opened = open_folder({"x": cut, "outer.zip": make_zip({"x": cut, "IM1": b"whole"})})
    if "x" in opened.files:  # too little is left to tell what it was
        assert share == 0.02 and kind.startswith("tar")
        return
    assert opened.reasons == {"x": "archive_broken", "outer.zip": "archive", "outer.zip/x": "archive_broken"}
    assert opened.files == {"outer.zip/IM1": b"whole"}
    assert "cut short or damaged" in opened.details["x"] and opened.details["x"].endswith(": bring the whole archive")
    assert [path.read_bytes() for path in opened.scratch.rglob("*") if path.is_file()] == [b"whole"]


def test_a_tar_with_a_damaged_header_is_not_taken_for_its_end(open_folder, make_tar):
    data = bytearray(make_tar(MANY))
    data[data.index(b"IM4\0")] ^= 1
    opened = open_folder({"x.tar": bytes(data)})
    assert (opened.files, opened.reasons) == ({}, {"x.tar": "archive_broken"})
    assert "no end mark after 4 members" in opened.details["x.tar"]


def test_a_tar_behind_a_tar_is_not_passed_over(open_folder, make_tar):
    opened = open_folder({"x.tar": make_tar(MANY) + make_tar(MANY)})
    assert (opened.files, opened.reasons) == ({}, {"x.tar": "archive_broken"})
    assert "more data behind the end mark, after 8 members" in opened.details["x.tar"]


@pytest.fixture
def tight(limits, monkeypatch):
    """Tenfold expansion at most, judged from 1 MiB on."""
    monkeypatch.setattr(budget, "RATIO_FROM", 1 << 20)
    return limits.model_copy(update={"ratio": 10.0})


def test_bombs_by_ratio(open_folder, make_zip, tight):
    zeros = bytes(3 << 20)
    bomb = make_zip({"first": b"x", "bomb": zeros, "last": b"y"})
    opened = open_folder({"z.zip": bomb, "good.zip": make_zip(MANY)}, tight)
    assert opened.files == {"z.zip/first": b"x"} | {f"good.zip/{name}": data for name, data in MANY.items()}
    assert opened.reasons == {
        "good.zip": "archive",
        "z.zip": "archive_bomb",
        "z.zip/bomb": "archive_bomb",
        "z.zip/last": "archive_bomb",
    }
    assert "ingest.archives.ratio 10" in opened.details["z.zip/bomb"]
    assert sum(p.stat().st_size for p in opened.scratch.rglob("*") if p.is_file()) < 100_000


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_bombs_in_a_tar_that_hide_in_a_skipped_member(open_folder, tight, mode):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, size in (("first", 1), ("../skipped", 3 << 20), ("last", 1)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    opened = open_folder({"t": out.getvalue()}, tight)
    assert set(opened.files) == {"t/first"}
    assert opened.reasons == {"t": "archive_bomb", "t/../skipped": "archive_member_unsafe"}
    assert opened.details["t"].endswith("what follows is not listed")


def test_bombs_by_bytes_in_all(open_folder, make_zip, make_tar, limits):
    small = limits.model_copy(update={"expanded_gib": 20_000 / (1 << 30)})
    opened = open_folder({"a.zip": make_zip(MANY), "b.tar": make_tar(MANY)}, small)
    assert sum(map(len, opened.files.values())) <= 20_000
    assert set(opened.files) >= {f"a.zip/IM{n}" for n in range(6)}
    assert opened.reasons["a.zip"] == opened.reasons["b.tar"] == "archive_bomb"
    assert {f"a.zip/{name}" for name in MANY} <= set(opened.files) | set(opened.reasons)


def test_bombs_by_count(open_folder, make_zip, make_tar, limits):
    few = limits.model_copy(update={"members": 5})
    opened = open_folder({"a.zip": make_zip(MANY), "b.tar": make_tar(MANY)}, few)
    assert opened.reasons == {"a.zip": "archive_bomb", "b.tar": "archive_bomb"}
    assert len(opened.files) == 5 and "ingest.archives.members (5)" in opened.details["a.zip"]


def test_a_sparse_giant_and_hostile_tar_headers(open_folder):
    def header(**fields: object) -> bytes:
        info = tarfile.TarInfo("x")
        for name, value in fields.items():
            setattr(info, name, value)
        return info.tobuf(tarfile.GNU_FORMAT)

    giant_header = header(type=tarfile.XHDTYPE, size=3 << 30)  # tarfile would read it as a whole
    backwards = header(size=-1024)  # base-256 sizes may be negative: an endless loop
    sparse = bytearray(header(type=tarfile.GNUTYPE_SPARSE))
    sparse[386:410] = b"%011o\0%011o\0" % (0, 0)
    sparse[483:495] = b"%011o\0" % (8 << 30)  # the size that it expands to
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    opened = open_folder(
        {
            "pax.tar": giant_header + bytes(2048),
            "back.tar": backwards * 3 + bytes(1024),
            "s.tar": bytes(sparse) + bytes(1024),
        }
    )
    assert not any(opened.files.values())
    assert opened.reasons["pax.tar"] == opened.reasons["back.tar"] == "archive_broken"
    assert opened.reasons["s.tar"] == opened.reasons["s.tar/x"] == "archive_bomb"


def test_an_xz_file_that_wants_gigabytes_of_memory(open_folder):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(b"x" * 100, filters=filters))
    block = 12  # behind the stream header: size, flags, filter id, size of properties, dictionary size, padding, CRC
    length = (data[block] + 1) * 4
    data[block + 4] = 40  # 4 GiB − 1
    data[block + length - 4 : block + length] = struct.pack("<L", zlib.crc32(bytes(data[block : block + length - 4])))
    opened = open_folder({"x.xz": bytes(data)})
    assert opened.reasons == {"x.xz": "archive_broken"} and "emory" in opened.details["x.xz"]


def test_a_directory_that_is_too_large_to_read(open_folder, limits):
    size = 5 << 20  # of a directory for which five members may take 1,280 bytes, 4 MiB at the least
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFF, 0xFFF, size, 0, 0)
    few = limits.model_copy(update={"members": 5})
    opened = open_folder({"x.zip": b"PK\x03\x04" + bytes(size) + end}, few)
    assert opened.reasons == {"x.zip": "archive_bomb"} and "directory" in opened.details["x.zip"]


@pytest.mark.parametrize("kind", ["stored", "deflated", "streamed", "tar", "tar.gz", "tar.bz2", "tar.xz", "nested"])
def test_mutated_archives_are_accounted_for(tmp_path, make_zip, make_tar, limits, kind):
    few = {name: data[:400] for name, data in MANY.items()}
    whole = {
        "stored": lambda: make_zip(few, zipfile.ZIP_STORED),
        "deflated": lambda: make_zip(few),
        "streamed": lambda: streamed_zip(few),
        "tar": lambda: make_tar(few),
        "tar.gz": lambda: make_tar(few, "w:gz"),
        "tar.bz2": lambda: make_tar(few, "w:bz2"),
        "tar.xz": lambda: make_tar(few, "w:xz"),
        "nested": lambda: make_zip({"a.tgz": make_tar(few, "w:gz"), "b.zip": make_zip(few)}),
    }[kind]()
    rng = random.Random(kind)
    folder = tmp_path / "source"
    folder.mkdir()
    for n in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 30))):
            at = rng.choice((rng.randrange(len(data)), rng.randrange(min(600, len(data))), -rng.randrange(1, 300)))
            data[at] = rng.choice((0, 0xFF, rng.randrange(256)))
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        (folder / f"x{n}").write_bytes(data)
    listing = unpack(list_folder(folder), tmp_path / "scratch", limits)
    names = [name for _, name in listing.files] + [judged.name for judged in listing.judged]
    assert len(set(names)) == len(names)
    assert {f"x{n}" for n in range(60)} <= set(names)
    on_disk = {path for path in (tmp_path / "scratch").rglob("*") if path.is_file()}
    assert on_disk == {path for path, _ in listing.files if path.parent != folder}


def test_a_disk_that_fills_up_is_no_bomb(open_folder, make_tar, monkeypatch):
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1 << 20))
    with pytest.raises(InputError, match="nearly full"):
        open_folder({"x.tar": make_tar(MANY)})


@pytest.mark.parametrize("more", [0, 10_000, -1])
@pytest.mark.parametrize("inner", [{"x.dcm": b"within"}, {}])
def test_a_cut_zip_is_not_taken_for_the_one_that_lies_in_it(open_folder, make_zip, inner, more):
    """The last directory in the file is then the inner one's; what lies before it has no row of its own."""
    within = make_zip(inner)
    before = {f"a{k}.dcm": random.Random(k).randbytes(3000) for k in range(3)}
    whole = make_zip(before | {"inner.zip": within, "b.dcm": random.Random(9).randbytes(30_000)}, zipfile.ZIP_STORED)
    cut = whole[: whole.index(within) + len(within) + more]
    opened = open_folder({"x": cut})
    assert opened.files == {} and opened.reasons == {"x": "archive_broken"}, opened.details
    joined = make_zip({"one": b"1"}) + make_zip({"two": b"2"})
    opened = open_folder({"x": joined})
    assert opened.files == {} and opened.reasons == {"x": "archive_broken"}
