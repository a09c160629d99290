"""The captured vectors that become rows: never padding, by default no attention sinks, all of it stated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._massive import above, norm_limit
from sae_nb.activations._named_positions import ROLE_POSITIONS
from sae_nb.activations._positions import PositionPolicy
from sae_nb.models._answers import own_tokens
from sae_nb.models._inputs import to_device
from sae_nb.models._states import TokenAxes, by_place, layout_of, where_from

if TYPE_CHECKING:
    from sae_nb.models._inputs import Batch


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchRows:
    """The rows that one batch gives at one hook point."""

    x: Float[Tensor, "m d_in"]
    sample: Int[Tensor, " m"]
    position: Int[Tensor, " m"]
    layout: TokenAxes
    step: int | Int[Tensor, " m"] | None = None
    """Application of the module that a row is of; None: of the only one."""

    gradient: Float[Tensor, "m d_in"] | None = None
    norms: Float[Tensor, " m"] | None = None
    """Norms, where massive ones are looked for."""

    dropped: Counter[str] = field(default_factory=Counter)
    """Number of vectors left out, by reason."""

    massive: Sequence[Sequence[int]] = ()
    """Sample and position of those left out for their norm."""

    def first(self, n: int | None) -> BatchRows:
        """Return only the first `n` rows; None: all."""
        return self.chosen(slice(n))

    def chosen(self, rows: Tensor | slice) -> BatchRows:
        """Return some rows, by mask or by number."""
        return replace(
            self,
            x=self.x[rows],
            sample=self.sample[rows],
            position=self.position[rows],
            gradient=None if self.gradient is None else self.gradient[rows],
            step=self.step[rows] if isinstance(self.step, Tensor) else self.step,
        )

    def without_massive(self, policy: PositionPolicy, point: object) -> BatchRows:
        """Return the rows of one text without those of massive norm, where a policy leaves them out."""
        whole = torch.ones(1, len(self.x), dtype=torch.bool, device=self.x.device)
        return self.chosen(~policy.massive(self.x[None], whole, point)[0])

    def same_places(self, other: BatchRows) -> bool:
        """Return whether the rows of another hook point are of the same tokens."""
        pairs = ((self.sample, other.sample), (self.position, other.position))
        return all(torch.equal(a, b) for a, b in pairs)


class NormLimits:
    """The norm above which a row is massive, by hook point: ten times the median of the norms met so far.

    After `SETTLED` rows the limit stays: what a resumed capture drops must not depend on where it was cut.
    """

    SETTLED = 1024
    """Rows that a limit is taken from; the median of so many is within 2 % on real models. Ours."""

    def __init__(self, points: Iterable[str]) -> None:
        self._norms: dict[str, Tensor] = {name: torch.empty(0) for name in points}
        self._settled: dict[str, float] = {}
        self.in_place = False
        """Put another row in the place of a massive one, where the number of rows must not depend on what
        the model gives.
        """

    def of(self, name: str) -> float:
        """Return the limit at a hook point."""
        limit = self._settled.get(name)
        return norm_limit(self._norms[name]) if limit is None else limit

    def settle(self) -> None:
        """Keep the limits as they are."""
        self._settled = {name: self.of(name) for name in self._norms}

    def without_massive(self, rows: Mapping[str, BatchRows]) -> dict[str, BatchRows]:
        """Take a batch's norms in; return its rows without those that are massive at any hook point."""
        massive_rows = {
            name: above(self._learn(name, one), self.of(name)) for name, one in rows.items()
        }
        if not any(bool(massive.any()) for massive in massive_rows.values()):
            return {name: _counted(one, 0) for name, one in rows.items()}
        remaining = {}
        for name, one in rows.items():
            alike = [massive_rows[other] for other in rows if one.same_places(rows[other])]
            remaining[name] = self._dropped(one, torch.stack(alike).any(dim=0))
        return remaining

    def _learn(self, name: str, rows: BatchRows) -> Tensor:
        norms = cast(Tensor, rows.norms)
        if name not in self._settled:
            self._norms[name] = torch.cat([self._norms[name], norms])[: self.SETTLED]
            if len(self._norms[name]) == self.SETTLED:
                self._settled[name] = norm_limit(self._norms[name])
        return norms

    def _dropped(self, rows: BatchRows, massive: Bool[Tensor, " m"]) -> BatchRows:
        places = torch.stack([rows.sample[massive], rows.position[massive]], dim=1).tolist()
        keep = (~massive).nonzero().flatten()
        if self.in_place and len(keep):
            # The last one kept before it; the first one kept for those at the very beginning.
            before = (~massive).cumsum(0).sub(1).clamp_min(0)
            keep = keep[before]
        return replace(_counted(rows.chosen(keep), len(places)), massive=places)

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """The facts that a resumed capture needs, as plain values."""
        waiting = {n: x.tolist() for n, x in self._norms.items() if n not in self._settled}
        # JSON has no infinity.
        settled = {n: x if x < math.inf else None for n, x in self._settled.items()}
        return {"norms": waiting, "settled": settled}

    def load(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue from `state`."""
        self._settled = {name: math.inf if x is None else x for name, x in state["settled"].items()}
        self._norms |= {name: torch.tensor(x) for name, x in state["norms"].items()}


def _counted(rows: BatchRows, massive: int) -> BatchRows:
    """Rows with the number of massive ones among what was dropped."""
    return replace(rows, dropped=Counter({**rows.dropped, "n_dropped_massive": massive}))


def end_to_end(parts: Sequence[BatchRows]) -> dict[str, Tensor | None]:
    """Return the rows of all parts as one: x, sample, position and, where there are some, gradient and step."""
    gradients = [part.gradient for part in parts if part.gradient is not None]
    steps = [part.step for part in parts if isinstance(part.step, Tensor)]
    return {
        "x": parts[0].x if len(parts) == 1 else torch.cat([part.x for part in parts]),
        "sample": torch.cat([part.sample for part in parts]),
        "position": torch.cat([part.position for part in parts]),
        "gradient": torch.cat(gradients) if gradients else None,
        "step": torch.cat(steps) if steps else None,
    }


def summed(counters: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Return the sum of counts, with the reasons that never occurred, which `+` leaves out."""
    total: Counter[str] = Counter()
    for one in counters:
        total.update(one)
    return total


def joined_rows(parts: Sequence[BatchRows]) -> BatchRows:
    """Return the rows of several applications of a module to one batch, one after the other."""
    norms = [part.norms for part in parts if part.norms is not None]
    numbered = [replace(part, step=torch.full_like(part.sample, part.step)) for part in parts]  # type: ignore[arg-type]
    joined: dict[str, Any] = end_to_end(numbered)
    return replace(
        parts[0],
        **joined,
        norms=torch.cat(norms) if norms else None,
        dropped=summed(part.dropped for part in parts),
    )


def batch_rows(
    x: Float[Tensor, "n ..."],
    batch: Batch,
    policy: PositionPolicy,
    point: str,
    *,
    layout: TokenAxes | None = None,
) -> BatchRows:
    """Lay out one captured tensor as rows, per token, cell or sample, and drop what the policy drops."""
    batch = batch.at(point)
    layout = layout or _known_layout(x, batch, point, policy.prefix_tokens)
    sample, position, keep, dropped = _kept(batch, layout, policy, point)
    if layout.first is not None:
        x = x[:, layout.first : layout.first + keep.shape[1]]
    x = by_place(x)
    x = x.reshape(*keep.shape, x.shape[-1])
    x = x.flatten(0, 1)
    if not bool(keep.all()):
        # By number: for a mask a card would be waited for.
        x = x[to_device(keep.flatten().nonzero().flatten(), x.device)]
    return BatchRows(
        x=x, sample=sample[keep], position=position[keep], layout=layout, dropped=dropped
    )


def count_rows(batch: Batch, layout: TokenAxes, policy: PositionPolicy) -> int:
    """Return how many rows a batch will give, without running the model."""
    return int(_kept(batch, layout, policy, "")[2].sum())


def _known_layout(x: Tensor, batch: Batch, point: str, prefix_tokens: int) -> TokenAxes:
    layout = layout_of(x, batch, point, prefix_tokens)
    if layout is not None:
        return layout
    n_tokens = None if batch.token_ids is None else batch.sample.shape[1]
    if n_tokens and x.ndim == 3 and x.shape[1] > n_tokens and point.startswith("resid_"):
        raise own_tokens(f"Activations at `{point}`", n_tokens, x.shape[1])
    wanted = f"(batch, {n_tokens}, d)" if n_tokens else "(batch, tokens, d)"
    raise ValueError(
        f"Activations at `{point}` must have shape (batch, d), {wanted} or, for images, (batch, "
        f"channels, height, width), got {tuple(x.shape)}. Choose another hook point; "
        "`model.hook_points()` lists those that fit."
    )


def _kept(
    batch: Batch, layout: TokenAxes, policy: PositionPolicy, point: str
) -> tuple[
    Int[Tensor, "batch columns"],
    Int[Tensor, "batch columns"],
    Bool[Tensor, "batch columns"],
    Counter[str],
]:
    sample, position = where_from(batch, layout, policy.prefix_tokens, point)
    if layout.columns is None and (batch.token_ids is not None or batch.keep is not None):
        keep, dropped = _keep_tokens(batch, position, policy)
        return sample, position, keep, dropped
    # Patches and cells have no padding; a pooled vector is no attention sink.
    sinks = policy.drop_first and layout.columns != 1
    keep = position > 0 if sinks else torch.ones_like(position, dtype=torch.bool)
    dropped = Counter(n_dropped_first=int((~keep).sum()))
    if policy.positions != "all":
        # Cells of a map are counted from 0: no tokens come before them.
        n_prefix = 0 if layout.grid is not None else policy.prefix_tokens
        asked = replace(policy, prefix_tokens=n_prefix)
        others = asked.others(position, keep, sample, batch.role)
        keep, dropped["n_dropped_others"] = keep & ~others, int(others.sum())
    return sample, position, keep, dropped


def check_roles(batch: Batch, policy: PositionPolicy) -> None:
    """Refuse texts without roles where rows are chosen by them."""
    if policy.positions in ROLE_POSITIONS and batch.role is None:
        raise ValueError(
            '`positions` must be "all", "last" or "not_first" for texts: only conversations have roles, '
            f'got {policy.positions!r}. Pass lists of messages, {{"role": …, "content": …}}.'
        )


def _keep_tokens(
    batch: Batch, position: Int[Tensor, "batch time"], policy: PositionPolicy
) -> tuple[Bool[Tensor, "batch time"], Counter[str]]:
    real = torch.ones_like(position, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
    dropped = policy.dropped(position, real, batch.state())
    counts = {f"n_dropped_{reason}": int(tokens.sum()) for reason, tokens in dropped.items()}
    keep = real & ~torch.stack([*dropped.values()]).any(dim=0)
    return keep, Counter({"n_dropped_padding": int((~real).sum()), **counts})
