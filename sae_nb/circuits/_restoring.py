"""The places that decide an answer: a state of one run put into another, each place by itself.

With x the state of the run that is changed at one place (a layer and a position, a head, or a head at a
position) and s that of the other run, the effect of the place is [m(x → s) − m(x)] / [m(s everywhere) − m(x)],
m being what is asked of the answer. Denoising puts states of the clean run into the corrupted one, noising the
reverse. Attribution patching is the first-order estimate ⟨s − x, ∂m/∂x⟩ of the numerator, for all places by
one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Seed, checked, shown
from sae_nb.circuits._asked import blocks, check_span, measured_copies
from sae_nb.circuits._graph_sites import one_by_one
from sae_nb.circuits._patching import Direction, Pair, Patching, States, both_runs, patch_atoms
from sae_nb.findings import Finding
from sae_nb.interrupts import ending_with
from sae_nb.models._running import run
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.circuits._asked import Questions
    from sae_nb.models import HookPoint, LiveModel

Way = Literal["exact", "attribution"]

SITES = {
    "resid": "resid_pre",
    "attn": "attn_out",
    "mlp": "mlp_out",
    "heads": "head_out",
    "heads_by_position": "head_out",
}
"""Kinds of places, and the hook point of each in a layer."""


class PatchMap(Finding):
    """The share of an answer's change that each place brings about; made by `patch`."""

    sites: str
    """Kind of place: "resid", "attn", "mlp" (layer and position), "heads" (layer and head) or
    "heads_by_position" (head and position)."""

    direction: Direction
    method: Way
    name: str
    """Name of what is asked of the answers."""

    n_pairs: int
    clean: float
    corrupted: float
    """Of what is asked, the means over pairs: logits, or the function's units."""

    rows: tuple[str, ...]
    """Numbers of layers, or "layer.head" for heads by position."""

    columns: tuple[str, ...]
    """Tokens of the first pair, as "clean → corrupted" where they differ; or numbers of heads."""

    effect: Float[np.ndarray, "rows columns"]
    """Share of clean − corrupted that the place alone restores (denoise) or breaks (noise)."""

    estimated: Float[np.ndarray, "rows columns"]
    """The same to first order: attribution patching."""

    control: Float[np.ndarray, "rows columns"]
    """The same as `effect` with states of an input that has nothing to do with the pair."""

    control_source: str
    """Origin of the control's states."""

    controls: Float[np.ndarray, "n rows columns"] | None = None
    """All controls, of which `control` is the first; None: there is that one alone."""

    @property
    def n_controls(self) -> int:
        """Number of controls."""
        return 1 if self.controls is None else len(self.controls)

    @property
    def control_ends(
        self,
    ) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]]:
        """The least and the largest share of the controls at each place; no change, 0, counts as one."""
        every = self.control[None] if self.controls is None else self.controls
        return every.min(axis=0).clip(max=0.0), every.max(axis=0).clip(min=0.0)

    @property
    def table(self) -> DataFrame:
        """`layer`, `head` and `position` as the kind of place has them, `token`, `effect`, `estimated`,
        `control`; the largest first.
        """
        import pandas as pd

        row, column = np.indices(self.effect.shape).reshape(2, -1)
        places = [tuple(map(int, name.split("."))) for name in self.rows]
        columns: dict[str, Any] = {"layer": np.asarray([place[0] for place in places])[row]}
        if self.sites == "heads_by_position":
            columns["head"] = np.asarray([place[1] for place in places])[row]
        columns[self.column] = column
        if self.column == "position":
            columns["token"] = np.asarray(self.columns, dtype=object)[column]
        for name in ("effect", "estimated", "control"):
            columns[name] = getattr(self, name).ravel()
        order = np.argsort(-np.abs(self.effect.ravel()), kind="stable")
        return pd.DataFrame(columns).iloc[order].reset_index(drop=True)

    @property
    def column(self) -> str:
        """Name of what the columns count: "head" or "position"."""
        return "head" if self.sites == "heads" else "position"

    @property
    def row(self) -> str:
        """Name of what the rows count: "layer", or "layer.head"."""
        return "layer.head" if self.sites == "heads_by_position" else "layer"

    @property
    def agreement(self) -> float:
        """Correlation of exact effects with estimates over all places; NaN where nothing was run exactly."""
        if self.method != "exact" or self.effect.size < 2:
            return float("nan")
        measured, estimated = self.effect.ravel(), self.estimated.ravel()
        if min(np.ptp(measured), np.ptp(estimated)) == 0:
            return float("nan")
        return float(np.corrcoef(measured, estimated)[0, 1])

    @property
    def headline(self) -> str:
        """The change of the answer, the first places, and the control's largest."""
        order = np.argsort(-np.abs(self.effect.ravel()), kind="stable")[:3]
        where = ", ".join(
            f"{self.rows[row]}.{column} {self.effect[row, column]:+.2f}"
            for row, column in zip(*np.unravel_index(order, self.effect.shape), strict=True)
        )
        done = {"denoise": "restored", "noise": "broken"}[self.direction]
        agreement = (
            f"; estimates correlate at {self.agreement:.2f}" if self.method == "exact" else ""
        )
        return (
            f"{self.name}: {self.corrupted:.2f} → {self.clean:.2f}, {done} by {self.row}.{self.column} "
            f"{where}; "
            f"control at most {np.abs(self.control).max():.2f}{agreement}"
        )

    def plot(self) -> Any:
        """Draw the effects as a map, and the control next to it, on one scale."""
        from sae_nb.figures import heatmaps, named_ticks, visible_token

        most = max(float(np.abs(self.effect).max()), 1.0)
        n = len(self.effect)
        figure = heatmaps(
            {"effect": self.effect, "control": self.control},
            ends=(-most, most),
            signed=True,
            hover=f"{self.row} %{{y}}, {self.column} %{{x}}: %{{z:.2f}}",
            bar="share",
            y=self.row,
            height=150 + 18 * n,
        )
        return figure.update_xaxes(named_ticks(map(visible_token, self.columns)))


