"""Measures of a model's answers, one number of each, such as a logit or log-odds; and the edits.

Of one sample: m(y) = ℓ_y − mean(ℓ), a logit above the mean of all logits, since a shift common to all of
them is nothing the softmax sees. Of many: the log-odds of the target, log p(T) − log(1 − p(T)).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._sites import written_codes
from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.models._answers import AnswerKind as OutcomeKind
from sae_nb.models._running import run
from sae_nb.models._text_inputs import text_ids
from sae_nb.steering._answers import (
    Answers,
    log_odds,
)
from sae_nb.steering._contexts import Active
from sae_nb.steering._edits import (
    Change,
    MaskedEdit,
    Positions,
    Where,
    latents,
)
from sae_nb.steering._request import (
    Edit,
    check_hook_point,
    check_width,
    first_look,
    tap_of,
)

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel


MAX_SECONDS = 600.0
"""Longer work is refused with its estimated cost, unless more is allowed."""

Target = int | str | Callable[[Tensor], Tensor] | None
"""A class or token id, its name, a function of the answer, or None for the model's own top answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One number of an answer, differentiable, and its name."""

    index: int | None  # class or token id; None for a function or a vector
    name: str  # of the class or token; of the function
    words: str  # what the number is, with its unit
    measure: Callable[[Tensor], Tensor]  # answer of one sample → a scalar


def outcome_of(
    model: LiveModel, answer: Float[Tensor, " outcomes"], kind: OutcomeKind, target: Target = None
) -> Outcome:
    """Return what is measured of an answer."""
    if callable(target) and not isinstance(target, type | torch.nn.Module):
        name = getattr(target, "__name__", "measure").replace("_", " ")
        return Outcome(index=None, name=name, words=name, measure=_one_number(target))
    if target is None and kind == "vector":
        along = answer.detach() / answer.detach().norm().clamp_min(1e-12)
        return Outcome(
            index=None,
            name="its own output",
            words="length of the output along what it is",
            measure=lambda other: other @ along,
        )
    index = (
        int(answer.detach().argmax())
        if target is None
        else index_of(model, len(answer), target, "a function of the answer")
    )
    name = outcome_name(model, index)
    above = " above the mean logit" if kind != "vector" else " of the output above their mean"
    noun = {"class": "logit of", "next token": "logit of the next token", "vector": "number"}[kind]
    return Outcome(
        index=index,
        name=name,
        words=f"{noun} “{name}”{above}",
        measure=lambda other: other[index] - other.mean(),
    )


def outcome_name(model: LiveModel, index: int) -> str:
    """Return the name of a class or token."""
    if model.modality.is_text and model.tokenizer is not None:
        from sae_nb.activations._context import describe_ids

        return describe_ids(model.tokenizer, [index])[index]
    names = model.class_names or ()
    return str(names[index]) if index < len(names) else f"{index}"


def index_of(
    model: LiveModel, n_outcomes: int, target: Any, otherwise: str, *, name: str = "target"
) -> int:
    """Return the class or token that an id or a name means."""
    if isinstance(target, str):
        return outcome_index(model, target, argument=name)
    try:
        index = operator.index(target)
    except TypeError:
        index = None
    if index is None or isinstance(target, bool):
        raise TypeError(
            f"`{name}` must be a class or token id, its name, or {otherwise}, got {target!r}."
        )
    if not 0 <= index < n_outcomes:
        raise ValueError(
            f"`{name}` must be between 0 and {n_outcomes - 1}, the outcomes of {model.name}, got "
            f"{index}."
        )
    return index


def _cut(name: str) -> str:
    """Quote a text, the beginning alone where it is a long one."""
    return repr(name if len(name) <= LONGEST_QUOTED else f"{name[:LONGEST_QUOTED]}…")


LONGEST_QUOTED = 40
"""Characters of a text that an error quotes."""


