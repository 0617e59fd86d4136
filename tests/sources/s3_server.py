"""A real S3 server on this machine, and a proxy before it that does to answers what networks do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ich_pipeline.sources.remote import Remote

KEY, SECRET = "testkey", "testsecret"  # rclone refuses keys of two letters
FAULTS = ("reset", "cut", "cut_reset", "busy", "stall", "flip", "dribble")
_SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)
STALL_S = 8.0  # a client that expects stalls must give up sooner


@contextlib.contextmanager
def rclone(root: Path) -> Iterator[int]:
    """``rclone serve s3`` over a folder of buckets; yields its port."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    assert program, "rclone is missing: `make setup` installs the development packages"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "serve", "s3", str(root), "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}"]
    command += ["--config", "/dev/null", "--dir-cache-time", "0s"]  # what a test changes is seen at once
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, server)
        yield port
    finally:
        server.terminate()
        server.wait()


def _wait(port: int, server: subprocess.Popen) -> None:
    for _ in range(600):
        assert server.poll() is None, "rclone ended at once"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError("rclone does not answer")


class Proxy:
    """Forwards to the server and injects faults.

    Attributes:
        share: of the requests that meet a fault.
        faults: which, each in its turn.
        opaque: give ETags that are no MD5, and the objects' SHA-256 where it is asked for: "parts" as of objects that were sent
            in parts, "kms" as of objects that are encrypted under a key of their own.
        gone: close every connection unanswered.
        met: faults so far by name.
        fetched: keys of object reads so far, without those that met a fault.
    """

    def __init__(self, upstream: int, root: Path, seed: int = 0):
        self.share = 0.0
        self.faults: Sequence[str] = FAULTS
        self.opaque = ""
        self.gone = False
        self.met: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.pages = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self, upstream, root)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Proxy]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _draw(self, listing: bool, head: bool) -> str:
        with self._lock:
            if self.gone:
                return "reset"
            if self._random.random() >= self.share:
                return ""
            fitting = [f for f in self.faults if not (listing and f == "flip") and (not head or f in ("reset", "busy"))]
            if not fitting:
                return ""
            fault = min(fitting, key=lambda f: self.met[f])  # each has its turn, however few requests there are
            self.met[fault] += 1
            return fault

    def _answer(self, handler: BaseHTTPRequestHandler, upstream: int, root: Path) -> None:
        listing, head = "list-type=2" in handler.path, handler.command == "HEAD"
        fault = self._draw(listing, head)
        if fault == "reset":
            return _reset(handler)
        if fault == "busy":
            return _send(handler, 503, {"Content-Length": str(len(_SLOW_DOWN))}, b"" if head else _SLOW_DOWN)
        status, headers, body = _forward(handler, upstream)
        if self.opaque:
            headers, body = _without_md5(self.opaque, handler, headers, body, root)
        with self._lock:
            self.pages += listing
            if not listing and not head and fault in ("", "dribble"):
                self.fetched.append(urllib.parse.unquote(handler.path.split("?")[0]))
        if fault == "flip" and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 0x10]) + body[middle + 1 :]
        half = body[: len(body) // 2]
        if fault in ("cut", "cut_reset", "stall"):
            _send(handler, status, headers, half)
            if fault == "cut_reset":
                _reset(handler)
            elif fault == "stall":
                time.sleep(STALL_S)
        elif fault == "dribble":
            _send(handler, status, headers, b"")
            step = max(1, len(body) // 5)
            with contextlib.suppress(OSError):  # a client that gave up
                for i in range(0, len(body), step):
                    handler.wfile.write(body[i : i + step])
                    time.sleep(0.005)
        else:
            _send(handler, status, headers, body)


def _forward(handler: BaseHTTPRequestHandler, upstream: int) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
    connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
    for name, value in handler.headers.items():  # Host too, which is signed
        if name.lower() != "connection":
            connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    headers = {
        name: value for name, value in answer.getheaders() if name.lower() not in ("connection", "transfer-encoding")
    }
    if handler.command != "HEAD":
        headers = {n: v for n, v in headers.items() if n.lower() != "content-length"} | {
            "Content-Length": str(len(body))
        }
    connection.close()
    return answer.status, headers, body


def _without_md5(
    kind: str, handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes, root: Path
) -> tuple[dict[str, str], bytes]:
    def other(md5: str) -> str:
        return f"{md5}-2" if kind == "parts" else hashlib.md5(md5.encode()).hexdigest()

    headers = {n: f'"{other(v.strip(chr(34)))}"' if n.lower() == "etag" else v for n, v in headers.items()}
    if "list-type=2" in handler.path:
        body = re.sub(rb"[0-9a-f]{32}(?=[^<>]*</ETag>)", lambda m: other(m.group().decode()).encode(), body)
        headers["Content-Length"] = str(len(body))
        return headers, body
    if kind == "kms":
        headers["x-amz-server-side-encryption"] = "aws:kms"
    if "x-amz-checksum-mode" in handler.headers:
        data = (root / urllib.parse.unquote(handler.path.split("?")[0]).lstrip("/")).read_bytes()
        headers["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return headers, body


def _send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    handler.send_response_only(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    with contextlib.suppress(OSError):  # a client that gave up
        handler.wfile.write(body)
        handler.wfile.flush()
    handler.close_connection = True


def _reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def patient_remote(proxy: Proxy, **options: Any) -> Remote:
    """Many tries, so that no draw of faults and no busy machine makes a test fail."""
    patient = Remote(proxy.url, timeout_s=30.0, attempts=60)
    return replace(patient, **options)
