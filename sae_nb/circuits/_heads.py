"""The contribution of each attention head or neuron to an answer: by decomposition, by removing it, or
by the gradient.

Contextual decomposition splits every activation into β, what comes from a part, and γ, the rest. Norms' scales
are held, and biases stay with γ. A part that is not linear, a whole attention with its queries, keys and
patterns or an MLP, is a function g that is split as β' = ½ [g(β) − g(0) + g(β + γ) − g(γ)],
γ' = g(β + γ) − β': the mean of what β does alone and on top of γ. Where patterns are held, attention is linear,
and a part that only moves where others look brings nothing.

At a held scale nothing bounds what g makes of β: a gated MLP multiplies two projections of it, so that a large
part grows as a power of a power from block to block. Parts add up by definition, γ' being g(β + γ) − β', until
rounding ends that; a part larger than the whole says long before that a split explains nothing (`grown`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked, shown
from sae_nb.circuits._asked import blocks, measured_copies, read_target
from sae_nb.circuits._faithfulness import live_passes
from sae_nb.circuits._graph_sites import one_by_one
from sae_nb.circuits._passes import Trace
from sae_nb.circuits._patching import of_each
from sae_nb.findings import Finding
from sae_nb.models._freezing import Frozen, points_of
from sae_nb.models._running import run

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.circuits._asked import Question, Questions
    from sae_nb.circuits._record import Graph
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._inputs import Batch
    from sae_nb.models._running import Puts

Method = Literal["contextual", "held", "ablation", "gradient"]
Way = Method | Literal["direct"]
Part = Literal["head", "neuron"]

_PLACES = {"head": "head_out", "neuron": "mlp_post"}

SUMS = 0.01
"""Share of the whole up to which a part and the rest may miss it. Ours."""


class Contributions(Finding):
    """The contribution of heads or neurons to an answer above their mean output; of "direct" above nothing.

    Made by `head_contributions`, `neuron_contributions` and `direct_effects`.
    """

    part: Part

    name: str
    """Name of the measure of the answers."""

    method: Way
    n_inputs: int
    answer: float
    """Of it, the mean over inputs: logits, or the function's units."""

    values: Float[np.ndarray, "layers parts"]
    """Means over inputs, in those units: positive for what raises it."""

    grown: float = 0.0
    """Of a decomposition: largest size of a part, as a share of the whole that is split, over all parts and
    places."""

    misses: float = 0.0
    """Of a decomposition: most that a part and the rest lack of the whole, as a share of it."""

    @property
    def diverges(self) -> bool:
        """Whether a part outgrew the whole, or parts no longer add up to it: then no value can be relied on."""
        return diverges(self.grown, self.misses)

    @property
    def table(self) -> DataFrame:
        """`layer`, `head` or `neuron`, `contribution`; the largest sizes first."""
        import pandas as pd

        layer, index = np.indices(self.values.shape).reshape(2, -1)
        columns = {"layer": layer, self.part: index, "contribution": self.values.ravel()}
        sizes = np.abs(self.values.ravel())
        order = np.argsort(-sizes, kind="stable")[: np.isfinite(sizes).sum()]  # NaN is last
        return pd.DataFrame(columns).iloc[order].reset_index(drop=True)

    @property
    def headline(self) -> str:
        """The answer, and the parts that bring most; before them whether the decomposition diverges."""
        first = self.table.head(3)
        found = ", ".join(
            f"{layer}.{index} {value:+.2f}"
            for layer, index, value in zip(
                first.layer, first[self.part], first.contribution, strict=True
            )
        )
        line = f"{self.name}, {self.answer:.2f}; {self.part}s by {self.method}: {found}, …"
        if not self.diverges:
            return line
        return (
            f"DIVERGES: a part reaches {self.grown:.3g} times the whole, and parts lack {self.misses:.0%} of "
            f'it, so rely on no number here and ask for method="ablation"; {line}'
        )


