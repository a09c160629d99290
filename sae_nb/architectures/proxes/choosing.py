"""Choosing a penalty by name: what each one needs, and a weight where none was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from sae_nb.architectures.operators import Operator
from sae_nb.architectures.proxes.grouped import GroupProx
from sae_nb.architectures.proxes.penalty import Penalty, row_tiles
from sae_nb.architectures.proxes.quadratic import IdentityProx, RidgeProx
from sae_nb.architectures.proxes.simplex import SimplexProx
from sae_nb.architectures.proxes.thresholding import HardProx, SoftProx
from sae_nb.architectures.proxes.top_k import TopKProx
from sae_nb.checks import check_k
from sae_nb.pursuit.checking import check_choice

ProxName = Literal[
    "soft+", "soft", "hard+", "hard", "group+", "group", "top-k", "simplex", "ridge", "identity"
]

DEFAULT_SHARE = 0.1
"""Default λ as a share of the mean λ at which a row's code becomes zero (ours: tens of atoms per row
on image patches and activations)."""


def choose_penalty(
    prox: ProxName | Penalty,
    operator: Operator,
    x: Tensor,
    bias: Tensor | None,
    *,
    weight: float | Tensor | None,
    k: int | None,
    groups: Tensor | None,
) -> Penalty:
    """The penalty somebody asked for, checked.

    Parameters
    ----------
    prox, weight, k, groups
        As in `sparse_code`.
    operator, x, bias
        The problem, for the default weight.

    Raises
    ------
    TypeError, ValueError
        If the penalty is unknown, lacks what it needs, or is given what it cannot use.
    """
    if isinstance(prox, Penalty):
        given = {"weight": weight, "k": k, "groups": groups}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise TypeError(f"`{extra[0]}` must be left out where `prox` is a penalty already.")
        return prox
    check_choice(prox, ProxName, "prox")
    kind = prox.removesuffix("+")
    for name, value, wanted in (("k", k, "top-k"), ("groups", groups, "group")):
        if (value is not None) != (kind == wanted):
            raise ValueError(
                f"`{name}` must be given for prox={wanted!r} and for no other, got {name}="
                f"{'…' if value is not None else None} with prox={prox!r}."
            )
    checked = _weight(weight, kind, x, operator)
    build: dict[str, Callable[[], Penalty]] = {
        "soft": lambda: SoftProx(_or_default(checked, operator, x, bias), prox.endswith("+")),
        "hard": lambda: HardProx(_hard_weight(checked, operator, x, bias), prox.endswith("+")),
        "group": lambda: GroupProx(
            _groups(groups, operator),
            float(_or_default(checked, operator, x, bias)),
            prox.endswith("+"),
        ),
        "top-k": lambda: TopKProx(check_k(k, operator.n_atoms)),
        "simplex": lambda: SimplexProx(None if checked is None else _cost(checked, operator, x)),
        "ridge": lambda: RidgeProx(_needed(checked)),
        "identity": IdentityProx,
    }
    return build[kind]()


def _weight(weight: Any, kind: str, x: Tensor, operator: Operator) -> float | Tensor | None:
    """λ as the user gave it, if the penalty can use it."""
    if weight is None:
        return None
    if kind in ("top-k", "identity"):
        raise ValueError(
            f"`weight` must be None for prox={kind!r}, which has none, got {weight!r}."
        )
    tensor = isinstance(weight, Tensor) and weight.ndim > 0
    allowed = [(operator.n_atoms,), (len(x), operator.n_atoms)]
    if tensor and (kind not in ("soft", "ridge", "simplex") or tuple(weight.shape) not in allowed):
        raise ValueError(
            f"`weight` must be one number, or for 'soft', 'ridge' and 'simplex' have shape {allowed[0]} "
            f"or {allowed[1]}, got shape {tuple(weight.shape)} with {kind!r}."
        )
    if not tensor and (isinstance(weight, bool) or not isinstance(weight, int | float | Tensor)):
        raise TypeError(f"`weight` must be a number or a tensor, got {weight!r}.")
    values = torch.as_tensor(weight).detach()
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise ValueError(f"`weight` must be finite and not negative, got {float(values.min()):g}.")
    return weight.to(x) if tensor else float(weight)


@torch.no_grad()
def _or_default(
    weight: float | Tensor | None, operator: Operator, x: Tensor, bias: Tensor | None
) -> float | Tensor:
    """λ, or a tenth of the mean over rows of max_j |⟨x − b, d_j⟩|, above which a code is zero."""
    if weight is not None:
        return weight
    largest = []
    for rows in row_tiles(len(x), operator.n_atoms):
        centred = x[rows] if bias is None else x[rows] - bias
        largest.append(operator.adjoint(centred).abs().amax(dim=1))
    return DEFAULT_SHARE * float(torch.cat(largest).mean())


def _hard_weight(
    weight: float | Tensor | None, operator: Operator, x: Tensor, bias: Tensor | None
) -> float:
    """λ, or what an entry at the default threshold of soft shrinkage gains: half its square."""
    if weight is not None:
        return float(weight)
    return 0.5 * float(_or_default(None, operator, x, bias)) ** 2


def _cost(weight: float | Tensor, operator: Operator, x: Tensor) -> Tensor:
    return weight if isinstance(weight, Tensor) else x.new_full((operator.n_atoms,), weight)


def _needed(weight: float | Tensor | None) -> float | Tensor:
    if weight is None:
        raise ValueError("`weight` must be given for prox='ridge', got None. Or use 'identity'.")
    return weight


def _groups(groups: Tensor | None, operator: Operator) -> Tensor:
    whole = isinstance(groups, Tensor) and not groups.is_floating_point()
    if not whole or groups.shape != (operator.n_atoms,) or int(groups.min()) < 0:  # type: ignore[union-attr]
        raise ValueError(
            f"`groups` must be {operator.n_atoms} integers ≥ 0, one per atom, got "
            f"{tuple(groups.shape) if isinstance(groups, Tensor) else groups!r}. Number groups from 0."
        )
    return groups.long()  # type: ignore[union-attr]