def outcome_index(model: LiveModel, name: str, *, argument: str = "target") -> int:
    """Return the class or token that a name means.

    Raises
    ------
    ValueError: If there is no such class, or the text is not one token.
    """
    if model.modality.is_text and model.tokenizer is not None:
        ids = model.tokenizer(name, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            from sae_nb.activations._context import describe_ids

            pieces = [describe_ids(model.tokenizer, [i])[i] for i in ids]
            raise ValueError(
                f"`{argument}` as a text must be one token of {model.name}, got {_cut(name)}, which is "
                f"{len(ids)}: {pieces[:6]}. Mind the leading space, or pass a token id."
            )
        unknown = getattr(model.tokenizer, "unk_token", None)
        if ids[0] == getattr(model.tokenizer, "unk_token_id", None) and name != unknown:
            raise ValueError(
                f"`{argument}` as a text must be a token that {model.name} knows, got {_cut(name)}, which it "
                f"reads as {unknown}. model.tokenizer.get_vocab() lists its tokens."
            )
        return int(ids[0])
    names = [str(known) for known in model.class_names or ()]
    if name not in names:
        raise ValueError(
            f"`{argument}` must be one of the classes {names} of {model.name}, got {_cut(name)}."
        )
    return names.index(name)


def _one_number(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def measure(answer: Tensor) -> Tensor:
        value = function(answer)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                "`target` as a function must turn the answer to one sample, of shape "
                f"{tuple(answer.shape)}, into one number, got {got}."
            )
        return value.reshape(())

    return measure


def largest_cosine(d_in: int, share: float = 0.95) -> float:
    """Return the size of cosine with a fixed vector that `share` of random directions stay below.

    cos² of a direction drawn evenly from the sphere is Beta(1/2, (d − 1)/2).
    """
    if d_in == 1:
        return 1.0
    from scipy.special import betaincinv

    return math.sqrt(float(betaincinv(0.5, (d_in - 1) / 2, share)))


# -------------------------------------------------------------------------------------------------
# What is measured of many answers, and which activations are edited.


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
            names = [f"“{outcome_name(runs.model, index)}”" for index in self.ids[:3]]
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
    model: LiveModel, inputs: object, hook_point: str, sae: SparseAutoencoder, positions: Where
) -> Answers:
    """Return a model's clean answers, as logits, where an SAE of the right width is to edit them."""
    check_width(model, check_hook_point(model, hook_point), int(sae.d_in), "the SAE")
    return Answers(model, inputs, hook_point, positions=positions, scored=True)


def _indices(model: LiveModel, n_outcomes: int, target: Targets) -> tuple[int, ...]:
    named = target if isinstance(target, Sequence) and not isinstance(target, str) else [target]
    ids = {index_of(model, n_outcomes, one, "several of them") for one in named}
    if not 0 < len(ids) < n_outcomes:
        raise ValueError(
            f"`target` must name some of the {n_outcomes} outcomes of {model.name}, and not all, got "
            f"{target}."
        )
    return tuple(sorted(ids))


def quantile_of(values: Float[np.ndarray, " controls"], share: float = 0.95) -> float | None:
    """Return a quantile of controls; None where there are none."""
    return float(np.quantile(values, share)) if len(values) else None


def removing(
    sae: SparseAutoencoder, atom: int, u: Float[Tensor, " d_out"], stays: float = 0.0
) -> Change:
    """Return the change that takes u away as strongly as an atom fires, above what stays of it.

    The atom fires by what is read, if that is not what is written.
    """

    def change(
        x: Float[Tensor, "batch time d_out"], read: Float[Tensor, "batch time d_in"] | None = None
    ) -> Float[Tensor, "batch time d_out"]:
        seen = (x if read is None else read).float()
        z = latents(written_codes(sae, sae.encode(seen), seen), (atom,)).detach()
        return x - ((z - stays) * u.to(z)).to(x)

    return change


def edited(
    model: LiveModel, hook_point: str, sae: SparseAutoencoder, change: Change, where: Where = None
) -> Active:
    """Return the edit that makes change(x) of x; for a transcoder change(y, x), of what it reads, too."""
    point = check_hook_point(model, hook_point)
    positions = Positions(where, prefix_tokens=model.prefix_tokens)
    tap, look = tap_of(model, point, sae), first_look(model, point, sae)
    edit = MaskedEdit(positions, change, tap, look=look)
    return Active(model, Edit(hook_point=point, edit=edit))


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


# -------------------------------------------------------------------------------------------------
# What steering does to a language model's language: nats per token of what it writes and reads.
#
# Written: −log p_clean of the tokens that the steered model writes, judged by the model without steering.
# Read: how much worse the steered model finds text that has nothing to do with the target.


N_GRAM = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Fluency:
    """Written and read, text by text."""

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
