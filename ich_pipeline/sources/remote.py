"""How an object store is reached and how patiently."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.outputs import lies_in, working_places

# Where the objects of a store may be kept.


def check_cache(remote: Remote | None, output: Path, option: str = "") -> None:
    """Refuse a ``--cache`` that is no folder, or that shares a place with what a command writes.

    Args:
        remote: how the store is reached; None, or without a cache, is fine.
        output: what the command writes; it works in :func:`~ich_pipeline.core.outputs.working_places` beside it.
        option: how the user names the output, ``"--out "``; empty for a place that has no option.

    Raises:
        InputError: it is a file, contains the output, or lies in it or in one of its working folders.
    """
    cache = remote.cache if remote else None
    if cache is None:
        return
    if cache.exists() and not cache.is_dir():
        raise InputError(f"--cache {cache} is a file: name a folder.")
    whole = output.resolve()
    if whole.is_relative_to(cache.resolve()) or any(lies_in(cache, one) for one in (whole, *working_places(output))):
        raise InputError(f"--cache {cache} and {option}{output} contain one another: name a folder apart from it.")


@dataclass(frozen=True)
class Remote:
    """Options of an S3 source; none of them changes what is read.

    Attributes:
        endpoint_url: server of an S3-compatible store; None leaves it to boto3 (AWS_ENDPOINT_URL, its configuration files).
        cache: folder that keeps the objects after the run, so that the next one fetches only what is new or changed.
        accept_missing: go on without objects that the store does not hand over, as ``source_unreachable``.
        missing_option: what a person adds to the command for that.
        kept: what was fetched is there for the next run where this one does not end well.
        attempts: tries for each page of the listing and each object; boto3 waits longer before each.
        timeout_s: seconds without a byte after which a try has failed.
        connections: objects fetched at once.
    """

    endpoint_url: str | None = None
    cache: Path | None = None
    accept_missing: bool = False
    missing_option: str = "--accept-missing"
    kept: bool = True
    attempts: int = 8
    timeout_s: float = 60.0
    connections: int = 8
