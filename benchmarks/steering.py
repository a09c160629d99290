"""What steering through nnsight costs beside plain hooks, and whether memory stays flat.

Run `python benchmarks/steering.py [--folder DIR]`; DIR is a checkpoint folder, such as SmolLM2-135M's. A
forward pass and the generation of some tokens are run under one and the same edit by both backends,
alternating; the median of the ratios of CPU seconds is printed, and what entering and leaving the block
costs. Goal: 1.15 at most; memory at most 2 % up over 1 000 steered runs, each in a block of its own.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sae_nb.models import Backend, LiveModel, load_model
from sae_nb.steering import random_direction, steer

BACKENDS: tuple[Backend, Backend] = ("hooks", "nnsight")


def steered(model: LiveModel, backend: Backend, run: Callable[[], Any], times: int = 1) -> float:
    """Run something so many times in one block; return CPU seconds per run, without the block's."""
    point = f"resid_post.{len([p for p in model.hook_points() if p.kind == 'resid_post']) // 2}"
    direction = random_direction(model.width(point) or 0, seed=0)
    with steer(model, point, direction=direction, by=2.0, backend=backend):
        run()
        begin = time.process_time()
        for _ in range(times):
            run()
        return (time.process_time() - begin) / times


def entering(model: LiveModel, backend: Backend, ids: torch.Tensor, times: int = 200) -> float:
    """Return CPU seconds of a block with one pass in it, less the pass."""
    begin = time.process_time()
    direction = random_direction(model.width("resid_post.0") or 0, seed=0)
    for _ in range(times):
        with steer(model, "resid_post.0", direction=direction, by=2.0, backend=backend):
            model(ids)
    return (time.process_time() - begin) / times - steered(
        model, backend, partial(model, ids), times
    )


def ratio(
    model: LiveModel, run: Callable[[], Any], times: int, repeats: int
) -> tuple[float, float]:
    """Return the hooks' CPU seconds and the median ratio of nnsight's to them."""
    hooks, traced = (partial(steered, model, backend, run, times) for backend in BACKENDS)
    hooks(), traced()
    pairs = []
    for turn in range(repeats):
        # Whoever comes second finds warmer caches: take turns.
        if turn % 2:
            b, a = traced(), hooks()
        else:
            a, b = hooks(), traced()
        pairs.append((a, b))
    return statistics.median(a for a, _ in pairs), statistics.median(b / a for a, b in pairs)


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_growth(model: LiveModel, run: Callable[[], Any], runs: int) -> float:
    """Return resident memory after `runs` steered passes relative to before, once warm."""
    for _ in range(40):
        steered(model, "nnsight", run)
    before = resident()
    for _ in range(runs):
        steered(model, "nnsight", run)
    return resident() / before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", help="a checkpoint to steer besides tiny-gpt")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1000, help="steered passes for memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, ", end="")
    print(f"{options.threads} thread(s), median of {options.repeats}, CPU seconds")
    print(f"{'model':14} {'what':34} {'hooks':>10} {'nnsight':>9}")
    models = [("tiny-gpt", "tiny-gpt", 20), ("a folder", options.folder, 1)]
    for label, name, times in models:
        if name is None:
            continue
        model = load_model(name)
        ids = torch.randint(5, 900, (1, 64), generator=torch.Generator().manual_seed(0))
        tasks: dict[str, tuple[Callable[[], Any], int]] = {
            "forward pass of 64 tokens": (partial(model, ids), times),
            "generation of 20 tokens, cached": (
                partial(model.generate, "Once upon a time there was", 20),
                max(1, times // 4),
            ),
        }
        for what, (run, repeats) in tasks.items():
            seconds, factor = ratio(model, run, repeats, options.repeats)
            label = label if name == label else Path(name).name
            print(f"{label:14} {what:34} {1000 * seconds:7.2f} ms {factor:8.2f}×", flush=True)
    if Path("/proc/self/statm").exists():
        model = load_model("tiny-gpt")
        costs = [1000 * entering(model, backend, torch.arange(5, 21)[None]) for backend in BACKENDS]
        print("entering and leaving a block: hooks {:.2f} ms, nnsight {:.2f} ms".format(*costs))
        growth = memory_growth(model, partial(model, torch.arange(5, 21)[None]), options.runs)
        print(f"memory after {options.runs} steered passes: {growth:.3f} of what it was")


if __name__ == "__main__":
    main()
