"""Values, each checked by the rule in its name, and what the machine must have for the work."""

from __future__ import annotations

import itertools
import math
import operator
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb._hints import near

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized


Choice = TypeVar("Choice")


class Indexed(Protocol):
    """Samples by number, as a torch dataset holds them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


Inputs: TypeAlias = object
"""What a model may be given, one sample or many: texts, conversations, a processor's output; token ids, images,
sounds, videos and traces, as tensors, arrays, pictures, files or their bytes; a dataset, a table, any iterable.
Which of them a model reads is a matter of its `modality`; it is asked of the value, not of its type.
"""


def is_array(x: object) -> bool:
    """Return whether these are only numbers: a tensor, an array or a table."""
    return isinstance(x, Tensor) or (hasattr(x, "__array__") and not _is_ours(x))


def _is_ours(x: object) -> bool:
    return type(x).__module__.startswith("sae_nb")


def numbers_of_ours(x: object) -> str:
    """Return where an object of the toolkit has its numbers; nothing for others."""
    if isinstance(getattr(x, "dictionary", None), Tensor):
        return "Its atoms are a tensor: pass sae.dictionary."
    if hasattr(x, "to_dense") and _is_ours(x):
        return "Codes are sparse: pass codes.to_dense(), or codes.values alone."
    return (
        "Its rows are a tensor: pass acts.x."
        if hasattr(x, "hook_point") and hasattr(x, "x")
        else ""
    )


def as_tensor(x: object, *, name: str = "x") -> Tensor:
    """Return the numbers of a tensor, array, table, nested list or of activations as one tensor."""
    numbers = x if isinstance(x, Tensor) else getattr(x, "x", x)
    check_plain(numbers, name=name)
    if isinstance(numbers, Tensor):
        return numbers
    cause: Exception | None = None
    try:
        array = np.asarray(None if _is_ours(numbers) else numbers)
        if array.dtype.kind in "biuf":
            # Writable and in this machine's byte order, as torch needs it.
            native = array.dtype.newbyteorder("=")
            return torch.from_numpy(np.require(array, native, ["C_CONTIGUOUS", "WRITEABLE"]))
    except (TypeError, ValueError) as error:
        cause = (
            error  # ragged lists; a precision that torch does not know; an `__array__` that failed
        )
    of_text = isinstance(x, str) or (isinstance(x, list) and all(isinstance(one, str) for one in x))
    do = (
        "A model turns text into numbers: pass sn.capture(model, text, hook_point)."
        if of_text
        else numbers_of_ours(x)
        or "Leave out columns of text; join a list of tensors with torch.stack."
    )
    raise TypeError(
        f"`{name}` must hold numbers, in a tensor, an array, a table or Activations, got "
        f"{type(x).__name__}. {do}"
    ) from cause


def check_plain(x: object, *, name: str) -> None:
    """Refuse numbers that are not there one by one: masked arrays with gaps, nested tensors, and tensors
    inside of a transform of torch.func, which stand for others.
    """
    if isinstance(x, np.ma.MaskedArray):
        if n := int(np.ma.getmaskarray(x).sum()):
            raise ValueError(
                f"`{name}` must have a number everywhere, got a masked array with {n} of {x.size} masked. "
                "Leave their rows out, or say what they are: x.filled(…)."
            )
    elif isinstance(x, Tensor):
        if x.is_nested:
            raise TypeError(
                f"`{name}` must be one tensor, got a nested one. Put its parts end to end: "
                "torch.cat(x.unbind())."
            )
        if torch._C._functorch.is_functorch_wrapped_tensor(x):
            raise TypeError(
                f"`{name}` must be numbers that can be looked at, got a tensor inside of torch.func (vmap, "
                "grad, jacrev). Call it with all rows at once, and differentiate with torch.autograd."
            )


def check_number_type(dtype: object, *, name: str = "dtype") -> np.dtype[Any] | None:
    """Return numpy's type of that name, of numpy's or torch's; None as it is."""
    if dtype is None:
        return None
    given = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype
    try:
        found = np.dtype(given)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if found is None or found.kind not in "biufc":
        raise TypeError(
            f"`{name}` must be a type of numbers that numpy has, got {shown(dtype)}. Use e.g. 'float32'."
        )
    return found


