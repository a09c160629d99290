"""A test of a graph in the running model: keep its atoms alone, or change one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.findings import Finding
from sae_nb.models._running import run

if TYPE_CHECKING:
    from pandas import Series

    from sae_nb.circuits._passes import Passes, Written
    from sae_nb.circuits._record import Graph


class Faithfulness(Finding):
    """The share of an answer that the atoms of a graph bring back; made by `AttributionGraph.faithfulness`."""

    recovered: float
    """(m(kept) − m(none)) / (m(all) − m(none)): 1 where the atoms kept are enough."""

    random: Float[np.ndarray, " n_random"]
    """The same of as many random atoms of each place."""

    n_kept: int
    n_atoms: int
    """Atoms of the graph, and all that fire on the input, by position."""

    everything: float
    nothing: float
    """The targets' measure, weighted, with all atoms and with none."""

    @property
    def effect(self) -> float:
        """Effect of all atoms together on the measure, of which the others are shares."""
        return self.everything - self.nothing

    @property
    def decided(self) -> bool:
        """Whether shares of the effect say something: random atoms move the target within or near it."""
        spread = np.ptp([0.0, 1.0, *self.random])
        return bool(np.isfinite(self.recovered) and spread < 2)

    @property
    def headline(self) -> str:
        """The effect recovered by the kept atoms and by random ones, or that this is undecided."""
        if not self.decided:
            return (
                f"undecided: all {self.n_atoms} atoms move the target by {self.effect:+.4f}, "
                f"which random ones do, too; {self.n_kept} are kept"
            )
        return (
            f"{self.recovered:.3f} of {self.effect:+.3f} by {self.n_kept} of {self.n_atoms} "
            f"atoms; as many random ones {np.mean(self.random):.3f}"
        )


class Flow(Finding):
    """Atoms changed in the running model; made by `AttributionGraph.intervene`."""

    name: str
    factor: float
    """The atoms, and what their strength was multiplied by."""

    effect: float
    """Resulting change of the targets' measure, weighted: the model run again, nothing held."""

    predicted: float
    """Prediction of the graph over all its paths, as if every atom answered in proportion."""

    direct: float
    """Of that, over edges straight to the targets."""

    controls: Float[np.ndarray, " n_random"]
    """Changes by random directions of the same size, at the same places and positions."""

    before: Float[Tensor, " outcomes"]
    after: Float[Tensor, " outcomes"]
    """The answers: logits, or a vector."""

    controlled: Float[Tensor, "n_random outcomes"]
    """The answers under those random directions."""

    @property
    def headline(self) -> str:
        """The measured effect of the change, the predicted one, and that of random directions."""
        size = np.abs(self.controls).mean() if len(self.controls) else float("nan")
        return (
            f"{self.name} × {self.factor:g}: {self.effect:+.4f}, predicted {self.predicted:+.4f}; "
            f"random directions ±{size:.4f}"
        )


def faithfulness(graph: Graph, *, n_random: int, seed: int) -> Faithfulness:
    """See `AttributionGraph.faithfulness`."""
    rng = np.random.default_rng(seed)
    passes, measure = live_passes(graph)
    kept = _entries(graph, passes)
    counts = [len(written.atom) for written in passes.written]

    def run(chosen: Sequence[Int[np.ndarray, " m"]]) -> float:
        changes = []
        for written, keep in zip(passes.written, chosen, strict=True):
            gone = np.setdiff1d(np.arange(len(written.atom)), keep)
            changes.append(_change(written, torch.from_numpy(gone), -1.0))
        return measure(answer(passes, changes))

    nothing = run([np.zeros(0, int)] * len(counts))
    everything = run([np.arange(n) for n in counts])
    span = everything - nothing

    def share(value: float) -> float:
        return (value - nothing) / span if span else float("nan")

    drawn = [
        run([rng.choice(n, len(keep), replace=False) for n, keep in zip(counts, kept, strict=True)])
        for _ in range(n_random)
    ]
    return Faithfulness(
        recovered=share(run(kept)),
        random=np.array([share(value) for value in drawn]),
        n_kept=sum(map(len, kept)),
        n_atoms=sum(counts),
        everything=everything,
        nothing=nothing,
    )


def intervene(
    graph: Graph, node: int | Sequence[int], factor: float, *, n_random: int, seed: int
) -> Flow:
    """See `AttributionGraph.intervene`."""
    rng = np.random.default_rng(seed)
    nodes, rows = atom_rows(graph, node)
    passes, measure = live_passes(graph)
    deltas = [(factor - 1) * _written_by(graph, passes, row) for row in rows]

    def after(directions: Sequence[Float[Tensor, " d_out"]]) -> Float[Tensor, " outcomes"]:
        return answer(passes, _moved(graph, passes, rows, directions))

    def drawn(delta: Float[Tensor, " d_out"]) -> Float[Tensor, " d_out"]:
        random = torch.from_numpy(rng.standard_normal(len(delta))).to(delta)
        return random * (delta.norm() / random.norm())

    before = answer(passes, [None] * len(passes.layers))
    changed = after(deltas)
    controlled = [after([drawn(delta) for delta in deltas]) for _ in range(n_random)]
    predicted, direct = foreseen(graph, nodes, factor)
    was = measure(before)
    return Flow(
        name=" + ".join(str(row["name"]) for row in rows),
        factor=float(factor),
        effect=measure(changed) - was,
        predicted=predicted,
        direct=direct,
        controls=np.array([measure(one) - was for one in controlled]),
        before=before,
        after=changed,
        controlled=torch.stack(controlled) if controlled else before.new_zeros(0, len(before)),
    )


