"""From a model's batches to rows and the samples behind them: what every way of capturing shares."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from sae_nb.activations import Activations, Context, describe_ids, ragged_tokens
from sae_nb.capturing._token_policy import BatchRows, RowPolicy, batch_rows
from sae_nb.capturing._traces import BACKENDS, Backend, read_batch
from sae_nb.checks import check_count, check_memory, one_of
from sae_nb.models import HookPoint
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    from sae_nb.models import Batch, Batches, LiveModel


@dataclass(frozen=True, kw_only=True)
class CaptureRecord:
    """How far a capture is; what a callback gets after every batch."""

    rows: int
    """Rows kept so far at one hook point."""

    samples: int
    """Samples the model has seen."""

    n_samples: int | None
    """Samples in all, where that is known."""

    seconds: float
    """Since the first batch."""


@dataclass(frozen=True, kw_only=True)
class CaptureSettings:
    """How inputs are batched, run and turned into rows, as `capture` explains; checked once."""

    policy: RowPolicy
    """`drop_first` and `keep_special`, resolved for the model."""

    batch_size: int | None = None
    context_length: int | None = None
    pack: bool = False
    add_bos: bool | Literal["auto"] = "auto"
    dtype: torch.dtype | None = None
    max_rows: int | None = None
    backend: Backend = "nnsight"

    @classmethod
    def for_model(
        cls,
        model: LiveModel,
        *,
        drop_first: bool | Literal["auto"],
        keep_special: bool,
        **others: Any,
    ) -> CaptureSettings:
        """Return the settings with "auto" resolved."""
        policy = RowPolicy.for_model(model, drop_first=drop_first, keep_special=keep_special)
        return cls(policy=policy, **others)

    def __post_init__(self) -> None:
        for name in ("batch_size", "context_length", "max_rows"):
            value = getattr(self, name)
            if value is not None:
                check_count(value, name=name)
        one_of(self.backend, BACKENDS, name="backend")
        if self.dtype is not None and not (
            isinstance(self.dtype, torch.dtype) and self.dtype.is_floating_point
        ):
            raise ValueError(
                f"`dtype` must be a floating-point torch.dtype such as torch.float16, got "
                f"{self.dtype!r}."
            )

    def stated(self) -> dict[str, Any]:
        """Return what decides the rows as plain values: two captures that agree read alike."""
        return {
            "drop_first": self.policy.drop_first,
            "keep_special": self.policy.keep_special,
            "batch_size": self.batch_size,
            "context_length": self.context_length,
            "pack": self.pack,
            "add_bos": self.add_bos,
            "dtype": None if self.dtype is None else str(self.dtype),
            "max_rows": self.max_rows,
            "backend": self.backend,
        }

    def batches(self, model: LiveModel, inputs: Any) -> Batches:
        """Return the model's batches of these inputs."""
        return model.batches(
            inputs,
            batch_size=self.batch_size,
            context_length=self.context_length,
            pack=self.pack,
            add_bos=self.add_bos,
        )


Place = Callable[[str, Tensor], Tensor]
"""(hook point, rows that are still the model's) → the same rows on the CPU, ours to keep."""


