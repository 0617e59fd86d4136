"""Sources as the commands read them, once they are on this machine: archives opened in a scratch folder that is gone afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ich_pipeline.config import ArchiveParams
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.core.stopping import not_between
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.listing import Judged, Listing, Names
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import is_remote, open_source
from ich_pipeline.sources.unpack import unpack

NAMED_AT_MOST = 3  # in a sentence; the count says the rest


@contextlib.contextmanager
def opened(listing: Listing, scratch: Path, limits: ArchiveParams, track: Track = quiet) -> Iterator[Listing]:
    """The listing with the members of its archives, which lie on the disk within the block.

    Args:
        listing: what a source collected, or :func:`list_several` gave.
        scratch: a folder for the members, of nobody else's: it is removed before and after, and with it what a killed
            run left there.
        limits: of archives, over the whole listing.
        track: progress.

    Raises:
        InputError: the disk is full.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        yield unpack(listing, scratch, limits, track)
    finally:
        with not_between():
            shutil.rmtree(scratch, ignore_errors=True)


def list_several(
    sources: Sequence[Path | str], fetched: Path, remote: Remote | None = None, track: Track = quiet
) -> Listing:
    """Several sources as one: each file once, named below its source.

    Args:
        sources: paths, and addresses of object stores.
        fetched: folder for the objects of stores, a folder each; what a run before has left there is used.
        remote: how stores are reached.
        track: progress.

    Raises:
        InputError: one of them is missing, holds no file, cannot be listed, or does not hand over its objects; or ``remote``
            names what only a store needs, and none of them is one.
    """
    several = list(dict.fromkeys(sources))
    stores = [source for source in several if is_remote(source)]
    # All are looked at before the first is fetched: a wrong name is told in seconds.
    looked_at = [open_source(s, remote if s in stores or not stores else None, track) for s in several]
    names = Names()
    files: dict[Path, str] = {}
    judged: list[Judged] = []
    for source, found in zip(several, looked_at, strict=True):
        listing = found.collect(fetched / hashlib.sha256(str(source).encode()).hexdigest()[:12], track)
        folder = source in stores or Path(source).is_dir()
        below = f"{source}/" if folder and len(several) > 1 else ""
        for path, name in listing.files:
            if path not in files:
                files[path] = names.unique(below + name)
        judged += [Judged(names.unique(below + one.name), one.reason, one.detail) for one in listing.judged]
    return Listing(tuple(files.items()), tuple(judged))


def not_read(listing: Listing) -> tuple[Judged, ...]:
    """What could not be read, whole or at all: damaged, locked, refused; an archive that was opened is none of it."""
    return tuple(one for one in listing.judged if one.reason is not Reason.ARCHIVE)


def in_words(found: Sequence[Judged]) -> str:
    """The first of them with their reasons: ``a.zip: archive_broken (cut short)``; empty for none."""
    named = [f"{one.name}: {one.reason}{f' ({one.detail})' if one.detail else ''}" for one in found[:NAMED_AT_MOST]]
    return ", ".join(named) + (", …" if len(found) > NAMED_AT_MOST else "")
