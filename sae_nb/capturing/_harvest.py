"""From a model's batches to rows and the samples behind them: what every way of capturing shares.

Padding never becomes a row, attention sinks not by default, and all of it is stated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from sae_nb.activations._massive import row_norms
from sae_nb.activations._named_positions import NamedPositions
from sae_nb.activations._positions import PositionPolicy
from sae_nb.activations.tokens import whole_at
from sae_nb.capturing._batch_rows import BatchRows, NormLimits, batch_rows, check_roles, joined_rows
from sae_nb.capturing._context_builder import ContextBuilder
from sae_nb.capturing._copies import Copies
from sae_nb.capturing._gradients import Loss, differentiating, with_gradients
from sae_nb.checks import Count, check_integers, checked, one_of, warn_caller
from sae_nb.models import HookPoint
from sae_nb.models._interventions import Backend
from sae_nb.models._running import Runner
from sae_nb.models._states import timed_layout
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch, Batches


@dataclass(frozen=True, kw_only=True)
class CaptureRecord:
    """Progress of a capture, passed to a callback after every batch."""

    rows: int
    """Rows kept so far at one hook point."""

    samples: int
    n_samples: int | None
    """Samples the model has seen; samples in all, where that is known."""

    seconds: float
    """Since the first batch."""


@checked(leave=("drop_first", "drop_massive", "keep_special"))
@dataclass(frozen=True, kw_only=True)
class CaptureSettings:
    """Settings of batching, running and turning inputs into rows, as `capture` explains; checked once."""

    batch_size: Count | None = None
    drop_first: bool | Literal["auto"] = "auto"
    drop_massive: bool | Literal["auto"] = "auto"
    context_length: Count | None = None
    pack: bool = False
    add_bos: bool | Literal["auto"] = "auto"
    keep_special: bool = True
    positions: NamedPositions = "all"
    drop_ids: Sequence[int] = ()
    features: Literal["last", "channels"] | None = None
    dtype: torch.dtype | None = None
    backend: Backend = "nnsight"

    def __post_init__(self) -> None:
        drop_ids = check_integers(self.drop_ids, name="drop_ids")
        object.__setattr__(self, "drop_ids", drop_ids)
        if self.features is not None:
            one_of(self.features, ("last", "channels"), name="features")
        if self.pack and self.positions == "last":
            raise ValueError(
                '`pack` must be False with positions="last", got True: a packed window may end inside of a '
                "text. Capture texts one a row."
            )
        if self.dtype is not None and not (
            isinstance(self.dtype, torch.dtype) and self.dtype.is_floating_point
        ):
            raise ValueError(
                f"`dtype` must be a floating-point torch.dtype such as torch.float16, got "
                f"{self.dtype!r}."
            )


class _Sink(Protocol):
    """Where rows go, batch by batch, with the samples behind them: memory, or a folder."""

    @property
    def builders(self) -> Mapping[bool, ContextBuilder]: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def complete(self) -> bool: ...
    def has(self, batch: Batch) -> bool: ...
    def place(self, name: str, x: Tensor, step: int) -> Tensor: ...
    def add(self, rows: Mapping[str, BatchRows]) -> None: ...


CopyRows = Callable[[str, Tensor, int], Tensor]
"""(hook point, rows that are still the model's, their application) → the same rows on the CPU, ours to keep.
An application that comes again takes the place of what was copied before.
"""


@dataclass(frozen=True, eq=False)
class _Begun:
    """A batch that the model has run, and its rows by hook point and application."""

    batch: Batch
    taken: dict[str, dict[int, BatchRows]] = field(default_factory=dict)
    copies: Copies = field(default_factory=Copies)
    on_their_way: dict[tuple[str, int], None] = field(default_factory=dict)
    """Hook points and applications whose rows come from a card, in order."""


class Harvest:
    """A model, where it is read (by names as given), how activations become rows, and how many at most."""

    def __init__(
        self,
        model: LiveModel,
        points: Mapping[str, HookPoint],
        settings: CaptureSettings,
        loss: Loss | None = None,
        max_rows: int | None = None,
    ) -> None:
        if settings.features is not None:
            fixed = {
                "features": settings.features,
                "channels": None,
                "maps": False,
                "series": False,
            }
            points = {name: point.changed(**fixed) for name, point in points.items()}
        self.model, self.points, self.settings, self.loss = model, points, settings, loss
        self.max_rows = max_rows
        self._guessed: set[str] = set()  # hook points whose axis of features a warning has named
        self.applications: dict[str, int] = {}
        """Number of times that the module runs per pass, by hook point, from the first batch on."""

        self._runner = (
            Runner(model, read=points, answer=False, backend=settings.backend, every=True)
            if loss is None
            else differentiating(model, points, loss, settings.backend)
        )
        self.row_policy = PositionPolicy.for_model(
            model,
            drop_first=settings.drop_first,
            drop_massive=settings.drop_massive,
            keep_special=settings.keep_special,
            positions=settings.positions,
            drop_ids=tuple(settings.drop_ids),
        )
        self.limits = NormLimits(points)

    def builders(self) -> dict[bool, ContextBuilder]:
        """Return what gathers the samples: one, or two where both halves of an encoder–decoder are read."""
        halves = dict.fromkeys(point.encoder for point in self.points.values())
        return {half: ContextBuilder(self.model, encoder=half) for half in halves}

    def fill(
        self, sink: _Sink, batches: Batches, progress: bool | Callable[[CaptureRecord], Any]
    ) -> None:
        """Run batch by batch, until the inputs end or there are as many rows as asked for."""
        first = next(iter(sink.builders.values()))
        begun: _Begun | None = None

        with reporting(progress, batches.n_samples) as report:

            def take_in(begun: _Begun) -> None:
                sink.add(self.finished(begun, sink.counts, sink.place))
                report(max(sink.counts.values()), first.n_samples)

            for batch in batches:
                ahead: _Begun | None = None
                if begun is not None:
                    # On a card the model runs a batch while the rows of the one before are on their way.
                    ahead = self.begin(batch, sink.place)
                    take_in(begun)
                # The context first: an interrupt between the two must not leave rows without one.
                for builder in sink.builders.values():
                    builder.add(batch.on_cpu)
                begun = None
                if sink.has(batch.on_cpu):
                    report(max(sink.counts.values()), first.n_samples)
                else:
                    begun = ahead or self.begin(batch, sink.place)
                    if not begun.on_their_way or self.max_rows is not None:
                        take_in(begun)
                        begun = None
                if sink.complete:
                    break
            if begun is not None:
                take_in(begun)

    def stated(self) -> dict[str, Any]:
        """Return the settings that decide the rows as plain values: two captures that agree read alike."""
        settings = {one.name: getattr(self.settings, one.name) for one in fields(CaptureSettings)}
        stated = settings | {"drop_first": self.row_policy.drop_first, "max_rows": self.max_rows}
        # Left out where nothing is chosen by them, as in stores that were written before there were any.
        positions, drop_ids = stated.pop("positions"), stated.pop("drop_ids")
        del stated["drop_massive"]
        stated |= {"drop_massive": True} if self.row_policy.drop_massive else {}
        features = stated.pop("features")
        stated |= {} if features is None else {"features": features}
        stated |= {"positions": positions} if positions != "all" else {}
        stated |= {"drop_ids": list(drop_ids)} if drop_ids else {}
        dtype = stated["dtype"]
        stated |= {"dtype": None if dtype is None else str(dtype)}
        return stated if self.loss is None else stated | self.loss.stated()

    def batches(self, inputs: Inputs) -> Batches:
        """Return the model's batches of these inputs."""
        names = ("batch_size", "context_length", "pack", "add_bos")
        batches = self.model.batches(
            inputs, **{name: getattr(self.settings, name) for name in names}
        )
        if self.loss is not None:
            self.loss.check(batches)
        return batches

    def rows(
        self, batch: Batch, row_counts: Mapping[str, int], copy: CopyRows | None = None
    ) -> dict[str, BatchRows]:
        """Run one batch and return its rows on the CPU, as many as are still wanted, by hook point."""
        copy = copy or self.to_cpu
        return self.finished(self.begin(batch, copy), row_counts, copy)

    def begin(self, batch: Batch, copy: CopyRows) -> _Begun:
        """Run one batch; rows on the CPU are copied, those on a card set out for it."""
        seen = batch.on_cpu  # what is asked of a batch on a card would wait for the model
        check_roles(seen, self.row_policy)
        begun = _Begun(seen)
        taken, copies = begun.taken, begun.copies

        def take(name: str, value: Tensor, step: int) -> None:
            self._check_samples(seen, name, value, step)
            live = batch_rows(value, seen, self.row_policy, self.points[name])
            live = replace(
                live, layout=timed_layout(live.layout, self.model, seen, self.points[name])
            )
            if live.layout.features == "unknown":
                self._warn_of_guess(name, tuple(value.shape))
            # Before a narrower precision makes infinity of what is massive.
            norms = copies.start(row_norms(live.x)) if self.row_policy.drop_massive else None
            if live.x.is_cuda:
                begun.on_their_way[name, step] = None
                x = copies.start(live.x.to(self.settings.dtype or live.x.dtype))
            else:
                x = copy(name, live.x, step)
            taken.setdefault(name, {})[step] = replace(live, x=x, step=step, norms=norms)

        if self.loss is None:
            self._runner.take(batch, take)
        else:
            for name, step, value, gradient in with_gradients(self._runner, batch, self.loss):
                take(name, value, step)
                rows = taken[name][step]
                layout = rows.layout
                point = self.points[name]
                slope = batch_rows(gradient, seen, self.row_policy, point, layout=layout).x
                # As precise as it comes: half precision would round most of it to nothing.
                taken[name][step] = replace(rows, gradient=slope.to("cpu", copy=True))
        self._check_applications(seen, taken)
        return begun

    def finished(
        self, begun: _Begun, row_counts: Mapping[str, int], copy: CopyRows
    ) -> dict[str, BatchRows]:
        """Wait for the rows of a batch, and return as many as are still wanted, by hook point."""
        batch, taken = begun.batch, begun.taken
        begun.copies.wait()
        for name, step in begun.on_their_way:
            rows = taken[name][step]
            taken[name][step] = replace(rows, x=copy(name, rows.x, step))
        joined = {}
        for name, point in self.points.items():
            parts = list(taken[name].values())
            numbered = len(parts) > 1 or "@" in point
            joined[name] = joined_rows(parts) if numbered else replace(parts[0], step=None)
        if self.row_policy.drop_massive:
            joined = self.limits.without_massive(joined)
        for name, rows in joined.items():
            point, n = self.points[name], row_counts[name]
            self._check_finite(batch, rows, rows.x, "Activations", point, n)
            if rows.gradient is not None:
                self._check_finite(batch, rows, rows.gradient, "Gradients", point, n)
            joined[name] = rows.first(None if self.max_rows is None else self.max_rows - n)
        return joined

    def to_cpu(self, _name: str, x: Tensor, _step: int) -> Tensor:
        """Return a copy of rows of our own."""
        return x.to("cpu", self.settings.dtype or x.dtype, copy=True)

    def _check_samples(self, batch: Batch, name: str, x: Tensor, step: int) -> None:
        """Refuse an application of a module to some of the samples only."""
        n_tokens = 1 if batch.token_ids is None else batch.token_ids.shape[1]
        if step and x.ndim > 1 and x.shape[0] not in (batch.n, batch.n * n_tokens):
            path = self.points[name].path
            raise ValueError(
                f"`{path}` must run the same number of times for every sample, but its application {step} was "
                f"of {x.shape[0]} of {batch.n} samples. Capture with batch_size=1 at "
                f'"{path}@last", or "{path}@0".'
            )

    def _check_applications(self, batch: Batch, taken: Mapping[str, Sized]) -> None:
        """Refuse a module that runs more often for some batches than for others."""
        for name, parts in taken.items():
            before = self.applications.setdefault(name, len(parts))
            if before != len(parts):
                path = self.points[name].path
                raise ValueError(
                    f"`{path}` must run the same number of times for every sample, but ran {before} times "
                    f"for those before sample {int(batch.sample.min())} and {len(parts)} times from it on. "
                    f'Read one application that all have, "{path}@0" or "{path}@last".'
                )

    def _warn_of_guess(self, name: str, shape: tuple[int, ...]) -> None:
        if name in self._guessed:
            return
        self._guessed.add(name)
        warn_caller(
            f"Activations at `{name}` have shape {shape}, and the layout of their module is not known: the "
            f"last axis, of {shape[-1]}, is taken for features, the second for position. Pass "
            'features="last" to confirm, or features="channels" if it is the other way round.'
        )

    def _check_finite(
        self,
        batch: Batch,
        rows: BatchRows,
        x: Tensor,
        what: str,
        point: HookPoint,
        rows_before: int,
    ) -> None:
        # A sum is finite only if every entry is (up to overflow): one pass in the common case.
        if bool(torch.isfinite(x.sum(dtype=torch.float32))):
            return
        bad = (~torch.isfinite(x).all(dim=1)).nonzero().flatten()
        if not len(bad):
            return
        row = int(bad[0])
        sample, position = int(rows.sample[row]), int(rows.position[row])
        builder = ContextBuilder(self.model, encoder=point.encoder)
        builder.add(batch)
        batch = batch.at(point)
        context = builder.build(rows.layout)
        token = context.token_name(position)
        if batch.token_ids is not None:
            own = batch.sample.cpu() == sample
            own &= batch.keep.cpu() if batch.keep is not None else own
            at = int((batch.position.cpu()[own] == position).nonzero()[0])
            token = whole_at(context.names_of(batch.token_ids.cpu()[own].tolist()), at)
        raise ValueError(
            f"{what} at `{point}` must be finite, but row {rows_before + row} holds NaN or "
            f"infinity ({context.sample_word} {sample}, position {position}, token {token!r}; {len(bad)} "
            f"such rows in this batch). Look at the model's weights and dtype ({x.dtype}; float16 "
            "overflows at 65504), or leave this sample out."
        )

    @property
    def norm_limits(self) -> dict[str, float]:
        """By hook point the norm above which a row is massive, where there is such a norm."""
        limits = {str(point): self.limits.of(name) for name, point in self.points.items()}
        return {point: limit for point, limit in limits.items() if limit < math.inf}

    def policy(
        self,
        batches: Batches,
        builder: ContextBuilder,
        dropped: Mapping[str, int],
        massive: Sequence[Sequence[int]] = (),
    ) -> dict[str, Any]:
        """Return everything that was chosen, dropped, cut and packed, for `acts.context.policy`."""
        settings, limits = self.settings, self.norm_limits
        return {
            **batches.policy,
            "drop_first": self.row_policy.drop_first,
            "keep_special": settings.keep_special,
            "positions": settings.positions,
            **({"drop_ids": list(settings.drop_ids)} if settings.drop_ids else {}),
            "beginning_of_text": self.row_policy.begin_id,
            "texts_with_bos": builder.bos,
            **dropped,
            "max_rows": self.max_rows,
            "batch_size": settings.batch_size,
            "interventions": [str(edit.hook_point) for edit in self.model.interventions],
            "takes_off_mean": self.model.takes_off_mean,
        } | (
            ({} if self.loss is None else {"gradient_of": self.loss.name})
            | ({"norm_limits": limits} if limits else {})
            | ({"massive_at": [list(place) for place in massive]} if massive else {})
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
                seconds = time.perf_counter() - begin
                record = CaptureRecord(
                    rows=rows, samples=samples, n_samples=n_samples, seconds=seconds
                )
                progress(record)

        yield report


def check_any_rows(point: str, n: int, dropped: Mapping[str, int]) -> None:
    """Refuse a capture in which every vector was dropped."""
    if not n:
        reasons = {
            name.removeprefix("n_dropped_"): count for name, count in dropped.items() if count
        }
        raise ValueError(
            f"Capture must keep at least one row at `{point}`, but all were dropped ({reasons}). "
            "Pass longer inputs, drop_first=False, or other `positions`."
        )