def check_matrix(
    x: object,
    *,
    name: str = "x",
    d_in: int | None = None,
    flatten: bool = False,
    where: str | Callable[[], str] = "",
    finite: bool = True,
) -> Tensor:
    """Return `x` as a tensor if it holds floating-point rows, (n, d_in), at least one of them."""
    x = as_tensor(x, name=name)
    if not x.is_floating_point():
        raise TypeError(
            f"`{name}` must hold floating-point numbers, got {x.dtype}. Use {name}.float(), of an array "
            f"{name}.astype('float32')."
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
            f"{_written(where) or 'Was it captured at a different hook point?'}"
        )
    if x.numel() == 0:
        raise ValueError(
            f"`{name}` must not be empty, got shape {tuple(x.shape)}. Pass at least one row."
        )
    if x.layout != torch.strided:
        raise ValueError(f"`{name}` must be dense, got layout {x.layout}. Use {name}.to_dense().")
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    if finite:
        check_finite(rows, name=name, where=where)
    return rows


def check_finite(
    x: Tensor,
    *,
    name: str = "x",
    where: str | Callable[[], str] = "",
    row_name: Callable[[int], str] | None = None,
) -> None:
    """Refuse NaN, infinity and what cannot be squared, naming the first bad row, and shapes without numbers."""
    check_data(x, name=name)
    x = x.detach() if x.requires_grad else x
    norm = _norm(x)
    if norm.item() <= _LONGEST[norm.dtype]:  # one pass in the common case
        return
    rows = x.reshape(x.shape[0] if x.ndim else 1, -1)
    not_finite = ~torch.isfinite(rows).all(dim=1)
    bad = not_finite if bool(not_finite.any()) else _norm(rows, dim=1) > _LONGEST[norm.dtype]
    if not bool(bad.any()):
        return
    row = int(bad.nonzero()[0])
    label = f" ({row_name(row)})" if row_name is not None else ""
    where = _written(where)
    rule = "be finite"
    what, do = (
        "hold NaN or infinity",
        "Look at the model's dtype (fp16 overflows) or drop these rows.",
    )
    if not bool(not_finite[row]):
        dtype = str(x.dtype).removeprefix("torch.")
        rule = f"be small enough to be squared in {dtype}"
        what = f"are too large, up to {float(rows[bad].abs().max()):.3g}"
        do = "Divide by a number, or look at where they come from."
    raise ValueError(
        f"`{name}` must {rule}, but {int(bad.sum())} of {len(rows)} rows {what}; "
        f"the first is row {row}{label}.{' ' + where if where else ''} {do}"
    )


def _norm(x: Tensor, dim: int | None = None) -> Tensor:
    """Return the norm of all numbers, or of those along an axis, in 32 bits or as wide as bf16."""
    wide = torch.float32 if x.dtype == torch.float16 else None
    numbers = x if x.is_floating_point() or x.is_complex() else x.float()
    return torch.linalg.vector_norm(numbers, dim=dim, dtype=wide)


_LONGEST = {
    dtype: math.sqrt(torch.finfo(dtype).max)
    for dtype in (torch.float32, torch.float64, torch.bfloat16)
}
"""Norms whose square is finite."""


def _written(text: str | Callable[[], str]) -> str:
    """The text of an error, which may be made only now that it is needed."""
    return text() if callable(text) else text


LARGEST = 2**31 - 1
"""Of what is counted: what 32 bits hold. Only bytes and seeds go beyond."""


def check_integer(value: object, *, name: str) -> int:
    """Return a whole number as Python's: numpy's and a tensor's are taken, True and 2.0 are not."""
    dtype = str(getattr(value, "dtype", ""))
    if isinstance(value, bool) or dtype.endswith("bool"):
        raise TypeError(f"`{name}` must be an integer, got {shown(value)}.")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        raise TypeError(f"`{name}` must be an integer, got {shown(value)}.") from None


