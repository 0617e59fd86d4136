"""Files damaged in ways that a disk, a network or an attacker would: shared by the tests of ingest and of prediction."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

STREAMS = Path(__file__).parent / "streams" / "streams.npz"


def written(ds) -> bytes:
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def seeds(head, make_enhanced) -> list[bytes]:
    """Real-looking files: a phantom head in every kind of syntax, an enhanced copy, and real files of pydicom."""
    files = [written(make_enhanced(head))]
    for ds in head[:2]:
        for syntax in (None, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless):
            copy = dcmread(io.BytesIO(written(ds)))
            if copy.file_meta.TransferSyntaxUID.is_encapsulated:
                copy.decompress(generate_instance_uid=False)
            if syntax:
                copy.compress(syntax, generate_instance_uid=False)
            files.append(written(copy))
        copy = dcmread(io.BytesIO(written(ds)))
        if not copy.file_meta.TransferSyntaxUID.is_encapsulated:
            copy.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
            files.append(written(copy))
    with np.load(STREAMS) as fixture:
        for name, syntax in (("htj2k_unsigned", uid.HTJ2KLossless), ("jpeg_lossless_6", uid.JPEGLossless)):
            copy = dcmread(io.BytesIO(files[1]))
            copy.Rows, copy.Columns = fixture["hu"].shape
            copy.BitsStored, copy.HighBit, copy.PixelRepresentation = 12, 11, 0
            copy.PixelData = encapsulate([fixture[name].tobytes()])
            copy["PixelData"].VR, copy["PixelData"].is_undefined_length = "OB", True
            copy.file_meta.TransferSyntaxUID = syntax
            files.append(written(copy))
    for name in ("CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm"):
        files.append(Path(str(get_testdata_file(name, download=False))).read_bytes())
    return files


HOSTILE_LENGTHS = (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
HOSTILE_NUMBERS = (0, 1, 0x7FFF, 0xFFFF)


def mutated(data: bytes, number: int, rng: np.random.Generator) -> bytes:
    """One file of a study of its own, damaged in one of six ways."""
    ds = dcmread(io.BytesIO(data))
    ds.PatientID = f"M{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"2.25.1{number}1", f"2.25.1{number}2"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid.UID(f"2.25.1{number}3")
    return damaged(ds, number % 6, rng)


def damaged(ds: Dataset, kind: int, rng: np.random.Generator) -> bytes:
    """A file damaged in one of six ways."""
    if kind == 0:  # a hostile number in the header
        keyword = rng.choice(["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "NumberOfFrames"])
        setattr(ds, keyword, int(rng.choice(HOSTILE_NUMBERS)))
    whole = bytearray(written(ds))
    parsed = dcmread(io.BytesIO(whole))
    items = [parsed.get_item(tag) for tag in [element.tag for element in parsed]]
    places = [getattr(item, "value_tell", None) or getattr(item, "file_tell", 0) for item in items]
    places = [at for at in places if 8 <= at < len(whole)]  # of a deflated file they are elsewhere
    if kind == 1:
        del whole[rng.integers(1, len(whole)) :]
    elif kind == 2:
        for at in rng.integers(0, len(whole), rng.integers(1, 17)):
            whole[at] ^= 1 << rng.integers(8)
    elif kind == 3:
        for at in rng.integers(132, min(len(whole), 2500), 6):
            whole[at] = rng.integers(256)
    elif kind == 4 and len(places) > 1:  # two elements change their tags
        one, other = (int(at) - 8 for at in rng.choice(places, 2, replace=False))
        whole[one : one + 4], whole[other : other + 4] = whole[other : other + 4], whole[one : one + 4]
    elif kind == 5 and places:
        at = int(rng.choice(places)) - int(rng.choice([2, 4]))
        width = int(rng.choice([2, 4]))
        whole[at : at + width] = (int(rng.choice(HOSTILE_LENGTHS)) & (256**width - 1)).to_bytes(width, "little")
    return bytes(whole)
