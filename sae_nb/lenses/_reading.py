"""Reading: the outputs on top at each layer and place, next to the model's own answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.findings import Finding
from sae_nb.lenses._head import Head
from sae_nb.lenses._rows import Rows, row_names

if TYPE_CHECKING:
    from pandas import DataFrame


def rows_at_once(head: Head) -> int:
    """Return how many rows' logits are held at once: 128, or as many as are 64 MiB. Ours."""
    return max(16, min(128, 2**24 // head.n_outputs))


Transport = Callable[[int, Tensor, Tensor], Tensor]
"""(layer, states (rows, d), kinds of place (rows,)) → states as the head reads them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """A lens's answer at rows of one layer, compared with the model's own."""

    top: Int[Tensor, "rows k"]
    probability: Float[Tensor, "rows k"]
    kl: Float[Tensor, " rows"]
    """KL(model ‖ lens), nats."""

    rank: Int[Tensor, " rows"]
    """Outputs that the lens has above the model's answer."""

    own: Int[Tensor, " rows"]
    own_probability: Float[Tensor, " rows"]
    """The model's answer, and its probability."""


@torch.no_grad()
def compare(head: Head, moved: Tensor, rows: Rows, *, k: int) -> Compared:
    """Compare what a head makes of moved states with the model's answer at the same rows."""
    return compare_all(head, [moved], rows, k=k)[0]


@torch.no_grad()
def compare_all(head: Head, moved: Sequence[Tensor], rows: Rows, *, k: int) -> list[Compared]:
    """Compare several states of the same rows; the model's own answer is made once."""
    device = head.device
    parts: list[list[tuple[Tensor, ...]]] = [[] for _ in moved]
    most = rows_at_once(head)
    for begin in range(0, len(rows), most):
        some = slice(begin, begin + most)
        own = head.log_probabilities(rows.last[some].to(device))
        share, answer = own.exp(), own.argmax(dim=1)
        likely = share.amax(dim=1)
        certain = (share * own).sum(dim=1)
        # Few rows of several layers in one product: the unembedding is then read from memory once.
        at_once = most // len(own)
        for first in range(0, len(moved), at_once):
            x = torch.stack([one[some] for one in moved[first : first + at_once]]).to(device)
            seen = head.logits(x)
            total = seen.logsumexp(dim=-1)
            best = seen.topk(min(k, seen.shape[-1]), dim=-1)
            asked = answer.expand(len(x), -1)[..., None]
            rank = (seen > seen.gather(-1, asked)).sum(dim=-1)
            # Σ p (log p − log q), with log q = seen − total, without a matrix more of the vocabulary's size.
            kl = (certain - torch.einsum("rv,lrv->lr", share, seen) + total).clamp_min(0)
            probability = (best.values - total[..., None]).exp()
            for i, one in enumerate(zip(best.indices, probability, kl, rank, strict=True)):
                parts[first + i].append(tuple(value.cpu() for value in (*one, answer, likely)))
    names = ("top", "probability", "kl", "rank", "own", "own_probability")
    return [
        Compared(**dict(zip(names, map(torch.cat, zip(*one, strict=True)), strict=True)))
        for one in parts
    ]


class LensReading(Finding):
    """Outputs on top at each layer and place of inputs, and how far each is from the model's answer.

    A row is a place of a sample: a token of a text, or cls, a register or a patch of an image. The answer
    is that of the model at the same token; of an image, its class.
    """

    HEADLINE = (
        "{kind} lens of {model_name}: {tokens.len} places, {layers.len} layers; agrees {_agreed}"
    )

    kind: str
    model_name: str
    layers: tuple[int, ...]
    sample: np.ndarray
    position: np.ndarray
    """Input, and place in it, of each row."""

    tokens: tuple[str, ...]
    """Text of each row's token, or name of its place."""

    answer: np.ndarray
    answer_probability: np.ndarray
    """The model's own answer at each row, by id, and its probability."""

    top: np.ndarray
    top_probability: np.ndarray
    """(layers, rows, k): ids of the outputs on top, most probable first, and their probabilities."""

    kl: np.ndarray
    """(layers, rows): KL divergence of the lens from the model's answer, nats."""

    rank: np.ndarray
    """(layers, rows): outputs that the lens has above the model's answer; 0: it agrees."""

    names: Mapping[int, str]
    """Text of every id above."""

    @property
    def agrees(self) -> np.ndarray:
        """(layers, rows): whether the output on top is the model's own answer."""
        return np.asarray(self.top[:, :, 0] == self.answer)

    @property
    def agreement(self) -> np.ndarray:
        """Share of the rows in which each layer's top output is the model's own."""
        return np.asarray(self.agrees.mean(axis=1))

    @property
    def _agreed(self) -> str:
        """Agreement in words: of every layer; of many, the first's, the last's and the least."""
        shares = [f"{share:.2f}" for share in self.agreement.tolist()]
        if len(shares) <= MOST_LISTED:
            return ", ".join(shares)
        first, last = self.layers[0], self.layers[-1]
        return f"{shares[0]} at layer {first}, {shares[-1]} at layer {last}, at least {min(shares)}"

    @property
    def settles(self) -> np.ndarray:
        """(rows,): first layer from which the answer stays on top to the last one read; −1: none."""
        stays = np.logical_and.accumulate(self.agrees[::-1], axis=0)[::-1]
        layers = np.array(self.layers)
        return np.where(stays.any(axis=0), layers[stays.argmax(axis=0)], -1)

    @property
    def table(self) -> DataFrame:
        """One line per row and layer: `top` output, its probability, the answer, its rank, KL in nats."""
        import pandas as pd

        n = len(self.tokens)
        return pd.DataFrame(
            {
                "sample": np.tile(self.sample, len(self.layers)),
                "position": np.tile(self.position, len(self.layers)),
                "token": list(self.tokens) * len(self.layers),
                "layer": np.repeat(self.layers, n),
                "top": [self.names[i] for i in self.top[:, :, 0].ravel().tolist()],
                "probability": self.top_probability[:, :, 0].ravel(),
                "answer": [self.names[i] for i in self.answer.tolist()] * len(self.layers),
                "rank": self.rank.ravel(),
                "kl": self.kl.ravel(),
            }
        )

    @checked
    def grid(self, sample: int = 0) -> DataFrame:
        """Return the top output at each layer (index, last first) and place (columns) of one sample.

        Raises
        ------
        IndexError: If there is no such sample.
        """
        import pandas as pd

        here = np.flatnonzero(self.sample == sample)
        if not len(here):
            raise IndexError(
                f"`sample` must be one of the {len(set(self.sample.tolist()))} that were read, got {sample}."
            )
        rows = [[self.names[i] for i in layer] for layer in self.top[::-1, here, 0].tolist()]
        columns = [self.tokens[i] for i in here]
        return pd.DataFrame(rows, index=pd.Index(self.layers[::-1], name="layer"), columns=columns)

    @property
    def below(self) -> list[str | DataFrame]:
        """The grid of the first sample."""
        return [self.grid(int(self.sample[0]))] if len(self.sample) <= MOST_SHOWN else []


MOST_SHOWN, MOST_LISTED = 24, 16
"""Places of a sample that the printed grid shows at most; layers whose agreement is listed one by one."""


def reading_of(
    head: Head, kind: str, layers: tuple[int, ...], rows: Rows, found: Sequence[Compared]
) -> LensReading:
    """Return the reading of rows that were compared layer by layer."""
    any_, *_ = found  # the model's own answer is that of every layer
    top = torch.stack([one.top for one in found])
    ids = sorted({*top.flatten().tolist(), *any_.own.tolist()})
    return LensReading(
        kind=kind,
        model_name=head.model.name,
        layers=layers,
        sample=rows.sample.numpy(),
        position=rows.position.numpy(),
        tokens=row_names(head.model, rows),
        answer=any_.own.numpy(),
        answer_probability=any_.own_probability.numpy(),
        top=top.numpy(),
        top_probability=torch.stack([one.probability for one in found]).numpy(),
        kl=torch.stack([one.kl for one in found]).numpy(),
        rank=torch.stack([one.rank for one in found]).numpy(),
        names=head.names(ids),
    )
