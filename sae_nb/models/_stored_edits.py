"""Edits as nnsight's own code: kept by an nnsight model, or sent with a trace to its server.

The server has nnsight and torch, and not this library. So what travels is tensors, and functions written
inside others, which nnsight sends as source; nothing in them may name what is outside.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sae_nb.models._calls import RunState, named_arguments, state_of_call
from sae_nb.models._devices import is_spread
from sae_nb.models._hook_points import Place, Side
from sae_nb.models._interventions import Editing, Intervention, edited_wrapper, write_edits

if TYPE_CHECKING:
    from nnsight import NNsight
    from nnsight.intervention.envoy import Envoy

    from sae_nb.models._interface import Runs


Travelling = tuple[int | None, Tensor | None, Tensor, float, float]
"""Element of a tuple output, mask, and (d, g, b) of x + (g·⟨x, d⟩ / ⟨d, d⟩ + b)·d."""


def edited_nnsight(wrapped: NNsight, intervention: Intervention) -> NNsight:
    """Return an nnsight model that makes one edit in every trace, and leave the one given as it is."""
    try:
        part = wrapped._module.get_submodule(intervention.hook_point.path)
    except AttributeError:
        raise ValueError(
            f'`nnsight_model` must have the module "{intervention.hook_point.path}" of the recipe, got '
            f"{type(wrapped).__name__} around {type(wrapped._module).__name__}. Pass `model.nnsight`."
        ) from None
    envoy = next(envoy for envoy in wrapped.modules() if envoy._module is part)
    everywhere = getattr(intervention.edit, "everywhere", False) and intervention.times is None
    if everywhere and _plain(intervention) is not None:
        write = _writer(envoy, intervention.hook_point.side, [_travelling(intervention, None)])
    elif not is_spread(wrapped._module) and any(p.is_meta for p in wrapped._module.parameters()):
        write = _refusal(
            f'An edit at "{intervention.hook_point}" in a trace of your own that runs remotely must be the '
            "same at every position: which token is where is not known there. Use the live model's own "
            "`model(…)`, `generate` and `capture`, or steer at every position."
        )
    else:
        write = _follower(wrapped, envoy, intervention)
    model = edited_wrapper(wrapped, write)
    model._edits = [edit for edit in model._edits if edit not in _KEPT]
    return model


def _writer(envoy: Envoy, side: Side, edits: Sequence[Travelling]) -> Callable[[], None]:
    """Return what makes plain edits at one module whenever it runs."""
    change, change_inputs = _changes()

    def write() -> None:
        from nnsight.intervention.interleaver import OutOfOrderError
        from nnsight.intervention.iterator import Iterations

        try:
            for _ in Iterations()[:]:
                if side == "output":
                    envoy.output = change(envoy.output, edits)
                else:
                    args, kwargs = envoy.inputs
                    envoy.inputs = change_inputs(args, kwargs, edits)
        except OutOfOrderError:
            return  # thrown in by nnsight when the pass is over

    return write


def _changes() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the functions that make plain edits, of a value and of a module's arguments."""

    def change(value: Any, edits: Any) -> Any:
        for index, mask, direction, gain, by in edits:
            several = not isinstance(value, torch.Tensor)
            if several and index is None:
                index = next(i for i, v in enumerate(value) if isinstance(v, torch.Tensor))
            x = value[index] if several else value
            d = direction.to(x.device, torch.promote_types(x.dtype, torch.float32))
            amount = gain * ((x.to(d) @ d) / d.square().sum())[..., None] + by if gain else by
            new = x + (amount * d).to(x)
            if mask is not None:
                new = torch.where(mask.to(x.device).reshape(*x.shape[:-1], 1), new, x)
            if several:
                new = type(value)(new if i == index else v for i, v in enumerate(value))
            value = new
        return value

    def change_inputs(args: Any, kwargs: Any, edits: Any) -> Any:
        if args:
            return (change(args[0], edits), *args[1:]), kwargs
        name = next(name for name, v in kwargs.items() if isinstance(v, torch.Tensor))
        return args, {**kwargs, name: change(kwargs[name], edits)}

    return change, change_inputs


