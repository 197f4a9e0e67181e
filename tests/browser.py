"""Chromium without a window, driven through two pipes; skips where it is absent."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FROM_US, TO_US = 3, 4  # where Chromium looks for its pipes
IS_DARK = """(() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor
        .match(/\\d+/g).map(Number);
    return r + g + b < 3 * 128;
})()"""
# Where a letter would be cut or hidden: text in no box that scrolls.
OVERFLOWING = """[...document.querySelectorAll("main *")].filter((node) =>
    !node.closest(".scroll") && node.getBoundingClientRect().right > innerWidth + 1
).map((node) => node.outerHTML.slice(0, 120))"""


class Browser:
    """One page at a time; what it logs and asks the network for is kept."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._session: str | None = None
        self._count, self._left = 0, b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol, and give its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, page: Path, width: int, height: int = 900) -> None:
        """Load a page into a window of that size, and wait until it is there."""
        if self._session is None:
            tab = self.call("Target.createTarget", url="about:blank")["targetId"]
            found = self.call("Target.attachToTarget", targetId=tab, flatten=True)
            self._session = found["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not self._of("Page.loadEventFired"):
            self.events.append(self._read())

    def prefer(self, scheme: str) -> None:
        """Have the reader prefer ``light`` or ``dark``."""
        wish = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[wish])

    def run(self, script: str) -> Any:
        """Evaluate JavaScript, and give its value."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def move_to(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def touch(self, x: float, y: float) -> None:
        """Touch the screen and let go."""
        point = [{"x": x, "y": y}]
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=point)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def picture(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {**size, "x": 0, "y": 0, "scale": 1}
        found = self.call(
            "Page.captureScreenshot", clip=clip, captureBeyondViewport=True
        )
        path.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[dict[str, Any]]:
        """List errors and all that the page wrote to the console."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return self._of(*kinds, "Log.entryAdded")

    def requests(self) -> list[str]:
        """List the addresses that were asked for, but for those inside the page."""
        sent = self._of("Network.requestWillBeSent")
        addresses = [event["params"]["request"]["url"] for event in sent]
        return [url for url in addresses if not url.startswith("data:")]

    def _of(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") in methods]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise EOFError("Chromium has ended")
            self._left += piece
        message, _, self._left = self._left.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium, and end it.

    Args:
        profile: A folder for what it keeps.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not here")
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()

    # by way of places that neither pipe has, or one could close the other
    hold = 1 + max(theirs_in, theirs_out, FROM_US, TO_US)

    def connect() -> None:
        for place, own in enumerate((theirs_in, theirs_out)):
            os.dup2(own, hold + place)
        for place, own in enumerate((FROM_US, TO_US)):
            os.dup2(hold + place, own)

    process = subprocess.Popen(
        [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--hide-scrollbars", "--disable-dev-shm-usage", "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ],
        preexec_fn=connect,  # noqa: PLW1509 - touches nothing but the descriptors
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait(10)
        os.close(ours_out)
        os.close(ours_in)
