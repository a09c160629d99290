"""How fast a model writes while its atoms are read and drawn, as a share of plain `generate`.

    python benchmarks/generation_lens.py [--model tiny-gpt] [--tokens 64] [--rounds 5]

Three rows: `generate` without a cache of ours in between, a GenerationLens that reads every token, names its
atoms and draws the text and two strips, and the same with the comparison: a fork's three rows of one batch. One
thread; rounds of the three take turns, so that other work on the machine meets all alike; median, and the first
and last of the shares. For a folder of a Hugging Face model, an untrained TopK SAE of 8 × its width stands in.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import comm
import sae_nb_widgets as sw
import torch
from concept_map import SENT, CountingComm

import sae_nb as sn

PROMPT = "Once upon a time there was a small fox who"
PRETRAINED = {"tiny-gpt": "tiny-gpt/resid_post.3"}


def parts(name: str) -> tuple[Any, Any, str]:
    """Model, SAE and hook point."""
    model = sn.load_model(name)
    if name in PRETRAINED:
        sae = sn.load_sae(PRETRAINED[name])
        return model, sae, sae.hook_point
    names = [str(point) for point in model.hook_points()]
    residual = [name for name in names if name.startswith("resid_post.")]
    point = residual[len(residual) // 2]
    width = model.width(point)
    return model, sn.TopK(width, 8 * width, 32, generator=torch.Generator().manual_seed(0)), point


def seconds(work: Callable[[], Any]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measured(model: Any, sae: Any, point: str, n: int) -> dict[str, float]:
    """Tokens a second of each row, once."""
    spent = seconds(lambda: model.generate(PROMPT, n))
    lens = sw.GenerationLens(model, sae, point, PROMPT, pinned=[1, 2])
    lens.wait(600)
    SENT.clear()
    before = lens.n_tokens
    drawn = seconds(lambda: lens.step(n))
    written = lens.n_tokens - before
    found = {"generate": written / spent, "lens": written / drawn}
    found["kB a token"] = sum(SENT) / 1e3 / written
    lens.token, lens.strength = lens.generation.n_prompt, 1e-6
    lens.go_on(1)
    before = lens.n_tokens
    drawn = seconds(lambda: lens.step(n - 2))
    found["three rows"] = (lens.n_tokens - before) / drawn
    if lens.problem or min(written, lens.n_tokens - before) < n // 2:
        raise RuntimeError(f"{written} tokens: {lens.status or 'the text ends early'}")
    lens.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny-gpt", help="bundled name or a folder")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, sae, point = parts(given.model)
    create, comm.create_comm = comm.create_comm, CountingComm
    print(
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {given.model}, "
        f"{point}, {sae.n_atoms} atoms, {given.tokens} tokens"
    )
    measured(model, sae, point, 4)  # libraries and widgets are loaded once per kernel
    rounds = [measured(model, sae, point, given.tokens) for _ in range(given.rounds)]
    comm.create_comm = create
    plain = statistics.median(one["generate"] for one in rounds)
    print(f"{'generate':12s} {plain:7.1f} tokens a second")
    for name, rows in (("lens", 1), ("three rows", 3)):
        speed = statistics.median(one[name] for one in rounds)
        shares = sorted(one[name] / one["generate"] for one in rounds)
        print(
            f"{name:12s} {speed:7.1f} tokens a second a row, {rows} row{'s' * (rows > 1)}: "
            f"{statistics.median(shares):.0%} of generate ({shares[0]:.0%} to {shares[-1]:.0%})"
        )
    print(f"sent {statistics.median(one['kB a token'] for one in rounds):.1f} kB a token")


if __name__ == "__main__":
    main()