@checked(leave=("clean", "corrupted", "target", "sites", "heads", "control"))
def patch(
    model: LiveModel,
    clean: Inputs,
    corrupted: Inputs,
    target: Questions = None,
    sites: str | SparseAutoencoder = "resid",
    *,
    direction: Direction = "denoise",
    method: Way = "exact",
    heads: Sequence[tuple[int, int]] | None = None,
    control: object = None,
    n_controls: Count = 1,
    callback: Callable[[int, int], None] | None = None,
    progress: bool = True,
    seed: Seed = 0,
) -> PatchMap | Patching:
    """Measure how much of an answer each place of a model carries, by exchanging its state for another run's.

    Parameters
    ----------
    clean, corrupted
        One input each or lists of equal length; the two of a pair have equally many positions. Several pairs
        are averaged, and then have one length (for "heads" any).
    target
        As in `attribution_graph`: an outcome, a pair as a tuple, a function. A list has one for each pair of
        inputs; a tuple of two lists their differences, such as `(pairs.targets, pairs.others)`. None: the clean
        input's top answer less the corrupted one's.
    sites
        "resid": the residual stream before each block, "attn", "mlp": what attention or the MLP of each block
        writes, by position; "heads": each attention head; "heads_by_position"; an SAE: see `patch_atoms`.
    direction
        "denoise": states of the clean run put into the corrupted one: places that suffice. "noise": the
        reverse: places that are needed.
    method
        "exact": each place in the running model, next to its estimate. "attribution": the estimate alone.
    heads
        For "heads_by_position", the heads that are patched, as pairs (layer, head); None: all of them.
    control
        An input as long as the pairs, or one for each, whose states are the control's. None: those of another
        pair of the same length, or as large a move in a random direction, by `seed`.
    n_controls
        Controls to draw and measure; each takes as long as the map.
    callback
        Called with the number of layers done and of all, after each; an error that it raises ends the patching.

    Raises
    ------
    ValueError, TypeError: If pairs do not align, are answered alike, or the model has no such places.
    KeyboardInterrupt: If interrupted; no map is kept, since its places would be of different numbers of pairs.

    Source
    ------
    Meng et al., arXiv 2202.05262; Wang et al., arXiv 2211.00593; noising and denoising: Zhang and Nanda, arXiv
    2309.16042; attribution patching: Syed et al., arXiv 2310.10348.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> found = patch(gpt, "One day she was", "One day he was", (" her", " his"), progress=False)
    >>> found.effect.shape == (gpt.n_layers, len(found.columns))
    True
    """
    _check_callback(callback)
    if control is not None and n_controls > 1:
        raise ValueError(
            f"`n_controls` must be 1 where `control` is given, got {n_controls}. Leave "
            "`control` out to draw them."
        )
    if not isinstance(sites, str):
        _check_alone(heads, control)
        ordered = (clean, corrupted) if direction == "denoise" else (corrupted, clean)
        return patch_atoms(model, sites, *ordered, target=target, seed=seed)
    places = _places(model, sites)
    cells = [_Cells(place, sites, int(model.n_heads or 1)) for place in places]
    if heads is not None:
        cells = _chosen(cells, heads, sites, model.name)
    names, pairs = both_runs(model, places, clean, corrupted, target, direction)
    if sites != "heads":
        _check_lengths(pairs)
    span = float(np.mean([pair.end - pair.start for pair in pairs]))
    check_span(span, pairs[0].start)
    if control is None:
        drawn = [_controls(pairs, seed + i * len(pairs)) for i in range(n_controls)]
        others, control_source = [states for states, _ in drawn], drawn[0][1]
    else:
        others, control_source = [_given(model, places, pairs, control)], "another input"
    by = partial(_measured, model) if method == "exact" else _estimated
    own = [pair.source for pair in pairs]
    asked = [(_estimated, own), (by, own), *((by, states) for states in others)]
    moves = _moves(cells, pairs, asked, callback, progress)
    estimated, effect, *against = (found / span for found in moves)
    first, last = (float(np.mean([getattr(p, end) for p in pairs])) for end in ("start", "end"))
    at_clean, at_corrupted = (last, first) if direction == "denoise" else (first, last)
    of_heads = tuple(map(str, range(cells[0].n_heads)))
    return PatchMap(
        sites=sites,
        direction=direction,
        method=method,
        name=names.pop() if len(names) == 1 else "the clean answer − the corrupted one",
        n_pairs=len(pairs),
        clean=at_clean,
        corrupted=at_corrupted,
        rows=tuple(name for one in cells for name in one.rows),
        columns=of_heads if sites == "heads" else pairs[0].tokens,
        effect=effect,
        estimated=estimated,
        control=against[0],
        control_source=control_source,
        controls=np.stack(against) if len(against) > 1 else None,
    )


