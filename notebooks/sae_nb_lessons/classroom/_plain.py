"""Values as JSON, for the line between the one who marks and a student's code: numbers, text, lists, tensors, no code."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor


class NotPlain(BaseException):
    """A value that is more than data; not an Exception, so that nothing between takes it for a student's error."""


def packed(value: Any) -> Any:
    """Return a value as JSON.

    Raises
    ------
    NotPlain
        For functions, modules, and tensors with a gradient or off the CPU.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value if type(value) in (type(None), bool, int, float, str) else _plain(value)
        case Tensor():
            if value.requires_grad or value.device.type != "cpu" or value.layout != torch.strided:
                raise NotPlain("a tensor that is more than numbers")
            name, raw = str(value.dtype).removeprefix("torch."), value.contiguous().flatten()
            return {
                "tensor": name,
                "shape": list(value.shape),
                "raw": _text(raw.view(torch.uint8).numpy()),
            }
        case np.ndarray() if value.dtype.kind in "biufc":
            return {"array": value.dtype.str, "shape": list(value.shape), "raw": _text(value)}
        case np.generic() if value.dtype.kind in "biufc":
            return packed(value.item())
        case list():
            return [packed(one) for one in value]
        case tuple():
            return {"tuple": [packed(one) for one in value]}
        case dict():
            return {"dict": [[packed(key), packed(one)] for key, one in value.items()]}
    raise NotPlain(type(value).__name__)


def unpacked(plain: Any) -> Any:
    """Return the value again; raises an Exception for what `packed` does not write."""
    match plain:
        case None | bool() | int() | float() | str():
            return plain
        case list():
            return [unpacked(one) for one in plain]
        case {"tensor": str(name), "shape": list(shape), "raw": str(raw)}:
            kind = getattr(torch, name)
            if not isinstance(kind, torch.dtype):
                raise ValueError(name)
            content = bytearray(base64.b64decode(raw))
            flat = torch.frombuffer(content, dtype=kind) if content else torch.empty(0, dtype=kind)
            return flat.reshape(shape)
        case {"array": str(name), "shape": list(shape), "raw": str(raw)}:
            kind = np.dtype(name)
            if kind.kind not in "biufc":
                raise ValueError(name)
            return np.frombuffer(base64.b64decode(raw), kind).reshape(shape).copy()
        case {"tuple": list(values)}:
            return tuple(unpacked(one) for one in values)
        case {"dict": list(pairs)}:
            return {unpacked(key): unpacked(one) for key, one in pairs}
    raise ValueError("no value of this kind is written")


def _plain(value: Any) -> Any:
    """Return a number or a text of a derived class, as numpy's, without the class."""
    base = next(one for one in (bool, int, float, str) if isinstance(value, one))
    return base(value)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
