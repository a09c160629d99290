"""Edits of activations while a model runs: what they are given, and the two ways in.

An edit in force is written in nnsight's trace when its live model runs. Other code that runs the module
meets it in the module's own forward, beneath nnsight, so that your own trace also reads the edited
state.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from sae_nb.checks import are_own, own_modes
from sae_nb.models._attribute_patch import around_generate, put_around
from sae_nb.models._calls import Calls, RunState
from sae_nb.models._hook_points import HookPoint, Side
from sae_nb.models._lock import of_one_thread
from sae_nb.models._states import (
    at_tokens,
    by_place,
    check_samples_first,
    like_state,
    module_input,
    read_tensor,
    replace_tensor,
    with_input,
    with_tokens,
)

if TYPE_CHECKING:
    from nnsight import NNsight
    from nnsight.intervention.envoy import Envoy

    from sae_nb.models._interface import Runs


Backend = Literal["nnsight", "hooks"]

Edit = Callable[[Tensor, RunState], Tensor]
"""(activations of shape (batch, time, d), where they are) → edited activations of the same shape."""


@dataclass(frozen=True, eq=False)
class Visit:
    """The action of one pass of the live model at a hook point, after other edits at the same place."""

    act: Callable[[Tensor], Tensor]
    """From the tensor as the module has it to what takes its place, which may be of more samples."""

    changes: bool = True
    """Whether it may put anything else there."""

    everywhere = True

    def __call__(self, x: Tensor, _state: RunState | None = None) -> Tensor:
        return self.act(x)


@dataclass(frozen=True, eq=False)
class Intervention:
    """One edit at one hook point; active while it is in ``model.interventions`` (`intervening` puts it there).

    `edit`: Function of the state, as the module has it, and the `RunState`, which says where its tokens are; it
    returns what takes the place of the state.
    """

    hook_point: HookPoint
    edit: Edit
    backend: Backend = "hooks"
    """Method of entering the live model's own passes; both give the same numbers."""

    @cached_property
    def times(self) -> tuple[int, ...] | None:
        """Applications of the module at which the edit is made; None: every one."""
        only_reads = isinstance(self.edit, Visit) and not self.edit.changes
        # Of those that are read, the last is known at the end.
        return None if only_reads and self.hook_point.step == "last" else self.hook_point.times

    @cached_property
    def may_be_made(self) -> bool:
        """True; refuses an edit of what can only be read, and applications that are not known."""
        if not isinstance(self.edit, Visit) or self.edit.changes:
            self.hook_point.check_writable()
        _ = self.times
        return True

    def at(self, time: int) -> bool:
        """Return whether it is made at one application of the module."""
        times = self.times
        return times is None or time in times

    def needed(self, state: RunState | str) -> RunState:
        """Return where the columns of a call are; where it does not say, as far as this edit has to know."""
        if isinstance(state, RunState):
            return state
        if getattr(self.edit, "everywhere", False):
            return RunState()
        raise ValueError(
            f'An edit at "{self.hook_point}" that depends on positions must know where each token is '
            f"in its text, which {state} does not say. Call the whole model, with a mask of shape "
            "(batch, time), from the prompt on; or steer at every position."
        )


@contextmanager
def installed(model: Runs, states: RunState | Sequence[RunState]) -> Iterator[None]:
    """Apply the model's interventions to passes inside the block; the caller holds its lock."""
    stretches = (states,) if isinstance(states, RunState) else tuple(states)
    with model.editing.own_run(stretches):
        if not model.interventions or model.editing.settled:
            yield
            return
        holder = object()
        try:
            model.editing.hold(holder)
            yield
        finally:
            model.editing.release(holder)


# -------------------------------------------------------------------------------------------------
# What edits make of a value.


def edited(
    value: object, edits: Iterable[Intervention], stretches: Sequence[RunState], time: int = 0
) -> object:
    """Return what a module gave or got with edits applied, in their order; `time` counts its runs in a pass."""
    if not are_own():  # the module's pass may be anybody's
        with own_modes():
            return edited(value, edits, stretches, time)
    for edit in edits:
        if not edit.at(time):
            continue
        x = read_tensor(value, edit.hook_point)
        new = edit.edit(x) if isinstance(edit.edit, Visit) else _edited(x, edit, stretches)
        if new is not x:
            value = replace_tensor(value, new, edit.hook_point)
    return value


