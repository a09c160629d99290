"""Does a model compute the variables of an algorithm? Interchange interventions at one place, by a learned map.

A map φ of activations gives each variable v coordinates of its own. With x the activation of a base
input and x_v that of a source for each exchanged variable, the model continues from φ⁻¹(h), h being
φ(x) with the coordinates of v from φ(x_v). It is right if it answers as the algorithm does with the
base's values, and for what was exchanged the sources'.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.background import checkpoint
from sae_nb.checks import (
    Count,
    Seed,
    answered,
    at_least,
    between,
    check_count,
    check_text,
    checked,
    shown,
)
from sae_nb.evaluation import outcome_index
from sae_nb.findings import Finding
from sae_nb.models import run
from sae_nb.statistics import bootstrap_counts, percentile_interval
from sae_nb_studies.circuits._interactions import one_batch
from sae_nb_studies.circuits._maps import Couplings, Rotation, Units

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, LiveModel

Map = Literal["identity", "linear", "mlp"]
MAPS: tuple[Map, ...] = ("identity", "linear", "mlp")

HELD_OUT = 0.3
"""Share of the inputs that no map is learned on."""

LEARNED, WINDOW = 1e-3, 50
"""Nats of loss, a mean over so many steps, from which on a map is learned and its training ends."""

LEARNING_RATE = {"identity": 0.0, "linear": 0.02, "mlp": 0.005}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False, slots=True)
class Algorithm:
    """A possible algorithm of a model: variables that are read off an input, and the answer made of them.

    Parameters
    ----------
    inputs
        Inputs of the model, all of one length: texts, a tensor of token ids or numbers, images.
    variables
        Names, such as ("left", "right").
    read
        A function of one of `inputs`: the value of each variable, in order; with one variable its value.
        Numbers, texts or True and False.
    answer
        A function of the values, one argument each: the class or token that follows, by id or name.
    name
        In tables and figures.

    Example
    -------
    >>> inputs = torch.randint(3, (50, 4), generator=torch.Generator().manual_seed(0)).float()
    >>> Algorithm(
    ...     inputs=inputs,
    ...     variables=("left", "right"),
    ...     read=lambda x: (bool(x[0] == x[1]), bool(x[2] == x[3])),
    ...     answer=lambda left, right: int(left == right),
    ... )
    Algorithm(algorithm: left, right of 50 inputs)
    """

    inputs: Any
    variables: Sequence[str]
    read: Callable[[Any], Any]
    answer: Callable[..., int | str]
    name: str = "algorithm"

    def __post_init__(self) -> None:
        check_text(self.name, name="name")
        one = isinstance(self.inputs, str | bytes) or getattr(self.inputs, "ndim", 1) == 0
        if one or not hasattr(self.inputs, "__len__"):
            raise TypeError(f"`inputs` must hold several inputs, got {shown(self.inputs)}.")
        names = self.variables
        if isinstance(names, str) or not isinstance(names, Sequence) or not len(names):
            raise TypeError(f"`variables` must be a list of names, got {shown(names)}.")
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError(f"`variables` must be different names, got {shown(names)}.")
        for argument in ("read", "answer"):
            if not callable(getattr(self, argument)):
                raise TypeError(
                    f"`{argument}` must be a function, got {shown(getattr(self, argument))}."
                )

    def __repr__(self) -> str:
        return f"Algorithm({self.name}: {', '.join(self.variables)} of {len(self.inputs)} inputs)"


class Alignment(Finding):
    """Share of interchange interventions that give the algorithm's answer; made by `align`."""

    HEADLINE = (
        "{map} map at {hook_point}: {interchange:.3f} of held-out pairs "
        "({accuracy.low.iloc[0]:.3f} to {accuracy.high.iloc[0]:.3f}), random twin {twin:.3f}; "
        "nothing exchanged {unchanged:.3f}"
    )

    map: Map
    hook_point: str
    variables: tuple[str, ...]
    size: int
    """Coordinates that each variable has."""

    accuracy: DataFrame
    """Two rows, "model" and "random twin": interchange, low, high: the share of held-out pairs with the
    algorithm's answer, with its 95 % interval; fitted: of pairs that the map was learned on; clean:
    share of held-out inputs answered so with nothing exchanged.
    """

    by_variable: DataFrame
    """The same share by what was exchanged: variables, model, twin, n."""

    unchanged: float
    """Share of held-out pairs whose right answer is the base's own: what doing nothing gets, of a model that is
    always right."""

    losses: tuple[Float[np.ndarray, " steps"], ...]
    """Of the model's map and its twin's, step by step, nats; empty for "identity"."""

    @property
    def interchange(self) -> float:
        """Of the model."""
        return float(self.accuracy.interchange.iloc[0])

    @property
    def twin(self) -> float:
        """Of the random twin."""
        return float(self.accuracy.interchange.iloc[1])

    def figure(self) -> Any:
        """Draw the shares of the model and of its random twin; the line is exchanging nothing."""
        from sae_nb.figures import framed, line, theme

        at = self.accuracy
        marks = line(
            "interchange accuracy",
            at.interchange,
            at.index,
            colour=theme.PALETTE[0],
            symbol="circle",
            hover="%{x:.3f}",
        )
        error = {"type": "data", "array": at.high - at.interchange}
        error |= {"arrayminus": at.interchange - at.low, "symmetric": False}
        marks.update(mode="markers", error_x=error, showlegend=False)
        floor = line(
            "nothing exchanged",
            [self.unchanged] * 2,
            list(at.index),
            colour=theme.CONTROL,
            dash=theme.CONTROL_DASH,
        )
        return framed([marks, floor], x="interchange intervention accuracy", height=220)


