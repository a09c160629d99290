"""Atoms of tiny-gpt as knobs: pushed in a few texts, and foretold."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sae_nb as sn
from sae_nb.figures import Chart, Points
from sae_nb.steering import Answers

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from sae_nb.steering import Forecast

NAME = "tiny-gpt/resid_post.3"
TOKENS, N_TEXTS = 24, 8


class Knobs(NamedTuple):
    """A model, its SAE, and texts with their next word as it is."""

    model: Any
    sae: Any
    answers: Answers

    def pushed(self, atom: int, by: float) -> Float[Tensor, "n words"]:
        """Return the logits of the next word with `by` unit atoms added at every position."""
        row = self.sae.dictionary[atom].detach()
        return self.answers.add(row / row.norm(), by)

    def kl(self, atom: int, by: float) -> float:
        """Return KL(clean‖pushed) in nats, the mean over the texts."""
        return float(self.answers.kl(self.pushed(atom, by)).mean())


def knobs() -> Knobs:
    """Return tiny-gpt and its SAE with the beginnings of eight texts."""
    model = sn.load_model(NAME.split("/")[0])
    texts = [model.tokenizer(text)["input_ids"][:TOKENS] for text in sn.data.prose("test").texts]
    texts = [text for text in texts if len(text) == TOKENS][:N_TEXTS]
    return Knobs(model, sn.load_sae(NAME), Answers(model, texts, NAME.split("/")[1]))


@cache
def told() -> Forecast:
    """Return the forecast for the atoms of tiny-gpt: a hundred are pushed in twelve texts."""
    return sn.forecast(sn.load_model(NAME.split("/")[0]), sn.load_sae(NAME), progress=False)


def length_chart(found: Forecast) -> Chart:
    """Draw how alike the effects of pushed atoms are, by the length of the push, beside random directions."""
    came = found.table.dropna(subset="came_stability")
    ends, random = [came["p99"].min(), came["p99"].max()], found.fits.loc["stability", "random"]
    series = (
        Points(name="an atom", x=came["p99"], y=came["came_stability"]),
        Points(name="random directions, mean", x=ends, y=[random] * 2, control=True, line=True),
    )
    return Chart(series=series, x="length of the push: p99", y="stability", marks=True, height=320)
