"""Every file below a folder, in any layout."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.listing import Judged, Listing, Names
from ich_pipeline.sources.names import shown

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


OWN = Path("data")  # what lies there was brought by a command; DVC may have put links into its cache there
LEADS_OUT = "a link that leads out of the folder, which is not followed: put the file itself there"


def list_files(root: Path) -> list[tuple[Path, str]]:
    """Every regular file below ``root`` with its name in the account, sorted by that name.

    Raises:
        InputError: a folder cannot be listed, or a link leads out of it, which no row here could say.
    """
    listing = list_folder(root)
    for one in listing.judged:
        if one.detail == LEADS_OUT:
            raise InputError(f"{root}/{one.name} is {LEADS_OUT}.")
    return list(listing.files)


def list_folder(root: Path) -> Listing:
    """Everything below ``root`` that is no folder; links are followed to files within ``root``, not to folders.

    Any other link, a pipe, a socket and a device have rows of their own: nothing is passed over in silence, nothing is
    opened that never ends, and nobody's file is read because a link in an export names it.

    Raises:
        InputError: a folder cannot be listed.
    """
    places = [root.resolve()]
    if root.absolute().is_relative_to(OWN.absolute()):
        places.append(Path.cwd())
    found: list[tuple[str, Path, str]] = []  # name, path, what it is if no file
    for folder, folders, names in os.walk(root, onerror=_refuse):
        for name in names:
            path = Path(folder, name)
            found.append((_name(path, root), path, _oddity(path, places)))
        for name in folders:
            path = Path(folder, name)
            if path.is_symlink():
                found.append((_name(path, root), path, "a link to a folder, which is not followed: name that folder"))
    unique = Names()
    files, judged = [], []
    for name, path, oddity in sorted(found):
        name = unique.unique(name)
        if oddity:
            judged.append(Judged(name, Reason.UNREADABLE, oddity))
        else:
            files.append((path, name))
    return Listing(tuple(sorted(files, key=lambda item: item[1])), tuple(judged))


def _name(path: Path, root: Path) -> str:
    return shown(path.relative_to(root).as_posix())


def _oddity(path: Path, places: Sequence[Path]) -> str:
    """What it is, if no file that is read; a link must lead into one of the places."""
    try:
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in places):
            return LEADS_OUT
        mode = path.stat().st_mode
    except RuntimeError:
        return "a link that leads back to itself"
    except OSError:  # a dangling link, for one: its reading will say so
        return ""
    return _KINDS.get(stat.S_IFMT(mode), "")


def _refuse(error: OSError) -> None:
    raise InputError(
        f"{error.filename} cannot be listed ({error.strerror}): give yourself read permission, or take it out of the source."
    )
