"""How long DUNL takes to find the events of a long recording of many neurons.

Run `python benchmarks/dunl.py`. Counts of 100 neurons over 25 minutes in bins of 10 ms (150 000 each), two
kernels of 40 bins, Poisson, 60 steps, each neuron by itself. Goal: at most two minutes on two cores.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from sae_nb_studies.lab import DUNL

GOAL = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"neurons": 100, "bins": 150_000, "kernels": 2, "length": 40, "steps": 60}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.poisson(torch.full((1, given.neurons, given.bins), 0.1), generator=generator)
    dunl = DUNL(
        given.kernels,
        given.length,
        link="poisson",
        sparsity=2.0,
        n_steps=given.steps,
        generator=generator,
    )
    clock, processor = time.perf_counter(), time.process_time()
    found = dunl.deconvolve(x)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(found)
    print(
        f"{given.neurons} neurons × {given.bins} bins, {given.steps} steps, {torch.get_num_threads()} threads: "
        f"{clock:.0f} s ({processor:.0f} s of processor), goal {GOAL:.0f} s; {memory:.1f} GiB at most"
    )


if __name__ == "__main__":
    main()
