"""The input of a model: batches, iteration over whatever is passed, plain tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int, Int16, UInt8
from PIL import Image
from torch import Tensor, nn

from sae_nb.activations._positions import first_tokens
from sae_nb.checks import ordinary, warn_caller
from sae_nb.models._calls import RunState

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.checks import Inputs
    from sae_nb.checks._values import Indexed
    from sae_nb.models._interface import Reads


# -------------------------------------------------------------------------------------------------
# Batches: what a module is given, and for every token which sample and position it came from.


AddBos = Literal["auto"] | bool
"""Whether texts start with the beginning-of-text token."""

SHOWN = ("pictures", "images", "images_at")
"""Fields of a batch that stay on the CPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One forward pass worth of inputs.

    Texts are padded on the right, so a column is a position and a kept token sees what it would see
    alone. `sample` and `position` say for every column where it came from, also when documents are
    packed; they are (n, 1) where the number of tokens is not known before the model runs.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the module, by position and by keyword."""

    n: int
    """Rows: samples, or packed rows."""

    first_sample: int
    """Running index of the first sample in this batch."""

    sample: Int[Tensor, "batch time"]
    """Running index of each column's sample; −1 at padding."""

    position: Int[Tensor, "batch time"]
    """Index in the sample's own token sequence; −1 at padding."""

    token_ids: Int[Tensor, "batch time"] | None = None
    keep: Bool[Tensor, "batch time"] | None = None
    """None without text; `keep` is False at padding."""

    special: Bool[Tensor, "batch time"] | None = None
    """True at special tokens (BOS, end-of-text, CLS, SEP); padding is False. None without text."""

    role: Int[Tensor, "batch time"] | None = None
    turn: Int[Tensor, "batch time"] | None = None
    """Of conversations: who wrote a token (index into `activations.ROLES`), and the number of the message; −1
    at padding and in texts that are none. None where no row is one."""

    pictures: UInt8[Tensor, "batch 3 height width"] | None = None
    """Images as displayed: resized and cropped, not normalised. On the CPU."""

    sounds: tuple[Int16[Tensor, " length"], ...] | None = None
    """Sounds as played, of their own lengths."""
    images: UInt8[Tensor, "n_images 3 height width"] | None = None
    images_at: Int[Tensor, "n_images 5"] | None = None
    """Images in texts as displayed, and their places, as in `activations.PlacedImages`. On the CPU."""

    encoder: Batch | None = None
    """Of an encoder–decoder: the same samples as its encoder reads them; the rest is then the decoder's."""

    sample_rate: float | None = None
    """Values per second of a trace, whose last axis is time; None if it is none, or the rate is not known."""

    n_values: int | None = None
    """Length of the trace."""

    longest: int | None = None
    """Length of the longest trace of all, by which pictures are as wide as they are."""

    truncated: int = 0
    """Samples of this batch that were longer than the context and cut."""

    packed: bool = False
    """Whether rows are windows of texts end to end, which may begin and end inside of one."""

    indices: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of a batch on a card the tensors on the CPU that its indices were copied from."""

    def as_inputs(self, model: Reads) -> Tensor | dict[str, Tensor]:
        """Return it in a form that `model.batches` reads to the same numbers.

        Images are pixel values, which are normalised already: bytes would round them, and what was given as
        pixel values may have no bytes.
        """
        if self.token_ids is not None:
            return self.token_ids.cpu()
        if self.sounds is not None:
            if len(lengths := {len(one) for one in self.sounds}) > 1:
                raise ValueError(
                    f"`inputs` must be sounds of one length here, got {min(lengths)} to {max(lengths)} values. "
                    "Cut the longer ones."
                )
            return (torch.stack(self.sounds).float() / 2**15).cpu()
        read = self.first_tensor.cpu()
        return {"pixel_values": read} if model.reads_pixels else read

    @property
    def on_cpu(self) -> Batch:
        """The batch with its indices on the CPU, where reading them waits for no card."""
        return replace(self, **self.indices, indices={}) if self.indices else self

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch with what the model and the indices need on a device."""
        changes: dict[str, Any] = {
            "args": tuple(_moved(value, device) for value in self.args),
            "kwargs": {name: _moved(value, device) for name, value in self.kwargs.items()},
        }
        on_cpu = self.on_cpu
        indices: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(on_cpu, part.name)
            if isinstance(value, Batch):
                indices[part.name] = value
                changes[part.name] = value.to(device)
            elif isinstance(value, Tensor) and part.name not in SHOWN:
                indices[part.name] = value
                changes[part.name] = to_device(value, device)
        stays = torch.device(device).type == "cpu"
        return replace(self, **changes, indices={} if stays else indices)

    def at(self, point: str | None) -> Batch:
        """Return the columns that a hook point sees: the encoder's if it is there."""
        if self.encoder is not None and getattr(point, "encoder", False):
            return self.encoder
        return self

    def copies(self, n: int) -> Batch:
        """Return one sample n times, so that several changes of it are measured in one pass."""

        def several(value: object) -> object:
            if isinstance(value, Tensor) and value.ndim and len(value) == 1:
                return value.expand(n, *value.shape[1:])
            return value.copies(n) if isinstance(value, Batch) else value

        changes: dict[str, Any] = {f.name: several(getattr(self, f.name)) for f in fields(self)}
        changes["args"] = tuple(several(value) for value in self.args)
        changes["kwargs"] = {name: several(value) for name, value in self.kwargs.items()}
        return replace(self, **{**changes, "n": n, "indices": {}})

    def ending(self) -> Batch:
        """Return the batch with the request to answer at the last column alone."""
        return replace(self, kwargs=self.kwargs | {"logits_to_keep": 1})

    @property
    def first_tensor(self) -> Tensor:
        """The first of the module's arguments that is a tensor."""
        values = (*self.args, *self.kwargs.values())
        return next(value for value in values if isinstance(value, Tensor))

    @property
    def at_encoder(self) -> Batch:
        """The columns of the encoder; of a model of one stream its own."""
        return self if self.encoder is None else self.encoder

    def has_next(self) -> Bool[Tensor, "batch time_minus_1"]:
        """Return which tokens predict one of the same text: `sample` is −1 at padding."""
        return (self.sample[:, 1:] >= 0) & (self.sample[:, 1:] == self.sample[:, :-1])

    def first_tokens(self, begin_id: int | None) -> Bool[Tensor, "batch time"]:
        """Return where attention begins: at the first token of every text and row, and at every BOS."""
        real = torch.ones_like(self.position, dtype=torch.bool) if self.keep is None else self.keep
        return first_tokens(self.position, real, self.token_ids, begin_id)

    def state(self) -> RunState:
        """Return the state that edits get in a plain forward pass of this batch."""
        known = self.sample.shape[1] > 1 or self.keep is not None
        return RunState(
            keep=self.keep,
            token_ids=self.token_ids,
            position=self.position if known else None,
            prompt_length=None if self.keep is None or self.packed else self.keep.sum(dim=1),
            sample=self.sample if known else None,
            n_samples=self.n,
            role=self.role,
            encoder=None if self.encoder is None else self.encoder.state(),
        )