@checked(leave=("hook_point",))
def align(
    model: LiveModel,
    algorithm: Algorithm,
    hook_point: Any,
    *,
    map: Map = "linear",
    size: int | None = None,
    position: int = -1,
    twin: LiveModel | None = None,
    steps: Count = 1500,
    batch_size: Count = 128,
    learning_rate: float | None = None,
    n_pairs: Count = 1000,
    n_bootstrap: Annotated[int, at_least(2)] = 1000,
    seed: Seed = 0,
) -> Alignment:
    """Test whether a place of a model holds the variables of an algorithm, compared with a twin that
    learned nothing.

    The map is learned on pairs of some inputs, the model's weights held, so that exchanging the
    coordinates of a variable for those of another input changes the answer as it changes the
    algorithm's; then it is judged on pairs of inputs held out. The same is done with the twin. The
    exchanged variables, each from an input of its own, are drawn for every pair, at least one.

    Parameters
    ----------
    hook_point
        One place; of sequences, `position` is exchanged, and the answer is that after the last.
    map
        "identity": units as they are, each variable given those that it explains most of. "linear": an
        orthogonal matrix (distributed alignment search). "mlp": an invertible network of coupling layers.
        The more a map can do, the less what it finds is the model's: look at the twin.
    size
        Coordinates of each variable. None: equal parts, one of them left for what no variable is.
    twin
        A model of the same kind. None: the model with each parameter's entries in a random order.
    steps, batch_size, learning_rate
        Of the map's training (Adam, the rate going down to 0), which ends before where the loss is all but 0.
        None: .02 for "linear", .005 for "mlp".
    n_pairs
        Held-out pairs.
    n_bootstrap
        Resamples of the base inputs for the intervals.
    seed
        Of the division of the inputs, the pairs, the maps' first values and the twin.

    Raises
    ------
    HookPointNotFound, ValueError, TypeError: If inputs differ in length, a variable has fewer than two values,
        an answer is none of the model's, or the place has no vector for each input.

    Source
    ------
    Interchange interventions: Geiger et al., arXiv 2106.02997; with a learned rotation: arXiv 2303.02536; with
    maps of any power, and the twin: Sutter et al., "The Non-Linear Representation Dilemma", arXiv 2507.08802.
    Theirs is a reversible residual network; ours a learned rotation and additive couplings.

    Example
    -------
    >>> import sae_nb as sn
    >>> from torch import nn
    >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> signs = Algorithm(inputs=x, variables=("first",), read=lambda x: bool(x[0] > 0), answer=int)
    >>> net = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]])), net[1].bias.data.zero_()
    >>> align(sn.wrap(net), signs, "0", map="identity", size=1).interchange
    1.0
    """
    rate = LEARNING_RATE[map] if learning_rate is None else learning_rate
    between(rate, 0.0, 1.0, name="learning_rate", ends="[]")
    models = [model, shuffled(model, seed) if twin is None else twin]
    places = [_Place(one, algorithm.inputs, hook_point, position) for one in models]
    task = _Values(algorithm, model, places[0], seed)
    found = []
    for place in places:
        place.check_like(places[0])
        size = _size(size, place.x.shape[1], len(algorithm.variables))
        found.append(_Learned(place, task, map, size, rate, steps, batch_size, seed))
    return _alignment(algorithm, found, task, n_pairs, n_bootstrap, seed)


