"""Seconds a case and memory of `ich serve`: `python benchmarks/serve.py CASE [REQUESTS]`, from a project with a registered version.

CASE is a folder with the DICOM files of one study. In turn, in one run: the bare engine in this process (from the files to the text
of the JSON; the first is left out), one client, eight clients. Prints the median, the 95th percentile and cases a minute, and memory
of all processes at most.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil

from ich_pipeline.config import load_params
from ich_pipeline.core.files import json_text
from ich_pipeline.registry import versions
from ich_pipeline.serving.answer import answer
from ich_pipeline.serving.code import BUNDLE
from ich_pipeline.serving.system import System

CLIENTS = 8


def main(case: Path, requests: int) -> None:
    """Measure and print."""
    files = [path for path in case.rglob("*") if path.is_file()]
    version = versions.live(load_params().registry.model_name)
    system = System.load(versions.verified_folder(version) / BUNDLE)

    def bare() -> None:
        json_text(answer(system.read_case(files, demonstration=True), uids=False, thumbnails=False))

    bare()
    _measure(f"bare engine, {len(files)} files", bare, requests, 1, psutil.Process())
    system.reader._process._child.stop()
    command = [sys.executable, "-m", "ich_pipeline.cli.main", "serve", "--port", "0", "--waiting", str(CLIENTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        form = [("files", (path.name, path.read_bytes())) for path in files]

        def served() -> None:
            found = httpx.post(f"{address}/cases?demonstration=true", files=form, timeout=600, trust_env=False)
            assert found.status_code == 200, found.text

        served()
        for clients in (1, CLIENTS):
            _measure(f"ich serve, {clients} clients", served, requests, clients, psutil.Process(server.pid))
        server.terminate()


def _measure(what: str, once: Callable[[], None], requests: int, clients: int, process: psutil.Process) -> None:
    peak, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            peak.append(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))

    def timed(_: int) -> float:
        began = time.perf_counter()
        once()
        return time.perf_counter() - began

    watcher = threading.Thread(target=look)
    watcher.start()
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        seconds = list(threads.map(timed, range(requests)))
    whole = time.perf_counter() - began
    over.set()
    watcher.join()
    median, late = np.percentile(seconds, [50, 95])
    rate = 60 * requests / whole
    print(f"{what}: median {median:.2f} s, 95 % {late:.2f} s, {rate:.0f} a minute, {max(peak) / 2**20:.0f} MiB at most")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 24)
