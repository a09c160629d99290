"""Capture: run a live model over inputs, and collect its activations in memory or in a folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, cast, overload

import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._context import Context
from sae_nb.capturing._batch_rows import BatchRows, end_to_end, summed
from sae_nb.capturing._gradients import GradientOf, chosen_loss
from sae_nb.capturing._harvest import CaptureRecord, CaptureSettings, Harvest, check_any_rows
from sae_nb.capturing._resumable import capture_to_store
from sae_nb.checks import Count, check_memory, checked
from sae_nb.checks._annotations import shows_fields
from sae_nb.interrupts import Interrupted
from sae_nb.models import HookPoint
from sae_nb.models._states import TokenAxes

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


Options = ParamSpec("Options")


class _Captures(Protocol[Options]):
    """One hook point by its name gives its activations, several give a dict."""

    @overload
    def __call__(
        self,
        model: LiveModel,
        inputs: Any,  # `Inputs`; said so, mypy sees that a text is an iterable of texts, too
        hook_points: str,
        *args: Options.args,
        **options: Options.kwargs,
    ) -> Activations: ...
    @overload
    def __call__(
        self,
        model: LiveModel,
        inputs: Any,
        hook_points: Iterable[str],
        *args: Options.args,
        **options: Options.kwargs,
    ) -> dict[str, Activations]: ...


@checked(leave=("drop_first", "drop_massive", "keep_special", "gradient_of"))
@dataclass(frozen=True, kw_only=True)
class CaptureOptions(CaptureSettings):
    """All keywords of `capture`: those of rows, how many there are, where they go, what is differentiated."""

    store: str | Path | None = None
    max_rows: Count | None = None
    shard_rows: Count | None = None
    gradient_of: GradientOf | None = None
    labels: Any = None
    progress: bool | Callable[[Any], Any] = True


def _with_options(
    options: Callable[Options, CaptureOptions],
) -> Callable[[Callable[..., Any]], _Captures[Options]]:
    """Declare a function's keywords by the fields of a data class."""
    return lambda call: cast("_Captures[Options]", shows_fields(options)(call))


