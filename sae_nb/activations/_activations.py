"""Activations: vectors read from a live model, and the sample, position and token of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NoReturn,
    Protocol,
    Self,
    runtime_checkable,
)

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb._above import above
from sae_nb._hints import KnowsOtherWords
from sae_nb.activations._context import ROLES, Context, Ragged, Tokens, content_of_samples
from sae_nb.activations._named_positions import policy_text
from sae_nb.activations._rows import Rows, generator_for, shuffled_batches
from sae_nb.activations.tokens import CONTINUED, whole_at
from sae_nb.checks import (
    Between,
    Count,
    Seed,
    at_least,
    check_data,
    check_device,
    check_matrix,
    check_number_type,
    checked,
    is_array,
    row_numbers,
    shown,
    warn_caller,
)
from sae_nb.files._atomic import write_csv

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from pandas import DataFrame

Index = int | slice | Sequence[int] | np.ndarray | Bool[Tensor, " n"] | Int[Tensor, " m"] | Tensor
"""A choice of rows: a number, a slice, a mask, or row numbers."""

CPU = torch.device("cpu")
_JOINS = (torch.cat, torch.concat, torch.concatenate)


class NamedTensor(Tensor):
    """A tensor with something more to say; results of arithmetic, copies in files and its repr are plain."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self, **options: object) -> str:  # type: ignore[override]
        return str(self.as_subclass(Tensor).__repr__(**options))  # type: ignore[no-untyped-call]

    def __deepcopy__(self, _: object) -> Self:
        return self.clone().as_subclass(type(self))

    def __reduce_ex__(self, protocol: object) -> str | tuple[Any, ...]:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


class SampleNumbers(NamedTensor):
    """The sample of every row: a tensor, which answers a pandas user who calls it."""

    def __call__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "`acts.sample` is the sample of each row, a tensor. Rows at random are `acts.sample_rows(5)`; the "
            "rows of one sample are `acts[acts.sample == 2]`."
        )