def edited_inputs(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    edits: Sequence[Intervention],
    stretches: Sequence[RunState],
    time: int = 0,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a module's arguments with edits applied to its input."""
    point = edits[0].hook_point
    new = edited(module_input(args, kwargs, point), edits, stretches, time)
    return with_input(args, kwargs, point, new)


def _edited(x: Tensor, intervention: Intervention, stretches: Sequence[RunState]) -> Tensor:
    """Return `x` with one intervention applied, stretch of columns by stretch of columns.

    The edit is shown places, (batch, places, d); what comes back has the form of `x`.
    """
    _check_editable(x, intervention)
    if intervention.hook_point.encoder:
        stretches = (stretches[0].encoder or RunState(),)
    check_samples_first(x, stretches[0].n_samples, intervention.hook_point)
    point, tokens = intervention.hook_point, _tokens(stretches)
    n_tokens = None if tokens is None else tokens[1]
    places = by_place(at_tokens(x, n_tokens, point), tokens)
    if len(stretches) == 1:
        state = stretches[0]
        position = state.position if state.n_columns is None else None
        if position is not None and position.shape[1] != places.shape[1]:
            # Places of a stage of an image are cells of its own grid.
            state = replace(state, position=None, sample=None)
        new = _checked(intervention.edit(places, state), places, intervention)
    else:
        widths = [state.n_columns or 0 for state in stretches]
        parts = [
            _checked(intervention.edit(part, state), part, intervention)
            for part, state in zip(torch.split(places, widths, dim=1), stretches, strict=True)
        ]
        new = torch.cat(parts, dim=1)
    return x if new is places else like_state(with_tokens(new, x, n_tokens, point), x)


def _check_editable(x: Tensor, intervention: Intervention) -> None:
    """Refuse activations to which nothing can be added: integers of a quantised module."""
    if x.is_quantized or not x.is_floating_point():
        raise TypeError(
            f'An edit at "{intervention.hook_point}" must meet floating-point activations, got {x.dtype} of a '
            "quantised module. Steer at a hook point whose output is dequantised, such as the block's, or load "
            "the model with weights quantised only."
        )


def _tokens(stretches: Sequence[RunState]) -> tuple[int, int] | None:
    """Return the number of samples and tokens of a pass, if known."""
    widths = [state.n_columns for state in stretches]
    first = stretches[0]
    shaped = first.token_ids if first.token_ids is not None else first.keep
    if None in widths or shaped is None:
        return None
    return shaped.shape[0], sum(width or 0 for width in widths)


def _checked(new: object, old: Tensor, intervention: Intervention) -> Tensor:
    if not isinstance(new, Tensor) or new.shape != old.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ValueError(
            f'An edit must return the shape it was given, {tuple(old.shape)} at "'
            f'{intervention.hook_point}", got {got}. Return x with only its values changed.'
        )
    return new.to(dtype=old.dtype, device=old.device)


def n_times(active: Sequence[Intervention], edit: Intervention) -> int:
    """Return how often this very edit is in force."""
    return sum(other is edit for other in active)


def take_out(active: list[Intervention], edit: Intervention, left: int) -> None:
    """Take this very edit out, newest first, until it is in force at most so often."""
    places = [place for place, other in enumerate(active) if other is edit]
    for place in reversed(places[left:]):
        del active[place]


LivePlace = tuple[nn.Module, Side]
"""A module itself, and a side of it."""


def _places(model: Runs) -> dict[LivePlace, list[Intervention]]:
    """Where the active edits are, and at each place which ones, in their order."""
    places: dict[LivePlace, list[Intervention]] = {}
    for intervention in tuple(model.interventions):
        point = intervention.hook_point
        _ = intervention.may_be_made  # refused here, before anything runs
        module = model.module.get_submodule(point.path)
        places.setdefault((module, point.side), []).append(intervention)
    return places


# -------------------------------------------------------------------------------------------------
# Into a trace of the live model's own.


# nnsight's wrapper for traces of our own, which passes arguments through untouched. One per model:
# wrapping exchanges `forward` on every submodule.
_WRAPPERS: weakref.WeakKeyDictionary[Runs, tuple[Any, dict[int, Any]]] = weakref.WeakKeyDictionary()


def own_wrapper(model: Runs) -> tuple[Any, dict[int, Any]]:
    """Return nnsight's wrapper and its envoy of every module, by the module's id.

    A module called "output", as in BERT, cannot be reached by its own name.
    """
    from nnsight import NNsight

    known = _WRAPPERS.get(model)
    if known is None or any(id(module) not in known[1] for module in model.module.modules()):
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*which nnsight already serves", module="nnsight"
            )
            wrapper = of_one_thread(NNsight(model.module))
        envoys = {id(envoy._module): envoy for envoy in wrapper.modules()}
        known = _WRAPPERS[model] = wrapper, envoys
    return known


def edited_wrapper(wrapped: NNsight, write: Callable[[], None]) -> NNsight:
    """Return an nnsight model that runs `write` in every trace, besides what `wrapped` runs."""
    with wrapped.edit() as (_, edited_model):
        write()
    return edited_model


