"""Pretrained weights as files: what Keras would download, a folder of them with its manifest, and whether a file fits.

A hospital without internet fetches on another machine (``ich weights fetch``), carries the folder over, and checks it
(``ich weights verify``).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ich_pipeline.config import NetworkParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, sha256_of, write_json
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.training import downloads
from ich_pipeline.training.backbones import architecture_function, build_backbone, load_all_weights
from ich_pipeline.training.outputs import PRETRAINED

MANIFEST = "weights.json"
SCHEMA = "weights/1"
PHANTOM = "phantom"  # weights that stage pretrain learns on synthetic heads
NETWORK_WEIGHTS = "model.weights.h5"  # in the folder of a network of this project
SIZE = 224  # pixels; every architecture takes it, and convolutions have the same weights at any size


@dataclass(frozen=True)
class Verified:
    """A weights file that fits."""

    file: Path
    architecture: str
    sha256: str
    weights: int  # numbers in it


def started_from(name: str, settings: NetworkParams, pretrained: Path | None = None) -> str:
    """What the record says of where a network's weights begin: ``none``, ``imagenet``, or a name and a SHA-256.

    Args:
        name: of the network.
        settings: its settings; ``weights`` may be the path of a file, or of the folder of another network.
        pretrained: folder of what stage pretrain learnt; None where it is not made yet.

    Raises:
        InputError: the file is missing, or is not the one that ``weights_sha256`` asks for.
    """
    if settings.weights in ("none", "imagenet"):
        return settings.weights
    if settings.weights == PHANTOM and pretrained is None:
        return PHANTOM
    path = pretrained if settings.weights == PHANTOM and pretrained is not None else Path(settings.weights)
    if (path / NETWORK_WEIGHTS).is_file():
        words = PRETRAINED if settings.weights == PHANTOM else path.name
        return f"{words} (sha256 {sha256_of(path / NETWORK_WEIGHTS)})"
    if settings.weights == PHANTOM:
        raise InputError(
            f"{path / NETWORK_WEIGHTS} is missing: run the stage that makes it (`dvc repro pretrain@{name}`)."
        )
    if not path.is_file():
        raise InputError(
            f"params.yaml: networks.{name}.weights names {path}, which is no file; give a path, 'imagenet' or 'none'."
        )
    found = sha256_of(path)
    if settings.weights_sha256 not in (None, found):
        raise InputError(
            f"params.yaml: networks.{name}.weights: {path} has SHA-256 {found}, but weights_sha256 is "
            f"{settings.weights_sha256}: bring the right file, or change weights_sha256 if this one is meant."
        )
    return f"{path.name} (sha256 {found})"


def addresses(architectures: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each architecture with the address that Keras would download from; nothing is downloaded.

    Raises:
        InputError: no such architecture, or Keras has no weights of it.
    """
    with tempfile.TemporaryDirectory() as home:
        yield from zip(architectures, downloads.addresses(architectures, Path(home)), strict=True)


def fetch(architectures: Sequence[str], folder: Path, track: Track = quiet) -> list[Verified]:
    """Download ImageNet weights without top into a folder, check each, and list them in its ``weights.json``.

    The folder then serves as Keras' cache: with ``KERAS_HOME`` naming it, networks begin with ``imagenet`` without a connection.

    Args:
        architectures: names of ``keras.applications``.
        folder: made where it is missing; what its manifest lists already stays.
        track: shows progress over the files.

    Raises:
        InputError: no such architecture, no connection, or what came is not what Keras says it should be.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--to {folder} is a file: name a folder.")
    for name in architectures:
        architecture_function(name)
    folder.mkdir(parents=True, exist_ok=True)
    listed = _manifest(folder) if (folder / MANIFEST).is_file() else {}
    done: list[Verified] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial.") as home:
        came = downloads.download(architectures, Path(home))
        for name in track(architectures, "weights", len(architectures)):
            try:
                address = next(came)
            except OSError as error:
                raise InputError(
                    f"ImageNet weights of {name} could not be had ({error}): fetch where there is a connection, and carry "
                    f"{folder} over."
                ) from None
            [got] = (Path(home) / downloads.CACHE).iterdir()
            found = _fitting(got, name)
            file = folder / downloads.CACHE / got.name
            file.parent.mkdir(exist_ok=True)
            got.replace(file)
            listed[f"{downloads.CACHE}/{got.name}"] = {
                "architecture": name,
                "sha256": found.sha256,
                "bytes": file.stat().st_size,
                "source": address,
            }
            write_json(folder / MANIFEST, {"schema": SCHEMA, "files": listed})
            done.append(replace(found, file=file))
    return done


def verify(path: Path, architecture: str | None = None, sha256: str | None = None) -> Iterator[Verified]:
    """Check a weights file, or every file of a folder against its manifest; one answer a file as it is checked.

    Args:
        path: a file, or a folder with a ``weights.json``.
        architecture: of a file; None takes it from the manifest beside it.
        sha256: that a file must have; None takes it from the manifest beside it, where there is one.

    Raises:
        InputError: a file is missing, is another one, or does not fit its architecture completely.
    """
    path = Path(path)
    if path.is_dir():
        for name, entry in _manifest(path).items():
            yield from verify(path / name, architecture or entry["architecture"], sha256 or entry["sha256"])
        return
    if not path.is_file():
        raise InputError(f"{path} is missing: carry it over, or fetch it with `ich weights fetch`.")
    home = path.parent.parent if path.parent.name == downloads.CACHE else path.parent
    entry = _manifest(home).get(path.relative_to(home).as_posix(), {}) if (home / MANIFEST).is_file() else {}
    architecture, wanted = architecture or entry.get("architecture"), sha256 or entry.get("sha256")
    if wanted is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", wanted):
        raise InputError(f"--sha256 {wanted} is no SHA-256: give its 64 hexadecimal digits.")
    if architecture is None:
        raise InputError(f"{path}: no {MANIFEST} in {home} names its architecture: add --architecture NAME.")
    if wanted is not None and (found := sha256_of(path)) != wanted.lower():
        raise InputError(
            f"{path} has SHA-256 {found}, but should have {wanted}: it was damaged or exchanged; bring it again."
        )
    yield _fitting(path, architecture)


def _fitting(path: Path, architecture: str) -> Verified:
    backbone = build_backbone(architecture, SIZE, "none", "float32")
    try:
        load_all_weights(backbone, path)
    except ValueError as error:
        raise InputError(
            f"{path} does not fit {architecture} without top ({error}): bring a complete file of that architecture."
        ) from None
    return Verified(path, architecture, sha256_of(path), backbone.count_params())


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    values = read_json(path) if path.is_file() else None
    if values is None:
        raise InputError(
            f"{folder} has no {MANIFEST}: name one file and its --architecture, or fetch the folder again."
        )
    files = values.get("files") if isinstance(values, dict) and values.get("schema") == SCHEMA else None
    if not isinstance(files, dict) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("architecture", "sha256"))
        for entry in files.values()
    ):
        raise InputError(f"{path} is no manifest of schema {SCHEMA!r}: fetch the folder again.")
    return files
