"""Trials of a direction on a live model: images it turns into a class, sentiment it shifts in stories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, checked
from sae_nb.findings import Finding
from sae_nb.models import LiveModel, text_ids
from sae_nb.statistics import bootstrap_interval
from sae_nb.steering import steer
from sae_nb_studies.pretrained._sentiment import story_sentiment

# -------------------------------------------------------------------------------------------------
# How many images a direction turns into one class.
#
# Turned = share of images of other classes that the model gives class c under x + a·d, minus the
# share that it gives c without.


class ClassTurn(Finding):
    """Effect of adding one direction on a model's classes."""

    HEADLINE = "{turned:+.1%}, 95 % {interval[0]:+.1%} … {interval[1]:+.1%}; {n} images"

    turned: float
    """Share of images of other classes that became the wanted one, minus the share that were."""

    interval: tuple[float, float]
    """95 %, by resampling images; there are `n` of other classes."""

    n: int


@checked
class ClassTrial:
    """Images classified by class logits, without steering once, then with directions at every position."""

    def __init__(
        self, model: LiveModel, hook_point: str, pictures: Any, labels: Int[Tensor, " n"]
    ) -> None:
        self._model, self._hook_point = model, hook_point
        self._pictures, self._labels = pictures, labels.cpu()
        self._clean = self._classes()

    def turn(self, direction: Float[Tensor, " d_in"], by: float, wanted: int) -> ClassTurn:
        """Return how many images adding `by` times the direction, at unit length, turns into a class."""
        unit = torch.nn.functional.normalize(direction.detach(), dim=0)
        edit = steer(self._model, self._hook_point, direction=unit, by=by)
        with self._model.lock, edit:
            steered = self._classes()
        others = self._labels != wanted
        moved = (steered == wanted)[others].double() - (self._clean == wanted)[others].double()
        values = moved.numpy()
        return ClassTurn(turned=float(values.mean()), interval=_interval(values), n=len(values))

    def _classes(self) -> Int[Tensor, " n"]:
        return self._model(self._pictures).argmax(dim=1).cpu()


# -------------------------------------------------------------------------------------------------
# How far a direction moves the sentiment of a model's stories, and what that costs in nats.
#
# Shift = share of sampled continuations of the wanted sentiment under x + a·d, minus the share without.
# Cost of what is written: the unsteered model's nats per token on steered continuations, minus on its
# own. Cost of reading: nats per token of held-out stories under steering, minus without.


_TEXTS_AT_ONCE = 64
N_BOOTSTRAP = 1000


class SentimentShift(Finding):
    """Effect of adding one direction on continuations."""

    clean: float
    steered: float
    shift: float
    """Shares of the wanted sentiment without and with steering, over prompts and seeds; their difference."""

    interval: tuple[float, float]
    by_seed: tuple[float, ...]
    """95 % of the shift, by resampling prompts; then the shift of each sampling seed."""

    opposite: float
    """Share of the opposite sentiment with steering."""

    grammatical: float
    """Share of the steered sentences that the grammar can make."""

    cost_written: float
    """Nats per token that the unsteered model finds the steered continuations worse than its own."""

    cost_read: float
    """Nats per token that held-out stories are read worse under steering; NaN if there were none."""

    temperature: float
    n: int
    """Of sampling, with steering and without; continuations, prompts × seeds."""

    @property
    def headline(self) -> str:
        """The shares and their difference, its cost, and how many sentences are grammatical."""
        low, high = self.interval
        read = "" if math.isnan(self.cost_read) else f", {self.cost_read:+.2f} read"
        return (
            f"{self.clean:.1%} → {self.steered:.1%}: {self.shift:+.1%}, 95 % "
            f"{low:+.1%} … {high:+.1%}; cost in nats per token {self.cost_written:+.2f} written{read}; "
            f"{self.grammatical:.0%} of the sentences grammatical; {self.n} continuations"
        )


@checked
class SentimentTrial:
    """Prompts continued without steering once, then with directions added at every position and step.

    The prompts have no sentiment (`neutral_beginnings`); the cost of reading is that of `stories`.

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
        seeds: Sequence[Seed] = (0, 1, 2),
        temperature: float = 1.0,
        max_new_tokens: Count = 100,
    ) -> None:
        if not prompts or not seeds:
            raise ValueError(
                "`prompts` and `seeds` must not be empty. Use neutral_beginnings(200)."
            )
        self._model, self._hook_point = model, hook_point
        self._prompts, self._stories = text_ids(model, prompts), text_ids(model, stories)
        self._seeds = tuple(seeds)
        self._temperature = float(temperature)
        self._length = max_new_tokens
        self._clean = self._written(nullcontext())
        self._clean_reading = self._read(nullcontext())

    def shift(self, direction: Float[Tensor, " d_in"], by: float, sign: int) -> SentimentShift:
        """Return what adding `by` times the direction, at unit length, does.

        `sign` is the sentiment wanted: 1 good, −1 bad.
        """
        unit = torch.nn.functional.normalize(direction.detach(), dim=0)

        def edit() -> AbstractContextManager[Any]:
            return steer(self._model, self._hook_point, direction=unit, by=by)

        steered = self._written(edit())
        wanted = (steered.sign == sign).astype(float) - (self._clean.sign == sign)
        return SentimentShift(
            clean=float((self._clean.sign == sign).mean()),
            steered=float((steered.sign == sign).mean()),
            shift=float(wanted.mean()),
            interval=_interval(wanted.mean(axis=0)),
            by_seed=tuple(float(value) for value in wanted.mean(axis=1)),
            opposite=float((steered.sign == -sign).mean()),
            grammatical=steered.grammatical,
            cost_written=steered.nats - self._clean.nats,
            cost_read=self._read(edit()) - self._clean_reading,
            temperature=self._temperature,
            n=wanted.size,
        )

    def _written(self, edit: AbstractContextManager[Any]) -> _Written:
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
        decode = partial(self._model.tokenizer.decode, skip_special_tokens=True)
        read = [[story_sentiment(str(decode(ids.tolist()))) for ids in run] for run in written]
        prompts = self._prompts * len(written)
        new_ids = [ids for run in written for ids in run]
        grammatical = sum(story.grammatical for run in read for story in run)
        sentences = sum(story.sentences for run in read for story in run)
        return _Written(
            sign=np.array([[story.sign for story in run] for run in read]),
            grammatical=grammatical / max(sentences, 1),
            nats=nats_per_token(self._model, prompts, new_ids),
        )

    def _read(self, edit: AbstractContextManager[Any]) -> float:
        if not self._stories:
            return float("nan")
        with self._model.lock, edit:
            return nats_per_token(
                self._model, [ids[:1] for ids in self._stories], [ids[1:] for ids in self._stories]
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Written:
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


def _interval(values: Float[np.ndarray, " inputs"]) -> tuple[float, float]:
    """95 % of the mean, by resampling prompts or images."""
    return bootstrap_interval((values,), np.mean, n_resamples=N_BOOTSTRAP, seed=0)
