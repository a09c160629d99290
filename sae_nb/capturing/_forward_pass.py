"""One forward pass that is read: what is wanted of it, and how plain forward hooks get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sae_nb.models import HookPoint, first_input, installed, read_tensor

if TYPE_CHECKING:
    from sae_nb.models import Batch, LiveModel


Place = tuple[str, str]
"""Module path and side: where a value is read, whatever its names."""

Take = Callable[[str, Tensor], None]
"""Gets a hook point's name and the live tensor there."""


class _Enough(BaseException):
    """Ends a forward pass once everything asked for is there; no `except Exception` may catch it."""


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


def run_with_hooks(model: LiveModel, pass_: ForwardPass) -> None:
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

    if place[1] == "output":
        return module.register_forward_hook(lambda _module, _args, output: see(output))
    return module.register_forward_pre_hook(
        lambda _module, args, kwargs: see(module_input(args, kwargs, pass_.places[place][0][1])),
        with_kwargs=True,
    )


def module_input(args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint) -> Any:
    """Return what a module got at an input-side hook point."""
    where = first_input(args, kwargs, point)
    return args[where] if isinstance(where, int) else kwargs[where]


def never_ran(left: Sequence[str]) -> ValueError:
    """Return the error for hook points that a pass did not reach."""
    some = "Hook point" if len(left) == 1 else "One of the hook points"
    return ValueError(
        f"{some} {', '.join(f'`{name}`' for name in left)} must run when the model reads these "
        "inputs, but did not. Choose another one; `model.hook_points()` lists those of every forward "
        "pass."
    )