@checked(leave=("inputs", "target"))
def head_contributions(
    model: LiveModel,
    inputs: Inputs,
    *,
    target: Question = None,
    method: Method = "ablation",
    heads: Sequence[tuple[int, int]] | None = None,
) -> Contributions:
    """Measure or estimate what every attention head brings to an answer, above its mean output.

    The mean of a head is that over all positions of all `inputs`, so pass several that differ.

    Parameters
    ----------
    target
        As in `attribution_graph`: an outcome, a pair of them as a tuple, a function. None: each input's own
        top answer.
    method
        "ablation": each head exchanged for its mean in the running model, finite in any. "gradient": the
        first-order estimate of that, one backward pass for all heads. "contextual": contextual decomposition,
        a head alone and on top of the rest. "held": the same with attention patterns held, so that a head
        that acts by where others look brings nothing. In deep models with gated MLPs the two diverge, which
        the result says first (`diverges`).
    heads
        For "ablation" the heads that are removed, each by itself, as pairs (layer, head); `values` of the
        others are NaN. None: all.

    Raises
    ------
    ValueError, TypeError: If the model has no heads that can be read, attention or a norm cannot be held, or a
        contribution is not finite.

    Source
    ------
    Contextual decomposition for transformers: Hsu et al., arXiv 2407.00886, after Murdoch et al., arXiv
    1801.05453. There biases are shared out between the parts; ours stay with the rest, and an MLP is split as
    a whole, which is the same for one with a single activation function and also holds for gated ones.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> texts = ["One day she went to", "When he came to the"]
    >>> heads = head_contributions(gpt, texts, target=(" her", " his"))
    >>> heads.values.shape == (gpt.n_layers, gpt.n_heads)
    True
    """
    if heads is not None:
        heads = _checked_heads(model, heads, method)
    return _contributions(model, inputs, target, method, "head", heads)


@checked(leave=("inputs", "target"))
def neuron_contributions(
    model: LiveModel, inputs: Inputs, *, target: Question = None, method: Method = "ablation"
) -> Contributions:
    """Measure or estimate what every neuron of the MLPs brings to an answer, above its mean strength.

    As `head_contributions`, with the same arguments. A neuron is what the last projection of an MLP reads
    (hook points "mlp_post.L"), so of a gated MLP the product. All but "gradient" run as many copies
    of each input as there are neurons, in blocks: seconds on a bundled model, long on a large one, where
    "gradient" takes one backward pass.

    Raises
    ------
    ValueError, TypeError: If the model has no neurons that can be read, attention or a norm cannot be held, or
        a contribution is not finite.

    Example
    -------
    >>> import sae_nb as sn
    >>> modular = sn.load_model("tiny-modular")
    >>> neuron_contributions(modular, ["40 + 20 =", "3 + 5 ="], method="gradient").values.shape
    (1, 256)
    """
    return _contributions(model, inputs, target, method, "neuron")


