"""Examples of the neurons of a graph: other inputs on which they fire, and which of them fire together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.atoms import AtomCatalogue
from sae_nb.atoms._captions import says_much
from sae_nb.atoms._names import AtomNames
from sae_nb.capturing import capture
from sae_nb.circuits._sites import Entries, NeuronSite
from sae_nb.circuits._unit_passes import UnitPasses
from sae_nb.codes import SparseCodes
from sae_nb.figures import visible_token
from sae_nb.models._running import run

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.circuits._record import Graph
    from sae_nb.models import LiveModel

TOGETHER = 8
"""Places that are read in one pass over the examples: bounds the memory."""

Key = tuple[str, int, int]
"""A neuron as it fires in a graph: its place, its number, and the sign it has there."""


class SomeNeurons:
    """Some neurons of an MLP as a dictionary that encodes: each by the sign it has in a graph."""

    def __init__(self, signs: Float[Tensor, " n"]) -> None:
        self.signs, self.d_in, self.n_atoms = signs, len(signs), len(signs)
        self.dictionary = torch.eye(len(signs))

    def encode(self, x: Float[Tensor, "rows n"]) -> SparseCodes:
        """Return strengths by the neurons' own signs; those of the other sign are silent."""
        return SparseCodes.from_dense((x * self.signs.to(x)).relu())


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronExamples:
    """Activations of a graph's neurons on examples, a catalogue for each place."""

    catalogues: Mapping[str, AtomCatalogue]
    columns: Mapping[Key, int]
    """Number of each neuron in the catalogue of its place."""

    names: Mapping[str, AtomNames]

    def at(self, place: str, unit: int, sign: int) -> tuple[AtomNames, int] | None:
        """Return the names at a place, and the number of a neuron there."""
        column = self.columns.get((place, unit, sign))
        return None if column is None else (self.names[place], column)


def signs_of(entries: Entries) -> list[int]:
    """Return the sign in which each neuron is stronger, on the input or on the contrast."""
    stronger = torch.where(entries.now.abs() >= entries.then.abs(), entries.now, entries.then)
    return [1 if value >= 0 else -1 for value in stronger.tolist()]


def examples_of(passes: UnitPasses, nodes: Sequence[Entries], inputs: Inputs) -> NeuronExamples:
    """Read the neurons of a graph on other inputs."""
    wanted: dict[str, list[tuple[int, int]]] = {}
    for site, entries in zip(passes.sites, nodes, strict=True):
        if isinstance(site, NeuronSite) and len(entries):
            pairs = zip(entries.unit.tolist(), signs_of(entries), strict=True)
            wanted[site.place] = sorted(set(pairs))
    catalogues = {
        place: _catalogue(acts, wanted[place])
        for place, acts in _captured(passes.model, inputs, list(wanted))
    }
    columns = {
        (place, unit, sign): i
        for place, pairs in wanted.items()
        for i, (unit, sign) in enumerate(pairs)
    }
    names = {place: AtomNames(catalogue) for place, catalogue in catalogues.items()}
    return NeuronExamples(catalogues=catalogues, columns=columns, names=names)


def _captured(
    model: LiveModel, inputs: Inputs, places: Sequence[str]
) -> Iterator[tuple[str, Activations]]:
    """Yield the activations of each place, a few places in one pass over the inputs."""
    for start in range(0, len(places), TOGETHER):
        several = list(places[start : start + TOGETHER])
        yield from capture(model, inputs, several, drop_massive=False, progress=False).items()


def _catalogue(acts: Activations, pairs: Sequence[tuple[int, int]]) -> AtomCatalogue:
    """A catalogue of some columns of activations."""
    units, signs = (torch.tensor(part) for part in zip(*pairs, strict=True))
    few = Activations(
        acts.x[:, units].float(),
        sample=acts.sample.as_subclass(Tensor),
        position=acts.position,
        hook_point=acts.hook_point,
        model_name=acts.model_name,
        context=acts.context,
    )
    neurons = SomeNeurons(signs.float())
    return AtomCatalogue(neurons, few, codes=neurons.encode(few.x))


