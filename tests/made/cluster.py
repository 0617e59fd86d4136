"""A real Dask cluster on 127.0.0.1: a scheduler and workers as processes of their own, as `dask scheduler` and `dask
worker` start them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join([str(Path(__file__).parent / "deadly"), str(ROOT)])  # of workers, and so of their children
WAIT = 240.0


class LocalCluster:
    """Started and stopped by pid; what it logs lies in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        quiet = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
        self._start("scheduler", *quiet)
        self.address = self._logged("scheduler", r"Scheduler at: +(tcp://\S+)")
        self.dashboard = self._logged("scheduler", r"dashboard at: +(http://\S+)")

    def worker(self, name: str, **environment: str) -> None:
        """Start a worker under its nanny, as is usual: it is a daemon then."""
        local = str(self.folder / f"{name}.local")
        place = ("--host", "127.0.0.1", "--no-dashboard", "--local-directory", local)
        self._start(name, self.address, "--nthreads", "1", "--name", name, *place, **environment)

    def ready(self, *names: str) -> LocalCluster:
        """Wait until these workers take part."""
        for name in names:
            self._logged(name, r"Registered to: +(\S+)")
        return self

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def kill(self, name: str) -> None:
        """Kill −9 a worker and its nanny, not its children: they must notice by themselves."""
        nanny = self.processes.pop(name)
        for pid in [nanny.pid, *(child.pid for child in psutil.Process(nanny.pid).children())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        nanny.wait()

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            self.kill(name)

    def _start(self, name: str, *arguments: str, **environment: str) -> None:
        kind = "scheduler" if name == "scheduler" else "worker"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DASK_", "ICH_"))}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *arguments],
                cwd=self.folder,
                env={**clean, "PYTHONPATH": PYTHONPATH, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _logged(self, name: str, pattern: str) -> str:
        until = time.monotonic() + WAIT
        while True:
            text = (self.folder / f"{name}.log").read_text()
            found = re.search(pattern, text)
            if found:
                return found[1]
            assert self.processes[name].poll() is None and time.monotonic() < until, text
            time.sleep(0.1)


@contextmanager
def local_cluster(folder: Path, **environment: str) -> Iterator[LocalCluster]:
    """Two workers, ``w0`` and ``w1``."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = LocalCluster(folder)
    try:
        for name in ("w0", "w1"):
            cluster.worker(name, **environment)
        yield cluster.ready("w0", "w1")
    finally:
        cluster.stop()