def check_k(k: object, n_atoms: int, *, name: str = "k") -> int:
    """Return `k` if it is an integer with 1 ≤ k ≤ n_atoms."""
    k = check_integer(k, name=name)
    if not 1 <= k <= n_atoms:
        smaller = f"Choose a smaller `{name}` or a larger dictionary."
        raise ValueError(
            f"`{name}` must be between 1 and n_atoms={n_atoms}, got {k}. "
            f"{smaller if k > n_atoms else 'Choose at least 1.'}"
        )
    return k


def check_count(
    value: object, *, name: str, at_least: int = 1, at_most: int | None = None, do: str = ""
) -> int:
    """Return `value` if it is an integer from `at_least` to `at_most`."""
    value = check_integer(value, name=name)
    then = f" {do}" if do else ""
    if value < at_least:
        raise ValueError(f"`{name}` must be at least {at_least}, got {value}.{then}")
    if at_most is not None and value > at_most:
        raise ValueError(f"`{name}` must be at most {at_most}, got {value}.{then}")
    return value


def check_integers(values: object, *, name: str) -> tuple[int, ...]:
    """Return whole numbers, of a list, an array or a tensor of one axis, as Python's."""
    if isinstance(values, Tensor | np.ndarray):
        values = values.tolist()
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise TypeError(f"`{name}` must be a list of integers, got {shown(values)}.")
    return tuple(check_integer(value, name=f"{name}[{i}]") for i, value in enumerate(values))


def check_seed(seed: object, *, name: str = "seed") -> int:
    """Return `seed` if every generator takes it: torch's, numpy's and scikit-learn's."""
    return check_count(seed, name=name, at_least=0, at_most=2**32 - 1)


def check_real(value: object, *, name: str) -> float:
    """Return a number, whole or not, as Python's: numpy's and a tensor's are taken, texts and True are not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        dtype = str(getattr(value, "dtype", "object"))
        if getattr(value, "shape", None) != () or not ("float" in dtype or "int" in dtype):
            raise TypeError(f"`{name}` must be a number, got {shown(value)}.")
        number = value.item()  # type: ignore[attr-defined]
    if isinstance(number, int) and abs(number) >= 2**63:
        raise ValueError(f"`{name}` must be a number of at most 64 bits, got {number}.")
    if math.isnan(number):
        raise ValueError(f"`{name}` must be a finite number, got {number}.")
    return number


def check_flag(value: object, *, name: str) -> bool:
    """Return `value` if it is True or False: the text "False" would count as true."""
    if isinstance(value, bool):
        return value
    if str(getattr(value, "dtype", "")) == "bool" and getattr(value, "shape", None) == ():
        return bool(value)  # numpy's
    raise TypeError(f"`{name}` must be True or False, got {shown(value)}.")


def check_text(value: object, *, name: str) -> str:
    """Return `value` if it is text that a file can hold."""
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be text, got {shown(value)}.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"`{name}` must be text that UTF-8 can write, got {value[error.start]!a} at character "
                f"{error.start}, half of one. Leave it out."
            ) from None
    return value


def check_hook_name(value: object) -> str:
    """Return `value` if it can be the name of a hook point."""
    if not isinstance(value, str):
        layer = value if isinstance(value, int) and not isinstance(value, bool) else 0
        own = getattr(value, "hook_point", None)
        if own is not None and hasattr(value, "dictionary"):
            raise TypeError(
                f"A hook point comes before its SAE, got {type(value).__name__} in its place. The SAE's own is "
                f"{str(own)!r}."
            )
        raise TypeError(
            f"Hook points are names: 'resid_post.{layer}' is what block {layer} gives; got {shown(value)}. "
            "`model.hook_points()` lists them."
        )
    return value


def check_path(value: object, *, name: str) -> Path:
    """Return a file's or folder's name as a path, if a file system can hold it."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"`{name}` must be a path, got {shown(value)}.")
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        encoded = b"\0"
    if not encoded:
        raise ValueError(f"`{name}` must name a file or folder, got an empty text.")
    if b"\0" in encoded:
        raise ValueError(
            f"`{name}` must hold only what a file system can write, got {os.fspath(value)!r}."
        )
    longest = max(map(len, encoded.split(os.sep.encode())))
    if longest > 255 or len(encoded) > 4095:
        raise ValueError(
            f"`{name}` must be short enough for a file system (255 bytes a part, 4095 in all), got "
            f"{longest} in one part and {len(encoded)} in all. Choose a shorter name."
        )
    return Path(os.fsdecode(encoded))