@checked(leave=("hook_points", "drop_first", "drop_massive", "keep_special", "gradient_of"))
@_with_options(CaptureOptions)
def capture(
    model: LiveModel, inputs: Inputs, hook_points: str | Iterable[str], **options: Any
) -> Activations | dict[str, Activations]:
    """Run a live model over inputs and return its activations, one row per token or patch, and per
    application where a module runs several times in a pass: `acts.step` numbers them.

    Several hook points are read in one pass, and give a dict by the names given. Padding is always dropped;
    `acts.context.policy` and the repr state what else was dropped, cut or packed. Edits that are active
    (`steer`, `ablate`) are seen. Ctrl-C reaches the caller as an `Interrupted`, whose `.result` holds the
    samples that were done; `sn.interrupted()` returns it in a later cell.

    Parameters
    ----------
    inputs
        Texts, conversations (lists of messages), token ids, images, tensors, or any iterable of them.
    hook_points
        One name, or several. Standard names, TransformerLens names and module paths; of a module that runs
        several times, "path@2" is the third application (counted from 0) and "path@last" the last.
    batch_size
        Samples (packed windows) per forward pass; None: 8 texts, 64 of anything else.
    store
        A folder to write to, in shards of bounded size. If the process is killed or interrupted, the
        same call continues where it stopped, and the result is bit-equal; another call is refused.
    drop_first
        Drop the first token of each text or window, and BOS. "auto": for decoder language models,
        whose first token is an attention sink.
    drop_massive
        Drop rows whose norm is more than ten times the median norm (of the first 1 024 rows). "auto": where
        "auto" drops first tokens, unless drop_first=False. A token that is massive at one of several hook
        points is dropped at all; `acts.context.policy["massive_at"]` lists sample and position of each.
    context_length
        Tokens after which a text is cut. None: the model's own limit.
    pack
        Join texts into windows of `context_length` tokens instead of padding them.
    add_bos
        Put BOS before each text that has none; "auto": as the tokenizer does. Token ids are taken as they are,
        but for True.
    keep_special
        Keep special tokens other than BOS (class, separator, end of text).
    positions
        Tokens that become rows, in the words of `steer`: "all"; "last" of every sample; "not_first"; of images
        "cls", "registers", "patches"; of conversations "assistant", "user", "system", "tool".
    drop_ids
        Token ids of your own that never become rows, such as those of a template's markers.
    features
        Axis that holds the features of a state (batch, …, …): "channels" for the second, "last" for the last.
        None: as the module decides; where it does not, the last, and a warning names it.
    dtype
        Precision of the rows; None: the model's.
    max_rows
        Stop after so many rows.
    backend
        "nnsight", or "hooks": plain forward hooks, the same values without nnsight.
    shard_rows
        Rows per file of a store; None: 32 MiB worth.
    gradient_of
        A loss of the model: `acts.gradient` is its gradient by each row of `acts.x`. "next_token": −log p of
        each next token; "labels": −log p of `labels`; or a function from the model's answers to a batch to
        one number. All are sums over samples and tokens, in nats.
    labels
        With gradient_of="labels", the class of each sample, for the model's answer; or {head: classes}.
    progress
        Show a bar; or a function that gets a `CaptureRecord` after every batch.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point; the near names are listed.
    ValueError: If inputs are empty, inputs have no such `positions`, an activation holds NaN or
        infinity (hook point, row and token are named), `store` holds another capture, or there is no gradient.
    MemoryError: If the rows would not fit in memory.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()))
    >>> acts = capture(model, torch.ones(4, 3), "0", progress=False)
    >>> acts.x.shape, acts.hook_point
    (torch.Size([4, 2]), '0')
    >>> acts = capture(model, torch.ones(4, 3), "0", gradient_of=torch.sum, progress=False)
    >>> torch.equal(acts.gradient, (acts.x > 0).float())  # of a sum behind a ReLU
    True
    """
    asked = CaptureOptions(**options)
    several = isinstance(hook_points, Iterable) and not isinstance(hook_points, str)
    plain = asked.gradient_of is None and asked.labels is None
    loss = None if plain else chosen_loss(model, asked.gradient_of, asked.labels)
    model.settle_order(inputs)
    points = _resolved(model, hook_points if several else [hook_points])  # type: ignore[list-item]
    harvest = Harvest(model, points, asked, loss, asked.max_rows)
    if asked.store is None:
        acts = capture_in_memory(harvest, inputs, asked.progress)
    else:
        acts = capture_to_store(
            harvest, inputs, asked.store, asked.shard_rows, several, asked.progress
        )
    result = acts if several else next(iter(acts.values()))
    if any(one.context.policy.get("interrupted") for one in acts.values()):
        n = max(int(one.sample[-1]) + 1 for one in acts.values())
        raise Interrupted(
            f"Capture was interrupted after {n} samples; `sn.interrupted()` returns their activations. Pass "
            "store= a folder, and the same call continues from there next time.",
            result,
        )
    return result


def _resolved(model: LiveModel, names: Iterable[str]) -> dict[str, HookPoint]:
    points = {str(name): model.hook_point(name) for name in names}
    if not points:
        raise ValueError(
            'Name at least one hook point, e.g. "resid_post.0"; `model.hook_points()` lists them.'
        )
    return points


# -------------------------------------------------------------------------------------------------
# In memory: every row is copied once, from the model to its final place.