def fires_on(examples: NeuronExamples, passes: UnitPasses, nodes: Sequence[Entries]) -> list[str]:
    """Return in a few words on what each node fires; empty where that is not one thing."""
    found = []
    for site, entries in zip(passes.sites, nodes, strict=True):
        for unit, sign in zip(entries.unit.tolist(), signs_of(entries), strict=True):
            book = examples.at(site.place, unit, sign)
            words = "" if book is None else book[0].caption(book[1])
            found.append(words if says_much(words) else "")
    return found


# -------------------------------------------------------------------------------------------------
# Which fire together.


def groups_of(
    graph: Graph, passes: UnitPasses, inputs: Inputs, least: float
) -> dict[str, tuple[int, ...]]:
    """See `AttributionGraph.groups`."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    adds, rows = graph.flow, graph.nodes
    neurons = rows[(rows.kind == "atom") & rows.place.str.startswith("mlp_post.")]
    x = _strengths(passes, neurons, inputs)
    found: list[tuple[int, ...]] = []
    signs = np.sign(adds[neurons.index])
    for key in sorted(set(zip(neurons.position, signs, strict=True))):
        here = np.flatnonzero((neurons.position.to_numpy() == key[0]) & (signs == key[1]))
        here = here[x[:, here].std(axis=0) > 0]
        if len(here) < 2:
            continue
        apart = np.clip(1 - np.corrcoef(x[:, here].T), 0, 2)
        np.fill_diagonal(apart, 0)
        tree = linkage(squareform(apart, checks=False), method="average")
        which = fcluster(tree, t=1 - least, criterion="distance")
        nodes = neurons.index.to_numpy()[here]
        members = (tuple(int(i) for i in nodes[which == one]) for one in np.unique(which))
        found += [several for several in members if len(several) > 1]
    found.sort(key=lambda several: -abs(float(adds[list(several)].sum())))
    return _named(graph, found, adds)


def _strengths(
    passes: UnitPasses, neurons: DataFrame, inputs: Inputs
) -> Float[np.ndarray, "rows n"]:
    """Values of each node's neuron at every position of some inputs."""
    places = list(dict.fromkeys(neurons.place))
    if inputs is None:
        batches = [passes.batch, *([] if passes.contrast is None else [passes.contrast])]
        states = [run(passes.model, batch, read=places, answer=False).states for batch in batches]
        found = {
            place: torch.cat([one[place].flatten(0, 1) for one in states]).float().cpu().numpy()
            for place in places
        }
    else:
        found = {
            place: acts.x.float().numpy() for place, acts in _captured(passes.model, inputs, places)
        }
    columns = [
        found[place][:, unit] * np.sign(value)
        for place, unit, value in zip(neurons.place, neurons.atom, neurons.value, strict=True)
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((1, 0))


def _named(
    graph: Graph, found: Sequence[tuple[int, ...]], adds: Float[np.ndarray, " n"]
) -> dict[str, tuple[int, ...]]:
    """Groups by the name that weighs most among their members, and the token at which they are."""
    named: dict[str, tuple[int, ...]] = {}
    says = graph.nodes["says"]
    for nodes in found:
        weight: Counter[str] = Counter()
        for node in nodes:
            weight[str(says[node])] += abs(float(adds[node]))  # type: ignore[assignment]
        words = next((name for name, _ in weight.most_common() if name), "no name yet")
        token = visible_token(graph.tokens[int(graph.nodes.position[nodes[0]])], bare=True)
        name = f"{words} at “{token}” (×{len(nodes)})"
        number = 2
        while name in named:
            name = f"{words} at “{token}” (×{len(nodes)}, {number})"
            number += 1
        named[name] = nodes
    return named
