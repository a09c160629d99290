"""The Jacobian of the states that are answered from, by the states of a layer, averaged over inputs.

J_ℓ = E_sample [1/|V| Σ_{t ∈ V} Σ_{t' ∈ V, t' ≥ t} ∂h_last,t' / ∂h_ℓ,t]: targets are summed, sources and
samples averaged. V are the places of a text without its first ones and the last; of an image the sources
are averaged by kind of place, and the target is what the class head reads. In an encoder the sources are all
its places, summed, and the targets those of the decoder, averaged: 1/|V| Σ_s Σ_{t' ∈ V} ∂h_last,t' / ∂h_ℓ,s.

Source: Gurnee et al. 2026, "Verbalizable Representations Form a Global Workspace in Language Models".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.lenses._head import Head, pooled
from sae_nb.lenses._rows import kept_places, kind_at, kinds_of_places, reads_encoder, valid_places
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

NUMBERS_AT_ONCE = 300_000
"""Numbers of one state in a pass, copies × places × width: about half a GB for the graph of 30 blocks. Ours."""


def jacobian_of(
    head: Head, batch: Batch, points: Sequence[str], skip_first: int
) -> Float[Tensor, "points kinds d_last d"]:
    """Return the Jacobian of one sample: rows are numbers of the target, columns those of the hook point.

    The sample is copied, and each copy is differentiated for another number of the target: ordinary
    backward passes, whose products are as large as the machine likes them.
    """
    model, places, d = head.model, kinds_of_places(head.model), head.d
    passes = ceil(d / max(1, min(d, NUMBERS_AT_ONCE // (_longest(model, batch) * d))))
    copies = ceil(d / passes)  # evenly, so that the last pass is as full as the others
    many = repeated(batch, copies)
    with torch.enable_grad():
        ran = run(model, many, read=[head.last], grad=points, put=_without_logits(head))
        last, leaves = ran.states[head.last], [ran.leaves[name] for name in points]
        valid = valid_places(batch, skip_first, last.shape[1])[0]
        if reads_encoder(model, points):
            sources = kept_places(batch.at_encoder, leaves[0].shape[1]).float() / valid.sum()
        else:
            kind = kind_at(places, torch.arange(last.shape[1]), model.prefix_tokens)
            sources = torch.stack([valid & (kind == i) for i in range(len(places))]).float()
            sources = sources / sources.sum(dim=1, keepdim=True).clamp_min(1)
        sources, valid = sources.to(last.device), valid.to(last.device)
        target = last[:, valid].sum(dim=1) if head.pool == "each" else pooled(head, last)
        found = torch.zeros(len(points), len(places), d, leaves[0].shape[-1])
        for begin in range(0, d, copies):
            rows = torch.arange(begin, min(begin + copies, d))
            value = target[torch.arange(len(rows)), rows].sum()
            more = begin + copies < d
            slopes = torch.autograd.grad(value, leaves, retain_graph=more, allow_unused=True)
            for i, slope in enumerate(slopes):
                if slope is not None:
                    by_kind = torch.einsum("kt,ctd->kcd", sources, slope[: len(rows)].float())
                    found[i, :, rows] = by_kind.cpu()
    return found


def _longest(model: LiveModel, batch: Batch) -> int:
    """Return how many places a sample has; where only running tells, so many that copies run one by one."""
    if batch.encoder is not None and batch.encoder.keep is None:
        return NUMBERS_AT_ONCE
    grid = model.patch_grid or (1, 1)
    lengths = (batch.sample.shape[1], batch.at_encoder.sample.shape[1])
    return max(*lengths, model.prefix_tokens + grid[0] * grid[1])


def repeated(batch: Batch, copies: int) -> Batch:
    """Return a batch of one sample as a batch of so many equal ones."""
    changes: dict[str, Any] = {
        one.name: _copied(getattr(batch, one.name), copies)
        for one in fields(batch)
        if isinstance(getattr(batch, one.name), Tensor)
    }
    return replace(
        batch,
        **changes,
        n=copies,
        args=tuple(_copied(value, copies) for value in batch.args),
        kwargs={name: _copied(value, copies) for name, value in batch.kwargs.items()},
    )


def _copied(value: object, copies: int) -> object:
    if not isinstance(value, Tensor):
        return value
    return value.repeat(copies, *[1] * (value.ndim - 1))


def _without_logits(head: Head) -> dict[str, Any]:
    """Return the change that leaves one place for the unembedding, whose logits are not needed here."""
    if head.pool != "each":
        return {}
    named = head.model.module.named_modules()
    path = next((path for path, module in named if module is head.module and path), None)
    return {} if path is None else {f"{path}.input": lambda x: x[:, :1]}
