"""Ranks: the place of a model's answer among all outputs after each block, in its text and in others."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sae_nb.checks import checked
from sae_nb.findings import Finding, column
from sae_nb.lenses._head import Head, head_of
from sae_nb.lenses._rows import point_of, rows_of

if TYPE_CHECKING:
    from torch import Tensor

    from sae_nb.models import LiveModel

OPENINGS = (
    "The train to the city leaves at",
    "My sister bought a new",
    "In the morning the farmer went to the",
    "The book on the table was written by",
    "After the game the players were",
    "He opened the door and saw a",
    "The price of oil rose by",
    "Once upon a time there was a",
    "She put the letter into the",
    "The first president of the country was",
    "To bake bread you need flour and",
    "The car stopped in front of the",
    "They live in a small house near the",
    "The teacher asked the class a",
    "On Sunday we went to the",
    "The company said that it would",
    "A bird sat on the",
    "The river runs through the",
    "He has been working here for",
)
"""Beginnings of texts that have nothing to do with one another: what an answer is compared with."""


class AnswerRanks(Finding):
    """The place of a model's answer among all its outputs, block by block; made by `answer_ranks`.

    States after each block are read as if it were the last one: the logit lens.
    """

    HEADLINE = "“{answer}”: ahead of {n_others} other texts from block {ahead_from}, on top from {leads_from}"

    answer: str
    """The output that the model has on top after its last block, as the tokenizer writes it."""

    probability: float
    n_outputs: int
    rank: Int[np.ndarray, " blocks"] = field(metadata=column("rank"))
    """Place of the answer after each block; 1 is the top."""

    others: Int[np.ndarray, "texts blocks"]
    """Place of the same output after the last token of each other text."""

    top: tuple[str, ...] = field(metadata=column("top"))
    """The output on top after each block."""

    @property
    def n_others(self) -> int:
        """Number of other texts."""
        return len(self.others)

    @property
    def ahead(self) -> Bool[np.ndarray, " blocks"]:
        """Whether the answer is nearer to the top than in each of the other texts."""
        return np.asarray(self.rank < self.others.min(axis=0))

    @property
    def ahead_from(self) -> int:
        """First block from which the answer is ahead to the last one; −1: it is not after the last."""
        return _from(self.ahead)

    @property
    def leads_from(self) -> int:
        """First block from which the answer is on top to the last one."""
        return _from(self.rank == 1)


def _from(holds: Bool[np.ndarray, " blocks"]) -> int:
    """Return the first place from which something holds to the end; −1 where it does not at the end."""
    lasts = np.logical_and.accumulate(holds[::-1])[::-1]
    return int(lasts.argmax()) if lasts.any() else -1


@checked(leave=("model",))
def answer_ranks(model: LiveModel, text: str, place: int = -1) -> AnswerRanks:
    """Return the place of the model's next token after each block, and in nineteen other texts.

    Parameters
    ----------
    model
        A model that goes on with a text.
    place
        Token of the text after which the answer is asked; −1: the last.

    Raises
    ------
    ValueError: If the model reads no texts from left to right, or the text has no such token.

    Source
    ------
    The logit lens: nostalgebraist (2020); the other texts are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> found = answer_ranks(sn.load_model("tiny-gpt"), "One day Tom went to the")
    >>> found.rank.shape, found.others.shape, int(found.rank[-1])
    ((4,), (19, 4), 1)
    """
    if not (model.modality.is_text and model.causal):
        raise ValueError(
            f"`model` must go on with texts, got {model.name}, which is {model.kind}. Use lens.read(inputs)."
        )
    with torch.no_grad():
        return _ranks(model, text, place)


def _ranks(model: LiveModel, text: str, place: int) -> AnswerRanks:
    head = head_of(model, next(iter(model.batches([text]))))
    states, _ = _states(head, [text])
    if not -states.shape[1] <= place < states.shape[1]:
        raise ValueError(
            f"`place` must be one of {states.shape[1]} tokens of the text, got {place}."
        )
    elsewhere, sample = _states(head, list(OPENINGS))
    ends = torch.tensor([int((sample == i).nonzero().max()) for i in range(len(OPENINGS))])
    here = head.logits(states[:, place].to(head.device)).cpu()
    answer = int(here[-1].argmax())
    others = torch.stack(
        [_rank(head.logits(x[ends].to(head.device)), answer) for x in elsewhere], dim=1
    )
    tops = here.argmax(dim=-1).tolist()
    names = head.names({*tops, answer})
    return AnswerRanks(
        answer=names[answer],
        probability=float(here[-1].softmax(dim=-1)[answer]),
        n_outputs=head.n_outputs,
        rank=_rank(here, answer).numpy(),
        others=others.numpy(),
        top=tuple(names[one] for one in tops),
    )


def _states(
    head: Head, texts: list[str]
) -> tuple[Float[Tensor, "blocks rows d"], Int[Tensor, " rows"]]:
    """Return the states after every block at every token, and the number of each row's text."""
    points = [point_of(block) for block in range(int(head.model.n_layers or 0) - 1)]
    rows = rows_of(head, texts, points, skip_first=None)
    return torch.cat([rows.states, rows.last[None]]), rows.sample


def _rank(logits: Float[Tensor, "rows n_outputs"], output: int) -> Int[Tensor, " rows"]:
    return (1 + (logits > logits[:, output, None]).sum(dim=-1)).cpu()
