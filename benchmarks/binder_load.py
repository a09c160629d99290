"""The demo as on Binder, under load: visitors one after another, little memory, and no network at all.

    python benchmarks/binder_load.py [--visitors 20] [--ways lab voila] [--image ENVIRONMENT] [--folder CHECKOUT]

The script moves into a network of its own that has loopback and nothing else (`unshare`), so neither the
server, nor the kernel, nor the page can fetch anything. Each visitor gets what Binder gives: the same
image, an empty home, a new server in a control group of its own with a memory limit, a new browser (outside
of the limit: it is the visitor's machine). It waits for the demo to run by itself to the first panel and
to the end, pulls a slider until the class changes, and leaves; then everything is counted that is still
there. `kernel` runs the demo's cells without a browser; `gallery` opens the pages of docs/gallery from disk.
Prints one table a way.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEMO = "notebooks/demo.ipynb"
GROUPS = Path("/sys/fs/cgroup")
MIB = 2**20
SECONDS = 240
OUTSIDE = ("192.0.2.1", 80)
"""An address that nobody has (RFC 5737): with a network, asking for it times out or is refused by a router;
without one, there is no way to it."""

# Class (they are in order) with the longest bar of the trace whose name begins so.
TOP = """([plot, name]) => {
  const shares = Array.from(plot.data.find(t => (t.name || '').startsWith(name)).x);
  return shares.indexOf(Math.max(...shares));
}"""
PAGES = {"lab": f"lab/tree/{DEMO}", "voila": f"voila/render/{DEMO}"}


@dataclass
class Visit:
    """What one visitor saw, and what was left behind."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Since the page was asked for; "server" since the server was started."""

    resident: float = 0.0
    """MiB, server and kernels together, at its highest."""

    charged: float | None = None
    """MiB, highest of the control group; None without one."""

    refused: int | None = None
    """Times the control group's limit was reached."""

    left: int = 0
    """Processes that were there after the visitor had gone."""

    grown: int = 0
    """Bytes the image had more afterwards than before."""

    home: int = 0
    """Bytes in the visitor's own folder, which goes with the visitor."""

    problems: list[str] = field(default_factory=list)
    """What a visitor would call broken, and requests that led outside."""


@dataclass(frozen=True)
class Image:
    """What Binder would have built: an environment and a checkout."""

    environment: Path
    folder: Path
    limit: int
    """Bytes of memory a visitor may use."""

    def size(self) -> int:
        """Bytes on disk of all files, each counted once."""
        seen: dict[tuple[int, int], int] = {}
        for top in {self.environment, self.folder}:
            for where, _, names in os.walk(top):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        facts = os.lstat(os.path.join(where, name))
                        seen[facts.st_dev, facts.st_ino] = facts.st_size
        return sum(seen.values())

    def launched(self, *arguments: str) -> list[str]:
        """A command of the image's own Python, started the way Binder starts it."""
        python = str(self.environment / "bin" / "python")
        return ["bash", str(self.folder / "binder" / "start"), python, *arguments]


