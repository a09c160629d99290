"""How fast a ConceptMap of 16 384 atoms paints and answers, in the kernel and in Chromium.

    python benchmarks/concept_map.py [--atoms 16384] [--width 768] [--points 100000]
        [--no-kernel] [--no-browser]

In the kernel: from setting a trait to every widget having its new state, serialised as a kernel would
send it. In the browser: from the mouse's event to the changed text, from a turn of the wheel to the
second frame after it, in a JupyterLab of its own, with the bytes of every websocket frame; then `--points`
on a page without a kernel: also a map that is dragged, in wall time and in time of the page's own thread,
which other work on the machine does not lengthen. Goals at 16 384 atoms: first paint ≤ 2 s once the
coordinates are there, click to detail ≤ 100 ms, ≤ 200 kB per interaction; at a million click to detail
≤ 200 ms, ≤ 90 ms a frame.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import comm
import nbformat
import numpy as np
import psutil
import sae_nb_widgets as sw
import torch
from comm.base_comm import BaseComm

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.geometry import nearest_by_cosine

SENT: list[int] = []
K, N_ROWS = 32, 20_000
ROOT = Path(__file__).parents[1]


class CountingComm(BaseComm):
    """A connection to nobody that does what a kernel does before it sends."""

    def publish_msg(self, _type: str, data: Any = None, **given: Any) -> None:
        text = json.dumps(data, default=str)
        SENT.append(len(text) + sum(memoryview(b).nbytes for b in given.get("buffers") or ()))


class Random:
    """A dictionary of clustered random directions whose codes are drawn, not computed."""

    model_name, hook_point = "random", "resid_post.0"

    def __init__(self, n_atoms: int, d_in: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(200, d_in, generator=generator)
        noise = torch.randn(n_atoms, d_in, generator=generator)
        rows = centres[torch.randint(0, 200, (n_atoms,), generator=generator)] + noise
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)
        self.n_atoms, self.d_in = n_atoms, d_in

    def encode(self, *_: Any) -> SparseCodes:
        """Not asked: codes are given."""
        raise RuntimeError("codes are given")


def drawn(n_atoms: int, d_in: int) -> tuple[Random, Activations, SparseCodes, np.ndarray]:
    """An SAE, activations, their codes (power-law frequencies) and coordinates."""
    generator = np.random.default_rng(0)
    weight = 1 / np.arange(1, n_atoms + 1)
    atoms = generator.choice(n_atoms, (N_ROWS, K), p=weight / weight.sum())
    atoms = torch.from_numpy(np.sort((atoms + np.arange(K) * 7) % n_atoms, axis=1))
    codes = SparseCodes(
        torch.from_numpy(generator.exponential(1, N_ROWS * K)).float(),
        atoms.reshape(-1).int(),
        torch.arange(0, N_ROWS * K + 1, K),
        n_atoms,
    )
    acts = Activations.from_tensor(torch.randn(N_ROWS, d_in))
    blobs = generator.normal(0, 10, (200, 2))[generator.integers(0, 200, n_atoms)]
    xy = (blobs + generator.normal(0, 0.6, (n_atoms, 2))).astype(np.float32)
    return Random(n_atoms, d_in), acts, codes, xy


def timed(panel: sw.ConceptMap, what: str, changes: Iterable[Callable[[], Any]]) -> str:
    """Make changes of one kind and return a line about them."""
    seconds, own, sizes = [], [], []
    for change in changes:
        SENT.clear()
        begin, busy = time.perf_counter(), time.thread_time()
        change()
        seconds.append(time.perf_counter() - begin)
        own.append(time.thread_time() - busy)
        panel.wait(300)
        sizes.append(sum(SENT))
    if panel.problem:
        raise RuntimeError(panel.status)
    return (
        f"{what:34s} CPU of the main thread {1e3 * statistics.median(own):6.0f} ms  wall median "
        f"{1e3 * statistics.median(seconds):6.0f} ms  slowest "
        f"{1e3 * max(seconds):6.0f} ms  sent {max(sizes) / 1e3:7.1f} kB at most"
    )


def kernel_rows(n_atoms: int, d_in: int, n: int) -> list[str]:
    """Time every kind of change in this process."""
    sae, acts, codes, xy = drawn(n_atoms, d_in)
    rows = []
    if n_atoms <= 30_000:  # of more they are found when asked for
        began = time.perf_counter()
        nearest_by_cosine(sae.dictionary, 15)
        rows.append(f"nearest 15 of every atom            {time.perf_counter() - began:6.1f} s")
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    panel = sw.ConceptMap(sae, acts, codes=codes, xy=xy, columns={"score": np.arange(n_atoms)})
    made = time.perf_counter() - began
    panel.wait(600)
    rows.append(
        f"panel made                          {made:6.1f} s, all measured and clustered "
        f"after {time.perf_counter() - began:.1f} s; first message {sum(SENT) / 1e6:.1f} MB; resident "
        f"{before / 2**20:.0f} MiB before, {psutil.Process().memory_info().rss / 2**20:.0f} MiB after"
    )
    places = [xy + np.float32(i) for i in range(3)]
    rows.append(
        timed(
            panel,
            "coordinates arrive: sent",
            (lambda p=p: panel._take_layout(panel.record, p) for p in places),
        )
    )
    generator = np.random.default_rng(1)
    chosen = generator.choice(n_atoms, n, replace=False).tolist()
    rows.append(
        timed(panel, "click to detail", (lambda a=a: _set(panel, "atom", a) for a in chosen))
    )
    for size in (100, 1000, n_atoms):
        lots = [generator.choice(n_atoms, size, replace=False).tolist() for _ in range(3)]
        rows.append(
            timed(panel, f"lasso around {size}", (lambda a=a: panel.select(a) for a in lots))
        )
    panel.clear_selection()
    for trait, values in (
        ("color_by", ["frequency", "score", "strength", "cluster"]),
        ("size_by", ["equal", "energy"]),
        ("edges", ["nearest", "co-active"]),
        ("search", ["1", "77", "123"]),
    ):
        rows.append(timed(panel, trait, (lambda t=trait, v=v: _set(panel, t, v) for v in values)))
    panel.close()
    return rows


def _set(panel: Any, name: str, value: Any) -> None:
    setattr(panel, name, value)


# --- in a browser ---------------------------------------------------------------------------------

CELLS = (
    "import sys; sys.path.insert(0, {folder!r})\n"
    "import concept_map as bench, sae_nb_widgets as sw\n"
    "sae, acts, codes, xy = bench.drawn({n_atoms}, {d_in})\n"
    "panel = sw.ConceptMap(sae, acts, codes=codes, xy=xy)\npanel.wait(600)\npanel",
)
# From a gesture (button up, key down) to the first change of the sentence under the question.
AFTER = """event => new Promise(resolve => {
  const answer = document.querySelector('.sae-nb-answer');
  let began = -1;
  document.addEventListener(event, () => { began = performance.now(); }, {capture: true, once: true});
  const watcher = new MutationObserver(() => {
    if (began < 0) return;
    watcher.disconnect();
    resolve(performance.now() - began);
  });
  watcher.observe(answer, {childList: true, characterData: true, subtree: true});
  setTimeout(() => resolve(-1), 10000);
})"""
# From a turn of the wheel to the second frame after it.
AFTER_WHEEL = """() => new Promise(resolve => {
  document.addEventListener('wheel', () => {
    const began = performance.now();
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
  }, {capture: true, once: true});
})"""
# From a request to the kernel to the second frame after what it changes is there.
AFTER_REQUEST = """async ([code, done]) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const map = document.querySelector('.sae-nb-map');
  const began = performance.now();
  kernel.requestExecute({code, silent: false, store_history: false});
  const seen = new Function('map', 'return ' + done);
  while (!seen(map)) {
    if (performance.now() - began > 60000) return -1;
    await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
# Drags the map a little in every frame: how long each took.
DRAG = """async moves => {
  const stage = document.querySelector('.sae-nb-mapstage');
  const box = stage.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  stage.setPointerCapture = () => {};
  const send = (kind, i) => stage.dispatchEvent(new PointerEvent(kind,
    {clientX: x + 3 * i, clientY: y + 2 * i, button: 0, pointerId: 1, bubbles: true, cancelable: true}));
  send('pointerdown', 0);
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 2; i < moves + 2; i++) {
    send('pointermove', i);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  send('pointerup', moves + 2);
  return frames.slice(1);
}"""
PAGE = (
    """<!DOCTYPE html><meta charset="utf-8"><title>map</title><style>{style}</style><body>{map}"""
)


def browser_rows(n_atoms: int, d_in: int, n: int, points: int) -> list[str]:
    """Time painting and answering as a person sees it, and count what the websocket carries."""
    path = ROOT / "tests" / "browser" / "lab.py"
    spec = importlib.util.spec_from_file_location("lab", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"There is no {path}.")
    lab_module = importlib.util.module_from_spec(spec)
    sys.modules["lab"] = lab_module
    spec.loader.exec_module(lab_module)
    # The tests draw without a GPU throughout, which costs them less and makes clicks wait longer.
    flags = [flag for flag in lab_module.CHROMIUM_FLAGS if not flag.startswith("--disable-gpu")]
    lab_module.CHROMIUM_FLAGS = flags
    if lab_module.chromium() is None:
        return ["no Chromium here: browser not measured"]
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "map.ipynb"
        cell = CELLS[0].format(folder=str(ROOT / "benchmarks"), n_atoms=n_atoms, d_in=d_in)
        code = [nbformat.v4.new_code_cell(cell)]
        meta = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=meta), notebook)
        with lab_module.Lab(notebook, out=Path(folder) / "out", timeout_s=600) as lab:
            return _in_lab(lab, n, drawn(n_atoms, d_in)[3]) + _many_points(
                lab, Path(folder) / "many.html", points
            )


