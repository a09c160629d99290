"""The effect of an atom in the live model: its outcome, at a cost that random directions pay too.

Each direction is added as much as changes the answers by the same divergence. Its outcome, the one that it
raises most, is found on every second input and measured on the others: a direction that pushes the same answer
everywhere keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.atoms import effects_of
from sae_nb.models import PrefixCache, outcome_names
from sae_nb.progress import progress_bar
from sae_nb.steering import Answers, StrengthSearch, random_direction

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

KL = 0.1
"""Divergence in nats that every direction costs. snmf-mlp-decomposition, one of its list."""

N_INPUTS, N_RANDOM, MOST_RUNS, SHOWN = 12, 8, 12, 10
"""Inputs, random directions, runs of a search for the strength, and outcomes of a lens that count as a hit."""

MOST_TOKENS = 128
"""Of a text, from its start: whole documents are long. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Doing:
    """Effects of some atoms, and of random directions at the same cost."""

    effect: dict[int, float]
    """Mean change of the outcome's log-probability on the held-out inputs, by atom; NaN where the divergence is
    not reached."""

    outcome: dict[int, str]
    hit: dict[int, bool]
    """The outcome; whether the lens (without one: the direct path) names it among those it raises most."""

    random: Float[np.ndarray, " directions"]
    """The same change for random directions."""

    @property
    def steers(self) -> dict[int, bool]:
        """Atoms whose effect is above that of every random direction."""
        most = float(np.nanmax(self.random, initial=-np.inf))
        return {atom: bool(effect > most) for atom, effect in self.effect.items()}


def doing(
    sae: SparseAutoencoder,
    model: LiveModel,
    hook_point: str,
    atoms: Sequence[int],
    *,
    inputs: Any,
    lens: Lens | None,
    seed: int,
    progress: bool,
) -> Doing:
    """Measure some atoms and some random directions at one divergence."""
    answers = _Added(model, inputs, hook_point)
    effect, outcome, hit = {}, {}, {}
    with progress_bar(len(atoms) + N_RANDOM, "steering", "direction", enabled=progress) as bar:
        random = []
        for i in range(N_RANDOM):
            random.append(_effect(answers, random_direction(sae.d_in, seed + i))[0])
            bar.update()
        for atom in atoms:
            direction = normalize(sae.dictionary[atom].detach().float(), dim=0)
            effect[atom], found = _effect(answers, direction)
            outcome[atom] = outcome_names(model, [found])[0]
            named = effects_of(model, direction, lens=lens, hook_point=hook_point, n=SHOWN).up
            if named:
                hit[atom] = outcome[atom] in [name for name, _ in named]
            bar.update()
    return Doing(effect=effect, outcome=outcome, hit=hit, random=np.array(random))


def inputs_of(acts: Activations, seed: int) -> Any:
    """Return some of the samples that activations keep, as the model takes them; None if they keep none."""
    context, present = acts.context, np.unique(acts.sample.numpy())
    drawn = np.sort(np.random.default_rng(seed).permutation(present)[:N_INPUTS]).tolist()
    if context.token_ids is not None:
        texts = [context.token_ids.sample(i)[:MOST_TOKENS].tolist() for i in drawn]
        return [text for text in texts if len(text) > 1] or None
    if context.sounds is not None:
        return [context.sounds.sample(i) for i in drawn]
    return None if context.pictures is None else context.pictures[drawn]


class _Added:
    """Answers with a direction added at one place; what lies below it is computed once."""

    def __init__(self, model: LiveModel, inputs: Any, hook_point: str) -> None:
        self._model, self._below = model, PrefixCache(model, [model.hook_point(hook_point)])
        with model.lock, self._below.noted():
            self._answers = Answers(model, inputs, hook_point, batch_size=N_INPUTS, scored=True)
        self.clean, self.kl = self._answers.clean, self._answers.kl

    def add(self, direction: Float[Tensor, " d_in"], by: float) -> Float[Tensor, "n outcomes"]:
        """Return the answer to every input."""
        with self._model.lock, self._below.left_out():
            return self._answers.add(direction, by)


def _effect(answers: _Added, direction: Tensor) -> tuple[float, int]:
    search = StrengthSearch(lambda by: float(answers.kl(answers.add(direction, by)).mean()), KL)
    by = search.find(MOST_RUNS)
    change = answers.add(direction, by).log_softmax(dim=-1) - answers.clean.log_softmax(dim=-1)
    change = change.double()
    found = int(change[::2].mean(dim=0).argmax())
    held_out = float(change[1::2, found].mean())
    return (held_out if search.reached else float("nan")), found
