"""DICOMDIR: as a source, and as a file whose list is checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import quiet
from ich_pipeline.ingest.scan import scan_listing
from ich_pipeline.sources.directory import Presence, is_directory_file, references
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.source import open_source
from ich_pipeline.sources.unpack import unpack


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """pydicom's example of a file-set with a few of its patients, written by pydicom."""
    found = get_testdata_file("DICOMDIR", read=False)
    assert isinstance(found, str)
    folder = Path(found).parent
    files = FileSet()
    for path in sorted((folder / "77654033").rglob("*")):
        if path.is_file():
            files.add(path)
    files.write(tmp_path / "disc")
    return tmp_path / "disc"


def names(listing: Listing) -> set[str]:
    return {name for _, name in listing.files}


def collected(source: Path, tmp_path: Path) -> Listing:
    return open_source(source).collect(tmp_path / "unused", quiet)


def test_a_directory_as_source_gives_what_it_lists(disc, tmp_path):
    images = {p.relative_to(disc).as_posix() for p in disc.rglob("*") if p.is_file()} - {"DICOMDIR"}
    assert len(images) >= 5
    (disc / "VIEWER.EXE").write_bytes(b"MZ")
    assert names(collected(disc / "DICOMDIR", tmp_path)) == images | {"DICOMDIR"}
    assert names(collected(disc, tmp_path)) == images | {"DICOMDIR", "VIEWER.EXE"}


def test_what_is_absent_is_named_in_the_account(disc, ingest_params, tmp_path):
    images = sorted(p for p in disc.rglob("*") if p.is_file() and p.name != "DICOMDIR")
    gone = images[1].relative_to(disc).as_posix()
    images[1].unlink()
    for listing in (collected(disc, tmp_path), collected(disc / "DICOMDIR", tmp_path)):
        found = scan_listing(listing, ingest_params)
        [header] = [h for h in found.headers if h.name == "DICOMDIR"]
        assert header.reason == "media_directory"
        assert header.detail == f"names {len(images)} files, 1 absent: {gone}"


def test_inside_an_archive_in_small_letters(disc, ingest_params, tmp_path, limits):
    for path in sorted(disc.rglob("*"), reverse=True):  # as discs are mounted by some systems
        path.rename(path.with_name(path.name.lower()))
    source = tmp_path / "source"
    source.mkdir()
    shutil.make_archive(str(source / "disc"), "zip", disc)
    found = scan_listing(unpack(list_folder(source), tmp_path / "scratch", limits), ingest_params)
    [header] = [h for h in found.headers if h.name == "disc.zip/dicomdir"]
    assert header.detail.endswith(" files, all present")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS", "ignore:The value length")
def test_references_that_lead_elsewhere_are_absent_and_not_looked_at(disc, tmp_path):
    (tmp_path / "secret").write_text("not on the disc")
    ds = pydicom.dcmread(disc / "DICOMDIR")
    records = [record for record in ds.DirectoryRecordSequence if "ReferencedFileID" in record]
    records[0].ReferencedFileID = ["..", "secret"]
    records[1].ReferencedFileID = "../secret"
    records[2].ReferencedFileID = str(tmp_path / "secret")
    ds.save_as(disc / "DICOMDIR")
    listing = collected(disc / "DICOMDIR", tmp_path)
    assert "secret" not in "".join(names(listing)) and len(listing) == len(records) - 3 + 1
    assert "3 absent: ../secret, ../secret, " in Presence(names(listing)).describe(disc / "DICOMDIR", "DICOMDIR")


def test_a_directory_that_takes_too_long_to_read_is_given_up(disc):
    assert references(disc / "DICOMDIR")
    with pytest.raises(ValueError, match="its records cannot be read"):
        references(disc / "DICOMDIR", seconds=0.0)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.9999])
def test_a_directory_that_is_cut_short_is_no_source_and_says_so(disc, ingest_params, tmp_path, part, undefined):
    path = disc / "DICOMDIR"
    if undefined:  # the lengths of its sequence and items, which are ended by marks then
        ds = pydicom.dcmread(path)
        ds["DirectoryRecordSequence"].is_undefined_length = True
        for record in ds.DirectoryRecordSequence:
            record.is_undefined_length_sequence_item = True
        ds.save_as(path)
        assert len(references(path)) == sum(p.is_file() for p in disc.rglob("*")) - 1
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=r"is no usable DICOMDIR: its records .*; name its folder instead"):
        collected(path, tmp_path)
    found = scan_listing(collected(disc, tmp_path), ingest_params)
    [header] = [h for h in found.headers if h.name == "DICOMDIR"]
    if not undefined:
        assert header.reason == "media_directory" and header.detail == "its records are cut short"
    else:
        assert header.reason == "broken_header" or header.detail.startswith("its records ")


def test_an_offset_beyond_the_end_is_a_cut(disc):
    """The lengths agree, as where a tool has written what was left of it anew."""
    ds = pydicom.dcmread(disc / "DICOMDIR")
    ds.DirectoryRecordSequence[0].OffsetOfTheNextDirectoryRecord = 0xFFFFFFFF  # leads nowhere, as some write it
    ds.save_as(disc / "DICOMDIR")
    assert references(disc / "DICOMDIR")
    del ds.DirectoryRecordSequence[-2:]
    ds.save_as(disc / "DICOMDIR")
    with pytest.raises(ValueError, match="its records are cut short"):
        references(disc / "DICOMDIR")


@pytest.mark.parametrize("cut", [200, 400, 2000])
def test_a_broken_directory_hides_nothing(disc, ingest_params, tmp_path, cut):
    path = disc / "DICOMDIR"
    path.write_bytes(path.read_bytes()[:cut])
    found = scan_listing(collected(disc, tmp_path), ingest_params)
    assert len(found.headers) == sum(p.is_file() for p in disc.rglob("*"))
    if is_directory_file(path):
        try:
            references(path)
        except ValueError:
            with pytest.raises(InputError, match="name its folder instead"):
                collected(path, tmp_path)


def test_a_scanner_s_disc_with_directories_in_its_folders(real_data, tmp_path, ingest_params):
    """Its directories below the first count from the root of the disc."""
    disc = real_data / "dicom_pacs" / "philips_export"
    files = {p.relative_to(disc).as_posix() for p in disc.rglob("*") if p.is_file()}
    listing = collected(disc / "DICOMDIR", tmp_path)
    found = scan_listing(listing, ingest_params)
    details = {h.name: h.detail for h in found.headers if h.reason == "media_directory"}
    assert len(details) == 7
    listed = names(listing)
    assert listed <= files and {"DICOMDIR", "S21570/S1000/I10"} <= listed
    assert len([name for name in listed if "/S2020/" in name]) == 141
    assert details["DICOMDIR"].startswith("names 2 files")