def _follower(root: NNsight, envoy: Envoy, intervention: Intervention) -> Callable[[], None]:
    """Return what makes any edit whenever the model runs, its columns read off the model's inputs."""
    from nnsight.intervention.iterator import Iterations

    forward = type(root._module).forward
    reads_text = hasattr(root._module, "prepare_inputs_for_generation")

    def write() -> None:
        n_prompt: int | None = None
        n_runs = 0
        here = (RunState(),)
        per_pass = intervention.hook_point.runs or 1

        def where() -> tuple[RunState]:
            nonlocal n_prompt, here
            if not reads_text or n_runs % per_pass:
                return here
            if per_pass == 1:
                args, kwargs = root.inputs
            else:
                for _ in Iterations()[n_runs // per_pass]:
                    args, kwargs = root.inputs
            state, n_prompt = state_of_call(named_arguments(forward, args, kwargs), n_prompt)
            here = (intervention.needed(state),)
            return here

        def count() -> int:
            nonlocal n_runs
            n_runs += 1
            return (n_runs - 1) % per_pass

        write_edits(envoy, intervention.hook_point.side, (intervention,), where, count)

    return write


def _refusal(message: str) -> Callable[[], None]:
    def write() -> None:
        raise ValueError(message)

    return write


# -------------------------------------------------------------------------------------------------
# On nnsight's server.


# What live models keep in nnsight objects for the time of a `with` block.
_KEPT: weakref.WeakSet[Any] = weakref.WeakSet()


def keep(model: Runs, interventions: Sequence[Intervention]) -> None:
    """Have a remote model's nnsight object make these edits of ours, and no others of ours."""
    wrapped = model.given_nnsight
    ours = [edited_nnsight(wrapped, intervention)._edits[-1] for intervention in interventions]
    wrapped._edits = [edit for edit in wrapped._edits if edit not in _KEPT] + ours
    _KEPT.update(ours)


class RemoteEditing(Editing):
    """Where the edits of a model that runs remotely are: in its nnsight object, and in what is sent."""

    def hold(self, holder: object) -> None:
        """Have every trace make the active edits until every holder releases."""
        self._holders.add(holder)
        _keep_held(self._live())

    def release(self, holder: object) -> None:
        """Take out what no active edit needs any more."""
        self._holders.discard(holder)
        _keep_held(self._live())

    def run(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        states: Sequence[RunState],
        method: str = "__call__",  # noqa: ARG002  (the whole module is sent)
    ) -> dict[str, Tensor]:
        """Send one pass with the active edits, and return the model's named tensors."""
        return run_remotely(self._live(), args, kwargs, states)[1]


def _keep_held(model: Runs) -> None:
    keep(model, model.interventions if model.editing.held else ())


def check_travels(model: Runs, intervention: Intervention) -> None:
    """Refuse an edit that is more than numbers for a model that runs remotely."""
    if model.remote and intervention.times is not None:
        raise ValueError(
            f"An edit of {model.name!r}, which runs remotely, must be made each time its module runs, got "
            f'"{intervention.hook_point}" at {intervention.times}. Load the model without `remote`.'
        )
    if model.remote and _plain(intervention) is None:
        raise ValueError(
            f"An edit of {model.name!r}, which runs remotely, must be one along a direction: `mode="
            '"add"`, or any mode with `direction=`. SAEs and functions do not travel. Load the model '
            "without `remote` for the others."
        )


def _plain(intervention: Intervention) -> tuple[Tensor, float, float] | None:
    plain = getattr(intervention.edit, "plain", None)
    return plain() if callable(plain) else None


def _travelling(intervention: Intervention, states: Sequence[RunState] | None) -> Travelling:
    mask = None
    if states is not None:
        masks = [intervention.edit.mask(state) for state in states]  # type: ignore[attr-defined]
        mask = torch.cat(masks, dim=1)
    direction, gain, by = _plain(intervention) or (torch.empty(0), 0.0, 0.0)
    return intervention.hook_point.index, mask, direction, gain, by


def run_remotely(
    model: Runs,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    states: RunState | Sequence[RunState],
    places: Collection[Place] = (),
) -> tuple[dict[Place, Any], dict[str, Tensor]]:
    """Send one pass with the active edits; return what modules gave (or got), or the model's named tensors."""
    stretches = (states,) if isinstance(states, RunState) else states
    edits: dict[Place, list[Travelling]] = {}
    for intervention in tuple(model.interventions):
        check_travels(model, intervention)
        point = intervention.hook_point
        edits.setdefault((point.path, point.side), []).append(_travelling(intervention, stretches))
    order = _in_order(model, {**dict.fromkeys(places), **edits})
    stops = [(*place, edits.get(place, []), place in places) for place in order]
    keep(model, ())  # for this pass the edits are in the trace
    try:
        values = _sent(model.given_nnsight, args, kwargs, stops, bool(places), model.remote)
    finally:
        _keep_held(model)
    answer = {} if places else values.pop()
    return dict(zip((place for place in order if place in places), values, strict=True)), answer


def _sent(
    wrapper: NNsight,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    stops: Sequence[tuple[str, Side, list[Travelling], bool]],
    early: bool,
    remote: bool | str,
) -> list[Any]:
    import nnsight

    change, change_inputs = _changes()
    with wrapper.trace(*args, remote=remote, **kwargs) as tracer:
        values = []
        for path, side, edits, is_read in stops:
            envoy = wrapper.get(path)
            value = envoy.inputs if side == "input" else envoy.output
            if edits and side == "input":
                value = envoy.inputs = change_inputs(*value, edits)
            elif edits:
                value = envoy.output = change(value, edits)
            if is_read:
                values.append(value)
        nnsight.save(values)
        if early:
            tracer.stop()
        output = wrapper.output
        values.append({name: v for name, v in output.items() if isinstance(v, torch.Tensor)})
    return values


def _in_order(model: Runs, places: Mapping[Place, Any]) -> list[Place]:
    """Places as a forward pass reaches them: a trace must read them so."""
    standard = [(point.path, point.side) for point in model.hook_points()]
    modules = [path for path, _ in model.module.named_modules()]

    def rank(place: Place) -> tuple[int, float]:
        if place in standard:
            return standard.index(place), 0
        # A module of the user's own runs inside the block that holds it.
        path, side = place
        block = [i for i, (known, _) in enumerate(standard) if path.startswith(f"{known}.")]
        return (min(block) if block else 0), modules.index(path) + (side == "output") / 2

    return sorted(places, key=rank)
