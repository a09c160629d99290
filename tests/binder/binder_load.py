"""The demo as on Binder, under load: visitors one after another, little memory, and no network at all.

    python tests/binder/binder_load.py [--visitors 20] [--ways lab voila] [--image DIR] [--folder DIR]

The script moves into a network of its own that has loopback and nothing else (`unshare`), so neither the
server, nor the kernel, nor the page can fetch anything. Each visitor gets what Binder gives: the same
image, an empty home, a new server in a control group of its own with a memory limit, a new browser (outside
of the limit: it is the visitor's machine). It waits for the demo to run by itself to the first panel and
to the end, pulls a slider until the class changes, types a beginning, waits for its three continuations, turns
the atom up further and waits for them again, and leaves; then everything is counted that is still there.
`kernel` runs the demo's cells without a browser; `gallery` opens the pages of docs/gallery from disk.
Prints one table a way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from binder_parts.browsing import ROOT, SECONDS, browser, gallery
from binder_parts.confinement import (
    MIB,
    Watch,
    group,
    highest,
    limiter,
    loopback_up,
    members,
    network,
    until,
    without_network,
)
from binder_parts.tables import Visit, gallery_table, table

DEMO = "notebooks/demo.ipynb"
STEERING = "What if this were stronger?"
PAUSE = 10
"""Seconds in which a visitor reads what was written."""
# Class (they are in order) with the longest bar of the trace whose name begins so.
TOP = """([plot, name]) => {
  const shares = Array.from(plot.data.find(t => (t.name || '').startsWith(name)).x);
  return shares.indexOf(Math.max(...shares));
}"""
PAGES = {"lab": f"lab/tree/{DEMO}", "voila": f"voila/render/{DEMO}"}


@dataclass(frozen=True)
class Image:
    """What Binder would have built: an environment and a checkout."""

    environment: Path
    folder: Path
    limit: int
    """Bytes of memory a visitor may use."""

    def size(self) -> int:
        """Bytes of all files."""
        return size(self.environment) + size(self.folder)

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
    parser.add_argument("--json", type=Path, help="file for the last way's visits")
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
        if wanted.json:
            wanted.json.write_text(json.dumps([asdict(v) for v in visits]))


def size(folder: Path) -> int:
    """Bytes of all files in a folder, each counted once."""
    seen: dict[tuple[int, int], int] = {}
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                facts = os.lstat(os.path.join(where, name))
                seen[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(seen.values())


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
    seen = Visit()
    before = {part: size(part) for part in (image.environment, image.folder)}
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
            log = (home / "log").read_text(errors="replace")[-500:] if started else ""
            seen.problems.append(f"{type(error).__name__}: {str(error)[:300]} … {log}")
        for watch in started:
            watch.stopped.set()
            watch.join()
            until(lambda watch=watch: not watch.left(), 10)
            seen.resident = max(seen.resident, watch.peak / MIB)
            seen.processor += sum(watch.seconds.values())
            seen.left += len(watch.left())
            for process in watch.left():
                process.kill()
        if made is not None:  # it also has those that left their parents
            until(lambda: not members(made), 10)
            seen.left = max(seen.left, len(members(made)))
            for pid in members(made):
                os.kill(pid, signal.SIGKILL)
            seen.charged, seen.refused = highest(made)
    seen.home = size(home)
    grown = {part: size(part) - held for part, held in before.items()}
    seen.grown, seen.folder_grown = sum(grown.values()), grown[image.folder]
    shutil.rmtree(home, ignore_errors=True)
    return seen


def environment(home: Path, image: Image) -> dict[str, str]:
    """What a container has: a path, an empty home, and nothing of ours but caps on threads."""
    path = f"{image.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kept = ("_NUM_THREADS", "SAE_NB_CACHE")  # the cache is in the image: SmolLM2 is fetched into it
    more = {n: value for n, value in os.environ.items() if n.endswith(kept)}
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home), **more}


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


def in_browser(way: str) -> Way:
    """A visit to JupyterLab, where the demo runs by itself, or to its page without code."""

    def look(place: Place, seen: Visit) -> None:
        with server(place, seen) as base, browser(seen.problems) as page:
            begun = time.monotonic()
            page.goto(base + PAGES[way])
            page.locator(".sae-nb-panel").first.wait_for(state="attached")
            seen.seconds["first panel"] = time.monotonic() - begun
            page.wait_for_function("document.querySelectorAll('.sae-nb-panel').length === 4")
            plot = touch(page)
            seen.seconds["all panels, 9 read as a 4"] = time.monotonic() - begun
            pulled = time.monotonic()
            pull(page, plot)
            seen.seconds["slider pulled to 0"] = time.monotonic() - pulled
            told(page, seen)
            page.goto("about:blank")

    return look


def touch(page: Any) -> Any:
    """Wait for the steering panel's answer; return its plot."""
    panel = page.locator(".sae-nb-panel").filter(has_text=STEERING).first
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    page.wait_for_function(f"arg => ({TOP})(arg) === 4", arg=[plot, "after"])
    return plot


def pull(page: Any, plot: Any) -> None:
    """Pull the steering panel's slider down until the 9 is read as a 9 again."""
    panel = page.locator(".sae-nb-panel").filter(has_text=STEERING).first
    slider = panel.get_by_role("slider").first
    for _ in range(400):
        if page.evaluate(TOP, [plot, "after"]) == 9:
            break
        slider.press("ArrowLeft")
        page.wait_for_timeout(30)
    page.wait_for_function(f"arg => ({TOP})(arg) === 9", arg=[plot, "after"])


# The last three of the panel's lists: with the atom, without, along a random direction.
CONTINUATIONS = """panel =>
  [...panel.querySelectorAll('dd')].slice(-3).map(row => row.innerText.replace('…', '').trim())"""
WRITTEN = f"""([panel, before]) => {{
  const rows = ({CONTINUATIONS})(panel);
  const other = rows.length === 3 && !before.startsWith(rows[0]) && !rows[0].startsWith(before);
  return other && rows.every(row => row) && rows[0] !== rows[1];
}}"""


def told(page: Any, seen: Visit) -> None:
    """Type how a text begins, and turn the atom up: each time three texts are begun, the first another one."""
    panel = page.locator(".sae-nb-panel").filter(has=page.get_by_role("textbox", name="prompt"))
    handle = panel.first.element_handle()
    for name, edit in {"typed": type_prompt, "turned up": turn_up}.items():
        before, begun = page.evaluate(CONTINUATIONS, handle), time.monotonic()
        edit(panel.first)
        page.wait_for_function(WRITTEN, arg=[handle, before[0]])
        seen.seconds[f"{name}, three continuations begun"] = time.monotonic() - begun
        page.wait_for_timeout(1000 * PAUSE)


def type_prompt(panel: Any) -> None:
    """Replace the beginning by a sentence of the visitor's own."""
    field = panel.get_by_role("textbox", name="prompt")
    field.fill("The weather in the mountains was")
    field.press("Enter")


def turn_up(panel: Any) -> None:
    """Pull the strength to the end of its slider."""
    panel.get_by_role("slider").first.press("End")


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
        "panel = steering.wait(); panel.strength = 0.0; assert panel.summary.after.argmax() == 9")
    notebook.cells.append(touched)
    client.execute_cell(touched, len(notebook.cells) - 1)
print(json.dumps({"first panel's place": first, "all cells": all_cells,
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


if __name__ == "__main__":
    main()
