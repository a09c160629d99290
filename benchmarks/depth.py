"""How long depth takes: all measurements of one model, and DepthTrajectory from a change to its redraw.

Run `python benchmarks/depth.py`. Measurements: 256 pictures, 13 states, from states in memory (budget
20 s on 2 cores). Panel: median and slowest of several changes of one kind, from setting the trait to
every widget having its new state, serialised as a kernel would send it (budget 300 ms for a push on
tiny-vit, 200 kB for anything). The browser's own painting is not in it. CPU seconds stand beside wall
seconds, for busy machines.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import comm
import sae_nb_widgets as sw
import torch
from comm.base_comm import BaseComm

import sae_nb as sn

SENT: list[int] = []


class CountingComm(BaseComm):
    """A connection to nobody that does what a kernel does before it sends."""

    def publish_msg(self, _type: str, data: Any = None, **given: Any) -> None:
        text = json.dumps(data, default=str)
        SENT.append(len(text) + sum(len(part) for part in given.get("buffers") or ()))


def clocked(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measurements(model: Any, pictures: Any) -> list[str]:
    states = sn.dynamics.capture_states(model, pictures, backend="hooks")
    works: dict[str, Callable[[], Any]] = {
        "all quantities and basins": lambda: sn.dynamics.trajectories(states, pictures.digit),
        "end-point axes, flat and sphere": lambda: [
            sn.dynamics.endpoint_projection(states, kind=kind) for kind in ("pca", "sphere")
        ],
        "push at layer 4, rest of the run": lambda: sn.dynamics.self_correction(
            model, pictures, layer=4, size=0.05, states=states
        ),
        "one map per phase": lambda: sn.dynamics.linearise_phases(states, [0, 4, 8, 12]),
    }
    rows = {what: clocked(work) for what, work in works.items()}
    rows["together"] = tuple(map(sum, zip(*rows.values(), strict=True)))  # type: ignore[assignment]
    return [f"{what:34s} {wall:6.2f} s wall {cpu:6.2f} s CPU" for what, (wall, cpu) in rows.items()]


def timed(panel: sw.DepthTrajectory, what: str, changes: Iterable[tuple[str, Any]]) -> str:
    walls, cpus, sizes = [], [], []
    for name, value in changes:
        SENT.clear()

        def change(name: str = name, value: Any = value) -> None:
            panel.set_trait(name, value)
            panel.wait()

        wall, cpu = clocked(change)
        walls.append(wall)
        cpus.append(cpu)
        sizes.append(sum(SENT))
    if panel.problem:
        raise RuntimeError(panel.status)
    return (
        f"{panel.model.name:9s} {what:22s} median {1e3 * statistics.median(walls):5.0f} ms  slowest "
        f"{1e3 * max(walls):5.0f} ms  CPU {1e3 * statistics.median(cpus):5.0f} ms  sent at most "
        f"{max(sizes) / 1e3:5.1f} kB"
    )


def interactions(panel: sw.DepthTrajectory) -> list[str]:
    n, last = panel.n_inputs, panel.n_layers
    return [
        timed(panel, "layer", [("layer", layer) for layer in range(last, -1, -1)]),
        timed(panel, "input", [("picture", i % n) for i in range(1, 9)]),
        timed(panel, "token", [("token", i % panel.n_tokens) for i in (9, 3, 7, 0)]),
        timed(panel, "phases", [("k", k) for k in range(panel.most_phases, 0, -1)]),
        timed(panel, "measured", [("strip", s) for s in ("turns", "alike", "phases", "progress")]),
        timed(panel, "push", [("perturb_size", size / 20) for size in range(1, 13)]),
        timed(panel, "push at", [("perturb_layer", layer) for layer in range(1, last)]),
        timed(panel, "axes", [("coordinates", kind) for kind in ("sphere", "pca") * 2]),
        timed(panel, "2-D and 3-D", [("dimensions", d) for d in (3, 2) * 2]),
        timed(panel, "all tokens", [("show", show) for show in ("tokens", "pictures") * 2]),
    ]


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=256)
    options = parser.parse_args(None if arguments is None else list(arguments))
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    vision, pictures = sn.load_model("tiny-vit"), sn.data.scenes(options.pictures, seed=0)
    for row in measurements(vision, pictures):
        print(row)
    comm.create_comm = lambda *_given, **named: CountingComm(**named)  # type: ignore[assignment]
    texts = list(sn.data.stories(24, seed=0).texts)
    sae = sn.load_sae("tiny-vit/resid_post.6")
    for model, inputs, own in ((vision, pictures, sae), (sn.load_model("tiny-gpt"), texts, None)):
        wall, cpu, panel = built(model, inputs, own)
        print(f"{model.name:9s} built and measured: {wall:.1f} s wall, {cpu:.1f} s CPU")
        for row in interactions(panel):
            print(row)
        panel.close()


def built(model: Any, inputs: Any, sae: Any) -> tuple[float, float, sw.DepthTrajectory]:
    made: list[sw.DepthTrajectory] = []

    def work() -> None:
        made.append(sw.DepthTrajectory(model, inputs, sae=sae))
        made[0].wait(300)

    return *clocked(work), made[0]


if __name__ == "__main__":
    main()