@checked(leave=("inputs", "answers"))
def direct_effects(model: LiveModel, inputs: Inputs, answers: Questions = None) -> Contributions:
    """Measure what every attention head itself adds to an answer: along the stream, through no later part.

    Σ_t ⟨z_t W_O, u⟩ with u the direction that the answer is read along, through the last norm with its scale
    held (and through the norm behind each block of a post-norm model). With the MLPs, the embedding and
    biases, heads add up to the answer; of a capped answer, its slope counts.

    Parameters
    ----------
    answers
        An outcome, a pair of them as a tuple, a function, or a list with one for each input; a tuple of two
        lists their differences. None: each input's own top answer.

    Raises
    ------
    ValueError, TypeError: If the model has no heads that can be read.

    Source
    ------
    Direct logit attribution: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et
    al., arXiv 2211.00593. It is not the effect of removing a head, which later parts make up for or need.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> direct_effects(gpt, "One day she went to", (" her", " his")).values.shape
    (4, 4)
    """
    places = part_places(model, "head")
    cut = (_PLACES["head"], "mlp_out", "cross_attn_out")
    held = [(str(place), torch.Tensor.detach) for place in points_of(model, *cut)]
    batches = one_by_one(model, inputs)
    n, names, found, measured = cast(int, model.n_heads), set(), [], []
    for batch, question in zip(batches, of_each(answers, len(batches), "answers"), strict=True):
        frozen = Frozen(model, attention=False)
        with torch.enable_grad(), frozen:
            ran = run(model, batch, put=held, read=places, grad=places, answer="end")
            answer = ran.answer.one()
            name, measure = read_target(model, answer, ran.answer.kind, question)
            value = measure(answer)
            slopes = ran.gradients(value)
        frozen.check(model, batch, cut)
        names.add(name)
        measured.append(float(value.detach()))
        by_place = []
        for place in places:
            x, slope = ran.states[str(place)].detach(), slopes.get(str(place))
            flow = torch.zeros_like(x) if slope is None else x * slope.reshape(x.shape)
            by_place.append(flow.flatten(0, 1).float().sum(dim=0).reshape(n, -1).sum(dim=1))
        found.append(torch.stack(by_place).cpu().numpy())
    return Contributions(
        part="head",
        name=names.pop() if len(names) == 1 else "each answer",
        method="direct",
        n_inputs=len(batches),
        answer=float(np.mean(measured)),
        values=np.mean(found, axis=0),
    )


def _checked_heads(
    model: LiveModel, heads: Sequence[tuple[int, int]], method: Method
) -> list[tuple[int, int]]:
    if method != "ablation":
        raise ValueError(
            f'`heads` must be None for method="{method}", which measures all of them at once, got '
            f"{shown(heads)}."
        )
    n_layers, n_heads = len(part_places(model, "head")), cast(int, model.n_heads)
    found = []
    for one in heads:
        try:
            layer, head = map(int, one)
            fits = 0 <= layer < n_layers and 0 <= head < n_heads
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f"`heads` must be pairs (layer, head), of {n_layers} layers and {n_heads} heads each, got "
                f"{shown(one)}."
            )
        found.append((layer, head))
    return found


def _contributions(
    model: LiveModel,
    inputs: Inputs,
    target: Question,
    method: Method,
    part: Part,
    chosen: Sequence[tuple[int, int]] | None = None,
) -> Contributions:
    places = part_places(model, part)
    decomposes = method in ("contextual", "held")
    runs = [
        CleanRun(model, part, places, batch, target, held=decomposes)
        for batch in one_by_one(model, inputs)
    ]
    rows = [torch.cat([one.outputs[i] for one in runs]) for i in range(len(places))]
    means = [of_all.mean(dim=0) for of_all in rows]
    ways: dict[Method, Callable[[CleanRun, Sequence[Tensor]], Tensor]] = {
        "contextual": _contextual,
        "held": partial(_contextual, attention=False),
        "ablation": partial(_ablated, chosen=chosen),
        "gradient": _by_gradient,
    }
    of = ways[method]
    names = {one.name for one in runs}
    values = np.mean([of(run, means).cpu().numpy() for run in runs], axis=0)
    lost = int((~np.isfinite(values)).sum())
    if lost and chosen is None:
        others = ["ablation", "gradient"]
        raise ValueError(
            f'Contributions must be finite, and by method="{method}" {lost} of the {values.size} {part}s of '
            f"{model.name} have none: "
            + (
                "what is split grows without end in its MLPs. "
                if decomposes
                else "a state overflows. "
            )
            + f"Pass method={' or '.join(repr(one) for one in others if one != method)}."
        )
    return Contributions(
        part=part,
        name=names.pop() if len(names) == 1 else "the top answer",
        method=method,
        n_inputs=len(runs),
        answer=float(np.mean([one.answer for one in runs])),
        values=values,
        grown=max(one.sizes.grown for one in runs),
        misses=max(one.sizes.misses for one in runs),
    )