@dataclass(frozen=True, eq=False)
class Harvest:
    """One capture: a model, where it is read, and how its activations become rows."""

    model: LiveModel

    points: Mapping[str, HookPoint]
    """From the name as the user gave it to the hook point."""

    settings: CaptureSettings

    def batches(self, inputs: Any) -> Batches:
        """Return the model's batches of these inputs."""
        return self.settings.batches(self.model, inputs)

    def rows(
        self, batch: Batch, row_counts: Mapping[str, int], place: Place | None = None
    ) -> dict[str, BatchRows]:
        """Run one batch and return its rows on the CPU, by hook point."""
        rows: dict[str, BatchRows] = {}

        def copied(_name: str, x: Tensor) -> Tensor:
            return x.to("cpu", self.settings.dtype or x.dtype, copy=True)

        def take(name: str, value: Tensor) -> None:
            live = batch_rows(value, batch, self.settings.policy, self.points[name])
            rows[name] = replace(live, x=(place or copied)(name, live.x))

        read_batch(self.model, batch, self.points, take, backend=self.settings.backend)
        for name, taken in rows.items():
            self._check_rows(batch, taken, self.points[name], row_counts.get(name, 0))
        return {name: rows[name] for name in self.points}

    def _check_rows(self, batch: Batch, rows: BatchRows, point: str, rows_before: int) -> None:
        # A sum is finite only if every entry is (up to overflow): one pass in the common case.
        if bool(torch.isfinite(rows.x.sum(dtype=torch.float32))):
            return
        bad = (~torch.isfinite(rows.x).all(dim=1)).nonzero().flatten()
        if not len(bad):
            return
        row = int(bad[0])
        sample, position = int(rows.sample[row]), int(rows.position[row])
        context = ContextBuilder(self.model)
        context.add(batch)
        token_id = None
        if batch.token_ids is not None:
            here = (batch.sample.cpu() == sample) & (batch.position.cpu() == position)
            token_id = int(batch.token_ids.cpu()[here][0])
        shown = context.build(rows.layout.grid).token_name(position, token_id)
        raise ValueError(
            f"Activations at `{point}` must be finite, but row {rows_before + row} holds NaN or "
            f"infinity ({context.word} {sample}, position {position}, token {shown!r}; {len(bad)} such "
            f"rows in this batch). Look at the model's weights and dtype ({rows.x.dtype}; float16 "
            "overflows at 65504), or leave this sample out."
        )

    def policy(
        self, batches: Batches, builder: ContextBuilder, dropped: Mapping[str, int]
    ) -> dict[str, Any]:
        """Return everything that was chosen, dropped, cut and packed, for `acts.context.policy`."""
        settings = self.settings
        return {
            **batches.policy,
            "drop_first": settings.policy.drop_first,
            "keep_special": settings.policy.keep_special,
            "beginning_of_text": settings.policy.begin_id,
            "texts_with_bos": builder.bos,
            **dropped,
            "max_rows": settings.max_rows,
            "batch_size": settings.batch_size,
            "interventions": [str(edit.hook_point) for edit in self.model.interventions],
        }