def _with_edits(model: Runs) -> NNsight:
    """Return nnsight's wrapper with the active edits in it, each place waiting by itself."""
    wrapper, envoys = own_wrapper(model)
    for (module, side), edits in _places(model).items():
        states, place = model.editing.own_states, (module, side)
        count = partial(model.editing.count, place)
        write = partial(write_edits, envoys[id(module)], side, edits, states, count)
        wrapper = edited_wrapper(wrapper, write)
    return wrapper


def write_edits(
    envoy: Envoy,
    side: Side,
    edits: Sequence[Intervention],
    where: Callable[[], Sequence[RunState]],
    count: Callable[[], int],
) -> None:
    """Exchange what a module gives, or gets, for the edited, each time it runs in a trace."""
    from nnsight.intervention.interleaver import OutOfOrderError
    from nnsight.intervention.iterator import Iterations

    try:
        for _ in Iterations()[:]:
            states = where()
            if side == "output":
                value = envoy.output
                envoy.output = edited(value, edits, states, count())
            else:
                args, kwargs = envoy.inputs
                envoy.inputs = edited_inputs(args, kwargs, edits, states, count())
    except OutOfOrderError:
        return  # thrown in by nnsight when the pass is over


# -------------------------------------------------------------------------------------------------
# Into the module itself, for whoever runs it.


class _Here(threading.local):
    """The run of this thread."""

    def __init__(self) -> None:
        self.own: dict[int, tuple[Editing, Sequence[RunState], bool]] = {}
        """By module: which live model runs it, where its columns are, and if its trace has the edits."""

        self.runs: dict[int, dict[LivePlace, int]] = {}
        """By module: how often its parts ran in the pass."""


_HERE = _Here()


def _put_back(table: dict[int, Any], key: int, value: object) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


