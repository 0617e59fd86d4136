"""Who may reach a server: what `ich serve` refuses before it loads anything."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.service.app import is_loopback
from ich_pipeline.service.server import scratch


@pytest.fixture(autouse=True)
def here(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without a model, a good token and one that others may read."""
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", tmp_path / "params.yaml")
    for name, mode in (("token", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text("t" * 32 + "\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "short").write_text("secret")
    (tmp_path / "short").chmod(0o600)
    (tmp_path / "cert.pem").write_text("no certificate")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ICH_TOKEN", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "which needs a token (--token-file, ICH_TOKEN) and TLS (--tls-cert, --tls-key)"),
        (["--host", "::", "--token-file", "token"], "which needs TLS (--tls-cert, --tls-key): give that"),
        (["--host", "example.org", "--tls-cert", "cert.pem", "--tls-key", "cert.pem"], "which needs a token"),
        (["--tls-cert", "cert.pem"], "belong together"),
        (["--tls-cert", "cert.pem", "--tls-key", "cert.pem"], "are no certificate and its key"),
        (["--token-file", "open"], "can be read by others: chmod 600 open"),
        (["--token-file", "short"], "holds no token of 16 characters"),
        (["--token-file", "missing"], "cannot be read (FileNotFoundError)"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(options: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and words in done.stderr, done.stderr
    assert "t" * 32 not in done.stderr and not list(Path().glob(".state/serve/*"))


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(app, ["serve", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 2 and "cannot be listened at" in done.stderr


def test_loopback() -> None:
    assert [one for one in ("127.0.0.1", "127.9.9.9", "::1", "localhost") if not is_loopback(one)] == []
    assert [
        one
        for one in ("0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "", "127.0.0.1.nip.io")
        if is_loopback(one)
    ] == []


def test_a_running_server_keeps_its_files_and_a_dead_one_s_go(tmp_path: Path) -> None:
    place = tmp_path / "serve"
    with scratch(place) as first:
        (place / "dead" / "files").mkdir(parents=True)
        (place / "dead" / ".lock").touch()
        with scratch(place) as second:
            assert sorted(place.iterdir()) == sorted([first, second])
            assert {path.stat().st_mode & 0o777 for path in (first, second)} == {0o700}
    assert not list(place.iterdir())