def main() -> None:
    """Measure every way asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=2)
    parser.add_argument("--ways", nargs="+", default=["kernel"], choices=[*WAYS, "gallery"])
    parser.add_argument("--image", type=Path, default=Path(sys.prefix))
    parser.add_argument("--folder", type=Path, default=ROOT)
    parser.add_argument(
        "--limit", type=int, default=1024, help="MiB, by default Binder's guarantee"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if not wanted.inside and (way_in := without_network()):
        arguments = [sys.executable, str(Path(__file__).resolve()), "--inside", *sys.argv[1:]]
        sys.exit(subprocess.run([*way_in, *arguments], check=False).returncode)
    if wanted.inside:
        loopback_up()
    image = Image(wanted.image.resolve(), wanted.folder.resolve(), wanted.limit * MIB)
    print(
        f"network: {network()}; memory: {wanted.limit} MiB by {limiter()}; load {os.getloadavg()}"
    )
    print(f"image: {image.size() / 1e6:.0f} MB in {image.environment.name} and {image.folder.name}")
    for way in wanted.ways:
        if way == "gallery":
            print(gallery_table(gallery(image.folder / "docs" / "gallery", wanted.visitors)))
            continue
        visits = []
        for number in range(wanted.visitors):
            visits.append(visit(image, WAYS[way]))
            print(f"{way} {number + 1}: {visits[-1]}", file=sys.stderr, flush=True)
        print(table(way, visits))


# No network, little memory


def without_network() -> list[str] | None:
    """A command prefix that puts what follows into a network of its own; None where that is not allowed."""
    for prefix in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
    return None


def loopback_up() -> None:
    """Switch the loopback interface on: a new network has it, but down."""
    with socket.socket() as s:
        flags = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(s, 0x8914, flags)  # SIOCSIFFLAGS


def network() -> str:
    """Whether there is a way out, found by trying."""
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect(OUTSIDE)
        except TimeoutError:
            return "there is one"
        except OSError as error:
            return f"none but loopback ({error.strerror})"
    return "there is one"


def limiter() -> str:
    """What holds a visitor to the limit."""
    with group(MIB) as made:
        if made is None:
            return "watching resident memory, with a kill above it"
        return f"a control group ({'v1' if (made / 'memory.limit_in_bytes').is_file() else 'v2'})"


@contextlib.contextmanager
def group(limit: int) -> Iterator[Path | None]:
    """A memory control group of its own, removed afterwards; None where none can be made."""
    parent = GROUPS / "memory" if (GROUPS / "memory").is_dir() else GROUPS
    made = parent / f"binder_load_{os.getpid()}"
    name = "memory.limit_in_bytes" if parent != GROUPS else "memory.max"
    try:
        made.mkdir()
        (made / name).write_text(str(limit))
    except OSError:
        with contextlib.suppress(OSError):
            made.rmdir()
        yield None
        return
    try:
        yield made
    finally:
        until(lambda: not members(made), 10)
        with contextlib.suppress(OSError):
            made.rmdir()


def members(made: Path) -> list[int]:
    """Processes of a control group."""
    return [int(line) for line in (made / "cgroup.procs").read_text().split()]


def highest(made: Path) -> tuple[float, int]:
    """MiB charged to a control group at its peak, and how often the limit was reached."""
    if (made / "memory.max_usage_in_bytes").is_file():
        count = int((made / "memory.failcnt").read_text())
        return int((made / "memory.max_usage_in_bytes").read_text()) / MIB, count
    events = dict(line.split() for line in (made / "memory.events").read_text().splitlines())
    return int((made / "memory.peak").read_text()) / MIB, int(events["max"])


class Watch(threading.Thread):
    """Adds up the resident memory of a process and all it started, five times a second."""

    def __init__(self, pid: int, limit: int | None) -> None:
        super().__init__(daemon=True)
        self.pid, self.limit, self.peak, self.stopped = pid, limit, 0, threading.Event()
        self.seen: set[Any] = set()

    def run(self) -> None:
        """Until told to stop; kills above the limit where no control group does."""
        while not self.stopped.wait(0.2):
            now = sum(self._resident(process) for process in self._all())
            self.peak = max(self.peak, now)
            if self.limit is not None and now > self.limit:
                os.killpg(self.pid, signal.SIGKILL)

    def _all(self) -> set[Any]:
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.pid)
            self.seen |= {top, *top.children(recursive=True)}
        return self.seen

    def _resident(self, process: Any) -> int:
        import psutil

        try:
            return int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def left(self) -> list[Any]:
        """Those that still run; processes that ended and were replaced are not taken for them."""
        import psutil

        return [p for p in self.seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


# One visitor


@dataclass(frozen=True)
class Place:
    """What a way needs to know of a visitor's place."""

    image: Image
    home: Path
    start: Callable[..., subprocess.Popen[bytes]]


Way = Callable[[Place, Visit], None]