def shuffled(model: LiveModel, seed: int) -> LiveModel:
    """Return a copy with each parameter's entries in a random order: of the same scale, nothing learned."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model.module)
    for parameter in module.parameters():
        flat = parameter.data.flatten()
        order = torch.randperm(len(flat), generator=generator).to(flat.device)
        parameter.data = flat[order].reshape(parameter.shape)
    return replace(model, module=module, name=f"{model.name}, random twin")


# -------------------------------------------------------------------------------------------------
# The place, and what the algorithm says.


class _Place:
    """Activations of all inputs at one place, and the model's answers from other ones put there."""

    def __init__(self, model: LiveModel, inputs: Any, hook_point: Any, position: int) -> None:
        self.model, self.position = model, position
        self.point = model.hook_point(str(hook_point))
        self.batch = one_batch(model, inputs)
        ran = run(model, self.batch, read=self.point)
        self.clean = self._last(ran.answer.tensor)
        self.x: Float[Tensor, "n d"] = self._read(ran.seen[self.point]).float()

    def _read(self, x: Tensor) -> Float[Tensor, "n d"]:
        n = self.batch.n
        if x.ndim not in (2, 3) or len(x) != n:
            raise ValueError(
                f"`hook_point` must hold a vector for each input, or for each position of it, and {self.point} "
                f"is of shape {tuple(x.shape)} for {n} inputs. Choose another place."
            )
        if x.ndim == 3 and not -x.shape[1] <= self.position < x.shape[1]:
            raise ValueError(
                f"`position` must be one of the {x.shape[1]} at {self.point}, got {self.position}. −1 is the "
                "last."
            )
        return x if x.ndim == 2 else x[:, self.position]

    def _last(self, answer: Tensor) -> Float[Tensor, "n outcomes"]:
        return (answer[:, -1] if answer.ndim == 3 else answer).float()

    def check_like(self, other: _Place) -> None:
        """Refuse a twin of another width."""
        if self.x.shape != other.x.shape or self.clean.shape != other.clean.shape:
            raise ValueError(
                f"`twin` must be of the model's kind, and at {self.point} they have {self.x.shape[1]} and "
                f"{other.x.shape[1]} units, {self.clean.shape[1]} and {other.clean.shape[1]} outcomes."
            )

    def answers(
        self, rows: Int[np.ndarray, " m"], new: Float[Tensor, "m d"], *, grad: bool = False
    ) -> Float[Tensor, "m outcomes"]:
        """Return the answers to some inputs with other activations at the place."""

        def exchange(x: Float[Tensor, "m places d"]) -> Tensor:
            x = x.clone()
            x[:, self.position if x.shape[1] > 1 else 0] = new.to(x)
            return x

        ran = run(self.model, _taken(self.batch, rows), put=[(self.point, exchange)], grad=grad)
        with torch.set_grad_enabled(grad):
            return self._last(ran.answer.tensor)


