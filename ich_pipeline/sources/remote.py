"""How an object store is reached and how patiently."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
