"""Objects of a bucket onto this disk: several at once, resumed where they broke off, checked before they count."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from botocore import exceptions as aws

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track
from ich_pipeline.sources.objects import Changed, StoredObject, bare, check, keyed
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.retry import Unsound, explained, passes, patiently

BLOCK = 1 << 20
PART_SUFFIX = ".part"
_GIVE_UP_AFTER = 3  # objects that fail one after the other with all their tries: the store is gone


@dataclass(frozen=True)
class Failure:
    """An object that could not be had, and why."""

    detail: str


class Fetcher:
    """Fetches objects into a folder.

    A file's name there is made of key, ETag and size, so a file of that name is that object, whole and checked. Beside it
    may lie ``….part``, from which the next try or run goes on.
    """

    def __init__(self, client: Any, bucket: str, folder: Path, remote: Remote):
        self._client = client
        self._bucket = bucket
        self._folder = folder
        self._remote = remote
        self._versions: dict[str, list[str]] = {}  # names in the folder by their part that stands for the key
        for path in folder.iterdir():
            self._versions.setdefault(path.name.split(".")[0], []).append(path.name)
        self._stop = threading.Event()
        self._failed_in_a_row = 0

    def is_here(self, stored: StoredObject) -> bool:
        """Was the object fetched already?"""
        path = self._path(stored)
        return path.is_file() and path.stat().st_size == stored.size

    def fetch(self, wanted: Sequence[StoredObject], track: Track) -> list[Path | Failure]:
        """Fetch all; one result for each, in their order."""
        with ThreadPoolExecutor(self._remote.connections, "fetch") as pool:
            try:
                return list(track(pool.map(self._one, wanted), "fetching", len(wanted)))
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, stored: StoredObject) -> Path | Failure:
        if self._stop.is_set():
            return Failure("not tried: the store does not answer any more")
        try:
            path = self._current(stored)
        except (aws.BotoCoreError, aws.ClientError, Unsound, OSError) as error:
            if passes(error):
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= _GIVE_UP_AFTER:
                    self._stop.set()
            return Failure(explained(error))
        self._failed_in_a_row = 0
        return path

    def _current(self, stored: StoredObject) -> Path:
        try:
            return self._whole(stored)
        except Changed:
            pass
        ask = partial(self._client.head_object, Bucket=self._bucket, Key=stored.key)
        head = patiently(ask, self._remote, self._stop)
        try:
            return self._whole(StoredObject(stored.key, head["ContentLength"], bare(head.get("ETag"))))
        except Changed:
            raise Unsound("it changes while it is read") from None

    def _whole(self, stored: StoredObject) -> Path:
        path = self._path(stored)
        if not self.is_here(stored):
            part = path.with_name(path.name + PART_SUFFIX)
            patiently(partial(self._attempt, stored, part), self._remote, self._stop)
            part.replace(path)
            for name in self._versions.get(path.name.split(".")[0], ()):
                if not path.name.startswith(name.removesuffix(PART_SUFFIX)):  # another version of the same key
                    (self._folder / name).unlink(missing_ok=True)
        return path

    def _path(self, stored: StoredObject) -> Path:
        where = f"{self._client.meta.endpoint_url}\n{self._bucket}\n{stored.key}"
        what = f"{stored.etag}\n{stored.size}"
        return self._folder / f"{_digest(where)}.{_digest(what)}"

    def _attempt(self, stored: StoredObject, part: Path) -> None:
        """Bring ``part`` to the object's length and check it; what has arrived when it breaks off is kept."""
        have = part.stat().st_size if part.exists() else 0
        opaque = stored.md5 is None
        if have > stored.size:
            part.unlink()
            have = 0
        if have < stored.size or not part.exists():
            answer = self._ask(stored, have)
            opaque = opaque or keyed(answer)
            self._receive(answer, stored, part, have)
        if part.stat().st_size != stored.size:
            raise Unsound(f"{part.stat().st_size:,} bytes came where {stored.size:,} are listed")
        try:
            check(self._client, self._bucket, stored, part, opaque)
        except Unsound:
            part.unlink()  # nobody knows which of its bytes are wrong
            raise

    def _ask(self, stored: StoredObject, have: int) -> dict[str, Any]:
        options = {"IfMatch": f'"{stored.etag}"'} if stored.etag else {}
        if have:
            options["Range"] = f"bytes={have}-"
        try:
            return self._client.get_object(Bucket=self._bucket, Key=stored.key, ChecksumMode="ENABLED", **options)
        except aws.ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (412, 416):
                raise Changed from None
            raise

    def _receive(self, answer: dict[str, Any], stored: StoredObject, part: Path, have: int) -> None:
        ranged = str(answer.get("ContentRange", "")).startswith(f"bytes {have}-")
        body = answer["Body"]
        try:
            # If-Match is not known to every store.
            if bare(answer.get("ETag")) != stored.etag or answer["ContentLength"] != stored.size - have * ranged:
                raise Changed
            with part.open("ab" if ranged else "wb") as out:
                while block := body.read(BLOCK):
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())  # the name that it gets promises all bytes, after a power failure too
        except aws.FlexibleChecksumError:
            part.unlink()
            raise
        except (aws.BotoCoreError, ConnectionError, TimeoutError):
            raise
        except OSError as error:  # this disk's, not the network's
            raise InputError(f"{self._folder} cannot be written ({error.strerror}): make room there.") from None
        finally:
            body.close()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
