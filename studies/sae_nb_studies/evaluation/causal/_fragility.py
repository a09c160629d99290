"""Does steering survive small changes? Prefix, typo, paraphrase; other positions and strengths; sampling.

Every change is a variant. A cell is one input under one variant, its effect Δ = m(steered) − m(clean) in
log-odds of the target, and it holds if it exceeds the 95 % quantile of random directions in that cell.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import Count, Resamples, Seed, at_least, check_atom, checked
from sae_nb.evaluation import Measurement, Measurements, Resampling
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar
from sae_nb.statistics import Statistic
from sae_nb.steering import Answers, Cost, random_direction
from sae_nb.steering.edits import Where
from sae_nb_studies.evaluation.causal._target_odds import (
    MAX_SECONDS,
    TargetOdds,
    Targets,
    answers_to,
    nearest,
    prompts_of,
    quantile_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


# -------------------------------------------------------------------------------------------------
# Small changes of an input under which an effect should stay what it is.


Variant = Callable[[Any], Any]
"""All inputs → the same number of inputs, in the same order."""

PREFIXES = ("It was a quiet day.", "This is a story.")
"""Sentences without a target. Ours."""

SHIFT, NOISE, DIMMED = 2, 0.05, 0.7
"""Two of 32 pixels, a twentieth of full scale, seven tenths of the light. Ours."""


@checked
def text_variants(
    seed: Seed = 0,
    *,
    prefixes: Sequence[str] = PREFIXES,
    paraphrase: Callable[[str], str] | None = None,
) -> dict[str, Variant]:
    """Return changes of texts by name: prefix, typo, lower case, and a paraphrase if one is given.

    Each of `prefixes` is a sentence put before the text. `paraphrase` is a function of your own that
    rewords one text.

    Example
    -------
    >>> found = text_variants(prefixes=["So."])
    >>> found["prefix 1"](["A dog ran."]), found["lower case"](["A dog ran."])
    (['So. A dog ran.'], ['a dog ran.'])
    """

    def prefixed(prefix: str, texts: Sequence[str]) -> list[str]:
        return [f"{prefix} {text}" for text in texts]

    variants: dict[str, Variant] = {
        f"prefix {i}": partial(prefixed, prefix) for i, prefix in enumerate(prefixes, start=1)
    }
    variants["typo"] = lambda texts: [with_typo(text, seed + i) for i, text in enumerate(texts)]
    variants["lower case"] = lambda texts: [text[:1].lower() + text[1:] for text in texts]
    if paraphrase is not None:
        variants["paraphrase"] = lambda texts: [paraphrase(text) for text in texts]
    return variants


def with_typo(text: str, seed: int) -> str:
    """Return a text with two letters inside one of its longer words exchanged; never in the last word."""
    words = list(re.finditer(r"[A-Za-z]{4,}", text))
    last = len(text.rstrip().rsplit(" ", 1)[0])
    inside = [word for word in words if word.end() <= last]
    if not inside:
        return text
    chooser = random.Random(seed)  # noqa: S311 - chooses a word, guards no secret
    at = chooser.choice(inside).start() + 1
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


@checked
def picture_variants(seed: Seed = 0) -> dict[str, Variant]:
    """Return changes of images by name: shifted, noisy, darker, without colour.

    Example
    -------
    >>> sorted(picture_variants())
    ['darker', 'grey', 'noise', 'shifted']
    """

    def noise(x: Tensor, top: float) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return x + NOISE * top * torch.randn(x.shape, generator=generator)

    return {
        "shifted": lambda images: torch.roll(_pixels(images), (SHIFT, SHIFT), dims=(-2, -1)),
        "noise": partial(_pixelwise, noise),
        "darker": partial(_pixelwise, lambda x, _: x * DIMMED),
        "grey": partial(_pixelwise, lambda x, _: x.mean(dim=-3, keepdim=True).expand_as(x)),
    }


def _pixels(images: Any) -> Tensor:
    return torch.as_tensor(getattr(images, "images", images))


def _pixelwise(change: Callable[[Tensor, float], Tensor], images: Any) -> Tensor:
    """Change images on their own scale, bytes or floats, given its top."""
    x = _pixels(images)
    top = 1.0 if x.is_floating_point() else 255.0
    changed = change(x.float(), top).clamp(0, top)
    return changed.to(x.dtype) if x.is_floating_point() else changed.round().to(x.dtype)


def texts_of(runs: Answers, inputs: Any) -> list[str]:
    """Return inputs as texts, by way of the tokens that the model reads."""
    if isinstance(inputs, Sequence) and all(isinstance(text, str) for text in inputs):
        return list(inputs)
    decode = runs.model.tokenizer.decode
    return [str(decode(ids, skip_special_tokens=True)) for ids in prompts_of(runs)]


# -------------------------------------------------------------------------------------------------
# Does steering survive small changes? Prefix, typo, paraphrase; other positions and strengths; sampling.


FACTORS = (0.5, 2.0)
"""Of the strength: half and twice. Ours."""


class Fragility(Finding, Measurements[str]):
    """Effects of one edit under many variants; a mapping from name to `Measurement`."""

    HEADLINE = (
        "atom {atom} by {by:.3g} at {hook_point}: holds in {rows[robustness]:.0%} of "
        "{effects.size} cells, sign flips in {rows[sign flips]:.0%}, rank {neighbour_rank} of it "
        "and {neighbours.len} near atoms; {cost}"
    )

    hook_point: str
    atom: int
    by: float
    measure: str
    """Where, which, how much of the unit atom, and what is moved, in words."""

    variants: tuple[str, ...]
    kinds: tuple[str, ...]
    """Names, the first being the input as it is; each "input", "position" or "strength"."""

    effects: Float[np.ndarray, "variants n"]
    controls: Float[np.ndarray, "controls variants n"]
    """Change of the target's log-odds in every cell; the same for random directions of equal norm."""

    holds: Bool[np.ndarray, "variants n"]
    """Whether the effect, along its sign, exceeds the random directions' 95 % quantile in its cell."""

    neighbours: Float[np.ndarray, " neighbours"]
    """Mean effect of the nearest other atoms at equal norm, nearest first."""

    sampled: Float[np.ndarray, "temperatures seeds"]
    """Change of the share of continuations that hold the target; empty: nothing sampled."""

    rows: Mapping[str, Measurement]
    cost: Cost
    """"robustness", "sign flips" and "effect spread"; what it took."""

    @property
    def neighbour_rank(self) -> int:
        """1 if no near atom moves the target more; else its place among them."""
        mine = abs(self.effects[0].mean())
        return 1 + int((np.abs(self.neighbours) > mine).sum())

    @property
    def table(self) -> pd.DataFrame:
        """One row per variant, as pandas: effect, spread over inputs, cells that hold, random band."""
        import pandas as pd

        band = np.quantile(np.abs(self.controls.mean(axis=2)), 0.95, axis=0)
        return pd.DataFrame(
            {
                "kind": self.kinds,
                "effect": self.effects.mean(axis=1),
                "sd over inputs": self.effects.std(axis=1),
                "holds": self.holds.mean(axis=1),
                "random 95 %": band,
            },
            index=pd.Index(self.variants, name="variant"),
        )


