"""Run a live model once: read what is at hook points, put something there, differentiate by it.

Everything that looks into a running model goes through `run`. A pass that only reads ends with the last
hook point that is wanted, and goes through nnsight or through plain forward hooks; both give the same
numbers. A pass that changes something, or whose answer is wanted, makes its visits as edits, after those
that are in force.

Every `with … trace` body of a reading pass stays here, on lines of its own: nnsight reads its source from
this file.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import own_modes
from sae_nb.kernels._products import fast_pass
from sae_nb.models import _facts as facts
from sae_nb.models._answers import Answer
from sae_nb.models._block_order import noting, verify, watches
from sae_nb.models._hook_points import HookPoint, Place
from sae_nb.models._interventions import (
    Backend,
    Intervention,
    Visit,
    installed,
    n_times,
    own_wrapper,
    take_out,
)
from sae_nb.models._states import (
    TokenAxes,
    at_tokens,
    by_place,
    check_samples_first,
    layout_of,
    like_state,
    module_input,
    read_tensor,
)
from sae_nb.models._stored_edits import run_remotely

if TYPE_CHECKING:
    from nnsight import NNsight
    from nnsight.intervention.envoy import Envoy
    from torch.utils.hooks import RemovableHandle

    from sae_nb.models._inputs import Batch
    from sae_nb.models._live_model import LiveModel


Take = Callable[[str, Tensor, int], object]
"""Gets a hook point's name, the live tensor there, and the application that it is of, while the model is at
it (after the pass, of a module's last application).
"""

Put = Tensor | Callable[[Tensor], Tensor]
"""Replacement of a state, (m, places, d), m samples or any other number; or a function from the state,
(n, places, d), to it.
"""

Puts = Mapping[str, Put] | Iterable[tuple[str, Put]]
Asked = ParamSpec("Asked")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One pass of a model over a batch: the states that were requested, and its output."""

    model: LiveModel
    batch: Batch
    raw: object = None
    """Output of the module; None if the pass ended with the last state."""

    seen: dict[str, Tensor] = field(default_factory=dict)
    """States as the modules have them, by the names given; with their graph where `grad` was asked for."""

    leaves: dict[str, Tensor] = field(default_factory=dict)
    """Zeros that were added to states, to differentiate by; in the form of `seen`."""

    points: dict[str, HookPoint] = field(default_factory=dict)
    """Hook points of the states, by the names given."""

    steps: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Of hook points that mean every application of a module: each application, and its name in `seen`."""

    end_alone: bool = False
    """Whether the model answered at the last token of each text alone."""

    @cached_property
    def states(self) -> dict[str, Float[Tensor, "n places d"]]:
        """States by place: tokens, patches, the cells of a map row by row, or one place alone."""
        tokens = _tokens(self.batch)
        return {name: by_place(self._at_tokens(name, x), tokens) for name, x in self.seen.items()}

    def _at_tokens(self, name: str, x: Tensor) -> Tensor:
        """Return the places of a state that are tokens."""
        point = self.points.get(name, self.points.get(name.partition("@")[0]))
        ids = self.batch.at(point).token_ids
        return at_tokens(x, None if ids is None else ids.shape[1], point)

    @cached_property
    def answer(self) -> Answer:
        """Answer of the model."""
        keep = self.batch.keep
        if (
            self.end_alone and keep is not None
        ):  # a model that ignores the request answers at every token
            keep = keep[:, -self.model.main_output(self.raw).shape[1] :]
        return Answer(self.model, self.raw, keep)

    def layout(self, name: str) -> TokenAxes:
        """Return how a state is laid out."""
        point = self.model.hook_point(name)
        return layout_of(self.seen[name], self.batch, point, self.model.prefix_tokens) or TokenAxes(
            columns=self.states[name].shape[1]
        )

    def gradients(self, value: Float[Tensor, ""]) -> dict[str, Float[Tensor, "n places d"]]:
        """Return ∂value/∂state where `run` was to differentiate; none where `value` does not hang on it."""
        if not self.leaves or not value.requires_grad:
            return {}
        found = torch.autograd.grad(value, list(self.leaves.values()), allow_unused=True)
        tokens = _tokens(self.batch)
        return {
            name: by_place(self._at_tokens(name, slope), tokens)
            for name, slope in zip(self.leaves, found, strict=True)
            if slope is not None
        }


class Runner:
    """A model, and what is read and changed in each of its passes: states read, put and differentiated by.

    Edits that are active (`steer`, `ablate`) are applied and seen, also at the very hook points that are
    read. Of a module that runs several times in one pass, a hook point means one application, "path@2", or
    all of them: what is put is put there each time, and `every` reads them all.

    Parameters
    ----------
    read
        Hook points whose states are kept: as they come, before anything is `put` there. A mapping has them by
        names of their own.
    put
        Replacement of a state, by hook point: a tensor, also of more samples than the batch has, or a
        function of the state by place. Several at one hook point, as pairs, follow each other.
    grad
        True: keep the graph. Hook points: also add a zero to the state there, after what is put, by which
        `gradients` differentiates; whether or not the weights are frozen.
    answer
        False: end the pass with the last state, where nothing is put and nothing differentiated. "end": only
        the answer at the last token of each text is wanted; the unembedding of the others, most of the work
        where a vocabulary is large, is left out if the module can and all texts are equally long.
    method
        Method of the module that is run.
    under
        Edits that are made in its passes alone, after those that are active and before what is read.
    backend
        Method of entering the model; both give the same numbers.
    every
        Read all applications of a module that runs several times, "path@0", "path@1" …, listed in `steps`;
        otherwise it is refused.
    """

    def __init__(
        self,
        model: LiveModel,
        *,
        read: str | Iterable[str] = (),
        put: Puts = (),
        grad: bool | str | Iterable[str] = False,
        answer: bool | Literal["end"] = True,
        method: str = "__call__",
        under: Sequence[Intervention] = (),
        backend: Backend = "hooks",
        every: bool = False,
    ) -> None:
        self._model, self._method, self._backend = model, method, backend
        self._read, self._every = _points(model, read), every
        leaves = {} if isinstance(grad, bool) else _points(model, grad)
        self.leaves = tuple(leaves)
        """States with respect to which it differentiates."""

        puts = list(put.items() if isinstance(put, Mapping) else put)
        self._graph = grad is True or bool(leaves)
        self._end = answer == "end" and method == "__call__" and _takes_end(model)
        self._to_the_end = bool(answer) or bool(puts) or bool(leaves) or bool(under)
        self._tokens: tuple[int, int] | None = None  # of the batch that runs
        self._seen: dict[str, list[Tensor]] = {}
        self._zeros: dict[str, list[Tensor]] = {}
        # In the order in which they come at one hook point.
        visits = [
            *(
                (point, Visit(partial(self._keep, n), changes=False))
                for n, point in self._read.items()
            ),
            *(
                (model.counted(model.hook_point(n)), Visit(partial(self._put, new)))
                for n, new in puts
            ),
            *((model.counted(point), Visit(partial(self._leaf, n))) for n, point in leaves.items()),
        ]
        own = [Intervention(point, visit, backend) for point, visit in visits]
        self._visits = [*under, *own]

    def __call__(self, batch: Batch) -> Run:
        """Run one batch."""
        model, raw = self._model, None
        self._tokens = _tokens(batch)
        end_alone = self._end and self._may_end(batch)
        with model.lock, own_modes():
            try:
                if self._to_the_end:
                    with intervening(model, self._visits):
                        given = batch.ending() if end_alone else batch
                        raw = model.forward(given, grad=self._graph, method=self._method)
                    missed = self._read.keys() - self._seen.keys() - set(self.leaves)
                    if missed:
                        raise _never_ran([name for name in self._read if name in missed])
                else:
                    self.take(batch, lambda name, x, _: self._keep(name, x))
                return replace(self._run(batch, raw), end_alone=end_alone)
            finally:
                self._seen, self._zeros = {}, {}

    def _may_end(self, batch: Batch) -> bool:
        """Whether every text ends in the last column, and edits and reads lie before the unembedding."""
        keep, edits = batch.keep, (*self._model.interventions, *self._visits)
        if keep is None or batch.packed or self._model.structure is None:
            return False
        blocks = f"{self._model.structure.blocks}."
        points = [edit.hook_point for edit in edits]
        before = all(one in _BEFORE or one.path.startswith(blocks) for one in points)
        return before and bool(keep[:, -1].all())

    def _run(self, batch: Batch, raw: object) -> Run:
        """Return what was seen in a pass, one state by name."""
        seen: dict[str, Tensor] = {}
        leaves: dict[str, Tensor] = {}
        steps: dict[str, list[tuple[int, str]]] = {}
        points = {name: self._model.hook_point(name) for name in self.leaves} | self._read
        for name, point in points.items():
            n = len(self._seen.get(name, ())) or len(self._zeros.get(name, ()))
            names = [name] if n < 2 else [f"{name}@{i}" for i in range(n)]
            if point.step == "last":
                names = [name] * n  # the last one stays
            elif n > 1 and not self._every:
                raise ValueError(
                    f"`{name}` must mean one state per pass here, but the module runs {n} times. Name one, "
                    f'"{name}@0" … "{name}@{n - 1}" or "{name}@last", or capture all of them with '
                    "`sn.capture`."
                )
            elif n > 1:
                steps[name] = list(enumerate(names))
            seen |= dict(zip(names, self._seen.get(name, ()), strict=False))
            leaves |= dict(zip(names, self._zeros.get(name, ()), strict=False))
        return Run(
            model=self._model,
            batch=batch,
            raw=raw,
            seen=seen,
            leaves=leaves,
            points=points,
            steps=steps,
        )

    def take(self, batch: Batch, take: Take) -> None:
        """Run one batch as far as needed, and hand on each state while the model is at it."""
        places: dict[Place, list[tuple[str, HookPoint]]] = {}
        for name, point in self._read.items():
            places.setdefault((point.path, point.side), []).append((name, point))
        model = self._model
        pass_ = _Pass(model, batch.to(model.device), places, take, graph=self._graph)
        with model.lock, own_modes(), torch.set_grad_enabled(self._graph):
            with fast_pass(model.module, batch.token_ids), pass_.watched():
                _way(model, self._backend, places)(model, pass_)
        pass_.finish()

    def _keep(self, name: str, x: Tensor) -> Tensor:
        """Keep a state, each time that a module runs."""
        self._seen.setdefault(name, []).append(x if self._graph else x.detach().clone())
        return x

    def _put(self, new: Put, x: Tensor) -> Tensor:
        """Return what takes the place of a state."""
        made = new if isinstance(new, Tensor) else new(by_place(x, self._tokens))
        return like_state(made.to(x), x)

    def _leaf(self, name: str, x: Tensor) -> Tensor:
        """Return a state with a zero added, by which it can be differentiated, each time."""
        # Its gradient is that by x, whatever x itself hangs on and whether or not the weights are frozen.
        zero = torch.zeros_like(x, requires_grad=True)
        self._zeros.setdefault(name, []).append(zero)
        return x + zero


def _once(
    runner: Callable[Concatenate[LiveModel, Asked], Runner],
) -> Callable[Concatenate[LiveModel, Batch, Asked], Run]:
    """Return the function of one pass, with the keywords of the runner."""

    def run(model: LiveModel, batch: Batch, /, *args: Asked.args, **asked: Asked.kwargs) -> Run:
        """Run a model once over a batch: read states, put others there, differentiate; see `Runner`."""
        return runner(model, *args, **asked)(batch)

    return run


run = _once(Runner)

_BEFORE = ("embed", "final_norm")
"""Hook points outside the blocks that see every token, whichever of them are answered."""


def _takes_end(model: LiveModel) -> bool:
    """Whether the model can answer at the last token alone."""
    names = facts.forward_names(model.module)
    return model.causal and not (model.remote or model.streams) and "logits_to_keep" in names


def _tokens(batch: Batch) -> tuple[int, int] | None:
    """Samples and tokens of each, where the model reads tokens."""
    ids = batch.token_ids
    return None if ids is None else (ids.shape[0], ids.shape[1])


def _points(model: LiveModel, names: str | Iterable[str]) -> dict[str, HookPoint]:
    if isinstance(names, Mapping):  # hook points by the names given
        return {str(name): model.hook_point(point) for name, point in names.items()}
    listed = [names] if isinstance(names, str) else names
    return {str(name): model.hook_point(name) for name in listed}


@contextmanager
def intervening(model: LiveModel, edits: Sequence[Intervention]) -> Iterator[None]:
    """Have edits in force, after those that already are, for the passes inside the block; the model is locked.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()))
    >>> silent = Intervention(model.hook_point("0"), lambda x, state: torch.zeros_like(x))
    >>> with intervening(model, [silent]):
    ...     float(model(torch.ones(2, 3)).abs().sum())
    0.0
    """
    with model.lock:
        active = model.interventions
        before = [n_times(active, edit) for edit in edits]
        try:
            active.extend(edits)
            yield
        finally:
            for edit, n in zip(edits, before, strict=True):
                take_out(active, edit, n)


# -------------------------------------------------------------------------------------------------
# Passes that only read.


def _way(
    model: LiveModel, backend: Backend, places: Iterable[Place]
) -> Callable[[LiveModel, _Pass], None]:
    if not model.remote:
        # nnsight sees what a module computes, before hooks of your own on it change that.
        hooked = any(
            side == "output" and model.get_module(path)._forward_hooks for path, side in places
        )
        return _run_traced if backend == "nnsight" and not hooked else _run_with_hooks
    if backend != "nnsight":
        raise ValueError(
            f"`backend` must be 'nnsight' for {model.name!r}, which runs remotely, got {backend!r}. "
            "Leave it out."
        )
    return _run_remotely


class _Pass:
    """One forward pass: where to read, what is still to come, and when it may end."""

    def __init__(
        self,
        model: LiveModel,
        batch: Batch,
        places: Mapping[Place, Sequence[tuple[str, HookPoint]]],
        take: Take,
        *,
        graph: bool = False,
    ) -> None:
        self._model, self.batch, self.places, self.state = model, batch, places, batch.state()
        self._take, self._graph = take, graph
        points = {name: point for listed in places.values() for name, point in listed}
        is_whole = watches(model)
        # The one application that is wanted of each; None: all of them, or the last, known only at the end.
        self._wanted = {name: _wanted(model, point, is_whole) for name, point in points.items()}
        self._verifies = is_whole and any(point.layer is not None for point in points.values())
        self.simple = not self._verifies and all(step == 0 for step in self._wanted.values())
        """Whether only first runs are wanted, after which the pass may end."""

        self.restart()

    def restart(self) -> None:
        """Want everything again."""
        self.left = list(self._wanted)
        self.order: list[Place] = []
        self.runs: Counter[Place] = Counter()
        self._last: dict[str, tuple[Tensor, int]] = {}

    @property
    def complete(self) -> bool:
        """Whether nothing more is wanted of this pass."""
        return not self.left and not self._verifies

    def see(self, place: Place, value: object) -> None:
        """Pass on a module's output or input, each time it runs."""
        step = self.runs[place]
        self.runs[place] += 1
        if not step:
            self.order.append(place)
        for name, point in self.places[place]:
            wanted = self._wanted[name]
            if wanted is None or wanted == step:
                self._pass_on(name, point, value, step)
                if wanted is not None:
                    self.left.remove(name)

    def _pass_on(self, name: str, point: HookPoint, value: object, step: int) -> None:
        x = read_tensor(value, point)
        if x.ndim == 3 and x.shape[1] == self.batch.n:
            check_samples_first(x, self.batch.n, point, self._model.module, point.path)
        x = x if self._graph else x.detach()
        if point.step == "last":
            self._last[name] = (x if self._graph else x.clone()), step
        else:
            self._take(name, x, step)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Compare the order in which blocks run inside with the one that hook points count by."""
        structure = self._model.structure
        if not self._verifies or structure is None:
            yield
            return
        with noting(self._model, structure) as turns:
            yield
        verify(self._model, structure, turns())

    def finish(self) -> None:
        """Pass on what is known at the end only, and refuse what did not run."""
        for name, (x, step) in self._last.items():
            self._take(name, x, step)
        whole = any(step is None for step in self._wanted.values())
        for place, listed in self.places.items():
            for name, point in listed:
                if self._wanted[name] is None and self.runs[place]:
                    self.left.remove(name)
                elif name in self.left and self.runs[place] and isinstance(point.step, int):
                    n = self.runs[place]
                    raise ValueError(
                        f"`{name}` must name one of the {n} application{'s' * (n > 1)} of `{point.path}`, "
                        f'counted from 0, got {point.step}. Use "{point.path}@{n - 1}" or '
                        f'"{point.path}@last" for the last one.'
                    )
            if whole and self.runs[place] == 1:
                self._model.ran_once.add(place)
        if self.left:
            raise _never_ran(self.left)


def _wanted(model: LiveModel, point: HookPoint, is_whole: bool) -> int | None:
    """Return the one application that a hook point means; None: all, or one that is known at the end."""
    if isinstance(point.step, int):
        return point.step
    if isinstance(point.step, tuple):
        return None
    counted = point.layer is not None or point in ("embed", "final_norm")
    known = point.once or (point.path, point.side) in model.ran_once
    single = known and (counted or not is_whole)
    return 0 if point.step is None and (single or model.remote) else None


def _never_ran(left: Sequence[str]) -> ValueError:
    """Return the error for hook points that a pass did not reach."""
    some = "Hook point" if len(left) == 1 else "One of the hook points"
    return ValueError(
        f"{some} {', '.join(f'`{name}`' for name in left)} must run when the model reads these "
        "inputs, but did not. Choose another one; `model.hook_points()` lists those of every forward "
        "pass."
    )


# -------------------------------------------------------------------------------------------------
# Through nnsight.

# In which order a model reaches the places of one set, from the first pass on.
_ORDERS: weakref.WeakKeyDictionary[LiveModel, dict[frozenset[Place], list[Place]]] = (
    weakref.WeakKeyDictionary()
)


def _run_traced(model: LiveModel, pass_: _Pass) -> None:
    from nnsight.intervention.interleaver import OutOfOrderError

    wrapper, envoys = own_wrapper(model)
    modules = {place: model.get_module(place[0]) for place in pass_.places}
    readers = {
        place: _Reader(envoys[id(module)], place, pass_) for place, module in modules.items()
    }
    with installed(model, pass_.state):
        try:
            if not pass_.simple:
                _trace_every_run(wrapper, pass_, list(readers.values()))
                return
            if not _traced_in_known_order(model, wrapper, pass_, readers):
                _trace_in_any_order(wrapper, pass_, list(readers.values()))
        except OutOfOrderError as error:
            raise _never_ran(pass_.left) from error
    if len({(id(module), place[1]) for place, module in modules.items()}) == len(modules):
        # A module under two paths is left out: its second reading would wait for its second run.
        _ORDERS.setdefault(model, {})[frozenset(readers)] = pass_.order


def _traced_in_known_order(
    model: LiveModel,
    wrapper: NNsight,
    pass_: _Pass,
    readers: Mapping[Place, _Reader],
) -> bool:
    from nnsight.intervention.interleaver import OutOfOrderError

    order = list(readers) if len(readers) == 1 else _ORDERS.get(model, {}).get(frozenset(readers))
    if order is None:
        return False
    try:
        _trace_in_order(wrapper, pass_, [readers[place] for place in order])
    except OutOfOrderError:
        # Modules that ran in this order before did not now, and edits may have been missed.
        pass_.restart()
        return False
    return True


class _Reader:
    """Waits for one module inside a trace and hands on what it gives or gets, edits included."""

    def __init__(self, envoy: Envoy, place: Place, pass_: _Pass) -> None:
        self._envoy, self._place, self._pass = envoy, place, pass_

    def read(self) -> None:
        """Wait, hand on."""
        if self._place[1] == "input":
            args, kwargs = self._envoy.inputs
            value = module_input(args, kwargs, self._pass.places[self._place][0][1])
        else:
            value = self._envoy.output
        self._pass.see(self._place, value)

    def read_each_time(self, stop: Callable[[], None]) -> None:
        """Wait and hand on, each time the module runs."""
        from nnsight.intervention.interleaver import OutOfOrderError
        from nnsight.intervention.iterator import Iterations

        try:
            for _ in Iterations()[:]:
                self.read()
                if self._pass.complete:
                    stop()
        except OutOfOrderError:
            return  # thrown in by nnsight when the pass is over


def _trace_in_order(wrapper: NNsight, pass_: _Pass, readers: Sequence[_Reader]) -> None:
    with wrapper.trace(*pass_.batch.args, **pass_.batch.kwargs) as tracer:
        for reader in readers:
            reader.read()
        if pass_.complete:
            tracer.stop()


def _trace_in_any_order(wrapper: NNsight, pass_: _Pass, readers: Sequence[_Reader]) -> None:
    # Within one body values must be read in the order in which modules run, which nobody knows for
    # a module of the user's own. Invokes wait independently, so each place gets one. That costs 5 %
    # of a forward pass at 12 places of a small ViT, so the order found is used from then on.
    with wrapper.trace() as tracer:
        with tracer.invoke(*pass_.batch.args, **pass_.batch.kwargs):
            pass
        for reader in readers:
            with tracer.invoke():
                reader.read()
                if pass_.complete:
                    tracer.stop()


def _trace_every_run(wrapper: NNsight, pass_: _Pass, readers: Sequence[_Reader]) -> None:
    with wrapper.trace() as tracer:
        with tracer.invoke(*pass_.batch.args, **pass_.batch.kwargs):
            pass
        for reader in readers:
            with tracer.invoke():
                reader.read_each_time(tracer.stop)


# -------------------------------------------------------------------------------------------------
# By plain forward hooks.


class _Enough(BaseException):
    """Ends a forward pass once everything asked for is there; no `except Exception` may catch it."""


def _run_with_hooks(model: LiveModel, pass_: _Pass) -> None:
    """Run a pass with plain forward hooks, present only meanwhile."""
    handles: list[RemovableHandle] = []
    # Ours come after those of the edits, and so see what these made.
    with installed(model, pass_.state):
        try:
            handles.extend(
                _listen(model.get_module(place[0]), place, pass_) for place in pass_.places
            )
            model.module(*pass_.batch.args, **pass_.batch.kwargs)
        except _Enough:
            return
        finally:
            for handle in handles:
                handle.remove()


def _listen(module: nn.Module, place: Place, pass_: _Pass) -> RemovableHandle:
    own = threading.get_ident()

    def see(value: object) -> None:
        if threading.get_ident() != own:  # the module was called by itself meanwhile
            return
        pass_.see(place, value)
        if pass_.complete:
            raise _Enough

    return reading_hook(module, pass_.places[place][0][1], see)


def reading_hook(module: nn.Module, point: HookPoint, see: Callable[..., None]) -> RemovableHandle:
    """Pass on a module's output, or input, whenever it runs; return a plain hook, to be removed."""
    if point.side == "output":
        return module.register_forward_hook(lambda _module, _args, output: see(output))
    return module.register_forward_pre_hook(
        lambda _module, args, kwargs: see(module_input(args, kwargs, point)), with_kwargs=True
    )


@contextmanager
def noting_states(module: nn.Module, point: HookPoint) -> Iterator[list[Tensor]]:
    """Note the state at a hook point whenever a module runs meanwhile, as `run` reads it, with its graph.

    For a module that is run by others than its live model, such as a part of a larger network.
    """
    seen: list[Tensor] = []
    part = module.get_submodule(point.path)
    handle = reading_hook(part, point, lambda value: seen.append(read_tensor(value, point)))
    try:
        yield seen
    finally:
        handle.remove()


# -------------------------------------------------------------------------------------------------
# On nnsight's server: what follows (rows, stores) happens here.


def _run_remotely(model: LiveModel, pass_: _Pass) -> None:
    """Send one pass to where the model runs, and hand on what comes back."""
    from nnsight.intervention.interleaver import OutOfOrderError

    batch = pass_.batch
    try:
        values, _ = run_remotely(model, batch.args, batch.kwargs, pass_.state, pass_.places)
    except OutOfOrderError as error:
        raise _never_ran(pass_.left) from error
    for place, value in values.items():
        if place[1] == "input":
            args, kwargs = value
            pass_.see(place, module_input(args, kwargs, pass_.places[place][0][1]))
        else:
            pass_.see(place, value)
