"""Small sources to open."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ich_pipeline.config import ArchiveParams, IngestParams, load_params
from ich_pipeline.phantom import create_phantom
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.unpack import unpack
from tests.sources.s3_server import KEY, SECRET, Proxy, rclone

PROFILE = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"
LIMITS = ArchiveParams(expanded_gib=0.5, ratio=200.0, members=500, depth=3)


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="session")
def make_zip() -> Callable[..., bytes]:
    return zipped


@pytest.fixture(scope="session")
def make_tar() -> Callable[..., bytes]:
    return tarred


class Opened:
    """A folder with its archives opened: contents and verdicts by name."""

    def __init__(self, listing: Listing, scratch: Path):
        self.listing = listing
        self.scratch = scratch
        self.files = {name: path.read_bytes() for path, name in listing.files}
        self.reasons = {judged.name: judged.reason.value for judged in listing.judged}
        self.details = {judged.name: judged.detail for judged in listing.judged}
        assert len(self.files) + len(self.reasons) == len(listing)  # no name twice
        assert not set(self.files) & set(self.reasons)


@pytest.fixture
def open_folder(tmp_path: Path) -> Callable[..., Opened]:
    """Write files into a folder, open it, look at everything."""

    def write_and_open(files: Mapping[str, bytes], limits: ArchiveParams = LIMITS) -> Opened:
        folder, scratch = tmp_path / "source", tmp_path / "out" / ".members"
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Opened(unpack(list_folder(folder), scratch, limits), scratch)

    return write_and_open


@pytest.fixture(scope="session")
def limits() -> ArchiveParams:
    return LIMITS


@pytest.fixture(scope="session")
def phantom_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM files of a few synthetic patients."""
    params = load_params(PROFILE)
    few = params.phantom.model_copy(update={"patients": 5, "slices": 6, "size": 64, "second_series_fraction": 0.4})
    target = tmp_path_factory.mktemp("phantom") / "data"
    create_phantom(params.model_copy(update={"phantom": few}), target, workers=1)
    return target / "dicom"


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder."""
    return lambda folder: {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="session")
def ingest_params() -> IngestParams:
    return load_params(PROFILE).ingest.model_copy(update={"workers": 1})


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose folders are the buckets."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(buckets: Path) -> Iterator[int]:
    """The port of a real server."""
    with rclone(buckets) as port:
        yield port


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a client needs, and nothing of this machine's own."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture
def proxy(server: int, buckets: Path, credentials: None) -> Iterator[Proxy]:
    with Proxy(server, buckets).serving() as running:
        yield running
