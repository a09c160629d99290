"""Fit the Jacobian lens of a bundled model, score it on held-out inputs, write its folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.data import scenes, sounds, stories
from sae_nb.lenses import fit_lens
from sae_nb.models import load_model
from sae_nb.pretrained import load_sae
from sae_nb_studies.data.tasks import TASKS
from sae_nb_studies.recipes.saes._texts import mixed_texts

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

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

    n_fit: int = N_FIT
    n_held_out: int = N_HELD_OUT
    n_atoms: int = N_ATOMS
    layers: tuple[int, ...] | None = None
    context_length: int = 128
    """Inputs of the fit and of the score, and directions measured; blocks with a map, None: all but the
    last; tokens after which a text is cut."""


def _texts(folder: Path) -> Draw:
    def draw(n: int, seed: int, held_out: bool) -> Any:
        del seed  # they are in a random order that is fixed
        to_train, fresh = mixed_texts(folder)
        return (fresh if held_out else to_train)[:n]

    return draw


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


REAL = {"smollm2-135m": (16, (9, 16, 23)), "gemma-3-270m": (9, (9,))}
"""Fetched models: the block whose SAE a lens is scored on, and the blocks that get a map."""


def _plan_of(name: str, texts: Path | None) -> _Plan:
    if name in PLANS:
        return PLANS[name]
    judged, layers = REAL[name]
    if texts is None:
        raise ValueError(
            f"`texts` must be the folder of texts for the lens of {name}. Pass --texts."
        )
    return _Plan(
        draw=_texts(texts),
        sae=f"{name}/resid_post.{judged}",
        skip_first=4,
        n_fit=10,
        n_held_out=6,
        n_atoms=24,
        layers=layers,
        context_length=48,
    )


def make_lens(name: str, folder: Path, *, texts: Path | None = None) -> None:
    """Write the lens of a model: fp16 maps of its plan's blocks, with its score in `lens.json`."""
    model, plan = load_model(name), _plan_of(name, texts)
    lens = fit_lens(
        model,
        plan.draw(plan.n_fit, 101, False),
        layers=plan.layers,
        skip_first=plan.skip_first,
        context_length=plan.context_length,
    )
    held_out = plan.draw(plan.n_held_out, 202, True)
    layer = None if plan.sae else (lens.n_layers - 1) // 2
    measured = load_sae(plan.sae) if plan.sae else _differences(model, held_out, layer)
    found = lens.check(
        held_out, measured, layer, n_atoms=plan.n_atoms, context_length=plan.context_length
    )
    print(found)
    lens.with_score(found).save(folder, half=True)


def _differences(model: LiveModel, inputs: Any, layer: int | None) -> Tensor:
    """Return differences between unlike states at places drawn at random: directions that occur."""
    x = capture(model, inputs, f"resid_post.{layer}", progress=False).x
    one, other = np.random.default_rng(0).permutation(len(x) // 2 * 2).reshape(2, -1)
    found = x[one] - x[other]
    size = found.norm(dim=1)
    return found[size > 0.5 * size.median()][:N_ATOMS]


def main(arguments: Sequence[str]) -> None:
    """Read the command line: `lens NAME --out DIR`."""
    parser = argparse.ArgumentParser(prog="python -m sae_nb_studies.recipes.saes lens")
    parser.add_argument("name", choices=[*sorted(PLANS), *REAL])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help=f"of {' and '.join(REAL)}: folder of texts")
    given = parser.parse_args(arguments)
    make_lens(given.name, given.out, texts=given.texts)
