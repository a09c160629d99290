"""MLPs that answer in proportion: with attention and norms held, what reaches a neuron is shared out (RelP).

A neuron a = f(p) of one projection, or a = f(p) q of two, is replaced by a line through the origin that has
its value: of one a₀ p / p₀, of two ½ a₀ p / p₀ + ½ a₀ q / q₀, so that the two factors share what they make
half and half. Values do not change, slopes do. Source: "RelP", arXiv 2508.21258; "Language models' circuits are
sparse in the neuron basis", Transluce 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._running import Put

CLOSE = 1e-3
"""Largest difference between a neuron's slope and what its form has it be, as a share of the largest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mlp:
    """The neurons of one block, and the projections that they are made of."""

    layer: int
    post: HookPoint
    n_neurons: int
    parts: tuple[str, ...]
    """Paths of the modules that write what neurons are made of, before the nonlinearity and the gate."""


def mlps_of(model: LiveModel) -> tuple[Mlp, ...]:
    """Return the MLPs whose neurons can be read, in the order of the blocks."""
    return tuple(
        found
        for point in model.hook_points()
        if str(point).startswith("mlp_post.")
        and (found := _mlp(model, point, int(point.layer or 0))) is not None
    )


def _mlp(model: LiveModel, post: HookPoint, layer: int) -> Mlp | None:
    last = model.get_module(post.path)
    n = _widths(last)[0]
    path = model.hook_point(f"mlp_in.{layer}").path
    around = model.get_module(path)
    parts = [
        f"{path}.{name}" if name else path
        for name, part in around.named_modules()
        if part is not last and _widths(part)[1] in (n, 2 * n)
    ]
    sizes = [_widths(model.get_module(part))[1] for part in parts]
    if sizes not in ([n], [n, n], [2 * n]):
        return None
    return Mlp(layer=layer, post=post, n_neurons=n, parts=tuple(parts))


def _widths(part: nn.Module) -> tuple[int, int]:
    """Numbers that a projection reads and writes, zeros of anything else; GPT-2 keeps its matrices turned."""
    weight = getattr(part, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return 0, 0
    n_out, n_in = weight.shape
    return (n_out, n_in) if hasattr(part, "nf") else (n_in, n_out)


def in_proportion(mlps: Iterable[Mlp]) -> list[tuple[str, Put]]:
    """Return the changes of one pass by which its MLPs answer in proportion, for `run`."""
    found: list[tuple[str, Put]] = []
    for mlp in mlps:
        seen: list[Tensor] = []
        found += [(part, partial(_note, seen)) for part in mlp.parts]
        found.append((str(mlp.post), partial(_linear, mlp, seen)))
    return found


def _note(seen: list[Tensor], x: Tensor) -> Tensor:
    seen.append(x)
    return x


def _linear(mlp: Mlp, seen: list[Tensor], a: Tensor) -> Tensor:
    """The neurons as they are, with the slopes of the line through the origin."""
    parts = _halves(seen, mlp.n_neurons)
    _check_form(mlp, a, seen)
    seen.clear()
    now = a.detach()
    shares = [torch.where(p == 0, 0.0, now / p.detach()) * p for p in parts]
    line = torch.stack(shares).mean(dim=0)
    return now + (line - line.detach())


def _halves(seen: Sequence[Tensor], n: int) -> list[Tensor]:
    """Return the projections side by side in one module as two."""
    return [half for x in seen for half in torch.split(x, n, dim=-1)]


def _check_form(mlp: Mlp, a: Tensor, seen: Sequence[Tensor]) -> None:
    """Refuse neurons that are not f(p) or f(p) q of their own projections."""
    if not a.requires_grad:
        return
    drawn = torch.rand(a.shape, generator=torch.Generator().manual_seed(0)).to(a)
    found = [
        torch.autograd.grad(a, seen, along, retain_graph=True, allow_unused=True)
        for along in (torch.ones_like(a), drawn)
    ]
    if not any(slope is None for slopes in found for slope in slopes):
        plain, mixed = (_halves(slopes, mlp.n_neurons) for slopes in found)
        parts = [part.detach() for part in _halves(seen, mlp.n_neurons)]
        local = all(_alike(m, drawn * s) for m, s in zip(mixed, plain, strict=True))
        linear = [_alike(s * p, a.detach()) for s, p in zip(plain, parts, strict=True)]
        if local and (len(parts) == 1 or any(linear)):
            return
    raise ValueError(
        f"Neurons must each be a function of one projection, or that times another, and those of {mlp.post} "
        "are not. Pass transcoders of these MLPs instead of neurons, or look at places with `patch`."
    )


def _alike(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> bool:
    return bool((x - y).abs().max() <= CLOSE * y.abs().max() + 1e-6)
