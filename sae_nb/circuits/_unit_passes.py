"""The running model of a graph of neurons: the input, its contrast, and what each neuron adds to the answer.

With a the neurons of the input and a' those of a contrasting one, the attribution of a neuron at a position is
(a − a') ∂m/∂a, in the model that answers in proportion (`_proportional`): one backward pass for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.circuits._asked import indices, read_target, top_answers
from sae_nb.circuits._graph_sites import (
    check_equal_tokens,
    dictionaries_by_place,
    layer_at,
    one_input,
)
from sae_nb.circuits._passes import Layer, Passes, positions_for
from sae_nb.circuits._proportional import in_proportion
from sae_nb.circuits._sites import NEURONS, AtomSite, NeuronSite, Site, sites_of
from sae_nb.evaluation.causal._outcomes import outcome_of
from sae_nb.models._freezing import Frozen
from sae_nb.models._running import run

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.circuits._asked import Measure, Question
    from sae_nb.circuits._graph_sites import Transcoders
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._inputs import Batch
    from sae_nb.models._running import Put, Run


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitPasses(Passes):
    """The live model, the input, its contrast, and every unit with what it adds to the answer."""

    sites: tuple[Site, ...] = ()
    slopes: tuple[Float[Tensor, " m"], ...] = ()
    """Of each site's entries, ∂m/∂value, over all paths."""

    contrast: Batch | None = None

    likely: Int[Tensor, " outputs"] = field(default_factory=lambda: torch.zeros(0).long())
    """Outputs by their largest probability anywhere on the input or the contrast, the likeliest first."""

    n_places: int = 0
    """Positions of the input."""

    @property
    def attributions(self) -> tuple[Float[Tensor, " m"], ...]:
        """Of each site's entries, what its difference adds to the answer."""
        return tuple(
            (site.entries.now - site.entries.then) * slope
            for site, slope in zip(self.sites, self.slopes, strict=True)
        )

    @property
    def n_units(self) -> int:
        """Units by position, whether or not they differ."""
        return self.n_places * sum(site.n_units for site in self.sites)