def foreseen(graph: Graph, nodes: int | Sequence[int], factor: float) -> tuple[float, float]:
    """Return the effect of a change of some nodes on the targets, over all paths and straight; weighted."""
    chosen = _several(nodes)
    straight = graph.nodes.weight.to_numpy() @ graph.matrix[:, chosen]
    over_all = graph.flow[chosen]
    return (factor - 1) * float(over_all.sum()), (factor - 1) * float(np.sum(straight))


def live_passes(graph: Graph) -> tuple[Passes, Callable[[Tensor], float]]:
    """Return a graph's live model with its dictionaries, and the weighted measure of an answer.

    Raises
    ------
    ValueError: If the graph has no live model, or explains no answer.
    """
    passes = graph.passes
    if passes is None:
        raise ValueError(
            "The graph must know its live model to be asked, and one from a file does not. Make it again "
            "with `attribution_graph`, or use `graph.with_model(model, transcoders)`."
        )
    if not passes.measures:
        raise ValueError(
            "The graph must explain an answer to be asked, and its target is an atom, or a function that no "
            "file keeps. Make one with a class or token as `target`."
        )
    weights = graph.nodes.weight[graph.nodes.kind == "target"].to_numpy()

    def measure(answer: Float[Tensor, " outcomes"]) -> float:
        numbers = [float(one(answer)) for one in passes.measures]
        return float(np.dot(weights, numbers))

    return passes, measure


def answer(passes: Passes, changes: Sequence[Tensor | None]) -> Float[Tensor, " outcomes"]:
    """Return the model's answer with something added at places, (time, d) each; nothing held."""
    puts = [
        (layer.write, partial(add, by))
        for layer, by in zip(passes.layers, changes, strict=True)
        if by is not None
    ]
    return run(passes.model, passes.batch, put=puts, answer="end").answer.one().cpu()


def add(by: Tensor, y: Tensor) -> Tensor:
    """Return a state with something added."""
    return y + by.to(y)


def _change(written: Written, entries: Int[Tensor, " m"], by: float) -> Float[Tensor, "time d_out"]:
    """Return the output of some entries, that many times."""
    found = torch.zeros_like(written.error)
    return found.index_add_(0, written.position[entries], by * written.atoms[entries])


def _entries(graph: Graph, passes: Passes) -> list[Int[np.ndarray, " m"]]:
    """The entries of each place that are nodes of a graph."""
    found = []
    atoms = graph.nodes[graph.nodes.kind == "atom"]
    for layer, written in zip(passes.layers, passes.written, strict=True):
        here = atoms[atoms.place == str(layer.write)]
        wanted = set(zip(here.position, here.atom, strict=True))
        pairs = zip(written.position.tolist(), written.atom.tolist(), strict=True)
        found.append(np.array([i for i, pair in enumerate(pairs) if pair in wanted], int))
    return found


def _several(nodes: int | Sequence[int]) -> list[int]:
    """One node or several, each once."""
    given = list(nodes) if isinstance(nodes, Sequence | np.ndarray) else [nodes]
    if not given:
        raise ValueError("`node` must be an atom, or several, got none.")
    return list(dict.fromkeys(given))


def atom_rows(graph: Graph, node: int | Sequence[int]) -> tuple[list[int], list[Series]]:
    """Return some nodes, each once, and their rows, which must be atoms."""
    nodes, rows = _several(node), []
    for one in nodes:
        row = graph.nodes.iloc[check_count(one, name="node", at_least=0, at_most=len(graph) - 1)]
        if row.kind != "atom":
            raise ValueError(f"`node` must be an atom, got {one}, which is a {row.kind}.")
        rows.append(row)
    return nodes, rows


def _written_by(graph: Graph, passes: Passes, row: Series) -> Float[Tensor, " d_out"]:
    """Return the output of an atom on the input, z·d."""
    written = passes.written[graph.places.index(row.place)]
    here = (written.position == int(row.position)) & (written.atom == int(row.atom))
    return written.atoms[int(here.nonzero()[0])]


def _moved(
    graph: Graph,
    passes: Passes,
    rows: Sequence[Series],
    directions: Sequence[Float[Tensor, " d_out"]],
) -> list[Tensor | None]:
    """Return the vectors added at each place, where there are any."""
    changes: list[Tensor | None] = [None] * len(passes.layers)
    for row, direction in zip(rows, directions, strict=True):
        at = graph.places.index(row.place)
        moved = changes[at]
        moved = torch.zeros_like(passes.written[at].error) if moved is None else moved
        moved[int(row.position)] += direction
        changes[at] = moved
    return changes
