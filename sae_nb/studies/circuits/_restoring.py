"""The places that decide an answer: a state of one run put into another, each place by itself.

With x the state of the run that is changed at one place (a layer and a position, or a head) and s that of
the other run, the effect of the place is [m(x → s) − m(x)] / [m(s everywhere) − m(x)], m being what is asked
of the answer. Denoising puts states of the clean run into the corrupted one, noising the reverse. Attribution
patching is the first-order estimate ⟨s − x, ∂m/∂x⟩ of the numerator, for all places by one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Seed, checked
from sae_nb.findings import Finding
from sae_nb.interrupts import ending_with
from sae_nb.models import run
from sae_nb.progress import progress_bar
from sae_nb.studies.circuits._asked import Measure, asked
from sae_nb.studies.circuits._copies import blocks, measured_copies
from sae_nb.studies.circuits._nodes import position_texts
from sae_nb.studies.circuits._patching import Patching, paired, patch_atoms, top_answers

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, HookPoint, LiveModel

Direction = Literal["denoise", "noise"]
Way = Literal["exact", "attribution"]

SITES = {"resid": "resid_pre", "attn": "attn_out", "mlp": "mlp_out", "heads": "head_out"}
"""Kinds of places, and the hook point of each in a layer."""


class PatchMap(Finding):
    """The share of an answer's change that each place brings about; made by `patch`."""

    sites: str
    """Kind of place: "resid", "attn", "mlp" (layer and position), or "heads" (layer and head)."""

    direction: Direction
    method: Way
    name: str
    """Name of what is asked of the answers."""

    n_pairs: int
    clean: float
    corrupted: float
    """Of what is asked, the means over pairs: logits, or the function's units."""

    columns: tuple[str, ...]
    """Tokens of the first pair, as "clean → corrupted" where they differ; or numbers of heads."""

    effect: Float[np.ndarray, "layers columns"]
    """Share of clean − corrupted that the place alone restores (denoise) or breaks (noise)."""

    estimated: Float[np.ndarray, "layers columns"]
    """The same to first order: attribution patching."""

    control: Float[np.ndarray, "layers columns"]
    """The same as `effect` with states of an input that has nothing to do with the pair."""

    control_source: str
    """Origin of the control's states."""

    @property
    def table(self) -> DataFrame:
        """`layer`, `position` or `head`, `token`, `effect`, `estimated`, `control`; the largest first."""
        import pandas as pd

        layer, index = np.indices(self.effect.shape).reshape(2, -1)
        of_heads = self.sites == "heads"
        columns = {"layer": layer, "head" if of_heads else "position": index}
        if not of_heads:
            columns["token"] = np.asarray(self.columns, dtype=object)[index]
        for name in ("effect", "estimated", "control"):
            columns[name] = getattr(self, name).ravel()
        order = np.argsort(-np.abs(self.effect.ravel()), kind="stable")
        return pd.DataFrame(columns).iloc[order].reset_index(drop=True)

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
        first = self.table.head(3)
        column = "head" if self.sites == "heads" else "position"
        where = ", ".join(
            f"{layer}.{index} {effect:+.2f}"
            for layer, index, effect in zip(first.layer, first[column], first.effect, strict=True)
        )
        done = {"denoise": "restored", "noise": "broken"}[self.direction]
        said = f"; estimates correlate at {self.agreement:.2f}" if self.method == "exact" else ""
        return (
            f"{self.name}: {self.corrupted:.2f} → {self.clean:.2f}, {done} by layer.{column} {where}; "
            f"control at most {np.abs(self.control).max():.2f}{said}"
        )

    def plot(self) -> Any:
        """Draw the effects as a map, and the control next to it, on one scale."""
        from sae_nb.figures import heatmaps, named_ticks, visible_token

        most = max(float(np.abs(self.effect).max()), 1.0)
        n = len(self.effect)
        column = "head" if self.sites == "heads" else "position"
        figure = heatmaps(
            {"effect": self.effect, "control": self.control},
            ends=(-most, most),
            signed=True,
            hover=f"layer %{{y}}, {column} %{{x}}: %{{z:.2f}}",
            bar="share",
            y="layer",
            height=150 + 18 * n,
        )
        return figure.update_xaxes(named_ticks(map(visible_token, self.columns)))


