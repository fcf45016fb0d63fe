"""A headless Chromium driven over its DevTools pipe: enough to look at one page, with nothing installed."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, Self

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0
# On a busy machine Chromium at times ends before it has answered once.
_STARTS = 3

# The smallest contrast of text for every kind of element. Its ground is that of the nearest one that has any.
CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgb(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const worst = {};
  const names = "h1,h2,h3,p,li,a,b,dt,dd,code,pre,summary,figcaption,td,th,button,.note,.kind,footer";
  for (const element of document.querySelectorAll(names)) {
    if (!element.textContent.trim() || element.closest("svg") !== null) continue;
    const pair = [light(rgb(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => a - b);
    const ratio = (pair[1] + 0.05) / (pair[0] + 0.05);
    worst[element.tagName] = Math.min(worst[element.tagName] ?? 21, ratio);
  }
  return worst;
})()"""
# Presses every heading of every table twice: returns what is out of order, and the number of presses.
SORTED = """(() => {
  const broken = [];
  let count = 0;
  for (const table of document.querySelectorAll("table")) {
    const heads = table.tHead.rows[0].cells;
    for (let place = 0; place < heads.length; place++) {
      const numeric = heads[place].classList.contains("number");
      const all = () => Array.from(table.tBodies[0].rows, (row) => row.textContent).sort().join();
      const before = all();
      for (const [order, sign] of [["ascending", 1], ["descending", -1]]) {
        heads[place].querySelector("button").click();
        const cells = Array.from(table.tBodies[0].rows, (row) => row.cells[place]);
        const values = cells.map((cell) =>
          numeric && cell.dataset.value === undefined ? null
            : numeric ? Number(cell.dataset.value) : cell.innerText.trim() || null);
        const filled = values.filter((value) => value !== null);
        const fine = filled.every((value, index) => index === 0 || (numeric
          ? sign * (value - filled[index - 1]) >= 0
          : sign * value.localeCompare(filled[index - 1], "en", { numeric: true }) >= 0));
        const last = values.slice(filled.length).every((value) => value === null);
        const told = heads[place].getAttribute("aria-sort") === order
          && table.querySelectorAll("[aria-sort]").length === 1;
        if (!fine || !last || !told) {
          broken.push(`${table.getAttribute("aria-labelledby")} ${place} ${order}`);
        }
        count++;
      }
      if (before !== all()) broken.push("rows lost");
    }
  }
  return [broken, count];
})()"""


class Browser:
    """One page of a browser that ends with the context.

    Attributes:
        complaints: Texts of console messages, log entries, exceptions and failed requests since `open`.
        requests: Addresses of everything that was asked for since `open`.
        dialogs: Messages of alerts and the like since `open`.
    """

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []

    def __enter__(self) -> Self:
        for _ in range(_STARTS - 1):
            try:
                self._start()
            except OSError:
                self.__exit__()
            else:
                return self
        self._start()
        return self

    def _start(self) -> None:
        self._number, self._read, self._session, self._loaded = 0, b"", None, False
        self._profile = tempfile.mkdtemp(prefix="browser_")
        theirs_in, self._send = os.pipe()
        self._receive, theirs_out = os.pipe()
        # Away from 3 and 4, so that placing one there cannot close the other.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (theirs_in, theirs_out)]
        silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        placed = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(high, start=3)]
        command = [EXECUTABLE, *_FLAGS, f"--user-data-dir={self._profile}"]
        self._process = os.posix_spawn(EXECUTABLE, command, os.environ, file_actions=[*silent, *placed])
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __exit__(self, *_: object) -> None:
        try:
            self._session = None
            self._ask("Browser.close", {})
            while True:
                self._next()
        except TimeoutError:
            os.kill(self._process, signal.SIGKILL)
        except OSError:
            pass  # It has ended.
        os.waitpid(self._process, 0)
        os.close(self._send)
        os.close(self._receive)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = self._ask(method, params)
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _ask(self, method: str, params: dict[str, Any]) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        return self._number

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self._receive], [], [], _PATIENCE)[0]:
                raise TimeoutError("The browser does not answer.")
            piece = os.read(self._receive, 1 << 20)
            if not piece:
                raise OSError("The browser has ended.")
            self._read += piece
        first, self._read = self._read.split(b"\0", 1)
        message = json.loads(first)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(value.get("value")) for value in params["args"]))
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif event == "Network.loadingFailed":
            self.complaints.append(params["errorText"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            # The page stands still until its dialog is answered.
            self._ask("Page.handleJavaScriptDialog", {"accept": True})

    def open(self, path: Path, *, scripts: bool = True) -> None:
        """Open a file, with or without running its scripts, and wait until it and its images are there."""
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.complaints, self.requests, self.dialogs, self._loaded = [], [], [], False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._next()
        self.call("Emulation.setScriptExecutionDisabled", value=False)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def evaluate(self, expression: str) -> Any:
        """Return the value of JavaScript, awaited if it is a promise."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def viewport(self, width: int, height: int = 800) -> None:
        """Set the size of the page's window, in CSS pixels; narrow ones are a phone's."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        self.settle()

    def media(self, kind: str = "screen", *, scheme: str = "light") -> None:
        """Emulate a medium and a colour scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=kind, features=features)
        self.settle()

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))
