"""The second pass: reads what was written as a stranger would, and says what should not be there. Never a value.

It shares no cleaning code with the first pass: it knows table E.1-1 (from the library), the options that the file itself
declares, and the identifiers of the original file.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, DeflatedExplicitVRLittleEndian

from ich_pipeline.deidentify import key as keys
from ich_pipeline.deidentify import table, words

_PIXELS = 0x7FE00010
_TEXT_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "IS", "DS", "AS"})
_FREE_TEXT = frozenset({"LT", "PN", "ST", "UC", "UR", "UT"})
_NEW_UID = re.compile(r"2\.25\.\d{30,39}")
_NEW_NAME = re.compile(
    rf"{_NEW_UID.pattern}(#[1-9]\d*)?|{keys.PATIENT_ID.pattern}"
)  # of an object, a frame or a patient
# What the options keep, by the code that the file must then declare (PS3.15 table E.1-1, the options' columns).
_KEPT = {
    "113105": "SeriesDescription StudyDescription ProtocolName AcquisitionProtocolDescription ContrastBolusAgent",
    "113108": "PatientAge PatientSex PatientSize PatientWeight PatientSexNeutered SmokingStatus PregnancyStatus",
    "113109": "DeviceSerialNumber DeviceUID StationName GantryID GeneratorID DetectorID CassetteID PlateID PerformedStationName "
    "PerformedStationAETitle StationAETitle",
}
_META = "FileMetaInformationGroupLength FileMetaInformationVersion MediaStorageSOPClassUID MediaStorageSOPInstanceUID "
_META += "TransferSyntaxUID ImplementationClassUID ImplementationVersionName"
SHORTEST = 3  # letters of a word that is searched for
LONG = 8  # from here on a word is searched for inside others, and in the pixel data


def parse(data: bytes) -> Dataset:
    """Read a file from its bytes, tolerantly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=True)


def identifiers(original: Dataset, codes: Collection[str] = ()) -> set[str]:
    """Folded words, numbers and UIDs of an original that must not be in its output.

    They come from every attribute that the table lists (but for dates and times, which :func:`findings` compares place
    by place), every private and unknown one, every person's name and all long text. Words that describe a CT are left out, also where
    they are a patient's name; so are words of fewer than three letters, numbers of fewer than four digits, and what an
    option of ``codes`` (DeidentificationMethodCodeSequence) keeps as it is.
    """
    found: set[str] = set()
    kept = set(" ".join(_KEPT[code] for code in ("113108", "113109") if code in codes).split())
    for element in _elements(original):
        tag = element.tag
        listed = table.code(tag.group, tag.element) is not None
        doubtful = tag.is_private or not dictionary_has_tag(tag) or element.VR in _FREE_TEXT
        if element.keyword in kept:
            continue
        if element.VR == "UI":
            new = {uid for uid in _strings(element) if UID(uid).name == uid and len(uid) >= LONG}
            found |= new - {PYDICOM_IMPLEMENTATION_UID}  # names the software, which may have written both
        elif (listed or doubtful) and element.VR not in ("DA", "TM", "DT", "SQ") and tag != _PIXELS:
            for text in _strings(element):
                found |= {w for w in words.words_of(text) if _telling(w)}
    return found


def findings(output: bytes, forbidden: Iterable[str], original: Dataset | None = None) -> list[str]:
    """What should not be in a written file: tags and reasons, no values.

    Args:
        output: the bytes of the file.
        forbidden: from :func:`identifiers`.
        original: where given, no date may stand where it stood.
    """
    ds = parse(output)
    found = [*_outside(output), *_listed(ds), *_meta(ds)]
    found += _words(output, ds, set(forbidden))
    if original is not None:
        found += _same_dates(ds, original)
    return sorted(set(found))


def scan_file(path: Path) -> list[str]:
    """What PS3.15 would still remove or replace in a file, by its own declaration of options."""
    data = path.read_bytes()
    try:
        return findings(data, ())
    except Exception as error:  # whatever makes pydicom fail makes the file unsafe
        return [f"cannot be read ({type(error).__name__})"]


def table_findings(text: str, names: Collection[str], forbidden: Collection[str]) -> list[str]:
    """What should not be in a written label table: columns and reasons, no values.

    Args:
        text: CSV.
        names: columns of UIDs and PatientIDs; all others hold 0 and 1.
        forbidden: UIDs and PatientIDs of the originals.
    """
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    found = {f"{len(row)} values in a row of {len(header)} columns" for row in rows if len(row) != len(header)}
    for row in rows:
        for column, cell in zip(header, row, strict=False):
            if column not in names:
                found |= set() if cell in ("0", "1") else {f"{column}: neither 0 nor 1"}
            elif cell and (cell in forbidden or cell.partition("#")[0] in forbidden or not _NEW_NAME.fullmatch(cell)):
                found.add(f"{column}: an identifier that was not replaced")
    return sorted(found)


def _elements(ds: Dataset) -> Iterator[DataElement]:
    for part in (getattr(ds, "file_meta", None), ds):
        yield from _walk(part) if part is not None else ()


def _telling(word: str) -> bool:
    return len(word) >= SHORTEST and not words.is_known(word, True) and bool(word.strip("0"))


def _level(ds: Dataset) -> Iterator[DataElement]:
    for tag in list(ds.keys()):
        try:
            yield ds[tag]
        except Exception:  # unreadable as its VR: its bytes count
            yield DataElement(tag, "UN", getattr(ds.get_item(tag), "value", b"") or b"")


def _walk(ds: Dataset) -> Iterator[DataElement]:
    for element in _level(ds):
        yield element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _walk(item)