class Batches:
    """An iterator of batches that also states how the inputs were treated."""

    def __init__(
        self, batches: Iterator[Batch], *, n_samples: int | None, policy: dict[str, Any]
    ) -> None:
        self._batches = batches
        self.n_samples = n_samples
        self.policy = policy

    def __iter__(self) -> Batches:
        """Return itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch; counts truncated samples in ``policy["truncated"]``."""
        batch = next(self._batches)
        if batch.keep is not None:
            self.policy["truncated"] = self.policy.get("truncated", 0) + batch.truncated
        if batch.role is not None:
            self.policy["roles"] = "message by message"
        return batch


def plain_index(first: int, n: int, n_tokens: int | None) -> tuple[Tensor, Tensor]:
    """Return (sample, position) for n samples of n_tokens tokens each; None: not known, (n, 1)."""
    width = n_tokens or 1
    sample = torch.arange(first, first + n)[:, None].expand(n, width)
    return sample, torch.arange(width).expand(n, width)


def to_device(x: Tensor, device: str | torch.device) -> Tensor:
    """Return numbers on a device; a card is not waited for, as it is where memory is not pinned."""
    if x.device.type == "cpu" and torch.device(device).type == "cuda":
        with suppress(RuntimeError):  # no more of such memory
            return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def _moved(value: object, device: str | torch.device) -> object:
    return ordinary(to_device(value, device)) if isinstance(value, Tensor) else value


