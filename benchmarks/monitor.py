"""What a monitor adds to a token that a model writes: seconds with it over seconds without.

    python benchmarks/monitor.py [--models tiny-gpt smollm2-135m] [--rounds 9]

Both ways write the same text in turn, round after round, in one process and in either order, so that whatever
else the machine does hits both alike; a number is the median over rounds of the same round's ratio. "no
monitor" once more is the noise of the comparison. Goal: 1.05 at most for one name.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext
from typing import Any

import torch

import sae_nb as sn

N_TOKENS = 24
GOAL = 1.05


def meters(model: Any) -> dict[str, Any]:
    """Monitors of more and more names."""
    n, rng = int(model.n_layers), torch.Generator().manual_seed(0)
    width = model.width(model.hook_point("resid_post.0"))
    places = [f"resid_post.{i}" for i in (n // 2, n // 4, 3 * n // 4)]
    neutral = sn.data.stories(20).texts

    def made(names: list[str]) -> Any:
        rows = {str(i): (place, torch.randn(width, generator=rng)) for i, place in enumerate(names)}
        return sn.monitor(model, rows, neutral)

    return {
        "no monitor": None,
        "one name": made(places[:1]),
        "eight names at one hook point": made(places[:1] * 8),
        "three hook points": made(places),
    }


def seconds(model: Any, meter: Any) -> float:
    """Seconds for one text."""
    with nullcontext() if meter is None else meter.watch():
        started = time.perf_counter()
        model.generate("Once there was a", max_new_tokens=N_TOKENS)
        return time.perf_counter() - started


def ratios(model: Any, meter: Any, rounds: int) -> list[float]:
    """Seconds with a monitor over those without, round by round."""
    found = []
    for number in range(rounds):
        pair = (None, meter) if number % 2 else (meter, None)
        taken = [seconds(model, one) for one in pair]
        found.append(taken[1] / taken[0] if number % 2 else taken[0] / taken[1])
    return found


def main(models: list[str], rounds: int) -> None:
    """Print the table."""
    print("## a token with a monitor\n")
    print("| model | monitor | times a token's cost | quartiles |\n| --- | --- | --- | --- |")
    for name in models:
        model = sn.load_model(name, "cpu")
        for label, meter in meters(model).items():
            ratios(model, meter, 2)
            found = ratios(model, meter, rounds)
            low, middle, high = statistics.quantiles(found, n=4)
            print(f"| {name} | {label} | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)
    print(f"\nGoal: {GOAL} for one name.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny-gpt", "smollm2-135m"])
    parser.add_argument("--rounds", type=int, default=21)
    asked = parser.parse_args()
    main(asked.models, asked.rounds)
