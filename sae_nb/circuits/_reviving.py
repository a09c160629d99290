"""A graph that was read from a file, and the live model it was made with: asked again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from sae_nb.checks import shown
from sae_nb.circuits._asked import read_target
from sae_nb.circuits._graph_sites import given_again, one_input, places_of
from sae_nb.circuits._passes import Passes, Trace
from sae_nb.circuits._unit_passes import is_of_neurons, ranked, unit_passes, wanted_of

if TYPE_CHECKING:
    from sae_nb.circuits._asked import Question
    from sae_nb.circuits._graph_sites import Transcoders
    from sae_nb.circuits._record import Graph
    from sae_nb.models import LiveModel

_Graph = TypeVar("_Graph", bound="Graph")

ALIKE = 0.02
"""Largest relative difference of an atom's strength from that in the graph: images are kept in 8 bits. Ours."""


def revived(graph: _Graph, model: LiveModel, transcoders: Transcoders) -> _Graph:
    """See `AttributionGraph.with_model`."""
    if model.name != graph.model_name:
        raise ValueError(
            f"`model` must be {graph.model_name}, which the graph is of, got {model.name}. Use "
            f"sn.load_model({graph.model_name!r})."
        )
    if graph.inputs is None:
        raise ValueError(
            "The graph must know its input to be asked, and this file is of an older version. Make it again "
            "with `attribution_graph`."
        )
    if graph.of_neurons:
        return _with_neurons(graph, model, transcoders)
    layers = places_of(model, transcoders)
    places = tuple(str(layer.write) for layer in layers)
    if places != graph.places:
        raise ValueError(
            f"`transcoders` must write {list(graph.places)}, as those of the graph, got {list(places)}."
        )
    start, batch = (
        model.hook_point("resid_pre.0"),
        one_input(model, given_again(model, graph.inputs)),
    )
    # A first position was not left out where an atom fires there.
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    passes = Passes(
        model=model,
        layers=layers,
        batch=batch,
        start=start,
        drop_first=False if (atoms.position == 0).any() else None,
        left_out=graph.left_out,
    )
    with torch.enable_grad(), model.lock:
        trace = Trace(passes)
        _check_same(graph, _strengths(graph, trace))
        measures = _measures(graph, trace)
    return replace(graph, passes=replace(passes, written=trace.written, measures=measures))


def _with_neurons(graph: _Graph, model: LiveModel, transcoders: Transcoders) -> _Graph:
    """Of a graph of neurons: both inputs are run again."""
    if not is_of_neurons(transcoders):
        raise ValueError(
            '`transcoders` must be "neurons", or a list of it and dictionaries, as for the graph, got '
            f"{shown(transcoders)}."
        )
    given, contrast = (
        None if one is None else given_again(model, one) for one in (graph.inputs, graph.contrast)
    )
    passes, states = unit_passes(model, transcoders, given, contrast)
    if graph.outcomes and (outcome := graph.outcomes[0]) is not None:
        with torch.enable_grad(), model.lock:
            passes = ranked(passes, wanted_of(model, states, _target(outcome)))
    places = tuple(site.place for site in passes.sites)
    if places != graph.places:
        raise ValueError(
            f"`transcoders` must write {list(graph.places)}, as those of the graph, got {list(places)}."
        )
    now = {
        (site.place, int(p), int(j)): float(z)
        for site in passes.sites
        for p, j, z in zip(
            site.entries.position,
            site.entries.unit,
            site.entries.now - site.entries.then,
            strict=True,
        )
    }
    _check_same(graph, now)
    return replace(graph, passes=passes)


def _strengths(graph: Graph, trace: Trace) -> dict[tuple[str, int, int], float]:
    """How strongly every atom fires now, by place, position and number."""
    now: dict[tuple[str, int, int], float] = {}
    for place, written in zip(graph.places, trace.written, strict=True):
        entries = zip(
            written.position.tolist(), written.atom.tolist(), written.strength.tolist(), strict=True
        )
        now |= {(place, position, atom): z for position, atom, z in entries}
    return now


def _check_same(graph: Graph, now: Mapping[tuple[str, int, int], float]) -> None:
    """Refuse atoms that do not fire now as they did then."""
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    keys = zip(atoms.place, atoms.position, atoms.atom, strict=True)
    found = np.array([now.get((p, int(t), int(j)), 0.0) for p, t, j in keys])
    then = atoms.value.to_numpy(float)
    apart = np.abs(found - then) > ALIKE * np.abs(then).max(initial=1e-9)
    if apart.any():
        i = int(np.argmax(apart))
        raise ValueError(
            "`transcoders` must be those that the graph was made with: "
            f"{atoms['name'].iloc[i]} fires with {then[i]:.3g} in the graph and with {found[i]:.3g} now "
            f"({int(apart.sum())} of {len(atoms)} atoms differ). Load the same ones, or make the graph again."
        )


def _measures(graph: Graph, trace: Trace) -> tuple[Callable[[Tensor], Tensor], ...]:
    """Return the measures of the answer; nothing if a target cannot be known from a file."""
    if not graph.outcomes or None in graph.outcomes:
        return ()
    model, answer, kind = trace.passes.model, trace.answer, trace.kind
    known = [outcome for outcome in graph.outcomes if outcome is not None]
    return tuple(read_target(model, answer, kind, _target(outcome))[1] for outcome in known)


def _target(outcome: tuple[int, ...]) -> Question:
    """Return what is asked for by a class or token, or by the two whose difference is meant."""
    return outcome if len(outcome) > 1 else outcome[0]
