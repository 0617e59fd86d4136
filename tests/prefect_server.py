"""A real Prefect server on 127.0.0.1 for one test or module, closed as that of ``make ui`` is, stopped by pid."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.ui import HOST, free_port, prefect_command, server_environment

WAIT = 240
AUTH = "ich:of the tests"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, by force where it does not go by itself."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Server:
    """A Prefect server: its API, its folder, its log, its process."""

    api: str
    home: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> dict[str, str]:
        """What a user sets to use it."""
        return {"PREFECT_API_URL": self.api, "PREFECT_API_AUTH_STRING": AUTH}


def authorization(auth: str) -> dict[str, str]:
    """The header of a login."""
    return {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}


def answer(request: urllib.request.Request, seconds: float = WAIT) -> Any:
    """JSON answer; 503 is asked again, as Prefect's client and its pages do: the server sends it while SQLite is busy."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as found:
                return json.loads(found.read())
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > deadline:
                raise
        time.sleep(1)


def get(url: str, auth: str | None = None) -> Any:
    """JSON answer to a GET, logged in."""
    return answer(urllib.request.Request(url, headers=authorization(auth) if auth else {}))


def post(api: str, path: str, body: dict | None = None, auth: str | None = None) -> Any:
    """JSON answer to a POST; with a login, also with the token against foreign pages, as Prefect's own pages send it."""
    headers = {"Content-Type": "application/json"}
    if auth:
        client = str(uuid.uuid4())
        token = get(f"{api}/csrf-token?client={client}", auth)["token"]
        headers |= {**authorization(auth), "Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token}
    return answer(urllib.request.Request(f"{api}{path}", json.dumps(body or {}).encode(), headers, method="POST"))


@contextlib.contextmanager
def prefect_server(folder: Path, host: str = HOST) -> Iterator[Server]:
    """A server of its own on a free port, its files in ``folder``."""
    home, log, port = folder / "prefect", folder / "prefect-server.log", free_port(0)
    api = f"http://{host}:{port}/api"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ICH_"))}
    environment = {**clean, **server_environment(port, AUTH, host), "PREFECT_HOME": str(home)}
    with log.open("wb") as file:
        process = subprocess.Popen(
            prefect_command(port, host), cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=3):
                break
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield Server(api, home, log, process)
    finally:
        stop(process)