def _taken(batch: Batch, rows: Int[np.ndarray, " m"]) -> Batch:
    """Some rows of a batch."""
    index = torch.from_numpy(rows)

    def some(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == batch.n:
            return value[index.to(value.device)]
        return value

    changes: dict[str, Any] = {f.name: some(getattr(batch, f.name)) for f in fields(batch)}
    changes["args"] = tuple(some(value) for value in batch.args)
    changes["kwargs"] = {name: some(value) for name, value in batch.kwargs.items()}
    return replace(batch, **{**changes, "n": len(rows)})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Bases, a source for each variable, which variables are exchanged, and the answer that is right then."""

    base: Int[np.ndarray, " m"]
    source: Int[np.ndarray, "m variables"]
    swapped: Bool[np.ndarray, "m variables"]
    right: Int[np.ndarray, " m"]


class _Values:
    """The algorithm's variables on every input, and its answers."""

    def __init__(self, algorithm: Algorithm, model: LiveModel, place: _Place, seed: int) -> None:
        self.algorithm, self.model, self.n_outcomes = algorithm, model, place.clean.shape[1]
        self.values = [self._of(one) for one in algorithm.inputs]
        self.known: dict[tuple[Any, ...], int] = {}
        self.right = np.array([self.answer(values) for values in self.values])
        for i, name in enumerate(algorithm.variables):
            if len({values[i] for values in self.values}) < 2:
                raise ValueError(
                    f"`inputs` must give each variable two values or more, and “{name}” has one."
                )
        order = np.random.default_rng(seed).permutation(len(self.values))
        n_out = int(HELD_OUT * len(order))
        if n_out < 2:
            raise ValueError(f"`inputs` must be at least 7, some to be held out, got {len(order)}.")
        self.held_out, self.fitted = order[:n_out], order[n_out:]

    def _of(self, one: Any) -> tuple[Any, ...]:
        n, values = len(self.algorithm.variables), answered(self.algorithm.read, one, name="read")
        several = tuple(values) if isinstance(values, tuple | list) else (values,)
        several = tuple(
            value.item() if isinstance(value, Tensor | np.generic) else value for value in several
        )
        if len(several) != n:
            raise ValueError(
                f"`read` must return {n} values, one per variable, got {len(several)}: {shown(values)}."
            )
        try:
            hash(several)
        except TypeError:
            raise TypeError(
                f"`read` must return numbers, texts or True and False, got {shown(values)}."
            ) from None
        return several

    def answer(self, values: tuple[Any, ...]) -> int:
        """Return the class or token that follows from values."""
        if values not in self.known:
            named = answered(self.algorithm.answer, *values, name="answer")
            self.known[values] = outcome_index(
                self.model, named, self.n_outcomes, otherwise="its text", argument="answer"
            )
        return self.known[values]

    def pairs(self, among: Int[np.ndarray, " k"], n: int, rng: np.random.Generator) -> _Pairs:
        """Draw pairs of some inputs."""
        n_variables = len(self.algorithm.variables)
        base, source = rng.choice(among, n), rng.choice(among, (n, n_variables))
        swapped = rng.random((n, n_variables)) < 0.5
        swapped[np.arange(n), rng.integers(n_variables, size=n)] = True
        right = [
            self.answer(
                tuple(
                    self.values[s if swap else b][v]
                    for v, (s, swap) in enumerate(zip(sources, swaps, strict=True))
                )
            )
            for b, sources, swaps in zip(base, source, swapped, strict=True)
        ]
        return _Pairs(base=base, source=source, swapped=swapped, right=np.array(right))


# -------------------------------------------------------------------------------------------------
# Maps learned.


class _Learned:
    """A map of one place, learned on pairs."""

    def __init__(
        self, place: _Place, task: _Values, kind: Map, size: int, rate: float, steps: int,
        batch_size: int, seed: int,
    ) -> None:  # fmt: skip
        self.place, self.kind, self.size = place, kind, size
        self.losses: list[float] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            rows = place.x[torch.from_numpy(task.fitted).to(place.x.device)]
            self.map: Any = {  # type: ignore[no-untyped-call]
                "identity": lambda: Units(rows, [task.values[i] for i in task.fitted], size),
                "linear": lambda: Rotation(rows.shape[1]).to(rows),
                "mlp": lambda: Couplings(rows),
            }[kind]()
        if kind != "identity":
            with torch.enable_grad(), place.model.lock:
                self._learn(task, rate, steps, batch_size, np.random.default_rng(seed))

    def _learn(
        self, task: _Values, rate: float, steps: int, batch_size: int, rng: np.random.Generator
    ) -> None:
        parameters = list(self.map.parameters())
        optimiser = torch.optim.Adam(parameters, lr=rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
        for _ in range(steps):
            checkpoint()
            pairs = task.pairs(task.fitted, batch_size, rng)
            right = torch.from_numpy(pairs.right).to(self.place.x.device)
            loss = nn.functional.cross_entropy(self.answers(pairs, grad=True), right)
            slopes = torch.autograd.grad(loss, parameters)
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            optimiser.step()
            schedule.step()
            self.losses.append(float(loss.detach()))
            if len(self.losses) >= WINDOW and np.mean(self.losses[-WINDOW:]) < LEARNED:
                return

    def answers(self, pairs: _Pairs, *, grad: bool = False) -> Float[Tensor, "m outcomes"]:
        """Return the answers to pairs, coordinates exchanged."""
        x = self.place.x
        with torch.set_grad_enabled(grad):
            h = self.map(x[torch.from_numpy(pairs.base).to(x.device)])
            new = h.clone()
            for v in range(pairs.source.shape[1]):
                swapped = torch.from_numpy(pairs.swapped[:, v]).to(x.device)
                mine = slice(v * self.size, (v + 1) * self.size)
                theirs = self.map(x[torch.from_numpy(pairs.source[:, v]).to(x.device)])
                new[:, mine] = torch.where(swapped[:, None], theirs[:, mine], h[:, mine])
            return self.place.answers(pairs.base, self.map.inverse(new), grad=grad)

    def right(self, pairs: _Pairs) -> Bool[np.ndarray, " m"]:
        """Return which pairs get the algorithm's answer."""
        return np.asarray(self.answers(pairs).argmax(dim=1).cpu().numpy() == pairs.right)


def _size(size: int | None, d: int, n_variables: int) -> int:
    if d < max(n_variables, 2):
        raise ValueError(
            f"`hook_point` must have a unit for each variable, and two at least, got {d} of {n_variables}."
        )
    if size is None:
        return max(d // (n_variables + 1), 1)
    return check_count(size, name="size", at_most=d // n_variables)


# -------------------------------------------------------------------------------------------------
# What is found.


def _alignment(
    algorithm: Algorithm, found: Sequence[_Learned], task: _Values, n_pairs: int, n_bootstrap: int, seed: int
) -> Alignment:  # fmt: skip
    import pandas as pd

    pairs = task.pairs(task.held_out, n_pairs, np.random.default_rng((seed, 1)))
    fitted = task.pairs(task.fitted, n_pairs, np.random.default_rng((seed, 2)))
    rows, right = [], []
    for one in found:
        right.append(one.right(pairs))
        low, high = _interval(right[-1], pairs.base, n_bootstrap, seed)
        clean = one.place.clean.argmax(dim=1).cpu().numpy() == task.right
        rows.append(
            {
                "interchange": right[-1].mean(),
                "low": low,
                "high": high,
                "fitted": one.right(fitted).mean(),
                "clean": clean[task.held_out].mean(),
            }
        )
    names = list(algorithm.variables)
    words = [" and ".join(np.array(names)[swapped]) for swapped in pairs.swapped]
    both = pd.DataFrame({"variables": words, "model": right[0], "twin": right[1]})
    by_variable = both.groupby("variables").agg(
        model=("model", "mean"), twin=("twin", "mean"), n=("twin", "size")
    )
    return Alignment(
        map=found[0].kind,
        hook_point=str(found[0].place.point),
        variables=tuple(names),
        size=found[0].size,
        accuracy=pd.DataFrame(rows, index=["model", "random twin"]),
        by_variable=by_variable.reset_index(),
        unchanged=float((task.right[pairs.base] == pairs.right).mean()),
        losses=tuple(np.array(one.losses) for one in found),
    )


def _interval(
    right: Bool[np.ndarray, " m"], base: Int[np.ndarray, " m"], n_bootstrap: int, seed: int
) -> tuple[float, float]:
    """95 %, resampling base inputs: pairs of one base are not independent."""
    _, group = np.unique(base, return_inverse=True)
    hits, count = np.bincount(group, right), np.bincount(group)
    weights = bootstrap_counts(len(count), n_bootstrap, (seed, 3))
    return percentile_interval((weights @ hits) / (weights @ count))