def check_callable(value: object, *, name: str) -> Callable[..., Any]:
    """Return `value` if it can be called."""
    if not callable(value):
        raise TypeError(f"`{name}` must be a function, got {shown(value)}.")
    return value


def answered(function: Callable[..., Any], *given: object, name: str) -> Any:
    """Call a function of the user's own; its errors are attributed to it."""
    try:
        return function(*given)
    except Exception as error:
        raise TypeError(
            f"`{name}` must be a function that takes what it is given here ({shown(given[0])}), and it "
            f"raised {type(error).__name__}: {error}."
        ) from error


def shown(value: object) -> str:
    """Return what was given, for a message: what is short as it is, of the rest the type."""
    plain = isinstance(value, bool | int | float | complex | str | bytes | None)
    if plain and len(repr(value)) < 80:
        return repr(value)
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def one_of(value: Choice, choices: Collection[Choice], *, name: str) -> Choice:
    """Return `value` if it is one of the choices."""
    for choice in choices:  # by type too: what compares entry by entry is refused like any other
        if type(value) is type(choice) and value == choice:
            return value
    close = (
        near(value, [one for one in choices if isinstance(one, str)], 1)
        if isinstance(value, str)
        else []
    )
    meant = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`{name}` must be one of {list(choices)}, got {value!r:.80}.{meant}")


def between(
    value: object,
    low: float,
    high: float,
    *,
    name: str,
    ends: Literal["[]", "()", "(]", "[)"] = "[]",
    high_name: str = "",
    do: str = "",
) -> float:
    """Return `value` if it is a number in an interval."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = check_real(value, name=name)
    above = low < value if ends[0] == "(" else low <= value
    below = value < high if ends[1] == ")" else value <= high
    if not (above and below):
        rule = interval(low, high, ends, high_name)
        raise ValueError(f"`{name}` must {rule}, got {value}.{' ' + do if do else ''}")
    return value


def interval(
    low: float, high: float, ends: Literal["[]", "()", "(]", "[)"], high_name: str = ""
) -> str:
    """Describe the interval that a number must lie in; without an upper end, whether it may be infinite."""
    if high == math.inf:
        least = f"be {'above' if ends[0] == '(' else 'at least'} {low:g}"
        finite = "be finite" if low == -math.inf else f"{least} and finite"
        return finite if ends[1] == ")" else least
    top = f"{high_name}={high:g}" if high_name else f"{high:g}"
    return {
        "[]": f"be between {low:g} and {top}",
        "()": f"lie strictly between {low:g} and {top}",
        "(]": f"be above {low:g} and at most {top}",
        "[)": f"be in [{low:g}, {top})",
    }[ends]


def same_length(values: Sized, n: int, *, name: str, per: str) -> None:
    """Refuse values that are not one per something."""
    if len(values) != n:
        raise ValueError(f"`{name}` must have one entry per {per}, {n}, got {len(values)}.")


def check_data(x: Tensor, *, name: str, what: str = "numbers") -> Tensor:
    """Return a tensor that is dense, and not on the meta device, where there are shapes alone."""
    if x.is_meta:
        raise TypeError(f"`{name}` must hold {what}, got a tensor without data (device meta).")
    if x.layout != torch.strided:
        raise TypeError(f"`{name}` must be dense, got layout {x.layout}. Use {name}.to_dense().")
    return x


def check_classes(labels: object, *, name: str = "labels") -> Tensor:
    """Return classes from 0, one per sample, as a tensor (n,) of whole numbers."""
    classes = check_data(as_tensor(labels, name=name), name=name, what="classes")
    if (
        classes.ndim != 1
        or classes.is_floating_point()
        or classes.is_complex()
        or not len(classes)
        or int(classes.min()) < 0
    ):
        raise ValueError(
            f"`{name}` must be classes from 0, one per sample, got {shown(classes)}. Number them."
        )
    return classes.long()


def check_atom(atom: object, n_atoms: int, *, name: str = "atom") -> int:
    """Return `atom` if it names a row of the dictionary."""
    index = check_integer(atom, name=name)
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
    if isinstance(index, tuple) and _reaches_the_last_axis(index):
        raise IndexError(
            f"An index must fit the axes of the rows, {(*shape,)}, and what follows `...` is of the last axis. "
            f"{beyond}"
        )
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


def _reaches_the_last_axis(index: tuple[object, ...]) -> bool:
    """Whether an index, such as [..., 17], names something after an ellipsis; a new axis is none."""
    after = list(itertools.dropwhile(lambda part: part is not Ellipsis, index))[1:]
    return any(part is not None for part in after)


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

    if isinstance(index, str):
        raise TypeError(
            f"Rows are chosen by a number, a slice, a mask or several numbers, got {index!r}. Labels of rows "
            f"are attributes, see dir(…), and columns of a table: `.to_pandas()[{index!r}]`."
        )
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


def warn_caller(message: str) -> None:
    """Warn about what was asked for, at the line outside the toolkit that asked."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