@checked
def fragility_battery(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Any,
    atom: int,
    by: float,
    target: Targets,
    *,
    variants: Mapping[str, Variant] | None = None,
    positions: Where = None,
    other_positions: Sequence[Where] = (),
    factors: Sequence[float] = FACTORS,
    temperatures: Sequence[float] = (),
    sampling_seeds: Sequence[Seed] = (0, 1, 2),
    max_new_tokens: int = 12,
    n_neighbours: Annotated[int, at_least(0)] = 10,
    n_controls: Count = 8,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
    max_seconds: float | None = MAX_SECONDS,
    progress: bool = False,
) -> Fragility:
    """Measure how much an atom's effect depends on what should not matter.

    Parameters
    ----------
    model, hook_point, sae, atom, target, positions, max_seconds
        As for `steering_curves`.
    inputs, variants
        Texts or images; name → change of all of them, None: those that come with the kind of model.
    by
        Amount of the unit atom; choose it with `calibrate_strength`.
    other_positions, factors
        Other positions, and factors of the strength, that are tried too.
    temperatures, sampling_seeds, max_new_tokens
        Of sampled continuations (language), of that length: does the target come more often? Without
        temperatures nothing is sampled.
    n_neighbours, n_controls
        Nearest atoms, for the rank of the intended one; random directions of equal norm, in every cell.

    Raises
    ------
    ValueError: If it would take longer than `max_seconds`.

    Source
    ------
    That steering hangs on layer, magnitude and context, and is confused by near atoms: arXiv 2601.03047.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b", "c"])
    >>> sae = sn.TopK(d_in=3, n_atoms=4, k=1, generator=torch.Generator().manual_seed(0))
    >>> found = fragility_battery(model, "0", sae, torch.zeros(2, 3), 0, 2.0, 1)
    >>> found.variants, found["sign flips"].value
    (('as it is', 'strength × 0.5', 'strength × 2'), 0.0)
    """
    resampling = Resampling(n_bootstrap, seed)
    atom = check_atom(atom, sae.n_atoms)
    _check_edit(model, by, temperatures)
    odds = TargetOdds(answers_to(model, inputs, hook_point, sae, positions), target)
    first = _Cell("as it is", "input", odds, float(by))
    cells = [first, *_inputs_changed(first, inputs, variants, target, seed)]
    cells += _positions_changed(first, model, inputs, hook_point, other_positions, target)
    cells += [_Cell(f"strength × {f:g}", "strength", odds, by * f) for f in factors]
    unit = torch.nn.functional.normalize(sae.dictionary.detach().float().cpu(), dim=1)
    near = [unit[j] for j in nearest(unit, atom, n_neighbours)]
    drawn = [random_direction(sae.d_in, seed + i) for i in range(n_controls)]
    odds.runs.check_cost(
        len(cells) * (n_controls + 2) + len(near), max_seconds, "fragility_battery"
    )
    shifts = _shifts(cells, [unit[atom], *drawn], progress)
    neighbours = _shifts([first], near, False)[:, 0].mean(axis=1)
    sampled = _sampled(first, unit[atom], temperatures, sampling_seeds, max_new_tokens)
    effects, controls = shifts[0], shifts[1:]
    holds = _holds(effects, controls)
    every = {id(cell.odds): cell.odds.runs for cell in cells}.values()
    return Fragility(
        hook_point=str(model.hook_point(hook_point)),
        atom=atom,
        by=float(by),
        measure=odds.words,
        variants=tuple(cell.name for cell in cells),
        kinds=tuple(cell.kind for cell in cells),
        effects=effects,
        controls=controls,
        holds=holds,
        neighbours=neighbours,
        sampled=sampled,
        rows=_rows(effects, controls, holds, resampling),
        cost=Cost(n_runs=sum(runs.n_runs for runs in every), seconds=odds.runs.cost.seconds),
    )


