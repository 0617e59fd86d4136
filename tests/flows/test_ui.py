"""Whose a Prefect server is, and who gets its login: with real processes and real sockets on 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from flows.engine.kept import kept
from flows.engine.prefect_api import AUTH_FILE, UI_FILE, answers, api_url, client_environment, running_ui, serves
from flows.ui import made_login
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder as the current one, with no Prefect API named."""
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of 127.0.0.1 on which this process listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def told(port: int, **changed: str) -> dict[str, str]:
    """Write what a `make ui` would, and return it."""
    pages = {"pid": str(os.getpid()), "prefect_api": f"http://127.0.0.1:{port}/api", **changed}
    UI_FILE.parent.mkdir(exist_ok=True)
    UI_FILE.write_text(json.dumps(pages))
    return pages


def test_only_a_ui_of_this_folder_that_has_the_port_itself_is_running(here: Path, listening: int) -> None:
    pages = told(listening)
    assert running_ui() == pages
    told(listening, pid=str(2**22 - 3))
    assert running_ui() == {}, "a killed one left its file"
    told(listening, pid=str(os.getppid()), prefect_api="http://127.0.0.1:9/api")
    assert running_ui() == {}, "its number is another process's now"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        told(listening, pid=str(other.pid))
        assert running_ui() == {}, "another program has the port"
        other.communicate(b"\n")
    told(listening)
    (here / "elsewhere").mkdir()
    shutil.copytree(UI_FILE.parent, here / "elsewhere" / UI_FILE.parent)
    assert running_ui()
    os.chdir(here / "elsewhere")
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=here, stdin=subprocess.PIPE) as other:
        assert not serves(other.pid, listening), "that process works in another folder"
        other.communicate(b"\n")
    for broken in (
        "[]",
        "{}",
        '{"pid": null, "prefect_api": 3}',
        "{",
        '{"pid": "x", "prefect_api": "http://127.0.0.1:1"}',
    ):
        UI_FILE.write_text(broken)
        assert running_ui() == {}


def test_a_ui_that_does_not_answer_is_not_used(here: Path) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told(server.server_port)
        assert running_ui() and api_url() is None
        server.shutdown()


@pytest.fixture
def strict() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """An API that wants a login, and what it was asked: (path, the header of the login)."""
    asked: list[tuple[str, str | None]] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            right = self.path == "/api/health" or self.headers["Authorization"] == "Basic YTpi"  # a:b
            self.send_response(200 if right else 401)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api", asked
        server.shutdown()


def test_a_login_goes_to_its_own_server_alone(
    here: Path, strict: tuple[str, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = strict
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    monkeypatch.setenv("PREFECT_API_URL", url)
    write_text(AUTH_FILE, "a:b\n")  # of another server: nothing says that this one is ours
    with pytest.raises(InputError, match="wants a login: set PREFECT_API_AUTH_STRING"):
        api_url()
    assert {header for _, header in asked} == {None}
    told(int(url.split(":")[2].split("/")[0]))
    assert api_url() == url and asked[-1][1] == "Basic YTpi"
    AUTH_FILE.chmod(0o644)
    with pytest.raises(InputError, match=r"prefect-login is missing or not closed to others"):
        api_url()
    UI_FILE.unlink()
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "a:b")
    assert api_url() == url


def test_a_proxy_is_not_asked_for_this_machine(
    here: Path, strict: tuple[str, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = strict
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intranet.example")
    assert answers(url) and not answers("http://prefect.example/api"), "others go by the proxy"
    environment = client_environment(url)
    assert environment["no_proxy"] == environment["NO_PROXY"] == "intranet.example,127.0.0.1,localhost,::1"
    assert "no_proxy" not in client_environment("http://prefect.example/api")


def test_a_password_in_an_address_is_not_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://me:s3cret@127.0.0.1:9/api")
    with pytest.raises(InputError, match=r"PREFECT_API_URL is http://127\.0\.0\.1:9/api, but") as caught:
        api_url()
    assert "s3cret" not in str(caught.value)


def test_the_login_is_kept_but_only_where_no_other_could_read_it(here: Path) -> None:
    (here / ".state").mkdir()
    first = made_login()
    assert made_login() == first and AUTH_FILE.stat().st_mode & 0o777 == 0o600
    assert first.startswith("ich:") and len(first) > 30
    AUTH_FILE.chmod(0o640)
    second = made_login()
    assert second != first and AUTH_FILE.stat().st_mode & 0o777 == 0o600
    (here / "planted").write_text("ich:known\n")
    AUTH_FILE.unlink()
    AUTH_FILE.symlink_to(here / "planted")
    assert made_login() not in (first, second, "ich:known")
    assert (here / "planted").read_text() == "ich:known\n" and not AUTH_FILE.is_symlink()


def test_a_kept_server_ends_with_its_keeper(here: Path, project_root: Path) -> None:
    """Killed outright, with a server that leaves its session and heeds no SIGTERM."""
    stubborn = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True);"
        "print(os.getpid(), child.pid, flush=True); time.sleep(300)"
    )
    script = (
        "import subprocess, sys; from pathlib import Path\n"
        f"subprocess.Popen({kept([sys.executable, '-c', stubborn])!r}, stdin=subprocess.PIPE).wait()"
    )
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as keeper:
        assert keeper.stdout is not None
        family = [psutil.Process(int(pid)) for pid in keeper.stdout.readline().split()]
        keeper.kill()
        keeper.wait()
        gone, alive = psutil.wait_procs(family, timeout=60)
    assert len(gone) == 2 and not alive


def test_a_configured_api_that_does_not_answer_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(InputError, match="no Prefect API answers"):
        api_url()
