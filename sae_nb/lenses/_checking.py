"""The score of a lens on held-out inputs: agreement and KL per layer, and atoms against the running model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.findings import Finding
from sae_nb.lenses._head import Head
from sae_nb.lenses._measuring import cut_at, measured_effects
from sae_nb.lenses._reading import Transport, compare, rows_at_once
from sae_nb.lenses._rows import Rows, rows_of
from sae_nb.statistics import rank_correlation

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from sae_nb.checks import Inputs

HITS = 10
"""Outputs that are compared as the most raised."""


class LensCheck(Finding):
    """Score of a lens on held-out inputs, next to no lens, a floor and a random control."""

    HEADLINE = "{kind} lens of {model_name} on {n_places} held-out places: {words}"

    kind: str
    model_name: str
    n_places: int
    table: DataFrame
    """Per layer and kind of place: `agreement` of the top output with the model's own and `kl` to it in
    nats, of the lens, of the logit lens (not of an encoder, which has none), of a floor (always the most
    frequent answer; the mean answer) and of a control (the lens at a random other place of the same kind)."""

    atoms: DataFrame | None = field(default=None)
    """Per direction: its kind (atom or random), strength, and how the lens's effects compare with the
    measured ones: rank correlation and hits of ten (of three for classes: whether the top one is right),
    of the lens and of the logit lens. None: not measured."""

    layer: int | None = None
    """Layer of the directions."""

    @property
    def words(self) -> str:
        """Agreement at the deepest layer, and the mean rank correlation of atoms."""
        last = self.table.iloc[-1]
        words = f"agreement at block {last['layer']:.0f} {last['agreement']:.2f} ({_logit(last)}control "
        words += f"{last['control agreement']:.2f})"
        if self.atoms is None:
            return words
        means = self.atoms_by_kind
        own = means.iloc[0]
        return (
            f"{words}; effects of {own.name}s: rank correlation {own['correlation']:.2f} "
            f"({_logit(own, 'correlation')}random directions {means.loc['random', 'correlation']:.2f})"
        )

    @property
    def atoms_by_kind(self) -> DataFrame:
        """Means of `atoms` over atoms, and over random directions."""
        if self.atoms is None:
            raise ValueError(
                "`check` must be given an SAE or directions to score effects; pass sae=."
            )
        return self.atoms.drop(columns="direction").groupby("kind", sort=False).mean()

    @property
    def below(self) -> list[str | DataFrame]:
        """The table of layers, and the means of the directions."""
        shown = self.table if self.atoms is None else self.atoms_by_kind.reset_index()
        return [self.table, shown] if self.atoms is not None else [shown]


def _logit(line: Series, name: str = "agreement") -> str:
    """Return the logit lens's score in words; empty in an encoder, which has none."""
    score = line.get(f"logit {name}")
    return "" if score is None else f"logit lens {score:.2f}, "


def check_layers(
    kind: str,
    layers: Sequence[int],
    places: Sequence[str],
    head: Head,
    rows: Rows,
    transport: Transport,
    *,
    plain: bool,
    seed: int,
) -> LensCheck:
    """Score each layer at rows, by kind of place; `plain`: next to the logit lens."""
    import pandas as pd

    generator = torch.Generator().manual_seed(seed)
    lines = []
    for number, place in enumerate(places):
        here = rows.chosen((rows.kind == number).nonzero().flatten())
        if len(here) < 2:
            continue
        # Another place of the same kind: never the row itself.
        shift = int(torch.randint(1, len(here), (), generator=generator))
        other = torch.randperm(len(here), generator=generator)
        elsewhere = torch.empty_like(other)
        elsewhere[other] = other.roll(shift)
        floor = _floor(head, here)
        for i, layer in enumerate(layers):
            x = here.states[i]
            seen = {"": transport(layer, x, here.kind)} | ({"logit ": x} if plain else {})
            seen["control "] = transport(layer, x[elsewhere], here.kind)
            line: dict[str, Any] = {"layer": layer, "place": place}
            for name, moved in seen.items():
                found = compare(head, moved, here, k=1)
                line[f"{name}agreement"] = float((found.rank == 0).float().mean())
                line[f"{name}kl"] = float(found.kl.mean())
            lines.append(line | floor)
    table = pd.DataFrame(lines)
    if len(places) == 1:
        table = table.drop(columns="place")
    return LensCheck(kind=kind, model_name=head.model.name, n_places=len(rows), table=table)


