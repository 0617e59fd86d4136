"""Chromium, driven over its debugging pipe: real wheel, keys and mouse, and all that it logs and asks for."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ANSWER_S = 90.0  # WebGL in software on a busy machine


class Page:
    """One tab.

    Attributes:
        errors: what the console said as a warning or an error, and what was thrown.
        requests: addresses that were asked for, but those of the page itself: ``data:`` and ``blob:``.
    """

    def __init__(self, write: int, read: int) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._write, self._read, self._buffer, self._last, self._session = write, read, b"", 0, ""

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file, and wait until the viewer runs or says that it cannot."""
        if not self._session:
            target = self._send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._send(f"{domain}.enable")
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = "dark" if dark else "light"
        self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.errors.clear()
        self.requests.clear()
        self._send("Page.navigate", url=path.as_uri())
        self.wait(f"location.href === {json.dumps(path.as_uri())} && document.readyState === 'complete'")

    def ready(self) -> str:
        """Wait for the case page's viewer: ``ready``, or ``none`` where it cannot run."""
        self.wait("!!document.body.dataset.viewer")
        return self.value("document.body.dataset.viewer")

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + ANSWER_S
        while not self.value(condition):
            assert time.monotonic() < end, f"never true: {condition}; {self.errors}"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, as JSON; a promise is waited for."""
        found = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def key(self, key: str) -> None:
        """Press and release."""
        text = {"text": key} if len(key) == 1 else {}
        self._send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self._send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """``mouseMoved``, ``mousePressed``, ``mouseReleased`` or ``mouseWheel`` at a place of the window."""
        self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """From one place of the window to another."""
        held = {"left": 1, "right": 2, "middle": 4}[button]
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button=button, buttons=held, clickCount=1)
        self.mouse("mouseMoved", *end, button=button, buttons=held)
        self.mouse("mouseReleased", *end, button=button, clickCount=1)

    def middle_of(self, selector: str) -> tuple[float, float]:
        """Of an element, in the window."""
        box = self.value(
            f"(b => [b.x + b.width / 2, b.y + b.height / 2])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return box[0], box[1]

    def click(self, selector: str) -> None:
        """A real click on the middle of an element, which has to lie in the window."""
        place = self.middle_of(selector)
        self.drag(place, place)

    def picture(self, path: Path, whole: bool = False) -> None:
        """Screenshot of the window, or of the whole page, as PNG."""
        found = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def print_to(self, path: Path) -> None:
        """The page as printed, PDF."""
        path.write_bytes(base64.b64decode(self._send("Page.printToPDF", printBackground=True)["data"]))

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._heard(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], ANSWER_S)[0], "the browser does not answer"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser is gone"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _heard(self, event: dict[str, Any]) -> None:
        kind, said = event.get("method", ""), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str([one.get("value") or one.get("description") for one in said["args"]]))
        elif kind == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(said["entry"]["text"])
        elif kind == "Network.requestWillBeSent":
            address = said["request"]["url"]
            if not address.startswith(("data:", "blob:")) and address != said.get("documentURL"):
                self.requests.append(address)


@contextmanager
def browser(chromium: str, profile: Path, webgl: bool = True) -> Iterator[Page]:
    """A headless Chromium with WebGL in software, or without WebGL.

    Args:
        chromium: the program.
        profile: an empty folder for its files.
        webgl: whether pages have it.
    """
    graphics = (
        ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"] if webgl else ["--disable-gpu", "--disable-3d-apis"]
    )
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    # The browser reads from descriptor 3 and writes to 4.
    shell = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
    command = [
        "bash", "-c", shell, chromium, "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run",
        "--disable-background-networking", "--disable-sync", "--disable-component-update", "--disable-extensions",
        f"--user-data-dir={profile}", *graphics, "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(
        command, pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(to_write, from_read)
        finally:
            os.close(to_write)  # without its pipe it ends
            os.close(from_read)
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
