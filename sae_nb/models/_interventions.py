"""Edits of activations while a model runs: what they are told, and the forward hooks that apply them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sae_nb.models._hook_points import HookPoint, first_input, read_tensor, replace_tensor

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where in a text or batch the columns are that an edit is looking at.

    A plain forward pass has one state; text generation has one for the prompt and one per new token.
    """

    step: int = 0
    """0 for a plain forward pass and for the prompt; then 1 for the first new token fed back, …"""

    offset: int = 0
    """Column of the first position seen in this run, counted in the padded whole sequence."""

    keep: Bool[Tensor, "batch time"] | None = None
    """False at padding (and at rows whose text has ended); None: no padding."""

    token_ids: Int[Tensor, "batch time"] | None = None
    """The tokens in these columns; None for pictures and plain vectors."""

    position: Int[Tensor, "batch time"] | None = None
    """Index in the sample's own token sequence, as in ``acts.position``; −1 at padding."""

    prompt_length: Int[Tensor, " batch"] | None = None
    """Tokens of each row's prompt without padding; of the whole row in a plain forward pass."""

    sample: Int[Tensor, "batch time"] | None = None
    """Running index of the sample each column belongs to; −1 at padding."""

    @property
    def n_columns(self) -> int | None:
        """How many columns this state describes; None where the model decides (pictures)."""
        shaped = self.token_ids if self.token_ids is not None else self.keep
        return None if shaped is None else shaped.shape[1]


Edit = Callable[[Tensor, RunState], Tensor]
"""(activations of shape (batch, time, d), where they are) → edited activations of the same shape."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """One edit at one hook point; active while it is in ``model.interventions``."""

    hook_point: HookPoint
    """Where."""

    edit: Edit
    """What is done there."""


@contextmanager
def installed(model: LiveModel, states: RunState | Sequence[RunState]) -> Iterator[None]:
    """Apply the model's interventions to the forward passes inside the block, in their order.

    Plain forward hooks, present only inside the block; the caller holds ``model.lock``.
    """
    stretches = (states,) if isinstance(states, RunState) else tuple(states)
    handles: list[RemovableHandle] = []
    try:
        # Prepended, so that hooks of the user's own see the edited value, as they do under nnsight;
        # the last one first, so that the first edit runs first.
        for intervention in reversed(tuple(model.interventions)):
            check_writable(intervention.hook_point)
            module = model.get_module(intervention.hook_point.path)
            handles.append(_attach(module, intervention, stretches))
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_writable(point: HookPoint) -> None:
    """Refuse to edit a hook point where an edit would reach only part of the network."""
    if not point.writable:
        raise ValueError(
            f'"{point}" can be read but not edited: the module there sees one of two uses of this '
            f'value. Edit "attn_out.{point.layer}" (its sum with resid_pre is this value) or '
            f'"resid_post.{point.layer}".'
        )


def edited(x: Tensor, intervention: Intervention, stretches: Sequence[RunState]) -> Tensor:
    """Return `x` with one intervention applied, stretch of columns by stretch of columns.

    Vectors without a time axis are shown to the edit as (batch, 1, d), and rows of a flattened
    batch (OPT's MLP) as (batch, time, d); what comes back has the shape of `x`.
    """
    tokens = with_time_axis(x, stretches)
    if len(stretches) == 1:
        new = _checked(intervention.edit(tokens, stretches[0]), tokens, intervention)
    else:
        widths = [state.n_columns or 0 for state in stretches]
        parts = [
            _checked(intervention.edit(part, state), part, intervention)
            for part, state in zip(torch.split(tokens, widths, dim=1), stretches, strict=True)
        ]
        new = torch.cat(parts, dim=1)
    return new.reshape(x.shape)


def with_time_axis(x: Tensor, stretches: Sequence[RunState]) -> Tensor:
    """Return rows without a time axis as (batch, time, d); anything else as it is."""
    if x.ndim != 2:
        return x
    widths = [state.n_columns for state in stretches]
    if None not in widths:
        n_columns = sum(width or 0 for width in widths)
        first = stretches[0]
        shaped = first.token_ids if first.token_ids is not None else first.keep
        if shaped is not None and x.shape[0] == shaped.shape[0] * n_columns:
            return x.view(shaped.shape[0], n_columns, x.shape[1])
    return x[:, None, :]


def _attach(
    module: nn.Module, intervention: Intervention, stretches: Sequence[RunState]
) -> RemovableHandle:
    point = intervention.hook_point

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        new = edited(read_tensor(output, point), intervention, stretches)
        return replace_tensor(output, new, point)

    def before(
        _module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        where = first_input(args, kwargs, point)
        value = args[0] if isinstance(where, int) else kwargs[where]
        new = edited(read_tensor(value, point), intervention, stretches)
        new = replace_tensor(value, new, point)
        if isinstance(where, int):
            return (new, *args[1:]), dict(kwargs)
        return args, {**kwargs, where: new}

    if point.side == "input":
        return module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
    return module.register_forward_hook(after, prepend=True)


def _checked(new: Any, old: Tensor, intervention: Intervention) -> Tensor:
    if not isinstance(new, Tensor) or new.shape != old.shape:
        got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ValueError(
            f'An edit must return the shape it was given, {tuple(old.shape)} at "'
            f'{intervention.hook_point}", got {got}. Return x with only its values changed.'
        )
    return new.to(dtype=old.dtype, device=old.device)
