"""Triton on a card, or its interpreter on the CPU; and a stand-in for a card that refuses what would wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip("triton", reason="Triton is not installed: its kernels are not tried")


def _mend_interpreter() -> None:
    """What a card does and the interpreter does not: fp32 becomes bf16 by rounding, not by cutting off.

    And a scalar is an array of one number there, which numpy 2.4 does not take for an index.
    """
    from triton import language
    from triton.runtime import interpreter

    patch, convert = interpreter._patch_lang_tensor, interpreter._convert_float

    def rounded(numbers: Any, source: Any, target: Any, mode: Any) -> Any:
        if (source, target) != (language.float32, language.bfloat16):
            return convert(numbers, source, target, mode)
        halves = torch.from_numpy(np.ascontiguousarray(numbers)).bfloat16().view(torch.int16)
        return halves.numpy().view(np.uint16)

    interpreter._convert_float = rounded

    def mended(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.reshape(-1)[0]))

    interpreter._patch_lang_tensor = mended


if DEVICE == "cpu":
    _mend_interpreter()


@contextmanager
def a_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tensors on the CPU pass for some on a card, whose kernels the interpreter runs."""
    with monkeypatch.context() as patched:
        if DEVICE == "cpu":
            patched.setattr("sae_nb.kernels._backends.on_card", lambda _: True)
            patched.setattr("sae_nb.architectures.parts._proxes.FEW", 0)
            _stand_in_graphs(patched)
        yield


class Recorded:
    """Stands for a CUDA graph: a replay repeats every operation on the same memory, with the same numbers.

    A capture computes nothing and a replay everything; here the capture computes, and the first replay nothing.
    """

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for again in self.work if self.replays > 1 else ():
            again()


class _Recording(TorchDispatchMode):
    def __init__(self, graph: Recorded) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if torch.Tag.inplace_view not in func.tags:
            # The memory, whatever becomes of the tensors; and nobody counts what a graph writes.
            read, first = pytree.tree_map_only(
                torch.Tensor, lambda t: t.data, ((args, kwargs or {}), made)
            )

            def again() -> None:
                anew = func(*read[0], **read[1])
                for old, new in zip(
                    pytree.tree_leaves(first), pytree.tree_leaves(anew), strict=True
                ):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

            self.graph.work.append(again)
        return made


def _stand_in_graphs(patched: pytest.MonkeyPatch) -> None:
    from triton.runtime.interpreter import GridExecutor

    launch: Callable[..., Any] = GridExecutor.__call__
    under_way: list[Recorded] = []

    def launched(*args: Any, **kwargs: Any) -> Any:
        """A launch is Triton's: what its interpreter does on the host is not looked at."""
        with _disable_current_modes():
            launch(*args, **kwargs)
        if under_way:
            under_way[-1].work.append(lambda: launch(*args, **kwargs))

    @contextmanager
    def graph(recorded: Recorded, **_: Any) -> Iterator[None]:
        under_way.append(recorded)
        try:
            with _Recording(recorded):
                yield
        finally:
            under_way.pop()

    stream = SimpleNamespace(wait_stream=lambda _: None)
    patched.setattr(GridExecutor, "__call__", launched)
    patched.setattr(torch.cuda, "CUDAGraph", Recorded)
    patched.setattr(torch.cuda, "graph", graph)
    patched.setattr(torch.cuda, "Stream", lambda _: stream)
    patched.setattr(torch.cuda, "current_stream", lambda _: stream)
    patched.setattr(torch.cuda, "stream", lambda _: nullcontext())


WAITS = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "bincount",
    "_unique2", "unique_dim", "unique_consecutive",
}  # fmt: skip
"""Operations that bring a number to the host, or whose result has a shape that depends on numbers."""


class NothingWaits(TorchDispatchMode):
    """Refuses every operation for which the host would wait for a card."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.name().split("::")[1].split(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            place is not None and place.dtype == torch.bool for place in args[1]
        )
        unsized = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in WAITS or by_mask or unsized:
            raise AssertionError(f"The host would wait for a card: {func.name()}.")
        return func(*args, **kwargs)
