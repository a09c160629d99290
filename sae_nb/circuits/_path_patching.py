"""What one head tells another: the effect of a head's output on an answer through the queries, the keys or the
values of later heads alone.

The sender's output is exchanged for the corrupted run's while every head between it and the receiver keeps its
clean output; norms and MLPs are computed anew. What the receiver then would ask with, offer or hand on is put
into a clean run, from which everything follows freely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Seed, checked, shown
from sae_nb.circuits._asked import blocks, check_span, measured_copies
from sae_nb.circuits._heads import part_places
from sae_nb.circuits._patching import Pair, both_runs
from sae_nb.findings import Finding, column
from sae_nb.models._attention import AttentionParts, AttentionPlace, Side, watching
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.circuits._asked import Questions
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._running import Put

HeadName = tuple[int, int]
"""Layer and head."""

SIDES: tuple[Side, ...] = ("queries", "keys", "values")


class PathPatching(Finding):
    """Share of an answer's change that one head brings about through later heads; made by `path_patch`."""

    name: str
    """Of what is asked of the answers."""

    n_pairs: int
    clean: float
    corrupted: float
    """Of what is asked, the means over pairs."""

    sender: HeadName
    layer: Int[np.ndarray, " rows"] = field(metadata=column())
    head: Int[np.ndarray, " rows"] = field(metadata=column())
    """Of the receivers."""

    by: tuple[str, ...] = field(metadata=column())
    """What of the receiver hears the sender: "queries", "keys" or "values"."""

    effect: Float[np.ndarray, " rows"] = field(metadata=column())
    """Share of corrupted − clean."""

    control: Float[np.ndarray, " rows"] = field(metadata=column())
    """The same where the sender's output moves as far in a random direction."""

    @property
    def headline(self) -> str:
        """The answer's change, and the paths that carry most of it."""
        order = np.argsort(-np.abs(self.effect), kind="stable")[:3]
        paths = ", ".join(
            f"{self.by[i]} of {self.layer[i]}.{self.head[i]} {self.effect[i]:+.2f}" for i in order
        )
        return (
            f"{self.name}: {self.clean:.2f} → {self.corrupted:.2f}; of it head "
            f"{self.sender[0]}.{self.sender[1]} through the {paths}; control at most "
            f"{np.abs(self.control).max():.2f}"
        )


@checked(leave=("clean", "corrupted", "target", "sender", "receivers", "by"))
def path_patch(
    model: LiveModel,
    clean: Inputs,
    corrupted: Inputs,
    target: Questions = None,
    *,
    sender: HeadName,
    receivers: Sequence[HeadName] | None = None,
    by: Side | Sequence[Side] = SIDES,
    seed: Seed = 0,
) -> PathPatching:
    """Measure how much of an answer's change goes from one head through the inputs of later ones.

    Parameters
    ----------
    clean, corrupted, target
        As in `patch`.
    sender, receivers
        Heads as (layer, head); receivers in later layers, None: all of those. A path costs two forward passes
        of a pair.
    by
        Inputs of the receivers: "queries", "keys", "values".

    Returns
    -------
    `.table`: `layer`, `head`, `by`, `effect`, `control`.

    Raises
    ------
    ValueError, TypeError: If pairs do not align, are answered alike, or the heads are not there.

    Source
    ------
    Path patching: Wang et al., arXiv 2211.00593; Goldowsky-Dill et al., arXiv 2304.05969. MLPs between the two
    heads are computed anew, as there.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> heads = dict(sender=(0, 1), receivers=[(2, 0), (2, 3)])
    >>> found = path_patch(gpt, "One day she was", "One day he was", (" her", " his"), **heads)
    >>> len(found.table)
    6
    """
    places = part_places(model, "head")
    n_heads = cast(int, model.n_heads)
    sides = _checked_sides(by)
    sender, receivers = _checked_heads(model.name, len(places), n_heads, sender, receivers)
    names, pairs = both_runs(model, places, clean, corrupted, target, "noise")
    span = float(np.mean([pair.end - pair.start for pair in pairs]))
    check_span(span, pairs[0].start)
    paths = [(receiver, side) for receiver in receivers for side in sides]
    moved = np.mean(
        [_moved(model, places, pair, sender, paths, n_heads, seed) for pair in pairs], axis=0
    )
    return PathPatching(
        name=names.pop() if len(names) == 1 else "the clean answer − the corrupted one",
        n_pairs=len(pairs),
        clean=float(np.mean([pair.start for pair in pairs])),
        corrupted=float(np.mean([pair.end for pair in pairs])),
        sender=sender,
        layer=np.asarray([layer for (layer, _), _ in paths]),
        head=np.asarray([head for (_, head), _ in paths]),
        by=tuple(side for _, side in paths),
        effect=moved[0] / span,
        control=moved[1] / span,
    )


