"""What SOURCE of a command may name: a folder, an archive, a DICOMDIR, a file, or ``s3://bucket/prefix``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import beside, real_place
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.sources.directory import is_directory_file, list_directory
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.names import shown
from ich_pipeline.sources.remote import Remote

S3_SCHEME = "s3://"


class Source(Protocol):
    """Something that gives files."""

    def collect(self, resume: Path, track: Track) -> Listing:
        """Every file, on this disk.

        Args:
            resume: folder for what must be brought here; what a run before has left there is used.
            track: progress over the files.
        """
        ...


@dataclass(frozen=True)
class _Local:
    listing: Listing

    def collect(self, resume: Path, track: Track) -> Listing:
        return self.listing


def is_remote(source: Path | str) -> bool:
    """Is it the address of an object store? A path never is, whatever it is called."""
    return isinstance(source, str) and source.lower().startswith(S3_SCHEME)


def named(source: Path | str) -> Path | str:
    """The address of an object store, or a path.

    Raises:
        InputError: it is empty, as an unset variable of the shell is; a path would take that for the current folder.
    """
    if isinstance(source, str) and not source.strip():
        raise InputError("SOURCE is empty: name a folder, an archive, a DICOMDIR, or s3://bucket/prefix.")
    return source if is_remote(source) else Path(source)


def fetched_beside(target: Path) -> Path:
    """The folder where a run that writes ``target`` keeps what it brings here, for the next one to go on with."""
    return beside(real_place(target), "fetched")


def open_source(source: Path | str, remote: Remote | None = None, track: Track = quiet) -> Source:
    """Look at a source and list it; nothing is written and no file is opened to the end.

    Raises:
        InputError: it is missing, holds no file, or cannot be reached.
    """
    source = named(source)
    if is_remote(source):
        from ich_pipeline.sources.s3 import open_s3

        return open_s3(str(source), remote or Remote(), track)
    for option, value in (("--endpoint-url", remote and remote.endpoint_url), ("--cache", remote and remote.cache)):
        if value:
            raise InputError(f"{option} {value} is for s3://bucket/prefix, and {source} is none: leave it out.")
    return _Local(list_local(Path(source)))


def list_local(path: Path) -> Listing:
    """Every file of a folder, of a DICOMDIR with what it names, or the one file; archives are not opened.

    Raises:
        InputError: it is missing, holds no file, or cannot be read.
    """
    try:
        listing = _list(path)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check its name and permissions.") from None
    if not listing:
        raise InputError(f"{path} holds no files: name the folder or the archive of a DICOM export.")
    return listing


def _list(path: Path) -> Listing:
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise InputError(f"{path} is missing: name a folder, an archive, a DICOMDIR, or s3://bucket/prefix.")
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder: name a folder, an archive or a DICOMDIR.")
    if is_directory_file(path):
        return list_directory(path)
    return Listing(((path, shown(path.name)),))
