"""Checks of user input, made once at the public call: rule, given, do.

`checked` above a public function checks every argument against its annotation, by the functions below; what
no annotation can say (a range, what fits together) stands in the first lines of the function.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import operator
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized


Choice = TypeVar("Choice")


def is_array(x: object) -> bool:
    """Whether these are numbers and nothing besides: a tensor, an array or a table."""
    return isinstance(x, Tensor) or (hasattr(x, "__array__") and not _is_ours(x))


def _is_ours(x: object) -> bool:
    """Whether this is of a class of the toolkit, which knows more than its numbers."""
    return type(x).__module__.startswith("sae_nb")


def as_tensor(x: object, *, name: str = "x") -> Tensor:
    """Return the numbers of a tensor, array, table, nested list or of activations as one tensor."""
    numbers = x if isinstance(x, Tensor) else getattr(x, "x", x)
    if isinstance(numbers, Tensor):
        return numbers
    try:
        array = np.asarray(None if _is_ours(numbers) else numbers)
        if array.dtype.kind in "biuf":
            # Writable and in this machine's byte order, as torch needs it.
            native = array.dtype.newbyteorder("=")
            return torch.from_numpy(np.require(array, native, ["C_CONTIGUOUS", "WRITEABLE"]))
    except (TypeError, ValueError):  # ragged lists; a precision that torch does not know
        pass
    raise TypeError(
        f"`{name}` must hold numbers, in a tensor, an array, a table or Activations, got "
        f"{type(x).__name__}. Leave out columns of text; join a list of tensors with torch.stack."
    )


def check_matrix(
    x: object,
    *,
    name: str = "x",
    d_in: int | None = None,
    flatten: bool = False,
    where: str = "",
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
            f"Was it captured at a different hook point?{' ' + where if where else ''}"
        )
    if x.numel() == 0:
        raise ValueError(
            f"`{name}` must not be empty, got shape {tuple(x.shape)}. Pass at least one row."
        )
    if x.layout != torch.strided:
        raise ValueError(f"`{name}` must be dense, got layout {x.layout}. Use {name}.to_dense().")
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


def check_count(value: object, *, name: str, at_least: int = 1, at_most: int | None = None) -> int:
    """Return `value` if it is an integer from `at_least` to `at_most`."""
    value = check_integer(value, name=name)
    if value < at_least:
        raise ValueError(f"`{name}` must be at least {at_least}, got {value}.")
    if at_most is not None and value > at_most:
        raise ValueError(f"`{name}` must be at most {at_most}, got {value}.")
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
    """Return `value` if it is text."""
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be text, got {shown(value)}.")
    return value


def check_hook_name(value: object) -> str:
    """Return `value` if it can be the name of a hook point."""
    if not isinstance(value, str):
        layer = value if isinstance(value, int) and not isinstance(value, bool) else 0
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


def answered(function: Callable[..., Any], *given: Any, name: str) -> Any:
    """Call a function of the user's own; what it raises is said to be its."""
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
    raise ValueError(f"`{name}` must be one of {list(choices)}, got {value!r:.80}.")


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
    """Return `value` if it is a number in an interval."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = check_real(value, name=name)
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


def check_data(x: Tensor, *, name: str, what: str = "numbers") -> Tensor:
    """Return a tensor that is not on the meta device, where there are shapes alone."""
    if x.is_meta:
        raise TypeError(f"`{name}` must hold {what}, got a tensor without data (device meta).")
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


Checked = TypeVar("Checked", bound=Callable[..., Any])


@overload
def checked(call: Checked) -> Checked: ...
@overload
def checked(*, leave: Collection[str]) -> Callable[[Checked], Checked]: ...
def checked(call: Any = None, *, leave: Collection[str] = ()) -> Any:
    """Check each argument of a public function, or of a class's making, by its annotation, before any work.

    Numbers of numpy become Python's. What the function checks itself, because its rule is another, is
    named by `leave`; so is left what an annotation does not say in words known here.

    >>> @checked
    ... def repeat(text: str, n: int = 2) -> str:
    ...     return text * n
    >>> repeat("ab", n=2.5)
    Traceback (most recent call last):
    ...
    TypeError: `n` must be an integer, got 2.5.
    """
    if call is None:
        return lambda made: _with_checks(made, frozenset(leave))
    return _with_checks(call, frozenset(leave))


def _with_checks(call: Any, leave: frozenset[str]) -> Any:
    if isinstance(call, type):
        own = "__init__" if "__init__" in vars(call) else "__new__"
        setattr(call, own, _with_checks(vars(call)[own], leave))
        return call

    @functools.wraps(call)
    def with_checks(*args: Any, **kwargs: Any) -> Any:
        arguments = _arguments(call, leave)
        try:
            placed, named = arguments.taken(args, kwargs)
        except (TypeError, ValueError):
            if arguments.fit(args, kwargs):
                raise
            placed, named = args, kwargs  # of a call that does not fit, that is said first
        return call(*placed, **named)

    return with_checks


class _OtherKindError(TypeError):
    """The value is of another kind; what it should be is told by whoever tries the kinds."""


Sizes = dict[str, tuple[int, str]]
Take = Callable[[Any, str, Sizes], Any]
"""Value, its argument's name, axes met so far → the value to go on with, or an error."""


