"""Hounsfield units against known values; against an independent decoder: test_real_accounts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from ich_pipeline.dicom.decode import AIR_HU, decode_hu, read_hu
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.stored import PixelError


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("signed", [True, False])
def test_lossless_syntaxes_give_the_values_that_went_in(make_slice, make_anatomy, syntax, signed):
    hu = make_anatomy("lossless", 64)
    ds = make_slice(hu=hu, signed=signed)
    ds.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    np.testing.assert_array_equal(read_hu(stream.getvalue()), hu)


def test_signed_and_unsigned_give_equal_values(make_slice, make_anatomy):
    hu = make_anatomy("sign")
    np.testing.assert_array_equal(decode_hu(make_slice(hu=hu, signed=True)), decode_hu(make_slice(hu=hu, signed=False)))


def test_bits_above_bits_stored_do_not_count(make_slice, make_anatomy):
    hu = make_anatomy("overlay")
    ds = make_slice(hu=hu, signed=False)
    ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) | 0xA000).tobytes()  # an old overlay in the unused bits
    np.testing.assert_array_equal(decode_hu(ds), hu)


def test_twelve_bit_signed_values_keep_their_sign(make_slice):
    ds = make_slice(hu=np.full((32, 32), -1000, np.int16), BitsStored=12, HighBit=11)
    ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) & 0x0FFF).tobytes()
    assert np.unique(decode_hu(ds)).tolist() == [-1000]


def test_fractional_slope_rounds_half_to_even_and_clips(make_slice):
    stored = np.tile(np.array([1, 3, 5, 32767], np.int16), (32, 8))
    ds = make_slice(hu=stored, RescaleSlope="0.5")
    assert decode_hu(ds)[0, :4].tolist() == [0, 2, 2, 16384]
    ds.RescaleSlope = "40"
    assert decode_hu(ds)[0, :4].tolist() == [40, 120, 200, 32767]


@pytest.mark.parametrize(("value", "limit"), [(-2000, None), (-2000, -1990), (-1990, -2000), (63536, None)])
def test_padding_becomes_air(make_slice, value, limit):
    hu = np.full((32, 32), 30, np.int16)
    hu[0, 0], hu[0, 1] = -2000, -1995
    ds = make_slice(hu=hu)
    ds.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
    if limit is not None:
        ds.add_new("PixelPaddingRangeLimit", "SS", limit)
    decoded = decode_hu(ds)
    assert decoded[0, :3].tolist() == [AIR_HU, -1995 if limit is None else AIR_HU, 30]


@pytest.mark.parametrize("value", [0, 30])
def test_declared_padding_within_the_picture_stays(make_slice, value):
    """0 HU is water, 30 brain: only what is joined to the border is outside of the picture."""
    hu = np.full((32, 32), 40, np.int16)
    hu[:3] = hu[10:14, 10:14] = value
    hu[20, 20] = -1000
    ds = make_slice(hu=hu)
    ds.add_new("PixelPaddingValue", "SS", value)
    decoded = decode_hu(ds)
    assert (decoded[:3] == AIR_HU).all() and (decoded[3:] == hu[3:]).all()


def test_without_rescale_there_are_no_hounsfield_units(make_slice):
    with pytest.raises(PixelError) as error:
        decode_hu(make_slice(RescaleIntercept=None))
    assert error.value.reason is Reason.HEADER_INCOMPLETE


def test_missing_pixels_and_unknown_syntax_have_their_reasons(make_slice):
    with pytest.raises(PixelError) as error:
        decode_hu(make_slice(PixelData=None))
    assert error.value.reason is Reason.PIXELS_MISSING
    ds = make_slice()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
    with pytest.raises(PixelError) as error:
        decode_hu(ds)
    assert error.value.reason is Reason.SYNTAX_UNSUPPORTED


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_refused_not_filled(make_slice, make_anatomy, syntax, kept):
    ds = make_slice(hu=make_anatomy("truncated", 128))
    if syntax:
        ds.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    whole = stream.getvalue()
    with pytest.raises(PixelError) as error:
        read_hu(whole[: int(kept * len(whole))])
    assert error.value.reason is Reason.DECODE_FAILED


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_truncated_stream_in_a_whole_file_is_refused(make_slice, make_anatomy, syntax):
    from pydicom.encaps import encapsulate, generate_frames

    ds = make_slice(hu=make_anatomy("stream", 128))
    ds.compress(syntax, generate_instance_uid=False)
    stream = next(generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([stream[: len(stream) // 2]])
    with pytest.raises(PixelError) as error:
        decode_hu(ds)
    assert error.value.reason is Reason.DECODE_FAILED


def test_a_damaged_transfer_syntax_element_is_a_reason(make_slice):
    stream = io.BytesIO()
    make_slice().save_as(stream, enforce_file_format=True)
    data = bytearray(stream.getvalue())
    at = data.index(b"\x02\x00\x10\x00UI") + 4
    data[at : at + 2] = b"U\xb6"
    with pytest.raises(PixelError) as error:
        read_hu(bytes(data))
    assert error.value.reason is Reason.DECODE_FAILED
