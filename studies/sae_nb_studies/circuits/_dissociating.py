"""Do two abilities need different parts of a model? Each head and MLP ablated, and what both tasks lose.

With m the measure of a task, a mean over inputs, and m_c that with component c at its mean output, the share
lost is l = (m − m_c) / m. The difference is d = l_a − l_b, the selectivity s = (l_a − l_b) / (|l_a| + |l_b|). A
random edit of the same norm adds Q (mean − x_t) where c writes, at every position t, with Q a random rotation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import (
    Count,
    Seed,
    answered,
    as_tensor,
    at_least,
    check_memory,
    check_text,
    checked,
    shown,
)
from sae_nb.circuits import part_places, parts_at_mean
from sae_nb.evaluation import outcome_index
from sae_nb.findings import Finding
from sae_nb.models import PrefixCache, run
from sae_nb.statistics import (
    bootstrap_counts,
    bootstrap_interval,
    percentile_interval,
    percentile_intervals,
    permutation_p,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, HookPoint, LiveModel

BLOCK = 64
"""Components that are ablated together, each in a copy of the input of its own: bounds the memory."""

Measure = Callable[[Tensor], Tensor]

FEWEST = 4
"""Inputs of a task: one half chooses components, the other judges them."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False, slots=True)
class Task:
    """Inputs and what counts as doing them: an answer each, against a wrong one if there is one.

    The measure of an input is the logit of its answer less that of its wrong answer; without wrong
    answers, less the mean of all logits; with a `metric`, its value. More is better, 0 is nothing.

    Parameters
    ----------
    inputs
        Inputs of the model: texts, lists of token ids, images; at least four.
    answers, wrong
        Of each input a token or class, by id or name.
    metric
        A function of the answer to one input, (outcomes,), that returns one number; instead of `answers`.
    name
        In tables and figures.

    Raises
    ------
    ValueError, TypeError: If there are too few inputs, or not one answer per input.

    Example
    -------
    >>> texts = [f"{name} was glad. All was" for name in ("She", "Tom", "Ida", "He")]
    >>> Task(inputs=texts, answers=[" well"] * 4, wrong=[" lost"] * 4, name="mood")
    Task(mood: 4 inputs)
    """

    inputs: Any
    answers: Sequence[int | str] | None = None
    wrong: Sequence[int | str] | None = None
    metric: Callable[[Tensor], Tensor] | None = None
    name: str = "task"

    def __post_init__(self) -> None:
        check_text(self.name, name="name")
        n = _count(self.inputs)
        if self.metric is None and self.answers is None:
            raise ValueError("`answers` must be given, one per input, or a `metric`; got neither.")
        if self.metric is not None:
            if self.answers is not None or self.wrong is not None:
                raise ValueError(
                    "`metric` must be given alone: it states what an answer is worth. Leave out `answers` and "
                    "`wrong`."
                )
            if not callable(self.metric):
                raise TypeError(f"`metric` must be a function, got {shown(self.metric)}.")
        for name in ("answers", "wrong"):
            _check_per_input(getattr(self, name), n, name)

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        return f"Task({self.name}: {len(self)} inputs)"


class Dissociation(Finding):
    """The loss of two tasks without each head and MLP of a model; made by `dissociate`."""

    model_name: str
    names: tuple[str, str]
    clean: tuple[float, float]
    """Of the tasks, and their mean measures with nothing ablated."""

    components: DataFrame
    """A row per component: kind (head, mlp), layer, index; a, a_low, a_high, b, b_low, b_high: the shares of
    both tasks lost without it, with 95 % intervals; difference (a − b), low, high; selectivity."""

    test: DataFrame
    """Two rows: the component that task a (then b) needs most beyond the other, chosen on one half of the
    inputs and judged on the other. kind, layer, index, a, b; difference, low, high: of this task less the
    other; selectivity; random, random_sd, random_selectivity: the same search among random edits of
    that norm; p: the share of those searches that found as much."""

    random: Float[np.ndarray, "n_random components 2"]
    """Shares of both tasks lost under random edits of the same norm."""

    @property
    def double(self) -> bool:
        """Whether each task has a component of its own: intervals above 0, and p below .1."""
        return bool((self.test.low > 0).all() and (self.test.p < 0.1).all())

    def figure(self) -> Any:
        """Draw the shares lost by both tasks, of components and of random edits."""
        from sae_nb.figures import framed, line, theme

        found, drawn = self.components, self.random.reshape(-1, 2)
        words = [
            f"{kind} {layer}.{index}" if kind == "head" else f"{kind} {layer}"
            for kind, layer, index in zip(found.kind, found.layer, found["index"], strict=True)
        ]
        chance = line("random edits", *drawn.T, colour=theme.CONTROL, hover="%{x:.2f}, %{y:.2f}")
        parts = line("components", found.a, found.b, colour=theme.PALETTE[0], symbol="circle")
        parts.update(mode="markers", text=words, hovertemplate="%{text}: %{x:.2f}, %{y:.2f}")
        chance.update(mode="markers")
        labels = [f"share of “{name}” lost" for name in self.names]
        return framed([chance, parts], x=labels[0], y=labels[1], height=380)

    @property
    def headline(self) -> str:
        """The component of each task, and what random edits reach."""
        said = ", ".join(
            f"{name} by {row.kind} {row.layer}"
            + (f".{row.index}" if row.kind == "head" else "")
            + f" {row.difference:+.3f} (random {row.random:+.3f}, p {row.p:.2f})"
            for name, row in zip(self.names, self.test.itertuples(name="Row"), strict=True)
        )
        word = "double" if self.double else "no double"
        return f"{word} dissociation of {len(self.components)} components: {said}"