class Collector:
    """Rows of one hook point in one block of memory, sized from the first batch."""

    def __init__(self, n_samples: int | None, max_rows: int | None, n_blocks: int) -> None:
        self._n_samples, self._max_rows, self._n_blocks = n_samples, max_rows, n_blocks
        self._x: Tensor | None = None
        self._batches: list[BatchRows] = []  # whole ones, without their rows
        self.n, self._placed = 0, 0  # rows of whole batches; with those of the batch under way
        self._steps_placed: set[int] = set()

    def place(self, x: Tensor, dtype: torch.dtype | None, samples: int, step: int = 0) -> Tensor:
        """Copy rows behind those that are there, or over them if this application of the batch comes again."""
        if step in self._steps_placed:
            self._placed = self.n
            self._steps_placed.clear()
        self._steps_placed.add(step)
        end = self._placed + len(x)
        if self._x is None or end > len(self._x):
            self._grow(end, x.shape[1], dtype or x.dtype, samples)
        block = cast(Tensor, self._x)
        start, self._placed = self._placed, end
        block[start:end] = x
        return block[start:end]

    def _grow(self, end: int, width: int, dtype: torch.dtype, samples: int) -> None:
        share = 2.0 if self._n_samples is None else max(1.0, self._n_samples / max(samples, 1))
        size = max(end, math.ceil(end * share))
        if self._max_rows is not None:
            size = max(end, min(size, self._max_rows))
        check_memory(
            size * width * dtype.itemsize * self._n_blocks,
            f"Capturing {size} rows {self._n_blocks} time{'s' * (self._n_blocks > 1)} (hook points, gradients)",
            "Pass store=<folder> to write them to disk, dtype=torch.float16 to halve them, or "
            "max_rows=.",
        )
        larger = torch.empty(size, width, dtype=dtype)
        if self._x is not None:
            larger[: self._placed] = self._x[: self._placed]
        self._x = larger

    def add(self, rows: BatchRows) -> None:
        """Add one batch's rows, which have been placed."""
        if rows.massive:  # those that stay move up
            cast(Tensor, self._x)[self.n : self.n + len(rows.x)] = rows.x
        self.n += len(rows.x)
        self._placed = self.n
        self._steps_placed.clear()
        self._batches.append(replace(rows, x=torch.empty(0), norms=None))

    @property
    def layout(self) -> TokenAxes:
        """Layout of the rows."""
        return self._batches[-1].layout

    @property
    def dropped(self) -> Counter[str]:
        """Tokens that did not become rows, by reason."""
        return summed(rows.dropped for rows in self._batches)

    @property
    def massive(self) -> list[Sequence[int]]:
        """Sample and position of the rows that were dropped for their norm."""
        return [place for rows in self._batches for place in rows.massive]

    def cut(self, n_batches: int) -> None:
        """Keep the first batches only: an interrupt may come between two hook points of one."""
        del self._batches[n_batches:]
        self.n = self._placed = sum(len(rows.sample) for rows in self._batches)

    def columns(self) -> dict[str, Any]:
        """Return all rows and their sample, position and, where there are some, step and gradient."""
        columns, block = end_to_end(self._batches), cast(Tensor, self._x)
        # A view would keep, copy and pickle much that holds nothing.
        rows = block[: self.n].clone() if len(block) > 1.1 * self.n else block[: self.n]
        return {**columns, "x": rows}


class _Memory:
    """The rows of every hook point, and the samples behind them."""

    def __init__(self, harvest: Harvest, n_samples: int | None) -> None:
        self._harvest, self.builders = harvest, harvest.builders()
        n_blocks = len(harvest.points) * (1 if harvest.loss is None else 2)
        self.collectors = {
            name: Collector(n_samples, harvest.max_rows, n_blocks) for name in harvest.points
        }
        self.n_batches = 0  # that are whole

    @property
    def counts(self) -> dict[str, int]:
        return {name: collector.n for name, collector in self.collectors.items()}

    @property
    def complete(self) -> bool:
        wanted = self._harvest.max_rows
        return wanted is not None and min(self.counts.values()) >= wanted

    def has(self, _batch: Batch) -> bool:
        return False

    def place(self, name: str, x: Tensor, step: int) -> Tensor:
        n_seen = next(iter(self.builders.values())).n_samples
        return self.collectors[name].place(x, self._harvest.settings.dtype, n_seen, step)

    def add(self, rows: Mapping[str, BatchRows]) -> None:
        for name, new in rows.items():
            self.collectors[name].add(new)
        self.n_batches += 1


def capture_in_memory(
    harvest: Harvest, inputs: Inputs, progress: bool | Callable[[CaptureRecord], Any]
) -> dict[str, Activations]:
    """Return activations in memory, by name; of an interrupt, the batches that are whole."""
    batches = harvest.batches(inputs)
    memory = _Memory(harvest, batches.n_samples)
    more: dict[str, Any] = {}
    try:
        harvest.fill(memory, batches, progress)
    except KeyboardInterrupt:
        more = {"interrupted": True}
        for collector in memory.collectors.values():
            collector.cut(memory.n_batches)
        if not all(memory.counts.values()):
            raise Interrupted(
                "Capture was interrupted before it had any rows; nothing is kept."
            ) from None
    for name, collector in memory.collectors.items():
        check_any_rows(name, collector.n, collector.dropped)
    taken = {half: builder.take() for half, builder in memory.builders.items()}
    contexts: dict[Any, Context] = {}
    acts = {}
    for name, collector in memory.collectors.items():
        # Hook points of one layout share one context, so that their rows can be joined and compared.
        point, layout, dropped = harvest.points[name], collector.layout, collector.dropped
        builder = memory.builders[point.encoder]
        key = (point.encoder, replace(layout, columns=None), tuple(sorted(dropped.items())))
        if key not in contexts:
            policy = harvest.policy(batches, builder, dropped, collector.massive) | more
            contexts[key] = builder.build(layout, policy, taken[point.encoder])
        columns = collector.columns()
        acts[name] = Activations(
            columns.pop("x"),
            **columns,
            hook_point=str(point),
            model_name=harvest.model.name,
            context=contexts[key],
        )
    return acts