States = Mapping[str, Float[Tensor, "1 places d"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """A run that is changed, and the states that are put into it."""

    base: Batch
    x: States
    source: States
    slopes: States
    """∂m/∂x of the run that is changed."""

    measure: Measure
    start: float
    end: float
    """Of the answers, the number that is followed: in the run that is changed, and in the other."""

    tokens: tuple[str, ...]


@checked(leave=("clean", "corrupted", "target", "sites"))
def patch(
    model: LiveModel,
    clean: Any,
    corrupted: Any,
    target: Any = None,
    sites: Any = "resid",
    *,
    direction: Direction = "denoise",
    method: Way = "exact",
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
        As in `attribution_graph`: an outcome, a pair of them as a tuple, a function; a list has one for each
        pair. None: the clean input's top answer less the corrupted one's, pair by pair.
    sites
        "resid": the residual stream before each block, at each position; "attn", "mlp": what attention or the
        MLP of each block writes, at each position; "heads": each attention head, at all positions together;
        an SAE: its atoms, see `patch_atoms`.
    direction
        "denoise": states of the clean run put into the corrupted one, which shows the places that suffice.
        "noise": the reverse, which shows the places that are needed.
    method
        "exact": each place in the running model; its estimate is computed too, and `agreement` is their
        correlation. "attribution": the estimate alone, one backward pass a pair.
    seed
        Of the control: states of another pair's clean input of the same length, or where there is none, as
        large a move in a random direction.

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
    if not isinstance(sites, str):
        ordered = (clean, corrupted) if direction == "denoise" else (corrupted, clean)
        return patch_atoms(model, sites, *ordered, target=target, seed=seed)
    places = _places(model, sites)
    names, pairs = _runs(model, places, clean, corrupted, target, direction)
    if sites != "heads":
        _check_lengths(pairs)
    n_parts = int(model.n_heads or 1) if sites == "heads" else 0
    span = float(np.mean([pair.end - pair.start for pair in pairs]))
    if abs(span) < 1e-6:
        raise ValueError(
            "`clean` and `corrupted` must be answered differently in what is asked, got "
            f"{pairs[0].start:.3f} for both. Pass another target or pair."
        )
    others, control_source = _controls(pairs, seed)

    def shares(of: Callable[[_Pair, States, HookPoint], Tensor], sources: Sequence[States]) -> Any:
        rows = []
        for place in places:
            found = [of(pair, source, place) for pair, source in zip(pairs, sources, strict=True)]
            rows.append(torch.stack(found).mean(dim=0).double().cpu().numpy() / span)
            bar.update(1)
        return np.stack(rows)

    def first_order(pair: _Pair, source: States, place: HookPoint) -> Tensor:
        return _estimated(pair, source, str(place), n_parts)

    def in_the_model(pair: _Pair, source: States, place: HookPoint) -> Tensor:
        return _measured(model, pair, source, place, n_parts)

    by = in_the_model if method == "exact" else first_order
    own = [pair.source for pair in pairs]
    n_steps = len(places) * 3
    said = "The patching was interrupted; nothing of it is kept. The same call begins again."
    with (
        ending_with(lambda: (said, None)),
        progress_bar(n_steps, "patch", "layer", enabled=progress) as bar,
    ):
        estimated = shares(first_order, own)
        effect = shares(by, own)
        control = shares(by, others)
    first, last = (float(np.mean([getattr(p, end) for p in pairs])) for end in ("start", "end"))
    at_clean, at_corrupted = (last, first) if direction == "denoise" else (first, last)
    return PatchMap(
        sites=sites,
        direction=direction,
        method=method,
        name=names.pop() if len(names) == 1 else "the clean answer − the corrupted one",
        n_pairs=len(pairs),
        clean=at_clean,
        corrupted=at_corrupted,
        columns=tuple(map(str, range(n_parts))) if n_parts else pairs[0].tokens,
        effect=effect,
        estimated=estimated,
        control=control,
        control_source=control_source,
    )


def _places(model: LiveModel, sites: str) -> list[HookPoint]:
    if sites not in SITES:
        raise ValueError(
            f"`sites` must be {', '.join(map(repr, SITES))} or an SAE, got {sites!r}. Atoms are patched by "
            "passing their SAE."
        )
    places = [p for p in model.hook_points() if str(p).startswith(f"{SITES[sites]}.")]
    if not places or (sites == "heads" and model.n_heads is None):
        raise ValueError(
            f"`sites` must be places that {model.name} has, got {sites!r}, and it has no {SITES[sites]}. "
            "`model.hook_points()` lists those it has."
        )
    return places


def _runs(
    model: LiveModel,
    places: Sequence[HookPoint],
    clean: Any,
    corrupted: Any,
    target: Any,
    direction: Direction,
) -> tuple[set[str], list[_Pair]]:
    """Run each pair of inputs, the one that is changed with its graph."""
    names, pairs = set(), []
    for one, other, asked_of in paired(model, clean, corrupted, target):
        base, source = (other, one) if direction == "denoise" else (one, other)
        with torch.no_grad():
            away = run(model, source, read=places)
        with torch.inference_mode(False), torch.enable_grad():
            here = run(model, base, read=places, grad=places)
            answers = (away, here) if direction == "denoise" else (here, away)
            answer, second = (ran.answer.one() for ran in answers)
            kind = answers[0].answer.kind
            _check_shapes(model, one, other, here.states, away.states)
            name, measure = asked(model, answer, kind, top_answers(asked_of, answer, second, kind))
            value = measure(here.answer.one())
            slopes = here.gradients(value)
        names.add(name)
        x = {str(p): here.states[str(p)].detach() for p in places}
        pairs.append(
            _Pair(
                base=base,
                x=x,
                source={str(p): away.states[str(p)] for p in places},
                slopes={str(p): slopes.get(str(p), torch.zeros_like(x[str(p)])) for p in places},
                measure=measure,
                start=float(value.detach()),
                end=float(measure(away.answer.one())),
                tokens=_columns(model, one, other, x[str(places[0])].shape[1]),
            )
        )
    return names, pairs


def _columns(model: LiveModel, clean: Batch, corrupted: Batch, n: int) -> tuple[str, ...]:
    one, other = (position_texts(model, batch, n) for batch in (clean, corrupted))
    return tuple(a if a == b else f"{a} → {b}" for a, b in zip(one, other, strict=True))


def _check_shapes(
    model: LiveModel, clean: Batch, corrupted: Batch, here: States, away: States
) -> None:
    if all(here[name].shape == away[name].shape for name in here):
        return
    said = "equally many positions"
    if clean.token_ids is not None and corrupted.token_ids is not None:
        texts = [
            [*position_texts(model, batch, batch.token_ids.shape[1])]  # type: ignore[union-attr]
            for batch in (clean, corrupted)
        ]
        n, m = map(len, texts)
        raise ValueError(
            f"`clean` and `corrupted` must have equally many tokens, got {n} and {m}: {texts[0]} and "
            f"{texts[1]}. Change words to others of equally many tokens."
        )
    name = next(name for name in here if here[name].shape != away[name].shape)
    shapes = tuple(away[name].shape), tuple(here[name].shape)
    raise ValueError(
        f"`clean` and `corrupted` must have {said}, got states of shapes {shapes[0]} and {shapes[1]}. "
        "Pass inputs of one shape."
    )


def _check_lengths(pairs: Sequence[_Pair]) -> None:
    lengths = [len(pair.tokens) for pair in pairs]
    if len(set(lengths)) > 1:
        raise ValueError(
            "`clean` must hold inputs of one length where positions are averaged, got "
            f"{min(lengths)} to {max(lengths)} tokens. Patch them one by one, or use sites='heads'."
        )


def _controls(pairs: Sequence[_Pair], seed: int) -> tuple[list[States], str]:
    """Return states that have nothing to do with a pair: of another pair, else moves at random."""
    rng, others = np.random.default_rng(seed), list[States]()
    for i, pair in enumerate(pairs):
        alike = [j for j, one in enumerate(pairs) if j != i and len(one.tokens) == len(pair.tokens)]
        if not alike:
            return [_at_random(one, seed + k) for k, one in enumerate(pairs)], "random directions"
        others.append(pairs[int(rng.choice(alike))].source)
    return others, "other pairs"


def _at_random(pair: _Pair, seed: int) -> States:
    """Return the states of the changed run, each moved at random as far as the pair is apart."""
    generator = torch.Generator().manual_seed(seed)
    moved = {}
    for name, x in pair.x.items():
        size = (pair.source[name] - x).norm(dim=-1, keepdim=True)
        way = torch.randn(x.shape, generator=generator).to(x)
        moved[name] = x + size * way / way.norm(dim=-1, keepdim=True)
    return moved


def _estimated(pair: _Pair, source: States, place: str, n_parts: int) -> Float[Tensor, " columns"]:
    along = (source[place] - pair.x[place]).float() * pair.slopes[place].float()
    if not n_parts:
        return along.sum(dim=-1)[0]
    return _side_by_side(along, n_parts).sum(dim=(0, 1, 3))


def _measured(
    model: LiveModel, pair: _Pair, source: States, place: HookPoint, n_parts: int
) -> Float[Tensor, " columns"]:
    """Return what each column's state changes, in the running model; where nothing differs that is 0."""
    new = source[str(place)]
    moved = (new - pair.x[str(place)]).abs()
    parts = _side_by_side(moved, n_parts).amax(dim=(0, 1, 3)) if n_parts else moved.amax(-1)[0]
    differs = parts.nonzero()[:, 0].tolist()
    changes = torch.zeros(len(parts))
    for block in blocks(len(differs)):
        columns = [differs[i] for i in block]

        def put(x: Tensor, columns: Sequence[int] = columns) -> Tensor:
            x = x.clone()
            split = _side_by_side(x, n_parts) if n_parts else x
            other = _side_by_side(new, n_parts) if n_parts else new
            for row, column in enumerate(columns):
                if n_parts:
                    split[row, :, column] = other[0, :, column].to(x)
                else:
                    split[row, column] = other[0, column].to(x)
            return split.flatten(-2) if n_parts else split

        found = measured_copies(model, pair.base, len(columns), [(str(place), put)], pair.measure)
        changes[columns] = found - pair.start
    return changes


def _side_by_side(x: Tensor, n_parts: int) -> Float[Tensor, "... n_parts d"]:
    """Return what parts, such as heads, write next to each other."""
    return x.reshape(*x.shape[:-1], n_parts, -1)