# -------------------------------------------------------------------------------------------------
# Walking through whatever people pass as inputs, one sample at a time, without loading it all.


class Samples(NamedTuple):
    """Samples to come, and how many if that is known."""

    items: Iterator[Any]
    n_samples: int | None

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return the samples of all parts, one after the other."""
        items = itertools.chain.from_iterable(part.items for part in parts)
        known = [part.n_samples for part in parts if part.n_samples is not None]
        return cls(items, sum(known) if len(known) == len(parts) else None)


Given = TypeVar("Given")
Column = list[Any] | dict[str, Any]


def column_of_table(model: Reads, inputs: Given) -> Given | Column:
    """Return the column of a table that a model of texts or images reads; anything else as it is."""
    text = model.modality.is_text
    return unpacked(inputs, TEXTS if text else IMAGES, "texts" if text else "images")


TEXTS: tuple[type, ...] = (str,)
IMAGES: tuple[type, ...] = (str, Path, Image.Image, np.ndarray, Tensor, bytes, Mapping)
"""Kinds of values of a table's column that is read as texts, or as images."""


def unpacked(inputs: Given, kinds: tuple[type, ...], what: str) -> Given | Column:
    """Return what tables, series and arrays of objects hold, as lists and dicts; anything else as it is."""
    if isinstance(inputs, (set, frozenset)):
        raise TypeError(
            f"`inputs` must be {what} in an order, got a set, whose order differs from run to run. Pass "
            "sorted(inputs)."
        )
    if type(inputs).__name__ == "DataFrame":
        return _column(inputs, kinds, what)
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "UTO":
        # An array of objects may hold pixels, number by number: that is left to the readers.
        flat = inputs.ndim < 2 or inputs.shape[1:] == (1,)
        return inputs.item() if inputs.ndim == 0 else inputs.ravel().tolist() if flat else inputs
    missing = getattr(inputs, "isna", None) or getattr(inputs, "is_null", None)
    if missing is None or isinstance(inputs, Tensor):
        return inputs
    if not (isinstance(inputs, Iterable) and isinstance(inputs, Sized)):
        return inputs
    absent = [row for row, gone in enumerate(missing()) if gone]
    if absent:
        raise ValueError(
            f"`inputs` must have one of the {what} in every row, got none in {len(absent)} of {len(inputs)}, "
            f"such as row {absent[0]}. Use inputs.dropna()."
        )
    names = getattr(inputs, "index", None)
    if names is not None and not callable(names) and {"text", "input_ids", "image"} & set(names):
        return dict(zip(names, inputs, strict=True))  # one row of a table
    return list(inputs)


def _column(table: pd.DataFrame, kinds: tuple[type, ...], what: str) -> Column:
    """Return the one column of a table that holds what a model reads, as a list; token ids with their mask."""
    names = [str(name) for name in table.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"A table must have one column of each name, got {twice} more than once. Pass one: "
            f"list(frame.iloc[:, {names.index(twice[0])}])."
        )
    # Missing values are found by what they are not: NaN, None and NA are of none of these kinds.
    columns = {str(name): list(table[name]) for name in table.columns}
    if what == "texts" and "input_ids" in columns:
        return {name: columns[name] for name in READ_WITH_IDS if name in columns}
    fits = {
        name: [isinstance(value, kinds) for value in values] for name, values in columns.items()
    }
    found = [name for name, fitting in fits.items() if any(fitting)]
    if len(found) != 1:
        got = f"columns {found}" if found else f"none among {list(columns)}"
        do = f"Pass one: frame[{(found or list(columns) or ['name'])[0]!r}]."
        raise ValueError(f"A table must have one column of {what}, got {got}. {do}")
    (name,) = found
    if missing := [row for row, fitting in enumerate(fits[name]) if not fitting]:
        raise ValueError(
            f"Column {name!r} must have one of the {what} in every row, got none in {len(missing)} of "
            f"{len(fits[name])}, such as row {missing[0]}. Use frame[{name!r}].dropna()."
        )
    if len(columns) > 1:
        warn_caller(f"`inputs` is a table; its column {name!r} is read, the only one of {what}.")
    return columns[name]


