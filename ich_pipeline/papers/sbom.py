"""The software bill of materials: what requirements.lock names, as CycloneDX 1.6 JSON (ECMA-424).

No time and no serial number: the same lock and the same installed packages give the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import sha256_of

LOCK = Path("requirements.lock")
PACKAGE = "ich-pipeline"
_PIN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([^\s;]+)\s*(?:;\s*(.+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NO_NAMES = ("OSI Approved", "DFSG approved")  # classifiers that say no more
_LONGEST_NAME = 100  # characters: some packages have the whole text where the licence's name should stand


@dataclass(frozen=True)
class Pin:
    """A package of the lock; ``marker`` says where it is installed, empty for everywhere."""

    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)


def read_lock(lock: Path) -> list[Pin]:
    """The packages of a lock file that pip can check: ``name==version [; marker]``, each with its SHA-256.

    Raises:
        InputError: the file is missing, holds another line, or a package without a hash.
    """
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{lock} cannot be read: name the lock file, or run from the project's top folder.") from None
    pins: list[Pin] = []
    for number, line in enumerate(lines, start=1):
        text = line.partition(" #")[0].strip().removesuffix("\\").strip()
        if not text or text.startswith("#"):
            continue
        if found := _PIN.fullmatch(text):
            pins.append(Pin(found[1], found[2], (found[3] or "").strip()))
        elif pins and (found := _HASH.fullmatch(text)):
            pins[-1].hashes.append(found[1])
        else:
            raise InputError(
                f"{lock}, line {number}: {text[:80]!r} is neither NAME==VERSION nor --hash=sha256:…: `make lock` writes the file."
            )
    for pin in pins:
        if not pin.hashes:
            raise InputError(f"{lock}: {pin.name}=={pin.version} has no --hash=sha256:…: `make lock` writes the file.")
    return pins


def sbom(lock: Path = LOCK) -> dict[str, Any]:
    """The bill of materials of a lock file as JSON values.

    Licences are as the installed packages say them: of what is not installed here, or in another version, none is given.

    Raises:
        InputError: see :func:`read_lock`.
    """
    pins = sorted(read_lock(lock), key=lambda pin: (pin.name.lower(), pin.version))
    product = {
        "type": "application",
        "bom-ref": PACKAGE,
        "name": PACKAGE,
        "version": importlib.metadata.version(PACKAGE),
        "licenses": list(_licences(PACKAGE)),
    }
    made_of = {"name": f"ich:{LOCK.name}:sha256", "value": sha256_of(lock)}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": product, "properties": [made_of]},
        "components": [_component(pin) for pin in pins],
    }


def _component(pin: Pin) -> dict[str, Any]:
    """The hashes are of the files that pip may install of a package, one a platform: they stand with its distribution."""
    purl = f"pkg:pypi/{_normal(pin.name)}@{quote(pin.version, safe='')}"
    files = {
        "type": "distribution",
        "url": f"https://pypi.org/project/{_normal(pin.name)}/{quote(pin.version, safe='')}/",
        "hashes": [{"alg": "SHA-256", "content": content} for content in sorted(pin.hashes)],
    }
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": pin.version,
        "purl": purl,
        "externalReferences": [files],
    }
    if licences := list(_licences(pin.name, pin.version)):
        found["licenses"] = licences
    if pin.marker:
        found["properties"] = [{"name": "ich:marker", "value": pin.marker}]
    return found


def _licences(name: str, version: str | None = None) -> Iterator[dict[str, Any]]:
    """An SPDX expression where the package has one, else the names that its classifiers or its metadata give."""
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return
    if version is not None and about["Version"] != version:
        return
    if expression := about.get_all("License-Expression"):
        yield {"expression": expression[0]}
        return
    classifiers = [one.split(" :: ")[-1] for one in about.get_all("Classifier", []) if one.startswith("License :: ")]
    classifiers = [one for one in classifiers if one not in _NO_NAMES]
    plain = " ".join("".join(about.get_all("License", [])).split())
    names = classifiers or ([plain] if 0 < len(plain) <= _LONGEST_NAME and plain != "UNKNOWN" else [])
    yield from ({"license": {"name": one}} for one in sorted(set(names)))


def _normal(name: str) -> str:
    """As a package index and a purl have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