def _check_edit(model: LiveModel, by: float, temperatures: Sequence[float]) -> None:
    if temperatures and (not model.modality.is_text or not model.causal):
        raise ValueError(
            f"`temperatures` need a causal language model, got {model.name} ({model.kind}). Leave them "
            "out."
        )
    if not np.isfinite(by) or by == 0:
        raise ValueError(f"`by` must be finite and not 0, got {by}. See `calibrate_strength`.")


def _positions_changed(
    first: _Cell,
    model: LiveModel,
    inputs: Any,
    hook_point: str,
    positions: Sequence[Where],
    target: Targets,
) -> Iterator[_Cell]:
    """The same edit at other positions."""
    for where in positions:
        other = Answers(model, inputs, hook_point, positions=where, scored=True)
        name = f"positions {'all' if where is None else where}"
        yield replace(first, name=name, kind="position", odds=TargetOdds(other, target))


def _holds(
    effects: Float[np.ndarray, "variants n"], controls: Float[np.ndarray, "c variants n"]
) -> Bool[np.ndarray, "variants n"]:
    """Return where the effect exceeds that of 95 % of random directions."""
    # Along the sign of the effect as it is: a variant that turns it around does not hold.
    sign = 1.0 if effects[0].mean() >= 0 else -1.0
    return np.asarray(sign * effects > np.quantile(sign * controls, 0.95, axis=0))


@dataclass(frozen=True)
class _Cell:
    """One variant, ready to be run."""

    name: str
    kind: str
    odds: TargetOdds
    by: float


def _shifts(
    cells: Sequence[_Cell], directions: Sequence[Tensor], progress: bool
) -> Float[np.ndarray, "directions cells n"]:
    """Change of the target's log-odds, input by input, under each direction."""
    shifts = np.zeros((len(directions), len(cells), cells[0].odds.runs.n))
    with progress_bar(len(cells), "fragility", "variant", enabled=progress) as bar:
        for i, cell in enumerate(cells):
            for j, direction in enumerate(directions):
                shifts[j, i] = cell.odds.added(direction, cell.by)
            bar.update()
    return shifts


