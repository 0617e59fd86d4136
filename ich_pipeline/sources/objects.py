"""What S3 says of an object, and whether a file on this disk is that object."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_pipeline.sources.retry import Unsound

_BLOCK = 1 << 20
_PLAIN_ETAG = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredObject:
    """One object; ``size`` in bytes, ``etag`` without the quotes that some stores put around it and some not."""

    key: str
    size: int
    etag: str

    @property
    def md5(self) -> str | None:
        """The ETag where it has the form of an MD5 (objects that were sent in parts have another)."""
        return self.etag.lower() if _PLAIN_ETAG.fullmatch(self.etag.lower()) else None


class Changed(Exception):
    """The object is another one than was listed."""


def check(client: Any, bucket: str, stored: StoredObject, part: Path, opaque: bool) -> None:
    """Compare a whole file with its MD5, or with what checksum the store keeps of it.

    Args:
        client: boto3's, for the second look that an ETag needs which is no MD5.
        bucket: where the object lies.
        stored: what was listed.
        part: the file.
        opaque: the ETag is known to be no MD5.

    Raises:
        Unsound: the bytes are not those of the object.
        Changed: the object is another one by now.
    """
    if not opaque and stored.md5 is not None and _hash(part, "md5") == stored.md5:
        return
    # A store that encrypts under a key of its own gives any 32 digits as ETag, and says so in this answer.
    head = client.head_object(Bucket=bucket, Key=stored.key, ChecksumMode="ENABLED")
    if bare(head.get("ETag")) != stored.etag:
        raise Changed
    if stored.md5 is not None and not keyed(head):
        raise Unsound("its bytes do not agree with its ETag")
    if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return
    for name in ("SHA256", "SHA1", "CRC32"):
        expected = head.get(f"Checksum{name}")
        if expected and "-" not in expected:
            if base64.b64decode(expected) != _checksum(part, name):
                raise Unsound(f"its bytes do not agree with its {name}")
            return


def bare(etag: str | None) -> str:
    """An ETag without its quotes."""
    return (etag or "").strip('"')


def keyed(answer: dict[str, Any]) -> bool:
    """Is it encrypted so that the ETag is no MD5 (SSE-KMS, SSE-C)?"""
    return str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or bool(answer.get("SSECustomerAlgorithm"))


def _hash(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def _checksum(path: Path, name: str) -> bytes:
    if name != "CRC32":
        return bytes.fromhex(_hash(path, name.lower()))
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc.to_bytes(4, "big")