def diverges(grown: float, misses: float) -> bool:
    """Return whether a part outgrew the whole, or parts no longer add up to it."""
    return not (grown <= 1 and misses <= SUMS)


class Sizes:
    """How large parts became beside the whole that was split, and how much parts and rest lack of it."""

    def __init__(self) -> None:
        self.grown = self.misses = 0.0

    def see(
        self,
        part: Float[Tensor, "m ..."],
        rest: Float[Tensor, "m ..."],
        whole: Float[Tensor, "1 ..."],
    ) -> None:
        """Look at one split."""
        part, rest, whole = part.float(), rest.float(), whole.float()
        size = whole.square().sum().sqrt().clamp_min(1e-30)
        for x, name in ((part, "grown"), (part + rest - whole, "misses")):
            share = float((x.flatten(1).norm(dim=1).max() / size).nan_to_num(nan=np.inf))
            setattr(self, name, max(getattr(self, name), share))

    def diverge(self, most: float = 1.0) -> bool:
        """Return whether a part outgrew the whole so many times, or parts no longer add up to it."""
        return diverges(self.grown / most, self.misses)


class CleanRun:
    """One input, as decompositions begin: its clean pass, everything `held` that may be, and what is asked.

    After it: `answer`, the number that is asked; `measure`, which reads it off an answer; `outputs`, by place
    (positions, d); `sizes`, how large parts became in what was split since.
    """

    def __init__(
        self,
        model: LiveModel,
        part: Part,
        places: Sequence[HookPoint],
        batch: Batch,
        target: Question,
        *,
        held: bool = True,
    ) -> None:
        self.model, self.part, self.places, self.batch = model, part, places, batch
        self.frozen, self.sizes = Frozen(model), Sizes()
        with self.frozen if held else nullcontext():
            clean = run(model, batch, read=places, answer="end")
        answer = clean.answer.one()
        self.name, self.measure = read_target(model, answer, clean.answer.kind, target)
        self.answer = float(self.measure(answer))
        self.outputs = [clean.states[place].flatten(0, 1).float() for place in places]

    def n_parts(self, mean: Float[Tensor, " d"]) -> int:
        """Return how many heads, or neurons, write side by side at a place."""
        return len(mean) if self.part == "neuron" else cast(int, self.model.n_heads)

    def changes(self, n: int, puts: Puts, frozen: Frozen | None = None) -> Float[Tensor, " n"]:
        """Return the measure of n copies of the input, less its former value."""
        with frozen or nullcontext():
            found = measured_copies(self.model, self.batch, n, puts, self.measure)
        return found - self.answer

    def split(
        self,
        ends: tuple[str, str],
        rest: Sequence[int],
        part: Sequence[int],
        *,
        alone: bool = False,
    ) -> list[tuple[HookPoint, Callable[[Tensor], Tensor]]]:
        """Return the changes that split a part between two hook points: the copies of γ lack β' of the whole.

        `alone`: β' = g(β) − g(0), so that what β and γ do together is of γ.

        In the copies of β and of 0 the stream itself is overwritten: they serve the next split alone. Between
        the stream and attention lies a norm; its bias is read by every copy. `sizes` keeps how large parts
        become.
        """

        def split_input(x: Tensor) -> Tensor:
            x = x.clone()
            x[1] = 0
            x[part] = x[:1] - x[rest]
            self.sizes.see(x[part], x[rest], x[:1])
            return x

        def split_output(y: Tensor) -> Tensor:
            y = y.clone()
            by_itself, on_top = y[part] - y[1:2], y[:1] - y[rest]
            y[rest] = y[:1] - (by_itself if alone else 0.5 * (by_itself + on_top))
            return y

        return [
            (self.model.hook_point(ends[0]), split_input),
            (self.model.hook_point(ends[1]), split_output),
        ]


