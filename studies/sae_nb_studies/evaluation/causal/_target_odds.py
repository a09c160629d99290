"""Answers to many inputs under edits: the log-odds of a target, and what steering does to the language.

Log-odds: log p(T) − log(1 − p(T)). Written: −log p_clean of the tokens that the steered model writes, judged by
the model without steering. Read: how much worse the steered model finds text that has nothing to do with the
target. Both in nats per token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.evaluation import Measurement, Resampling, outcome_index
from sae_nb.models import outcome_names, run, text_ids
from sae_nb.steering import Answers, check_hook_point, log_odds
from sae_nb.steering.edits import Where

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel


MAX_SECONDS = 600.0
"""Longer work is refused with its estimated cost, unless more is allowed."""

Targets = int | str | Sequence[int | str] | None
"""A class or token by id or name; several that count as one (all spellings of a word, say); None: each
input's own top answer."""


class TargetOdds:
    """A model's answers to the same inputs under edits, and the log-odds of a target in them."""

    def __init__(self, runs: Answers, target: Targets) -> None:
        self.runs = runs
        self.ids: Tensor | tuple[int, ...] = runs.clean.argmax(dim=-1)
        self.words = "log-odds of its own answer"
        if target is not None:
            self.ids = _indices(runs.model, runs.clean.shape[1], target)
            names = [f"“{name}”" for name in outcome_names(runs.model, self.ids[:3])]
            more = f" and {len(self.ids) - 3} more" if len(self.ids) > 3 else ""
            self.words = f"log-odds of {', '.join(names)}{more}"
        self.clean = self.of(runs.clean)

    def of(self, outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        """Return log p(T) − log(1 − p(T)) of every answer."""
        return np.asarray(log_odds(outputs, self.ids))

    def added(self, direction: Float[Tensor, " d_in"], by: float) -> Float[np.ndarray, " n"]:
        """Return what adding a direction, as it is, so many times changes, input by input."""
        return self.of(self.runs.add(direction, by)) - self.clean


def answers_to(
    model: LiveModel, inputs: Inputs, hook_point: str, sae: SparseAutoencoder, positions: Where
) -> Answers:
    """Return a model's clean answers, as logits, where an SAE of the right width is to edit them."""
    check_hook_point(model, hook_point, width=int(sae.d_in))
    return Answers(model, inputs, hook_point, positions=positions, scored=True)


def _indices(model: LiveModel, n_outcomes: int, target: Targets) -> tuple[int, ...]:
    named = target if isinstance(target, Sequence) and not isinstance(target, str) else [target]
    ids = {outcome_index(model, one, n_outcomes, otherwise="several of them") for one in named}
    if not 0 < len(ids) < n_outcomes:
        raise ValueError(
            f"`target` must name some of the {n_outcomes} outcomes of {model.name}, and not all, got "
            f"{target}."
        )
    return tuple(sorted(ids))


def quantile_of(values: Float[np.ndarray, " controls"], share: float = 0.95) -> float | None:
    """Return a quantile of controls; None where there are none."""
    return float(np.quantile(values, share)) if len(values) else None


def mean_strengths(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """Return each atom's mean over rows, zeros included, in fp64."""
    sums = torch.zeros(codes.n_atoms, dtype=torch.float64)
    sums.index_add_(0, codes.atoms.cpu().long(), codes.values.detach().double().cpu())
    return sums / max(codes.n_rows, 1)


def nearest(unit: Float[Tensor, "n_atoms d_in"], atom: int, n: int = 1) -> list[int]:
    """Return the n other atoms with the largest cosine, nearest first; unit rows."""
    cosine = unit @ unit[atom]
    cosine[atom] = -torch.inf
    return [int(j) for j in cosine.argsort(descending=True, stable=True)[: min(n, len(unit) - 1)]]


N_GRAM = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Fluency:
    """What a steered model writes and reads, text by text."""

    # Nats per written token of each continuation, under the clean model; empty: nothing written.
    written_by_text: Float[np.ndarray, " n"]
    # Nats per token of each neutral text, under steering; empty: nothing read.
    read_by_text: Float[np.ndarray, " m"]
    # Share of written 4-grams that were written before in the same text; NaN: nothing written.
    repeated: float

    @property
    def written(self) -> float:
        """Mean over texts; NaN if nothing was written."""
        return float(np.mean(self.written_by_text)) if len(self.written_by_text) else np.nan

    @property
    def read(self) -> float:
        """Mean over texts; NaN if nothing was read."""
        return float(np.mean(self.read_by_text)) if len(self.read_by_text) else np.nan


class Writing:
    """Lets a model write and read under one direction after another."""

    def __init__(
        self, runs: Answers, neutral: Sequence[str], max_new_tokens: int, seed: int
    ) -> None:
        self._runs, self._length, self._seed = runs, max_new_tokens, seed
        self._texts = text_ids(runs.model, neutral)
        self._prompts = prompts_of(runs)
        self.clean = self._measured(nullcontext)

    @classmethod
    def of(
        cls, runs: Answers, neutral: Sequence[str], max_new_tokens: int, seed: int
    ) -> Writing | None:
        """Return one, or None if nothing is to be written or read."""
        if not neutral and not max_new_tokens:
            return None
        if not runs.model.modality.is_text or not runs.model.causal:
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
        self, atom: Fluency, control: Fluency | None, resampling: Resampling
    ) -> dict[str, Measurement]:
        """Return the measurements at one budget."""
        rows, clean = {}, self.clean
        if self._length:
            rows["nats written"] = resampling.mean(
                "nats_written",
                atom.written_by_text,
                floor=clean.written,
                control=control.written if control else None,
            )
        if self._texts:
            rows["nats read"] = resampling.mean(
                "nats_read",
                atom.read_by_text - clean.read_by_text,
                floor=0.0,
                control=control.read - clean.read if control else None,
            )
        return rows

    def _measured(self, edit: Callable[[], AbstractContextManager[object]]) -> Fluency:
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
    prompts = []
    for batch in runs.batches:
        ids = cast(Tensor, batch.token_ids).cpu()
        keep = torch.ones_like(ids, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
        prompts += [row[real] for row, real in zip(ids, keep)]
    return prompts


def surprise(
    model: LiveModel, before: Sequence[Int[Tensor, " m"]], after: Sequence[Int[Tensor, " n"]]
) -> Float[np.ndarray, " texts"]:
    """Return −log p per token after, given those before and each other, text by text."""
    whole = [torch.cat(pair) for pair in zip(before, after, strict=True)]
    nats: list[float] = []
    for start in range(0, len(whole), 32):
        part = whole[start : start + 32]
        for batch in model.batches(part, batch_size=len(part), add_bos=False):
            logits = run(model, batch).answer.tensor.float().log_softmax(dim=-1).cpu()
            for row, ids in enumerate(part):
                first = len(before[start + row])
                log_p = logits[row, first - 1 : len(ids) - 1].gather(1, ids[first:, None])
                nats.append(-float(log_p.mean()))
    return np.array(nats)


def repeated_share(tokens: Sequence[int], size: int = N_GRAM) -> float:
    """Return which share of n-grams was there before; 0 where there are none."""
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
