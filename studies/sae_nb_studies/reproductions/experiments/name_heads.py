"""Which heads of a published story are there in another model, and does the answer need them? SmolLM2-135M, names.

Wang et al. describe, in GPT-2 small, which heads find the name that is not repeated. Each kind of head is known by where
it looks. Heads that look there in SmolLM2 are taken together, and what they write is exchanged for what they write in the
corrupted run, where the other name is repeated: the share of the answer's change that this brings. The control exchanges as
many other heads of the same layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.circuits import part_places
from sae_nb.models import attention_patterns, run as run_model

SHORT = {"model": "tiny-induction", "kind": "induction", "n_random": 2}
KINDS = {
    "movers": "name movers: from the end to the right answer",
    "inhibition": "S-inhibition: from the end to the name that comes again",
    "induction": "induction: from the second mention to what followed the first",
    "duplicate": "duplicate tokens: from the second mention to the first",
    "previous": "previous token: from what followed the first mention back to it",
}
"""Kinds of heads of the story, and where each looks."""

LOOKS = 0.4
"""Mean attention from which a head counts as looking somewhere."""

Head = tuple[int, int]


class Pair(NamedTuple):
    """A pair of texts, and where in them the heads of each kind look."""

    clean: str
    corrupted: str
    target: int
    other: int
    """Tokens of the right answer, and of that of the corrupted text."""

    places: dict[str, tuple[int, int]]
    """Kind of head → from which position it looks to which."""

    n_tokens: int


def pairs_of(model: Any, kind: str, n: int, seed: int) -> list[Pair]:
    """Draw pairs; on letters the token that comes again is the last one, so that fewer kinds can be told apart."""
    found = []
    drawn = sn.data.prompt_pairs(kind, n, seed=seed, model=model)  # type: ignore[arg-type]
    for clean, corrupted, answers in zip(drawn.clean, drawn.corrupted, drawn.answers, strict=True):
        tokens = model.tokenizer(clean)["input_ids"]
        right, wrong = (model.tokenizer(one)["input_ids"][-1] for one in answers)
        end = len(tokens) - 1
        again = wrong if kind == "indirect_objects" else tokens[-1]
        first, last = tokens.index(again), end - tokens[::-1].index(again)
        places = {"movers": (end, tokens.index(right)), "previous": (first + 1, first)}
        if last != end:
            places |= {
                "inhibition": (end, last),
                "duplicate": (last, first),
                "induction": (last, first + 1),
            }
        found.append(Pair(clean, corrupted, right, wrong, places, len(tokens)))
    return found


def _batches(model: Any, pairs: Sequence[Pair]) -> Iterator[tuple[list[Pair], list[Any]]]:
    """Return pairs of equal length together, with their clean and their corrupted batch."""
    for n in sorted({pair.n_tokens for pair in pairs}):
        some = [pair for pair in pairs if pair.n_tokens == n]
        texts = [pair.clean for pair in some], [pair.corrupted for pair in some]
        yield some, [next(iter(model.batches(one, batch_size=len(some)))) for one in texts]


def kinds_of(model: Any, pairs: Sequence[Pair], least: float = LOOKS) -> dict[str, list[Head]]:
    """Return the heads of each kind: those with this mean attention at least."""
    sums: dict[str, Tensor] = {}
    for some, (clean, _) in _batches(model, pairs):
        patterns = torch.stack(attention_patterns(model, clean))
        for i, pair in enumerate(some):
            for name, (place, source) in pair.places.items():
                seen = patterns[:, i, :, place, source] / len(pairs)
                sums[name] = sums.get(name, torch.zeros(())) + seen
    return {
        name: [(int(layer), int(head)) for layer, head in (mean >= least).nonzero()]
        for name, mean in sums.items()
    }


class Runs:
    """The clean and the corrupted runs of some pairs, and the answer where some heads write what they do in the other."""

    def __init__(self, model: Any, pairs: Sequence[Pair]) -> None:
        self.model, self.places = model, list(map(str, part_places(model, "head")))
        self.runs = [
            (some, both, [run_model(model, one, read=self.places).states for one in both])
            for some, both in _batches(model, pairs)
        ]
        self.clean, self.corrupted = (self._answer([], into) for into in (0, 1))

    def _answer(self, heads: Sequence[Head], into: int) -> float:
        """Mean logit of the clean answer less that of the corrupted one."""
        found = []
        for some, both, states in self.runs:
            put = {}
            for layer in {layer for layer, _ in heads}:
                chosen = [head for at, head in heads if at == layer]
                place = self.places[layer]
                put[place] = self._exchange(states[1 - into][place], chosen)
            logits = run_model(self.model, both[into], put=put).answer.at_end
            found += [
                float(row[pair.target] - row[pair.other])
                for pair, row in zip(some, logits, strict=True)
            ]
        return float(np.mean(found))

    def _exchange(self, other: Tensor, heads: list[int]) -> Any:
        def change(x: Tensor) -> Tensor:
            x = x.clone()
            split = (*x.shape[:-1], self.model.n_heads, -1)
            x.view(split)[..., heads, :] = other.to(x).view(split)[..., heads, :]
            return x

        return change

    def share(self, heads: Sequence[Head], into: int = 0) -> float:
        """Return the share of the change that these heads bring: put into the clean run (0), or the corrupted one (1)."""
        ends = self.clean, self.corrupted
        return (self._answer(heads, into) - ends[into]) / (ends[1 - into] - ends[into])

    def like(self, heads: Sequence[Head], rng: np.random.Generator) -> list[Head]:
        """Draw as many other heads of the same layers; where too few are left, all of these."""
        found = []
        for layer in sorted({layer for layer, _ in heads}):
            taken = {head for at, head in heads if at == layer}
            rest = [head for head in range(self.model.n_heads) if head not in taken]
            found += [(layer, int(head)) for head in rng.permutation(rest)[: len(taken)]]
        return found


@torch.no_grad()
def shares(
    model: Any, pairs: Sequence[Pair], kinds: dict[str, list[Head]], *, n_random: int, seed: int
) -> dict[str, tuple[int, float, float, float]]:
    """Measure what each kind of head brings, and all together, next to as many other heads of the same layers.

    Returns
    -------
    Number of heads, share, and of the random draws the mean and the largest, of each kind; of all together as "needed"; and
    as "enough" with what all write in the clean run put into the corrupted one. Without other heads there: NaN.
    """
    runs, rng = Runs(model, pairs), np.random.default_rng(seed)
    every = sorted({head for heads in kinds.values() for head in heads})
    asked = [*((name, heads, 0) for name, heads in kinds.items()), ("needed", every, 0)]
    found = {}
    for name, heads, into in [*asked, ("enough", every, 1)]:
        drawn = [like for _ in range(n_random) if (like := runs.like(heads, rng))]
        random = [runs.share(like, into) for like in drawn] or [np.nan]
        found[name] = len(heads), runs.share(heads, into), float(np.mean(random)), max(random)
    return found


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    kind: str = "indirect_objects",
    n: int = 6,
    n_random: int = 5,
) -> dict[str, float]:
    """Draw pairs, find the heads of each kind by where they look, and exchange what they write."""
    live = sn.load_model(model, "cpu")
    pairs = pairs_of(live, kind, n, seed)
    kinds = kinds_of(live, pairs)
    found = shares(live, pairs, kinds, n_random=n_random, seed=seed)
    numbers: dict[str, float] = {}
    for name in (*KINDS, "needed", "enough"):
        n_heads, share, mean, largest = found.get(name, (0, 0.0, 0.0, 0.0))
        numbers |= {
            f"{name}, heads": n_heads,
            name: share,
            f"{name}, random": 0.0 if np.isnan(mean) else mean,
            f"{name}, most of random": 0.0 if np.isnan(largest) else largest,
        }
    return numbers