def _moves(
    cells: Sequence[_Cells],
    pairs: Sequence[Pair],
    asked: Sequence[tuple[Callable[[Pair, States, _Cells], Tensor], Sequence[States]]],
    callback: Callable[[int, int], None] | None,
    progress: bool,
) -> list[Float[np.ndarray, "rows columns"]]:
    """Return how far every cell moves the answer, the mean over pairs: by each way, from its own states."""
    n_steps, done = len(cells) * len(asked), 0
    maps = []
    message = "The patching was interrupted; nothing of it is kept. The same call begins again."
    with (
        ending_with(lambda: (message, None)),
        progress_bar(n_steps, "patch", "layer", enabled=progress) as bar,
    ):
        for of, sources in asked:
            rows = []
            for one in cells:
                found = [of(pair, source, one) for pair, source in zip(pairs, sources, strict=True)]
                rows.append(torch.stack(found).mean(dim=0).double().cpu().numpy())
                done += 1
                bar.update(1)
                if callback is not None:
                    callback(done, n_steps)
            maps.append(np.concatenate(rows))
    return maps


class _Cells:
    """The cells of a map that are at one hook point: rows × columns, and the part of a state each is.

    "resid" and its like are one row of positions, "heads" one row of heads, "heads_by_position" a row of
    positions for each head.
    """

    def __init__(
        self, place: HookPoint | str, sites: str, n_heads: int, heads: Sequence[int] | None = None
    ) -> None:
        self.place, self.sites, self.n_heads = str(place), sites, n_heads
        self.layer = self.place.rpartition(".")[2]
        self.heads = list(range(n_heads)) if heads is None else list(heads)

    @property
    def rows(self) -> list[str]:
        """Name of each row."""
        if self.sites != "heads_by_position":
            return [self.layer]
        return [f"{self.layer}.{head}" for head in self.heads]

    def parts(self, x: Float[Tensor, "n places d"]) -> Float[Tensor, "..."]:
        """Return a state with its heads next to each other, where cells are of heads."""
        if not self.sites.startswith("heads"):
            return x
        return x.reshape(*x.shape[:-1], self.n_heads, -1)

    def pool(
        self, x: Float[Tensor, "1 places d"], reduce: Callable[..., Tensor]
    ) -> Float[Tensor, "rows columns"]:
        """Return one number for each cell: `reduce` over what belongs to it."""
        parts = self.parts(x)[0]
        if self.sites == "heads":
            return reduce(parts, dim=(0, 2))[None]
        if self.sites == "heads_by_position":
            return reduce(parts, dim=(2,))[:, self.heads].T
        return reduce(parts, dim=(1,))[None]

    def index(self, row: int, column: int) -> tuple[Any, ...]:
        """Return where a cell is in one input's parts."""
        if self.sites == "heads":
            return (slice(None), column)
        return (column, self.heads[row]) if self.sites == "heads_by_position" else (column,)


