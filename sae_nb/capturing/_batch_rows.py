"""From a model's batches to rows and the samples behind them: what every way of capturing shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sae_nb.activations import Context, describe_ids, ragged_tokens
from sae_nb.capturing._token_policy import BatchRows, RowPolicy, batch_rows
from sae_nb.capturing._traces import BACKENDS, Backend, read_batch
from sae_nb.checks import check_count
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
        if self.backend not in BACKENDS:
            raise ValueError(f"`backend` must be one of {list(BACKENDS)}, got {self.backend!r}.")
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
            found = batch_rows(value, batch, self.settings.policy, self.points[name])
            rows[name] = replace(found, x=(place or copied)(name, found.x))

        read_batch(self.model, batch, self.points, take, backend=self.settings.backend)
        for name, found in rows.items():
            self._check_rows(batch, found, self.points[name], row_counts.get(name, 0))
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
        if batch.pictures is not None:
            self._add_pictures(batch.pictures.cpu())

    def _add_pictures(self, pictures: Tensor) -> None:
        size = tuple(pictures.shape[1:])
        if self._size not in (None, size):
            raise ValueError(
                f"Pictures of one capture must have one size, got {self._size} and {size}. Resize them "
                "to one size, or capture each size by itself."
            )
        self._size = size
        self._pictures.append(pictures)

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
    enabled = progress is True
    with progress_bar(n_samples, "capture", "sample", enabled=enabled) as bar:

        def report(rows: int, samples: int) -> None:
            nonlocal seen
            bar.update(samples - seen)
            bar.set_postfix(rows=str(rows), refresh=False)
            seen = samples
            if callable(progress):
                seconds = time.perf_counter() - begin
                progress(
                    CaptureRecord(rows=rows, samples=samples, n_samples=n_samples, seconds=seconds)
                )

        yield report
