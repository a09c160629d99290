"""A day in one kernel, made short: capture, train, look, steer, close, and again; what is left each time.

Run `python tests/reliability/long_use.py --minutes 120` for the long day; tests run a few rounds of it.
Printed as JSON: resident MiB, threads, open files and live widgets after each round.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import sae_nb_widgets as sw
import torch
from ipywidgets.widgets import widget

import sae_nb as sn


def main() -> None:
    """Live through the rounds and print what each left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=0.0)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * wanted.minutes
    models = {
        name: (sn.load_model(name), sn.load_sae(shelf), sn.load_examples(shelf))
        for name, shelf in (
            ("tiny-vit", "tiny-vit/resid_post.6"),
            ("tiny-gpt", "tiny-gpt/resid_post.3"),
        )
    }
    left: list[dict[str, float]] = []
    while len(left) < wanted.rounds or time.monotonic() < end:
        for name, parts in models.items():
            live(name, *parts)
        left.append(remaining())
    print(json.dumps(left))


def live(name: str, model: Any, sae: Any, examples: Any) -> None:
    """One round on one model: what a person does, and then closes."""
    inputs = examples.acts.context.pictures[:8] if name == "tiny-vit" else ["Lily was sad. "] * 4
    with tempfile.TemporaryDirectory() as folder:
        acts = sn.capture(
            model, inputs, sae.hook_point, store=Path(folder) / "acts", progress=False
        )
        fresh = sn.TopK(acts.d_in, 64, 4, generator=torch.Generator().manual_seed(0))
        config = sn.TrainConfig(steps=8, batch_size=32, checkpoint=Path(folder) / "run")
        run = sn.start_training(fresh, acts, config)
        monitor = sw.TrainingMonitor(run)
        run.wait()
        sn.evaluate(fresh, acts)
        panels = [
            monitor,
            sw.AtomBrowser(sae, examples.acts, atom=1, catalogue=examples.catalogue(sae)),
            sw.ConceptMap(sae, examples=examples),
            sw.SteeringPanel(model, sae.hook_point, sae, inputs[:2], acts, atom=1),
            sw.InputLens(model, sae, examples=examples),
        ]
        for panel in panels[1:]:
            panel.atom = 3
            if hasattr(panel, "wait"):
                panel.wait()
        for panel in panels:
            panel.close()
        del acts, panels, monitor, run


def remaining() -> dict[str, float]:
    """What the process holds now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "widgets": len(widget._instances),
    }


if __name__ == "__main__":
    main()