@runtime_checkable
class ActivationSource(Protocol):
    """The source that `train` reads: activations in memory, on disk, or straight from a live model."""

    @property
    def d_in(self) -> int:
        """Width of a row."""
        ...

    @property
    def hook_point(self) -> str | None:
        """Hook point of the model that the rows come from."""
        ...

    @property
    def model_name(self) -> str | None:
        """Name of the model that the rows come from."""
        ...

    def batches(
        self, batch_size: int, *, seed: int, start: int = 0
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield batches for ever, the same for the same seed, from batch number `start` on."""
        ...


@checked(leave=("sample", "position", "step"))
class Activations(KnowsOtherWords):
    """Vectors read at one hook point, one row per kept token, patch or cell.

    Made by `capture`, `load_activations` or `Activations.from_tensor`. Rows stay on disk where
    they were captured with `store=`; `.x` reads all of them, `.batches` streams.

    `acts[…]` chooses rows as numpy does (a number, a slice, a mask, row numbers) and gives
    activations again, with their samples and tokens; `acts[3]` is one row, and its vector
    `acts.x[3]`. They are iterated row by row. np.asarray, torch.as_tensor and torch.from_dlpack read
    `.x`, so scikit-learn takes activations as they are; torch's DataLoader gets batches of vectors.

    Parameters
    ----------
    sample
        Index of the sample (text, picture) of each row, into `context`.
    position
        Index of each row in its sample's token sequence; row-major cell of a convolution's map.
    context
        The samples themselves, and what was dropped or cut.
    gradient
        Of a loss of the model by each row, where it was captured; see `capture(gradient_of=…)`.
    step
        Application of the module that each row is of, counted from 0 within a pass, where it runs several
        times; None otherwise. Rows of one step come in the order of samples and positions.

    Example
    -------
    >>> acts = Activations.from_tensor(torch.eye(3))
    >>> acts.shape, [len(part) for part in acts.split(0.67, seed=0)]
    ((3, 3), [2, 1])
    >>> acts[1:].sample.tolist(), acts[acts.x[:, 0] > 0].sample.tolist(), len(acts[-1])
    ([1, 2], [0], 1)
    """

    def __init__(
        self,
        rows: Rows | Float[Tensor, "n d_in"],
        *,
        sample: Int[Tensor, " n"],
        position: Int[Tensor, " n"],
        hook_point: str | None = None,
        model_name: str | None = None,
        context: Context | None = None,
        gradient: Rows | Float[Tensor, "n d_in"] | None = None,
        step: Int[Tensor, " n"] | None = None,
    ) -> None:
        self._rows = (
            rows if isinstance(rows, Rows) else Rows.in_memory(check_matrix(rows, finite=False))
        )
        numbers = [("sample", sample), ("position", position)]
        for name, index in [*numbers, *([] if step is None else [("step", step)])]:
            if not isinstance(index, Tensor) or index.is_floating_point() or index.is_complex():
                raise TypeError(f"`{name}` must be a tensor of integers, got {shown(index)}.")
            check_data(index, name=name, what="integers")
            if index.shape != (len(self._rows),):
                raise ValueError(
                    f"`{name}` must have one entry per row, shape ({len(self._rows)},), got "
                    f"{tuple(index.shape)}."
                )
        if gradient is not None and not isinstance(gradient, Rows):
            gradient = Rows.in_memory(check_matrix(gradient, name="gradient", finite=False))
        if gradient is not None and (len(gradient), gradient.d_in) != self.shape:
            raise ValueError(
                f"`gradient` must have one row per row of activations, shape {self.shape}, got "
                f"({len(gradient)}, {gradient.d_in}). Capture both in one call, with gradient_of=."
            )
        self._gradient_rows = gradient
        self._gradient: Tensor | None = None
        self._x: Tensor | None = None
        self._tokens: Tokens | None = None
        self.sample = sample.as_subclass(SampleNumbers)
        self.position = position
        self.step = step
        self.hook_point = hook_point
        self.model_name = model_name
        self.context = context or Context(n_samples=int(sample.max()) + 1 if len(sample) else 0)

    @classmethod
    @checked(leave=("sample", "position", "step"))
    def from_tensor(
        cls,
        x: Float[Tensor, "n d_in"],
        *,
        sample: Int[Tensor, " n"] | None = None,
        position: Int[Tensor, " n"] | None = None,
        hook_point: str | None = None,
        model_name: str | None = None,
        context: Context | None = None,
        gradient: Float[Tensor, "n d_in"] | None = None,
        step: Int[Tensor, " n"] | None = None,
    ) -> Activations:
        """Wrap a matrix; without `sample` every row is a sample of its own."""
        x = check_matrix(x).detach()
        if gradient is not None:
            gradient = check_matrix(gradient, name="gradient").detach()
        index = torch.arange(len(x))
        return cls(
            x,
            sample=index if sample is None else sample,
            position=torch.zeros_like(index) if position is None else position,
            hook_point=hook_point,
            model_name=model_name,
            context=context,
            gradient=gradient,
            step=step,
        )

    @property
    def x(self) -> Float[Tensor, "n d_in"]:
        """All rows in one tensor; read once and kept when they are on disk.

        Raises
        ------
        MemoryError: If they would not fit in memory.
        """
        if self._x is None:
            self._x = self._rows.all()
        return self._x

    @property
    def gradient(self) -> Float[Tensor, "n d_in"] | None:
        """Of the loss that was asked for by each row of `.x`; None where none was captured.

        Read once and kept when it is on disk.
        """
        if self._gradient is None and self._gradient_rows is not None:
            self._gradient = self._gradient_rows.all()
        return self._gradient

    @property
    def has_gradient(self) -> bool:
        """Whether rows bring a gradient; reads none."""
        return self._gradient_rows is not None

    @property
    def d_in(self) -> int:
        """Width of a row."""
        return self._rows.d_in

    @property
    def sites(self) -> tuple[int, ...]:
        """Widths of the hook points that lie side by side in a row; one, unless several were joined."""
        return self._rows.sites

    @property
    def target(self) -> Activations:
        """Rows that a dictionary on these rows should write: the rows themselves, unless paired."""
        return self

    @property
    def sides(self) -> tuple[Activations, Activations]:
        """The rows that are read, and those to be written."""
        return self, self

    @property
    def joined(self) -> Activations:
        """The rows that a training reads: these, joined to their target if that is another."""
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and their width."""
        return len(self), self.d_in

    @property
    def ndim(self) -> int:
        """Number of axes, 2: rows and their width."""
        return 2

    @property
    def dtype(self) -> torch.dtype:
        """Precision of a row."""
        return self._rows.dtype

    @property
    def device(self) -> torch.device:
        """Device that rows are put on when they are read."""
        return self._rows.device

    @property
    def on_disk(self) -> bool:
        """Whether rows are read from a folder when asked for."""
        return self._rows.on_disk

    @property
    def tokens(self) -> Tokens | None:
        """Token, patch or cell of every row; None for plain vectors."""
        context = self.context
        if self._tokens is None and context.modality.is_text and context.token_ids is not None:
            ids, offsets = context.token_ids
            at = offsets[self.sample] + self.position
            numbers = context.patch_numbers()
            patch = None if numbers is None else numbers[at]
            self._tokens = Tokens(ids[at], self.position, context, patch, at)
        elif self._tokens is None and context.has_places:
            self._tokens = Tokens(self.position, self.position, context)
        return self._tokens

    @property
    def seconds(self) -> Float[Tensor, " n"] | None:
        """Time of every row in its sample, seconds: position × seconds per step; None without a known rate.

        NaN at class tokens, which are of no time.
        """
        return self.context.seconds_at(self.position)

    @property
    def modality(self) -> np.ndarray:
        """Kind of each row: of texts with images "text" and "image"; else that of all, such as "audio"."""
        context = self.context
        if not context.placeholders or context.token_ids is None:
            word = {"language": "text", "vision": "image"}.get(context.kind, context.kind)
            return np.full(len(self), word)
        ids, offsets = context.token_ids
        ids = ids[offsets[self.sample] + self.position]
        kinds = np.full(len(self), "text", dtype=object)
        for token, kind in context.placeholders.items():
            kinds[(ids == token).numpy()] = kind
        return kinds.astype(str)

    @property
    def roles(self) -> np.ndarray | None:
        """Author of the token of each row of a conversation: "user", "assistant" …; None without one.

        "template" where the chat template asks for an answer, "" in texts that are not conversations.
        """
        role = self._of_tokens(self.context.roles)
        if role is None:
            return None
        return np.array([*ROLES, ""])[role.cpu().numpy()]

    @property
    def turns(self) -> Int[Tensor, " n"] | None:
        """Number of the message of every row, of conversations; −1 in texts that are none."""
        return self._of_tokens(self.context.turns)

    def _of_tokens(self, known: Ragged | None) -> Int[Tensor, " n"] | None:
        return None if known is None else known.ids[known.offsets[self.sample] + self.position]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        facts = [f"{len(self)} × {self.d_in} {str(self.dtype).removeprefix('torch.')}"]
        if self.hook_point is not None:
            facts[0] += f" at {self.hook_point}"
        if self.model_name is not None:
            facts[0] += f" of {self.model_name}"
        if self.step is not None:
            steps = torch.unique(self.step).tolist()
            one = len(steps) == 1
            facts.append(f"application {steps[0]}" if one else f"{len(steps)} applications")
        n, word = self.context.n_samples, self.context.sample_word
        facts.append(f"{n} {word}{'s' if n != 1 else ''}")
        size = _size(self._rows.n_bytes)
        facts.append(f"{size} on disk" if self.on_disk else f"{size} in memory")
        facts += ["with gradients"] * self.has_gradient
        policy = policy_text(self.context.policy)
        return f"Activations({' · '.join(facts + [policy] * bool(policy))})"

    def rows(self, indices: Index) -> Float[Tensor, "m d_in"]:
        """Return the vectors of some rows, reading only those from disk."""
        return self._rows.take(self._numbers(indices))

    def __getitem__(self, index: Index) -> Activations:
        numbers = self._numbers(index)
        gradient = None if self._gradient_rows is None else self._gradient_rows.select(numbers)
        step = None if self.step is None else self.step[numbers]
        return self._like(
            self._rows.select(numbers),
            sample=self.sample[numbers],
            position=self.position[numbers],
            step=step,
            gradient=gradient,
        )

    def __setitem__(self, index: object, value: object) -> NoReturn:
        raise TypeError(
            "Activations are not changed in place. Change a copy of their rows, x = acts.x.clone(), and make "
            "others with sn.Activations.from_tensor(x)."
        )

    def __iter__(self) -> Iterator[Activations]:
        return (self[row] for row in range(len(self)))

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        # What torch's DataLoader asks a data set for, once per batch.
        return list(self.rows(indices))

    # As a table and as an array

    @checked
    def to_pandas(self, values: bool = False) -> DataFrame:
        """Return the origin of each row as a table: sample, position and, where known, step and token.

        Parameters
        ----------
        values
            Add the numbers of `.x` too, one column per coordinate, named 0 … d_in − 1.

        Example
        -------
        >>> Activations.from_tensor(torch.eye(2)).to_pandas(values=True)
           sample  position    0    1
        0       0         0  1.0  0.0
        1       1         0  0.0  1.0
        """
        import pandas as pd

        columns = {"sample": self.sample.numpy(), "position": self.position.numpy()}
        columns |= {} if self.step is None else {"step": self.step.numpy()}
        table = pd.DataFrame(columns)
        if self.tokens is not None:
            table["token"] = self.tokens[:]
        return table.join(pd.DataFrame(np.asarray(self))) if values else table

    @checked
    def to_numpy(self, dtype: DTypeLike | None = None) -> np.ndarray:
        """Return the rows as an array, (n, d_in); `dtype`: numpy's type of its numbers, None: theirs."""
        return np.asarray(self, check_number_type(dtype))

    @checked
    def to_csv(self, path: str | Path | None = None, values: bool = True) -> str | None:
        """Write a table of the rows: sample, position, token where known, and with `values` their numbers.

        Without a path its text is returned, as pandas does.

        Example
        -------
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "rows.csv"
        >>> Activations.from_tensor(torch.eye(2)).to_csv(place)
        >>> place.read_text().splitlines()[0]
        'sample,position,0,1'
        """
        return write_csv(self.to_pandas(values), path)

    @checked
    def sample_rows(self, n: Count, seed: Seed = 0) -> Activations:
        """Return n different rows drawn at random, in their own order.

        Example
        -------
        >>> len(Activations.from_tensor(torch.eye(9)).sample_rows(4))
        4
        """
        if n > len(self):
            raise ValueError(f"`n` must be at most the {len(self)} rows there are, got {n}.")
        drawn = torch.randperm(len(self), generator=generator_for(seed))[:n]
        return self[drawn.sort().values]

    @classmethod
    def __torch_function__(
        cls,
        function: object,
        _: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Activations:
        """Answer a function of torch: rows are joined by `torch.cat`, computed with as `acts.x`."""
        parts, *rest = args or ((),)
        rows = not rest and (kwargs or {}).get("dim", 0) == 0
        if function in _JOINS and rows and all(isinstance(part, cls) for part in parts):
            joined: Activations = above("sae_nb.activations._sites", "concatenate")(list(parts))
            return joined
        name = getattr(function, "__name__", "a function")
        raise TypeError(
            f"torch's `{name}` needs tensors, got activations. Their numbers are the tensor `acts.x`; rows of "
            "several captures are joined by `torch.cat([acts, others])`."
        )

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        x = self.x.detach().cpu()
        x = x.float() if x.dtype == torch.bfloat16 else x  # which numpy does not have
        return np.array(x.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> object:
        return self.x.detach().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return torch.empty(0, device=self.device).__dlpack_device__()

    def _no_arithmetic(self, *_: object) -> NoReturn:
        raise TypeError(
            "Activations are rows with their samples and tokens; their numbers are the tensor "
            "`acts.x`. Compute with it: acts.x @ w, acts.x - acts.x.mean(0)."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_arithmetic
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __pow__ = __neg__ = _no_arithmetic
    __lt__ = __le__ = __gt__ = __ge__ = _no_arithmetic

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | float) or is_array(other):  # else `!= 0` would be one True
            self._no_arithmetic()
        return NotImplemented

    __hash__ = object.__hash__

    @checked
    def where(self, row: int) -> str:
        """Return in words where a row comes from.

        Example
        -------
        >>> Activations.from_tensor(torch.eye(3)).where(2)
        'sample 2'
        """
        row = range(len(self))[row]
        sample, position = int(self.sample[row]), int(self.position[row])
        place = f"{self.context.sample_word} {sample}"
        place += "" if self.step is None else f", application {int(self.step[row])}"
        tokens = self.tokens
        if tokens is None:
            return f"{place}, position {position}" if bool(self.position.any()) else place
        if not self.context.modality.is_text:
            return f"{place}, {tokens[row]}"
        if (image := self.context.image_at(sample, position)) is not None:
            return f"{place}, {self.context.patch_of_image(image, position)}"
        modality, names = self.context.modality, self.context.token_names(sample)
        at = modality.token_place(names, position) if modality.letters else f"position {position}"
        before, after = self._neighbours(names, position)
        return f"{place}, {at}: {before}⟦{whole_at(names, position)}⟧{after}"

    def _neighbours(self, names: list[str], position: int, reach: int = 6) -> tuple[str, str]:
        first, end = position, position + 1 + reach
        while first and names[first] == CONTINUED:  # a part of the character before
            first -= 1
        before = self.context.joined(names[max(0, first - reach) : first], names)
        after = self.context.joined(names[position + 1 : end], names)
        return "…" * (first > reach) + before, after + "…" * (end < len(names))

    @checked
    def batches(
        self,
        batch_size: Count,
        *,
        seed: Seed = 0,
        start: Annotated[int, at_least(0)] = 0,
        buffer_rows: Count | None = None,
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield shuffled batches for ever.

        Every row comes once per epoch, in a fresh order; a batch may span two epochs. Rows on disk
        are streamed through a shuffle buffer, so memory does not grow with their number.

        Parameters
        ----------
        batch_size
            All rows if there are fewer.
        seed
            Batch number t depends on the seed, the rows and `batch_size` alone.
        start
            Batches to leave out, at no cost: a resumed run sees what an unbroken one would.
        buffer_rows
            Rows shuffled together; None: all in memory, 256 MiB worth from disk.
        """
        if len(self) == 0:
            raise ValueError(
                "`batches` needs at least one row, got none. Look at `acts.context.policy` for what "
                "was dropped."
            )
        return shuffled_batches(
            self._rows, batch_size, seed=seed, start=start, buffer_rows=buffer_rows
        )

    @checked
    def split(
        self,
        fraction: Annotated[float, Between(0, 1, "()")],
        seed: Seed = 0,
        *,
        group_by: Literal["sample", "text", "image"] = "sample",
    ) -> tuple[Activations, Activations]:
        """Split by sample: rows of one text or image never land on both sides.

        Parameters
        ----------
        fraction
            Share of the samples in the first part, strictly between 0 and 1.
        group_by
            "text" or "image" keeps samples that are equal on one side. "sample": a text that is there several
            times may land on both, of which a warning tells.

        Raises
        ------
        ValueError: If there are fewer than two samples, or their texts or images are not known.

        Example
        -------
        >>> acts = Activations.from_tensor(torch.eye(4), sample=torch.tensor([0, 0, 1, 2]))
        >>> first, second = acts.split(0.5)
        >>> sorted({*first.sample.tolist(), *second.sample.tolist()})
        [0, 1, 2]
        """
        content = content_of_samples(self.context, group_by)
        if group_by != "sample":
            first_like: dict[bytes, int] = {}
            same = torch.tensor([first_like.setdefault(one, i) for i, one in enumerate(content)])
            return self._split(same[self.sample], fraction, seed)
        first, second = self._split(self.sample, fraction, seed)
        parts = [torch.unique(part.sample).tolist() for part in (first, second)]
        sides = [{content[i] for i in part} for part in parts] if content else [set(), set()]
        if n := len(sides[0] & sides[1]):
            warn_caller(
                f"{n} texts are in both parts of the split, since they are there several times: what is "
                'measured on one part was seen in the other. Use split(…, group_by="text").'
            )
        return first, second

    def _split(
        self, group: Int[Tensor, " n"], fraction: float, seed: int
    ) -> tuple[Activations, Activations]:
        present = torch.unique(group)
        if len(present) < 2:
            raise ValueError(
                f"`split` needs at least two samples, got {len(present)}. Rows of one sample are "
                "correlated and are never put on both sides; capture more, or use `subset`."
            )
        n_first = min(max(round(fraction * len(present)), 1), len(present) - 1)
        order = torch.randperm(len(present), generator=generator_for(seed))
        first = torch.isin(group, present[order[:n_first]])
        return self.subset(first), self.subset(~first)

    @checked
    def subset(self, rows: Index) -> Activations:
        """Return some rows, by mask or by index, in the order asked for: `acts[rows]`.

        Raises
        ------
        IndexError: If the mask has another length, or an index is out of range.
        MemoryError: If rows on disk are asked for out of order and would not fit in memory.
        """
        return self[list(rows) if isinstance(rows, tuple) else rows]

    @checked
    def to(
        self,
        device: int | str | torch.device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> Activations:
        """Return the same rows on another device or, as in torch, in another dtype.

        Rows on disk are converted as they are read. `sample` and `position` stay on the CPU.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        target = self.device if device is None else check_device(device)
        gradient = self._gradient_rows
        if gradient is not None:  # as precise as it is: half precision would round it to nothing
            gradient = gradient.to(target, torch.promote_types(dtype or self.dtype, gradient.dtype))
        rows = self._rows.to(target, dtype or self.dtype)
        return self._like(rows, gradient=gradient)

    @checked
    def save(self, folder: str | Path, *, replace: bool = False) -> None:
        """Write the rows and their context to a folder, atomically.

        Raises
        ------
        FileExistsError: If the folder exists and `replace` is false.
        """
        above("sae_nb.activations._store", "save_activations")(self, folder, replace=replace)

    def _numbers(self, index: Index) -> Int[Tensor, " m"]:
        width = "A coordinate of all rows is `acts.x[:, i]`."
        return row_numbers(index, (len(self),), CPU, beyond=width).reshape(-1)

    def _like(self, rows: Rows | Tensor, **others: Any) -> Activations:
        """Return other rows of the same places, hook point and model, but for what else is given."""
        names = ("sample", "position", "hook_point", "model_name", "context", "step")
        return Activations(rows, **{name: getattr(self, name) for name in names} | others)


def _size(n_bytes: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes} bytes"