def is_of_neurons(transcoders: Transcoders) -> bool:
    """Return whether nodes are to be neurons, or neurons and atoms."""
    if isinstance(transcoders, str):
        if transcoders != NEURONS:
            raise ValueError(
                f'`transcoders` must be dictionaries or "neurons", got {transcoders!r}. Pass "neurons" to '
                "have the neurons of every MLP as nodes."
            )
        return True
    return isinstance(transcoders, list | tuple) and any(
        isinstance(one, str) and one == NEURONS for one in transcoders
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class States:
    """The two runs: what tokens write, and the answers."""

    now: Run
    then: Run | None
    start: HookPoint

    @property
    def tokens(self) -> Float[Tensor, "time d"]:
        """Output of each token on the input, less that on the contrast."""
        x = self.now.states[self.start][0].float()
        return x if self.then is None else x - self.then.states[self.start][0].float()


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """The number that a graph explains."""

    name: str
    measure: Measure
    outcomes: tuple[int, ...] | None


def unit_passes(
    model: LiveModel, transcoders: Transcoders, inputs: Inputs, contrast: object
) -> tuple[UnitPasses, States]:
    """Run the input and its contrast, and note the units of both."""
    batch = one_input(model, inputs)
    other = None if contrast is None else one_input(model, contrast, name="contrast")
    layers = _dictionaries(model, transcoders)
    sites, start = sites_of(model, layers), model.hook_point("resid_pre.0")
    read = [start, *(name for site in sites for name in site.reads)]
    with torch.no_grad():
        if other is not None:
            check_equal_tokens(model, batch, other, "`inputs` and `contrast`")
        now = run(model, batch, read=read)
        then = None if other is None else run(model, other, read=read)
    if then is not None and now.states[start].shape != then.states[start].shape:
        raise ValueError(
            "`inputs` and `contrast` must have equally many positions, got states of shapes "
            f"{tuple(now.states[start].shape)} and {tuple(then.states[start].shape)}. Pass inputs of one shape."
        )
    for site in sites:
        if isinstance(site, AtomSite):
            x, y = (now.states[name] for name in (site.reads[0], site.place))
            site.kept = positions_for(model, batch, site.layer, x, y)
        site.note(now.states, None if then is None else then.states)
    if not any(len(site.entries) for site in sites):
        raise ValueError(
            "`inputs` and `contrast` must differ in what the model makes of them, got the same twice."
        )
    passes = UnitPasses(
        model=model,
        layers=tuple(site.layer for site in sites),
        batch=batch,
        start=start,
        drop_first=False,
        sites=sites,
        contrast=other,
        likely=_likely([now] if then is None else [now, then]),
        n_places=now.states[start].shape[1],
    )
    return passes, States(now=now, then=then, start=start)


def _likely(runs: Sequence[Run]) -> Int[Tensor, " outputs"]:
    """Outputs by their largest probability at any position of some runs."""
    found = [ran.answer.tensor.detach().float().softmax(dim=-1) for ran in runs]
    highest = torch.stack([chances.reshape(-1, chances.shape[-1]).amax(dim=0) for chances in found])
    return highest.amax(dim=0).argsort(descending=True, stable=True).cpu()


def _dictionaries(model: LiveModel, transcoders: Transcoders) -> list[Layer]:
    """The dictionaries whose atoms are nodes in place of neurons."""
    if not isinstance(transcoders, list | tuple):
        return []
    rest = [one for one in transcoders if not (isinstance(one, str) and one == NEURONS)]
    if not rest:
        return []
    return [layer_at(model, name, sae) for name, sae in dictionaries_by_place(model, rest).items()]


def wanted_of(model: LiveModel, states: States, target: Question) -> Asked:
    """Return the number that is explained: by default what the two answers differ in."""
    answer, kind = states.now.answer.one(), states.now.answer.kind
    if isinstance(target, list | dict | set):
        raise TypeError(
            "`target` must be one outcome, a pair as a tuple, or a function where neurons are nodes, got "
            f'{type(target).__name__}. Pass a pair such as (" are", " is").'
        )
    if target is None and states.then is not None and kind != "vector":
        then = states.then.answer.one()
        target = top_answers(model, answer, then, "`inputs` and `contrast`")
    if kind == "vector" and not callable(target):
        raise ValueError(
            f"`target` must be a function of the answer where the model has no unembedding, and {model.name} "
            f"answers with {len(answer)} numbers. Pass one, such as lambda answer: answer[0]."
        )
    words, measure = read_target(model, answer, kind, target)
    named = target if isinstance(target, tuple) else (target,)
    outcomes = indices(outcome_of(model, answer, kind, one) for one in named)
    return Asked(name=words, measure=measure, outcomes=outcomes)


# -------------------------------------------------------------------------------------------------
# The two passes.


def linear_run(
    passes: UnitPasses,
    changes: Sequence[tuple[str, Put]],
    grad: Sequence[HookPoint | str],
    read: Sequence[HookPoint] = (),
) -> Run:
    """Run the model with everything held and MLPs in proportion; then further changes."""
    frozen = Frozen(passes.model)
    mlps = tuple(site.mlp for site in passes.sites if isinstance(site, NeuronSite))
    with torch.enable_grad(), frozen:
        puts = [*in_proportion(mlps), *changes]
        found = run(passes.model, passes.batch, read=read, put=puts, grad=list(grad), answer="end")
    frozen.check(passes.model, passes.batch)
    return found


def ranked(passes: UnitPasses, wanted: Asked) -> UnitPasses:
    """Return the passes with every entry's slope, by one backward pass."""
    places = [site.place for site in passes.sites]
    ran = linear_run(passes, [], [passes.start, *places])
    with torch.enable_grad():
        found = ran.gradients(wanted.measure(ran.answer.one()))
    slopes = tuple(
        site.slopes(found[site.place][0].float())
        if site.place in found
        else torch.zeros_like(site.entries.now)
        for site in passes.sites
    )
    return replace(passes, slopes=slopes, measures=(wanted.measure,))