READ_WITH_IDS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
"""Outputs of a tokenizer that change the states of a model."""


def numbers_of(x: Tensor | np.ndarray) -> Tensor:
    """Return an array as a tensor of its own: in this machine's byte order, whatever its strides."""
    if isinstance(x, Tensor):
        return x
    kind = np.dtype(np.float64) if x.dtype == np.longdouble else x.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(np.asarray(x), kind, ["C_CONTIGUOUS", "WRITEABLE"]))


def is_many(inputs: Inputs) -> TypeGuard[Iterable[object] | Indexed]:
    """Return whether something can be iterated over: an iterator, a DataLoader, or a dataset."""
    return isinstance(inputs, Iterable) or _is_dataset(inputs)


def _is_dataset(inputs: Inputs) -> TypeGuard[Indexed]:
    indexed = hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")
    return indexed and not isinstance(inputs, type)


def has_numbers(x: Tensor | np.ndarray) -> bool:
    """Return whether a model can read it: arrays of texts or objects, sparse and meta tensors it cannot."""
    if isinstance(x, Tensor):
        return x.layout == torch.strided and not x.is_meta and not x.is_nested
    if isinstance(x, np.ma.MaskedArray) and (n := int(np.ma.getmaskarray(x).sum())):
        raise ValueError(
            f"`inputs` must have no masked values, which a model would read, got {n}. Use "
            "inputs.filled(value); "
            'token ids take their mask as {"input_ids": ids, "attention_mask": mask}.'
        )
    return x.dtype.kind in "biufc"


def first_of_pair(item: object, batch_ndim: int) -> object:
    """Return the inputs of an (inputs, labels) pair as a DataLoader makes it; else the item itself."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        return item
    first, second = item[0], item[1]
    refuse_mask(first, second)
    if _are_texts(item) or (_are_texts(first) and _are_texts(second)):
        raise ValueError(
            "Samples in a list or a stream must not be tuples of texts, of which some may be labels, got a "
            f"{type(item).__name__} of {len(item)}. Pass [text for text, label in inputs], or one flat list."
        )
    is_batch = isinstance(first, (Tensor, np.ndarray)) and first.ndim >= batch_ndim
    if is_batch or (isinstance(item, tuple) and len(item) == 2 and _is_label(first, second)):
        return first
    texts = isinstance(first, (list, tuple)) and first and isinstance(first[0], str)
    if texts and isinstance(second, Tensor):
        return first
    return item


def without_labels(inputs: Inputs, batch_ndim: int) -> object:
    """Return the samples of a tuple (samples, labels) with one number for every sample; else what is given."""
    if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
        return inputs
    samples, labels = inputs
    if isinstance(samples, (Tensor, np.ndarray)) and samples.ndim >= batch_ndim:
        refuse_mask(samples, labels)
    elif not isinstance(samples, (list, tuple)) or _are_numbers(samples):
        return inputs
    return samples if isinstance(inputs, tuple) and _are_numbers(labels, len(samples)) else inputs


def refuse_mask(first: object, second: object) -> None:
    """Refuse token ids and their mask as a pair: whole numbers of one shape, the second only 0 and 1."""
    if (
        not (_is_array(first) and _is_array(second))
        or first.shape != second.shape
        or first.ndim == 0
    ):
        return
    ids, mask = numbers_of(first), numbers_of(second)
    no_ids = ids.is_floating_point() or ids.is_complex() or ids.dtype in (torch.bool, torch.uint8)
    if not no_ids and _binary(mask) and not _binary(ids):
        raise ValueError(
            "`inputs` must have an attention mask under its name, got it as the second of a pair. Pass "
            '{"input_ids": ids, "attention_mask": mask}.'
        )


def _is_array(x: object) -> TypeGuard[Tensor | np.ndarray]:
    return isinstance(x, (Tensor, np.ndarray)) and has_numbers(x)


def _binary(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())


def _are_texts(item: object) -> bool:
    return isinstance(item, tuple) and len(item) > 1 and all(isinstance(one, str) for one in item)


def _are_numbers(values: object, n: int | None = None) -> bool:
    """Whether these are n single numbers."""
    if isinstance(values, (Tensor, np.ndarray)):
        return values.ndim == 1 and has_numbers(values) and len(values) == n
    if not isinstance(values, (list, tuple)) or n not in (None, len(values)):
        return False
    return all(isinstance(one, (int, float, np.number)) for one in values)


def _is_label(first: object, second: object) -> bool:
    """Whether a dataset's item (first, second) is a sample and its label, not two samples."""
    if isinstance(second, (int, np.integer)):
        return not isinstance(first, (int, np.integer))
    if isinstance(second, Tensor):
        return second.ndim == 0 and not (isinstance(first, Tensor) and first.ndim == 0)
    return isinstance(second, str) and not isinstance(first, (int, str))


