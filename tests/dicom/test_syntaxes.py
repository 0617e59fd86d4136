"""Every transfer syntax gives the values that went in; fixtures come from encoders that are not the project's."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from ich_pipeline.dicom.codestream import describe
from ich_pipeline.dicom.decode import decode_hu, read_hu
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.stored import PixelError

NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


@pytest.fixture(scope="module")
def streams():
    with np.load(Path(__file__).parents[1] / "made" / "streams" / "streams.npz") as file:
        return {name: file[name] for name in file.files}


def compressed(make_slice, hu, stream, syntax, signed):
    ds = make_slice(hu=hu, signed=signed)
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("signed", [True, False])
def test_uncompressed_and_deflated(make_slice, make_anatomy, syntax, signed):
    hu = make_anatomy("native", 33)  # an odd number of pixels
    ds = make_slice(hu=hu, signed=signed)
    if syntax == uid.ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
    del ds.file_meta
    stream = io.BytesIO()
    ds.file_meta = make_slice().file_meta
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(stream, enforce_file_format=True)
    np.testing.assert_array_equal(read_hu(stream.getvalue()), hu)


@pytest.mark.parametrize(
    ("name", "syntax", "signed"),
    [
        ("htj2k_signed", uid.HTJ2KLossless, True),
        ("htj2k_unsigned", uid.HTJ2KLossless, False),
        ("htj2k_signed", uid.HTJ2KLosslessRPCL, True),
        ("htj2k_unsigned", uid.HTJ2K, False),
        ("jpeg_lossless_6", uid.JPEGLossless, False),
    ],
)
def test_streams_of_other_encoders(make_slice, streams, name, syntax, signed):
    ds = compressed(make_slice, streams["hu"], streams[name].tobytes(), syntax, signed)
    np.testing.assert_array_equal(decode_hu(ds), streams["hu"])


def test_lossy_htj2k_is_within_one_of_another_decoder(make_slice, streams):
    ds = compressed(make_slice, streams["hu"], streams["htj2k_lossy"].tobytes(), uid.HTJ2K, False)
    difference = decode_hu(ds).astype(int) - (streams["lossy_by_openjph"].astype(int) - 1024)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("signed", [True, False])
def test_jpeg_lossless_first_order_by_gdcm(make_slice, make_anatomy, tmp_path, signed):
    import gdcm

    hu = make_anatomy("sv1", 48)
    ds = make_slice(hu=hu, signed=signed)
    ds.save_as(tmp_path / "raw", enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(tmp_path / "raw"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "sv1"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert uid.JPEGLosslessSV1.encode() in (tmp_path / "sv1").read_bytes()[:1024]
    np.testing.assert_array_equal(read_hu(tmp_path / "sv1"), hu)


def test_near_lossless_padding_is_padding_within_the_error(make_slice, make_anatomy):
    hu = make_anatomy("near", 64)
    hu[:4] = -2000
    ds = make_slice(hu=hu)
    ds.add_new("PixelPaddingValue", "SS", -2000)
    ds.compress(uid.JPEGLSNearLossless, jls_error=3, generate_instance_uid=False)
    decoded = decode_hu(ds)
    assert (decoded[:4] == -1024).all()
    assert np.abs(decoded[4:].astype(int) - hu[4:]).max() == 3


@pytest.mark.parametrize(("bits", "high"), [(12, 15), (12, 13), (10, 11)])
def test_value_bits_above_the_lowest_and_an_overlay_in_the_others(make_slice, bits, high):
    rng = np.random.default_rng(3)
    values = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (32, 32))
    shift = high + 1 - bits
    containers = (values & ((1 << bits) - 1)) << shift
    outside = 0xFFFF & ~(((1 << bits) - 1) << shift)
    containers |= rng.integers(0, 1 << 16, containers.shape) & outside
    ds = make_slice(hu=np.zeros((32, 32), np.int16), BitsStored=bits, HighBit=high)
    ds.PixelData = containers.astype("<u2").tobytes()
    np.testing.assert_array_equal(decode_hu(ds), values)


@pytest.mark.parametrize(
    ("rows", "columns"), [(60000, 60000), (47, 40)], ids=["a bomb", "another size than the header says"]
)
def test_a_stream_of_another_size_never_reaches_a_decoder(make_slice, streams, rows, columns, monkeypatch):
    monkeypatch.setattr("ich_pipeline.dicom.stored.get_decoder", None)
    stream = bytearray(streams["htj2k_signed"].tobytes())
    stream[8:16] = columns.to_bytes(4, "big") + rows.to_bytes(4, "big")
    ds = compressed(make_slice, streams["hu"], bytes(stream), uid.HTJ2KLossless, True)
    with pytest.raises(PixelError, match=f"holds {rows} x {columns} x 1, the header says 48 x 40") as error:
        decode_hu(ds)
    assert error.value.reason is Reason.DECODE_FAILED


def test_what_a_stream_says_of_itself(streams):
    info = describe(streams["jpeg_lossless_6"].tobytes(), uid.JPEGLossless)
    assert (info.rows, info.columns, info.components, info.precision, info.signed) == (48, 40, 1, 12, None)
    info = describe(streams["htj2k_signed"].tobytes(), uid.HTJ2K)
    assert (info.rows, info.columns, info.precision, info.signed) == (48, 40, 16, True)


@pytest.mark.parametrize("name", ["jpeg_lossless_6", "htj2k_signed"])
def test_a_damaged_stream_header_is_a_value_error_whatever_it_is(streams, name):
    syntax = uid.JPEGLossless if name.startswith("jpeg") else uid.HTJ2K
    whole = streams[name].tobytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, 60, 4):
            data[at] = rng.integers(256)
        try:
            describe(bytes(data[: rng.integers(1, 200)]) + b"\xff\xd9", syntax)
        except ValueError:
            continue
