"""Archives in a listing are replaced by their members, nested ones too; every member and every archive has its row.

Members are written under numbers into a scratch folder, one after the other: no name of theirs ever reaches the disk, memory
is one block, and a nested archive is deleted once its members are out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ich_pipeline.config import ArchiveParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.budget import Budget, OverLimit
from ich_pipeline.sources.formats import START, Kind, archive_kind
from ich_pipeline.sources.listing import Judged, Listing, Names
from ich_pipeline.sources.members import ArchiveError, Member, said
from ich_pipeline.sources.names import member_name
from ich_pipeline.sources.tars import stream_members
from ich_pipeline.sources.zips import zip_members

BLOCK = 1 << 20
_FILES_A_FOLDER = 1000


def unpack(listing: Listing, scratch: Path, limits: ArchiveParams, track: Track = quiet) -> Listing:
    """Open every archive of a listing.

    Args:
        listing: what a source gave.
        scratch: an empty or missing folder for the members; it must outlive the listing.
        limits: bounds of expansion, over the whole listing.
        track: progress over the files, then over the members.

    Returns:
        The listing with the members in it. An archive that was opened is judged ``archive``; one that is cut short or
        damaged is ``archive_broken``, and has no members here: nobody knows what it held. A member that goes beyond a
        limit is ``archive_bomb``, and so is everything behind it in the archive, unread. An archive of another kind is
        ``archive_unsupported``.

    Raises:
        InputError: the disk is full.
    """
    plain: list[tuple[Path, str]] = []
    archives: list[tuple[Path, str, Kind]] = []
    for path, name in track(listing.files, "looking for archives", len(listing.files)):
        kind = archive_kind(_start(path), name)
        if kind is not None:
            archives.append((path, name, kind))
        else:
            plain.append((path, name))
    if not archives:
        return listing
    names = [name for _, name in listing.files] + [judged.name for judged in listing.judged]
    work = _Unpacking(scratch, limits, Names(names))
    for _ in track(work.all_members(archives), "unpacking archives"):
        pass
    files = sorted(plain + work.files, key=lambda item: item[1])
    return Listing(tuple(files), (*listing.judged, *work.judged))


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(START)
    except OSError:  # the reading of its header will say so
        return b""


class _Unpacking:
    def __init__(self, scratch: Path, limits: ArchiveParams, names: Names):
        self.files: list[tuple[Path, str]] = []
        self.judged: list[Judged] = []
        self._scratch = scratch
        self._names = names
        self._number = 0
        scratch.mkdir(parents=True, exist_ok=True)
        self._budget = Budget(limits, scratch)

    def all_members(self, archives: list[tuple[Path, str, Kind]]) -> Iterator[None]:
        for path, name, kind in archives:
            self._budget.begin(path.stat().st_size)
            yield from self._archive(path, name, kind, depth=1)

    def _archive(self, path: Path, name: str, kind: Kind, depth: int) -> Iterator[None]:
        """Yields once a member, for the progress."""
        if kind is Kind.FOREIGN:
            self.judged.append(Judged(name, Reason.ARCHIVE_UNSUPPORTED))
            return
        if depth > self._budget.limits.depth:
            detail = f"nested deeper than ingest.archives.depth ({self._budget.limits.depth})"
            self.judged.append(Judged(name, Reason.ARCHIVE_BOMB, detail))
            return
        reason, detail, count = Reason.ARCHIVE, "", 0
        before = len(self.files), len(self.judged)
        members = zip_members(path, self._budget) if kind is Kind.ZIP else self._stream(path, name, kind)
        refused = ""  # the limit that was passed
        try:
            for member in members:
                count += 1
                if refused:
                    self._judge(member, name, (Reason.ARCHIVE_BOMB, f"not read: the archive {refused}"))
                    continue
                try:
                    yield from self._member(member, name, depth)
                except OverLimit as error:
                    refused = str(error)
                    if kind is not Kind.ZIP:  # only a zip names the rest without being expanded further
                        break
        except OverLimit as error:
            refused = str(error)
        except ArchiveError as error:
            self._take_back(*before)
            told = f"cut short or damaged ({error}), so none of its members is read: bring the whole archive"
            self.judged.append(Judged(name, Reason.ARCHIVE_BROKEN, told))
            return
        if refused:
            reason, detail = Reason.ARCHIVE_BOMB, refused
            if kind is not Kind.ZIP:
                detail += ", what follows is not listed"
        counted = f"{count:,} member{'' if count == 1 else 's'}"
        self.judged.append(Judged(name, reason, f"{counted}; {detail}" if detail else counted))

    def _take_back(self, files: int, judged: int) -> None:
        """Forget all files and verdicts but so many first ones."""
        for path, _ in self.files[files:]:
            self._delete(path)
        del self.files[files:], self.judged[judged:]

    def _stream(self, path: Path, name: str, kind: Kind) -> Iterator[Member]:
        return stream_members(path, name.rsplit("/", 1)[-1], kind, self._budget)

    def _member(self, member: Member, archive: str, depth: int) -> Iterator[None]:
        _, unsafe = member_name(member.name)
        if member.open is None or member.problem or unsafe:
            self._judge(member, archive, member.problem or (Reason.ARCHIVE_MEMBER_UNSAFE, unsafe))
            yield
            return
        path = self._next_path()
        try:
            fault = self._write(member, path)
        except OverLimit as error:
            self._judge(member, archive, (Reason.ARCHIVE_BOMB, str(error)))
            self._delete(path)
            raise
        if fault:
            self._judge(member, archive, (Reason.ARCHIVE_BROKEN, fault))
            self._delete(path)
            yield
            return
        name = self._name(member, archive)
        kind = archive_kind(_start(path), name)
        if kind is not None:
            yield from self._archive(path, name, kind, depth + 1)
            self._delete(path)
            return
        self.files.append((path, name))
        yield

    def _write(self, member: Member, path: Path) -> str:
        """Write a member's bytes; returns what is wrong with them."""
        assert member.open is not None  # judged before
        stream = None
        with path.open("wb", buffering=0) as out:
            while True:
                try:
                    stream = stream or member.open()
                    block = stream.read(BLOCK)
                except OverLimit:
                    raise
                except Exception as error:  # whatever a hostile member makes its reader raise
                    return said(error)
                if not block:
                    return ""
                self._budget.written(len(block))
                try:
                    out.write(block)
                except OSError as error:
                    raise InputError(
                        f"{self._scratch} cannot be written while archives are unpacked ({error.strerror}): make room there."
                    ) from None

    def _delete(self, path: Path) -> None:
        self._budget.freed(path.stat().st_size)
        path.unlink()

    def _next_path(self) -> Path:
        folder = self._scratch / f"{self._number // _FILES_A_FOLDER:06d}"
        if self._number % _FILES_A_FOLDER == 0:
            folder.mkdir()
        path = folder / f"{self._number % _FILES_A_FOLDER:03d}"
        self._number += 1
        return path

    def _judge(self, member: Member, archive: str, verdict: tuple[Reason, str]) -> None:
        self.judged.append(Judged(self._name(member, archive), *verdict))

    def _name(self, member: Member, archive: str) -> str:
        return self._names.unique(f"{archive}/{member_name(member.name)[0]}")
