"""How a training step grows with rows, width, atoms and k on one machine, and what that predicts.

Run `python benchmarks/scale.py`. One thread; CPU seconds of the process, so that other work on the machine
moves them less; each point is a fresh process, so that its peak memory is its own. Writes what was measured to
`results/scale_points.json`; `--predict` makes the tables of what is there, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import torch

import sae_nb as sn

KEPT = Path(__file__).parent / "results" / "scale_points.json"
BASE = {"rows": 1024, "d_in": 256, "n_atoms": 4096, "k": 32}
SWEEPS = {
    "rows": (256, 1024, 4096),
    "d_in": (64, 256, 1024),
    "n_atoms": (1024, 4096, 16384),
    "k": (8, 32, 128),
}
SECONDS = 1.0
"""Of each point: at least three steps, then until this is over."""

TOKENS, SIZES = 1_000_000_000, ((768, 1_000_000), (4096, 1_000_000))
ROWS, K, WORKERS = 8192, 32, (8, 64)
"""Of the predictions: global batch, atoms per input, processes."""


def main() -> None:
    """Measure every point and write what was found, or predict from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predict", action="store_true")
    wanted = parser.parse_args()
    if not wanted.predict:
        KEPT.write_text(json.dumps(measured(), indent=1) + "\n")
    print(report(json.loads(KEPT.read_text())))


def measured() -> dict[str, Any]:
    """All points, one process after the other, with the load before and after."""
    before = os.getloadavg()
    found: dict[str, Any] = {"base": BASE, "machine": machine(), "points": []}
    for sae in ("TopK", "MatchingPursuit"):
        seen = []
        for axis, values in SWEEPS.items():
            for value in values:
                size = BASE | {axis: value}
                if size not in seen:
                    seen.append(size)
                    found["points"].append({"sae": sae, **size} | alone({"sae": sae, **size}))
                    print(found["points"][-1], file=sys.stderr, flush=True)
    found["capture"] = alone({"sae": "capture"})
    found["load"] = {"before": before, "after": os.getloadavg()}
    found["slopes"] = {sae: slopes(found["points"], sae) for sae in ("TopK", "MatchingPursuit")}
    return found


