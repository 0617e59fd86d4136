"""Files that hold others without beginning as an archive does are named as such; DICOM files never are."""

from __future__ import annotations

import random

import pytest

from ich_pipeline.sources.containers import container

FILES = {"a/IM1": b"one" * 500, "b/IM1": random.Random(1).randbytes(70_000)}
UNOPENED = "archive_unsupported"


def image(standard: bytes = b"CD001") -> bytes:
    """A disc image's first sectors."""
    return bytes(16 * 2048) + b"\x01" + standard + b"\x01" + bytes(2041) + random.Random(2).randbytes(3000)


@pytest.fixture
def hidden(make_zip) -> dict[str, tuple[bytes, str]]:
    """Contents, and what is said of each."""
    whole = make_zip(FILES)
    commented = make_zip(FILES)[:-2] + (5).to_bytes(2, "little") + b"hello"
    return {
        "disc.iso": (image(), "a disc image"),
        "NONAME": (image(b"BEA01"), "a disc image"),
        "study.exe": (b"MZ" + bytes(5000) + whole, "a self-extracting archive"),
        "signed.exe": (b"MZ" + bytes(5000) + whole + bytes(3000), "a self-extracting archive"),
        "mark": (b"\xef\xbb\xbf" + whole, "a zip with other bytes before it"),
        "comment": (b"\xef\xbb\xbf" + commented, "a zip with other bytes before it"),
        "exp.zip.002": (whole[30_000:], "part of a split archive"),
        "renamed": (whole[30_000:], "part of a split archive"),
        "cut in its directory": (whole[-90:], "part of a split archive"),
        "EXP.ZIP.003": (random.Random(3).randbytes(9000), "part of a split archive"),
        "exp.7z.002": (random.Random(4).randbytes(9000), "part of a split archive"),
    }


def test_each_is_named_and_none_is_lost(open_folder, hidden):
    plain = {"note.txt": b"no archive", "empty": b""}
    opened = open_folder({name: data for name, (data, _) in hidden.items()} | plain)
    assert opened.reasons == dict.fromkeys(hidden, UNOPENED)
    assert opened.details == {name: what for name, (_, what) in hidden.items()}
    assert opened.files == plain


def test_beside_and_within_archives(open_folder, hidden, make_zip):
    data = {name: data for name, (data, _) in hidden.items()}
    opened = open_folder({"all.zip": make_zip({**data, "IM1": b"plain"}), "disc.iso": data["disc.iso"]})
    assert opened.files == {"all.zip/IM1": b"plain"}
    assert opened.reasons == {"all.zip": "archive", "disc.iso": UNOPENED} | {f"all.zip/{n}": UNOPENED for n in hidden}
    assert opened.details["all.zip/study.exe"] == "a self-extracting archive"


def test_a_viewer_is_no_archive_and_a_mark_by_chance_none_either(open_folder, make_zip):
    parts = {"viewer.exe": b"MZ", "lib/codec.dll": b"MZ", "lib/": b"", "licence.txt": b"free"}
    files = {
        "autorun.exe": b"MZ" + bytes(5000) + make_zip(parts),
        "noise": random.Random(5).randbytes(3000) + b"PK\x05\x06" + random.Random(6).randbytes(3000),
    }
    opened = open_folder(files)
    assert opened.files == files and not opened.reasons
    with_images = {"with images.exe": b"MZ" + bytes(5000) + make_zip(parts | {"DICOM/IM1": b"one"})}
    assert open_folder(with_images).details == {"with images.exe": "a self-extracting archive"}


def test_dicom_files_and_what_looks_like_an_archive_by_chance_are_read(open_folder, make_zip):
    whole = make_zip(FILES)
    dicom = bytes(128) + b"DICM" + image()[132:] + whole
    files = {
        "IM1.zip.002": dicom,
        "no preamble": b"\x08\x00\x05\x00CS" + image()[8:] + whole,
        "chance": b"x" * 1000 + b"PK\x05\x06" + bytes([0, 0, 0, 0, 1, 0, 1, 0, 50, 0, 0, 0, 9, 0, 0, 0, 0, 0]),
        "short": b"x" * 100 + b"PK\x05\x06",
        "viewer.exe": b"MZ"
        + bytes(5000)
        + make_zip({"META-INF/MANIFEST.MF": b"Main-Class: Viewer", "Viewer.class": b""}),
        "letter.docx": b"\xef\xbb\xbf" + whole,
    }
    opened = open_folder(files)
    assert opened.files == files and opened.reasons == {}


def test_a_file_that_cannot_be_read_is_left_to_the_reading_of_its_header(tmp_path):
    assert container(tmp_path / "gone", b"", "gone") == ""