@torch.no_grad()
def _floor(head: Head, rows: Rows) -> dict[str, float]:
    """Return the score of the most frequent answer, and of the mean answer."""
    total = torch.zeros(head.n_outputs, dtype=torch.float64)
    entropy, tops = 0.0, []
    most = rows_at_once(head)
    for begin in range(0, len(rows), most):
        own = head.log_probabilities(rows.last[begin : begin + most].to(head.device))
        total += own.exp().double().sum(dim=0).cpu()
        entropy -= float((own.exp() * own).sum())
        tops.append(own.argmax(dim=1).cpu())
    mean = total / len(rows)
    counts = torch.cat(tops).bincount()
    cross = -float((mean * mean.clamp_min(1e-30).log()).sum())
    return {
        "floor agreement": float(counts.max()) / len(rows),
        "floor kl": cross - entropy / len(rows),
    }


def check_atoms(
    found: LensCheck,
    head: Head,
    sae: object,
    directions: Float[Tensor, "n d"],
    layer: int,
    point: str,
    held_out: Inputs,
    effects: dict[str, Effects],
    *,
    skip_first: int,
    n_atoms: int,
    seed: int,
    context_length: int | None,
) -> LensCheck:
    """Add the score of effects, by name of the lens: of directions that are added at `point`, after `layer`,
    and of random ones of the same sizes.
    """
    import pandas as pd

    model, generator = head.model, torch.Generator().manual_seed(seed)
    cut = cut_at(model, context_length)
    x = rows_of(head, held_out, [point], skip_first=skip_first, context_length=cut).states[0]
    which, size = _chosen(sae, directions, x, n_atoms, generator)
    own = directions[which]
    random = torch.randn(own.shape, generator=generator)
    random = random / random.norm(dim=1, keepdim=True) * own.norm(dim=1, keepdim=True)
    added, strengths = torch.cat([own, random]), size.repeat(2).tolist()
    truth = measured_effects(
        model,
        held_out,
        point,
        added,
        strengths,
        skip_first=skip_first,
        context_length=context_length,
    )
    columns: dict[str, Any] = {
        "direction": [*map(str, which.tolist()), *(f"random {i}" for i in range(len(random)))],
        "kind": ["direction" if sae is None else "atom"] * len(own) + ["random"] * len(random),
        "strength": strengths,
    }
    for name, of in effects.items():
        correlation, hits, top = scored(of(added), truth)
        columns |= {f"{name}correlation": correlation, f"{name}hits": hits, f"{name}top": top}
    return replace(found, atoms=pd.DataFrame(columns), layer=layer)


Effects = Callable[[Tensor], Tensor]
"""Directions (n, d) → their effects (n, n_outputs)."""


def _chosen(
    sae: object, directions: Tensor, x: Tensor, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Directions that are measured, and the strength of each: an atom's largest on these rows."""
    if not hasattr(sae, "encode"):
        which = torch.randperm(len(directions), generator=generator)[:n]
        typical = float(x.norm(dim=1).median())
        return which, 0.3 * typical / directions[which].norm(dim=1).clamp_min(1e-12)
    with torch.no_grad():
        codes = sae.encode(x)
    strongest = codes.max(axis=0).detach().float().cpu()
    alive = (strongest > 0).nonzero().flatten()
    if not len(alive):
        raise ValueError(
            f"`held_out` must make at least one atom fire, and none of {len(strongest)} does. Pass more."
        )
    which = alive[torch.randperm(len(alive), generator=generator)[:n]]
    return which, strongest[which]


def scored(
    guess: Float[Tensor, "n n_outputs"], truth: Float[Tensor, "n n_outputs"]
) -> tuple[list[float], list[float], list[bool]]:
    """Return rank correlation, share of the most raised outputs found, and whether the top one is right."""
    k = min(HITS, max(1, truth.shape[1] // 3))
    correlations, hits, tops = [], [], []
    for one, other in zip(guess, truth, strict=True):
        correlations.append(rank_correlation(one.numpy(), other.numpy()))
        best = set(one.topk(k).indices.tolist()) & set(other.topk(k).indices.tolist())
        hits.append(len(best) / k)
        tops.append(int(one.argmax()) == int(other.argmax()))
    return correlations, hits, tops
