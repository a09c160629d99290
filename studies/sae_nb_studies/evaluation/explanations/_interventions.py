"""Intervention scoring: does an atom's name foretell what adding the atom makes the model say?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Inputs, Seed, checked
from sae_nb.findings import Finding
from sae_nb.labelling import content_words
from sae_nb.lenses import measured_effects
from sae_nb.steering import random_direction

if TYPE_CHECKING:
    from sae_nb.atoms import AtomCatalogue
    from sae_nb.models import LiveModel

FEWEST = 3
"""Names that are needed: each is told from the others."""


class InterventionScore(Finding):
    """How well names foretell what atoms write; made by `intervention_score`."""

    HEADLINE = (
        "{table.len} names: an atom raises the words of its own name more than those of {value:.0%} of the "
        "others (a random direction: {control:.0%})"
    )

    table: pd.DataFrame
    """A row per atom: atom, name, raised (mean change of its words' logits), score (share of the other names
    whose words it raises less; 0.5 is chance), control (the same of a random direction of its length)."""

    @property
    def value(self) -> float:
        """Mean score; 0.5 is chance."""
        return float(self.table["score"].mean())

    @property
    def control(self) -> float:
        """Mean score of random directions in the atoms' places."""
        return float(self.table["control"].mean())


@checked(leave=("labels",))
def intervention_score(
    catalogue: AtomCatalogue,
    model: LiveModel,
    labels: Mapping[int, str],
    inputs: Inputs,
    *,
    skip_first: Count = 1,
    seed: Seed = 0,
) -> InterventionScore:
    """Add each named atom to the running model, and ask which name's words the answer was moved to.

    An atom is added at its largest strength, at every token of `inputs` but the first ones. s(a, b) is the mean
    over the words of name b of the change of the next token's logit, for each word the most raised of its first
    tokens (as it is, capitalised, after a space). An atom's score is the share of the other names b with
    s(a, b) < s(a, a), ties counted half; names that share a word with its own are left out.

    Parameters
    ----------
    catalogue
        Atoms, their largest strengths, and the hook point.
    labels
        A name for each atom that is scored; those that name no word are left out.
    inputs
        Neutral beginnings of texts.
    skip_first
        Tokens of each to which nothing is added.
    seed
        Of the random directions.

    Raises
    ------
    TypeError: If the model has no tokenizer.
    ValueError: If fewer than three names have words.

    Source
    ------
    Paulo, Mallen, Juang and Belrose, "Automatically interpreting millions of features in large language
    models", arXiv 2410.13928: names are scored by what interventions on a feature do (the abstract). There a
    language model judges; the rule here, which reads the name's own words off the logits, is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> store = sn.load_examples("tiny-gpt/resid_post.3")
    >>> names = {3: "fox", 4: "winter", 5: "library"}
    >>> found = intervention_score(store.catalogue(sae), gpt, names, ["Once there was a"])
    >>> list(found.table.columns)
    ['atom', 'name', 'raised', 'score', 'control']
    """
    if model.tokenizer is None:
        raise TypeError(
            f"`model` must have a tokenizer to look words up, got {model.name}. Pass a language model."
        )
    words = {int(a): sorted(content_words(str(name))) for a, name in labels.items()}
    ids = {a: [_first_tokens(model.tokenizer, w) for w in of] for a, of in words.items() if of}
    if len(ids) < FEWEST:
        raise ValueError(
            f"`labels` must name at least {FEWEST} atoms by words, got {len(ids)}: each is told from the "
            "others. Pass more."
        )
    atoms = list(ids)
    directions = catalogue.dictionary[atoms].detach().float().cpu()
    strengths = catalogue.max_strength[atoms].tolist()
    drawn = [random_direction(directions.shape[1], seed + i) for i in range(len(atoms))]
    random = torch.stack(drawn) * directions.norm(dim=1, keepdim=True)
    moved = [
        measured_effects(
            model, inputs, str(catalogue.acts.hook_point), rows, strengths, skip_first=skip_first
        )
        for rows in (directions, random)
    ]
    ours, control = (_raised(change - change.mean(dim=1, keepdim=True), ids) for change in moved)
    kept = np.array([[not set(words[a]) & set(words[b]) for b in atoms] for a in atoms])
    table = pd.DataFrame(
        {
            "atom": atoms,
            "name": [str(labels[a]) for a in atoms],
            "raised": np.diag(ours),
            "score": _scores(ours, kept),
            "control": _scores(control, kept),
        }
    )
    return InterventionScore(table=table)


def _first_tokens(tokenizer: Any, word: str) -> list[int]:
    """Return the first token of a word in each of its spellings."""
    spelled = [f"{space}{w}" for space in ("", " ") for w in (word, word.capitalize())]
    begun = (tokenizer.encode(text, add_special_tokens=False) for text in spelled)
    return sorted({int(found[0]) for found in begun if len(found)})


def _raised(
    change: Float[Tensor, "n vocabulary"], ids: Mapping[int, Sequence[Sequence[int]]]
) -> Float[np.ndarray, "n names"]:
    """Return the mean change of each name's words, of every direction."""
    columns = [
        torch.stack([change[:, list(tokens)].amax(dim=1) for tokens in of]).mean(dim=0)
        for of in ids.values()
    ]
    return torch.stack(columns, dim=1).double().numpy()


def _scores(
    raised: Float[np.ndarray, "n n"], kept: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, " n"]:
    own = np.diag(raised)[:, None]
    wins = (raised < own) + 0.5 * (raised == own)
    return np.array([row[keep].mean() if keep.any() else np.nan for row, keep in zip(wins, kept)])
