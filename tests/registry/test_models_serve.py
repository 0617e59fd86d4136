"""``mlflow models serve``, as the version's own document calls it: a real server on loopback, stopped by pid."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ich_pipeline.config import Params
from ich_pipeline.registry import versions
from tests.made.system import Studies

WAIT = 240  # seconds; imports alone take long on a busy machine


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and answer; a body that is no JSON comes as text."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=WAIT) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        status, text = refused.code, refused.read()
    return status, json.loads(text) if text[:1] in b"{[" and text else text.decode()


@pytest.mark.long
@pytest.mark.timeout(2 * WAIT)
def test_mlflow_models_serve_answers_the_documented_example(
    registered: int, studies: Studies, params: Params, tmp_path: Path
) -> None:
    import mlflow.pyfunc
    import pandas as pd

    folder = versions.model_folder(versions.resolve("1", params.registry.model_name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "ICH_"))}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**clean, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + WAIT
        while True:
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            try:
                if ask(port, "/ping")[0] == 200:
                    break
            except urllib.error.URLError:
                time.sleep(0.5)
        files = [path.read_bytes() for path in studies.files[0]]
        rows = [[base64.b64encode(content).decode()] for content in files]
        asked = {"dataframe_split": {"columns": ["dicom"], "data": rows}, "params": {"demonstration": True}}
        status, said = ask(port, "/invocations", asked)
        assert status == 200, said
        model = mlflow.pyfunc.load_model(str(folder))
        known = model.predict(pd.DataFrame({"dicom": files}), params={"demonstration": True})
        assert said["predictions"] == json.loads(json.dumps(known))
        status, said = ask(
            port, "/invocations", {"dataframe_split": {"columns": ["dicom"], "data": [["bm90IERJQ09N"]]}}
        )
        assert status == 400 and "Traceback" not in said.get("message", ""), said
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