def on_screen(xy: np.ndarray, box: dict[str, float]) -> np.ndarray:
    """Where a map that nobody has moved draws its points: fitted, a margin of 22 pixels, a border of 1.

    It is stretched to fill its canvas, by up to 1.6 either way.
    """
    size = np.array([box["width"], box["height"]])
    across, up = (size - 46) / np.ptp(xy, axis=0)
    tall = float(np.clip(up / across, 1 / 1.6, 1.6))
    scale = float(min(across, up / tall))
    middle = (xy.max(axis=0) + xy.min(axis=0)) / 2
    return (xy - middle) * [scale, -scale * tall] + size / 2 + [box["x"], box["y"]]


def click(page: Any) -> None:
    """Press the mouse button where the mouse is, and let it go."""
    page.mouse.down()
    page.mouse.up()


def until_answer(page: Any, event: str, gesture: Callable[[], Any]) -> float:
    """Milliseconds from the gesture's event to the panel's changed sentence; -1 after 10 s without."""
    page.evaluate(f"event => {{ window.__w = ({AFTER})(event); }}", event)
    gesture()
    return float(page.evaluate("() => window.__w"))


def _in_lab(lab: Any, n: int, xy: np.ndarray) -> list[str]:
    carried = [0]

    def count(frame: Any) -> None:
        carried[0] += len(frame if isinstance(frame, bytes | str) else frame.get("payload", b""))

    lab.page.on("websocket", lambda ws: (ws.on("framereceived", count), ws.on("framesent", count)))
    lab.page.reload()
    lab._until(lab._idle, "the notebook again")
    lab.run_all(600)
    stage = lab.page.locator(".sae-nb-mapstage")
    stage.wait_for(timeout=300_000)  # a million atoms take their time on a busy machine
    lab.settle(3000)
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    clicks, wheels, sizes = [], [], []
    places = on_screen(xy, box)
    for x, y in places[np.random.default_rng(2).choice(len(xy), n, replace=False)]:
        lab.page.mouse.move(x, y)
        lab.page.wait_for_timeout(150)
        carried[0] = 0
        clicks.append(until_answer(lab.page, "pointerup", lambda: click(lab.page)))
        lab.settle(300)
        sizes.append(carried[0])
    rows = [_line("click to detail", clicks, max(sizes))]
    for turn in range(2 * n):
        lab.page.evaluate(f"() => {{ window.__w = ({AFTER_WHEEL})(); }}")
        lab.page.mouse.wheel(0, -100 if turn < n else 100)
        wheels.append(lab.page.evaluate("() => window.__w"))
    rows.append(_line("turn of the wheel", wheels, 0))
    lab.settle(1000)
    for name, code, done in (
        (
            "colour by frequency",
            "panel.color_by = 'frequency'",
            "map.querySelector('.sae-nb-mapramp') !== null",
        ),
        (
            "lasso around 1000",
            "panel.select(list(range(1000)))",
            "document.querySelector('.sae-nb-answer').innerText.includes('selected')",
        ),
    ):
        carried[0] = 0
        ms = lab.page.evaluate(AFTER_REQUEST, [code, done])
        lab.settle(1500)
        rows.append(_line(name, [ms], carried[0]))
    return rows