def chained(
    inputs: Iterable[object] | Indexed,
    batch_ndim: int,
    read: Callable[[object], Samples],
    *,
    name: str,
) -> Samples:
    """Return the samples of every item of an iterator, the first item checked at once."""
    # A torch dataset has no __iter__; the old sequence protocol would run past its end.
    if isinstance(inputs, Iterable):
        iterator = iter(inputs)
    else:
        iterator = (inputs[i] for i in range(len(inputs)))
    try:
        first = next(iterator)
    except StopIteration:
        raise empty(name) from None
    opening = read(first_of_pair(first, batch_ndim))
    rest = (_read_item(item, index, batch_ndim, read) for index, item in enumerate(iterator, 1))
    # A dataset's length counts samples, a DataLoader's batches.
    known = len(inputs) if _is_dataset(inputs) and opening.n_samples == 1 else None
    return Samples(itertools.chain(opening.items, itertools.chain.from_iterable(rest)), known)


def _read_item(
    item: object, index: int, batch_ndim: int, read: Callable[[object], Samples]
) -> Iterator[Any]:
    """Return the samples of an item of an iterator; an error names which it is."""
    try:
        return read(first_of_pair(item, batch_ndim)).items
    except (TypeError, ValueError) as error:
        error.add_note(f"At item {index} of `inputs`, counted from 0.")
        raise


def empty(name: str) -> ValueError:
    """Return the error for inputs without a sample."""
    return ValueError(f"`inputs` must hold at least one {name}, got none.")


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def batched(
    samples: Samples,
    parts: Iterable[list[Any]],
    make: Callable[[list[Any], int], Batch],
    **policy: object,
) -> Batches:
    """Return the batches that `make` makes of lists of samples and the number of the first of each."""

    def batches() -> Iterator[Batch]:
        first = 0
        for chunk in parts:
            yield make(chunk, first)
            first += len(chunk)

    return Batches(batches(), n_samples=samples.n_samples, policy=policy)


def described(inputs: Inputs) -> str:
    """Return a few words on what something is, for messages."""
    if isinstance(inputs, Tensor) and inputs.is_nested:
        return "a nested tensor"
    if isinstance(inputs, (Tensor, np.ndarray)):
        return f"a {type(inputs).__name__} of shape {tuple(inputs.shape)} and type {inputs.dtype}"
    if isinstance(inputs, str):
        return f"the text {inputs[:40]!r}" + ("…" if len(inputs) > 40 else "")
    if isinstance(inputs, Path):
        return f"the path {str(inputs)!r}"
    if isinstance(inputs, Mapping):
        return f"a dict with keys {list(inputs)}"
    if isinstance(inputs, (bytes, bytearray, memoryview)):
        return f"{len(inputs)} bytes"
    if isinstance(inputs, (list, tuple)) and inputs:
        return f"a {type(inputs).__name__} of {type(inputs[0]).__name__}"
    return type(inputs).__name__


# -------------------------------------------------------------------------------------------------
# Plain tensors for modules that read neither text nor images: the first axis counts samples.


