"""A penalty on atoms in fine-tuning, compared with none and with one on random atoms: what is then written?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import sae_nb as sn

if TYPE_CHECKING:
    from pandas import DataFrame

MODEL, PLACE = "tiny-gpt", "resid_post.3"
PER_STEP, N_LIKE, N_HELD_OUT, N_TOKENS = 16, 40, 40, 30
BEFORE, PLAIN, CHOSEN, RANDOM = "before", "no price", "chosen atoms", "random atoms"


@dataclass(frozen=True, kw_only=True, eq=False)
class PenaltyStudy:
    """Texts and losses of tiny-gpt fine-tuned with penalties on different atoms; made by `study_penalty`."""

    table: DataFrame
    """A row per fine-tuning: atoms (that are penalised), sad (share of the sentences written), excess (of
    the chosen atoms, mean over tokens of unseen sad stories: the quantity that is penalised), glad_loss and
    sad_loss (nats per token of unseen stories)."""

    texts: Mapping[str, tuple[str, ...]]
    """Texts that each version wrote."""

    def of(self, atoms: str, number: str) -> float:
        """Return a number of one fine-tuning.

        Parameters
        ----------
        atoms
            The fine-tuning, as named in the table.
        number
            A column of the table.
        """
        return float(self.table.set_index("atoms").at[atoms, number])


def study_penalty(
    sae: sn.SparseAutoencoder,
    atoms: Sequence[int],
    sad_words: str,
    *,
    steps: int = 20,
    weight: float = 0.05,
    n_written: int = 40,
    seed: int = 0,
) -> PenaltyStudy:
    """Fine-tune tiny-gpt on stories, with and without a penalty on atoms, and let each version write.

    Parameters
    ----------
    sae
        Of `resid_post.3` of tiny-gpt.
    atoms
        Atoms that are penalised.
    sad_words
        A regular expression that matches in sad sentences.
    steps
        Of AdamW, on 16 stories each; the same stories for every version.
    weight
        Of the penalty. The atoms' strength on glad stories is free.
    n_written
        Texts that each version writes.
    seed
        Of the stories, the random atoms and the sampling.
    """
    import pandas as pd

    stories = sn.data.stories(PER_STEP * steps, seed=30_000 + seed)
    sides = _sides(stories, N_LIKE)
    unseen = _sides(sn.data.stories(4 * N_HELD_OUT, seed=40_000 + seed), N_HELD_OUT)
    others = np.setdiff1d(np.arange(sae.n_atoms), atoms)
    random = np.random.default_rng(seed).choice(others, len(atoms), replace=False).tolist()
    priced = {BEFORE: None, PLAIN: [], CHOSEN: list(atoms), RANDOM: random}
    rows, texts = [], {}
    for name, some in priced.items():
        model = sn.load_model(MODEL)  # a fresh one: it is changed in place
        if some is not None:
            _fine_tune(model, sae, some, stories.texts, sides["glad"], steps, weight)
        written = _written(model, n_written, seed)
        texts[name] = written
        row = {"atoms": name, "sad": _share(written, sad_words)}
        rows.append(row | _measured(model, sae, list(atoms), unseen, sides["glad"]))
    return PenaltyStudy(table=pd.DataFrame(rows), texts=texts)


def _sides(stories: Any, n: int) -> dict[str, list[str]]:
    """Return the first n sad and glad stories."""
    sides: dict[str, list[str]] = {"sad": [], "glad": []}
    for text, glad in zip(stories.texts, stories.sentiment.tolist()):
        sides["glad" if glad else "sad"].append(text)
    return {name: texts[:n] for name, texts in sides.items()}


def _fine_tune(
    model: sn.LiveModel,
    sae: sn.SparseAutoencoder,
    atoms: list[int],
    texts: Sequence[str],
    like: list[str],
    steps: int,
    weight: float,
) -> None:
    """Train the model's weights by AdamW, in place."""
    optimiser = torch.optim.AdamW(model.module.parameters(), lr=3e-4)
    priced = atoms and sn.uses.penalty(model, sae, atoms, PLACE, weight=weight, like=like)
    with priced or nullcontext() as term:
        for step in range(steps):
            loss, real = _loss_of(model, texts[step * PER_STEP : (step + 1) * PER_STEP])
            total = loss if term is None else loss + term(real)
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


@torch.no_grad()
def _measured(
    model: sn.LiveModel,
    sae: sn.SparseAutoencoder,
    atoms: list[int],
    unseen: Mapping[str, list[str]],
    like: list[str],
) -> dict[str, float]:
    """Measure the losses of both sides, and the atoms' excess on the sad one."""
    with sn.uses.penalty(model, sae, atoms, PLACE, like=like) as term:
        sad_loss, real = _loss_of(model, unseen["sad"])
        excess = term(real)
    glad_loss, _ = _loss_of(model, unseen["glad"])
    losses = {"glad_loss": glad_loss.item(), "sad_loss": sad_loss.item()}
    return {"excess": excess.item()} | losses


def _loss_of(
    model: sn.LiveModel, texts: Sequence[str]
) -> tuple[Float[Tensor, ""], Bool[Tensor, "n time"]]:
    """Return nats per token, and the mask of places that are tokens."""
    (batch,) = model.batches(list(texts), batch_size=len(texts))
    ids = cast(Tensor, batch.token_ids)
    real = torch.ones_like(ids, dtype=torch.bool) if batch.keep is None else batch.keep
    logits = model.module(ids, attention_mask=real.long()).logits
    on = batch.has_next()
    return torch.nn.functional.cross_entropy(logits[:, :-1][on], ids[:, 1:][on]), real


def _written(model: sn.LiveModel, n: int, seed: int) -> tuple[str, ...]:
    """Continue first sentences of stories, which are neither sad nor glad."""
    firsts = [text.split(".")[0] + "." for text in sn.data.stories(n, seed=50_000 + seed).texts]
    return tuple(model.generate(firsts, N_TOKENS, temperature=1.0, seed=seed, echo=False))


def _share(texts: Sequence[str], words: str) -> float:
    """Return the share of the complete sentences that contain some words."""
    sentences = [part for text in texts for part in text.split(".")[:-1]]
    found = [re.search(words, part, re.IGNORECASE) is not None for part in sentences]
    return float(np.mean(found)) if found else float("nan")
