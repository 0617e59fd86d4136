"""Where the objects of a store may be kept."""

from __future__ import annotations

from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.outputs import lies_in, working_places
from ich_pipeline.sources.remote import Remote


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
