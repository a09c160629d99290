"""Fit the Jacobian lens of a bundled model, score it on held-out inputs, write its folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.data import TASKS, scenes, sounds, stories
from sae_nb.lenses import fit_lens
from sae_nb.models import load_model
from sae_nb.pretrained._loading import load_sae

N_FIT, N_HELD_OUT, N_ATOMS = 64, 48, 80
"""Inputs of the fit and of the score, and directions that are measured. Ours: halves agree above .98."""

Draw = Callable[[int, int, bool], Any]
"""(number, seed, held out) → inputs."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A model that gets a lens."""

    draw: Draw
    sae: str | None = None
    """Its atoms are what the lens is scored on; None: differences between states, after half the blocks."""

    skip_first: int = 0
    """Ours; a language model's first tokens are sinks of attention."""


def _stories(n: int, seed: int, held_out: bool) -> Any:
    del held_out  # never told twice
    return list(stories(n, seed=seed).texts)


def _scenes(n: int, seed: int, held_out: bool) -> Any:
    return scenes(n, seed=seed, split="test" if held_out else "train").images


def _sounds(n: int, seed: int, held_out: bool) -> Any:
    del held_out
    return sounds(n, seed=seed)


def _sums(n: int, seed: int, held_out: bool) -> Any:
    """Draw sums of which half of the places hand a carry on, the highest one empty."""
    del held_out
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, 10, (2, n, 16))
    second = np.where(generator.random((n, 16)) < 0.5, 9 - first, second)
    first[:, -1] = second[:, -1] = 0
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return [" ".join(f"{a}+{b}" for a, b in zip(*one, strict=True)) for one in pairs]


def _rows_of(task: str) -> Draw:
    def draw(n: int, seed: int, held_out: bool) -> Any:
        return TASKS[task].draw(n, np.random.default_rng(seed), held_out).ids

    return draw


PLANS = {
    "tiny-audio": _Plan(draw=_sounds, sae="tiny-audio/resid_post.4"),
    "tiny-brackets": _Plan(draw=_rows_of("tiny-brackets")),
    "tiny-gpt": _Plan(draw=_stories, sae="tiny-gpt/resid_post.3", skip_first=4),
    "tiny-induction": _Plan(draw=_rows_of("tiny-induction")),
    "tiny-looped": _Plan(draw=_sums),
    "tiny-vit": _Plan(draw=_scenes, sae="tiny-vit/resid_post.6"),
}
"""Models that get a lens. Variants of tiny-vit have none, and tiny-modular has one block."""


def make_lens(name: str, folder: Path) -> None:
    """Write the lens of a model: fp16 maps of all blocks but the last, with its score in `lens.json`."""
    model, plan = load_model(name), PLANS[name]
    lens = fit_lens(model, plan.draw(N_FIT, 101, False), skip_first=plan.skip_first)
    held_out = plan.draw(N_HELD_OUT, 202, True)
    layer = None if plan.sae else (lens.n_layers - 1) // 2
    measured = load_sae(plan.sae) if plan.sae else _differences(model, held_out, layer)
    found = lens.check(held_out, measured, layer, n_atoms=N_ATOMS)
    print(found)  # noqa: T201 - the recipe reports what it measured
    lens.with_score(found).save(folder, half=True)


def _differences(model: Any, inputs: Any, layer: int | None) -> Tensor:
    """Return differences between unlike states at places drawn at random: directions that occur."""
    x = capture(model, inputs, f"resid_post.{layer}", progress=False).x
    one, other = np.random.default_rng(0).permutation(len(x) // 2 * 2).reshape(2, -1)
    found = x[one] - x[other]
    size = found.norm(dim=1)
    return found[size > 0.5 * size.median()][:N_ATOMS]


def main(arguments: Sequence[str]) -> None:
    """Read the command line: `lens NAME --out DIR`."""
    parser = argparse.ArgumentParser(prog="python -m sae_nb.pretrained.making lens")
    parser.add_argument("name", choices=sorted(PLANS))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    make_lens(given.name, given.out)
