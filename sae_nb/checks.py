"""Checks of user input, made once at the public call: rule, given, do."""

from __future__ import annotations

import math
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence, Sized


Choice = TypeVar("Choice")


def check_matrix(
    x: object,
    *,
    name: str = "x",
    d_in: int | None = None,
    flatten: bool = False,
    where: str = "",
    finite: bool = True,
) -> Tensor:
    """Return `x` if it is a non-empty floating-point tensor of shape (n, d_in)."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"`{name}` must be a torch tensor, got {type(x).__name__}. Use torch.as_tensor({name})."
        )
    if not x.is_floating_point():
        raise TypeError(
            f"`{name}` must hold floating-point numbers, got {x.dtype}. Use {name}.float()."
        )
    if x.ndim != 2 and not (flatten and x.ndim >= 1):
        flat = f"Flatten its leading axes with {name}.flatten(0, -2)."
        raise ValueError(
            f"`{name}` must have shape (n, {d_in or 'd_in'}), got {tuple(x.shape)}. "
            f"{flat if x.ndim > 2 else f'One row alone is {name}[None].'}"
        )
    if d_in is not None and x.shape[-1] != d_in:
        raise ValueError(
            f"`{name}` must have last dimension d_in={d_in}, got shape {tuple(x.shape)}. "
            f"Was it captured at a different hook point?{' ' + where if where else ''}"
        )
    if x.numel() == 0:
        raise ValueError(
            f"`{name}` must not be empty, got shape {tuple(x.shape)}. Pass at least one row."
        )
    rows = x.reshape(-1, x.shape[-1])
    if finite:
        check_finite(rows, name=name, where=where)
    return rows


def check_finite(
    x: Tensor, *, name: str = "x", where: str = "", row_name: Callable[[int], str] | None = None
) -> None:
    """Refuse NaN and infinity, naming the first bad row."""
    # One fused pass in the common case: a sum is finite only if every entry is, up to overflow.
    if x.device.type == "meta" or bool(torch.isfinite(x.detach().sum())):
        return
    bad = ~torch.isfinite(x.detach()).reshape(x.shape[0], -1).all(dim=1)
    if not bool(bad.any()):
        return
    row = int(bad.nonzero()[0])
    label = f" ({row_name(row)})" if row_name is not None else ""
    raise ValueError(
        f"`{name}` must be finite, but {int(bad.sum())} of {x.shape[0]} rows hold NaN or infinity; "
        f"the first is row {row}{label}.{' ' + where if where else ''} Look at the model's dtype "
        "(fp16 overflows) or drop these rows."
    )


def check_k(k: object, n_atoms: int, *, name: str = "k") -> int:
    """Return `k` if it is an integer with 1 ≤ k ≤ n_atoms."""
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"`{name}` must be an integer, got {k!r}.")
    if not 1 <= k <= n_atoms:
        smaller = f"Choose a smaller `{name}` or a larger dictionary."
        raise ValueError(
            f"`{name}` must be between 1 and n_atoms={n_atoms}, got {k}. "
            f"{smaller if k > n_atoms else 'Choose at least 1.'}"
        )
    return k


def check_count(value: object, *, name: str, at_least: int = 1) -> int:
    """Return `value` if it is an integer of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < at_least:
        raise ValueError(f"`{name}` must be at least {at_least}, got {value}.")
    return value


def check_real(value: float, *, name: str) -> float:
    """Return `value` if it is a number, whole or not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    return value


def check_flag(value: object, *, name: str) -> bool:
    """Return `value` if it is True or False: the text "False" would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")
    return value


def one_of(value: Choice, choices: Collection[Choice], *, name: str) -> Choice:
    """Return `value` if it is one of the choices."""
    if value not in list(choices):  # a list: what cannot be hashed is refused like any other
        raise ValueError(f"`{name}` must be one of {list(choices)}, got {value!r}.")
    return value


def between(
    value: float,
    low: float,
    high: float,
    *,
    name: str,
    ends: Literal["[]", "()", "(]", "[)"] = "[]",
    high_name: str = "",
    do: str = "",
) -> float:
    """Return `value` if it lies in an interval."""
    above = low < value if ends[0] == "(" else low <= value
    below = value < high if ends[1] == ")" else value <= high
    if not (above and below):
        top = f"{high_name}={high:g}" if high_name else f"{high:g}"
        rule = {
            "[]": f"be between {low:g} and {top}",
            "()": f"lie strictly between {low:g} and {top}",
            "(]": f"be above {low:g} and at most {top}",
            "[)": f"be in [{low:g}, {top})",
        }[ends]
        raise ValueError(f"`{name}` must {rule}, got {value}.{' ' + do if do else ''}")
    return value


