"""Heads of the published story on names, or on letters: who is there, and what the answer needs of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

import sae_nb as sn
from sae_nb_studies.reproductions.experiments.name_heads import (
    KINDS,
    Head,
    Pair,
    kinds_of,
    pairs_of,
    shares,
)

N_PAIRS = 6


class Story(NamedTuple):
    """A model with its pairs of texts, and the heads of each kind."""

    model: Any
    pairs: list[Pair]
    kinds: dict[str, list[Head]]

    @property
    def table(self) -> pd.DataFrame:
        """The heads of each kind."""
        rows = {
            KINDS[kind]: ", ".join(f"{layer}.{head}" for layer, head in self.kinds[kind])
            for kind in KINDS
            if kind in self.kinds
        }
        return pd.DataFrame({"heads": rows})


def story(seed: int = 0) -> Story:
    """Return SmolLM2-135M with pairs of names where it was fetched, else tiny-induction with letters."""
    try:
        model, kind = sn.load_model("smollm2-135m"), "indirect_objects"
    except FileNotFoundError:
        model, kind = sn.load_model("tiny-induction"), "induction"
    pairs = pairs_of(model, kind, N_PAIRS, seed)
    return Story(model, pairs, kinds_of(model, pairs))


def exchanged(one: Story, n_random: int = 3) -> pd.DataFrame:
    """Return what each kind brings when it is exchanged, next to as many other heads of the same layers."""
    found = shares(one.model, one.pairs, one.kinds, n_random=n_random, seed=0)
    table = pd.DataFrame(found, index=["heads", "share", "others", "most"]).T
    names = {kind: says.partition(":")[0] for kind, says in KINDS.items()}
    names |= {"needed": "all of these", "enough": "all of these, put into the other run"}
    order = [kind for kind in names if kind in found]
    return table.loc[order].rename(index=names).astype({"heads": int})
