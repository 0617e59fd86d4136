"""Hostile input: bombs, lies about sizes, and mutated files by the hundred end as rows of the account."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from pydicom import dataset, dcmread, uid
from pydicom.dataelem import RawDataElement

from ich_pipeline.dicom.opening import Limits
from ich_pipeline.dicom.reader import read_header, read_slice_headers
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.scan import PARALLEL_FROM
from ich_pipeline.ingest.tables import ACCOUNT_COLUMNS
from tests.made.mutations import mutated, seeds, written

RANGE = (0.5, 15.0)


@pytest.fixture
def deflated(make_slice):
    """A deflated file with ``extra`` megabytes of zeros behind its pixels."""

    def make(extra: int) -> bytes:
        ds = make_slice()
        ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        whole = written(ds)
        meta = whole[: 144 + dcmread(io.BytesIO(whole)).file_meta.FileMetaInformationGroupLength]
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(zlib.decompress(whole[len(meta) :], -zlib.MAX_WBITS))
        length = (extra << 20).to_bytes(4, "little")
        body += packer.compress(b"\xfc\xff\xfc\xffOB\0\0" + length + bytes(extra << 20)) + packer.flush()
        return meta + body

    return make


def test_a_deflate_bomb_is_refused_before_it_is_unpacked(deflated):
    data = deflated(17)
    assert len(data) < 1 << 18
    assert read_header(data, "x", RANGE, Limits(inflated_mib=20)).reason is None
    header = read_header(data, "x", RANGE, Limits(inflated_mib=16))
    assert (header.reason, header.detail) == ("too_large", "inflates to more than 16 MiB")


def test_a_deflated_file_that_ends_early_is_rejected(deflated):
    assert read_header(deflated(1)[:-600], "x", RANGE).reason == "broken_header"


def test_a_huge_header_element_is_not_read(make_slice):
    data = bytearray(written(make_slice(SeriesDescription="brain")))
    at = data.index(b"LO" + len("brain ").to_bytes(2, "little") + b"brain ")
    data[at : at + 4] = b"UT\0\0"
    data[at + 4 : at + 4] = (0x7FFFFFF0).to_bytes(4, "little")
    header = read_header(bytes(data), "x", RANGE)
    assert (header.reason, header.detail) == ("too_large", "a header element of 2147483632 bytes")


def test_a_header_that_takes_too_long_is_given_up(make_slice):
    header = read_header(written(make_slice()), "x", RANGE, Limits(seconds=0.0))
    assert header.reason == "timed_out"


def implicit(tag: tuple[int, int], value: bytes) -> bytes:
    return struct.pack("<HHI", *tag, len(value)) + value


@pytest.mark.parametrize("element", [(0x0008, 0x0005), (0x0008, 0x0016), (0x0020, 0x000D), (0x0028, 0x0030)])
def test_a_value_that_goes_on_and_on_is_not_converted(element, monkeypatch):
    """A megabyte of numbers takes pydicom seconds and hundreds of megabytes; without VR it may have 64."""
    said = [((0x0008, 0x0016), b"1.2.840.10008.5.1.4.1.1.2\0"), ((0x0008, 0x0060), b"CT")]
    values = sorted([*(one for one in said if one[0] != element), (element, b"1\\" * (1 << 19))])
    converted: list[int] = []
    plain: Any = dataset.__dict__["convert_raw_data_element"]

    def counted(raw: RawDataElement, **options: Any) -> Any:
        converted.append(len(raw.value or b""))
        return plain(raw, **options)

    monkeypatch.setattr("pydicom.dataset.convert_raw_data_element", counted)
    header = read_header(b"".join(implicit(tag, value) for tag, value in values), "x", RANGE)
    assert header.reason in ("header_incomplete", "not_dicom", "too_large")
    assert max(converted, default=0) < 100


@pytest.mark.parametrize("tag", [(0x5200, 0x9229), (0x5200, 0x9230)])
@pytest.mark.parametrize("nested", [False, True])
def test_a_sequence_that_goes_on_and_on_is_given_up(tag, nested):
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (1 << 19)
    if nested:
        inner = implicit((0x0028, 0x9110), items)
        items = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    data = implicit((0x0008, 0x0016), b"1.2.840.10008.5.1.4.1.1.2.1\0") + implicit(tag, items)
    assert read_header(data, "x", RANGE, Limits(seconds=0.1)).reason == "timed_out"


LIES = [
    ({"Rows": 65535, "Columns": 65535}, "matrix_out_of_range"),
    ({"Rows": 4096, "Columns": 4096}, "decode_failed"),
    ({"NumberOfFrames": 2**31 - 1}, "multi_frame"),
    ({"BitsAllocated": 64}, "decode_failed"),
    ({"BitsStored": 17}, "decode_failed"),
    ({"HighBit": 3}, "decode_failed"),
    ({"SamplesPerPixel": 3}, "not_hu"),
    ({"RescaleSlope": "1e300"}, "implausible_hu"),
    ({"RescaleSlope": "1e-310", "RescaleIntercept": "0", "signed": False}, "implausible_hu"),
    ({"PixelSpacing": ["1e-300", "1e-300"]}, "geometry_invalid"),
    ({"PixelSpacing": ["1e300", "0.5"]}, "geometry_invalid"),
    ({"ImagePositionPatient": ["0", "0", "-1e308"]}, "geometry_invalid"),
    ({"ImagePositionPatient": ["1e308", "0", "0"]}, "geometry_invalid"),
]


def test_lies_about_the_pixels_have_a_reason(tmp_path, make_slice, save_slice, save_series, ingest_params):
    save_series(tmp_path / "in" / "good", 3, patient="P2", study="good")
    for number, (fields, _) in enumerate(LIES):
        lie = make_slice(patient=f"L{number}", study=f"lie {number}", series=f"lie {number}", **fields)
        save_slice(lie, tmp_path / "in" / "lies" / f"{number:02d}")
    params = ingest_params.model_copy(update={"minimum_slices": 1})
    account = ingest(tmp_path / "in", tmp_path / "out", params).account
    found = account[account["path"].str.startswith("lies/")]
    assert found["reason"].tolist() == [reason for _, reason in LIES]
    assert (account["status"] == "used").sum() == 3


# --- mutations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.long)])
def test_mutated_files_are_all_accounted_for(
    tmp_path, phantom_head, make_enhanced, save_series, ingest_params, monkeypatch, count
):
    root = tmp_path / "in"
    good = save_series(root / "good", 4, patient="P2", study="good")
    (root / "bad").mkdir()
    rng = np.random.default_rng(count)
    sources = seeds(phantom_head, make_enhanced)
    for number in range(count):
        data = mutated(sources[number % len(sources)], number, rng)
        (root / "bad" / f"{number:05d}").write_bytes(data)
    if count < PARALLEL_FROM:  # headers in worker processes as well
        monkeypatch.setattr("ich_pipeline.ingest.scan.PARALLEL_FROM", 1)
    params = ingest_params.model_copy(update={"minimum_slices": 1, "workers": 2})
    report = ingest(root, tmp_path / "out", params)
    assert list(report.account.columns) == list(ACCOUNT_COLUMNS)
    assert report.account["path"].tolist() == sorted(
        [f"bad/{number:05d}" for number in range(count)] + [f"good/{path.name}" for path in good]
    )
    by_path = report.account.set_index("path")
    assert (by_path.loc[[f"good/{path.name}" for path in good], "status"] == "used").all()
    counts = report.account["reason"].value_counts()
    print(counts.to_string())
    # A mutated file is damaged, slow or deadly, but it can be opened: UNREADABLE is for disks and permissions.
    assert not {"timed_out", "unreadable"} & set(counts.index)
    used = report.account.loc[report.account["status"] == "used", "path"]
    assert set(report.slices["path"]) == set(used)


def test_mutations_repeat(phantom_head, make_enhanced):
    [first, *_] = sources = seeds(phantom_head, make_enhanced)
    assert mutated(first, 5, np.random.default_rng(1)) == mutated(first, 5, np.random.default_rng(1))
    assert len({dcmread(io.BytesIO(s)).file_meta.TransferSyntaxUID for s in sources}) >= 7
    assert len(read_slice_headers(first, "x", RANGE)) == 6
