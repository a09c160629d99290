"""One forward pass that is read: through nnsight, by plain forward hooks, or where the model runs remotely.

Every `with … trace` body of a capture stays here, on lines of its own: nnsight reads its source from
this file.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sae_nb.models import (
    Backend,
    HookPoint,
    Side,
    first_input,
    installed,
    own_wrapper,
    read_tensor,
    run_remotely,
)

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel


Place = tuple[str, Side]
"""Module path and side: where a value is read, whatever its names."""

Take = Callable[[str, Tensor], None]
"""Gets a hook point's name and the live tensor there."""


def run_hooked(
    model: LiveModel,
    batch: Batch,
    points: Sequence[str],
    *,
    backend: Backend = "nnsight",
    stop_early: bool = True,
) -> dict[str, Tensor]:
    """Run one batch and return the activations at some hook points.

    Values are copies without gradient, on the model's device. Edits that are active (`steer`,
    `ablate`) are applied, and seen, also at the very hook points that are read. A module that runs
    several times in one pass is read at its first run.
    """
    saved: dict[str, Tensor] = {}

    def take(name: str, value: Tensor) -> None:
        saved[name] = value.clone()

    resolved = {str(name): model.hook_point(name) for name in points}
    read_batch(model, batch, resolved, take, backend=backend, stop_early=stop_early)
    return {str(name): saved[str(name)] for name in points}


def read_batch(
    model: LiveModel,
    batch: Batch,
    points: Mapping[str, HookPoint],
    take: Take,
    *,
    backend: Backend = "nnsight",
    stop_early: bool = True,
) -> None:
    """Run one batch and hand each activation to `take` while the model is at that hook point."""
    places: dict[Place, list[tuple[str, HookPoint]]] = {}
    for name, point in points.items():
        places.setdefault((point.path, point.side), []).append((name, point))
    pass_ = ForwardPass(batch.to(model.device), places, take, stop_early)
    run = _way(model, backend)
    with model.lock, torch.inference_mode(False), torch.no_grad():
        run(model, pass_)
    if pass_.left:
        raise _never_ran(pass_.left)


def _way(model: LiveModel, backend: Backend) -> Callable[[LiveModel, ForwardPass], None]:
    if not model.remote:
        return _run_traced if backend == "nnsight" else _run_with_hooks
    if backend != "nnsight":
        raise ValueError(
            f"`backend` must be 'nnsight' for {model.name!r}, which runs remotely, got {backend!r}. "
            "Leave it out."
        )
    return _run_remotely


class ForwardPass:
    """One forward pass: where to read, what is still to come, and when it may end."""

    def __init__(
        self,
        batch: Batch,
        places: Mapping[Place, Sequence[tuple[str, HookPoint]]],
        take: Take,
        stop_early: bool,
    ) -> None:
        self.batch, self.places, self.state = batch, places, batch.state()
        self._take, self._stop_early = take, stop_early
        self.restart()

    def restart(self) -> None:
        """Want everything again."""
        self.left = [name for names in self.places.values() for name, _ in names]
        self.order: list[Place] = []

    @property
    def complete(self) -> bool:
        """Whether nothing more is wanted of this pass."""
        return self._stop_early and not self.left

    def see(self, place: Place, value: Any) -> None:
        """Hand on what a module gave or got; only the first time it runs."""
        if place not in self.order:
            self.order.append(place)
        for name, point in self.places[place]:
            if name in self.left:
                self._take(name, read_tensor(value, point).detach())
                self.left.remove(name)


def _module_input(args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint) -> Any:
    """Return what a module got at an input-side hook point."""
    where = first_input(args, kwargs, point)
    return args[where] if isinstance(where, int) else kwargs[where]


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


def _run_traced(model: LiveModel, pass_: ForwardPass) -> None:
    from nnsight.intervention.interleaver import OutOfOrderError

    wrapper, envoys = own_wrapper(model)
    modules = {place: model.get_module(place[0]) for place in pass_.places}
    readers = {
        place: _Reader(envoys[id(module)], place, pass_) for place, module in modules.items()
    }
    with installed(model, pass_.state):
        try:
            if not _traced_in_known_order(model, wrapper, pass_, readers):
                _trace_in_any_order(wrapper, pass_, list(readers.values()))
        except OutOfOrderError as error:
            raise _never_ran(pass_.left) from error
    if len({(id(module), place[1]) for place, module in modules.items()}) == len(modules):
        # A module under two paths is left out: its second reading would wait for its second run.
        _ORDERS.setdefault(model, {})[frozenset(readers)] = pass_.order


def _traced_in_known_order(
    model: LiveModel,
    wrapper: Any,
    pass_: ForwardPass,
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

    def __init__(self, envoy: Any, place: Place, pass_: ForwardPass) -> None:
        self._envoy, self._place, self._pass = envoy, place, pass_

    def read(self) -> None:
        """Wait, hand on."""
        if self._place[1] == "input":
            args, kwargs = self._envoy.inputs
            value = _module_input(args, kwargs, self._pass.places[self._place][0][1])
        else:
            value = self._envoy.output
        self._pass.see(self._place, value)


def _trace_in_order(wrapper: Any, pass_: ForwardPass, readers: Sequence[_Reader]) -> None:
    with wrapper.trace(*pass_.batch.args, **pass_.batch.kwargs) as tracer:
        for reader in readers:
            reader.read()
        if pass_.complete:
            tracer.stop()


def _trace_in_any_order(wrapper: Any, pass_: ForwardPass, readers: Sequence[_Reader]) -> None:
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


# -------------------------------------------------------------------------------------------------
# By plain forward hooks.


class _Enough(BaseException):
    """Ends a forward pass once everything asked for is there; no `except Exception` may catch it."""


def _run_with_hooks(model: LiveModel, pass_: ForwardPass) -> None:
    """Run a pass with plain forward hooks, present only meanwhile."""
    handles: list[Any] = []
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


def _listen(module: nn.Module, place: Place, pass_: ForwardPass) -> Any:
    def see(value: Any) -> None:
        pass_.see(place, value)
        if pass_.complete:
            raise _Enough

    return _heard(module, pass_.places[place][0][1], see)


def _heard(module: nn.Module, point: HookPoint, see: Callable[[Any], None]) -> Any:
    """Hand on what a module gives, or gets, whenever it runs."""
    if point.side == "output":
        return module.register_forward_hook(lambda _module, _args, output: see(output))
    return module.register_forward_pre_hook(
        lambda _module, args, kwargs: see(_module_input(args, kwargs, point)), with_kwargs=True
    )


def run_with_gradient(model: LiveModel, batch: Batch, hook_point: str) -> Tensor:
    """Run one batch as far as a hook point and return the activations there, their graph kept.

    A gradient goes back to whatever the batch was computed from. Edits that are active are applied.
    """
    point = model.hook_point(hook_point)
    batch = batch.to(model.device)
    found: list[Tensor] = []

    def see(value: Any) -> None:
        found.append(read_tensor(value, point))
        raise _Enough

    module = model.get_module(point.path)
    with model.lock, torch.inference_mode(False), torch.enable_grad():
        with installed(model, batch.state()):
            handle = _heard(module, point, see)
            try:
                model.module(*batch.args, **batch.kwargs)
            except _Enough:
                return found[0]
            finally:
                handle.remove()
    raise _never_ran([str(point)])


# -------------------------------------------------------------------------------------------------
# On nnsight's server: what follows (rows, stores) happens here.


def _run_remotely(model: LiveModel, pass_: ForwardPass) -> None:
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
            pass_.see(place, _module_input(args, kwargs, pass_.places[place][0][1]))
        else:
            pass_.see(place, value)
