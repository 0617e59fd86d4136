"""``s3://bucket/prefix`` as a source, through boto3."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import remove_folder
from ich_pipeline.core.progress import Track
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.fetch import Failure, Fetcher, StoredObject, explained
from ich_pipeline.sources.listing import Judged, Listing, Names
from ich_pipeline.sources.names import shown
from ich_pipeline.sources.remote import Remote

_FIRST_ATTEMPTS = 4  # a wrong address should be told in seconds
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class S3Source:
    """The objects below a prefix, listed."""

    label: str
    bucket: str
    objects: tuple[tuple[StoredObject, str], ...]  # with the name in the account
    remote: Remote

    def collect(self, resume: Path, track: Track) -> Listing:
        """Fetch what is not in ``resume`` (or the cache) yet, and check it.

        Raises:
            InputError: objects could not be had after all tries, and ``accept_missing`` is not set; the disk is too small.
        """
        folder = self.remote.cache or resume
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, where the objects of {self.label} are to lie: remove it.")
        folder.mkdir(parents=True, exist_ok=True)
        fetcher = Fetcher(_client(self.remote), self.bucket, folder, self.remote)
        self._check_space(folder, fetcher)
        results = fetcher.fetch([stored for stored, _ in self.objects], track)
        files, judged = [], []
        for (_, name), result in zip(self.objects, results, strict=True):
            if isinstance(result, Failure):
                judged.append(Judged(name, Reason.SOURCE_UNREACHABLE, result.detail))
            else:
                files.append((result, name))
        if judged and not self.remote.accept_missing:
            kept = self.remote.kept or self.remote.cache
            again = f"the others are kept in {folder}" if kept else "with --cache FOLDER it keeps the others"
            raise InputError(
                f"{len(judged):,} of {len(self.objects):,} objects of {self.label} could not be fetched (first: "
                f"{judged[0].name}: {judged[0].detail}): run it again, {again}; or add {self.remote.missing_option} to go on "
                "without them."
            )
        if self.remote.cache is None:
            keep = {path for path, _ in files}
            for path in folder.iterdir():  # what a run before has left and this one does not need
                if path.is_dir():
                    remove_folder(path)
                elif path not in keep:
                    path.unlink()
        return Listing(tuple(sorted(files, key=lambda item: item[1])), tuple(judged))

    def _check_space(self, folder: Path, fetcher: Fetcher) -> None:
        needed = sum(stored.size for stored, _ in self.objects if not fetcher.is_here(stored))
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"{self.label} needs {needed / 1e9:.1f} GB more in {folder} and the disk has {free / 1e9:.1f} GB free: "
                "make room, or name a --cache elsewhere."
            )


def open_s3(url: str, remote: Remote, track: Track) -> S3Source:
    """List ``s3://bucket/prefix``: all objects whose keys begin with ``prefix/``, or the one whose key is ``prefix``.

    Credentials come from boto3's usual chain.

    Raises:
        InputError: the URL is malformed, the store cannot be reached or refuses, or nothing lies there.
    """
    bucket, _, prefix = url[len("s3://") :].partition("/")
    prefix = prefix.rstrip("/")
    if not bucket:
        raise InputError(f"{url} names no bucket: write s3://bucket/prefix.")
    try:
        first = _client(replace(remote, attempts=min(_FIRST_ATTEMPTS, remote.attempts)))
        first.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        found = _list(_client(remote), bucket, prefix, track)
    except aws.NoCredentialsError:
        raise InputError(
            f"{url} cannot be read: no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        ) from None
    except (aws.BotoCoreError, aws.ClientError, ResponseParserError, ValueError, KeyError, OSError) as error:
        # ValueError: a malformed endpoint; KeyError: an answer without what S3 always says
        raise InputError(
            f"{url} cannot be listed ({explained(error)}): check its name, --endpoint-url and your permissions; a bucket whose "
            "requester pays must be copied first (`aws s3 sync --request-payer requester`)."
        ) from None
    names = Names()
    named = tuple((stored, names.unique(shown(_relative(stored.key, prefix)))) for stored in found)
    if not named:
        raise InputError(f"{url} holds no objects: check bucket and prefix.")
    return S3Source(url, bucket, named, remote)


def _relative(key: str, prefix: str) -> str:
    return key.rsplit("/", 1)[-1] if key == prefix else key[len(prefix) + 1 if prefix else 0 :]


def _client(remote: Remote) -> Any:
    from boto3.session import Session
    from botocore.config import Config

    # Stores other than Amazon's seldom answer to bucket.host names.
    other = remote.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        retries={"mode": "standard", "total_max_attempts": remote.attempts},
        connect_timeout=min(10.0, remote.timeout_s),
        read_timeout=remote.timeout_s,
        max_pool_connections=remote.connections,
        response_checksum_validation="when_supported",
        proxies={}
        if urlsplit(other or "").hostname in _LOOPBACK
        else None,  # no proxy reaches this machine's own ports
        s3={"addressing_style": "path"} if other else None,
    )
    return Session().client("s3", endpoint_url=remote.endpoint_url, config=config)


def _list(client: Any, bucket: str, prefix: str, track: Track) -> list[StoredObject]:
    folder = prefix + "/" if prefix else ""
    below = {stored.key: stored for stored in track(_stored(client, bucket, folder), "listing")}
    if prefix and not below:
        below = {stored.key: stored for stored in _stored(client, bucket, prefix) if stored.key == prefix}
    return [below[key] for key in sorted(below)]


def _stored(client: Any, bucket: str, prefix: str) -> Iterator[StoredObject]:
    """Objects page by page; a marker of a folder (a key that ends in a slash, empty) is no file."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            if not (item["Key"].endswith("/") and item["Size"] == 0):
                yield StoredObject.told(item["Key"], item["Size"], item.get("ETag"))
        if page.get("IsTruncated") and not page.get("NextContinuationToken"):  # boto3 would take it for the end
            raise InputError(f"s3://{bucket}/{prefix} cannot be listed: the store says there is more and not where.")