@checked
def dissociate(
    model: LiveModel,
    task_a: Task,
    task_b: Task,
    *,
    n_random: Count = 20,
    n_bootstrap: Annotated[int, at_least(2)] = 1000,
    seed: Seed = 0,
) -> Dissociation:
    """Ask whether two tasks need different heads and MLPs, by ablating each and comparing what both lose.

    Every attention head and every MLP is exchanged for its mean output, the same edit for both tasks:
    the mean over all positions of the inputs of both, each task weighing half. Each is compared with
    random edits of the same norm, which take the change that the ablation makes and turn it, all
    positions alike, into a random direction. On one half of the inputs the component is chosen that a
    task needs most beyond the other task, on the other half it is judged; random edits are searched in
    the same way.

    Parameters
    ----------
    task_a, task_b
        Tasks that the model does: the interval of their mean measure lies above 0.
    n_random
        Random edits of each component.
    n_bootstrap
        Resamples of the inputs for the 95 % intervals; what both tasks lose is resampled independently.
    seed
        Of the halves, the random edits and the resamples.

    Raises
    ------
    ValueError, TypeError: If the model has no heads that can be read, does not do a task, or an answer is not
        one of its outcomes.

    Source
    ------
    After "Disentangling Recall and Reasoning in Transformer Models through Layer-wise Attention and Activation
    Analysis", arXiv 2510.03366, of which we had the abstract; the double dissociation is the test of
    neuropsychology (Shallice, 1988). The measure, the halves and the control are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> names = ["She", "Tom", "Ida", "He"]
    >>> good = Task(inputs=[f"{x} danced. All was" for x in names], answers=[" well"] * 4, name="mood")
    >>> one = Task(inputs=[f"{x} walked to the" for x in names], answers=[" farm"] * 4, name="place")
    >>> found = dissociate(gpt, good, one, n_random=2)
    >>> len(found.components) == gpt.n_layers * (gpt.n_heads + 1)
    True
    """
    rng = np.random.default_rng(seed)
    runs = _Runs(model, (task_a, task_b), n_random, rng)
    for task, clean in zip((task_a, task_b), runs.clean, strict=True):
        _check_done(model, task, clean, n_bootstrap, rng)
    runs.ablate()
    shares = _Shares(runs.clean, runs.lost, n_bootstrap, rng)
    return Dissociation(
        model_name=model.name,
        names=(task_a.name, task_b.name),
        clean=(float(runs.clean[0].mean()), float(runs.clean[1].mean())),
        components=_table(runs.components, shares),
        test=_test(runs, n_bootstrap, rng),
        random=_Shares(runs.clean, runs.drawn, 0, rng).means,
    )


# -------------------------------------------------------------------------------------------------
# The model run with each component ablated, and with random edits of the same norm.


@dataclass(frozen=True, slots=True)
class _Component:
    """A head or an MLP: where it is exchanged, and where what that changes is written into the stream."""

    kind: str
    layer: int
    index: int
    place: HookPoint
    written: HookPoint
    n_parts: int


