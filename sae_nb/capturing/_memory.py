"""Capture into memory: every row is copied once, from the model to its final place."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from sae_nb.activations import Activations, Context
from sae_nb.capturing._batch_rows import CaptureRecord, ContextBuilder, Harvest, reporting
from sae_nb.capturing._token_policy import BatchRows
from sae_nb.checks import check_memory

if TYPE_CHECKING:
    from sae_nb.models import Batch


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
    try:
        with reporting(progress, batches.n_samples) as report:
            for batch in batches:
                # The context first: an interrupt between the two must not leave rows without one.
                builder.add(batch)
                _collect(harvest, batch, collectors, builder.n_samples)
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
    check_any_rows(collectors)
    policies = {
        name: harvest.policy(batches, builder, collector.dropped)
        for name, collector in collectors.items()
    }
    if interrupted:
        policies = {name: policy | {"interrupted": True} for name, policy in policies.items()}
    return _assemble(harvest, collectors, builder, policies)


def _collect(
    harvest: Harvest, batch: Batch, collectors: Mapping[str, Collector], samples: int
) -> None:
    before = {name: collector.n for name, collector in collectors.items()}
    settings = harvest.settings

    def place(name: str, x: Tensor) -> Tensor:
        return collectors[name].place(x, settings.dtype, samples)

    for name, rows in harvest.rows(batch, before, place).items():
        if settings.max_rows is not None:
            rows = rows.first(settings.max_rows - before[name])
        collectors[name].add(rows)


def check_any_rows(collectors: Mapping[str, Collector]) -> None:
    """Refuse a capture in which every vector was dropped."""
    for name, collector in collectors.items():
        if not collector.n:
            dropped = {k.removeprefix("n_dropped_"): n for k, n in collector.dropped.items() if n}
            raise ValueError(
                f"Capture must keep at least one row at `{name}`, but all were dropped ({dropped}). "
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
