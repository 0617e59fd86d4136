"""``ich weights``: pretrained weights for hospitals without internet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ich_pipeline.errors import InputError
from ich_pipeline.progress import Track, quiet


def listing(architectures: Sequence[str]) -> Iterator[str]:
    """A line an architecture: its name, the address of its weights, and the hash that Keras states."""
    from ich_pipeline.training.weights import source_of

    for name in architectures:
        source = source_of(name)
        kind = {32: "MD5", 64: "SHA-256"}.get(len(source.keras_hash or ""), "hash")
        yield f"{name}  {source.url}  {f'{kind} {source.keras_hash}' if source.keras_hash else 'no hash stated'}"


def fetch(architectures: Sequence[str], folder: Path, track: Track = quiet) -> Iterator[str]:
    """Download, and say what is there and how params.yaml names it."""
    from ich_pipeline.training.weights import fetch as download

    for found in download(architectures, folder, track):
        yield f"{found.file}: {found.architecture}, {found.weights:,} weights"
        yield f"  params.yaml: networks.{found.architecture}: {{weights: {found.file}, weights_sha256: {found.sha256}}}"


def verify(path: Path, architecture: str | None = None, sha256: str | None = None) -> Iterator[str]:
    """Check, and say a line a file; InputError at the first that does not fit."""
    from ich_pipeline.training.weights import verify as check

    count = 0
    for found in check(path, architecture, sha256):
        count += 1
        yield f"{found.file}: complete for {found.architecture}, {found.weights:,} weights, SHA-256 {found.sha256}"
    if not count:
        raise InputError(f"{path} lists no weights: fetch some with `ich weights fetch`.")