def _checked_sides(by: object) -> tuple[Side, ...]:
    listed = (by,) if isinstance(by, str) else tuple(by) if isinstance(by, Iterable) else ()
    sides = tuple(side for side in SIDES if side in listed)
    if not sides or len(sides) != len(listed):
        raise ValueError(f"`by` must be of {', '.join(SIDES)}, each once, got {shown(by)}.")
    return sides


def _checked_heads(
    name: str, n_layers: int, n_heads: int, sender: object, receivers: object
) -> tuple[HeadName, list[HeadName]]:
    """Return them as pairs of numbers."""

    def checked_head(which: str, given: object, first: int) -> HeadName:
        try:
            layer, head = map(int, given)  # type: ignore[call-overload]
            fits = first <= layer < n_layers and 0 <= head < n_heads
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f"`{which}` must be (layer, head) with a layer from {first} to {n_layers - 1} and a head from "
                f"0 to {n_heads - 1} for {name}, got {shown(given)}. Receivers are in later layers than the "
                "sender."
            )
        return layer, head

    told = checked_head("sender", sender, 0)
    if receivers is None:
        later = [(layer, head) for layer in range(told[0] + 1, n_layers) for head in range(n_heads)]
        if not later:
            raise ValueError(
                f"`sender` must be in front of another layer, got layer {told[0]} of {n_layers}."
            )
        return told, later
    listed = list(receivers) if isinstance(receivers, Iterable) else [receivers]
    return told, [checked_head("receivers", one, told[0] + 1) for one in listed]


def _moved(
    model: LiveModel,
    places: Sequence[HookPoint],
    pair: Pair,
    sender: HeadName,
    paths: Sequence[tuple[HeadName, Side]],
    n_heads: int,
    seed: int,
) -> Float[np.ndarray, "2 paths"]:
    """Return how far each path moves the answer, and how far with the control's output of the sender."""
    heard = _heard(model, places, pair, sender, {head[0] for head, _ in paths}, n_heads, seed)
    rows = [(path, version) for version in range(2) for path in paths]
    found: list[Tensor] = []
    for block in blocks(len(rows)):
        chosen = [rows[i] for i in block]

        def change(place: AttentionPlace, side: Side, x: Tensor, chosen: Any = chosen) -> Tensor:
            if place.stream in ("encoder", "cross"):
                return x
            x = x.clone()
            for row, (((layer, head), of), version) in enumerate(chosen):
                if layer == place.layer and of == side:
                    x[row, head] = heard[layer][side][version, head].to(x)
            return x

        with watching(model, change=change):
            found.append(measured_copies(model, pair.base, len(chosen), (), pair.measure))
    return torch.cat(found).double().numpy().reshape(2, len(paths)) - pair.start


def _heard(
    model: LiveModel,
    places: Sequence[HookPoint],
    pair: Pair,
    sender: HeadName,
    layers: set[int],
    n_heads: int,
    seed: int,
) -> dict[int, dict[Side, Float[Tensor, "2 heads time d"]]]:
    """Return the inputs of the receivers' layers after the sender alone changed, and after the control."""
    layer, head = sender
    found: dict[int, dict[Side, Tensor]] = {}

    def see(place: AttentionPlace, seen: AttentionParts) -> None:
        if place.layer in layers and place.stream in ("", "decoder"):
            found[place.layer] = dict(zip(SIDES, (seen.query, seen.key, seen.value), strict=True))

    x, source = (states[str(places[layer])] for states in (pair.x, pair.source))
    difference = (source - x).reshape(*x.shape[:-1], n_heads, -1)[..., head, :]
    drawn = torch.randn(difference.shape, generator=torch.Generator().manual_seed(seed)).to(
        difference
    )
    drawn *= difference.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)

    def exchange(y: Tensor) -> Tensor:
        y = y.clone()
        parts = y.reshape(*y.shape[:-1], n_heads, -1)
        parts[:1, ..., head, :] += difference.to(y)
        parts[1:, ..., head, :] += drawn.to(y)
        return parts.flatten(-2)

    def hold(place: HookPoint, y: Tensor) -> Tensor:
        return pair.x[str(place)].expand(y.shape).to(y)

    between = [place for place in places[layer + 1 :] if (place.layer or 0) < max(layers)]
    puts: list[tuple[HookPoint, Put]] = [(places[layer], exchange)]
    puts += [(place, partial(hold, place)) for place in between]
    with torch.no_grad(), watching(model, see):
        run(model, pair.base.copies(2), put=puts, answer="end")
    return found
