"""Adam on a card, one kernel a matrix: clip, turn on the sphere, move, unit norm, a copy in bf16."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass
class Copy:
    """A matrix in bf16 that an optimiser writes with the matrix itself."""

    of: weakref.ref[Tensor]
    version: int
    half: Tensor


_COPIES: dict[int, Copy] = {}
"""Copies by the address of what they are of: a detached tensor finds that of its parameter."""


def half_of(weight: Tensor) -> Tensor:
    """Return a matrix in bf16: the copy that its optimiser keeps, where it is as new as the matrix."""
    known = _COPIES.get(weight.data_ptr())
    of = None if known is None else known.of()
    if known is not None and of is not None and of.data_ptr() == weight.data_ptr():
        now = (weight.shape, weight.stride(), weight._version)
        if now == (of.shape, of.stride(), known.version):
            return known.half
    return weight.detach().to(torch.bfloat16).contiguous()


def _copy_of(p: Tensor) -> Copy:
    known = _COPIES.get(p.data_ptr())
    if known is None or known.of() is not p:
        known = Copy(weakref.ref(p), -1, torch.empty_like(p, dtype=torch.bfloat16))
        _COPIES[p.data_ptr()] = known
        weakref.finalize(p, _COPIES.pop, p.data_ptr(), None)
    return known


class FusedAdam(torch.optim.Optimizer):
    """torch's Adam and its state, in one kernel a parameter, without a wait; fp32 on a card with Triton.

    A step is `norm()`, which returns the length of the whole gradient, and `step()`. With a `found` that
    is not 0, or a norm that is not finite, the step changes nothing, neither parameters nor moments nor
    copies, and only `skipped` counts it.

    Parameters
    ----------
    params
        Parameters or groups of them, contiguous fp32. A group's `lr` may be a tensor on the card, which a
        recorded step reads anew; `sphere=True` in a group: its rows stay at unit norm, and gradients along
        them are left out; `copy=True`: matrices are kept in bf16 too, where `half_of` finds them.
    lr, betas, eps, weight_decay
        As torch's Adam has them.
    most
        Norm to which the whole gradient is clipped.

    Source
    ------
    Kingma and Ba, arXiv 1412.6980, as `torch.optim.Adam` computes it.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        most: float = float("inf"),
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "sphere": False, "copy": False,
            "fused": True,  # torch then loads the count of steps onto the card
        }  # fmt: skip
        super().__init__(params, defaults)
        first = next(p for group in self.param_groups for p in group["params"])
        self.found: Int[Tensor, ""] = torch.zeros((), dtype=torch.int32, device=first.device)
        self.skipped = torch.zeros_like(self.found)
        self._skip = torch.zeros_like(self.found)
        self._most = torch.full((), most, device=first.device)
        self._norm: Tensor | None = None

    @torch.no_grad()
    def norm(self) -> Float[Tensor, ""]:
        """Return the norm of the whole gradient, its parts along atoms left out; on the card."""
        from sae_nb.kernels import _triton as kernels

        squares = []
        for group, p in self._with_gradients():
            rows, d = _rows(p)
            of_rows = p.new_empty(rows)
            with torch.cuda.device_of(p):  # type: ignore[no-untyped-call]
                kernels.row_squares[(rows,)](
                    p, _gradient(p), of_rows, d, W=_columns(d), SPHERE=group["sphere"],
                    num_warps=_warps(d),
                )  # fmt: skip
            squares.append(of_rows.sum())
        self._norm = torch.stack(squares).sum().sqrt() if squares else torch.zeros_like(self._most)
        return self._norm

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter once, by gradients of the norm that was last returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        norm = self.norm() if self._norm is None or closure is not None else self._norm
        for group in self.param_groups:
            rate = group["lr"]
            lr = rate if isinstance(rate, Tensor) else torch.full_like(self._most, rate)
            for p in (p for p in group["params"] if p.grad is not None):
                with torch.cuda.device_of(p):  # type: ignore[no-untyped-call]
                    self._move(p, group, lr, norm)
        self._norm = None
        self.skipped += self._skip
        return loss

    def _move(self, p: Tensor, group: dict[str, Any], lr: Tensor, norm: Tensor) -> None:
        from sae_nb.kernels import _triton as kernels

        state, (b1, b2), rates = self._state(p), group["betas"], p.new_empty(3)
        counters = (state["step"], self.found, self._skip)
        kernels.adam_rates[(1,)](*counters, norm, self._most, self._betas(b1, b2), rates)
        rows, d = _rows(p)
        copy = _copy_of(p) if group["copy"] and p.ndim == 2 else None
        kernels.adam_rows[(rows,)](
            p, _gradient(p), state["exp_avg"], state["exp_avg_sq"], p if copy is None else copy.half,
            self._skip, rates, lr, d, b1, b2, 1 - b1, 1 - b2, group["eps"], group["weight_decay"],
            W=_columns(d), SPHERE=group["sphere"], COPY=copy is not None, num_warps=_warps(d),
        )  # fmt: skip
        torch.autograd.graph.increment_version(p)
        if copy is not None:
            copy.version = p._version

    def _with_gradients(self) -> Iterable[tuple[dict[str, Any], Tensor]]:
        return ((g, p) for g in self.param_groups for p in g["params"] if p.grad is not None)

    def _state(self, p: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if "step" not in state:
            if p.dtype != torch.float32 or not p.is_contiguous():
                raise ValueError(
                    f"`params` must be contiguous and fp32, got {p.dtype} of shape {tuple(p.shape)}. Use "
                    "torch.optim.Adam for others."
                )
            state["step"] = torch.zeros((), device=p.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        return state

    def _betas(self, b1: float, b2: float) -> Tensor:
        """Both in fp64 on the card, sent once."""
        known: dict[tuple[float, float], Tensor] = self.__dict__.setdefault("_known_betas", {})
        if (b1, b2) not in known:
            known[b1, b2] = torch.tensor([b1, b2], dtype=torch.float64, device=self.found.device)
        return known[b1, b2]


def _rows(p: Tensor) -> tuple[int, int]:
    """How a parameter is cut for programs: a matrix by its rows, anything else in pieces of one size."""
    if p.ndim == 2:
        return p.shape[0], p.shape[1]
    size = max(1, p.numel())
    piece = size & -size  # the largest power of two that divides it
    d = min(piece, 1024) if piece >= 64 else size
    return p.numel() // d, d


def _gradient(p: Tensor) -> Tensor:
    grad = p.grad
    if grad is None:
        raise ValueError(
            "A parameter that moves must have a gradient, got none. Call backward first."
        )
    return grad.contiguous()


def _columns(d: int) -> int:
    return min(1 << max(0, d - 1).bit_length(), 4096)


def _warps(d: int) -> int:
    return 1 if d <= 128 else 4 if d <= 2048 else 8
