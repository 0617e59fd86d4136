"""Stored pixel values of one frame: decoded, unused bits gone, signed or unsigned (PS3.5 8.1.1 and 8.2)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from ich_pipeline.dicom import rle
from ich_pipeline.dicom.codestream import JPEG, JPEG_2000, JPEG_LS, StreamInfo, describe
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.repair import choose_sign

# One decoder a syntax, so that the same file gives the same values on every machine. All are permissively licensed.
_PLUGINS = {uid.RLELossless: "pydicom"} | dict.fromkeys(JPEG, "gdcm")
_PLUGINS |= dict.fromkeys(JPEG_LS, "pyjpegls") | dict.fromkeys(JPEG_2000, "pylibjpeg")
_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
_AS_DECODED = {"apply_j2k_sign_correction": False, "apply_jls_sign_correction": False, "correct_unused_bits": False}


class PixelError(Exception):
    """The pixels of one file cannot be read; ``reason`` and ``detail`` go into its account row."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class StoredFrame:
    """Stored values of one frame.

    Attributes:
        values: int32 of shape (Rows, Columns).
        layout: how a value lies in its container.
        near: largest error of a near-lossless JPEG-LS value.
        note: what was mended, empty for nothing.
    """

    values: NDArray[np.int32]
    layout: Layout
    near: int = 0
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """``bits`` from ``shift`` up are the value; signed in two's complement."""

    bits: int
    shift: int
    signed: bool

    def values(self, containers: NDArray[np.integer], signed: bool | None = None) -> NDArray[np.int32]:
        """The values in containers of any integer type; ``signed`` overrules the layout's own."""
        signed = self.signed if signed is None else signed
        if self.bits == 8 * containers.itemsize and (containers.dtype.kind == "i") == signed:
            return containers.astype(np.int32)  # nothing to cut off: most files
        wide = np.int32 if containers.itemsize < 4 else np.int64
        low = (containers.astype(wide) >> self.shift) & ((1 << self.bits) - 1)
        if signed:
            low -= (low >> (self.bits - 1)) << self.bits
        return low.astype(np.int32, copy=False)

    def value(self, number: int) -> int:
        """A number of the header in the representation of the pixels: −2000 may be written as 63536."""
        return int(self.values(np.array([number << self.shift]))[0])


def transfer_syntax(ds: Dataset) -> uid.UID:
    """TransferSyntaxUID; for a file without file meta information the encoding that it was read with."""
    named = getattr(ds, "file_meta", FileMetaDataset()).get("TransferSyntaxUID")
    if named:
        return uid.UID(named)
    implicit, little = ds.original_encoding
    if implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRBigEndian if little is False else uid.ExplicitVRLittleEndian


def stored_frame(ds: Dataset, frame: int) -> StoredFrame:
    """Decode one frame.

    Args:
        ds: a data set with pixel data.
        frame: from 0.

    Raises:
        PixelError: the pixels are missing, damaged, or in a syntax that no decoder here reads.
    """
    if "PixelData" not in ds:
        raise PixelError(Reason.PIXELS_MISSING, "no PixelData")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            syntax = transfer_syntax(ds)
            if syntax not in _PLUGINS and syntax not in _NATIVE:
                raise PixelError(Reason.SYNTAX_UNSUPPORTED, f"TransferSyntaxUID {' '.join(syntax.split())[:64]}")
            return _decode(ds, syntax, frame)
    except PixelError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged input
        message = " ".join(str(error).split())
        raise PixelError(Reason.DECODE_FAILED, f"{type(error).__name__}: {message[:160]}") from None


def _decode(ds: Dataset, syntax: uid.UID, frame: int) -> StoredFrame:
    info = _stream_info(ds, syntax, frame)
    layout = _layout(ds, info)
    ds.file_meta = FileMetaDataset() if not hasattr(ds, "file_meta") else ds.file_meta
    ds.file_meta.TransferSyntaxUID = syntax
    options: dict[str, Any] = {"decoding_plugin": _PLUGINS.get(syntax, ""), **_AS_DECODED}
    containers, _ = get_decoder(syntax).as_array(ds, index=frame, raw=True, **options)
    if containers.shape != (ds.Rows, ds.Columns):
        raise ValueError(f"decoded to {containers.shape}, the header says {(ds.Rows, ds.Columns)}")
    values = layout.values(containers)
    if info is None:
        return StoredFrame(values, layout)
    note = ""
    if info.signed is not None and info.signed != layout.signed:
        values, note = choose_sign(values, layout.values(containers, info.signed), layout.bits)
    return StoredFrame(values, layout, info.near, note)


def _stream_info(ds: Dataset, syntax: uid.UID, frame: int) -> StreamInfo | None:
    """The compressed stream's own header, which must agree with the data set's."""
    if syntax in _NATIVE:
        return None
    stream = get_frame(ds.PixelData, frame, number_of_frames=_number_of_frames(ds))
    if syntax == uid.RLELossless:
        if fault := rle.fault(stream, ds.Rows, ds.Columns):
            raise ValueError(f"the compressed stream {fault}")
        return None
    info = describe(stream, syntax)
    if (info.rows, info.columns, info.components) != (ds.Rows, ds.Columns, 1):
        raise ValueError(
            f"the compressed stream holds {info.rows} x {info.columns} x {info.components}, "
            f"the header says {ds.Rows} x {ds.Columns} x 1"
        )
    return info


def _number_of_frames(ds: Dataset) -> int:
    return int(ds.get("NumberOfFrames") or 1)


def _layout(ds: Dataset, info: StreamInfo | None) -> Layout:
    allocated, stored, signed = int(ds.BitsAllocated), int(ds.BitsStored), bool(ds.PixelRepresentation)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        raise ValueError(f"BitsStored {stored} of BitsAllocated {allocated}")
    if info is not None:  # a compressed sample has no unused bits below
        return Layout(min(stored, info.precision), 0, signed)
    high = ds.get("HighBit")
    shift = 0 if high is None else int(high) + 1 - stored
    if not 0 <= shift <= allocated - stored:
        raise ValueError(f"HighBit {high} with BitsStored {stored} of BitsAllocated {allocated}")
    return Layout(stored, shift, signed)