def machine() -> dict[str, Any]:
    """What ran it."""
    names = Path("/proc/cpuinfo").read_text().split("model name")[1:] or [": unknown"]
    return {
        "processor": names[0].split(":", 1)[1].splitlines()[0].strip(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def alone(point: dict[str, Any]) -> dict[str, float]:
    """Figures of one point, in a process of its own: a fork, which need not import anything again."""
    fork = multiprocessing.get_context("fork")
    mine, its = fork.Pipe()
    process = fork.Process(target=work, args=(point, its))
    process.start()
    its.close()
    figures: dict[str, float] = mine.recv()
    process.join()
    return figures


def work(point: dict[str, Any], out: Any) -> None:
    """Measure one point and send its figures."""
    out.send(captured() if point["sae"] == "capture" else trained(**point))


def trained(sae: str, rows: int, d_in: int, n_atoms: int, k: int) -> dict[str, float]:
    """CPU seconds of a step, what of it is one encoder product, and how much memory training added."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * rows, d_in, generator=generator)
    model = getattr(sn, sae)(d_in, n_atoms, k, generator=generator)
    warm = getattr(sn, sae)(8, 64, 4)
    sn.train(warm, torch.randn(64, 8), sn.TrainConfig(steps=2, batch_size=32), progress=False)
    times: list[float] = [time.process_time()]
    run: list[Any] = []
    floor = peak_bytes()

    def clock(_: object) -> None:
        times.append(time.process_time())
        if len(times) > 5 and times[-1] - times[2] > SECONDS:
            run[0].stop()

    config = sn.TrainConfig(steps=400, batch_size=rows, log_every=1)
    run.append(sn.start_training(model, x, config, callbacks=clock, progress=False, held_out=0))
    run[0].wait(120)
    steps = [b - a for a, b in pairwise(times[2:])]
    added = peak_bytes() - floor
    weight = model.dictionary
    products = []
    for _ in range(3):
        start = time.process_time()
        _product = x[:rows] @ weight.T
        products.append(time.process_time() - start)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "seconds": statistics.median(steps),
        "steps": len(steps),
        "product_seconds": statistics.median(products),
        "parameter_bytes": parameters,
        "added_bytes": added,
    }


def captured() -> dict[str, float]:
    """Rows a CPU second from the bundled language model to disk, and bytes a row there."""
    torch.set_num_threads(1)
    model = sn.load_model("tiny-gpt")
    ids = torch.randint(0, model.vocabulary_size, (192, model.context_length))
    point = model.hook_points()[-2]
    sn.capture(model, ids[:8], point, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        acts = sn.capture(model, ids, point, store=Path(folder) / "acts", progress=False)
        seconds = time.process_time() - start
        stored = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
    parameters = sum(p.numel() for p in model.module.parameters())
    return {
        "rows": len(acts),
        "d_in": acts.d_in,
        "rows_per_second": len(acts) / seconds,
        "bytes_per_row": stored / len(acts),
        "model_parameters": parameters,
    }


def peak_bytes() -> int:
    """Most resident memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def slopes(points: list[dict[str, Any]], sae: str) -> dict[str, dict[str, float]]:
    """Log-log slopes of seconds and of added memory along each axis, all else as in `BASE`."""
    found = {}
    for axis in SWEEPS:
        rest = {name: value for name, value in BASE.items() if name != axis}
        line = [p for p in points if p["sae"] == sae and all(p[n] == v for n, v in rest.items())]
        found[axis] = {
            what: slope([p[axis] for p in line], [p[what] for p in line])
            for what in ("seconds", "added_bytes")
        }
    return found


def slope(x: list[float], y: list[float]) -> float:
    """Of the least-squares line through (log x, log y)."""
    u, v = [math.log(a) for a in x], [math.log(max(b, 1)) if b >= 1 else math.log(b) for b in y]
    mean_u, mean_v = statistics.mean(u), statistics.mean(v)
    above = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    return above / sum((a - mean_u) ** 2 for a in u)


def fitted(found: dict[str, Any]) -> dict[str, float]:
    """Three numbers of the TopK that predictions need beside the slopes."""
    points = [p for p in found["points"] if p["sae"] == "TopK"]
    line = sorted(
        (p["n_atoms"], p["added_bytes"], p["parameter_bytes"])
        for p in points
        if all(p[n] == v for n, v in BASE.items() if n != "n_atoms")
    )
    (_, low, few), (_, high, many) = line[0], line[-1]
    largest = max(points, key=lambda p: p["product_seconds"])
    flop = [2e-9 * p["rows"] * p["d_in"] * p["n_atoms"] for p in points]
    return {
        "product_gflops": statistics.median(
            f / p["product_seconds"] for f, p in zip(flop, points, strict=True)
        ),
        # Of the longest product measured: the small ones are all overhead.
        "units": largest["seconds"] / largest["product_seconds"],
        "added_bytes_a_parameter_byte": (high - low) / (many - few),
    }


def predicted(found: dict[str, Any], d_in: int, n_atoms: int, workers: int) -> dict[str, float]:
    """Time, memory, network and disk of a TopK trained on `TOKENS`.

    Times are extrapolated from what was measured, in two ways; memory, network and disk are counted.
    """
    points = [p for p in found["points"] if p["sae"] == "TopK"]
    base = next(p for p in points if all(p[n] == v for n, v in BASE.items()))
    along = base["seconds"]
    for axis, value in (("rows", ROWS), ("d_in", d_in), ("n_atoms", n_atoms), ("k", K)):
        along *= (value / BASE[axis]) ** found["slopes"]["TopK"][axis]["seconds"]
    known, steps = fitted(found), TOKENS / ROWS
    product = 2e-9 * ROWS * d_in * n_atoms / known["product_gflops"]
    parameters = 2 * n_atoms * d_in + n_atoms + d_in
    # What a ring sends from each worker: an all-reduce 2 (P − 1) / P of its bytes, a gather P − 1.
    reduced, gathered = 8 * (workers - 1) / workers, 4 * (workers - 1)
    return {
        "steps": steps,
        "hours_by_slopes": along * steps / 3600,
        "hours_by_products": known["units"] * product * steps / 3600,
        "flop": 2.0 * TOKENS * d_in * n_atoms,
        # Weights, gradients, two moments, and the copy of the best weights so far: fp32.
        "state_bytes": 20.0 * parameters,
        "state_bytes_a_shard": 20.0 * parameters / workers,
        "sent_by_rows": reduced * parameters,
        "sent_by_atoms": ROWS * (reduced * d_in + gathered * K),
        "sent_by_atoms_auxk": ROWS * (2 * reduced * d_in + gathered * (K + d_in // 2)),
        "disk_bytes": 4.0 * TOKENS * d_in,
    }


def report(found: dict[str, Any]) -> str:
    """Tables in Markdown."""
    load = found["load"]
    lines = [
        f"{found['machine']}; load {load['before'][0]:.1f} before, {load['after'][0]:.1f} after.",
        "",
        "## points",
        "",
        "| SAE | rows | d_in | atoms | k | CPU s a step | × `x Eᵀ` | memory added, MB | weights, MB |",
        "| --- " * 9 + "|",
    ]
    lines += [
        f"| {p['sae']} | {p['rows']} | {p['d_in']} | {p['n_atoms']} | {p['k']} | {p['seconds']:.3f} | "
        f"{p['seconds'] / p['product_seconds']:.2f} | {p['added_bytes'] / 1e6:.0f} | "
        f"{p['parameter_bytes'] / 1e6:.1f} |"
        for p in found["points"]
    ]
    lines += [
        "",
        "## slopes",
        "",
        "| log-log slope of | rows | d_in | atoms | k |",
        "| --- " * 5 + "|",
    ]
    for sae, by_axis in found["slopes"].items():
        for what, name in (("seconds", "CPU seconds"), ("added_bytes", "memory added")):
            values = " | ".join(f"{by_axis[axis][what]:.2f}" for axis in SWEEPS)
            lines.append(f"| {sae}, {name} | {values} |")
    known, capture = fitted(found), found["capture"]
    lines += [
        "",
        "## fitted",
        "",
        "| fitted, counted or captured | |",
        "| --- | --- |",
        f"| encoder product on one core | {known['product_gflops']:.0f} GFLOP/s |",
        f"| a TopK step in units of it, where it is longest | {known['units']:.2f} |",
        f"| memory added for each byte of weights | {known['added_bytes_a_parameter_byte']:.1f} |",
        f"| capture to disk, {capture['model_parameters'] / 1e6:.1f} M parameters, d_in "
        f"{capture['d_in']} | {capture['rows_per_second']:.0f} rows a CPU second |",
        f"| of it on disk | {capture['bytes_per_row']:.0f} bytes a row |",
        "",
        "## predicted",
        "",
        f"| 10⁹ tokens, batch {ROWS}, k {K} | "
        + " | ".join(f"d_in {d}, {n:.0e} atoms" for d, n in SIZES)
        + " |",
        "| --- " * (len(SIZES) + 1) + "|",
    ]
    cases = [{w: predicted(found, d, n, w) for w in WORKERS} for d, n in SIZES]
    first = WORKERS[0]
    rows: list[tuple[str, Any]] = [
        ("steps", lambda c: f"{c[first]['steps']:.0f}"),
        ("core-hours, along the slopes", lambda c: f"{c[first]['hours_by_slopes']:.2g}"),
        ("core-hours, by products", lambda c: f"{c[first]['hours_by_products']:.2g}"),
        ("operations of the encoder product", lambda c: f"{c[first]['flop']:.1e}"),
        ("training state in one process", lambda c: _size(c[first]["state_bytes"])),
        ("activations on disk, fp32", lambda c: _size(c[first]["disk_bytes"])),
    ]
    for w in WORKERS:
        rows += [
            (f"state of a shard, {w} workers", lambda c, w=w: _size(c[w]["state_bytes_a_shard"])),
            (
                f"sent a step by each of {w}, rows shared",
                lambda c, w=w: _size(c[w]["sent_by_rows"]),
            ),
            (
                f"sent a step by each of {w}, atoms shared",
                lambda c, w=w: _size(c[w]["sent_by_atoms"]),
            ),
            (
                "the same while atoms are dead (AuxK)",
                lambda c, w=w: _size(c[w]["sent_by_atoms_auxk"]),
            ),
        ]
    lines += [f"| {name} | " + " | ".join(shown(c) for c in cases) + " |" for name, shown in rows]
    return "\n".join(lines)


def _size(n_bytes: float) -> str:
    unit, name = next(
        (u, n) for u, n in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1, "B")) if n_bytes >= u
    )
    return f"{n_bytes / unit:.3g} {name}"


if __name__ == "__main__":
    main()