class Editing:
    """Where a live model's edits meet its module, in its own runs and in calls from elsewhere."""

    def __init__(self, model: Runs) -> None:
        self._model = weakref.ref(model)
        self.n_calls = 0
        """Number of times the whole module ran to its end while edits were held."""

        self._holders: set[object] = set()
        self._undo: dict[LivePlace | str, Callable[[], None]] = {}
        # What applies the edits of a place; another, which Ctrl-C left behind while it was put there, is idle.
        self._own: dict[LivePlace | str, Callable[..., object]] = {}
        self._wrapper: tuple[Sequence[Intervention], Any] | None = None
        self._placed: tuple[tuple[Intervention, ...], dict[LivePlace, list[Intervention]]] = (), {}
        self._calls = Calls()

    def hold(self, holder: object) -> None:
        """Put the active edits into the module until every holder releases; the caller holds the lock."""
        model = self._live()
        self._placed = tuple(model.interventions), _places(model)
        if not self._holders:
            own_wrapper(model)  # so that what is put around a forward lies beneath nnsight
        self._holders.add(holder)
        if "call" not in self._undo:
            self._undo["call"] = put_around(model.module, self._call)
            if callable(getattr(model.module, "generate", None)):
                self._undo["generate"] = around_generate(model.module, self._calls.of_generate)
        self._settle(self._placed[1])

    def release(self, holder: object) -> None:
        """Take out what no active edit needs any more; the caller holds the lock. Once more does no harm."""
        self._holders.discard(holder)
        if self._holders:
            self._settle(self._places())
            return
        self._wrapper = None
        for key in list(reversed(self._undo)):
            self._take_out(key)
        self._own.clear()

    def _places(self) -> dict[LivePlace, list[Intervention]]:
        """Where the active edits are; looked up again once they are others than at the last `hold`."""
        active = tuple(self._live().interventions)
        known, places = self._placed
        if len(known) != len(active) or any(a is not b for a, b in zip(known, active)):
            places = _places(self._live())
            self._placed = active, places
        return places

    @property
    def settled(self) -> bool:
        """Whether the active edits are in the module as it is now, whoever holds them."""
        return bool(self._holders) and self._placed[1] == _places(self._live())

    @property
    def held(self) -> bool:
        """Whether edits are in the module now."""
        return bool(self._holders)

    def _live(self) -> Runs:
        return cast("Runs", self._model())

    def _settle(self, places: Mapping[LivePlace, Any]) -> None:
        for place in [key for key in self._undo if isinstance(key, tuple) and key not in places]:
            self._take_out(place)
        for module, side in places.keys() - self._undo.keys():
            enter = self._at_output if side == "output" else self._at_input
            self._undo[module, side] = enter(module)

    def _take_out(self, key: LivePlace | str) -> None:
        self._undo[key]()
        self._own.pop(key, None)
        del self._undo[key]

    def run(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        states: Sequence[RunState],
        method: str = "__call__",
    ) -> Any:
        """Run the module, or a method of it, once under the active edits; the caller holds the lock.

        One edit that asks for nnsight puts all of them into the trace, so that their order holds.
        """
        model = self._live()
        if any(intervention.backend == "nnsight" for intervention in model.interventions):
            return self._traced(args, kwargs, states, method)
        with installed(model, states):
            output = getattr(model.module, method)(*args, **kwargs)
            self._check_times()
            return output

    def _traced(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        states: Sequence[RunState],
        method: str,
    ) -> Any:
        """Run the module once under nnsight, with the active edits in the trace."""
        active = tuple(self._live().interventions)
        if self._wrapper is None or self._wrapper[0] != active:
            self._wrapper = active, _with_edits(self._live())
        with self.own_run(states, traced=True):
            output = self._wrapper[1].trace(*args, fn=method, trace=False, **kwargs)
            self._check_times()
            return output

    def count(self, place: LivePlace) -> int:
        """Return how often a part ran before in this thread's pass, and count one more."""
        runs = _HERE.runs.setdefault(id(self._live().module), {})
        before = runs.get(place, 0)
        runs[place] = before + 1
        return before

    def _check_times(self) -> None:
        """Refuse edits at applications that the pass did not reach."""
        model = self._live()
        runs = _HERE.runs.get(id(model.module), {})
        for edit in model.interventions:
            point, times = edit.hook_point, edit.times
            n = runs.get((model.module.get_submodule(point.path), point.side), 0) if times else 0
            if times and n and point.step == "last" and max(times) != n - 1:
                raise ValueError(
                    f'The last application of "{point.path}" was taken to be number {max(times)}, counted '
                    f'from 0, but it ran {n} times for these inputs. Name a number, such as "{point.path}@0".'
                )
            if times and n and max(times) >= n:
                raise ValueError(
                    f'An edit at "{point}" must name some of the {n} application{"s" * (n > 1)} of '
                    f"`{point.path}`, counted from 0, got {max(times)}. The last one is {n - 1}."
                )

    @contextmanager
    def own_run(self, states: Sequence[RunState], *, traced: bool = False) -> Iterator[None]:
        """Mark a run of the live model by this thread; with `traced`, its trace holds the edits."""
        module = id(self._live().module)
        before, runs = _HERE.own.get(module), _HERE.runs.get(module)
        try:
            _HERE.runs.pop(module, None)
            _HERE.own[module] = self, states, traced
            yield
        finally:
            _put_back(_HERE.runs, module, runs)
            _put_back(_HERE.own, module, before)

    def own_states(self) -> Sequence[RunState]:
        """Return the positions of the columns of the live model's run in this thread."""
        return _HERE.own[id(self._live().module)][1]

    def _at_output(self, module: nn.Module) -> Callable[[], None]:
        place: LivePlace = (module, "output")

        def after(forward: Callable[..., object], /, *args: object, **kwargs: object) -> object:
            output = forward(*args, **kwargs)
            for edit, states, time in self._at(place, after):
                output = edited(output, (edit,), states, time)
            return output

        self._own[place] = after
        return put_around(module, after)

    def _at_input(self, module: nn.Module) -> Callable[[], None]:
        place: LivePlace = (module, "input")

        def before(
            ran: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if ran is module:  # and not a copy of it, which takes the hook along
                for edit, states, time in self._at(place, before):
                    args, kwargs = edited_inputs(args, kwargs, (edit,), states, time)
            return args, kwargs

        self._own[place] = before
        # Before nnsight sees the input, and before hooks of the user's own.
        hook = module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
        return hook.remove

    def _at(
        self, place: LivePlace, by: object
    ) -> list[tuple[Intervention, Sequence[RunState], int]]:
        """The edits that apply at a place now, each with where its columns are and how often the part ran."""
        model = self._live()
        runs, states, traced = _HERE.own.get(id(model.module), (None, (), False))
        if runs not in (None, self) or traced or self._own.get(place) is not by:
            return []
        edits = self._places().get(place, [])
        if runs is self:
            time = self.count(place)
            return [(edit, states, time) for edit in edits]
        # A call of the module itself: what a pass of another thread puts there is not meant for it.
        call = self._calls.state(model.modality.is_text)
        time = self._calls.count(place)
        meant = (edit for edit in edits if not isinstance(edit.edit, Visit))
        return [(edit, (edit.needed(call),), time) for edit in meant]

    def _call(self, forward: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        model = self._live()
        if id(model.module) in _HERE.own:
            output = forward(*args, **kwargs)
            self.n_calls += _HERE.own[id(model.module)][0] is self
            return output
        self._calls.begin(model.module, args, kwargs, reads_text=model.modality.is_text)
        output = None
        try:
            output = forward(*args, **kwargs)
        finally:
            self._calls.end(output)
        self.n_calls += 1
        return output
