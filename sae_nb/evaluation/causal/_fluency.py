"""What steering does to a language model's language: nats per token of what it writes and reads.

Written: −log p_clean of the tokens that the steered model writes, judged by the model without steering.
Read: how much worse the steered model finds text that has nothing to do with the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.steering import Answers

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


N_GRAM = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Fluency:
    """Written and read, text by text."""

    written_by_text: Float[np.ndarray, " n"]
    """Nats per written token of each continuation, under the clean model; empty: nothing written."""

    read_by_text: Float[np.ndarray, " m"]
    """Nats per token of each neutral text, under steering; empty: nothing read."""

    repeated: float
    """Share of written 4-grams that were written before in the same text; NaN: nothing written."""

    @property
    def written(self) -> float:
        """Mean over texts; NaN if nothing was written."""
        return float(self.written_by_text.mean()) if len(self.written_by_text) else float("nan")

    @property
    def read(self) -> float:
        """Mean over texts; NaN if nothing was read."""
        return float(self.read_by_text.mean()) if len(self.read_by_text) else float("nan")


class Writing:
    """Lets a model write and read under one direction after another."""

    def __init__(
        self, runs: Answers, neutral: Sequence[str], max_new_tokens: int, seed: int
    ) -> None:
        self._runs, self._length, self._seed = runs, max_new_tokens, seed
        self._texts = [torch.tensor(runs.model.tokenizer(t)["input_ids"]) for t in neutral]
        self._prompts = prompts_of(runs)
        self.clean = self._measured(nullcontext)

    @classmethod
    def of(
        cls, runs: Answers, neutral: Sequence[str], max_new_tokens: int, seed: int
    ) -> Writing | None:
        """Return one, or None if nothing is to be written or read."""
        if not neutral and not max_new_tokens:
            return None
        if runs.model.kind != "language" or not runs.model.causal:
            raise ValueError(
                f"`neutral` and `max_new_tokens` need a causal language model, got {runs.model.name} "
                f"({runs.model.kind}). Leave them out."
            )
        if neutral and runs.model.tokenizer is None:
            raise ValueError(
                f"`neutral` texts need a tokenizer, and {runs.model.name} has none. Pass "
                "wrap(module, tokenizer=…), or leave them out."
            )
        return cls(runs, neutral, max_new_tokens, seed)

    def under(self, direction: Float[Tensor, " d_in"], by: float) -> Fluency:
        """Return what is written and read with a direction added."""
        return self._measured(partial(self._runs.adding, direction, by))

    def rows(
        self,
        atom: Sequence[Fluency],
        control: Sequence[Fluency],
        place: int,
        resampling: Resampling,
    ) -> dict[str, Measurement]:
        """Return the measurements at one budget."""
        worst, other = atom[place], control[place] if control else None
        found = {}
        if self._length:
            found["nats written"] = resampling.mean(
                "nats_written",
                worst.written_by_text,
                floor=self.clean.written,
                control=other.written if other else None,
            )
        if self._texts:
            found["nats read"] = resampling.mean(
                "nats_read",
                worst.read_by_text - self.clean.read_by_text,
                floor=0.0,
                control=other.read - self.clean.read if other else None,
            )
        return found

    def _measured(self, edit: Any) -> Fluency:
        model, written = self._runs.model, list[Tensor]()
        # The lock: a panel that runs the same model meanwhile must not be steered too.
        if self._length:
            with model.lock, edit():
                new = model.generate(
                    self._prompts, self._length, 1.0, seed=self._seed, return_ids=True, echo=False
                )
            written = cast(list[Tensor], new)
        with model.lock, edit():
            read = surprise(model, [ids[:1] for ids in self._texts], [t[1:] for t in self._texts])
        pairs = [(p, w) for p, w in zip(self._prompts, written) if len(w)]
        return Fluency(
            written_by_text=surprise(model, [p for p, _ in pairs], [w for _, w in pairs]),
            read_by_text=read,
            repeated=float(np.mean([repeated_share(w.tolist()) for w in written] or [np.nan])),
        )


def prompts_of(runs: Answers) -> list[Int[Tensor, " length"]]:
    """Return the token ids of each input, without padding."""
    found = []
    for batch in runs.batches:
        ids = cast(Tensor, batch.token_ids).cpu()
        keep = torch.ones_like(ids, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
        found += [row[kept] for row, kept in zip(ids, keep)]
    return found


def surprise(
    model: LiveModel, before: Sequence[Int[Tensor, " m"]], after: Sequence[Int[Tensor, " n"]]
) -> Float[np.ndarray, " texts"]:
    """Return −log p per token after, given those before and each other, text by text."""
    whole = [torch.cat(pair) for pair in zip(before, after, strict=True)]
    found: list[float] = []
    for start in range(0, len(whole), 32):
        part = whole[start : start + 32]
        for batch in model.batches(part, batch_size=len(part), add_bos=False):
            logits = model.main_output(model.forward(batch)).float().log_softmax(dim=-1).cpu()
            for row, ids in enumerate(part):
                first = len(before[start + row])
                chances = logits[row, first - 1 : len(ids) - 1].gather(1, ids[first:, None])
                found.append(-float(chances.mean()))
    return np.array(found)


def repeated_share(tokens: Sequence[int], size: int = N_GRAM) -> float:
    """Return which share of n-grams was there before; 0 where there are none."""
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
