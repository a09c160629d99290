"""Edges of an attribution graph: one forward pass with attention and norms held, then backward passes.

With the patterns and the scales of the clean pass held, and every MLP replaced by its atoms, a linear map
where it has one, and what these miss, all that an atom reads is linear in what atoms, errors and tokens write:
z_t = Σ_s A_ts + bias_t, A_ts = ⟨what s writes, ∂z_t/∂(where s writes)⟩.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch

from sae_nb.checks import at_least, checked, is_array, shown
from sae_nb.circuits._asked import indices, read_target
from sae_nb.circuits._graph import AttributionGraph
from sae_nb.circuits._graph_sites import one_input, places_of
from sae_nb.circuits._neuron_graph import neuron_graph
from sae_nb.circuits._nodes import check_forward, traced
from sae_nb.circuits._passes import AtomTarget, Passes, Trace, Wanted
from sae_nb.circuits._unit_passes import is_of_neurons

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.circuits._graph_sites import Transcoders
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

MOST_ATOMS = 4096
"""Atoms whose causes are traced unless another number is asked for."""

SURE = 0.95
"""Without a target: probability from which the likeliest outcome is explained alone."""


@checked(leave=("transcoders", "inputs", "target", "contrast", "examples"))
def attribution_graph(
    model: LiveModel,
    transcoders: Transcoders,
    inputs: Inputs,
    *,
    target: Any = None,
    contrast: object = None,
    lens: Lens | None = None,
    examples: object = None,
    max_nodes: Annotated[int, at_least(0)] | None = None,
    drop_first: bool | None = None,
    progress: bool = True,
) -> AttributionGraph:
    """Trace which atoms caused an answer, and what caused them; or which neurons, of any model.

    The nodes are the tokens (the stream before the first block), every atom that fires, what the atoms of
    each place miss, and the targets. MLPs without a transcoder are errors. With plain SAEs of the residual
    stream, what lies between two of them is taken by its slope, and `graph.exact` is False.

    With "neurons" nothing has to be trained: the nodes are the neurons that turn the answer, found by one
    backward pass with attention patterns and norms held. Values are differences from the `contrast`; the effect
    that the graph foresees for one neuron is its attribution exactly.

    Parameters
    ----------
    transcoders
        Transcoders trained on ("mlp_in.L", "mlp_out.L"), or SAEs of one place each; or a mapping to them from
        the hook point each one writes. "neurons"; or a list of "neurons" and dictionaries, whose atoms are then
        nodes in place of the neurons of their MLP, or besides them.
    inputs
        One text, image or row.
    target
        A class or token, by id or name; a list of them, each a target of equal weight; a mapping from
        them to weights; a pair as a tuple, their difference; a function of the answer; an `AtomTarget`. None:
        the likeliest outcome less the next one, or alone from a probability of .95. Of neurons an outcome, a
        pair or a function; None: the top answer to the input less that to the contrast.
    contrast
        Of neurons: an input with equally many positions whose activations are the baseline. None: zeros.
    lens
        Of neurons: through which they are named (`sn.fit_lens`); None: along the direct path only.
    examples
        Of neurons: inputs on which the nodes are read as well, to say on what they fire (`nodes.fires`).
    max_nodes
        Most atoms whose own causes are traced, those of most influence; of neurons the number of nodes. None:
        4096 atoms, 100 neurons.
    drop_first
        Whether first tokens, attention sinks, are left out: there MLPs pass untouched. None: by each
        dictionary's `position_policy`, or that of `capture`. Of neurons no position is left out.
    progress
        Of neurons: whether a bar says what is being done.

    Raises
    ------
    HookPointNotFound, ValueError, TypeError: If an argument does not fit, two dictionaries write one place, the
        target is more than one token, attention cannot be held, or input and contrast have unequal numbers of
        tokens.
    MemoryError: If the input is too long, or the graph too large, for the memory that is free.

    Source
    ------
    Ameisen et al., "Circuit Tracing", 2025; Dunefsky et al., arXiv 2406.11944. There biases are left out of the
    graph; ours are a column of the nodes. Neurons: RelP, arXiv 2508.21258; Transluce 2025.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> acts = sn.capture(gpt, ["One day Tom was sad."], ["mlp_in.2", "mlp_out.2"], progress=False)
    >>> width = gpt.width("mlp_out.2")
    >>> t = sn.Transcoder(width, width, n_atoms=16, k=4)
    >>> _ = sn.train(t, (acts["mlp_in.2"], acts["mlp_out.2"]), steps=2, batch_size=4, progress=False)
    >>> graph = attribution_graph(gpt, [t], "One day Mia was", target=" the")
    >>> set(graph.nodes.kind) == {"token", "atom", "error", "target"}
    True
    >>> pair = ("One day she was", "One day he was")
    >>> graph = attribution_graph(gpt, "neurons", pair[0], contrast=pair[1], target=(" her", " his"))
    >>> graph.faithfulness(k=[10, 100]).table.columns.tolist()[:4]
    ['k', 'kept', 'lost', 'random']
    """
    if is_of_neurons(transcoders):
        return neuron_graph(
            model,
            transcoders,
            inputs,
            target=target,
            contrast=contrast,
            max_nodes=max_nodes,
            lens=lens,
            examples=examples,
            progress=progress,
        )
    given = {"contrast": contrast, "lens": lens, "examples": examples}
    if (name := next((key for key, value in given.items() if value is not None), None)) is not None:
        raise ValueError(
            f"`{name}` must be None where all nodes are atoms of dictionaries, got {shown(given[name])}. Pass "
            '["neurons", *transcoders] for neurons and atoms as differences from a contrast.'
        )
    layers = places_of(model, transcoders)
    batch = one_input(model, inputs)
    start = model.hook_point("resid_pre.0")
    passes = Passes(model=model, layers=layers, batch=batch, start=start, drop_first=drop_first)
    check_forward(passes)
    with torch.enable_grad(), model.lock:
        trace = Trace(passes)
        return traced(
            trace, _targets(trace, target), MOST_ATOMS if max_nodes is None else max_nodes
        )


# -------------------------------------------------------------------------------------------------
# What is asked for.


def _targets(trace: Trace, target: Any) -> list[Wanted]:
    """Return the explained targets; the values carry their graphs."""
    if isinstance(target, AtomTarget):
        return [trace.of_atom(target)]
    if target is None and trace.kind != "vector":
        # The likeliest outcome, and with it the next one unless the model is sure.
        chances = trace.answer.detach().softmax(dim=-1)
        order = chances.argsort(descending=True, stable=True)[:2].tolist()
        target = order[0] if chances[order[0]] >= SURE else tuple(order)
    if isinstance(target, tuple):
        words, measure = read_target(trace.passes.model, trace.answer, trace.kind, target)
        return [trace.of_answer(words, 1.0, measure, indices(trace.outcome(t) for t in target))]
    if isinstance(target, Mapping):
        wanted = {name: float(weight) for name, weight in target.items()}
    else:
        target = target.tolist() if is_array(target) else target
        several = target if isinstance(target, list) else [target]
        if any(isinstance(one, list | dict | set) for one in several):
            raise TypeError(
                "`target` must be an outcome, a pair of them as a tuple, a function, a list of outcomes, or "
                f"their weights in a mapping, got {shown(target)}."
            )
        wanted = dict.fromkeys(several, 1.0 / max(len(several), 1))
    if not wanted:
        raise ValueError("`target` must name at least one outcome, got none.")
    outcomes = [(trace.outcome(name), weight) for name, weight in wanted.items()]
    return [
        trace.of_answer(outcome.name, weight, outcome.measure, indices([outcome]))
        for outcome, weight in outcomes
    ]
