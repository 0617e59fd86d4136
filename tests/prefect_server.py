"""A real Prefect server on 127.0.0.1 for one test or module, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.prefect_api import client_environment
from flows.ui import HOST, free_port, prefect_command, server_environment

WAIT = 240


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


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[Server]:
    """A server of its own on a free port, its files in ``folder``."""
    home, log, port = folder / "prefect", folder / "prefect-server.log", free_port(0)
    api = f"http://{HOST}:{port}/api"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ICH_"))}
    environment = {**clean, **server_environment(client_environment(api)), "PREFECT_HOME": str(home)}
    with log.open("wb") as file:
        process = subprocess.Popen(
            prefect_command(port), cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
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
