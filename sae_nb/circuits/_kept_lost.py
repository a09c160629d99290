"""A graph of neurons in the running model: what the strongest keep alone, and what is lost without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from sae_nb.circuits._asked import BLOCK, measured
from sae_nb.circuits._faithfulness import Flow, atom_rows, foreseen
from sae_nb.circuits._unit_passes import UnitPasses
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted, column
from sae_nb.interrupts import ending_with
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.circuits._record import Graph
    from sae_nb.models._running import Put

DEFAULT_K = (10, 20, 50, 100, 200, 500)
"""Numbers of neurons of a curve unless others are asked for; of fewer neurons those that there are."""


class FaithfulnessCurve(Plotted):
    """Effect of the strongest neurons of a graph alone, and of their absence; made by `faithfulness`.

    The effect is the answer on the input less that with every neuron as on the contrast. Values above 1 are
    real: the neurons that are left out work against the answer.
    """

    k: Int[np.ndarray, " steps"] = field(metadata=column())
    """Numbers of neurons, by position, the first in order of their signed attribution: those that speak most
    for the answer."""

    kept: Float[np.ndarray, " steps"] = field(metadata=column())
    """Share of the effect where only these answer freely and all others are as on the contrast."""

    lost: Float[np.ndarray, " steps"] = field(metadata=column())
    """Share of the effect that is gone where only these are as on the contrast."""

    random: Float[np.ndarray, " steps"] = field(metadata=column())
    """`kept` of as many random neurons that differ between input and contrast, a mean over draws."""

    random_lost: Float[np.ndarray, " steps"] = field(metadata=column())
    """`lost` of the same."""

    n_random: int
    """Random draws."""

    effect: float
    """The whole effect, in the units of the answer."""

    n_units: int
    """Neurons by position, whether or not they differ."""

    name: str
    """Name of what is asked of the answer."""

    @property
    def headline(self) -> str:
        """Shares at the first and the last number of neurons."""
        shares = "; ".join(
            f"{self.k[i]} neurons keep {self.kept[i]:.2f} and lose {self.lost[i]:.2f} (random "
            f"{self.random[i]:.2f} and {self.random_lost[i]:.2f})"
            for i in sorted({0, len(self.k) - 1})
        )
        return f"of {self.effect:+.2f} in {self.name}, {shares}; of {self.n_units}"

    @property
    def chart(self) -> Chart:
        """Both curves, and dashed those of random neurons."""
        series = (
            Points("kept", self.k, self.kept),
            Points("lost", self.k, self.lost),
            Points("kept, random", self.k, self.random, control=True),
            Points("lost, random", self.k, self.random_lost, control=True),
        )
        return Chart(series=series, x="neurons", y="share of the effect", xaxis={"type": "log"})


@torch.no_grad()
def curve(graph: Graph, k: Sequence[int] | None, *, n_random: int, seed: int) -> FaithfulnessCurve:
    """See `AttributionGraph.faithfulness`."""
    passes = live_units(graph)
    scores = torch.cat(passes.attributions).cpu().numpy()
    sizes = _numbers(k, len(scores))
    order, rng = np.argsort(-scores, kind="stable"), np.random.default_rng(seed)
    none = np.zeros(0, int)
    drawn = [rng.choice(len(scores), n, replace=False) for _ in range(n_random) for n in sizes]
    sets = [order[:n] for n in sizes]
    message = "The curve was interrupted; nothing of it is kept. The same call begins again."
    with ending_with(lambda: (message, None)):
        alone = _measured(passes, [none, *sets, *drawn], rest=False)
        without = _measured(passes, [none, *sets, *drawn], rest=True)
    nothing, everything = alone[0], without[0]
    span = everything - nothing
    if abs(span) < 1e-6:
        raise ValueError(
            "`contrast` must be answered differently in what is asked for shares of the effect, got "
            f"{everything:.3f} with and without the neurons. Pass another target or contrast."
        )
    kept, lost = (alone[1:] - nothing) / span, (everything - without[1:]) / span
    n = len(sizes)

    def at_random(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " steps"]:
        return values[n:].reshape(n_random, n).mean(axis=0) if n_random else np.full(n, np.nan)

    return FaithfulnessCurve(
        k=np.array(sizes),
        kept=kept[:n],
        lost=lost[:n],
        random=at_random(kept),
        random_lost=at_random(lost),
        n_random=n_random,
        effect=float(span),
        n_units=passes.n_units,
        name=str(graph.nodes["name"].iloc[-1]),
    )


def live_units(graph: Graph) -> UnitPasses:
    """Return the live model of a graph of neurons, with what is asked of it."""
    passes = graph.passes
    if not isinstance(passes, UnitPasses):
        raise ValueError(
            "The graph must know its live model to be asked, and one from a file does not. Use "
            'graph.with_model(model, "neurons"), or make it again with `attribution_graph`.'
        )
    if not passes.measures:
        raise ValueError(
            "The graph must explain an answer to be asked, and its target is a function that no file keeps. "
            "Make one with a class or token as `target`."
        )
    return passes


def _numbers(k: Sequence[int] | None, most: int) -> list[int]:
    if k is None:
        return [n for n in DEFAULT_K if n <= most] or [most]
    sizes = [int(n) for n in k]
    wrong = [n for n in sizes if not 1 <= n <= most]
    if wrong or not sizes:
        raise ValueError(
            f"`k` must be numbers of neurons from 1 to {most}, which differ between input and contrast, got "
            f"{wrong or 'none'}."
        )
    return sizes


def _measured(
    passes: UnitPasses, sets: Sequence[Int[np.ndarray, " m"]], *, rest: bool
) -> Float[np.ndarray, " sets"]:
    """Answers with each set free and the others as on the contrast; with `rest` the other way round."""
    found = []
    lengths = [len(site.entries) for site in passes.sites]
    for start in range(0, len(sets), BLOCK):
        several = sets[start : start + BLOCK]
        free = torch.full((len(several), sum(lengths)), rest)
        for row, chosen in enumerate(several):
            free[row, torch.from_numpy(chosen)] = not rest
        parts = torch.split(free.to(passes.model.device), lengths, dim=1)
        changes = [
            put
            for site, part in zip(passes.sites, parts, strict=True)
            for put in site.freed(part, rest=rest)
        ]
        ran = run(passes.model, passes.batch.copies(len(several)), put=changes, answer="end")
        found.append(measured(ran, passes.measures[0]).numpy())
    return np.concatenate(found).astype(float)


# -------------------------------------------------------------------------------------------------


@torch.no_grad()
def set_neurons(
    graph: Graph, node: int | Sequence[int], factor: float, *, n_random: int, seed: int
) -> Flow:
    """See `AttributionGraph.intervene`: neurons at the contrast's value plus so much of the difference."""
    nodes, rows = atom_rows(graph, node)
    passes = live_units(graph)
    n = 2 + n_random
    changes: list[tuple[str, Put]] = []
    generator = torch.Generator().manual_seed(seed)
    for site in passes.sites:
        here = [row for row in rows if row.place == site.place]
        if not here:
            continue
        own = site.entries
        at = [(own.position == int(r.position)) & (own.unit == int(r.atom)) for r in here]
        which = torch.tensor([int(one.nonzero()[0]) for one in at])
        entries = site.entries.chosen(which.to(site.entries.unit.device))
        difference = entries.now - entries.then
        changes += site.set_to(entries, (entries.then + factor * difference)[None], [1])
        lengths = site.written(entries).norm(dim=1) * (factor - 1) * difference
        for position, length in zip(entries.position.tolist(), lengths.tolist(), strict=True):
            changes += site.moved(position, abs(length), generator, range(2, n))
    ran = run(passes.model, passes.batch.copies(n), put=changes, answer="end")
    answers = torch.stack([ran.answer.one(i) for i in range(n)]).cpu()
    values = [float(passes.measures[0](answer)) for answer in answers]
    predicted, direct = foreseen(graph, nodes, factor)
    return Flow(
        name=" + ".join(str(row["name"]) for row in rows),
        factor=float(factor),
        effect=values[1] - values[0],
        predicted=predicted,
        direct=direct,
        controls=np.array(values[2:]) - values[0],
        before=answers[0],
        after=answers[1],
        controlled=answers[2:],
    )
