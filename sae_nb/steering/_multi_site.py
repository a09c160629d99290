"""A splice of several hook points at once: each is replaced with what can be known when it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._sites import AND
from sae_nb.models._interventions import Backend, Intervention
from sae_nb.steering._request import Edit, check_hook_point, check_width
from sae_nb.steering.edits import Change, MaskedEdit, Positions, Tap, replacing

if TYPE_CHECKING:
    from sae_nb.models import HookPoint, LiveModel


@dataclass(frozen=True, kw_only=True)
class Splices(Edit):
    """A change of a model at several hook points; positions are counted at the first."""

    parts: tuple[Edit, ...]

    def interventions(self, backend: Backend = "hooks") -> list[Intervention]:
        """Return those of all hook points, in order."""
        return [one for part in self.parts for one in part.interventions(backend)]


def named(hook_point: str | Sequence[str]) -> list[str]:
    """Return the names of one hook point or of several, in a list or joined as `acts.hook_point` has them."""
    names = hook_point.split(AND) if isinstance(hook_point, str) else [str(n) for n in hook_point]
    if not names:
        raise ValueError("`hook_point` must name at least one hook point, got an empty list.")
    return names


def splices(
    model: LiveModel, names: Sequence[str], edit: Change, where: Positions, *, keep_error: bool
) -> Splices:
    """Replace the activations at several hook points by one edit of all of them.

    The edit gets its sites side by side. Where the model is still at an earlier one, later ones are
    zero: an edit may use, for each of its parts, only what was read before.
    """
    if getattr(edit, "by_site", False) and not hasattr(edit, "write_at"):
        n = len(
            getattr(edit, "reads", ())
        )  # one code of all: at the first, the others are not reached
        raise ValueError(
            f"`edit` must be able to write a hook point before later ones are reached, and a code of "
            f"{type(edit).__name__} is of all its {n} sites. Splice an SAE, a transcoder or a "
            "CrossLayerTranscoder, or add a part of an atom: steer(model, hook_point, "
            "direction=c.dictionaries[site][atom])."
        )
    points = [check_hook_point(model, name) for name in names]
    widths = _widths(model, points, edit)
    running = _Running(edit, widths, names)
    parts = []
    for i, (point, tap) in enumerate(zip(points, _taps(model, points, edit), strict=True)):
        site = _Site(running, i, writes=None if tap is None else widths)
        change = replacing(site, keep_error=keep_error)
        parts.append(Edit(hook_point=point, edit=MaskedEdit(where, change, tap, at=point)))
    return Splices(hook_point=points[0], edit=parts[0].edit, parts=tuple(parts))


def _widths(model: LiveModel, points: list[HookPoint], edit: object) -> list[int]:
    """Width of each site, checked against those that a dictionary writes."""
    written = getattr(edit, "writes", None) or getattr(edit, "reads", None)
    if written is None:
        widths = [model.width(point) for point in points]
        if None in widths:
            raise ValueError(
                f"`hook_point` must have known widths where there are several, got {widths}. Splice one "
                "after the other."
            )
        return [int(width) for width in widths if width is not None]
    if len(written) != len(points):
        raise ValueError(
            f"`hook_point` must name one hook point for each of {len(written)} that "
            f"{type(edit).__name__} writes, got {len(points)}. See `target_hook_point`."
        )
    for point, width in zip(points, written, strict=True):
        check_width(model, point, width, "what it writes there")
    return list(written)


def _taps(model: LiveModel, points: list[HookPoint], edit: Change) -> Sequence[Tap | None]:
    """Where a dictionary reads, for each place where it writes; none for an edit that reads where it writes."""
    if getattr(edit, "writes", None) is None:
        return [None] * len(points)
    place = getattr(edit, "hook_point", None)
    if place is None:
        raise ValueError(
            f"`{type(edit).__name__}.hook_point` must say where it reads, and is None. Set it, such as "
            f'c.hook_point = "mlp_in.0{AND}mlp_in.1"; training on captured activations does.'
        )
    read = [model.hook_point(name) for name in named(place)]
    same = {one.place for one in read} & {one.place for one in points}
    if len(read) != len(points) or same:
        raise ValueError(
            f"`hook_point` must be where {type(edit).__name__} writes, one for each of {len(read)} that "
            f"it reads, got {', '.join(map(str, points))}. It reads {place}."
        )
    for point, width in zip(read, getattr(edit, "reads", ()), strict=True):
        check_width(model, point, width, "what it reads there")
    return [Tap(point) for point in read]


class _Running:
    """One run of a model through the sites of an edit, from the first to the last."""

    def __init__(self, edit: Change, widths: list[int], names: Sequence[str]) -> None:
        self.edit, self.widths, self.names = edit, widths, names
        self.seen: list[Tensor] = []

    def at(self, i: int, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_out"]:
        """Apply the edit to site i, from the activations so far."""
        if len(self.seen) < i:
            raise ValueError(
                f"`hook_point` must name hook points in the order in which the model reaches them, but "
                f'"{self.names[i]}" was reached before "{self.names[len(self.seen)]}".'
            )
        del self.seen[i:]
        layer_by_layer = getattr(self.edit, "write_at", None)
        if layer_by_layer is not None:
            written: Tensor = layer_by_layer(x, self.seen)
            return written
        self.seen.append(x)
        later = x.new_zeros(*x.shape[:-1], sum(self.widths[i + 1 :]))
        made = self.edit(torch.cat([*self.seen, later], dim=-1))
        return torch.split(made, self.widths, dim=-1)[i]


class _Site:
    """The edit of one of several sites."""

    def __init__(self, running: _Running, i: int, *, writes: Sequence[int] | None) -> None:
        self.running, self.i, self.writes = running, i, writes

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_out"]:
        """Return the replacement of x."""
        return self.running.at(self.i, x)
