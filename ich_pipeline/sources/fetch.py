"""Objects of a bucket onto this disk: several at once, by s3transfer, and checked before they count."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import exceptions as aws
from s3transfer.exceptions import RetriesExceededError
from s3transfer.subscribers import BaseSubscriber
from urllib3.exceptions import HTTPError

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track
from ich_pipeline.sources.remote import Remote

_PART_SUFFIX = ".part"
_GIVE_UP_AFTER = 3  # objects that fail one after the other with all their tries: the store is gone
_PLAIN_ETAG = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredObject:
    """One object; ``size`` in bytes, ``etag`` without the quotes that some stores put around it and some not."""

    key: str
    size: int
    etag: str

    @classmethod
    def told(cls, key: str, size: int, etag: str | None) -> StoredObject:
        """From what an answer of the store says."""
        return cls(key, size, (etag or "").strip('"'))

    @property
    def md5(self) -> str | None:
        """The ETag where it has the form of an MD5 (objects that were sent in parts have another)."""
        return self.etag.lower() if _PLAIN_ETAG.fullmatch(self.etag.lower()) else None


@dataclass(frozen=True)
class Failure:
    """An object that could not be had, and why."""

    detail: str


class _Unsound(Exception):
    """What arrived is not what the store announced."""


class Fetcher:
    """Fetches objects into a folder.

    A file's name there is made of key, ETag and size, so a file of that name is that object, whole and checked.
    """

    def __init__(self, client: Any, bucket: str, folder: Path, remote: Remote):
        self._client = client
        self._bucket = bucket
        self._folder = folder
        self._remote = remote
        self._config = TransferConfig(
            multipart_threshold=sys.maxsize,  # no parts: botocore checks a store's checksum of whole objects alone
            num_download_attempts=remote.attempts,
            use_threads=False,  # the threads are here, one an object
            preferred_transfer_client="classic",
        )
        self._versions: dict[str, list[str]] = {}  # names in the folder by their part that stands for the key
        for path in folder.iterdir():
            self._versions.setdefault(path.name.split(".")[0], []).append(path.name)
        self._stop = threading.Event()
        self._stopped_by = "the run ends"
        self._failed_in_a_row = 0

    def is_here(self, stored: StoredObject) -> bool:
        """Was the object fetched already?"""
        path = self._path(stored)
        return path.is_file() and path.stat().st_size == stored.size

    def fetch(self, wanted: Sequence[StoredObject], track: Track) -> list[Path | Failure]:
        """Fetch all; one result for each, in their order.

        Raises:
            InputError: this disk cannot be written.
        """
        events = self._client.meta.events
        events.register("before-send.s3", self._refuse_when_stopped)
        try:
            with ThreadPoolExecutor(self._remote.connections, "fetch") as pool:
                try:
                    return list(track(pool.map(self._one, wanted), "fetching", len(wanted)))
                except BaseException:
                    self._stop.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            events.unregister("before-send.s3", self._refuse_when_stopped)

    def _refuse_when_stopped(self, **_: Any) -> None:
        """Ends what botocore would try again."""
        if self._stop.is_set():
            raise _Unsound(self._stopped_by)

    def _one(self, stored: StoredObject) -> Path | Failure:
        if self._stop.is_set():
            return Failure(self._stopped_by)
        try:
            path = self._checked(stored)
        except InputError:
            raise
        except Exception as error:  # a store may answer anything: one object's account, not the run's end
            if not isinstance(error, aws.ClientError) or _status(error) >= 500:  # else this object alone is refused
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= _GIVE_UP_AFTER and not self._stop.is_set():
                    self._stopped_by = f"not tried: the store does not answer any more ({explained(error)})"
                    self._stop.set()
            return Failure(explained(error))
        self._failed_in_a_row = 0
        return path

    def _checked(self, stored: StoredObject) -> Path:
        """The object's file; one that has changed since it was listed is taken as it is now."""
        fault: Exception = _Unsound("it was not tried")
        for _ in range(self._remote.attempts):
            path = self._path(stored)
            if self.is_here(stored):
                return path
            part = path.with_name(path.name + _PART_SUFFIX)
            try:
                self._transfer(stored, part)
                now, sound = self._look_again(stored, part)
                if now == stored and sound:
                    self._place(part, path)
                    return path
                fault = _Unsound(
                    "its bytes do not agree with its ETag" if now == stored else "it changes while it is read"
                )
                stored = now
            except (aws.FlexibleChecksumError, HTTPError) as error:  # s3transfer does not try these again
                fault = error
            finally:
                part.unlink(missing_ok=True)
        raise fault

    def _transfer(self, stored: StoredObject, part: Path) -> None:
        try:
            with part.open("wb") as out, create_transfer_manager(self._client, self._config) as manager:
                manager.download(
                    self._bucket, stored.key, out, subscribers=[_Listed(stored, self._refuse_when_stopped)]
                ).result()
                out.flush()
                os.fsync(out.fileno())  # the name that it gets promises all bytes, after a power failure too
        except aws.BotoCoreError:  # some of them are OSErrors as well
            raise
        except OSError as error:
            raise InputError(f"{self._folder} cannot be written ({error.strerror}): make room there.") from None

    def _look_again(self, stored: StoredObject, part: Path) -> tuple[StoredObject, bool]:
        """The object as it is now, and whether the file may be it, since nothing speaks against it.

        The store is asked only where the bytes themselves do not prove that they are the listed object's.
        """
        if stored.md5 is not None and _md5(part) == stored.md5:
            return stored, True
        head = self._client.head_object(Bucket=self._bucket, Key=stored.key)
        now = StoredObject.told(stored.key, head["ContentLength"], head.get("ETag"))
        # A store that encrypts under a key of its own (SSE-KMS, SSE-C) gives any 32 digits as ETag.
        by_kms = str(head.get("ServerSideEncryption", "")).startswith("aws:kms")
        opaque = stored.md5 is None or by_kms or bool(head.get("SSECustomerAlgorithm"))
        return now, opaque and part.stat().st_size == stored.size

    def _place(self, part: Path, path: Path) -> None:
        part.replace(path)
        for name in self._versions.get(path.name.split(".")[0], ()):
            if name != path.name:  # another version of the same key, or what a killed run left of one
                (self._folder / name).unlink(missing_ok=True)

    def _path(self, stored: StoredObject) -> Path:
        where = f"{self._client.meta.endpoint_url}\n{self._bucket}\n{stored.key}"
        what = f"{stored.etag}\n{stored.size}"
        return self._folder / f"{_digest(where)}.{_digest(what)}"


class _Listed(BaseSubscriber):
    """Tells s3transfer what the listing said, which it would ask the store for otherwise; ends a body when the run is stopped."""

    def __init__(self, stored: StoredObject, refuse_when_stopped: Callable[[], None]):
        self._stored, self._refuse_when_stopped = stored, refuse_when_stopped

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self._stored.size)
        future.meta.provide_object_etag(self._stored.etag)

    def on_progress(self, **_: Any) -> None:
        self._refuse_when_stopped()


def explained(error: BaseException) -> str:
    """One clause for a person, without request ids."""
    if isinstance(error, RetriesExceededError):
        error = error.last_exception
    if isinstance(error, aws.ClientError):
        told = error.response.get("Error", {})
        message = " ".join(str(told.get("Message", "")).split())[:160]
        return f"{_status(error) or '?'} {told.get('Code', '')}{': ' + message if message else ''}"
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def _status(error: aws.ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