def _many_points(lab: Any, path: Path, n: int, turns: int = 10) -> list[str]:
    """Time drawing very many points on a page without a kernel."""
    from sae_nb_widgets.components import PointMap, style_sheet
    from sae_nb_widgets.concept_map._styles import base_size, look_of

    from sae_nb.summaries import Column

    generator = np.random.default_rng(0)
    values = generator.integers(0, 40, n)
    xy = generator.normal(0, 8, (40, 2))[values] + generator.normal(0, 1, (n, 2))
    look = look_of(Column("group", "group", values, tuple(map(str, range(40)))), n)
    chart = PointMap(xy=xy.astype(np.float32).tobytes(), size=base_size(n))
    chart.palette, chart.styles = look.palette, look.styles.tobytes()
    style = style_sheet("components.css", "point_map.css")
    path.write_text(PAGE.format(style=style, map=chart.live_html()), encoding="utf-8")
    page = lab._browser.new_page(viewport={"width": 900, "height": 700})
    began = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector(".sae-nb-mapstage")
    page.evaluate("() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")
    first = 1e3 * (time.perf_counter() - began)
    page.wait_for_timeout(1500)
    box = page.locator(".sae-nb-mapstage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wheels = []
    for _ in range(turns):
        page.evaluate(f"() => {{ window.__w = ({AFTER_WHEEL})(); }}")
        page.mouse.wheel(0, -60)
        wheels.append(page.evaluate("() => window.__w"))
    frames, own = _dragged(page)
    page.close()
    return [
        _line(f"page of {n} points: first frame", [first], 0),
        _line(f"turn of the wheel, {n} points", wheels, 0),
        _line("frame while it is dragged", frames, 0),
        _line("the same, the page's own thread", [own], 0),
    ]


def _dragged(page: Any, moves: int = 30) -> tuple[list[float], float]:
    """Milliseconds of every frame of a map that is dragged, and of the page's thread on the mean."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return 1e3 * next(m["value"] for m in found if m["name"] == "TaskDuration")

    before = busy()
    frames = page.evaluate(DRAG, moves)
    return frames, (busy() - before) / moves


def _line(name: str, milliseconds: list[float], carried: int) -> str:
    wire = f"  on the wire {carried / 1e3:7.1f} kB at most" if carried else ""
    return (
        f"browser: {name:34s} median {statistics.median(milliseconds):6.0f} ms  slowest "
        f"{max(milliseconds):6.0f} ms of {len(milliseconds)}{wire}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--atoms", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--no-kernel", action="store_true")
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}, torch {torch.__version__}, "
        f"{given.atoms} atoms of width {given.width}"
    )
    if not given.no_kernel:
        create = comm.create_comm
        comm.create_comm = CountingComm
        for row in kernel_rows(given.atoms, given.width, given.clicks):
            print(row, flush=True)
        comm.create_comm = create
    if not given.no_browser:
        for row in browser_rows(given.atoms, given.width, given.clicks, given.points):
            print(row, flush=True)


if __name__ == "__main__":
    main()