def _inputs_changed(
    cell: _Cell, inputs: Any, variants: Mapping[str, Variant] | None, target: Targets, seed: int
) -> Iterator[_Cell]:
    """Every variant of the inputs, which are changed here and nowhere else."""
    runs = cell.odds.runs
    model = runs.model
    # Without a tokenizer there are no texts to reword: token ids go in as they are.
    reads_texts = model.modality.is_text and model.tokenizer is not None
    if variants is None:
        images = model.modality.is_image
        variants = text_variants(seed) if reads_texts else picture_variants(seed) if images else {}
    originals = texts_of(runs, inputs) if reads_texts and variants else inputs
    for name, change in variants.items():
        changed, where = change(originals), runs.positions
        other = Answers(model, changed, runs.hook_point, positions=where, scored=True)
        if other.n != runs.n:
            raise ValueError(
                f"`variants` must return the same number of inputs as they get, {runs.n}, and {name!r} "
                f"returned {other.n}."
            )
        yield replace(cell, name=name, odds=TargetOdds(other, target))


def _rows(
    effects: Float[np.ndarray, "variants n"],
    controls: Float[np.ndarray, "controls variants n"],
    holds: Bool[np.ndarray, "variants n"],
    resampling: Resampling,
) -> dict[str, Measurement]:
    """Inputs are resampled: cells of one input are correlated."""
    sign = 1.0 if effects.mean() >= 0 else -1.0
    v, n = effects.shape
    held, turned, spread = holds.sum(axis=0), (sign * effects < 0).sum(axis=0), effects.std(axis=0)
    columns = (held, turned, np.full(n, v), spread * v, effects.sum(axis=0))
    means = controls.mean(axis=(1, 2))
    turns = (np.sign(controls) != np.sign(means)[:, None, None]).mean(axis=(1, 2))
    spreads = controls.std(axis=1).mean(axis=1) / np.maximum(np.abs(means), 1e-12)
    statistics: dict[str, Statistic] = {
        "robustness": lambda s: s[:, 0] / s[:, 2],
        "sign flips": lambda s: s[:, 1] / s[:, 2],
        # Effects that cancel have no spread: infinite or undefined.
        "effect spread": lambda s: s[:, 3] / np.abs(s[:, 4]),
    }
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "robustness": ("steering_robustness", {"floor": 0.05}),
        "sign flips": ("sign_flips", {"floor": 0.5, "control": quantile_of(turns, 0.5)}),
        "effect spread": ("effect_spread", {"control": quantile_of(spreads, 0.5)}),
    }
    estimates = resampling.estimates(np.stack(columns, axis=1).astype(np.float64), statistics)
    return {
        name: Measurement.measured(
            known[name][0], value, **known[name][1], interval=interval, n=n, unit="samples"
        )
        for name, (value, interval) in estimates.items()
    }


def _sampled(
    cell: _Cell,
    direction: Float[Tensor, " d_in"],
    temperatures: Sequence[float],
    seeds: Sequence[int],
    length: int,
) -> Float[np.ndarray, "temperatures seeds"]:
    """Change of the share of continuations with a target token, for each temperature and seed."""
    if not temperatures:
        return np.zeros((0, 0))
    runs, ids = cell.odds.runs, cell.odds.ids
    prompts = prompts_of(runs)
    # The same targets for every text, or each text's own top answer.
    targets = [torch.tensor(ids)] * runs.n if isinstance(ids, tuple) else list(ids.cpu()[:, None])

    def share(temperature: float, seed: int) -> float:
        how: Any = {"seed": seed, "return_ids": True, "echo": False}
        new: Any = runs.model.generate(prompts, length, temperature, **how)
        hits = [bool(torch.isin(text, some).any()) for text, some in zip(new, targets, strict=True)]
        return float(np.mean(hits))

    changes = np.zeros((len(temperatures), len(seeds)))
    for (i, temperature), (j, seed) in product(enumerate(temperatures), enumerate(seeds)):
        with runs.model.lock:
            clean = share(temperature, seed)
            with runs.adding(direction, cell.by):
                changes[i, j] = share(temperature, seed) - clean
    return changes
