"""Run a batch again from a place on: the blocks below it hand on what they gave the first time.

Runs of one batch that differ from some hook point on repeat everything before it. `PrefixCache` notes in
one run what each block gave that ended before the place was reached, and in the next ones these blocks are
not computed. The numbers are the same to the bit: what a block hands on is a copy of what it had computed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sae_nb.models._attribute_patch import put_around
from sae_nb.models._interventions import own_wrapper
from sae_nb.models._running import reading_hook

if TYPE_CHECKING:
    from sae_nb.models._hook_points import HookPoint
    from sae_nb.models._live_model import LiveModel


KEPT = 2**29
"""Bytes of outputs that are kept of one batch; blocks above are computed again. Ours."""


class PrefixCache:
    """Outputs of the blocks below some hook points for one batch; the caller holds the model's lock.

    Nothing is kept where edits of others are active, where the model runs remotely, of a block that runs
    several times, and from a block on that gets or gives other than numbers and caches. `edited`: the noted run
    is edited at the points, too, and a block whose own output is edited is not kept.
    """

    def __init__(
        self, model: LiveModel, points: Iterable[HookPoint], *, edited: bool = False
    ) -> None:
        self._model, self._points = model, tuple(points)
        structures = [*model.streams.values(), model.structure]
        paths = dict.fromkeys(path for found in structures if found for path in found.paths)
        self._blocks = [model.get_module(path) for path in paths]
        if getattr(getattr(model.module, "config", None), "num_kv_shared_layers", None):
            self._blocks = []  # upper blocks read the keys of lower ones from the cache
        if edited:
            own = [model.get_module(point.path) for point in self._points]
            self._blocks = [block for block in self._blocks if block not in own]
        self._given: dict[nn.Module, Any] = {}
        self._open = True

    @property
    def n_kept(self) -> int:
        """Number of blocks that the next runs leave out."""
        return len(self._given)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what blocks give, in the one run inside the block."""
        self._given, self._open, left = {}, True, KEPT
        if self._model.remote or self._model.interventions:
            yield
            return
        ran: set[nn.Module] = set()

        def note(block: nn.Module, args: object, kwargs: object, output: object) -> None:
            nonlocal left
            again = block in ran
            ran.add(block)
            if again:
                self._given.pop(block, None)
            elif self._open:
                left -= _size(output)
                self._open = left >= 0 and _only_numbers((args, kwargs)) and _only_numbers(output)
                if self._open:
                    self._given[block] = _copied(output)

        def reached(_value: object) -> None:
            self._open = False

        with ExitStack() as hooks:
            for block in self._blocks:
                hooks.callback(block.register_forward_hook(note, with_kwargs=True).remove)
            for point in (
                self._points
            ):  # after the block's own hook: its output is still below an edit of it
                hook = reading_hook(self._model.get_module(point.path), point, reached)
                hooks.callback(hook.remove)
            yield
        if self._open:  # the place was not reached, or every block was below it unseen
            self._given = {}

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Have the blocks that were noted hand on what they gave, in every run inside the block."""
        with ExitStack() as undo:
            if self._given:
                own_wrapper(self._model)
            for block, output in self._given.items():
                undo.callback(put_around(block, lambda *_, made=output, **__: _copied(made)))
            yield


def _copied(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return type(value)(map(_copied, value)) if isinstance(value, tuple | list) else value


def _size(value: object) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_size, value)) if isinstance(value, tuple | list) else 0


def _only_numbers(value: object) -> bool:
    """Return whether a value is tensors and plain values in plain containers, or a cache of keys and values."""
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return all(map(_only_numbers, value))
    if isinstance(value, dict) and type(value) is dict:
        return all(map(_only_numbers, value.values()))
    caches = getattr(sys.modules.get("transformers"), "Cache", ())
    plain = (Tensor, str, int, float, torch.dtype, torch.device)
    return value is None or isinstance(value, (plain, caches))