def _strings(element: DataElement) -> list[str]:
    value = element.value
    if isinstance(value, (bytes, bytearray)):
        return [part.decode("latin-1") for part in re.findall(rb"[\x20-\x7e\xc0-\xff]{3,}", bytes(value))]
    many = value if isinstance(value, (list, MultiValue)) else [value]
    return [str(v).strip(" \0") for v in many if v is not None] if element.VR in _TEXT_VRS | {"UI"} else []


def _outside(output: bytes) -> list[str]:
    return ["the preamble is filled"] if output[128:132] != b"DICM" or any(output[:128]) else []


def _declared(ds: Dataset) -> set[str]:
    return {str(item.get("CodeValue", "")) for item in ds.get("DeidentificationMethodCodeSequence", ())}


def _listed(ds: Dataset) -> list[str]:
    """Attributes that the table, the rule on private ones, or plain caution would still remove."""
    codes = _declared(ds)
    kept = {keyword for code in codes for keyword in _KEPT.get(code, "").split()}
    found = []
    if "113100" not in codes or ds.get("PatientIdentityRemoved") != "YES":
        found.append("de-identification is not declared (PatientIdentityRemoved, DeidentificationMethodCodeSequence)")
    for element in _walk(ds):
        tag, keyword = element.tag, element.keyword
        name = f"({tag.group:04X},{tag.element:04X}) {keyword or 'unknown'}"
        code = table.code(tag.group, tag.element)
        if tag.is_private:
            found.append(f"({tag.group:04X},xxxx) private")
        elif not dictionary_has_tag(tag) or tag.group >> 8 in (0x50, 0x60):
            found.append(f"{name}: unknown, or of a curve or overlay")
        elif element.VR == "UI":
            bad = [u for u in _strings(element) if UID(u).name == u and not _NEW_UID.fullmatch(u)]
            found += [f"{name}: a UID that was not replaced"] if bad else []
        elif code is None or keyword in kept or (element.VR, code) == ("SQ", "X/Z/U*"):
            continue  # the items of a sequence are looked at one by one
        elif keyword in ("PatientID", "PatientName"):
            new = element.is_empty or keys.PATIENT_ID.fullmatch(str(element.value))
            found += [] if new else [f"{name}: not a pseudonym"]
        elif element.VR in ("DA", "TM", "DT") and "113107" in codes:
            continue
        elif code == "X" or not (element.is_empty or str(element.value) == "ANONYMIZED"):
            found.append(f"{name}: PS3.15 says {code}")
    return found


def _meta(ds: Dataset) -> list[str]:
    allowed = set(_META.split())
    meta = getattr(ds, "file_meta", Dataset())
    return [
        f"({e.tag.group:04X},{e.tag.element:04X}) in the file meta information"
        for e in meta
        if e.keyword not in allowed
    ]


def _words(output: bytes, ds: Dataset, forbidden: set[str]) -> list[str]:
    """Forbidden words in any value, in the bytes of the header, and long ones in the pixel data too."""
    found = []
    for element in _elements(ds):
        if element.tag == _PIXELS:
            continue
        texts = _strings(element)
        if _searched(element.VR, texts) & forbidden:
            found.append(
                f"({element.tag.group:04X},{element.tag.element:04X}) {element.keyword}: a word of the original"
            )
    long = [w for w in forbidden if len(w) >= LONG]
    if not long:
        return found
    pattern = re.compile(b"|".join(_bounded(w) for w in sorted(long)), re.IGNORECASE)
    pixels = bytes(ds.PixelData) if "PixelData" in ds else b""
    if pattern.search(_header_bytes(output, ds, pixels)):
        found.append("a word of the original among the bytes of the header")
    if pixels and pattern.search(pixels):
        found.append("(7FE0,0010) PixelData: a word of the original among its bytes")
    return found


def _searched(vr: str, texts: Collection[str]) -> set[str]:
    """What of a value may be an identifier. Parts of numbers and UIDs are no words.

    A short number in an attribute of numbers is the machine's, and an age is an age: a patient called 2500 makes no window width tell who it is, and
    setting such files aside would drop patients by their number.
    """
    if vr == "UI":
        return set(texts)
    if vr in ("DS", "IS", "AS"):
        return {text for text in texts if len(text.strip("+-0. ")) >= LONG}
    return words_in(texts) | set(texts)


def words_in(texts: Iterable[str]) -> set[str]:
    """All folded words."""
    return {w for text in texts for w in words.words_of(text)}


@cache
def _bounded(word: str) -> bytes:
    """A number must stand alone: digits of a new UID may hold any short one."""
    escaped = re.escape(word.encode("utf-8"))
    return rb"(?<![0-9.])" + escaped + rb"(?![0-9])" if word[0].isdigit() else escaped


def _header_bytes(output: bytes, ds: Dataset, pixels: bytes) -> bytes:
    if str(ds.file_meta.get("TransferSyntaxUID", "")) == DeflatedExplicitVRLittleEndian:
        start = 132 + 12 + int(ds.file_meta.get("FileMetaInformationGroupLength", 0) or 0)
        output = output[:start] + zlib.decompress(output[start:].rstrip(b"\0") or b"", -15)
    at = output.find(pixels) if pixels else -1
    return output if at < 0 else output[:at] + b" " + output[at + len(pixels) :]


def _same_dates(ds: Dataset, original: Dataset) -> list[str]:
    """Top-level dates that stand where they stood."""
    before = {e.tag: str(e.value) for e in _level(original) if e.VR in ("DA", "DT")}
    found = []
    for element in _level(ds):
        if element.VR in ("DA", "DT") and not element.is_empty and element.tag in before:
            old = before[element.tag].replace(".", "").replace("-", "")
            if str(element.value)[:8] == old[:8]:
                found.append(
                    f"({element.tag.group:04X},{element.tag.element:04X}) {element.keyword}: the date was not moved"
                )
    return found
