"""Where a cohort may come from and go to, and how its files get there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import put_back, read_json
from ich_pipeline.core.outputs import check_apart, check_output, lies_in
from ich_pipeline.core.progress import Track
from ich_pipeline.sources.keys import places
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