def _check_callback(callback: Callable[[int, int], None] | None) -> None:
    if callback is None:
        return
    takes_two = not isinstance(callback, type | torch.nn.Module)
    try:
        signature(callback).bind(None, None)
    except (TypeError, ValueError):
        takes_two = False
    if not takes_two:
        raise TypeError(
            "`callback` must be a function of two numbers, the layers done and all of them, got "
            f"{shown(callback)}. Write e.g. lambda done, of: print(done, of)."
        )


def _check_alone(heads: object, control: object) -> None:
    for name, given in (("heads", heads), ("control", control)):
        if given is not None:
            raise ValueError(
                f"`{name}` must be None where an SAE's atoms are patched, got {shown(given)}. Their control "
                "are atoms drawn at random."
            )


def _chosen(
    cells: Sequence[_Cells], heads: Sequence[tuple[int, int]], sites: str, name: str
) -> list[_Cells]:
    """Return the cells of some heads alone, in the order of layers."""
    if sites != "heads_by_position":
        raise ValueError(
            f"`heads` must be None unless sites='heads_by_position', got {shown(heads)} for {sites!r}. "
            'sites="heads" has all of them.'
        )
    by_layer: dict[int, list[int]] = {}
    n_heads, layers = cells[0].n_heads, [int(one.layer) for one in cells]
    for one in heads:
        pair = tuple(one) if isinstance(one, list | tuple) else ()
        whole = len(pair) == 2 and all(isinstance(n, int | np.integer) for n in pair)
        if not whole or pair[0] not in layers or not 0 <= pair[1] < n_heads:
            raise ValueError(
                f"`heads` must be pairs (layer, head) of {name}, with layers {layers[0]} to {layers[-1]} and "
                f"heads 0 to {n_heads - 1}, got {one!r}. Write e.g. heads=[(0, 2), (1, 1)]."
            )
        of_layer = by_layer.setdefault(int(pair[0]), [])
        if int(pair[1]) not in of_layer:
            of_layer.append(int(pair[1]))
    if not by_layer:
        raise ValueError(
            "`heads` must name at least one head, got none. Pass None for all of them."
        )
    return [
        _Cells(one.place, sites, n_heads, sorted(by_layer[int(one.layer)]))
        for one in cells
        if int(one.layer) in by_layer
    ]


