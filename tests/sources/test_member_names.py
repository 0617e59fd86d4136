"""Hypothesis: whatever members are called, each has a row of its own, and nothing is written outside the scratch folder."""

from __future__ import annotations

import io
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.names import member_name, shown
from ich_pipeline.sources.unpack import unpack

PIECES = st.sampled_from(["..", ".", "/", "\\", "C:", "IM1", "a", "\0", "\n", "ü", "\ud800", "#2", " ", "con", "~"])
NAMES = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=6).map("".join)
DATA = st.binary(max_size=20).map(b"no archive: ".__add__) | st.just(b"")
MEMBERS = st.lists(st.tuples(NAMES, DATA), max_size=6)


def is_safe(name: str) -> bool:
    """Independent of the code: does the path stay below where it is put, on POSIX and on Windows?"""
    parts = name.replace("\\", "/").split("/")
    absolute = parts[0] == "" or (
        len(parts[0]) >= 2 and parts[0][1] == ":" and parts[0][0].isascii() and parts[0][0].isalpha()
    )
    return not absolute and ".." not in parts and any(p not in ("", ".") for p in parts)


def zip_of(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in members:
            info = zipfile.ZipInfo("x")
            info.filename = name.encode("utf-8", "replace").decode()
            archive.writestr(info, data)
    return out.getvalue()


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode() + "\udcff")  # a byte that is not UTF-8
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@settings(max_examples=60, deadline=None)
@given(members=MEMBERS)
@example(members=[("../../up", b"1"), ("/etc/passwd", b"2"), ("IM1", b"3"), ("IM1", b"4"), ("", b"5")])
def test_every_member_has_its_row_and_stays_inside(limits, pack, members):
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        source, scratch = top / "source", top / "deep" / "scratch"
        source.mkdir()
        (source / "x.bin").write_bytes(pack(members))
        listing = unpack(list_folder(source), scratch, limits)
        outside = {p for p in top.rglob("*") if p.is_file()} - {source / "x.bin"}
        assert all(path.is_relative_to(scratch) for path in outside)
        names = [name for _, name in listing.files] + [judged.name for judged in listing.judged]
        assert len(set(names)) == len(names)
        for name in names:
            assert name.isprintable() or all(c.isspace() or c.isprintable() or ord(c) > 0x9F for c in name)
            name.encode()
        if pack is zip_of:  # tar takes a slash at the end for a folder, and cuts at NUL
            folders = [name for name, data in members if name.endswith("/") and not data]
            assert len(names) == 1 + len(members) - len(folders) if members else True
            whole = sorted(data for name, data in members if is_safe(name) and not name.endswith("/"))
            assert sorted(path.read_bytes() for path, _ in listing.files) == whole or not members


@given(name=NAMES)
@example(name="a" * 70_000)
def test_names_on_one_line(name):
    text, problem = member_name(name)
    assert "\n" not in text and "\0" not in text and len(text) <= 6001
    text.encode()
    assert shown(text) == text
    assert bool(problem) != is_safe(name)
