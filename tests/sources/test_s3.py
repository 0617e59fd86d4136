"""S3 as a source, against a real server, behind a network that fails in every way."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import quiet
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.s3 import open_s3
from tests.sources.s3_server import FAULTS, KEY, SECRET
from tests.sources.s3_server import patient_remote as remote


@pytest.fixture
def put(buckets: Path) -> Callable[..., dict[str, bytes]]:
    """Objects of random bytes below a prefix; their contents by key."""

    def write(prefix: str, count: int, size: int = 40_000) -> dict[str, bytes]:
        made = {f"{n % 3}/IM {n}+ü%20": random.Random(n).randbytes(size + n) for n in range(count)}
        for key, data in made.items():
            path = buckets / "bucket" / prefix / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return made

    return write


def contents(listing: Listing) -> dict[str, bytes]:
    return {name: path.read_bytes() for path, name in listing.files}


@pytest.mark.parametrize("opaque", ["", "parts", "kms"])
def test_every_fault_is_overcome_and_every_byte_is_right(put, proxy, tmp_path, opaque):
    expected = put("faulty", 60)
    proxy.share, proxy.opaque = 0.4, opaque
    source = open_s3("s3://bucket/faulty", remote(proxy, timeout_s=3.0), quiet)
    listing = source.collect(tmp_path / "resume", quiet)
    assert contents(listing) == expected and not listing.judged
    assert set(proxy.met) >= set(FAULTS)
    assert len(list((tmp_path / "resume").iterdir())) == len(expected)  # no part is left


def test_a_second_run_fetches_only_what_is_missing(put, proxy, tmp_path):
    expected = put("resumed", 30)
    resume = tmp_path / "resume"
    source = open_s3("s3://bucket/resumed", remote(proxy), quiet)
    proxy.share, proxy.faults = 0.3, ("cut",)
    with pytest.raises(InputError, match=r"of 30 objects of s3://bucket/resumed could not be fetched .* run it again"):
        replace(source, remote=remote(proxy, attempts=1)).collect(resume, quiet)
    whole = len(list(resume.iterdir()))
    assert 0 < whole < 30
    proxy.share, proxy.fetched = 0.0, []
    listing = open_s3("s3://bucket/resumed/", remote(proxy), quiet).collect(resume, quiet)
    assert contents(listing) == expected
    assert len(proxy.fetched) == 30 - whole


def test_without_the_missing_ones_where_that_is_accepted(put, proxy, tmp_path):
    expected = put("holes", 12)
    source = open_s3("s3://bucket/holes", remote(proxy), quiet)
    proxy.share, proxy.faults = 0.4, ("busy",)
    once = remote(proxy, attempts=1, connections=1, accept_missing=True)
    listing = replace(source, remote=once).collect(tmp_path / "resume", quiet)
    assert len(listing) == 12 and listing.judged
    assert {judged.reason.value for judged in listing.judged} == {"source_unreachable"}
    assert all("SlowDown" in judged.detail or "does not answer" in judged.detail for judged in listing.judged)
    assert contents(listing).items() <= expected.items()


def test_a_kept_cache_fetches_what_is_new_or_changed(put, proxy, buckets, tmp_path):
    expected = put("cached", 10)
    options = remote(proxy, cache=tmp_path / "cache")
    open_s3("s3://bucket/cached", options, quiet).collect(tmp_path / "resume", quiet)
    folder = buckets / "bucket" / "cached"
    keys = sorted(expected)
    (folder / keys[0]).write_bytes(b"changed")
    (folder / "new").write_bytes(b"new")
    (folder / keys[1]).unlink()
    expected |= {keys[0]: b"changed", "new": b"new"}
    del expected[keys[1]]
    proxy.fetched = []
    listing = open_s3("s3://bucket/cached", options, quiet).collect(tmp_path / "resume", quiet)
    assert contents(listing) == expected
    assert sorted(proxy.fetched) == [f"/bucket/cached/{keys[0]}", "/bucket/cached/new"]
    assert len(list((tmp_path / "cache").iterdir())) == 11  # the changed one replaced, the deleted one kept
    assert not (tmp_path / "resume").exists()


def test_an_object_that_changes_after_it_was_listed(put, proxy, buckets, tmp_path):
    expected = put("moving", 3)
    source = open_s3("s3://bucket/moving", remote(proxy), quiet)
    key = min(expected)
    (buckets / "bucket" / "moving" / key).write_bytes(b"another one, and shorter")
    listing = source.collect(tmp_path / "resume", quiet)
    assert contents(listing) == expected | {key: b"another one, and shorter"}


def test_a_store_that_goes_away_is_given_up_soon(put, proxy, tmp_path):
    put("gone", 40)
    source = open_s3("s3://bucket/gone", remote(proxy, attempts=2, connections=2), quiet)
    proxy.gone = True
    with pytest.raises(InputError, match=r"40 of 40 objects .* (closed|reset|aborted)"):
        source.collect(tmp_path / "resume", quiet)


def test_one_object_as_source_and_folder_markers(put, proxy, buckets, tmp_path):
    put("single", 2)
    (buckets / "bucket" / "single.zip").write_bytes(b"a sibling with the same beginning")
    source = open_s3("s3://bucket/single.zip", remote(proxy), quiet)
    assert contents(source.collect(tmp_path / "a", quiet)) == {"single.zip": b"a sibling with the same beginning"}
    assert len(open_s3("s3://bucket/single", remote(proxy), quiet).objects) == 2


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://", "names no bucket"),
        ("s3://nobody/x", "NoSuchBucket"),
        ("s3://bucket/nothing/here", "holds no objects"),
        ("s3://in valid/x", "cannot be listed"),
    ],
)
def test_wrong_names_are_one_sentence(proxy, url, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        open_s3(url, remote(proxy), quiet)
    assert "\n" not in str(caught.value)


def test_no_credentials_wrong_ones_and_no_server(proxy, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongsecret")
    with pytest.raises(InputError, match=r"cannot be listed \(403"):
        open_s3("s3://bucket/x", remote(proxy), quiet)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="no credentials"):
        open_s3("s3://bucket/x", remote(proxy), quiet)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for endpoint in ("http://127.0.0.1:9", "nonsense"):
        with pytest.raises(InputError, match="cannot be listed"):
            open_s3("s3://bucket/x", remote(proxy, endpoint_url=endpoint, attempts=2), quiet)


def test_no_proxy_stands_before_this_machine_s_own_store(put, proxy, monkeypatch):
    put("near", 1)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert len(open_s3("s3://bucket/near", remote(proxy, attempts=1), quiet).objects) == 1


def test_more_keys_than_a_page_lists(proxy, buckets):
    folder = buckets / "bucket" / "pages"
    folder.mkdir()
    for n in range(1001):
        (folder / f"{n}").write_bytes(b"")
    proxy.share, proxy.faults = 0.3, ("cut", "busy", "reset")
    assert len(open_s3("s3://bucket/pages", remote(proxy), quiet).objects) == 1001
    assert proxy.pages == 3 + proxy.met["cut"]  # the first look is one


@pytest.mark.parametrize("notes", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_the_same_tables_and_volumes_as_from_the_folder(
    proxy, buckets, phantom_export, tmp_path, tree, ingest_params, notes
):
    """Archives among the objects, a fault in every fourth answer; the long run needs several pages."""
    export = buckets / "bucket" / f"export{notes}"
    export.mkdir()
    files = sorted(path for path in phantom_export.rglob("*") if path.is_file())
    with zipfile.ZipFile(export / "first half.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n, path in enumerate(files):
            if n < len(files) // 2:
                archive.write(path, path.relative_to(phantom_export))
            else:
                (export / f"IM{n}").write_bytes(path.read_bytes())
    for n in range(notes):
        (export / f"note{n}").write_text(f"no image, {n}")
    ingest(export, tmp_path / "local", ingest_params)
    proxy.share = 0.25
    report = ingest(f"s3://bucket/export{notes}", tmp_path / "s3", ingest_params, remote=remote(proxy, timeout_s=3.0))
    assert tree(tmp_path / "s3") == tree(tmp_path / "local")
    assert len(report.account) == notes + len(files) + 1
    assert set(proxy.met) >= set(FAULTS) and (proxy.pages >= 2 or notes < 1000)
    assert {p.name for p in tmp_path.iterdir()} == {"s3", "local"}  # no scratch is left
