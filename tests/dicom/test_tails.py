"""Compressed pixel data without its end, with more behind it, and cut short: read where all of it is there, else one verdict."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from ich_pipeline.deidentify.file import deidentify_bytes
from ich_pipeline.deidentify.key import Key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.dicom import delimiter, rle
from ich_pipeline.dicom.decode import read_hu
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.stored import PixelError
from ich_pipeline.serving.load_case import load_case
from tests.made.ct import anatomy, ct_slice, enhanced, read, small_settings
from tests.made.mutations import STREAMS, written

SYNTAXES = [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.JPEGLossless]
DELIMITER = bytes.fromhex("feffdde000000000")
KEY = Key(bytes(range(32)))
TAILS = {
    "nothing": b"",
    "a byte": b"\0",
    "zeros": bytes(4096),
    "text": b"Doe^Jane " * 30,
    "half a delimiter": DELIMITER[:3],
    "padding": b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 16) + bytes(16),
    "half an element": b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 4096) + bytes(17),
    "a sequence": b"\xfa\xff\xfa\xffSQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0" + DELIMITER,
}
each_syntax = pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.keyword)


@cache
def whole(syntax: uid.UID) -> tuple[Dataset, bytes, NDArray[np.int16]]:
    """A slice in this syntax, its one compressed frame, and its HU."""
    stored = {uid.HTJ2KLossless: "htj2k_unsigned", uid.JPEGLossless: "jpeg_lossless_6"}.get(syntax)
    if stored is None:
        ds = ct_slice()
        hu = read_hu(written(ds))
        ds.compress(syntax, generate_instance_uid=False)
        return ds, next(generate_frames(ds.PixelData, number_of_frames=1)), hu
    with np.load(STREAMS) as file:  # of encoders that are not the project's
        hu, frame = file["hu"], file[stored].tobytes()
    ds = ct_slice(hu=hu, signed=False, PixelData=encapsulate([frame]))
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds, frame, hu


def with_frame(syntax: uid.UID, frame: bytes, fragments: int = 1) -> bytes:
    """The file with this frame, up to its sequence delimiter."""
    ds = dcmread(io.BytesIO(written(whole(syntax)[0])))
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)], fragments_per_frame=fragments)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    data = written(ds)
    assert data.endswith(DELIMITER)
    return data.removesuffix(DELIMITER)


def outcome(data: bytes) -> tuple[Outcome, bytes]:
    done = deidentify_bytes(data, KEY, Options())
    return done.outcome, done.data or b""


@pytest.mark.parametrize("tail", TAILS)
@each_syntax
def test_without_its_delimiter_it_is_read(syntax, tail):
    _, frame, hu = whole(syntax)
    for fragments in (1, 3):
        data = with_frame(syntax, frame, fragments) + TAILS[tail]
        np.testing.assert_array_equal(read_hu(data), hu)
        became, copy = outcome(data)
        assert became is Outcome.DEIDENTIFIED
        np.testing.assert_array_equal(read_hu(copy), hu)
        assert copy.endswith(DELIMITER) and not (len(TAILS[tail]) > 8 and copy.endswith(TAILS[tail]))
        assert b"Doe" not in copy


@given(st.sampled_from(SYNTAXES), st.binary(max_size=300))
@settings(max_examples=15, deadline=None)
def test_any_tail_behind_the_items_changes_nothing(syntax, tail):
    _, frame, hu = whole(syntax)
    if tail[:4] not in (DELIMITER[:4], b"\xfe\xff\x00\xe0"):  # its delimiter, or an item that is cut short
        np.testing.assert_array_equal(read_hu(with_frame(syntax, frame) + tail), hu)
    np.testing.assert_array_equal(read_hu(with_frame(syntax, frame) + DELIMITER + tail), hu)


@given(st.sampled_from(SYNTAXES), st.binary(min_size=1, max_size=300))
@settings(max_examples=15, deadline=None)
def test_any_tail_behind_the_stream_is_read_and_never_kept(syntax, tail):
    _, frame, hu = whole(syntax)
    data = with_frame(syntax, frame + tail) + DELIMITER
    np.testing.assert_array_equal(read_hu(data), hu)
    hidden = tail.strip(b"\0\x80" if syntax == uid.RLELossless else b"\0\xff")
    assert outcome(data)[0] is (Outcome.STREAM_COMMENT if hidden else Outcome.DEIDENTIFIED)


@given(st.sampled_from(SYNTAXES), st.floats(0.02, 0.98), st.sampled_from([b"", bytes(4096), b"Jane Doe " * 90]))
@settings(max_examples=15, deadline=None)
def test_a_stream_that_was_cut_is_no_picture(syntax, share, behind):
    _, frame, _ = whole(syntax)
    cut = frame[: int(len(frame.rstrip(b"\0")) * share)]
    if syntax == uid.RLELossless and behind.strip(b"\0"):
        return  # text in place of what was lost decodes to pixels: no check of this format could tell
    for data in (with_frame(syntax, cut + behind) + DELIMITER, with_frame(syntax, cut + behind)):
        with pytest.raises(PixelError) as error:
            read_hu(data)
        assert error.value.reason is Reason.DECODE_FAILED
        assert outcome(data)[0] in (Outcome.PIXELS_UNREADABLE, Outcome.STREAM_COMMENT)


@each_syntax
def test_an_item_or_a_fragment_that_was_cut_is_no_picture(syntax):
    _, frame, _ = whole(syntax)
    one, many = with_frame(syntax, frame), with_frame(syntax, frame, 4)
    for data in (
        one[:-20],
        many[:-20],
        many[: many.rindex(b"\xfe\xff\x00\xe0")],
        many[: many.rindex(b"\xfe\xff\x00\xe0") + 6],
    ):
        with pytest.raises(PixelError) as error:
            read_hu(data)
        assert error.value.reason is Reason.DECODE_FAILED
        assert outcome(data)[0] in (Outcome.BROKEN_HEADER, Outcome.PIXELS_UNREADABLE)


def test_a_whole_file_is_left_alone(make_slice):
    for ds in (make_slice(), whole(uid.RLELossless)[0]):
        data = written(ds)
        assert delimiter.with_end(data, dcmread(io.BytesIO(data))) is None


def test_what_an_rle_frame_hides_between_its_segments_is_found():
    ds, frame, _ = whole(uid.RLELossless)
    pixels = ds.Rows * ds.Columns
    assert rle.behind(frame, pixels) == rle.behind(frame + bytes(500), pixels) == b""
    second = struct.unpack("<16I", frame[:64])[2]
    header = frame[:8] + struct.pack("<I", second + 8) + frame[12:64]
    assert rle.behind(header + frame[64:second] + b"Doe Jane" + frame[second:], pixels) == b"Doe Jane"


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_as_rle_to_an_end(data):
    rle.behind(data, 100)
    rle.fault(data + bytes(64), 10, 10)


@pytest.mark.parametrize("flat", [True, False])
def test_zeros_that_an_encoder_wrote_are_no_cut(flat):
    hu = np.zeros((64, 64), np.int16)
    if not flat:
        hu[::2, ::3] = 7
    ds = ct_slice(hu=hu)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_hu(written(ds)), hu)


@pytest.mark.parametrize("seed", range(30))
def test_zeros_within_an_rle_stream_cost_their_own_pixels_or_the_picture(seed):
    rng = np.random.default_rng(seed)
    hu = (anatomy(seed, 64) + rng.integers(-9, 10, (64, 64))).astype(np.int16)
    ds = ct_slice(hu=hu)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    [frame] = generate_frames(ds.PixelData, number_of_frames=1)
    count = int(rng.integers(1, 9))
    at = int(rng.integers(64, len(frame) - count))
    ds.PixelData = encapsulate([frame[:at] + bytes(count) + frame[at + count :]])
    try:
        found = read_hu(written(ds))
    except PixelError as error:
        assert error.reason is Reason.DECODE_FAILED and "the compressed stream " in str(error)
    else:  # those that hold a pixel each, or the one value of a run
        assert len(np.unique(found[found != hu])) <= count and np.count_nonzero(found != hu) <= 128 * count


@pytest.mark.parametrize("side", [64, 512])  # rows of 512 in air end with a run of 128 whoever codes them
def test_an_encoder_that_does_not_end_runs_with_rows_is_read(side: int):
    hu = (anatomy(1, side) + np.random.default_rng(1).integers(-9, 10, (side, side))).astype(np.int16)
    hu[: side // 8] = hu[:, : side // 8] = -1024
    ds = ct_slice(hu=hu)
    ds.Rows, ds.Columns = max(1, hu.size >> 15), min(hu.size, 1 << 15)  # Columns has 16 bits
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    ds.Rows, ds.Columns = hu.shape
    np.testing.assert_array_equal(read_hu(written(ds)), hu)


def series(folder: Path, syntax: uid.UID, tail: bytes) -> None:
    folder.mkdir(parents=True)
    for number in range(1, 6):
        ds = ct_slice(number=number)
        ds.compress(syntax, generate_instance_uid=False)
        (folder / f"{number}").write_bytes(written(ds).removesuffix(DELIMITER) + tail)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless], ids=lambda s: s.keyword)
def test_ingest_and_prediction_read_a_series_of_them(tmp_path, syntax):
    series(tmp_path / "plain", syntax, DELIMITER)
    series(tmp_path / "old", syntax, bytes(2048))
    params = small_settings()
    [expected] = read(tmp_path / "plain", params).volumes.values()
    found = read(tmp_path / "old", params)
    np.testing.assert_array_equal(next(iter(found.volumes.values())), expected)
    assert found.counts == {"used": 5} and set(found.account["detail"]) == {delimiter.NOTE}
    np.testing.assert_array_equal(load_case(sorted((tmp_path / "old").iterdir()), params).hu, expected)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless], ids=lambda s: s.keyword)
def test_an_enhanced_object_whose_last_frame_was_lost_keeps_the_others(tmp_path, syntax):
    ds = enhanced([ct_slice(number=n) for n in range(1, 7)])
    ds.compress(syntax, generate_instance_uid=False)
    data = written(ds).removesuffix(DELIMITER)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "1").write_bytes(data + bytes(512))
    assert read(tmp_path / "whole", small_settings()).counts == {"used": 1}
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "1").write_bytes(data[: data.rindex(b"\xfe\xff\x00\xe0")])
    [row] = read(tmp_path / "lost", small_settings()).account.to_dict("records")
    assert row["status"] == "used" and "5 used" in row["detail"] and "1 decode_failed" in row["detail"]
