"""Triton on a card, or its interpreter on the CPU; and a stand-in for a card that refuses what would wait for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

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
    from sae_nb.architectures.parts import _largest, _proxes
    from sae_nb.kernels import _backends, _coding

    with monkeypatch.context() as patched:
        if DEVICE == "cpu":
            for module in (_backends, _coding, _proxes, _largest):
                patched.setattr(
                    module, "pick", lambda given, _: "cuda" if given == "auto" else given
                )
            patched.setattr(_proxes, "FEW", 0)
        yield


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
