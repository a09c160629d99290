"""Whether a model feels padding: tried once, on two texts of unlike lengths."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.models import _facts as facts

if TYPE_CHECKING:
    from sae_nb.models._interface import Runs

Side = Literal["left", "right"]
Arguments = Callable[[Sequence[Int[Tensor, " time"]]], facts.Arguments]
"""From texts to the arguments of one pass over all of them, padded."""

LONGEST = 16
"""Tokens of the texts that are tried."""

_FELT: weakref.WeakKeyDictionary[Runs, dict[Side, bool]] = weakref.WeakKeyDictionary()


def feels_padding(
    model: Runs, side: Side, texts: Sequence[Int[Tensor, " time"]], arguments: Arguments
) -> bool:
    """Return whether a text's answer is another where padding stands beside it, on either side of it.

    True of a model without an attention mask, and of one that takes a mask or positions and does not use them.
    Texts of one length tell nothing: False, until others come.
    """
    lengths = [len(text) for text in texts]
    if min(lengths) == max(lengths):
        return False
    if not facts.takes_mask(model.module) or model.remote:
        return not facts.takes_mask(model.module)
    known = _FELT.setdefault(model, {})
    if side not in known:
        short, long = min(texts, key=len)[: LONGEST // 2], max(texts, key=len)[:LONGEST]
        known[side] = not _same(model, side, short, long, arguments)
    return known[side]


def _same(model: Runs, side: Side, short: Tensor, long: Tensor, arguments: Arguments) -> bool:
    """Return whether the short text has the same answer alone as beside the long one."""
    devices = [model.device] if model.device.type == "cuda" else []
    # As one that is traced, this pass has none of the edits that are in force.
    with (
        model.lock,
        torch.no_grad(),
        torch.random.fork_rng(devices),
        model.editing.own_run((), traced=True),
    ):
        try:
            beside, alone = (_answer(model, arguments(texts)) for texts in ([short, long], [short]))
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError):
            return False  # a family that refuses padding, or gives nothing to compare
    n = min(len(beside), len(alone)) if alone.ndim > 1 else len(alone)
    beside, alone = (x[:n] if side == "right" else x[-n:] for x in (beside, alone))
    if beside.shape != alone.shape:
        return False
    spread = (alone - alone.mean()).abs().max()
    # Far above rounding, which is about the precision itself, and far below what padding does that is read.
    close = torch.finfo(model.dtype).eps ** 0.5
    return bool((beside.to(alone) - alone).abs().max() <= close * spread)


def _answer(model: Runs, given: facts.Arguments) -> Tensor:
    """Return the answer to the first text, float32."""
    args, kwargs = given
    return model.main_output(model.module(*args, **kwargs))[0].detach().float()