def same_length(values: Sized, n: int, *, name: str, per: str) -> None:
    """Refuse values that are not one per something."""
    if len(values) != n:
        raise ValueError(f"`{name}` must have one entry per {per}, {n}, got {len(values)}.")


def check_atom(atom: object, n_atoms: int, *, name: str = "atom") -> int:
    """Return `atom` if it names a row of the dictionary."""
    try:
        index = int(atom.__index__())  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise TypeError(f"`{name}` must be an integer, got {atom!r}.") from None
    if not 0 <= index < n_atoms:
        raise IndexError(
            f"`{name}` must be between 0 and {n_atoms - 1} (the SAE has {n_atoms} atoms), got {index}."
        )
    return index


def row_numbers(
    index: object, shape: Sequence[int], device: torch.device, *, beyond: str
) -> Int[Tensor, "..."]:
    """Return the numbers of the rows that an index names, counted with the leading axes flattened.

    The rules are numpy's, and so are the axes of the result: none for one row. `beyond` tells what
    to do about an axis that rows do not have.
    """
    import numpy as np

    if isinstance(index, tuple) and len(index) == 2 and index[1] is Ellipsis:
        index = index[0]  # scikit-learn asks for rows like this
    if not shape or isinstance(index, tuple) or index is None or index is Ellipsis:
        return _on_several_axes(index, shape, beyond).to(device)
    n, *rest = shape
    if isinstance(index, slice):
        rows = torch.from_numpy(np.arange(*index.indices(n))).to(device)
    else:
        rows = _whole_numbers(index).to(device)
        if rows.dtype == torch.bool and rows.shape == (*shape,):
            return rows.flatten().nonzero().flatten()
        rows = _in_range(rows, n)
    within = torch.arange(math.prod(rest), device=device).reshape(rest)
    return rows.reshape([*rows.shape, *[1] * len(rest)]) * within.numel() + within


def _on_several_axes(index: object, shape: Sequence[int], beyond: str) -> Tensor:
    import numpy as np

    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(part.cpu().numpy() if isinstance(part, Tensor) else part for part in parts)
    try:
        return torch.as_tensor(np.arange(math.prod(shape)).reshape(*shape)[parts])
    except IndexError as error:
        raise IndexError(
            f"An index must fit the axes of the rows, {(*shape,)}, and does not: {error}. {beyond}"
        ) from None


def _whole_numbers(index: object) -> Tensor:
    import numpy as np

    try:
        rows = index if isinstance(index, Tensor) else torch.as_tensor(np.array(index))
    except (TypeError, ValueError):
        rows = None
    if rows is None or (rows.numel() and (rows.is_floating_point() or rows.is_complex())):
        raise TypeError(
            f"Rows are chosen by a number, a slice, a mask or several numbers, got {index!r}."
        )
    return rows if rows.dtype == torch.bool else rows.long()


def _in_range(rows: Tensor, n: int) -> Tensor:
    if rows.dtype == torch.bool:
        if rows.shape != (n,):
            raise IndexError(
                f"A mask must have one entry per row, shape ({n},), got {(*rows.shape,)}. Compare "
                "something of the same rows."
            )
        return rows.nonzero().flatten()
    for row in rows.aminmax() if rows.numel() else ():
        if not -n <= row < n:
            raise IndexError(
                f"Row numbers must be between 0 and {n - 1}, got {int(row)}."
                if n
                else f"There are no rows, got row {int(row)}."
            )
    return torch.where(rows < 0, rows + n, rows)


def check_device(device: str | torch.device | None) -> torch.device:
    """Return the device, or the best one present for None."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"`device` must be a torch device such as 'cpu' or 'cuda', got {device!r}."
        ) from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"`device` must be a device of this machine, got {str(device)!r} and no NVIDIA GPU is "
            "visible. Use device='cpu', or leave it out."
        )
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"`device` must be one of cuda:0 … cuda:{torch.cuda.device_count() - 1}, got {str(device)!r}."
        )
    return wanted


def available_memory() -> int | None:
    """Return the bytes of memory a process can still take, or None where the system does not say."""
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def check_memory(needed: int, what: str, instead: str) -> None:
    """Refuse a request that would not fit in memory."""
    available = available_memory()
    if available is not None and needed > 0.9 * available:
        raise MemoryError(
            f"{what} must fit in memory: it needs {needed / 2**30:.1f} GiB and "
            f"{available / 2**30:.1f} GiB are free. {instead}"
        )


def warn_caller(message: str) -> None:
    """Warn about what was asked for, at the line outside the toolkit that asked."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


_INSIDE = ("sae_nb", "torch.")