def _ablated(
    one: CleanRun, means: Sequence[Tensor], chosen: Sequence[tuple[int, int]] | None = None
) -> Float[Tensor, "layers parts"]:
    """m(clean) − m(the part at its mean), in the running model; NaN of parts that are not chosen."""
    if chosen is None:
        chosen = [(i, part) for i, mean in enumerate(means) for part in range(one.n_parts(mean))]
    values = torch.full((len(means), one.n_parts(means[0])), torch.nan)
    for block in blocks(len(chosen)):
        some = [chosen[i] for i in block]
        puts = []
        for layer in sorted({layer for layer, _ in some}):
            rows = [row for row, (of, _) in enumerate(some) if of == layer]
            parts = [some[row][1] for row in rows]
            mean = means[layer]
            puts.append((one.places[layer], parts_at_mean(rows, parts, mean, one.n_parts(mean))))
        changes = one.changes(len(some), puts)
        for (layer, part), change in zip(some, changes, strict=True):
            values[layer, part] = -change
    return values


def _by_gradient(one: CleanRun, means: Sequence[Tensor]) -> Float[Tensor, "layers parts"]:
    """Σ_t ⟨x_t − mean, ∂m/∂x_t⟩ of every part."""
    with torch.enable_grad():
        ran = run(one.model, one.batch, grad=one.places, answer="end")
        found = ran.gradients(one.measure(ran.answer.one()))
    slopes = [found[place] for place in one.places]
    return torch.stack(
        [
            ((x - mean) * slope.reshape(x.shape).float())
            .sum(dim=0)
            .reshape(one.n_parts(mean), -1)
            .sum(dim=1)
            for x, mean, slope in zip(one.outputs, means, slopes, strict=True)
        ]
    )


def _contextual(
    one: CleanRun, means: Sequence[Tensor], *, attention: bool = True
) -> Float[Tensor, "layers parts"]:
    """β of the answer for every part: copies hold β + γ, 0, and γ and β of each part of a block."""
    cut = ("attn_out", "mlp_out") if attention else ("mlp_out",)
    one.frozen.check(one.model, one.batch, cut)
    values = []
    for i, (place, mean) in enumerate(zip(one.places, means, strict=True)):
        for parts in blocks(one.n_parts(mean)):
            m = len(parts)
            rest, part = list(range(2, 2 + m)), list(range(2 + m, 2 + 2 * m))
            puts = [(place, parts_at_mean(rest, parts, mean, one.n_parts(mean)))]
            # A neuron writes through the projection of its own MLP, which is linear.
            first = i + 1 if one.part == "neuron" else i
            for layer in range(first, cast(int, one.model.n_layers)):
                if attention and layer > i:
                    puts += one.split((f"resid_pre.{layer}", f"attn_out.{layer}"), rest, part)
                puts += one.split((f"mlp_in.{layer}", f"mlp_out.{layer}"), rest, part)
            last = one.model.hook_point(f"resid_post.{cast(int, one.model.n_layers) - 1}")
            puts.append((last, partial(_seen, one.sizes, rest)))
            frozen = Frozen(one.model, one.frozen.constants, attention=not attention)
            changed = one.changes(2 + 2 * m, puts, frozen)
            values.append(-changed[rest])
    return torch.cat(values).reshape(len(means), -1)


def _seen(sizes: Sizes, rest: Sequence[int], x: Tensor) -> Tensor:
    """Look at the parts of the last stream, of which copies hold the whole and what is not of each."""
    sizes.see(x[:1] - x[rest], x[rest], x[:1])
    return x


def parts_at_mean(
    rows: Sequence[int], parts: Sequence[int], mean: Float[Tensor, " d"], n_parts: int
) -> Callable[[Tensor], Tensor]:
    """Return the change, for `run(…, put=…)`, that exchanges one part for its mean in each of some rows.

    `parts`: Number of the head or neuron in each of `rows`; `n_parts` of them are side by side in `mean`.
    """

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        split = x.reshape(*x.shape[:-1], n_parts, -1)
        for part, row in zip(parts, rows, strict=True):
            split[row, ..., part, :] = mean.reshape(n_parts, -1)[part].to(x)
        return split.flatten(-2)

    return change


