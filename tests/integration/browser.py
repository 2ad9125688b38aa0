"""A headless Chromium, told by its DevTools protocol what to open, and asked what came of it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_S = 120  # others use the machine too


def program() -> str | None:
    """Where a browser is, if there is one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class ReloadedError(AssertionError):
    """Raised where the page was left while it computed an answer: a live page loads itself anew."""


class Page:
    """One tab. What it logs, throws and requests is kept."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        """Listen to everything."""
        self._socket, self._numbers = socket, itertools.count(1)
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser, and keep the events that come before its answer.

        Raises:
            ReloadedError: the page was left meanwhile.
            AssertionError: the browser refuses.
        """
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if "navigated" in message.get("error", {}).get("message", ""):
                    raise ReloadedError(method, message["error"])
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._keep(message)

    def _keep(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.errors.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.errors.append(json.dumps(parameters["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for.

        Raises: AssertionError: it throws.
        """
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int = 900, *, is_dark: bool = False) -> None:
        """Become a screen of this size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = "dark" if is_dark else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, page: Path | str, fragment: str = "") -> None:
        """Open a page anew, by its path or address, and wait until everything is drawn."""
        address = page if isinstance(page, str) else page.as_uri()
        self.call("Page.navigate", url="about:blank")  # another fragment alone would load nothing
        self.call("Page.navigate", url=address + (fragment and f"#{fragment}"))
        drawn = "Promise.all([window.chartsDrawn, window.explorerReady]).then(() => true)"
        deadline, is_drawn = time.monotonic() + _PATIENCE_S, False
        while not is_drawn:
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)
            with contextlib.suppress(ReloadedError):
                is_drawn = self.run(f"document.readyState === 'complete' && {drawn}")

    def press(self, key: str, code: int, times: int = 1) -> None:
        """Press a key, as a hand on the keyboard does."""
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    code=key,
                    windowsVirtualKeyCode=code,
                    **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}),
                )

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window, in pixels from its upper left corner."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def print(self, path: Path) -> None:
        """Keep the page as PDF on A4, as a printer gets it."""
        inches = {"paperWidth": 8.27, "paperHeight": 11.69}
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", **inches)["data"]))

    def screenshot(self, path: Path) -> None:
        """Keep the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        path.write_bytes(base64.b64decode(answer["data"]))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own; it ends with the block."""
    found = program()
    assert found
    arguments = [
        found,
        "--headless=new",
        "--remote-debugging-port=0",
        "--remote-allow-origins=*",
        f"--user-data-dir={folder}",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        "about:blank",
    ]
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            with contextlib.closing(_connected(folder, process)) as socket:
                yield Page(socket)
                with contextlib.suppress(
                    websocket.WebSocketException, OSError, subprocess.TimeoutExpired
                ):
                    socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
                    process.wait(10)
        finally:
            process.kill()


def _connected(folder: Path, process: subprocess.Popen[bytes]) -> websocket.WebSocket:
    """The tab that the browser opened, once it listens."""
    port_file, deadline = folder / "DevToolsActivePort", time.monotonic() + _PATIENCE_S
    while not (port_file.exists() and port_file.read_text().strip()):
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        assert time.monotonic() < deadline, "the browser does not listen"
        time.sleep(0.05)
    port = int(port_file.read_text().split()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
        (tab,) = (tab for tab in json.load(answer) if tab["type"] == "page")
    return websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=_PATIENCE_S)