class ContextBuilder:
    """Gathers the samples behind the rows, batch by batch."""

    def __init__(self, model: LiveModel) -> None:
        self._model = model
        self.n_samples = 0
        self._tokens: list[Tensor] = []
        self._pictures: list[Tensor] = []
        self._size: tuple[int, ...] | None = None
        self._n_texts, self._n_bos = 0, 0
        self.vocabulary: dict[int, str] = {}

    @property
    def word(self) -> str:
        """What one sample is called."""
        return Context(kind=self._model.kind).sample_word

    @property
    def bos(self) -> Literal["all", "some", "none"] | None:
        """How many texts begin with the beginning-of-text token; None without text."""
        if not self._n_texts:
            return None
        if self._n_bos == self._n_texts:
            return "all"
        return "some" if self._n_bos else "none"

    def add(self, batch: Batch) -> None:
        """Take in the samples of one batch."""
        self.n_samples = max(self.n_samples, int(batch.sample.max()) + 1)
        self._add_tokens(batch)
        if batch.pictures is None:
            return
        size = tuple(batch.pictures.shape[1:])
        if self._size not in (None, size):
            raise ValueError(
                f"Pictures of one capture must have one size, got {self._size} and {size}. Resize them "
                "to one size, or capture each size by itself."
            )
        self._size = size
        self._pictures.append(batch.pictures.cpu())

    def _add_tokens(self, batch: Batch) -> None:
        if batch.token_ids is None:
            return
        ids = batch.token_ids.cpu()
        keep = torch.ones_like(ids, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
        position = batch.position.cpu()[keep]
        self._tokens.append(torch.stack((batch.sample.cpu()[keep], position, ids[keep])))
        first = ids[keep][position == 0]
        self._n_texts += len(first)
        begin = self._model.beginning_of_text
        self._n_bos += 0 if begin is None else int((first == begin).sum())
        new = sorted(set(torch.unique(ids[keep]).tolist()) - self.vocabulary.keys())
        if self._model.tokenizer is not None:
            self.vocabulary |= describe_ids(self._model.tokenizer, new)

    def take(self) -> dict[str, Tensor]:
        """Return and forget the tokens and pictures gathered since the last call."""
        taken = {}
        if self._tokens:
            taken["tokens"] = torch.cat(self._tokens, dim=1)
        if self._pictures:
            taken["pictures"] = torch.cat(self._pictures)
        self._tokens, self._pictures = [], []
        return taken

    def build(
        self,
        grid: tuple[int, int] | None = None,
        policy: Mapping[str, Any] | None = None,
        taken: Mapping[str, Tensor] | None = None,
    ) -> Context:
        """Return the context of rows; `grid` is that of a convolution's cells."""
        taken = self.take() if taken is None else taken
        model, tokens = self._model, taken.get("tokens")
        return Context(
            kind=model.kind,
            n_samples=self.n_samples,
            pictures=taken.get("pictures"),
            token_ids=None if tokens is None else ragged_tokens(tokens, self.n_samples),
            vocabulary=self.vocabulary,
            patch_grid=model.patch_grid if grid is None else grid,
            prefix_tokens=model.prefix_tokens if grid is None else 0,
            policy=policy or {},
        )


@contextmanager
def reporting(
    progress: bool | Callable[[CaptureRecord], Any], n_samples: int | None
) -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with (rows, samples) after every batch; it draws a bar or reports."""
    begin, seen = time.perf_counter(), 0
    with progress_bar(n_samples, "capture", "sample", enabled=progress is True) as bar:

        def report(rows: int, samples: int) -> None:
            nonlocal seen
            bar.update(samples - seen)
            bar.set_postfix(rows=str(rows), refresh=False)
            seen = samples
            if callable(progress):
                now = time.perf_counter() - begin
                progress(
                    CaptureRecord(rows=rows, samples=samples, n_samples=n_samples, seconds=now)
                )

        yield report


# -------------------------------------------------------------------------------------------------
# Capture into memory: every row is copied once, from the model to its final place.


class Collector:
    """Rows of one hook point in one block of memory, sized from the first batch.

    Rows are copied once, from the model's tensor to their final place.
    """

    def __init__(self, n_samples: int | None, max_rows: int | None, n_alike: int) -> None:
        self._n_samples, self._max_rows, self._n_alike = n_samples, max_rows, n_alike
        self._x: Tensor | None = None
        self._sample: list[Tensor] = []
        self._position: list[Tensor] = []
        self.n = 0
        self.dropped: Counter[str] = Counter()
        self.grid: tuple[int, int] | None = None

    def place(self, x: Tensor, dtype: torch.dtype | None, samples: int) -> Tensor:
        """Copy rows behind those that are there; `samples` have been seen, these included."""
        end = self.n + len(x)
        if self._x is None or end > len(self._x):
            self._grow(end, x.shape[1], dtype or x.dtype, samples)
        held = cast(Tensor, self._x)
        held[self.n : end] = x
        return held[self.n : end]

    def _grow(self, end: int, width: int, dtype: torch.dtype, samples: int) -> None:
        share = 2.0 if self._n_samples is None else max(1.0, self._n_samples / max(samples, 1))
        size = max(end, math.ceil(end * share))
        if self._max_rows is not None:
            size = max(end, min(size, self._max_rows))
        check_memory(
            size * width * dtype.itemsize * self._n_alike,
            f"Capturing {size} rows at {self._n_alike} hook point{'s' * (self._n_alike > 1)}",
            "Pass store=<folder> to write them to disk, dtype=torch.float16 to halve them, or "
            "max_rows=.",
        )
        larger = torch.empty(size, width, dtype=dtype)
        if self._x is not None:
            larger[: self.n] = self._x[: self.n]
        self._x = larger

    def add(self, rows: BatchRows) -> None:
        """Count in the rows of one batch, which have been placed."""
        self._sample.append(rows.sample)
        self._position.append(rows.position)
        self.n += len(rows.x)
        self.dropped.update(rows.dropped)
        self.grid = rows.layout.grid

    def join(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x, sample, position) of all rows."""
        held = cast(Tensor, self._x)
        x = held[: self.n]
        if len(held) > 1.1 * self.n:
            # A view would keep, copy and pickle much that holds nothing.
            x = x.clone()
        return x, torch.cat(self._sample), torch.cat(self._position)


def capture_in_memory(
    harvest: Harvest,
    inputs: Any,
    progress: bool | Callable[[CaptureRecord], Any],
) -> dict[str, Activations]:
    """Run all batches and return activations in memory, by the names of the hook points.

    KeyboardInterrupt keeps what is there, with a warning and `policy["interrupted"]`.
    """
    builder, points = ContextBuilder(harvest.model), harvest.points
    batches, max_rows = harvest.batches(inputs), harvest.settings.max_rows
    collectors = {name: Collector(batches.n_samples, max_rows, len(points)) for name in points}
    interrupted = False

    def place(name: str, x: Tensor) -> Tensor:
        return collectors[name].place(x, harvest.settings.dtype, builder.n_samples)

    try:
        with reporting(progress, batches.n_samples) as report:
            for batch in batches:
                # The context first: an interrupt between the two must not leave rows without one.
                builder.add(batch)
                before = {name: collector.n for name, collector in collectors.items()}
                for name, rows in harvest.rows(batch, before, place).items():
                    room = None if max_rows is None else max_rows - before[name]
                    collectors[name].add(rows.first(room))
                counts = [collector.n for collector in collectors.values()]
                report(max(counts), builder.n_samples)
                if max_rows is not None and min(counts) >= max_rows:
                    break
    except KeyboardInterrupt:
        if not builder.n_samples:
            raise
        interrupted = True
        warnings.warn(
            f"Capture was interrupted after {builder.n_samples} samples; what is returned holds only "
            "those.",
            stacklevel=3,
        )
    for name, collector in collectors.items():
        check_any_rows(name, collector.n, collector.dropped)
    more = {"interrupted": True} if interrupted else {}
    policies = {
        name: harvest.policy(batches, builder, collector.dropped) | more
        for name, collector in collectors.items()
    }
    return _assemble(harvest, collectors, builder, policies)


def check_any_rows(point: str, n: int, dropped: Mapping[str, int]) -> None:
    """Refuse a capture in which every vector was dropped."""
    if not n:
        reasons = {name.removeprefix("n_dropped_"): n for name, n in dropped.items() if n}
        raise ValueError(
            f"Capture must keep at least one row at `{point}`, but all were dropped ({reasons}). "
            "Pass longer inputs, or drop_first=False."
        )


def _assemble(
    harvest: Harvest,
    collectors: Mapping[str, Collector],
    builder: ContextBuilder,
    policies: Mapping[str, Mapping[str, Any]],
) -> dict[str, Activations]:
    taken = builder.take()
    contexts: dict[Any, Context] = {}
    found = {}
    for name, collector in collectors.items():
        # Hook points of one layout share one context, so that their rows can be joined and compared.
        key = (collector.grid, tuple(sorted(collector.dropped.items())))
        if key not in contexts:
            contexts[key] = builder.build(collector.grid, policies[name], taken)
        x, sample, position = collector.join()
        found[name] = Activations(
            x,
            sample=sample,
            position=position,
            hook_point=str(harvest.points[name]),
            model_name=harvest.model.name,
            context=contexts[key],
        )
    return found
