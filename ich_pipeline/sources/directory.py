"""DICOMDIR (PS3.10 section 8): which files a directory names, and which of them are absent."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import MediaStorageDirectoryStorage

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom import fields
from ich_pipeline.dicom.opening import DEFAULT_LIMITS, Deadline, is_deflated, read_header_dataset
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.names import shown

LARGEST = 256 << 20  # bytes of a directory; it is read as a whole
PATIENCE_S = 300.0  # for a directory that a person named as the source
_NAMED_AT_MOST = 20  # absent files in a detail
_RECORDS = "DirectoryRecordSequence"
_FIRST_AND_LAST = tuple(f"OffsetOfThe{which}DirectoryRecordOfTheRootDirectoryEntity" for which in ("First", "Last"))
_NEXT_AND_LOWER = ("OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity")
_UNDEFINED = 0xFFFFFFFF  # a length; as an offset it leads nowhere

FileID = tuple[str, ...]  # components of ReferencedFileID


def is_directory_file(path: Path) -> bool:
    """Is this file a DICOMDIR, whatever its name?"""
    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return False
        meta = read_file_meta_info(path)
    except Exception:  # whatever a hostile header makes pydicom raise: then it is none
        return False
    return meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def references(path: Path, seconds: float = DEFAULT_LIMITS.seconds) -> list[FileID]:
    """Every file that a directory names, once, in its order.

    Args:
        path: a DICOMDIR.
        seconds: that its reading may take.

    Raises:
        ValueError: it cannot be read, or is cut short: what it named behind the cut would be lost without a word.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ValueError("too large")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with path.open("rb") as file:
                deadline = Deadline(seconds)
                tags = [_RECORDS, *_FIRST_AND_LAST]
                ds, _ = read_header_dataset(file, tags, DEFAULT_LIMITS.inflated_mib, deadline, force=False)
                whole = _declared_end(file, deadline) <= size
            records = ds.get(_RECORDS) or []
            offsets = [ds.get(tag) for tag in _FIRST_AND_LAST]
            offsets += [record.get(tag) for record in records for tag in _NEXT_AND_LOWER]
            # pydicom takes the end of the file for the end of the records. The offsets count from its start.
            whole = (
                whole and _RECORDS in ds and all(offset in (None, _UNDEFINED) or offset < size for offset in offsets)
            )
            found = [_components(record) for record in records if "ReferencedFileID" in record]
    except Exception as error:  # whatever a hostile directory makes pydicom raise
        raise ValueError(f"its records cannot be read ({type(error).__name__})") from None
    if not whole:
        raise ValueError("its records are cut short")
    return list(dict.fromkeys(found))


def _declared_end(file: BinaryIO, deadline: Deadline) -> int:
    """Where the records end by their own account; 0 where they say no length."""
    file.seek(0)
    if is_deflated(file.read(1024)):  # which no directory may be, and pydicom would inflate to whatever it grows to
        return 0
    records = Tag(_RECORDS)
    values: list[tuple[int, int]] = []  # bytes before the records' value, and its length

    def at_records(tag: BaseTag, vr: str | None, length: int) -> bool:
        deadline.check()
        if tag == records:
            values.append((8 if vr is None else 12, length))
        return bool(values)

    file.seek(0)
    read_partial(file, at_records, specific_tags=[records])  # leaves the file at the element that it stopped before
    if not values or values[0][1] == _UNDEFINED:
        return 0
    return file.tell() + sum(values[0])


def _components(record: Dataset) -> FileID:
    return tuple(part.strip() for part in fields.text(record, "ReferencedFileID").split("\\"))


class Presence:
    """Looks up what directories name among the account's names.

    Media are mounted with names in capitals or not, with ``;1`` behind them or not (ISO 9660), so neither counts.
    """

    def __init__(self, names: Iterable[str]):
        self._names = {_plain(name): name for name in names}

    def describe(self, path: Path, name: str) -> str:
        """What to say of a directory: how many files it names, and which of them are absent."""
        try:
            wanted = references(path)
        except ValueError as error:
            return str(error)
        absent = [ids for ids, found in self.resolve(wanted, name) if found is None]
        files = f"names {len(wanted):,} file{'' if len(wanted) == 1 else 's'}"
        if not absent:
            return f"{files}, all present"
        listed = ", ".join(shown("/".join(ids)) for ids in absent[:_NAMED_AT_MOST])
        more = ", …" if len(absent) > _NAMED_AT_MOST else ""
        return f"{files}, {len(absent):,} absent: {listed}{more}"

    def resolve(self, wanted: list[FileID], directory: str) -> Iterator[tuple[FileID, str | None]]:
        """Each file ID with the name of the file it means, None where that is absent.

        IDs count from the root of the file-set, which is the directory's own folder (PS3.10 8.6), or further up where a
        scanner has put directories into subfolders: the nearest folder below which any of them lies.
        """
        parents = PurePosixPath(directory).parents
        base = next((p for p in parents if any(self._find(p, ids) for ids in wanted)), parents[0])
        for ids in wanted:
            yield ids, self._find(base, ids)

    def _find(self, base: PurePosixPath, ids: FileID) -> str | None:
        if not ids or any(part in ("", ".", "..") or "/" in part or "\\" in part for part in ids):
            return None  # leads elsewhere: nothing outside is ever looked at
        return self._names.get(_plain((base / "/".join(ids)).as_posix()))


def _plain(name: str) -> str:
    return name.casefold().removesuffix(";1").removesuffix(".")


def list_directory(path: Path) -> Listing:
    """A DICOMDIR as source: itself and the files that it names, and those that directories among them name.

    Raises:
        InputError: it cannot be read.
    """
    files = {name: file for file, name in list_folder(path.parent).files}
    presence = Presence(files)
    own = shown(path.name)
    wanted, taken = [own], {own}
    while wanted:
        name = wanted.pop()
        if name != own and not is_directory_file(files[name]):
            continue
        try:
            named = references(files[name], PATIENCE_S)
        except ValueError as error:
            if name == own:
                raise InputError(f"{path} is no usable DICOMDIR: {error}; name its folder instead.") from None
            continue
        new = {found for _, found in presence.resolve(named, name) if found is not None} - taken
        taken |= new
        wanted += sorted(new)
    return Listing(tuple((files[name], name) for name in sorted(taken)))
