"""Pixel data to Hounsfield units, for training and serving alike."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder

from ich_pipeline.dicom.reasons import Reason

AIR_HU = -1024

# One decoder a syntax, so that the same file gives the same values on every machine. All are permissively licensed.
_PLUGINS = {
    uid.RLELossless: "pydicom",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
# JPEG, JPEG-LS and JPEG 2000 streams all end with this marker (EOI, EOC).
_END_MARKER = b"\xff\xd9"


class PixelError(Exception):
    """The pixels of one file cannot be read; ``reason`` and ``detail`` go into its account row."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read_hu(source: Path | bytes) -> NDArray[np.int16]:
    """Read one file and decode it: int16 HU of shape (Rows, Columns).

    Raises:
        PixelError: for everything that can be wrong with the file.
    """
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(io.BytesIO(data), force=True)
    except OSError as error:
        raise PixelError(Reason.UNREADABLE, error.strerror or type(error).__name__) from None
    except Exception as error:  # whatever a hostile file makes pydicom raise
        raise PixelError(Reason.DECODE_FAILED, type(error).__name__) from None
    if "PixelData" not in ds:  # the header's reading saw the element begin, so it does not end
        raise PixelError(Reason.DECODE_FAILED, "the pixel data is cut short")
    return decode_hu(ds)


def decode_hu(ds: Dataset) -> NDArray[np.int16]:
    """Hounsfield units of a single-frame CT image.

    Stored value × RescaleSlope + RescaleIntercept, rounded half to even where the slope is no whole number and clipped to
    int16; PixelPaddingValue, up to PixelPaddingRangeLimit, becomes air (−1024 HU).

    Args:
        ds: a data set with pixel data.

    Returns:
        int16 of shape (Rows, Columns).

    Raises:
        PixelError: the pixels are missing, damaged, or in a syntax that no decoder here reads.
    """
    stored = _stored_values(ds)
    try:
        slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
        if not (np.isfinite(slope) and np.isfinite(intercept)):
            raise ValueError
    except Exception:  # absent, empty or malformed
        raise PixelError(Reason.HEADER_INCOMPLETE, "missing or malformed: RescaleSlope, RescaleIntercept") from None
    limits = np.iinfo(np.int16)
    hu = np.clip(np.rint(stored * slope + intercept), limits.min, limits.max).astype(np.int16)
    padded = _padding(ds, stored)
    if padded is not None:
        hu[padded] = AIR_HU
    return hu


def transfer_syntax(ds: Dataset) -> uid.UID:
    """TransferSyntaxUID; for a file without file meta information the encoding that it was read with."""
    named = getattr(ds, "file_meta", FileMetaDataset()).get("TransferSyntaxUID")
    if named:
        return uid.UID(named)
    implicit, little = ds.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRBigEndian if little is False else uid.ExplicitVRLittleEndian


def _stored_values(ds: Dataset) -> NDArray[np.integer]:
    """Stored pixel values: signed or unsigned as PixelRepresentation says, unused high bits gone."""
    if "PixelData" not in ds:
        raise PixelError(Reason.PIXELS_MISSING, "no PixelData")
    syntax = transfer_syntax(ds)
    plugin = _PLUGINS.get(syntax)
    if plugin is None and syntax not in _NATIVE:
        raise PixelError(Reason.SYNTAX_UNSUPPORTED, f"TransferSyntaxUID {syntax}")
    if plugin not in (None, "pydicom"):
        _check_end(ds)
    ds.file_meta = FileMetaDataset() if not hasattr(ds, "file_meta") else ds.file_meta
    ds.file_meta.TransferSyntaxUID = syntax
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored, _ = get_decoder(syntax).as_array(ds, raw=True, decoding_plugin=plugin or "")
    except Exception as error:  # a decoder may raise anything on damaged input
        message = " ".join(str(error).split())
        raise PixelError(Reason.DECODE_FAILED, f"{type(error).__name__}: {message[:160]}") from None
    if stored.shape != (ds.Rows, ds.Columns):
        raise PixelError(Reason.DECODE_FAILED, f"decoded to {stored.shape}, the header says {(ds.Rows, ds.Columns)}")
    return stored


def _check_end(ds: Dataset) -> None:
    """A compressed stream that was cut short decodes to a picture whose lower part is invented: refuse it."""
    stream = bytes(ds.PixelData).rstrip(b"\x00\xff")  # padding to an even length, or to a block
    if _END_MARKER not in stream[-64:]:
        raise PixelError(Reason.DECODE_FAILED, "the compressed stream has no end marker: it was cut short")


def _padding(ds: Dataset, stored: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    value = _stored_number(ds, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(ds, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _stored_number(ds: Dataset, keyword: str) -> int | None:
    """A padding value in the representation of the pixels: some writers store −2000 of signed pixels as 63536."""
    try:
        value = int(ds[keyword].value)
    except Exception:  # absent or malformed: no padding is declared
        return None
    bits = int(ds.BitsAllocated)
    value %= 1 << bits
    return value - (1 << bits) if ds.PixelRepresentation == 1 and value >= 1 << (bits - 1) else value