def batches_of(model: Reads, inputs: Inputs, *, batch_size: int) -> Batches:
    """Return batches of tensors, with the faces of their samples where the kind of input has some."""
    found, face = plain_batches(model, inputs, batch_size=batch_size), model.modality.face
    if face is None:
        return found
    shown = (
        replace(batch, pictures=torch.stack([face(one.cpu()) for one in batch.first_tensor]))
        for batch in found
    )
    return Batches(shown, n_samples=found.n_samples, policy=found.policy)


def plain_batches(model: Reads, inputs: Inputs, *, batch_size: int) -> Batches:
    """Return batches of plain tensors."""
    if isinstance(inputs, (Tensor, np.ndarray, Mapping)):
        checked = _checked(model, inputs)
        parts: Iterable[Any] = [checked]
        n_samples: int | None = _rows(checked)
    elif isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise _not_tensors(model, inputs)
    else:
        parts, n_samples = _peeked(model, inputs), None

    def batches() -> Iterator[Batch]:
        first = 0
        for part in parts:
            whole = _checked(model, part)
            for start in range(0, _rows(whole), batch_size):
                rows = slice(start, start + batch_size)
                if isinstance(whole, dict):
                    batch = _batch(model, {n: value[rows] for n, value in whole.items()}, first)
                else:
                    batch = _batch(model, whole[rows], first)
                yield batch
                first += batch.n

    return Batches(batches(), n_samples=n_samples, policy={})


def _peeked(model: Reads, inputs: Iterable[Any]) -> Iterator[Any]:
    iterator = iter(inputs)
    try:
        first = next(iterator)
    except StopIteration:
        raise empty("tensor") from None
    _checked(model, first)
    return itertools.chain([first], iterator)


def _checked(model: Reads, part: object) -> Tensor | dict[str, Tensor]:
    if isinstance(part, (tuple, list)) and part and isinstance(part[0], Tensor):
        part = part[0]
    if isinstance(part, (Tensor, np.ndarray)) and not has_numbers(part):
        raise _not_tensors(model, part)
    if isinstance(part, np.ndarray):
        part = torch.from_numpy(part)
    if isinstance(part, Mapping):
        tensors = {str(name): value for name, value in part.items() if isinstance(value, Tensor)}
        if not tensors or len({len(value) for value in tensors.values()}) != 1:
            raise _not_tensors(model, part)
        part = tensors
    elif not isinstance(part, Tensor) or part.ndim == 0:
        raise _not_tensors(model, part)
    if _rows(part) == 0:
        raise ValueError(f"`inputs` must hold at least one row, got {described(part)}.")
    for value in part.values() if isinstance(part, dict) else (part,):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"`inputs` must be finite, got NaN or infinity in {described(value)}. Drop those rows."
            )
    if isinstance(part, Tensor) and not part.is_floating_point() and _begins_linear(model.module):
        raise TypeError(
            f"`inputs` must be floating-point numbers for {model.name}, whose first layer is linear, got "
            f"{described(part)}. Use inputs.float()."
        )
    return part


def _begins_linear(module: nn.Module) -> bool:
    """Whether a linear layer or a convolution reads the inputs; of a module of one's own that is unknown."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[0]
    return type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d)


def _not_tensors(model: Reads, inputs: Inputs) -> TypeError:
    return TypeError(
        f"`inputs` must be a tensor whose first axis counts samples for {model.name}, got "
        f"{described(inputs)}. Wrap the module with tokenizer=… to read text, or with preprocess=… "
        "to read images."
    )


def _rows(part: Tensor | dict[str, Tensor]) -> int:
    return len(next(iter(part.values()))) if isinstance(part, dict) else len(part)


def _batch(model: Reads, part: Tensor | dict[str, Tensor], first: int) -> Batch:
    def cast(value: Tensor) -> Tensor:
        return value.to(model.dtype) if value.is_floating_point() else value

    n = _rows(part)
    sample, position = plain_index(first, n, None)
    kwargs = {name: cast(value) for name, value in part.items()} if isinstance(part, dict) else {}
    args = () if isinstance(part, dict) else (cast(part),)
    batch = Batch(
        args=args,
        kwargs=kwargs,
        n=n,
        first_sample=first,
        sample=sample,
        position=position,
        sample_rate=model.sample_rate,
    )
    return batch.to(model.device)
