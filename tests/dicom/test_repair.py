"""Signs and wrap-arounds are mended where the pixels prove the fault, and nowhere else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless

from ich_pipeline.dicom.decode import SliceReader, decode, decode_hu
from ich_pipeline.dicom.reader import read_header
from ich_pipeline.dicom.repair import seams, undo_wrap
from ich_pipeline.ingest.ingest import ingest


@pytest.fixture(scope="module")
def head(phantom_head) -> np.ndarray:
    """HU of the middle slice: air at −1000, bone up to some 1900, no padding."""
    slices = sorted(phantom_head, key=lambda ds: float(ds.ImagePositionPatient[2]))
    return np.maximum(decode_hu(slices[3]), -1000)


def wrapped(make_slice, hu, bits=12, intercept=0, **fields):
    """As a faulty writer stores it: unsigned, modulo 2^bits."""
    ds = make_slice(hu=np.zeros_like(hu), signed=False, BitsStored=bits, HighBit=bits - 1, **fields)
    ds.RescaleIntercept = str(intercept)
    ds.PixelData = ((hu.astype(np.int64) - intercept) % (1 << bits)).astype("<u2").tobytes()
    return ds


@pytest.mark.parametrize(("bits", "intercept"), [(12, 0), (12, 1), (12, -24), (16, 0), (14, -50)])
def test_the_wrap_around_is_undone_and_noted(make_slice, head, bits, intercept):
    ds = wrapped(make_slice, head, bits, intercept)
    found = decode(ds, ds, 0)
    np.testing.assert_array_equal(found.hu, head)
    assert found.note.startswith("wrap-around undone: stored values from ")


def test_the_noise_of_air_below_the_usual_floor(make_slice, head):
    hu = head + np.where(head < -900, np.random.default_rng(2).normal(0, 25, head.shape), 0).round().astype(np.int16)
    assert hu.min() < -1060
    np.testing.assert_array_equal(decode_hu(wrapped(make_slice, hu)), hu)


def test_metal_up_to_the_top_of_the_range_stays_metal(make_slice, head):
    hu = head.copy()
    hu[40:48, 40:48] = np.linspace(1500, 3071, 64).reshape(8, 8)
    np.testing.assert_array_equal(decode_hu(wrapped(make_slice, hu)), hu)


@pytest.mark.parametrize("declared", [True, False])
def test_padding_that_wrapped_as_well(make_slice, head, declared):
    hu = head.copy()
    hu[:, :5] = -2000
    ds = wrapped(make_slice, hu)
    if declared:
        ds.add_new("PixelPaddingValue", "US", 63536)
    expected = np.where(hu == -2000, -1024, hu) if declared else hu
    np.testing.assert_array_equal(decode_hu(ds), expected)


def test_what_is_right_or_not_proven_is_left_alone(make_slice, head):
    for ds in (
        wrapped(make_slice, head, intercept=-1024),  # nothing wrapped
        wrapped(make_slice, np.maximum(head, 0)),  # air was cut off: nothing to bring back
    ):
        assert decode(ds, ds, 0).note == ""
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.int32)
    values, note = undo_wrap(noise, None, 12, 1.0, 0.0)
    assert note == "" and values is noise


def test_the_note_reaches_the_account_and_the_file_stays_used(tmp_path, make_slice, save_slice, head, ingest_params):
    for n in range(1, 5):
        save_slice(wrapped(make_slice, head, number=n), tmp_path / "in" / f"{n}")
    report = ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    assert set(report.account["reason"]) == {"used"}
    assert report.account["detail"].str.startswith("wrap-around undone").all()
    assert report.slices["hu_min"].tolist() == [int(head.min())] * 4


@pytest.mark.parametrize("signed", [True, False])
def test_a_stream_of_the_other_sign(make_slice, head, signed):
    """JPEG 2000 that says unsigned beside PixelRepresentation 1, and the reverse: the pixels decide."""
    ds = make_slice(hu=head, signed=signed, BitsStored=16, HighBit=15, RescaleIntercept="0")
    ds.PixelData = head.astype("<i2").tobytes()
    ds.PixelRepresentation = 1 - int(signed)  # what the encoder is told
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.PixelRepresentation = int(signed)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    header = read_header(stream.getvalue(), "x", (0.5, 15.0))
    found = SliceReader().read(header)
    np.testing.assert_array_equal(found.hu, head)
    wrong = "the JPEG 2000 stream's sign" if signed else "PixelRepresentation"
    assert found.note.startswith("sign repaired") and f"{wrong} is wrong" in found.note


def test_the_mismatch_of_pydicom_is_noted():
    path = Path(str(get_testdata_file("J2K_pixelrep_mismatch.dcm", download=False)))
    found = SliceReader().read(read_header(path, "x", (0.5, 15.0)))
    assert "the JPEG 2000 stream's sign is wrong (6212 seams, 0 after)" in found.note


@given(st.integers(-1000, 3000), st.integers(12, 16), st.integers(0, 2**32 - 1))
def test_values_that_fit_are_never_changed(base, bits, seed):
    """Whatever the picture: unsigned values that read as anatomy up to metal, without a band in the wrapped air."""
    rng = np.random.default_rng(seed)
    stored = np.clip(base + rng.normal(0, 40, (24, 24)), 0, 2900).astype(np.int32)
    values, note = undo_wrap(stored, None, bits, 1.0, 0.0)
    assert note == "" and values is stored


def test_seams_of_a_step():
    stored = np.zeros((4, 4), np.int32)
    stored[1:3, 1:3] = 3000
    assert seams(stored, 12) == 8
    assert seams(stored, 13) == 0
