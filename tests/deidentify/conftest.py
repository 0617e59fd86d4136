"""Synthetic CT files and one patient with 40 marked identifiers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

from ich_pipeline.deidentify.key import Key
from tests.made.ct import fill_image, finished

SIZE = 64


def ct(
    number: int = 1, patient: str = "P1", study: str = "1.2.3.4.1", series: str = "1.2.3.4.1.1", **more: Any
) -> Dataset:
    """A complete CT slice with a disc of soft tissue in air; ``more`` sets (None: deletes) elements by keyword."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    hu = np.where(np.hypot(x, y) < SIZE / 3, 35 + rng.normal(0, 8, (SIZE, SIZE)), -1000).round().astype("<i2")
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient, "Doe^Jane", "19500102"
    ds.PatientAge, ds.PatientSex = "071Y", "F"
    ds.Modality, ds.StudyDate, ds.StudyTime = "CT", "20200301", "235959"
    ds.AcquisitionDate, ds.AcquisitionTime = "20200302", "000001.5"
    ds.ReferringPhysicianName, ds.AccessionNumber, ds.StudyID = "Roe^Rita", "ACC-7731", "S77"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Manufacturer, ds.SeriesDescription = "SIEMENS", "Head 5.0 H31s for Jane"
    fill_image(ds, number, hu.shape)
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    ds.PixelData = hu.tobytes()
    return finished(ds, more)


def encode(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def decode(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


@pytest.fixture
def make_ct() -> Callable[..., Dataset]:
    return ct


@pytest.fixture
def to_bytes() -> Callable[[Dataset], bytes]:
    return encode


@pytest.fixture
def from_bytes() -> Callable[[bytes], Dataset]:
    return decode


@pytest.fixture
def key() -> Key:
    return Key(bytes(range(32)))


@dataclass
class Plants:
    """Marked identifiers and the places they were put in."""

    places: dict[str, str] = field(default_factory=dict)  # mark → place

    def mark(self, place: str) -> str:
        """A new mark of letters that occurs nowhere else."""
        number = len(self.places)
        text = f"ZQ{chr(65 + number // 26)}{chr(65 + number % 26)}XWVK"
        self.places[text] = place
        return text

    def number(self, place: str, digits: int = 12) -> str:
        """A new mark of digits."""
        text = str(9_173_550_000_000 + 1_000_003 * len(self.places))[:digits]
        self.places[text] = place
        return text

    def found_in(self, data: bytes) -> list[str]:
        """Places whose mark is among these bytes, in any case or as UTF-16."""
        low = data.lower()
        return [p for m, p in self.places.items() if m.lower().encode() in low or m.lower().encode("utf-16-le") in low]


def private(ds: Dataset, group: int, creator: str, items: Sequence[tuple[int, str, Any]]) -> None:
    block = ds.private_block(group, creator, create=True)
    for offset, vr, value in items:
        block.add_new(offset, vr, value)


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def planted_slice(plants: Plants, number: int, names: dict[str, str]) -> bytes:
    """One slice of the planted patient; ``names`` holds the marks that all slices share."""
    ds = ct(number)
    name_as(ds, names, "", "", "", f".{number}")
    if number == 6:  # a series of its own: the ingest sets contrast aside
        ds.SeriesInstanceUID += ".6"
        ds.ContrastBolusAgent = f"given, says {names['contrast agent']}"
    return plant(ds, names)


def name_as(ds: Dataset, m: dict[str, str], patient: str, study: str, series: str, instance: str) -> None:
    """Marked identifiers, each with an ending that tells it from others."""
    ds.PatientID = m["patient id"] + patient
    ds.StudyInstanceUID = f"1.2.826.0.1.{m['study uid']}{study}"
    ds.SeriesInstanceUID = f"1.2.826.0.2.{m['series uid']}{series}"
    ds.SOPInstanceUID = f"1.2.826.0.3.{m['instance uid']}{instance}"
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)


def plant(ds: Dataset, m: dict[str, str]) -> bytes:
    """The file of a CT slice with marks in all its other places."""
    ds.FrameOfReferenceUID = f"1.2.826.0.4.{m['frame of reference uid']}"
    ds.PatientName = f"{m['family name']}^{m['given name']}=Müller^Jörg"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.AccessionNumber = m["accession number (SH)"]
    ds.StudyDescription = f"CT Head for {m['study description']}"
    ds.SeriesDescription = f"{ds.SeriesDescription} {m['series description']}"
    ds.ProtocolName = f"HeadRoutine_{m['protocol name']}"
    ds.InstitutionName = m["institution"]
    ds.InstitutionAddress = m["address (ST)"]
    ds.ReferringPhysicianName = f"{m['physician']}^A"
    ds.OperatorsName = [f"{m['first operator']}^A", f"{m['second operator']}^B"]
    ds.StationName = m["station"]
    ds.RetrieveAETitle = m["title (AE)"]
    ds.DeviceSerialNumber = m["serial number"]
    ds.PatientComments = f"Known to {m['comment (LT)']}"
    ds.ImageComments = m["image comment"]
    ds.ConvolutionKernel = [ds.ConvolutionKernel, m["kernel (SH, not in the table)"]]
    ds.BodyPartExamined = m["body part (CS, not in the table)"]
    ds.ImageType = [*ds.ImageType, m["image type (CS)"]]
    ds.Manufacturer = f"{ds.Manufacturer} {m['manufacturer']}"
    ds.OtherPatientIDsSequence = [item(PatientID=m["other id in a sequence"], TypeOfPatientID="TEXT")]
    inner = item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=f"1.2.826.0.5.{m['uid in a sequence']}")
    inner.PurposeOfReferenceCodeSequence = [
        item(CodeValue="121320", CodingSchemeDesignator="DCM", CodeMeaning=m["code meaning, two levels down"])
    ]
    inner.PatientName = f"{m['name in a kept sequence']}^X"
    ds.SourceImageSequence = [inner]
    ds.add_new(0x00324000, "LT", m["retired study comments"])
    ds.add_new(0x00081195, "UI", f"1.2.826.0.6.{m['transaction uid']}")
    ds.add_new(0x0040A160, "UT", m["text value (UT)"])
    ds.add_new(0x0040E010, "UR", f"http://{m['link (UR)']}.example")
    ds.add_new(0x00189367, "UC", m["unlimited characters (UC)"])
    ds.add_new(0x00180012, "SQ", [item(CodeMeaning=m["contrast agent sequence"])])
    ds.add_new(0x00200020, "CS", m["orientation (CS)"])
    ds.add_new(0x00340007, "OB", m["time stamp (OB)"].encode())
    private(
        ds, 0x0029, m["private creator"], [(0x10, "OB", m["private bytes"].encode()), (0x11, "LO", m["private text"])]
    )
    deep = item(PatientName=m["private sequence, inside"])
    private(ds, 0x7053, "SITE", [(0x01, "SQ", [item(StudyDescription="x", ReferencedPatientSequence=[deep])])])
    ds.add_new(0x50000010, "US", 1)
    ds.add_new(0x50002500, "LO", m["curve label"])
    ds.add_new(0x50003000, "OB", m["curve data"].encode() + b"\0")
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000011, "US", 8)
    ds.add_new(0x60000022, "LO", m["overlay description"])
    ds.add_new(0x60003000, "OB", m["overlay data"].encode())
    ds.add_new(0xFFFCFFFC, "OB", m["data set trailing padding"].encode())
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        last = m["after the last pixel"].encode()
        ds.PixelData = bytes(ds.PixelData) + last + b"\0" * (len(last) % 2)
    ds.file_meta.SourceApplicationEntityTitle = m["file meta title"]
    ds.file_meta.PrivateInformationCreatorUID = UID(f"1.2.826.0.7.{m['file meta uid']}")
    ds.file_meta.PrivateInformation = m["file meta bytes"].encode()
    ds.preamble = m["preamble"].encode().ljust(128, b"\0")
    ds.add_new(0x00200010, "SH", m["study id"])
    return encode(ds) + m["after the data set"].encode()


