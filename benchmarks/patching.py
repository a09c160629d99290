"""Patching with known answers, and on a real language model: places found, seconds, estimates against effects.

Run `python benchmarks/patching.py` for the heads of tiny-induction, five seeds of prompts; with `--model
FOLDER`, a Hugging Face checkpoint such as SmolLM2-135M, for maps of layers and positions, of heads and of heads
by position on pairs of each kind, with seconds and the correlation of exact effects with attribution.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

SEEDS, N_PAIRS = range(5), 8
KINDS = ("agreement", "capitals", "indirect_objects", "greater_than")
EVERYWHERE = tuple(
    f"{name} and his brother walked along the old road to the" for name in ("David", "Mary")
)
"""A pair that differs from its first word on, so that every cell of its map is a pass of the model."""

N_HEADS = 12
"""Heads that are patched position by position: those of the largest estimates."""


def induction() -> None:
    """Print the first heads of tiny-induction, their estimates and the control, seed by seed."""
    import sae_nb as sn

    model = sn.load_model("tiny-induction")
    for seed in SEEDS:
        pairs = sn.data.prompt_pairs("induction", N_PAIRS, seed=seed, model=model)
        given = model, list(pairs.clean), list(pairs.corrupted), pairs.answers
        for sites in ("heads", "heads_by_position"):
            for direction in ("denoise", "noise"):
                found = sn.circuits.patch(
                    *given, sites, direction=direction, progress=False, seed=seed
                )
                print(
                    f"seed {seed}, {sites}, {direction}: correlation {found.agreement:.2f}\n"
                    f"{found.table.head(6).round(3).to_string()}"
                )


def largest(found: Any, n: int) -> list[tuple[int, int]]:
    """Return the heads of the largest estimates of a map of heads, as (layer, head)."""
    table = found.table
    first = table.reindex(table.estimated.abs().sort_values(ascending=False).index).head(n)
    return [(int(layer), int(head)) for layer, head in zip(first.layer, first["head"], strict=True)]


def real(folder: Path, seed: int) -> None:
    """Print seconds, correlation and the largest effects of each kind of pairs on a real model."""
    import sae_nb as sn

    model = sn.load_model(str(folder))
    for kind in KINDS:
        pairs = sn.data.prompt_pairs(kind, 1, seed=seed, model=model)
        other = sn.data.prompt_pairs(kind, 20, seed=seed + 100, model=model)
        n = len(model.tokens(pairs.clean[0]))
        control = next(c for c in other.clean if len(model.tokens(c)) == n and c not in pairs.clean)
        given = model, pairs.clean[0], pairs.corrupted[0], pairs.answers[0]
        print(f"{kind}: {pairs.clean[0]!r} against {pairs.corrupted[0]!r}, {n} tokens")
        heads: list[tuple[int, int]] = []
        for sites in ("resid", "mlp", "heads", "heads_by_position"):
            begin = time.perf_counter()
            found = sn.circuits.patch(
                *given,
                sites,
                heads=heads if sites == "heads_by_position" else None,
                control=control,
                progress=False,
            )
            seconds = time.perf_counter() - begin
            if sites == "heads":
                heads = largest(found, N_HEADS)
            print(
                f"{sites} {found.effect.shape}: {seconds:.1f} s with its control; correlation "
                f"{found.agreement:.2f}; control at most {abs(found.control).max():.2f}\n"
                f"{found.table.head(5).round(2).to_string()}",
                flush=True,
            )


def everywhere(folder: Path) -> None:
    """Print the seconds of maps in which no cell can be left out."""
    import sae_nb as sn

    model = sn.load_model(str(folder))
    for method in ("exact", "attribution"):
        begin = time.perf_counter()
        found = sn.circuits.patch(
            model, *EVERYWHERE, (" house", " river"), method=method, progress=False
        )
        seconds = time.perf_counter() - begin
        n_run = int((found.effect != 0).sum())
        print(
            f"{method} {found.effect.shape}, {n_run} cells differ: {seconds:.1f} s with the control; "
            f"correlation {found.agreement:.2f}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the pairs on a real model")
    parser.add_argument("--everywhere", action="store_true", help="seconds alone")
    given = parser.parse_args()
    if given.model is None:
        induction()
    elif given.everywhere:
        everywhere(given.model)
    else:
        real(given.model, given.seed)


if __name__ == "__main__":
    main()
