"""What a second hook point costs `capture`: two of one pass against the later of them alone.

Run `python benchmarks/capture_sites.py`. Both calls run the model as far as the same last hook point, so
that what differs is the second one: reading it, laying out its rows, copying and checking them. Timed in
CPU seconds, alternating, the median of the ratios. Goal: 1.15 at most.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from typing import Any

import torch
from capture import cpu_seconds, language_case

import sae_nb as sn
from sae_nb.models import Backend, LiveModel

TEXTS = 24
"""Of tiny-gpt: stories, in batches of 8."""


def cases() -> dict[str, tuple[LiveModel, Any, list[str]]]:
    """A model, its inputs, and two hook points, by a name for the table."""
    gpt = sn.load_model("tiny-gpt")
    stories = sn.data.stories(TEXTS, seed=0).texts
    wide = language_case(256, 6, 1, 32, 128)
    return {
        f"tiny-gpt, {TEXTS} stories, mlp_in.3 and mlp_out.3": (
            gpt,
            stories,
            ["mlp_in.3", "mlp_out.3"],
        ),
        f"tiny-gpt, {TEXTS} stories, resid_post.1 and .3": (
            gpt,
            stories,
            ["resid_post.1", "resid_post.3"],
        ),
        "GPT-2 shape d 256, 6 blocks, 32 × 128 tokens, mlp_in.5 and mlp_out.5": (
            wide.model,
            wide.inputs,
            ["mlp_in.5", "mlp_out.5"],
        ),
        "GPT-2 shape d 256, 6 blocks, 32 × 128 tokens, resid_post.2 and .5": (
            wide.model,
            wide.inputs,
            ["resid_post.2", "resid_post.5"],
        ),
    }


def captured(
    model: LiveModel, inputs: Any, points: list[str], backend: Backend
) -> Callable[[], Any]:
    """A capture, ready to be called."""
    return lambda: sn.capture(model, inputs, points, batch_size=8, backend=backend, progress=False)


def ratio(
    model: LiveModel, inputs: Any, points: list[str], backend: Backend, repeats: int
) -> list[float]:
    """Return [seconds of one, the median of the ratios, and their middle half's ends]."""
    one, two = (captured(model, inputs, names, backend) for names in (points[-1:], points))
    one(), two(), one(), two()
    pairs = []
    for turn in range(repeats):
        # Whoever comes second finds warmer caches: take turns.
        first = cpu_seconds(two if turn % 2 else one)
        second = cpu_seconds(one if turn % 2 else two)
        pairs.append((second, first) if turn % 2 else (first, second))
    low, middle, high = statistics.quantiles((b / a for a, b in pairs), n=4)
    return [statistics.median(a for a, _ in pairs), middle, low, high]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), median of {options.repeats}, load {load:.1f}"
    )
    print(f"{'case':70} {'one':>9} {'nnsight: two / one':>24} {'hooks: two / one':>24}")
    for name, (model, inputs, points) in cases().items():
        found = [ratio(model, inputs, points, b, options.repeats) for b in ("nnsight", "hooks")]
        cells = (f"{middle:5.2f}× ({low:.2f} … {high:.2f})" for _, middle, low, high in found)
        print(
            f"{name:70} {found[0][0]:7.3f} s {'  '.join(f'{cell:>24}' for cell in cells)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
