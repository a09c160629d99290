"""Edits as plain torch hooks of a module that no live model holds: a checkpoint of your own script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from sae_nb.models._attribute_patch import around_generate
from sae_nb.models._calls import Calls
from sae_nb.models._interventions import Intervention, edited, edited_inputs


class Hooks:
    """Edits that sit in a module as ordinary torch hooks until they are removed; made by `to_hooks`.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> with sn.steer(model, "0", direction=torch.ones(2)) as steering:
    ...     recipe = steering.recipe
    >>> hooks = recipe.to_hooks(torch.nn.Sequential(torch.nn.Identity()))
    >>> hooks
    Hooks(at "0")
    >>> hooks.remove()
    >>> hooks
    Hooks(removed)
    """

    def __init__(self, module: nn.Module, interventions: Sequence[Intervention]) -> None:
        parts = [(one, _part(module, one)) for one in interventions]  # before anything is put in
        self._names = [f'"{one.hook_point}"' for one in interventions]
        self._undo: list[Callable[[], None]] = []
        self._entered = False
        self._calls, self._reads_text = Calls(), _reads_text(module)
        if not all(
            getattr(one.edit, "everywhere", False) and one.times is None for one in interventions
        ):
            self._follow(module)
        for one, part in parts:
            enter = self._at_output if one.hook_point.side == "output" else self._at_input
            self._undo.append(enter(one, part).remove)

    def __repr__(self) -> str:
        return f"Hooks({'at ' + ', '.join(self._names) if self._undo else 'removed'})"

    def __enter__(self) -> Hooks:
        """The hooks are in place already; the block ends with their removal."""
        if self._entered or not self._undo:
            was = "are of a block already" if self._entered and self._undo else "were removed"
            raise RuntimeError(
                f"Hooks must be entered once, while they are in place, and these, {', '.join(self._names)}, "
                f"{was}. Make new ones from the recipe."
            )
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the hooks, whatever happened inside."""
        self.remove()

    def remove(self) -> None:
        """Leave the module as it was; once more does nothing."""
        while self._undo:
            self._undo.pop()()

    def _follow(self, module: nn.Module) -> None:
        """Know of every call of the whole module where its columns are."""

        def begin(ran: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if ran is module:  # and not a copy of it, which takes the hook along
                self._calls.begin(module, args, kwargs, reads_text=self._reads_text)

        def end(ran: nn.Module, _args: object, output: object) -> None:
            if ran is module:
                self._calls.end(output)

        before = module.register_forward_pre_hook(begin, with_kwargs=True)
        after = module.register_forward_hook(end, always_call=True)
        self._undo += [before.remove, after.remove]
        if callable(getattr(module, "generate", None)):
            self._undo.append(around_generate(module, self._calls.of_generate))

    def _at_output(self, intervention: Intervention, part: nn.Module) -> RemovableHandle:
        def edit(ran: nn.Module, _args: object, output: object) -> object:
            if ran is not part:
                return output
            states = (intervention.needed(self._calls.state(self._reads_text)),)
            return edited(output, (intervention,), states, self._calls.count(intervention))

        return part.register_forward_hook(edit)

    def _at_input(self, intervention: Intervention, part: nn.Module) -> RemovableHandle:
        def edit(
            ran: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if ran is not part:
                return args, kwargs
            states = (intervention.needed(self._calls.state(self._reads_text)),)
            time = self._calls.count(intervention)
            return edited_inputs(args, kwargs, (intervention,), states, time)

        return part.register_forward_pre_hook(edit, with_kwargs=True)


def _part(module: nn.Module, intervention: Intervention) -> nn.Module:
    point = intervention.hook_point
    try:
        return module.get_submodule(point.path)
    except AttributeError:
        raise ValueError(
            f'`module` must have the part "{point.path}", which is "{point}" of the recipe\'s model, got '
            f"{type(module).__name__} without it. Pass the same class of model as the recipe was made on."
        ) from None


def _reads_text(module: nn.Module) -> bool:
    """Whether a call's arguments say where tokens are, as those of transformers' text models do."""
    return getattr(module, "main_input_name", "") == "input_ids"