def _places(model: LiveModel, sites: str) -> list[HookPoint]:
    if sites not in SITES:
        raise ValueError(
            f"`sites` must be {', '.join(map(repr, SITES))} or an SAE, got {sites!r}. Atoms are patched by "
            "passing their SAE."
        )
    places = [p for p in model.hook_points() if str(p).startswith(f"{SITES[sites]}.")]
    if not places or (SITES[sites] == "head_out" and model.n_heads is None):
        raise ValueError(
            f"`sites` must be places that {model.name} has, got {sites!r}, and it has no {SITES[sites]}. "
            "`model.hook_points()` lists those it has."
        )
    return places


def _check_lengths(pairs: Sequence[Pair]) -> None:
    lengths = [len(pair.tokens) for pair in pairs]
    if len(set(lengths)) > 1:
        raise ValueError(
            "`clean` must hold inputs of one length where positions are averaged, got "
            f"{min(lengths)} to {max(lengths)} tokens. Patch them one by one, or use sites='heads'."
        )


def _controls(pairs: Sequence[Pair], seed: int) -> tuple[list[States], str]:
    """Return states that have nothing to do with a pair: of another pair, else moves at random."""
    rng, others = np.random.default_rng(seed), list[States]()
    for i, pair in enumerate(pairs):
        alike = [j for j, one in enumerate(pairs) if j != i and len(one.tokens) == len(pair.tokens)]
        if not alike:
            return [_at_random(one, seed + k) for k, one in enumerate(pairs)], "random directions"
        others.append(pairs[int(rng.choice(alike))].source)
    return others, "other pairs"


def _at_random(pair: Pair, seed: int) -> States:
    """Return the states of the changed run, each moved at random as far as the pair is apart."""
    generator = torch.Generator().manual_seed(seed)
    moved = {}
    for name, x in pair.x.items():
        size = (pair.source[name] - x).norm(dim=-1, keepdim=True)
        way = torch.randn(x.shape, generator=generator).to(x)
        moved[name] = x + size * way / way.norm(dim=-1, keepdim=True)
    return moved


def _given(
    model: LiveModel, places: Sequence[HookPoint], pairs: Sequence[Pair], control: object
) -> list[States]:
    """Return the states of inputs that were given as control: one for all pairs, or one for each."""
    batches = one_by_one(model, control)
    if len(batches) not in (1, len(pairs)):
        raise ValueError(
            f"`control` must be one input or one for each pair, got {len(batches)} for {len(pairs)}."
        )
    with torch.no_grad():
        found: list[States] = [run(model, batch, read=places).states for batch in batches]
    states = found * len(pairs) if len(found) == 1 else found
    for pair, one in zip(pairs, states, strict=True):
        name = str(places[0])
        n, m = (x[name].shape[1] for x in (pair.x, one))
        if n != m:
            raise ValueError(
                f"`control` must have the number of tokens of the pair, {n}, got {m}. Change words to "
                "others of equally many tokens, or pass None."
            )
    return states


def _estimated(pair: Pair, source: States, cells: _Cells) -> Float[Tensor, "rows columns"]:
    place = cells.place
    along = (source[place] - pair.x[place]).float() * pair.slopes[place].float()
    return cells.pool(along, torch.sum)


def _measured(
    model: LiveModel, pair: Pair, source: States, cells: _Cells
) -> Float[Tensor, "rows columns"]:
    """Return what each cell's state changes, in the running model; where nothing differs that is 0."""
    new = source[cells.place]
    other = cells.parts(new)[0]
    moved = cells.pool((new - pair.x[cells.place]).abs(), torch.amax)
    differs = moved.nonzero().tolist()
    changes = torch.zeros(moved.shape)
    for block in blocks(len(differs)):
        chosen = [tuple(differs[i]) for i in block]

        def put(x: Tensor, chosen: Sequence[tuple[int, ...]] = chosen) -> Tensor:
            x = x.clone()
            parts = cells.parts(x)
            for i, (row, column) in enumerate(chosen):
                at = cells.index(row, column)
                parts[(i, *at)] = other[at].to(x)
            return parts.reshape(x.shape)

        found = measured_copies(model, pair.base, len(chosen), [(cells.place, put)], pair.measure)
        for (row, column), value in zip(chosen, found, strict=True):
            changes[row, column] = value - pair.start
    return changes
