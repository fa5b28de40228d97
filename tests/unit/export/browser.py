"""A real, headless Chromium, driven over WebDriver (w3.org/TR/webdriver2) with nothing but the standard library."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion",
)  # fmt: skip

START_SECONDS = 60


def missing() -> str:
    """Which program is not there, "" when all are."""
    return next((name for name in ("chromium", "chromedriver") if shutil.which(name) is None), "")


class Browser:
    """One window. Errors of WebDriver are RuntimeErrors."""

    def __init__(self, address: str, session: str) -> None:
        self._root = f"{address}/session/{session}"

    def open(self, page: Path) -> None:
        _ask("POST", f"{self._root}/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return _ask("POST", f"{self._root}/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, keys: str) -> None:
        """Keys, as a user presses them."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        told = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        _ask("POST", f"{self._root}/actions", told)

    def log(self, kind: str) -> list[dict[str, Any]]:
        """`browser`: the console; `performance`: what the network did. Each line is told once."""
        told: list[dict[str, Any]] = _ask("POST", f"{self._root}/se/log", {"type": kind})
        return told

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`, as the user's system would say it."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        _ask("POST", f"{self._root}/goog/cdp/execute", command)

    def picture(self) -> bytes:
        return b64decode(_ask("GET", f"{self._root}/screenshot"))


@contextmanager
def browser(profile: Path, size: tuple[int, int] = (1280, 1500)) -> Iterator[Browser]:
    """A browser with a new, empty profile, ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}", "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(address)
        options = {
            "args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"],
            "binary": shutil.which("chromium"),
        }
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = _ask("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            _ask("DELETE", f"{address}/session/{session}")
    finally:
        driver.terminate()
        driver.wait(10)


def _wait(address: str) -> None:
    """Until the driver answers."""
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            _ask("GET", f"{address}/status")
            return
        except urllib.error.URLError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


def _ask(method: str, url: str, body: object = None) -> Any:
    content = json.dumps(body if body is not None else {}).encode() if method == "POST" else None
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {url}: {error.read().decode()[:500]}") from error
