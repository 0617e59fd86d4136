"""What a folder holds, as one digest, and whether it still does: what a registered version is known by.

A bundle lists its own files in ``content.json``, so that it can be checked wherever it lies; who changed both is found out by
the digest that the registry keeps beside the version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import json_text, sha256_of, write_json

MANIFEST = "content.json"
AGAIN = "register the model again (`python -m flows.register`)"
_COMPILED = "__pycache__"  # written by whoever runs the code


@dataclass(frozen=True)
class Content:
    """What a folder holds: sha256 and size in bytes of each file by relative path, and one digest of it all."""

    digest: str
    files: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """``{"digest": …, "files": {path: {"sha256": …, "bytes": …}}}``."""
        return {"digest": self.digest, "files": self.files}

    def below(self, folder: Path, leave: Collection[str] = ()) -> Content:
        """What a folder in it holds, by paths relative to that."""
        start = f"{folder.as_posix()}/"
        files = {name.removeprefix(start): one for name, one in self.files.items() if name.startswith(start)}
        return _content({name: one for name, one in files.items() if name not in leave})

    @property
    def sha256(self) -> dict[str, str]:
        """By path."""
        return {name: str(one["sha256"]) for name, one in self.files.items()}


def content_of(folder: Path, leave: Collection[str] = (MANIFEST,)) -> Content:
    """Read every file below ``folder``; the digest is a sha256 over the sorted relative paths and each file's sha256.

    Args:
        folder: what is there of compiled Python does not count.
        leave: relative paths that do not count either.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    counted = [name for name in paths if name not in leave and _COMPILED not in name.split("/")]
    return _content({name: {"sha256": sha256_of(paths[name]), "bytes": paths[name].stat().st_size} for name in counted})


def refuse_compiled(folder: Path) -> None:
    """Refuse compiled Python in a registered version: it runs in place of the code beside it, and nobody registered it.

    Raises:
        InputError: there is some.
    """
    if found := next(folder.rglob(_COMPILED), None):
        raise InputError(f"{found} holds compiled code, which would run in place of what was registered: remove it.")


def _content(files: dict[str, dict[str, Any]]) -> Content:
    digest = digest_of({name: one["sha256"] for name, one in files.items()})
    return Content(digest, {name: files[name] for name in sorted(files)})


def digest_of(files: Mapping[str, str]) -> str:
    """One sha256 over files: their paths, sorted, and the sha256 of each."""
    return hashlib.sha256("".join(f"{files[name]}  {name}\n" for name in sorted(files)).encode()).hexdigest()


def seal(folder: Path) -> Content:
    """Write down in the folder what it holds now."""
    content = content_of(folder)
    write_json(folder / MANIFEST, content.to_json())
    return content


def check_sealed(folder: Path, digest: str = "", found: Content | None = None) -> None:
    """Refuse a folder that holds anything else than when it was sealed.

    Args:
        folder: a bundle.
        digest: what somebody else knows it by, who cannot have been changed with it; empty where nobody does.
        found: what it holds, where that has been looked at.

    Raises:
        InputError: it was never sealed, or a file was changed, is missing or was added; the first is named.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(
            f"{folder} has no {MANIFEST}, so nobody can say whether its files are those that were registered: {AGAIN}."
        )
    found = content_of(folder) if found is None else found
    if manifest.read_bytes() != json_text(found.to_json()).encode():
        refuse_changes(folder, _said(manifest) or found.sha256, found.sha256)
        raise InputError(f"{manifest} was changed since the model was registered: {AGAIN}.")
    if digest and found.digest != digest:
        raise InputError(
            f"{folder} holds other files (digest {found.digest[:12]}) than its version was registered with ({digest[:12]}): {AGAIN}."
        )


def refuse_changes(folder: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Name the first file that is not as it was.

    Args:
        folder: for the sentence.
        expected: sha256 by relative path, as it was written down.
        found: the same, as it is.

    Raises:
        InputError: they differ.
    """
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            what = (
                "was changed"
                if name in expected and name in found
                else "is missing"
                if name in expected
                else "was added"
            )
            raise InputError(f"{folder / name} {what} since the model was registered: {AGAIN}.")


def _said(manifest: Path) -> dict[str, str] | None:
    """The digests of a manifest by path; None where it is none."""
    try:
        files = json.loads(manifest.read_bytes())["files"]
        return {str(name): str(one["sha256"]) for name, one in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
