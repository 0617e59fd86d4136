"""``make ui``: the Prefect server and the MLflow pages of this project on 127.0.0.1, until Ctrl-C.

Any page of the web can send requests to a port of this machine. So Prefect asks for a login, answers to its own pages
alone, and wants a token with what changes something; MLflow, which has no login without another package, refuses other
hosts' names and other machines' pages.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

from flows.engine import layout
from flows.engine.boundary import fault
from flows.engine.kept import kept
from flows.engine.prefect_api import (
    AUTH_FILE,
    HEALTH_SECONDS,
    UI_FILE,
    client_environment,
    fetch,
    kept_login,
    running_ui,
    serves,
)
from ich_pipeline.core.files import keep_private, write_json, write_text

HOST = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT = 4200, 5000
START_SECONDS = 240  # a busy machine takes minutes; one that cannot start ends, and is seen at once
USER = "ich"


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


def made_login() -> str:
    """``USER:PASSWORD`` of the Prefect server: the one that is kept, so that a browser stays logged in, else a new one."""
    kept = kept_login()
    if kept is not None:
        return kept
    made = f"{USER}:{secrets.token_urlsafe(24)}"
    write_text(AUTH_FILE, made + "\n")
    return made


def prefect_command(port: int, host: str = HOST) -> list[str]:
    """Command of the Prefect server."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]


def server_environment(port: int, auth: str, host: str = HOST) -> dict[str, str]:
    """Environment of the Prefect server on this port: its clients', its locks, and more patience with SQLite."""
    return {
        **client_environment(f"http://{host}:{port}/api", auth),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{host}:{port}",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # s; at its 10 a busy disk makes the server answer 503
    }


def mlflow_command(port: int) -> list[str]:
    """Command of the MLflow pages."""
    return [
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
        "--default-artifact-root", str(layout.MLRUNS.absolute()),
        "--allowed-hosts", f"{HOST}:{port}", "--cors-allowed-origins", f"http://{HOST}:{port}",
        "--x-frame-options", "DENY",
    ]  # fmt: skip


def mlflow_environment() -> dict[str, str]:
    """Environment of the MLflow pages: this project's store, whose address may hold a password, and nothing that runs code."""
    from ich_pipeline.registry.store import tracking_uri

    return {
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def main() -> int:
    """Start both, say where they are, wait, stop both."""
    keep_private()
    layout.STATE.mkdir(exist_ok=True)
    running = running_ui()
    if running:
        print(f"ui: already running: {running['prefect_ui']} and {running['mlflow_ui']}.", file=sys.stderr)
        return 2
    ports = {"Prefect": free_port(PREFECT_PORT), "MLflow": free_port(MLFLOW_PORT)}
    servers = {
        "Prefect": _start(
            "prefect", prefect_command(ports["Prefect"]), server_environment(ports["Prefect"], made_login())
        ),
        "MLflow": _start("mlflow", mlflow_command(ports["MLflow"]), mlflow_environment()),
    }

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell ignores it for what runs in the background.
    for received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(received, stop)
    try:
        _serve(servers, ports)
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 1
    finally:
        _end(servers)


def _serve(servers: Mapping[str, subprocess.Popen[bytes]], ports: Mapping[str, int]) -> NoReturn:
    """Say where both are once both answer; returns never, but for an exception.

    Raises:
        RuntimeError: one did not start, or stopped.
    """
    addresses = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
    _wait("Prefect", f"{addresses['Prefect']}/api/health", ports["Prefect"], servers)
    _wait("MLflow", f"{addresses['MLflow']}/health", ports["MLflow"], servers)
    write_json(
        UI_FILE,
        {
            "pid": str(os.getpid()),
            "prefect_api": f"{addresses['Prefect']}/api",
            "prefect_ui": addresses["Prefect"],
            "mlflow_ui": addresses["MLflow"],
        },
    )
    try:
        print(f"Prefect  {addresses['Prefect']}   runs, tasks, artifacts, schedules")
        print(f"         It asks for a login once: paste the line that `cat {AUTH_FILE}` shows.")
        print(f"MLflow   {addresses['MLflow']}   trainings and the model registry")
        print(
            "Ctrl-C stops both. In another terminal: `make repro` shows up there; `make schedule` serves the retraining."
        )
        sys.stdout.flush()
        while True:
            for name, server in servers.items():
                if server.poll() is not None:
                    raise RuntimeError(
                        f"{name} stopped by itself (exit {server.returncode}); {layout.STATE}/{name.lower()}-server.log says why."
                    )
            time.sleep(1)
    finally:
        UI_FILE.unlink(missing_ok=True)


def _start(name: str, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (layout.STATE / f"{name}-server.log").open("wb") as file:
        return subprocess.Popen(
            kept(command),
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,  # never written: it ends with this process
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _end(servers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for server in servers.values():
        server.terminate()
    for server in servers.values():
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(name: str, url: str, port: int, servers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Wait until the server answers, and until what answers is the server: another program may have taken the port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and servers[name].poll() is None:
        try:
            with fetch(url, HEALTH_SECONDS):
                if serves(servers[name].pid, port):
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError(
        f"{name} did not start within {START_SECONDS} s; {layout.STATE}/{name.lower()}-server.log says why."
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(fault("ui", error))
