"""What a monitor reads under one name: a direction, an atom, a probe, or a probe with attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import OneOf, check_atom, check_matrix

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

POOLS = ("mean", "max", "rolling")
Pool = Annotated[Literal["mean", "max", "rolling"], OneOf(POOLS)]
Values = Float[np.ndarray, "tokens"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Channel:
    """One name of a monitor: at a token x it reads ⟨x, vector⟩ − offset."""

    name: str
    hook_point: str
    vector: Float[Tensor, " d_in"]
    offset: float
    query: Float[Tensor, " d_in"] | None
    """Of an attention probe: the weight of a token in its text is the softmax of ⟨x, query⟩."""

    origin: str
    """What it was made of, in words."""


class Bench:
    """The channels of one hook point, read by one product: values first, then logits of attention."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.names = [one.name for one in channels]
        asked = [one for one in channels if one.query is not None]
        self.queries = {one.name: len(channels) + i for i, one in enumerate(asked)}
        rows = [one.vector for one in channels] + [one.query for one in asked]
        self.weight = torch.stack([row.float() for row in rows if row is not None])
        self.offset = torch.tensor([one.offset for one in channels] + [0.0] * len(asked))

    def __call__(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows columns"]:
        """Return ⟨x, row⟩ − offset for every row."""
        if self.weight.device != x.device:
            self.weight, self.offset = self.weight.to(x.device), self.offset.to(x.device)
        return torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, -self.offset)

    def scores(
        self, read: Float[np.ndarray, "tokens columns"], pool: str, k: int
    ) -> dict[str, float]:
        """Return what each channel says of a text, from what it read at its tokens."""
        found = {}
        for i, name in enumerate(self.names):
            column = self.queries.get(name)
            values = read[:, i]
            found[name] = (
                pooled(values, pool, k) if column is None else attended(values, read[:, column])
            )
        return found


def by_hook_point(channels: Sequence[Channel]) -> dict[str, Bench]:
    """Return the channels of each hook point."""
    groups: dict[str, list[Channel]] = {}
    for one in channels:
        groups.setdefault(one.hook_point, []).append(one)
    return {name: Bench(some) for name, some in groups.items()}


def pooled(values: Values, pool: str, k: int) -> float:
    """Return mean, maximum, or the largest mean of k neighbours; of a shorter text its mean."""
    if pool == "max":
        return float(values.max())
    if pool == "mean" or k >= len(values):
        return float(values.mean())
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return float((sums[k:] - sums[:-k]).max() / k)


def attended(values: Values, logits: Values) -> float:
    """Return the mean of values weighted by the softmax of logits."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return float(weights @ values / weights.sum())


def threshold_of(scores: Float[np.ndarray, " n"], fpr: float) -> float:
    """Return the ⌈(n + 1)(1 − fpr)⌉-th smallest score: a further one like them is above it at most so often."""
    rank = int(np.ceil((len(scores) + 1) * (1 - fpr) - 1e-9))
    return float(np.sort(scores)[max(rank, 1) - 1])


def channels_of(model: LiveModel, given: Any) -> tuple[Channel, ...]:
    """Return what was asked for as channels of a model; whatever cannot be read in it is refused."""
    if not isinstance(given, Mapping) or not given:
        raise ValueError(
            "`channels` must name at least one direction, (sae, atom) or probe, got "
            f'{given!r:.80}. Pass a dictionary such as {{"polite": direction}}.'
        )
    return tuple(_channel(model, str(name), one) for name, one in given.items())


def _channel(model: LiveModel, name: str, given: Any) -> Channel:
    query, offset = getattr(given, "query", None), 0.0
    if getattr(given, "vector", None) is not None:  # a direction, or an attention probe
        place, of, vector = given.hook_point, given.model_name, given.vector
        offset = given.middle
        origin = type(given).__name__ if query is not None else f"direction ({given.method})"
    elif _is_pair(given) and hasattr(given[0], "dictionary"):
        place, of, vector, offset, origin = _of_atom(name, *given)
    elif _is_pair(given) and isinstance(given[0], str):
        place, of, vector, offset, origin = _of_probe(name, *given)
    else:
        raise TypeError(
            f"`channels[{name!r}]` must be a direction, (sae, atom), (hook point, probe) or an attention "
            f"probe, got {type(given).__name__}. Make one with sn.direction or sn.load_sae."
        )
    if of not in (None, model.name):
        raise ValueError(
            f"`channels[{name!r}]` must be of {model.name}, got one of {of}. Make it on this model."
        )
    check_matrix(vector[None], name=f"channels[{name!r}]")
    point = model.hook_point(place)
    width = model.width(point)
    if width is not None and width != len(vector):
        raise ValueError(
            f"`channels[{name!r}]` must be as wide as {point}, {width}, got {len(vector)}. Name the hook point "
            "that it was made at."
        )
    return Channel(
        name=name,
        hook_point=str(point),
        vector=vector.detach().cpu().float(),
        offset=float(offset),
        query=None if query is None else query.detach().cpu().float(),
        origin=origin,
    )


def _is_pair(given: object) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2


def _of_atom(name: str, sae: Any, atom: object) -> tuple[str, str | None, Tensor, float, str]:
    if sae.hook_point is None or len(sae.sites) > 1:
        raise ValueError(
            f"`channels[{name!r}]` must be of an SAE of one hook point, got {type(sae).__name__} of "
            f"{sae.hook_point}. Set sae.hook_point, or pass (hook point, vector)."
        )
    number = check_atom(atom, sae.n_atoms)
    row = sae.dictionary[number].detach().float()
    vector = row / row.norm().clamp_min(1e-30)
    offset = float(sae.bias.detach().float() @ vector)
    return sae.hook_point, sae.model_name, vector, offset, f"atom {number} of {type(sae).__name__}"


def _of_probe(name: str, place: str, probe: Any) -> tuple[str, str | None, Tensor, float, str]:
    weight = getattr(probe, "weight", probe)
    rows = torch.as_tensor(np.asarray(weight) if not isinstance(weight, Tensor) else weight).float()
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or len(rows) != 1:
        raise ValueError(
            f"`channels[{name!r}]` must be a probe of two classes or one vector, got weights of shape "
            f"{tuple(rows.shape)}. Pass (hook point, row) of one class."
        )
    bias = getattr(probe, "bias", None)
    offset = 0.0 if bias is None else -float(np.asarray(bias).reshape(-1)[0])
    return place, None, rows[0], offset, "vector" if bias is None else "probe"
