"""What an image that maximises an atom costs, of one model and of two that share the atom.

    python benchmarks/maximise.py [--threads 1] [--atoms 3]

At the settings that `sn.vision.maximise` has by itself: 128 steps of 16 crops, beside 256 scenes. CPU seconds
of all threads and wall seconds, of one atom at a time; goal: 20 s an atom on two cores. The dictionary of two
models is made from a few scenes: what it learned does not change what an atom costs.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import torch

import sae_nb as sn

POINT = "resid_post.6"


def timed(what: str, work: Callable[[], object]) -> None:
    """Print what one call takes."""
    busy, begin = time.process_time(), time.perf_counter()
    found = work()
    busy, begin = time.process_time() - busy, time.perf_counter() - begin
    print(f"{what:10s} CPU {busy:5.1f} s  wall {begin:5.1f} s  {found}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--atoms", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {given.threads} threads"
    )
    models = [sn.load_model(name, "cpu") for name in ("tiny-vit", "tiny-vit-plain")]
    sae, images = sn.load_sae(f"tiny-vit/{POINT}"), sn.data.scenes(64, split="test").images
    acts = [sn.capture(model, images, POINT, progress=False) for model in models]
    alive = sae.encode(acts[0]).frequency.argsort(descending=True)[: given.atoms]
    for atom in alive.tolist():
        timed("one model", lambda: sn.vision.maximise(models[0], sae, atom, POINT))  # noqa: B023
    shared = sn.UniversalSAE([one.d_in for one in acts], n_atoms=128, k=8)
    sn.train(shared, acts, steps=50, progress=False)
    atom = int(shared.encode(acts).frequency.argmax())
    timed("two models", lambda: sn.vision.maximise(models, shared, atom, POINT))


if __name__ == "__main__":
    main()