WORDS = (
    "patient id", "family name", "given name", "accession number (SH)", "study description", "series description",
    "protocol name", "institution", "address (ST)", "physician", "first operator", "second operator", "station", "title (AE)",
    "serial number", "comment (LT)", "image comment", "contrast agent", "kernel (SH, not in the table)",
    "body part (CS, not in the table)", "image type (CS)", "manufacturer", "other id in a sequence",
    "code meaning, two levels down", "name in a kept sequence", "retired study comments", "text value (UT)", "link (UR)",
    "unlimited characters (UC)", "contrast agent sequence", "orientation (CS)", "time stamp (OB)", "private creator",
    "private bytes", "private text", "private sequence, inside", "curve label", "curve data", "overlay description",
    "overlay data", "data set trailing padding", "after the last pixel", "file meta title", "file meta bytes", "preamble",
    "study id", "after the data set", "folder name", "file name",
)  # fmt: skip
NUMBERS = (
    "study uid", "series uid", "instance uid", "frame of reference uid", "uid in a sequence", "transaction uid", "file meta uid",
)  # fmt: skip


def new_marks() -> tuple[Plants, dict[str, str]]:
    """A mark for every place, and the mark of each place."""
    plants = Plants()
    names = {place: plants.mark(place) for place in WORDS} | {place: plants.number(place) for place in NUMBERS}
    return plants, names


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, Plants]:
    """A folder with five slices that carry marked identifiers everywhere, and one with contrast, and the marks."""
    plants, names = new_marks()
    folder = tmp_path / "export" / f"{names['folder name']}_Head"
    folder.mkdir(parents=True)
    for number in range(1, 7):
        (folder / f"{names['file name']}_{number}").write_bytes(planted_slice(plants, number, names))
    return tmp_path / "export", plants