def part_places(model: LiveModel, part: Part) -> list[HookPoint]:
    """Return where heads, or neurons, are written side by side: a place a layer, not of an encoder."""
    places = points_of(model, _PLACES[part])
    if not places or (part == "head" and model.n_heads is None):
        words = "attention heads" if part == "head" else "neurons"
        raise ValueError(
            f"`model` must have {words} whose outputs can be read, and {model.name} has none. "
            "`model.hook_points()` lists what it has."
        )
    return places


def written_by_heads(
    model: LiveModel, layer: int, x: Float[Tensor, "... d_heads"]
) -> Float[Tensor, "... d"]:
    """Return what outputs of heads add to the stream, up to a factor where a norm closes the branch.

    Through the heads' projection without its bias, and the closing norm or scale of each vector alone.
    """
    mixer, end = (model.hook_point(f"{kind}.{layer}").path for kind in ("head_out", "attn_out"))
    parts = [mixer] if mixer.startswith(end) else [mixer, end]
    zero = torch.zeros_like(x.reshape(-1, x.shape[-1])[:1])
    with (
        model.lock
    ):  # another thread's edits of these modules would act on what is asked of them here
        for part in parts:
            module = model.get_module(part)
            x, zero = (module(one.to(next(module.parameters()))) for one in (x, zero))
            x, zero = x - zero, torch.zeros_like(zero)
    return x.float()


# -------------------------------------------------------------------------------------------------
# The part of a graph's targets that flows through each head. Nodes of a graph are what MLPs, errors and tokens
# write; heads are in its edges. With patterns held, the targets are linear in what a head writes, along every
# path that ends there: straight, through later heads, and through atoms that answer in proportion. Flow of a
# head: Σ_t ⟨what it writes at t, ∂targets/∂(that)⟩.


def head_flow(graph: Graph) -> DataFrame:
    """See `AttributionGraph.heads`."""
    import pandas as pd

    passes, _ = live_passes(graph)
    places = part_places(passes.model, "head")
    weights = graph.nodes.weight[graph.nodes.kind == "target"].tolist()
    with torch.enable_grad(), passes.model.lock:
        trace = Trace(passes, also=places)
        with torch.enable_grad():
            parts = zip(weights, passes.measures, strict=True)
            value = torch.stack([w * measure(trace.answer) for w, measure in parts]).sum()
        slopes = _slopes(trace, value)
    n = cast(int, passes.model.n_heads)
    tables = []
    for place, x, slope in zip(places, trace.also, slopes, strict=True):
        flow = (x.detach()[0] * slope[0]).float().sum(dim=0).reshape(n, -1).sum(dim=1)
        columns = {"layer": place.layer, "head": range(n), "flow": flow.cpu().numpy()}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _slopes(trace: Trace, value: Tensor) -> list[Tensor]:
    """∂value/∂(what heads write): a backward pass of the value, and one of what each place's atoms read."""
    leaves, n = trace.leaves, len(trace.leaves)
    inside = [*leaves, *trace.also]
    total = [torch.zeros_like(x) for x in inside]

    def add(of: Tensor, towards: Tensor | None) -> None:
        found = torch.autograd.grad(of, inside, towards, retain_graph=True, allow_unused=True)
        for kept, slope in zip(total, found, strict=True):
            if slope is not None:
                kept += slope

    add(value, None)
    for i in reversed(range(n - 1)):
        written, read = trace.written[i], trace.reads[i]
        if not len(written.atom):
            continue
        along = (total[i + 1][0, written.position].float() * written.atoms).sum(dim=1)
        moved = (along / written.strength)[:, None] * written.slopes
        towards = torch.zeros_like(read)
        towards[0].index_add_(0, written.position, moved.to(read))
        add(read, towards)
    return total[n:]
