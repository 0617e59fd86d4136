"""``make ui``: the Prefect server and the MLflow pages of this project on 127.0.0.1, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from flows import layout
from flows.boundary import fault
from flows.prefect_api import UI_FILE, client_environment, running_ui
from ich_pipeline.files import write_json

HOST = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT = 4200, 5000
START_SECONDS = 90


def free_port(wanted: int) -> int:
    """``wanted`` if it is free on 127.0.0.1, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("no free port")


def prefect_command(port: int) -> list[str]:
    """Command of the Prefect server."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def server_environment(client: Mapping[str, str]) -> dict[str, str]:
    """Environment of the Prefect server: its clients', and more patience with SQLite."""
    return {**client, "PREFECT_SERVER_DATABASE_TIMEOUT": "60"}  # s; at its 10 a busy disk makes the server answer 503


def mlflow_command(port: int) -> list[str]:
    """Command of the MLflow pages over this project's store."""
    from ich_pipeline.registry.store import tracking_uri

    return [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--backend-store-uri", tracking_uri(), "--default-artifact-root", str(layout.MLRUNS.absolute()),
    ]  # fmt: skip


def main() -> int:
    """Start both, say where they are, wait, stop both."""
    layout.STATE.mkdir(exist_ok=True)
    running = running_ui()
    if running:
        print(f"ui: already running: {running['prefect_ui']} and {running['mlflow_ui']}.", file=sys.stderr)
        return 2
    prefect_port, mlflow_port = free_port(PREFECT_PORT), free_port(MLFLOW_PORT)
    api = f"http://{HOST}:{prefect_port}/api"
    environment = {
        **os.environ,
        **server_environment(client_environment(api)),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    servers = {
        "Prefect": _start(prefect_command(prefect_port), environment, layout.STATE / "prefect-server.log"),
        "MLflow": _start(mlflow_command(mlflow_port), environment, layout.STATE / "mlflow-server.log"),
    }

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for received in (signal.SIGTERM, signal.SIGINT):  # SIGINT too: a shell ignores it for what runs in the background
        signal.signal(received, stop)
    written = False
    try:
        _wait(f"{api}/health", "Prefect", servers)
        _wait(f"http://{HOST}:{mlflow_port}/health", "MLflow", servers)
        pages = {
            "pid": str(os.getpid()),
            "prefect_api": api,
            "prefect_ui": f"http://{HOST}:{prefect_port}",
            "mlflow_ui": f"http://{HOST}:{mlflow_port}",
        }
        write_json(UI_FILE, pages)
        written = True
        print(f"Prefect  {pages['prefect_ui']}   runs, tasks, artifacts, schedules")
        print(f"MLflow   {pages['mlflow_ui']}   trainings and the model registry")
        print(
            "Ctrl-C stops both. In another terminal: `make repro` shows up there; `make schedule` serves the retraining."
        )
        while True:
            for name, server in servers.items():
                if server.poll() is not None:
                    print(
                        f"{name} stopped by itself (exit {server.returncode}); see {layout.STATE}/*-server.log.",
                        file=sys.stderr,
                    )
                    return 1
            time.sleep(1)
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 1
    finally:
        if written:
            UI_FILE.unlink(missing_ok=True)
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def _start(command: Sequence[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _wait(url: str, name: str, servers: dict[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if servers[name].poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=3):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(
        f"{name} did not start within {START_SECONDS} s; {layout.STATE}/{name.lower()}-server.log says why."
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(fault("ui", error))