def visit(image: Image, way: Way) -> Visit:
    """One visitor: come, look, touch, leave; and what is left."""
    seen, before = Visit(), image.size()
    home = Path(tempfile.mkdtemp(prefix="visitor_"))
    started: list[Watch] = []
    with group(image.limit) as made:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            command = image.launched(*arguments)
            if made is not None:  # the shell joins the group, and everything it starts is in it
                join = 'echo $$ > "$1"; shift; exec "$@"'
                command = ["sh", "-c", join, "sh", str(made / "cgroup.procs"), *command]
            with (home / "log").open("wb") as log:
                process = subprocess.Popen(
                    command,
                    cwd=image.folder,
                    env=environment(home, image),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            started.append(Watch(process.pid, None if made else image.limit))
            started[-1].start()
            return process

        try:
            way(Place(image, home, start), seen)
        except Exception as error:  # noqa: BLE001  (a visit that failed is a row, not the end)
            log = (home / "log").read_text(errors="replace")[-500:]
            seen.problems.append(f"{type(error).__name__}: {str(error)[:300]} … {log}")
        for watch in started:
            watch.stopped.set()
            watch.join()
            until(lambda watch=watch: not watch.left(), 10)
            seen.resident = max(seen.resident, watch.peak / MIB)
            seen.left += len(watch.left())
            for process in watch.left():
                process.kill()
        if made is not None:
            seen.charged, seen.refused = highest(made)
    seen.home = Image(home, home, 0).size()
    seen.grown = image.size() - before
    shutil.rmtree(home, ignore_errors=True)
    return seen


def environment(home: Path, image: Image) -> dict[str, str]:
    """What a container has: a path, an empty home, and nothing of ours."""
    path = f"{image.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds, at most so long; return whether it does."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


def ended(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to end, as a container that is stopped does; kill it after a while."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# In a browser


@contextlib.contextmanager
def server(place: Place, seen: Visit) -> Iterator[str]:
    """The image's Jupyter server on loopback; yields its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.root_dir": place.image.folder,
        "IdentityProvider.token": "",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    begun = time.monotonic()
    process = place.start("-m", "jupyterlab", "--no-browser", "--allow-root", *arguments)
    base = f"http://127.0.0.1:{port}/"
    try:
        if not until(lambda: process.poll() is not None or answers(f"{base}api"), SECONDS):
            raise TimeoutError("waited for the server to answer")
        seen.seconds["server"] = time.monotonic() - begun
        yield base
    finally:
        ended(process)


def answers(address: str) -> bool:
    """Whether something listens there."""
    try:
        urllib.request.urlopen(address, timeout=2).read()
    except (urllib.error.URLError, OSError):
        return False
    return True


def browser_tests() -> ModuleType:
    """The browser tests' own knowledge of Chromium and JupyterLab."""
    spec = importlib.util.spec_from_file_location("lab", ROOT / "tests" / "browser" / "lab.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def browser(problems: list[str]) -> Iterator[Any]:
    """A new Chromium with an empty profile; yields a page that reports errors and requests outside."""
    from playwright.sync_api import sync_playwright

    lab = browser_tests()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=lab.chromium(), args=lab.CHROMIUM_FLAGS
        )
        page = chromium.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: problems.append(f"page: {error}"))

        def asked(request: Any) -> None:
            local = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:")
            if not request.url.startswith(local):
                problems.append(f"outside: {request.url[:100]}")

        page.on("request", asked)
        yield page
        chromium.close()


def in_browser(way: str) -> Way:
    """A visit to JupyterLab, where the demo runs by itself, or to its page without code."""

    def look(place: Place, seen: Visit) -> None:
        with server(place, seen) as base, browser(seen.problems) as page:
            begun = time.monotonic()
            page.goto(base + PAGES[way])
            page.locator(".sae-nb-panel canvas").first.wait_for(state="attached")
            seen.seconds["first panel"] = time.monotonic() - begun
            page.wait_for_function("document.querySelectorAll('.sae-nb-panel').length === 5")
            plot = touch(page)
            seen.seconds["all panels, 7 read as a 4"] = time.monotonic() - begun
            pulled = time.monotonic()
            pull(page, plot)
            seen.seconds["slider pulled to 0"] = time.monotonic() - pulled
            page.goto("about:blank")

    return look


def touch(page: Any) -> Any:
    """Wait for the steering panel's answer; return its plot."""
    panel = page.locator(".sae-nb-panel").filter(has_text="What happens if").first
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    page.wait_for_function(f"arg => ({TOP})(arg) === 4", arg=[plot, "after"])
    return plot


def pull(page: Any, plot: Any) -> None:
    """Pull the steering panel's slider down until the 7 is read as a 7 again."""
    panel = page.locator(".sae-nb-panel").filter(has_text="What happens if").first
    slider = panel.get_by_role("slider").first
    for _ in range(400):
        if page.evaluate(TOP, [plot, "after"]) == 7:
            break
        slider.press("ArrowLeft")
        page.wait_for_timeout(30)
    page.wait_for_function(f"arg => ({TOP})(arg) === 7", arg=[plot, "after"])


# Without a browser


CELLS = """
import json, sys, time
import nbformat
from nbclient import NotebookClient

notebook, begun, first = nbformat.read(sys.argv[1], as_version=4), time.monotonic(), None
client = NotebookClient(notebook, timeout=300, kernel_name="python3",
                        resources={"metadata": {"path": sys.argv[2]}})
with client.setup_kernel():
    for index, cell in enumerate(notebook.cells):
        client.execute_cell(cell, index)
        widget = "application/vnd.jupyter.widget-view+json"
        drawn = any(widget in out.get("data", {}) for out in cell.get("outputs", []))
        if drawn and first is None:
            first = time.monotonic() - begun
    all_cells = time.monotonic() - begun
    touched = nbformat.v4.new_code_cell(
        "steering.strength = 0.0; steering.wait(); assert steering.summary.after.argmax() == 7")
    notebook.cells.append(touched)
    client.execute_cell(touched, len(notebook.cells) - 1)
print(json.dumps({"first panel": first, "all cells": all_cells,
                  "slider pulled to 0": time.monotonic() - begun - all_cells}))
"""


def in_kernel(place: Place, seen: Visit) -> None:
    """The demo's cells in a new kernel, without a server and a page."""
    demo = place.image.folder / DEMO
    process = place.start("-c", CELLS, str(demo), str(demo.parent))
    try:
        code = process.wait(SECONDS)
        if code:
            raise RuntimeError(f"the demo ended with {code}")
        last = (place.home / "log").read_text().strip().splitlines()[-1]
        seen.seconds = json.loads(last)
    finally:
        ended(process)


WAYS: dict[str, Way] = {"lab": in_browser("lab"), "voila": in_browser("voila"), "kernel": in_kernel}


# Pages from disk


@dataclass
class Opened:
    """A page of the gallery, opened again and again."""

    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def gallery(folder: Path, times: int) -> dict[str, Opened]:
    """Every page of the gallery, as often as there are visitors, in a new browser each time."""
    pages = {page.name: Opened() for page in sorted(folder.glob("*.html"))}
    for _ in range(times):
        problems: list[str] = []
        with browser(problems) as page:
            for name, opened in pages.items():
                begun = time.monotonic()
                page.goto((folder / name).as_uri(), wait_until="load")
                if name != "index.html":
                    page.locator(".sae-nb-panel, .js-plotly-plot, canvas, svg").first.wait_for()
                opened.seconds.append(time.monotonic() - begun)
                opened.problems += problems
                problems.clear()
    return pages


# Tables


def table(way: str, visits: list[Visit]) -> str:
    """Markdown: a row a figure, over all visitors."""
    rows = [
        f"\n{way}: {len(visits)} visitors\n",
        "| what | first | median | worst |",
        "| --- " * 4 + "|",
    ]

    def row(name: str, values: list[float], digits: int = 1) -> None:
        if values:
            shown = (values[0], statistics.median(values), max(values))
            rows.append(f"| {name} | " + " | ".join(f"{v:.{digits}f}" for v in shown) + " |")

    for name in dict.fromkeys(name for v in visits for name in v.seconds):
        row(f"{name}, s", [v.seconds[name] for v in visits if name in v.seconds])
    row("resident, server and kernel, MiB", [v.resident for v in visits], 0)
    row("control group's peak, MiB", [v.charged for v in visits if v.charged is not None], 0)
    row("times the limit was reached", [v.refused for v in visits if v.refused is not None], 0)
    row("processes left", [v.left for v in visits], 0)
    row("image grown by, bytes", [v.grown for v in visits], 0)
    row("visitor's own folder, kB", [v.home / 1e3 for v in visits], 0)
    found = [problem for v in visits for problem in v.problems]
    rows.append(f"\n{len(found)} problems" + "".join(f"\n- {p}" for p in dict.fromkeys(found)))
    return "\n".join(rows)


def gallery_table(pages: dict[str, Opened]) -> str:
    """Markdown: all pages, and the slowest."""
    seconds = {name: opened.seconds for name, opened in pages.items()}
    every = [s for times in seconds.values() for s in times]
    slowest = max(seconds, key=lambda name: statistics.median(seconds[name]))
    found = [problem for opened in pages.values() for problem in opened.problems]
    return (
        f"\ngallery: {len(pages)} pages, {len(every)} openings; median {statistics.median(every):.2f} s, "
        f"worst {max(every):.2f} s; slowest page {slowest}, median "
        f"{statistics.median(seconds[slowest]):.2f} s; {len(found)} problems"
        + "".join(f"\n- {p}" for p in dict.fromkeys(found))
    )


if __name__ == "__main__":
    main()