class _Runs:
    """The measures of two tasks: clean, and lost under each edit, one column per input."""

    def __init__(
        self, model: LiveModel, tasks: tuple[Task, Task], n_random: int, rng: np.random.Generator
    ) -> None:
        self.model, self.n_random = model, n_random
        self.components = _components(model)
        width = model.width(str(self.components[0].written)) or 0
        check_memory(4 * n_random * width**2, f"{n_random} random rotations", "Lower `n_random`.")
        drawn = torch.from_numpy(rng.standard_normal((n_random, width, width), dtype=np.float32))
        self.turns = torch.linalg.qr(drawn)[0].to(model.device)
        self.inputs = [_prepared(model, task) for task in tasks]
        of_tasks = [self._mean_outputs([batch for batch, _, _ in some]) for some in self.inputs]
        self.means = {name: (mean + of_tasks[1][name]) / 2 for name, mean in of_tasks[0].items()}
        self.clean = [np.array([value for _, _, value in some]) for some in self.inputs]
        self.lost: list[Float[np.ndarray, "components n"]] = []
        self.drawn: list[Float[np.ndarray, "edits n"]] = []

    def ablate(self) -> None:
        """Measure what is lost on every input."""
        for inputs in self.inputs:
            both = [self._of(batch, measure, clean) for batch, measure, clean in inputs]
            self.lost.append(np.stack([lost for lost, _ in both], axis=1))
            self.drawn.append(np.stack([drawn for _, drawn in both], axis=1))

    def _mean_outputs(self, batches: Sequence[Batch]) -> dict[str, Float[Tensor, " d"]]:
        """Of each place, over all positions."""
        total: dict[str, Tensor] = {}
        rows: dict[str, int] = {}
        places = {str(part.place) for part in self.components}
        for batch in batches:
            for name, x in run(self.model, batch, read=places, answer=False).states.items():
                flat = x.flatten(0, 1).double()
                total[name] = total.get(name, 0) + flat.sum(dim=0)
                rows[name] = rows.get(name, 0) + len(flat)
        return {name: (part / rows[name]).float() for name, part in total.items()}

    def _of(
        self, batch: Batch, measure: Measure, clean: float
    ) -> tuple[Float[np.ndarray, " components"], Float[np.ndarray, " edits"]]:
        """Return the loss of one input without each component, and under each of its random edits."""
        n = len(self.components)
        lost, drawn = np.empty(n), np.empty((self.n_random, n))
        for start in range(0, n, BLOCK):
            block = range(start, min(start + BLOCK, n))
            written = {str(self.components[c].written) for c in block}
            several = batch.copies(1 + len(block))
            with self._from(block, several):
                ran = run(self.model, several, read=written, put=self._ablations(block))
                lost[block] = clean - _measured(ran, measure)
                changes = dict(self._changes(block, ran.states))
                at_once = 1 if block[0] else max(BLOCK // len(block), 1)
                for r in range(0, self.n_random, at_once):
                    turns = self.turns[r : r + at_once]
                    copies = batch.copies(1 + len(turns) * len(block))
                    ran = run(self.model, copies, put=self._turned(block, changes, turns))
                    found = _measured(ran, measure)
                    drawn[r : r + at_once, block] = clean - found.reshape(len(turns), -1)
        return lost, drawn.ravel()

    @contextmanager
    def _from(self, block: range, copies: Batch) -> Iterator[None]:
        """Have runs of these copies begin at the first of some components; what lies below is computed once."""
        below = PrefixCache(self.model, [self.components[block[0]].place])
        with self.model.lock:
            if block[0]:  # nothing lies below the first
                with below.noted():
                    run(self.model, copies, answer=False)
            with below.left_out():
                yield

    def _ablations(self, block: range) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
        """Copy 0 stays; each other has one component at its mean."""
        here = [self.components[c] for c in block]
        for place in dict.fromkeys(part.place for part in here):
            own = [i for i, part in enumerate(here) if part.place is place]
            mean, rows = self.means[str(place)], [1 + i for i in own]
            parts = [here[i].index for i in own]
            yield place, parts_at_mean(rows, parts, mean, here[own[0]].n_parts)

    def _changes(self, block: range, states: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield the change that ablating each component makes where it writes.

        An MLP writes where it is exchanged.
        """
        for row, c in enumerate(block, start=1):
            part = self.components[c]
            x = states[str(part.written)]  # read before anything is put there
            ablated = self.means[str(part.place)].to(x) if part.place is part.written else x[row]
            yield c, (ablated - x[0]).float()

    def _turned(
        self, block: range, changes: Mapping[int, Tensor], turns: Float[Tensor, "n d d"]
    ) -> Iterator[tuple[HookPoint, Callable[[Tensor], Tensor]]]:
        """Copy 0 stays; each other has the change of one component in a random direction."""
        of_place: dict[HookPoint, list[int]] = {}
        for c in block:
            of_place.setdefault(self.components[c].written, []).append(c)
        for place, here in of_place.items():
            moved = torch.stack([changes[c] for c in here]) @ turns[:, None]  # (n, here, seq, d)
            rows = [1 + t * len(block) + c - block[0] for t in range(len(turns)) for c in here]
            yield place, partial(_add, rows, moved.flatten(0, 1))


def _measured(ran: Any, measure: Measure) -> Float[np.ndarray, " n"]:
    """Return what is asked of the answer to each copy but the first."""
    found = [float(measure(ran.answer.one(i))) for i in range(1, ran.batch.n)]
    return np.array(found, np.float32).astype(float)


def _add(rows: Sequence[int], moved: Tensor, x: Tensor) -> Tensor:
    x = x.clone()
    x[rows] += moved.to(x)
    return x


def _components(model: LiveModel) -> list[_Component]:
    """Heads and MLPs of each block."""
    points = {str(point): point for point in model.hook_points()}
    found: list[_Component] = []
    for place in part_places(model, "head"):
        layer = int(str(place).rpartition(".")[2])
        n, written = int(model.n_heads or 1), model.hook_point(f"attn_out.{layer}")
        found += [_Component("head", layer, head, place, written, n) for head in range(n)]
        if mlp := points.get(f"mlp_out.{layer}"):
            found.append(_Component("mlp", layer, 0, mlp, mlp, 1))
    return found


def _prepared(model: LiveModel, task: Task) -> list[tuple[Batch, Measure, float]]:
    """Of each input its batch, what is asked of its answer, and that of the model as it is."""
    prepared = []
    for i, batch in enumerate(model.batches(task.inputs, batch_size=1)):
        answer = run(model, batch).answer.one()
        measure = _measure(model, task, i, len(answer))
        prepared.append((batch.to(model.device), measure, float(measure(answer))))
    return prepared


def _measure(model: LiveModel, task: Task, i: int, n_outcomes: int) -> Measure:
    """Return the measure of one input's answer."""
    if task.metric is not None:
        return partial(_by_metric, task.metric)
    one, other = (
        None
        if names is None
        else outcome_index(model, names[i], n_outcomes, otherwise="its text", argument=argument)
        for names, argument in ((task.answers, "answers"), (task.wrong, "wrong"))
    )
    if one is not None and one == other:
        raise ValueError(
            f"`wrong` must differ from `answers`, and both of input {i} are number {one} of the outcomes."
        )
    return lambda z: z[one] - (z.mean() if other is None else z[other])


def _by_metric(metric: Callable[[Tensor], Tensor], answer: Tensor) -> Tensor:
    value = as_tensor(answered(metric, answer, name="metric"), name="metric(answer)")
    if value.numel() != 1 or not bool(torch.isfinite(value)):
        raise ValueError(
            f"`metric` must turn an answer of shape {tuple(answer.shape)} into one finite number, got "
            f"{shown(value)}."
        )
    return value.reshape(())


# -------------------------------------------------------------------------------------------------
# Shares lost, their intervals, and the test.


class _Shares:
    """Shares lost of both tasks, and of resampled inputs."""

    def __init__(
        self,
        clean: Sequence[Float[np.ndarray, " n"]],
        lost: Sequence[Float[np.ndarray, "*edits n"]],
        n_bootstrap: int,
        rng: np.random.Generator,
    ) -> None:
        means, drawn = [], []
        for m, e in zip(clean, lost, strict=True):
            weights = bootstrap_counts(len(m), n_bootstrap, rng)
            means.append(e.mean(axis=-1) / m.mean())
            drawn.append((weights @ e.T) / (weights @ m)[:, None])
        self.means: Float[np.ndarray, "*edits 2"] = np.stack(means, axis=-1)
        self.drawn: Float[np.ndarray, "n_bootstrap edits 2"] = np.stack(drawn, axis=-1)

    @property
    def difference(self) -> Float[np.ndarray, " edits"]:
        """Of task a less b."""
        return np.asarray(self.means[..., 0] - self.means[..., 1])

    @property
    def selectivity(self) -> Float[np.ndarray, " edits"]:
        """The same as a share of what both lose; 0 where they lose nothing."""
        size = np.abs(self.means).sum(axis=-1)
        return np.asarray(self.difference / np.maximum(size, 1e-12))


def _table(components: Sequence[_Component], shares: _Shares) -> DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {
        name: [getattr(part, name) for part in components] for name in ("kind", "layer", "index")
    }
    low, high = percentile_intervals(shares.drawn)
    for i, name in enumerate("ab"):
        columns |= {name: shares.means[:, i], f"{name}_low": low[:, i], f"{name}_high": high[:, i]}
    columns["difference"] = shares.difference
    between = shares.drawn[..., 0] - shares.drawn[..., 1]
    columns["low"], columns["high"] = percentile_intervals(between)
    return pd.DataFrame(columns | {"selectivity": shares.selectivity})


def _test(runs: _Runs, n_bootstrap: int, rng: np.random.Generator) -> DataFrame:
    """The component that each task needs most beyond the other, chosen on one half, judged on the other."""
    orders = [rng.permutation(len(m)) for m in runs.clean]
    halves = [
        [order[: len(order) // 2] for order in orders],
        [order[len(order) // 2 :] for order in orders],
    ]
    return _judged(runs, halves, n_bootstrap, rng)


def _judged(
    runs: _Runs,
    halves: Sequence[Sequence[Int[np.ndarray, " m"]]],
    n_bootstrap: int,
    rng: np.random.Generator,
) -> DataFrame:
    import pandas as pd

    def of(
        lost: Sequence[np.ndarray], half: Sequence[Int[np.ndarray, " m"]], n: int = 0
    ) -> _Shares:
        clean = [m[rows] for m, rows in zip(runs.clean, half, strict=True)]
        return _Shares(clean, [e[:, rows] for e, rows in zip(lost, half, strict=True)], n, rng)

    n_parts = len(runs.components)
    chosen_on, judged_on = of(runs.lost, halves[0]), of(runs.lost, halves[1], n_bootstrap)
    random_on, random_judged = of(runs.drawn, halves[0]), of(runs.drawn, halves[1])
    rows = []
    for sign in (1, -1):
        best = int(np.argmax(sign * chosen_on.difference))
        part = runs.components[best]
        picks = np.argmax(sign * random_on.difference.reshape(-1, n_parts), axis=1)
        picks = picks + n_parts * np.arange(runs.n_random)
        drawn = sign * random_judged.difference[picks]
        between = sign * (judged_on.drawn[:, best, 0] - judged_on.drawn[:, best, 1])
        difference = sign * judged_on.difference[best]
        low, high = percentile_interval(between)
        rows.append(
            {
                "kind": part.kind,
                "layer": part.layer,
                "index": part.index,
                "a": judged_on.means[best, 0],
                "b": judged_on.means[best, 1],
                "difference": difference,
                "low": low,
                "high": high,
                "selectivity": sign * judged_on.selectivity[best],
                "random": drawn.mean(),
                "random_sd": drawn.std(),
                "random_selectivity": (sign * random_judged.selectivity[picks]).mean(),
                "p": float(permutation_p(drawn, difference)),
            }
        )
    return pd.DataFrame(rows)


# -------------------------------------------------------------------------------------------------
# Checks.


def _count(inputs: Any) -> int:
    if isinstance(inputs, str | bytes) or not hasattr(inputs, "__len__"):
        raise TypeError(f"`inputs` must hold several inputs, such as texts, got {shown(inputs)}.")
    if getattr(inputs, "ndim", 1) == 0 or len(inputs) < FEWEST:
        n = 0 if getattr(inputs, "ndim", 1) == 0 else len(inputs)
        raise ValueError(
            f"`inputs` must hold at least {FEWEST}, two to choose components and two to judge them, got {n}."
        )
    return len(inputs)


def _check_per_input(values: Any, n: int, name: str) -> None:
    if values is None:
        return
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise TypeError(
            f"`{name}` must be a list of tokens or classes, one per input, got {shown(values)}."
        )
    if len(values) != n:
        raise ValueError(f"`{name}` must have one entry per input, {n}, got {len(values)}.")


def _check_done(
    model: LiveModel,
    task: Task,
    clean: Float[np.ndarray, " n"],
    n_bootstrap: int,
    rng: np.random.Generator,
) -> None:
    """Refuse a task of which nothing can be lost."""
    low, high = bootstrap_interval((clean,), np.mean, n_resamples=n_bootstrap, seed=rng)
    if low <= 0:
        raise ValueError(
            f"“{task.name}” must be a task that {model.name} does, its mean measure above 0, got "
            f"{clean.mean():.3f}, 95 % interval {low:.3f} to {high:.3f}: there is nothing to lose. Ask for "
            "something that it can do, or pass more inputs."
        )
