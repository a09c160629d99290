"""How far a direction moves the sentiment of a model's stories, and what that costs in nats.

Shift = share of sampled continuations of the wanted sentiment under x + a·d, minus the share without.
Cost of what is written: the unsteered model's nats per token on steered continuations, minus on its
own. Cost of reading: nats per token of held-out stories under steering, minus without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.models import LiveModel
from sae_nb.pretrained import story_sentiment
from sae_nb.steering import steer

_TEXTS_AT_ONCE = 64
N_BOOTSTRAP = 1000


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SentimentShift:
    """What adding one direction did to continuations."""

    clean: float
    """Share of the wanted sentiment without steering, over all prompts and seeds."""

    steered: float
    """The same with it."""

    shift: float
    """Steered minus clean."""

    interval: tuple[float, float]
    """95 %, by resampling prompts."""

    by_seed: tuple[float, ...]
    """Shift of each sampling seed."""

    opposite: float
    """Share of the opposite sentiment with steering."""

    grammatical: float
    """Share of the steered sentences that the grammar can make."""

    cost_written: float
    """Nats per token that the unsteered model finds the steered continuations worse than its own."""

    cost_read: float
    """Nats per token that held-out stories are read worse under steering; NaN if there were none."""

    temperature: float
    """Of sampling, with steering and without."""

    n: int
    """Continuations: prompts × seeds."""

    def __repr__(self) -> str:
        low, high = self.interval
        read = "" if math.isnan(self.cost_read) else f", {self.cost_read:+.2f} read"
        return (
            f"SentimentShift({self.clean:.1%} → {self.steered:.1%}: {self.shift:+.1%}, 95 % "
            f"{low:+.1%} … {high:+.1%}; cost in nats per token {self.cost_written:+.2f} written{read}; "
            f"{self.grammatical:.0%} of the sentences grammatical; {self.n} continuations)"
        )


class SentimentTrial:
    """Prompts continued without steering once, and then with any number of directions.

    Parameters
    ----------
    model
        A causal language model that tells our stories.
    hook_point
        Where directions are added, at every position and step.
    prompts
        Beginnings without sentiment, from `neutral_beginnings`.
    stories
        Whole stories to read, for the cost of reading.
    seeds
        Of sampling.
    temperature
        Of sampling, steered and not.
    max_new_tokens
        Length of a continuation.

    Raises
    ------
    ValueError: If there are no prompts or seeds.
    """

    def __init__(
        self,
        model: LiveModel,
        hook_point: str,
        prompts: Sequence[str],
        stories: Sequence[str] = (),
        *,
        seeds: Sequence[int] = (0, 1, 2),
        temperature: float = 1.0,
        max_new_tokens: int = 100,
    ) -> None:
        if not prompts or not seeds:
            raise ValueError(
                "`prompts` and `seeds` must not be empty. Use neutral_beginnings(200)."
            )
        self._model, self._hook_point = model, hook_point
        self._prompts = [torch.tensor(model.tokenizer(text)["input_ids"]) for text in prompts]
        self._stories = [torch.tensor(model.tokenizer(text)["input_ids"]) for text in stories]
        self._seeds = tuple(seeds)
        self._temperature = float(temperature)
        self._length = check_count(max_new_tokens, name="max_new_tokens")
        self._clean = self._told(nullcontext())
        self._clean_reading = self._read(nullcontext())

    def shift(self, direction: Float[Tensor, " d_in"], by: float, sign: int) -> SentimentShift:
        """Return what adding `by` times a unit direction does.

        Parameters
        ----------
        direction
            Scaled to unit length here.
        by
            In the model's units.
        sign
            The sentiment wanted: 1 good, −1 bad.
        """
        unit = torch.nn.functional.normalize(direction.detach(), dim=0)

        def edit() -> AbstractContextManager[Any]:
            return steer(self._model, self._hook_point, direction=unit, by=by)

        steered = self._told(edit())
        wanted = (steered.sign == sign).astype(float) - (self._clean.sign == sign)
        low, high = _interval(wanted.mean(axis=0))
        return SentimentShift(
            clean=float((self._clean.sign == sign).mean()),
            steered=float((steered.sign == sign).mean()),
            shift=float(wanted.mean()),
            interval=(low, high),
            by_seed=tuple(float(value) for value in wanted.mean(axis=1)),
            opposite=float((steered.sign == -sign).mean()),
            grammatical=steered.grammatical,
            cost_written=steered.nats - self._clean.nats,
            cost_read=self._read(edit()) - self._clean_reading,
            temperature=self._temperature,
            n=wanted.size,
        )

    def _told(self, edit: AbstractContextManager[Any]) -> _Told:
        """Continue every prompt with every seed under an edit; judge it by the unsteered model."""
        written: list[list[Tensor]] = []
        # The lock: a panel that runs the same model meanwhile must not be steered too.
        with self._model.lock, edit:
            for seed in self._seeds:
                new = self._model.generate(
                    self._prompts,
                    self._length,
                    self._temperature,
                    seed=seed,
                    return_ids=True,
                    echo=False,
                )
                written.append(cast(list[Tensor], new))
        texts = [[self._text(ids) for ids in run] for run in written]
        read = [[story_sentiment(text) for text in run] for run in texts]
        prompts = self._prompts * len(written)
        new_ids = [ids for run in written for ids in run]
        grammatical = sum(story.grammatical for run in read for story in run)
        sentences = sum(story.sentences for run in read for story in run)
        return _Told(
            sign=np.array([[story.sign for story in run] for run in read]),
            grammatical=grammatical / max(sentences, 1),
            nats=nats_per_token(self._model, prompts, new_ids),
        )

    def _text(self, ids: Int[Tensor, " length"]) -> str:
        return str(self._model.tokenizer.decode(ids.tolist(), skip_special_tokens=True))

    def _read(self, edit: AbstractContextManager[Any]) -> float:
        if not self._stories:
            return float("nan")
        with self._model.lock, edit:
            return nats_per_token(
                self._model, [ids[:1] for ids in self._stories], [ids[1:] for ids in self._stories]
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Told:
    sign: Int[np.ndarray, "seeds prompts"]
    grammatical: float
    nats: float


def nats_per_token(
    model: LiveModel, before: Sequence[Int[Tensor, " m"]], after: Sequence[Int[Tensor, " n"]]
) -> float:
    """Return the mean surprise of the tokens after, given those before and each other.

    −Σ log p(token | all earlier ones) / number of tokens, summed over texts before dividing.
    """
    total, count = 0.0, 0
    whole = [torch.cat(pair) for pair in zip(before, after, strict=True)]
    for start in range(0, len(whole), _TEXTS_AT_ONCE):
        part = whole[start : start + _TEXTS_AT_ONCE]
        for batch in model.batches(part, batch_size=len(part), add_bos=False):
            logits = model.main_output(model.forward(batch)).float().log_softmax(dim=-1)
            for row, ids in enumerate(part):
                first = len(before[start + row])
                judged = ids[first:].to(logits.device)
                chances = logits[row, first - 1 : len(ids) - 1].gather(1, judged[:, None])
                total -= float(chances.sum())
                count += len(judged)
    return total / max(count, 1)


def _interval(per_prompt: Float[np.ndarray, " prompts"]) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    draws = generator.integers(len(per_prompt), size=(N_BOOTSTRAP, len(per_prompt)))
    low, high = np.quantile(per_prompt[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