_INSIDE = ("sae_nb", "torch.")


# -------------------------------------------------------------------------------------------------
# What the machine must have before the work: a device of that name, memory for the result.


def check_device(device: int | str | torch.device | None) -> torch.device:
    """Return the device, or the best one present for None; a number is a GPU's, as in torch."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = f"cuda:{device}" if type(device) is int else device
    try:
        wanted = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"`device` must be a torch device such as 'cpu' or 'cuda', got {name!r}. Use {_devices_here()}, "
            "or leave it out."
        ) from error
    if not _is_here(wanted):
        gpu = wanted.type == "cuda"
        why = " and no NVIDIA GPU is visible" if gpu and not torch.cuda.is_available() else ""
        hidden = f" ({hidden_gpus()})" if gpu and hidden_gpus() else ""
        raise ValueError(
            f"`device` must be a device of this machine, got {str(wanted)!r}{why}{hidden}. "
            f"Use {_devices_here()}, or leave it out."
        )
    return wanted


def hidden_gpus() -> str:
    """Return which GPUs the environment hides from a torch that could use them; "" if it says nothing of it."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or not torch.version.cuda:
        return ""
    some = named.strip() and not named.strip().startswith("-")
    which = "all GPUs but those it names" if some else "every GPU"
    return f"CUDA_VISIBLE_DEVICES={named!r} hides {which}: unset it and start Python anew"


def _is_here(device: torch.device) -> bool:
    """Return whether torch can use a device. "meta", which keeps shapes alone, is everywhere."""
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type in ("cpu", "meta"):
        return True
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, NotImplementedError, AssertionError, ImportError):
        return False
    return True


def _devices_here() -> str:
    """Return the devices of this machine, as a choice in words."""
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    here = ["'cpu'", *(f"'cuda:{i}'" for i in gpus)]
    if _is_here(torch.device("mps")):
        here.append("'mps'")
    *most, last = here
    return f"{', '.join(most)} or {last}" if most else last


def check_devices(*given: object) -> None:
    """Refuse devices that are not there among the arguments of torch's `to`."""
    for where in given:
        if isinstance(where, str | torch.device) or type(where) is int:
            check_device(where)


def available_memory(device: torch.device | None = None) -> int | None:
    """Return the bytes of memory a process can still take, or None where the system does not say.

    Memory of a GPU that torch keeps unused counts as free, because torch hands it out first.
    """
    if device is not None and device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(kept)
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