class _Kind:
    """One alternative of an annotation: its words, and what takes a value of it."""

    def __init__(self, words: str, take: Take) -> None:
        self.words, self.take = words, take


class _Argument:
    """Name, default and kinds of an argument."""

    def __init__(self, parameter: inspect.Parameter, kinds: list[_Kind] | None) -> None:
        self.name, self.default, self.kinds = parameter.name, parameter.default, kinds

    def taken(self, value: Any, sizes: Sizes) -> Any:
        if self.kinds is None or value is self.default:
            return value
        return _taken(value, self.kinds, self.name, sizes)


class _Arguments:
    """What a function takes, by place and by name."""

    def __init__(self, call: Callable[..., Any], leave: Collection[str]) -> None:
        self.signature = inspect.signature(call)
        self.in_order: list[_Argument] = []
        self.by_name: dict[str, _Argument] = {}
        for p in self.signature.parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            annotation = _ANY.get(p.name, "Any") if p.annotation == "Any" else p.annotation
            argument = _Argument(p, None if p.name in leave else _kinds(annotation))
            self.by_name[p.name] = argument
            if p.kind is not p.KEYWORD_ONLY:
                self.in_order.append(argument)

    def taken(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sizes: Sizes = {}
        n, by_name = len(self.in_order), self.by_name
        placed = [a.taken(value, sizes) for a, value in zip(self.in_order, args, strict=False)]
        named = {
            name: by_name[name].taken(value, sizes) if name in by_name else value
            for name, value in kwargs.items()
        }
        return (*placed, *args[n:]), named

    def fit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True


@functools.cache
def _arguments(call: Callable[..., Any], leave: frozenset[str]) -> _Arguments:
    """What a function takes, read at its first call: importing it stays cheap."""
    return _Arguments(call, leave)


def _taken(value: Any, kinds: list[_Kind], name: str, sizes: Sizes) -> Any:
    wrong: Exception | None = None
    for kind in kinds:
        try:
            return kind.take(value, name, sizes)
        except _OtherKindError:
            continue
        except (TypeError, ValueError) as error:
            wrong = wrong or error
    if wrong is not None:
        raise wrong
    if "hook_point" in name and not isinstance(value, Iterable):
        check_hook_name(value)
    parts = [kind.words.partition(". ") for kind in kinds]
    alternatives = dict.fromkeys(what for what, _, _ in parts)
    if len(alternatives) > 1:
        alternatives.pop("None", None)
    rule = " or ".join(alternatives)
    do = next((f" {do}" for _, _, do in parts if do), "")
    raise TypeError(f"`{name}` must be {rule}, got {shown(value)}.{do}")


def _kinds(annotation: Any) -> list[_Kind] | None:
    """Return the alternatives of an annotation as written, or None if one of them is not known here."""
    if not isinstance(annotation, str):
        return None
    # Last what is read as a tensor: activations and lists are, where nothing else takes them.
    nodes = sorted(_alternatives(ast.parse(annotation, mode="eval").body), key=_is_array)
    found = [_kind(node) for node in nodes]
    if _PLAIN["Path"] in found:  # then text is a path too
        found = [kind for kind in found if kind is not _PLAIN["str"]]
    return None if None in found else [kind for kind in found if kind is not None]


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    else:
        yield node


def _is_array(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and _SUBSCRIPTED.get(ast.unparse(node.value)) is _array


def _kind(node: ast.expr) -> _Kind | None:
    if isinstance(node, ast.Subscript):
        head = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _SUBSCRIPTED[head](head, inner) if head in _SUBSCRIPTED else None
    written = ast.unparse(node).rpartition(".")[2]
    return _instance(written) if written in _CLASSES else _PLAIN.get(written)


def _of(matches: Callable[[Any], bool], words: str, check: Callable[..., Any]) -> _Kind:
    """A kind that a checker above takes where the type fits."""

    def take(value: Any, name: str, _: Sizes) -> Any:
        if not matches(value):
            raise _OtherKindError
        return check(value, name=name)

    return _Kind(words, take)


def _is(check: Callable[..., Any]) -> Callable[[Any], bool]:
    """Whether a checker finds nothing wrong with the type."""

    def matches(value: Any) -> bool:
        try:
            check(value, name="")
        except TypeError:
            return False
        except ValueError:
            return True
        return True

    return matches


def _whole(value: Any, *, name: str) -> int:
    if "seed" in name:
        return check_seed(value, name=name)
    most = None if "memory" in name or "bytes" in name else LARGEST
    return check_count(value, name=name, at_least=-LARGEST, at_most=most)


def _unchanged(value: Any, **_: str) -> Any:
    return value


def _path(value: Any, *, name: str) -> Any:
    check_path(value, name=name)
    return value


def _instance(written: str) -> _Kind:
    """A class of ours, by its name: this module stands below all of them."""

    def matches(value: Any) -> bool:
        if any(written == cls.__name__ for cls in type(value).__mro__):
            return True
        if isinstance(value, type):
            return False
        return any(hasattr(value, name) for name in _LIKE.get(written, ()))

    return _of(matches, _CLASSES[written], _unchanged)


def _choice(choices: tuple[Any, ...]) -> _Kind:
    def take(value: Any, name: str, _: Sizes) -> Any:
        return one_of(value, choices, name=name)

    return _Kind(" or ".join(map(repr, choices)), take)


def _several(head: str, inner: list[ast.expr]) -> _Kind:
    """A sequence: `Sequence[int]`, `tuple[float, float]`, `Iterable[str]`."""
    fixed = head == "tuple" and not any(ast.unparse(node) == "..." for node in inner)
    kinds = [_kinds(ast.unparse(node)) for node in inner]
    words = f"a list of {len(kinds)} values" if fixed else "a list"

    def take(value: Any, name: str, _: Sizes) -> Any:
        ordered = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | set)
        one_shot = isinstance(value, Iterator) and head != "Iterable"
        if not ordered or one_shot or getattr(value, "ndim", 1) == 0:
            raise _OtherKindError
        entries = list(value)
        if fixed and len(entries) != len(kinds):
            raise ValueError(f"`{name}` must hold {len(kinds)} values, got {len(entries)}.")
        each = kinds if fixed else [kinds[0]] * len(entries)
        made = [
            entry if kind is None else _taken(entry, kind, f"{name}[{i}]", {})
            for i, (entry, kind) in enumerate(zip(entries, each, strict=True))
        ]
        if isinstance(value, Iterator):
            return made
        same = all(a is b for a, b in zip(made, entries, strict=True))
        return value if same else tuple(made)

    return _Kind(words, take)


def _mapped(_: str, inner: list[ast.expr]) -> _Kind:
    keys, values = (_kinds(ast.unparse(node)) for node in inner)

    def take(value: Any, name: str, _: Sizes) -> Any:
        if not isinstance(value, Mapping):
            raise _OtherKindError
        for key, entry in value.items():
            if keys is not None:
                _taken(key, keys, f"a key of {name}", {})
            if values is not None:
                _taken(entry, values, f"{name}[{shown(key)}]", {})
        return value

    return _Kind("a dict", take)


def _array(head: str, inner: list[ast.expr]) -> _Kind:
    """A tensor or array with the axes that jaxtyping's annotation names: `Float[Tensor, "n d_in"]`."""
    where, axes = ast.unparse(inner[0]), ast.literal_eval(inner[1]).split()
    wants_tensor = where.endswith("Tensor")
    words = "a torch tensor. Use torch.as_tensor(…)." if wants_tensor else "a numpy array"

    def take(value: Any, name: str, sizes: Sizes) -> Any:
        if wants_tensor and not isinstance(value, Tensor):
            try:
                value = as_tensor(value, name=name)
            except TypeError:
                raise _OtherKindError from None
        if not isinstance(value, Tensor if wants_tensor else np.ndarray):
            raise _OtherKindError
        _check_entries(value, head, name)
        _check_axes(value, axes, name, sizes)
        return value

    return _Kind(words, take)


def _check_entries(value: Any, head: str, name: str) -> None:
    """Refuse a tensor without values, or with values of another sort than `Float`, `Int`, `Bool`."""
    dtype = str(value.dtype).removeprefix("torch.")
    sort = (
        "Float"
        if "float" in dtype
        else "Bool"
        if dtype == "bool"
        else "Int"
        if "int" in dtype
        else ""
    )
    if isinstance(value, Tensor) and (value.layout != torch.strided or value.device.type == "meta"):
        what = "on the meta device" if value.device.type == "meta" else f"of layout {value.layout}"
        raise ValueError(f"`{name}` must be a dense tensor with values, got one {what}.")
    wanted = {"UInt8": "Int", "Float": "Float", "Int": "Int", "Bool": "Bool"}[head]
    if sort != wanted and not (wanted == "Int" and sort == "Bool"):
        rule = {"Float": "floating-point numbers", "Int": "integers", "Bool": "True and False"}[
            wanted
        ]
        do = f" Use {name}.float()." if wanted == "Float" and sort else ""
        raise TypeError(f"`{name}` must hold {rule}, got {value.dtype}.{do}")
    if isinstance(value, Tensor) and wanted == "Float" and value.ndim and value.numel():
        check_finite(value, name=name)


def _check_axes(value: Any, axes: list[str], name: str, sizes: Sizes) -> None:
    """Refuse a tensor with other axes than named, empty, or unlike another argument's of the same name."""
    free = any(axis.startswith(("*", "...")) for axis in axes)
    if value.ndim < len(axes) - free or (value.ndim > len(axes) and not free):
        raise ValueError(f"`{name}` must have shape ({', '.join(axes)}), got {tuple(value.shape)}.")
    if axes and 0 in value.shape:
        raise ValueError(
            f"`{name}` must not be empty, got shape {tuple(value.shape)}. Pass at least one row."
        )
    if free:
        axes, lengths = axes[1:], value.shape[value.ndim - len(axes) + 1 :]
    else:
        lengths = value.shape
    for axis, length in zip(axes, lengths, strict=True):
        if axis.isdigit() and length != int(axis):
            raise ValueError(
                f"`{name}` must have shape ({', '.join(axes)}), got {tuple(value.shape)}."
            )
        if axis.isdigit():
            continue
        there, other = sizes.setdefault(axis, (length, name))
        if length != there:
            raise ValueError(
                f"`{name}` must have {axis}={there} like `{other}`, got shape {tuple(value.shape)}."
            )


_PLAIN: dict[str, _Kind] = {
    "int": _of(_is(check_integer), "an integer", _whole),
    "float": _of(_is(check_real), "a number", check_real),
    "bool": _of(_is(check_flag), "True or False", check_flag),
    "str": _of(_is(check_text), "text", check_text),
    "Path": _of(_is(check_path), "a path", _path),
    "None": _of(lambda value: value is None, "None", _unchanged),
    "slice": _of(lambda value: isinstance(value, slice), "a slice", _unchanged),
    "Generator": _of(
        lambda value: isinstance(value, torch.Generator),
        "a torch generator. Use torch.Generator().manual_seed(0).",
        _unchanged,
    ),
    "dtype": _of(
        lambda value: isinstance(value, torch.dtype),
        "a torch dtype. Use one such as torch.float32.",
        _unchanged,
    ),
    "device": _of(lambda value: isinstance(value, torch.device), "a device", _unchanged),
    **dict.fromkeys(("Judge", "Make"), _of(callable, "a function", check_callable)),
    "Tensor": _of(is_array, "a torch tensor. Use torch.as_tensor(…).", as_tensor),
}
"""Names in annotations that are a kind of their own."""

_SUBSCRIPTED: dict[str, Callable[[str, list[ast.expr]], _Kind]] = {
    **dict.fromkeys(("Sequence", "Iterable", "list", "tuple"), _several),
    **dict.fromkeys(("Mapping", "dict"), _mapped),
    **dict.fromkeys(("Float", "Int", "Bool", "UInt8"), _array),
    "Callable": lambda *_: _of(callable, "a function", check_callable),
    "PathLike": lambda *_: _PLAIN["Path"],
    "Literal": lambda _, inner: _choice(tuple(ast.literal_eval(node) for node in inner)),
}

_CLASSES = {
    "LiveModel": "a live model. Use sae_nb.load_model(name) or sae_nb.wrap(module).",
    "SparseAutoencoder": "a sparse autoencoder. Use sn.load_sae, or make one such as sn.TopK(…).",
    "Temporal": "a Temporal SAE. Make one with sn.Temporal(…).",
    "SparseCodes": "SparseCodes. Use what sae.encode(x) returns.",
    "Activations": "Activations. Use what sn.capture returns, or Activations.from_tensor(x).",
    "TrainConfig": "a TrainConfig. Use sn.TrainConfig(…).",
    "RaptorConfig": "a RaptorConfig. Use sn.dynamics.RaptorConfig(…).",
    "BlockConfig": "a BlockConfig. Use sn.minkowski.BlockConfig(…).",
    "BlockSizes": "BlockSizes. Use sn.dynamics.sizes_of(model).",
    "LayoutSettings": "LayoutSettings. Use sn.geometry.LayoutSettings(…).",
    "Raptor": "a Raptor. Use what sn.dynamics.train_raptor returns as `.raptor`.",
    "Bottleneck": "a Bottleneck. Use what sn.models.train_bottlenecks returns.",
    "BlockArchetypes": "BlockArchetypes. Use what sn.minkowski.fit_block_archetypes returns.",
    "TileCodes": "TileCodes. Use what the archetypes' encode returns.",
    "AtomCatalogue": "an AtomCatalogue. Use sn.atoms.AtomCatalogue(sae, acts).",
    "ExampleStore": "examples. Use sn.load_examples(…).",
    "SupervisedDictionary": (
        "a SupervisedDictionary. Make one with sn.supervised_dictionary(acts, attributes)."
    ),
    "ITDA": "an ITDA. Make one with sn.ITDA(d_in, k).fit(acts).",
    "UniversalSAE": "a UniversalSAE. Make one with sn.UniversalSAE([d_1, d_2], …).",
    "PlantedManifolds": "planted manifolds. Use sn.data.planted_manifolds(…).",
    "HiddenRules": "stories with a hidden rule. Use sn.data.hidden_rules(…).",
    "SteeringRecipe": "a SteeringRecipe. Use sn.summaries.SteeringRecipe(…).",
    "Operator": "an operator. Use one such as sn.architectures.FixedOperator(dictionary).",
    "Encoding": "an Encoding. Use sn.interop.Encoding(…).",
    "Origin": "an Origin. Use sn.interop.Origin(…).",
    "Paper": "a Paper. Use sn.data.Paper(…).",
    "Batch": "a batch. Use next(model.batches(inputs)).",
    "Penalty": "a penalty. Use one such as sn.architectures.SoftProx(0.1).",
    "Factor": "a factor. Use what sn.summaries.row_factors returns.",
    "RowFacts": "RowFacts. Leave it out: they are made from the activations.",
    "Reading": "a reading of the model. Leave it out: then it is made.",
    "Report": "a report. Use what sn.evaluate returns.",
    "BestEffect": "a best effect. Use what sn.best_effect returns.",
    "LearnedAdjoint": "a learned adjoint. Use sn.architectures.LearnedAdjoint(operator).",
    "Prox": "a penalty. Use one such as sn.architectures.SoftProx(0.1).",
    "TopK": "a TopK SAE. Use sn.TopK(…).",
    "Documents": "documents. Use what sn.uses.documents returns.",
    "PixelAttribution": "maps. Use what sn.vision.attribution returns.",
    "AttributionGraph": "a graph. Use what sn.circuits.attribution_graph returns.",
    "Algorithm": "an algorithm. Use sn.circuits.Algorithm(inputs=…, variables=…, read=…, answer=…).",
    "Task": "a task. Use sn.circuits.Task(inputs=…, answers=…).",
    "MatrixOperator": "an operator. Use one such as sn.architectures.DenseOperator(…).",
}
"""Classes of ours that public calls take: what a message calls them, and where one gets them."""

_ANY = {
    "sae": 'SparseAutoencoder | Float[Tensor, "n_atoms d_in"] | None',
    "small": "SparseAutoencoder",
    "large": "SparseAutoencoder",
}
"""What `Any` means for an argument of that name: an SAE, one of one's own, or its atoms alone."""

_LIKE = {
    "Operator": ("adjoint",),
    "LiveModel": ("hook_points",),
    "SparseAutoencoder": ("dictionary",),
    "Activations": ("batches",),
    "Prox": ("of_affine",),
    "TopK": ("dictionary",),
}
"""What also passes for them: an object of one's own with one of these."""
