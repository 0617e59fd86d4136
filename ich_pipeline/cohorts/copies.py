"""Where a cohort may come from and go to, and how its files get there.

A key of an object store may hold what no path can; :func:`places` finds one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import put_back, read_json
from ich_pipeline.core.outputs import check_apart, check_output, lies_in
from ich_pipeline.core.progress import Track
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.remote import Remote, check_cache
from ich_pipeline.tables.cohort_mark import MARK, PHANTOM


def check_places(source: Path | str, target: Path, remote: Remote | None, *beside: Path) -> None:
    """Refuse a source, a cache, a label table or a key that ``target`` contains: it is replaced; or one that contains it.

    The same for the places beside it in which a run works, and for a target that cannot be replaced.

    Args:
        source: a path, or the address of an object store.
        target: ``data/``.
        remote: how the store is reached.
        beside: other files that the user names.
    """
    check_output(target, "")
    outer = target.resolve()
    if isinstance(source, Path):
        if lies_in(source, outer) or outer.is_relative_to(source.resolve()):
            raise InputError(
                f"{source} and {target} contain one another: keep your export outside the project's {target}/."
            )
        beside = (source, *beside)
    else:
        check_cache(remote, target)
    for path in beside:
        if lies_in(path, outer):
            raise InputError(f"{path} lies in {target}/, which is replaced: keep it elsewhere.")
    check_apart(target, "", *(("", path) for path in beside))


def check_replaceable(target: Path, replace: bool) -> None:
    """Refuse to replace a cohort of the user's own, unless told so. A phantom is always replaced.

    One that a killed run left between two names is put back before.
    """
    put_back(target)
    if replace or not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    mark = target / MARK
    if mark.is_file() and read_json(mark).get("kind") == PHANTOM:  # made by a command, so nothing is lost
        return
    raise InputError(
        f"{target} holds a cohort that is not a phantom: keep it elsewhere, or add --replace to delete it."
    )


def check_names(given: Listing) -> None:
    """Refuse a file whose name is no UTF-8, before anything is copied: DVC could not track ``data/`` then."""
    for path, _ in given.files:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            shown = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise InputError(
                f"{shown}: the name of this file or of its folder is no UTF-8, and DVC cannot track such names: rename it, or bring "
                "the export as a zip or tar (`convmv -f latin1 -t utf8 -r --notest FOLDER` renames all)."
            ) from None


def copy_files(source: Path | str, given: Listing, fetched: Path, folder: Path, track: Track) -> None:
    """Every file into ``folder``, in the source's own layout, objects of a store in that of their keys.

    What was fetched for this run alone, into ``fetched``, gets a second name there, which costs no disk and loses nothing
    when the run is killed, where the file system has such.

    Raises:
        InputError: the disk is too small for copies.
    """
    folder.mkdir()
    first = given.files[0][0]
    put = os.link if first.is_relative_to(fetched) and _can_link(first, folder) else shutil.copyfile
    if put is shutil.copyfile:
        _check_space(given.files, folder)
    layout = zip(given.files, _layout(source, given), strict=True)
    for (path, _), place in track(layout, "copying", len(given.files)):
        copy = folder / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        put(path, copy)


def _layout(source: Path | str, given: Listing) -> Sequence[PurePath]:
    if isinstance(source, str):
        return places([name for _, name in given.files])
    root = source if source.is_dir() else source.parent
    return [path.relative_to(root) for path, _ in given.files]


def _can_link(path: Path, folder: Path) -> bool:
    probe = folder / ".probe"
    try:
        os.link(path, probe)
    except OSError:
        return False
    probe.unlink()
    return True


def _check_space(files: Sequence[tuple[Path, str]], folder: Path) -> None:
    needed = sum(path.stat().st_size for path, _ in files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"The copy in {folder.parent} needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free: make room first."
        )


LONGEST_PART = 255  # bytes of a file's or a folder's name, on the common file systems
LONGEST = 1000  # bytes of the whole, so that with the folder before it no system's limit is met
UNFIT = "_unfit_keys"  # the folder of those that cannot keep their name


def places(names: Sequence[str]) -> list[PurePosixPath]:
    """Where each of these goes, no two in one place, whatever case and form of letters the file system minds.

    A name stays as it is where it can be a path; else it is a hash below ``_unfit_keys/``: one that is empty in part,
    leads elsewhere (``..``), is too long, differs from another in case or composition alone, or is the folder of another.

    Args:
        names: all of the source, no two equal.
    """
    folders = {parent for name in names for parent in _parents(_folded(name))}
    taken: set[str] = set()
    found = []
    for name in names:
        key = _folded(name)
        if not _is_path(name) or key in folders or key in taken:
            found.append(PurePosixPath(UNFIT, hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]))
        else:
            taken.add(key)
            found.append(PurePosixPath(name))
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _is_path(name: str) -> bool:
    parts = name.split("/")
    if _folded(parts[0]) == UNFIT or len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        return False
    return all(
        part not in ("", ".", "..") and "\0" not in part and len(part.encode("utf-8", "surrogatepass")) <= LONGEST_PART
        for part in parts
    )
