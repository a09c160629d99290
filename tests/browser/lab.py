"""A real JupyterLab in headless Chromium: run a notebook, poke its panels, collect what is broken.

    with Lab("notebooks/00_tour.ipynb", out=tmp_path) as lab:
        lab.run_all()
        lab.page.get_by_role("slider").first.press("ArrowRight")
        assert not lab.problems()

The notebook itself is never written: a hidden sibling copy is opened, with a server, port, token,
settings and kernel directory of its own. Start-up costs about 7 s, so tests share one `Lab`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Browser, Locator, Page, sync_playwright

# Without the networking flags Chromium looks for its maker's servers at every start.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # WebGL without a GPU
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-rasterization",
    "--disable-gpu-compositing",
]
# What anywidget says of a widget on a busy page; ours come to life all the same (halves.py asks).
WAS_LATE = "[anywidget] Failed to initialize model."
SETTINGS = {
    # cells outside the window stay in the page, so that they can be asked about
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# The notebook itself: a click into a panel beside it makes that the current widget.
NOTEBOOK = "[...window.jupyterapp.shell.widgets('main')].find(w => w.sessionContext && w.content)"
STATE = """() => {
  const panel = window.jupyterapp && NOTEBOOK;
  if (!panel || !panel.sessionContext || !panel.content || !panel.content.model) return null;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  const cells = [...panel.content.model.cells].filter(c => c.type === 'code').map(c => ({
    count: c.executionCount,
    empty: c.sharedModel.getSource().trim() === '',
    errors: [...Array(c.outputs.length).keys()].map(i => c.outputs.get(i).toJSON())
      .filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue),
  }));
  return {kernel: kernel ? kernel.status : 'none', cells};
}""".replace("NOTEBOOK", NOTEBOOK)

ASK = """async ([code, expression]) => {
  const kernel = NOTEBOOK.sessionContext.session.kernel;
  const asked = kernel.requestExecute({code, silent: false, store_history: false,
    user_expressions: expression ? {answer: expression} : {}});
  const content = (await asked.done).content;
  if (content.status !== 'ok') return {error: content.ename + ': ' + content.evalue};
  return expression ? content.user_expressions.answer : {};
}""".replace("NOTEBOOK", NOTEBOOK)

# Messages of widgets go over subshells, threads of their own: what runs on the main one may overtake them.
PASSED = """async () => {
  const kernel = NOTEBOOK.sessionContext.session.kernel;
  const subshells = async () => kernel.supportsSubshells
    ? (await kernel.requestListSubshell({}).done).content.subshell_id : [];
  const pass = async (shell) => {
    const own = kernel.subshellId;
    kernel.subshellId = shell;
    const passed = kernel.requestExecute({code: 'pass', silent: false, store_history: false});
    kernel.subshellId = own;
    await passed.done;
    return true;
  };
  // One that was deleted meanwhile, with the last widget, does not answer.
  const beGone = async (shell) => {
    await new Promise((done) => setTimeout(done, 2000));
    return !(await subshells()).includes(shell);
  };
  for (const shell of [null, ...await subshells()]) {
    const passed = pass(shell);
    while (!await Promise.race([passed, shell === null ? passed : beGone(shell)]));
  }
}""".replace("NOTEBOOK", NOTEBOOK)


def chromium() -> str | None:
    """Path of a system Chromium, or None."""
    names = (os.environ.get("SAE_NB_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def was_left(request: Any) -> bool:
    """Whether the page was left before an answer had come; what is missing fails otherwise."""
    return "ERR_ABORTED" in (request.failure or "")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def serving(
    command: list[str], probe: str, log: Path, env: dict[str, str] | None = None
) -> Iterator[None]:
    """A server in a group of processes of its own, from the time it answers at `probe`, whatever it answers."""
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, env=env, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 180  # the first time it is compiled
        while not _answers(probe):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} did not start: {log.read_text()[-1000:]}")
            time.sleep(0.1)
        yield
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


@contextmanager
def launched(*flags: str) -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), headless=True, args=[*CHROMIUM_FLAGS, *flags]
        )
        yield browser
        browser.close()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class Lab:
    """One server, one page, one notebook."""

    page: Page

    def __init__(
        self, notebook: Path, out: Path, *, timeout_s: float = 180.0, dark: bool = False
    ) -> None:
        self.notebook, self.out = notebook.resolve(), out
        self.timeout_s, self.dark = timeout_s, dark
        self.console: list[str] = []
        self.failed_requests: list[str] = []

    def __enter__(self) -> Self:
        self.out.mkdir(parents=True, exist_ok=True)
        self._left = ExitStack()
        self._scratch = Path(tempfile.mkdtemp(prefix="lab_"))
        self._left.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        self._copy = self.notebook.with_name(f".labcheck-{secrets.token_hex(4)}.ipynb")
        try:
            shutil.copy(self.notebook, self._copy)
            self._left.callback(self._copy.unlink, missing_ok=True)
            self._start_server()
            self._start_browser()
            self.open(self._copy.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._left.close()

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "IPYTHONDIR",
            "JUPYTER_DATA_DIR",
        ):
            env[name] = str(self._scratch / name.lower())
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        themes = {"apputils-extension/themes": {"theme": "JupyterLab Dark"}} if self.dark else {}
        for name, value in {**SETTINGS, **themes}.items():
            settings = Path(env["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab"
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        return env

    def _start_server(self) -> None:
        token, port = secrets.token_hex(16), free_port()
        self._base, self._token = f"http://127.0.0.1:{port}", token
        arguments = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "IdentityProvider.token": token,
            "ServerApp.root_dir": self._copy.parent,
            "ContentsManager.allow_hidden": True,
            "LabApp.expose_app_in_browser": True,
            "LabApp.extension_manager": "readonly",
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += [f"--{name}={value}" for name, value in arguments.items()]
        probe, log = f"{self._base}/api?token={token}", self.out / "server.log"
        self._left.enter_context(serving(command, probe, log, self._environment()))

    def _start_browser(self) -> None:
        browser = self._left.enter_context(launched())
        self.page = browser.new_page(viewport={"width": 1280, "height": 1600})
        self.page.set_default_timeout(self.timeout_s * 1000)
        self.page.on("console", lambda m: self._complained(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self._complained(f"pageerror: {e}"))
        self.page.on("requestfailed", self._failed)

    def _complained(self, line: str) -> None:
        if WAS_LATE not in line:
            self.console.append(line)

    def _failed(self, request: Any) -> None:
        if not was_left(request):
            self.failed_requests.append(f"{request.url}: {request.failure}")

    def open(self, name: str) -> None:
        """Open a notebook of the same folder, alone."""
        self.page.goto(f"{self._base}/lab/tree/{name}?token={self._token}&reset")
        self._until(self._idle, "the notebook to open with an idle kernel")

    def _idle(self) -> bool:
        state = self.state()
        return state is not None and state["kernel"] == "idle"

    def _until(self, holds: Callable[[], bool], what: str, timeout_s: float | None = None) -> None:
        deadline = time.monotonic() + (timeout_s or self.timeout_s)
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited for {what}")
            self.page.wait_for_timeout(100)

    def state(self) -> dict[str, Any] | None:
        """Kernel status and, for each code cell, its execution count and errors."""
        return self.page.evaluate(STATE)

    def run_all(self, timeout_s: float | None = None) -> None:
        """Execute every cell."""
        self.page.evaluate(
            "() => { window.__ran = false; window.jupyterapp.commands"
            ".execute('notebook:run-all-cells').finally(() => { window.__ran = true; }); }"
        )
        self._until(lambda: self.page.evaluate("() => window.__ran"), "all cells", timeout_s)
        self.settle()

    def settle(self, ms: int = 500) -> None:
        """Wait until the kernel has answered what the page has sent, and give the page `ms` to paint.

        A kernel that has not yet heard of a click is idle too. A widget keeps back what is set while its last
        message is out: what is heard second comes after all of them.
        """
        self._until(self._idle, "an idle kernel")
        for _ in range(2):
            self.heard()
        self._until(self._idle, "an idle kernel")
        self.page.wait_for_timeout(ms)

    def heard(self) -> None:
        """Wait until the kernel has reacted to what the page sent, whichever of its threads does so."""
        self.page.evaluate(PASSED)

    def asked(self, code: str, expression: str = "") -> dict[str, Any]:
        """Run code in the kernel, without a cell; what an expression is after it."""
        answer = dict(self.page.evaluate(ASK, [code, expression]))
        if "error" in answer or answer.get("status") == "error":
            raise RuntimeError(answer.get("error") or f"{answer['ename']}: {answer['evalue']}")
        return answer

    def shot(self, name: str, locator: Locator | None = None) -> Path:
        """Save a picture of the page or of one element."""
        path = self.out / f"{name}.png"
        (locator or self.page).screenshot(path=str(path))
        return path

    def shots_of_outputs(self) -> None:
        """Save a picture of every cell's output."""
        cells = self.page.locator(".jp-CodeCell")
        for i in range(cells.count()):
            area = cells.nth(i).locator(".jp-Cell-outputArea")
            box = area.bounding_box() if area.count() else None
            if box and box["height"] > 5:
                area.scroll_into_view_if_needed()
                self.shot(f"cell_{i:02d}", area)

    def problems(self) -> list[str]:
        """Everything a reader of the notebook would call broken."""
        found = [f"console: {line}" for line in self.console]
        found += [f"request: {line}" for line in self.failed_requests]
        for i, cell in enumerate((self.state() or {"cells": []})["cells"]):
            found += [f"cell {i}: {error}" for error in cell["errors"]]
            if cell["count"] is None and not cell["empty"]:
                found.append(f"cell {i} did not run")
        broken = "text=/Error displaying widget|Failed to load model class|Error creating widget/"
        count = self.page.locator(broken).count()
        return found + ([f"{count} widgets failed to render"] if count else [])
