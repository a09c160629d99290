"""Activations straight from the live model, through a shuffle buffer, with nothing stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, Protocol, TypeGuard, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._named_positions import policy_text
from sae_nb.activations._rows import generator_for
from sae_nb.activations._sites import AND
from sae_nb.capturing._batch_rows import BatchRows, count_rows
from sae_nb.capturing._gradients import Loss, chosen_loss
from sae_nb.capturing._harvest import CaptureSettings, Harvest
from sae_nb.checks import Count, Seed, at_least, check_hook_name, checked
from sae_nb.checks._annotations import shows_fields
from sae_nb.models._inputs import column_of_table
from sae_nb.models._states import TokenAxes

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.checks._values import Indexed
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch, Batches


_CHUNK = 64  # samples per piece when a tensor of inputs is walked through in a fresh order


class StreamEndedError(RuntimeError):
    """A one-shot iterator of inputs has come to its end."""


@checked(leave=("drop_first", "drop_massive", "keep_special", "gradient_of"))
@dataclass(frozen=True, kw_only=True)
class StreamOptions(CaptureSettings):
    """All keywords of `stream`: those of rows, how many are shuffled together, what is differentiated."""

    buffer: Count = 1 << 15
    gradient_of: Literal["next_token"] | Callable[[Tensor], Tensor] | None = None


Options = ParamSpec("Options")


class _Streams(Protocol[Options]):
    def __call__(
        self,
        model: LiveModel,
        inputs: Inputs,
        hook_point: str | Sequence[str],
        *args: Options.args,
        **options: Options.kwargs,
    ) -> ActivationStream: ...


def _with_options(
    options: Callable[Options, StreamOptions],
) -> Callable[[Callable[..., Any]], _Streams[Options]]:
    """Declare a function's keywords by the fields of a data class."""
    return lambda call: cast("_Streams[Options]", shows_fields(options)(call))


@checked(leave=("hook_point", "drop_first", "drop_massive", "keep_special", "gradient_of"))
@_with_options(StreamOptions)
def stream(
    model: LiveModel, inputs: Inputs, hook_point: str | Sequence[str], **options: Any
) -> ActivationStream:
    """Return activations that are computed as `train` asks for them; nothing is stored.

    A buffer is filled from consecutive forward passes, shuffled, used up, and filled again. Inputs
    that can be read again (lists, tensors, datasets, DataLoaders) start over in a fresh order, in
    the middle of a buffer where one ends there. The model's lock is held during forward passes only.
    The other arguments are those of `capture`. With `drop_massive` the row before takes the place of a
    massive one, since the number of rows has to be known before the model runs, and the median is that of
    the first batch of inputs.

    Parameters
    ----------
    hook_point
        One name, or those of a dictionary of several sites, what it reads before what it writes: rows then
        hold all of them side by side, of the same tokens.
    buffer
        Rows shuffled together; what the stream keeps in memory. Fewer where one pass over the
        inputs has fewer.
    gradient_of
        As in `capture`: rows then hold each activation of the one hook point and its gradient, the
        input of `GradientSAE`. Not "labels": samples come in a fresh order in every pass, and labels
        would be of others.

    Raises
    ------
    HookPointNotFound, TypeError, ValueError: As `capture`.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()))
    >>> source = stream(model, torch.randn(10, 3), "0")
    >>> next(source.batches(4, seed=0)).shape
    torch.Size([4, 2])
    """
    asked = StreamOptions(**options)
    if not isinstance(hook_point, Iterable):
        check_hook_name(hook_point)
    names = [hook_point] if isinstance(hook_point, str) else list(hook_point)
    for name in names:
        check_hook_name(name)
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"`hook_point` must be one name or several different ones, got {hook_point!r}."
        )
    loss = _loss_of_stream(model, asked.gradient_of, names)
    return ActivationStream(model, inputs, names, settings=asked, buffer=asked.buffer, loss=loss)


def _loss_of_stream(model: LiveModel, gradient_of: object, names: Sequence[str]) -> Loss | None:
    """The loss that was asked for, if a stream can keep its rows and gradients together."""
    if isinstance(gradient_of, str) and gradient_of == "labels":
        raise ValueError(
            '`gradient_of` must be "next_token" or a function of the model\'s answers in a stream, whose '
            'samples come in a fresh order in every pass, got "labels". Capture them: '
            'sn.capture(model, inputs, hook_point, gradient_of="labels", labels=…).'
        )
    if gradient_of is not None and len(names) > 1:
        raise ValueError(
            f"`hook_point` must be one name with gradient_of=, got {len(names)}. Stream one at a time, or "
            "capture them in one call."
        )
    return None if gradient_of is None else chosen_loss(model, gradient_of)


class ActivationStream:
    """Activations computed when asked for; made by `stream`, read by `train`."""

    def __init__(
        self,
        model: LiveModel,
        inputs: Inputs,
        hook_points: Sequence[str],
        *,
        settings: CaptureSettings,
        buffer: int,
        loss: Loss | None = None,
    ) -> None:
        model.settle_order(inputs)
        points = {str(point): point for point in map(model.hook_point, hook_points)}
        self.hook_points: tuple[str, ...] = tuple(points)
        self.hook_point: str = AND.join(points)
        self._harvest = Harvest(model, points, settings, loss)
        self.model_name: str = model.name
        self.buffer = buffer
        self._inputs = column_of_table(model, inputs)
        self._one_shot = isinstance(inputs, Iterator)
        # Checks the inputs now. Of an iterator that runs once this is the only reading there is.
        opening = self._harvest.batches(inputs)
        self.n_samples = opening.n_samples
        self._opening = opening.policy
        self._harvest.limits.in_place = True
        self._only_reading: Batches | None = opening if self._one_shot else None
        self._first_batch: Batch | None = None
        self._seen: tuple[TokenAxes, tuple[int, ...]] | None = None
        self._n_per_buffer: int | None = None

    @property
    def policy(self) -> Mapping[str, Any]:
        """The samples and tokens that are dropped, kept and packed, by name; limits of norms once they are
        known, after the first batch.
        """
        rows = self._harvest.row_policy
        limits = self._harvest.norm_limits if rows.drop_massive else {}
        return {
            **self._opening,
            "drop_first": rows.drop_first,
            "drop_massive": rows.drop_massive,
            "keep_special": rows.keep_special,
            "positions": rows.positions,
            "drop_ids": list(rows.drop_ids),
        } | ({"norm_limits": limits} if limits else {})

    @property
    def has_gradient(self) -> bool:
        """Whether rows hold a gradient for each activation."""
        return self._harvest.loss is not None

    @property
    def sites(self) -> tuple[int, ...]:
        """Widths of what lies side by side in a row; runs a batch where the model's structure does not say."""
        widths = [self._harvest.model.width(point) for point in self.hook_points]
        stated = tuple(width for width in widths if width is not None)
        stated = stated if len(stated) == len(widths) else self._look()[1]
        return stated * 2 if self.has_gradient else stated

    @property
    def d_in(self) -> int:
        """Width of a row, all sites together."""
        return sum(self.sites)

    def __repr__(self) -> str:
        n = "" if self.n_samples is None else f" · {self.n_samples} samples"
        policy = policy_text(self.policy)
        return (
            f"ActivationStream({self.d_in} wide at {self.hook_point} of {self.model_name}{n} · buffer "
            f"of {self.buffer} rows{' · with gradients' * self.has_gradient}"
            f"{' · ' + policy if policy else ''})"
        )

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield shuffled batches of 1 024 rows; `batches` takes their size, a seed and a start."""
        return self.batches(1024)

    @checked
    def batches(
        self, batch_size: Count, *, seed: Seed = 0, start: Annotated[int, at_least(0)] = 0
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield shuffled batches, for ever where the inputs can be read again."""
        if self._one_shot and self._only_reading is None:
            raise ValueError(
                "`inputs` were an iterator that can be read once, and it has been begun: this stream "
                "cannot go back. Pass a list, a dataset or a DataLoader, or make a new stream from a "
                "new iterator."
            )
        return self._shuffled(batch_size, seed, start)

    def _shuffled(self, batch_size: int, seed: int, start: int) -> Iterator[Tensor]:
        size = self._rows_per_buffer()
        first, within = divmod(start * batch_size, size)
        if first:
            self._look()
        reader = _Reader(self, self._row_batches(seed), skip=first * size)
        parts: list[Tensor] = []
        missing = batch_size
        for number in count(first):
            rows = reader.read(size)
            complete = len(rows) == size
            order = torch.randperm(len(rows), generator=generator_for(seed, 1, number))[within:]
            within = max(0, within - len(rows))
            while len(order) >= missing:
                parts.append(rows[order[:missing]])
                order, missing = order[missing:], batch_size
                yield parts[0] if len(parts) == 1 else torch.cat(parts)
                parts = []
            if len(order):
                parts.append(rows[order])
                missing -= len(order)
            # Freed before the next buffer is filled, so that one is held at a time.
            del rows
            if not complete:
                raise StreamEndedError(
                    "`inputs` were an iterator that can be read once, and it ended after "
                    f"{reader.n_read} rows. Pass a list, a dataset or a DataLoader to continue without end, "
                    "or train for fewer steps."
                )

    def _row_batches(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of pass after pass, each in an order of its own."""
        if self._one_shot:
            if self._harvest.row_policy.drop_massive:
                with suppress(StopIteration):  # of inputs that are empty
                    self._look()  # while the first batch can be kept
            reading, self._only_reading = self._only_reading, None
            if self._first_batch is not None:
                yield self._first_batch
            if reading is not None:
                yield from reading
            return
        for epoch in count():
            generator = generator_for(seed, 0, epoch)
            inputs = in_fresh_order(self._inputs, generator, self._harvest.model.modality.n_axes)
            yield from self._harvest.batches(inputs)

    def _look(self) -> tuple[TokenAxes, tuple[int, ...]]:
        """Run the first batch, once, to learn how rows are laid out and how wide sites are."""
        if self._seen is None:
            batch = next(self._only_reading or self._harvest.batches(self._inputs))
            self._first_batch = batch if self._one_shot else None
            rows = self._sites(batch, 0)
            # Of the inputs as they are given, so that a stream that is resumed decides alike.
            self._harvest.limits.settle()
            self._seen = (rows[0].layout, tuple(site.x.shape[1] for site in rows))
        return self._seen

    def run(self, batch: Batch, rows_before: int) -> Float[Tensor, "rows d_in"]:
        """Run one batch and return its rows."""
        if self._harvest.row_policy.drop_massive:
            self._look()  # by the limits of the first batch
        by_site = self._sites(batch, rows_before)
        # As precise as it comes: half precision would round most of a gradient to nothing.
        gradients = [rows.gradient for rows in by_site if rows.gradient is not None]
        sites = [rows.x for rows in by_site] + gradients
        return sites[0] if len(sites) == 1 else torch.cat(sites, dim=1)

    def _sites(self, batch: Batch, rows_before: int) -> list[BatchRows]:
        """The rows of one batch at every site."""
        before = dict.fromkeys(self.hook_points, rows_before)
        sites = list(self._harvest.rows(batch, before).values())
        first = sites[0]
        for name, other in zip(self.hook_points, sites, strict=True):
            if not first.same_places(other):
                raise ValueError(
                    f'Row by row, sites must hold the same tokens, but "{self.hook_points[0]}" gives '
                    f'{len(first.x)} rows of a batch and "{name}" {len(other.x)} others. Choose hook '
                    "points with one vector per token each."
                )
        return sites

    def count(self, batch: Batch) -> int:
        """Return how many rows a batch gives, without running it."""
        layout = self._look()[0]
        applications = self._harvest.applications[self.hook_points[0]]
        return applications * count_rows(batch, layout, self._harvest.row_policy)

    def _rows_per_buffer(self) -> int:
        # A buffer larger than one pass would run the same samples again before the first batch.
        if self._n_per_buffer is None:
            if self._one_shot:
                return self.buffer
            rows = 0
            for batch in self._harvest.batches(self._inputs):
                rows += self.count(batch)
                if rows >= self.buffer:
                    break
            if not rows:
                raise ValueError(
                    f"A stream must give at least one row at `{self.hook_point}`, but all were "
                    "dropped. Pass longer inputs, or drop_first=False."
                )
            self._n_per_buffer = min(rows, self.buffer)
        return self._n_per_buffer


class _Reader:
    """Rows of consecutive batches, cut into stretches of any length."""

    def __init__(self, source: ActivationStream, batches: Iterator[Batch], *, skip: int) -> None:
        self._source, self._batches, self._skip = source, batches, skip
        self._skipped = skip > 0
        self._left: Tensor | None = None
        self.n_read = 0

    def read(self, size: int) -> Float[Tensor, "m d_in"]:
        """Return the next `size` rows, fewer only at the end of the inputs."""
        buffer: Tensor | None = None
        filled = 0
        while filled < size:
            rows = self._left if self._left is not None else self._next_rows()
            self._left = None
            if rows is None:
                break
            if buffer is None:
                buffer = torch.empty(size, rows.shape[1], dtype=rows.dtype)
            taken = rows[: size - filled]
            buffer[filled : filled + len(taken)] = taken
            filled += len(taken)
            if len(taken) < len(rows):
                self._left = rows[len(taken) :]
        return torch.empty(0, self._source.d_in) if buffer is None else buffer[:filled]

    def _next_rows(self) -> Tensor | None:
        for batch in self._batches:
            if self._skip:
                n = self._source.count(batch)
                if n <= self._skip:
                    self._skip -= n
                    self.n_read += n
                    continue
            rows = self._source.run(batch, self.n_read)
            self.n_read += len(rows)
            if self._skipped and len(rows) != self._source.count(batch):
                raise ValueError(
                    f"`start` needs samples that all give the same number of rows at "
                    f"`{self._source.hook_point}`, got {len(rows)} in a batch for "
                    f"{self._source.count(batch)}. Begin this stream at start=0."
                )
            rows, self._skip = rows[self._skip :], 0
            if len(rows):
                return rows
        return None


def in_fresh_order(inputs: Inputs, generator: torch.Generator, n_axes: int) -> Inputs:
    """Return the same samples in another order, where their number is known; else as they are."""
    for name in ("images", "texts"):
        samples = getattr(inputs, name, None)
        if samples is not None and not callable(samples):
            return in_fresh_order(samples, generator, n_axes)
    if isinstance(inputs, Mapping):
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        lengths = {len(value) for value in tensors.values()}
        if len(lengths) != 1 or len(tensors) < len(inputs):
            return inputs
        order = torch.randperm(lengths.pop(), generator=generator)
        return {name: value[order.to(value.device)] for name, value in tensors.items()}
    if not _is_many(inputs, n_axes):
        return inputs
    order = torch.randperm(len(inputs), generator=generator)
    if isinstance(inputs, (list, tuple)):
        return [inputs[i] for i in order.tolist()]
    if isinstance(inputs, np.ndarray):
        return (inputs[part.numpy()] for part in torch.split(order, _CHUNK))
    if isinstance(inputs, Tensor):
        return (inputs[part.to(inputs.device)] for part in torch.split(order, _CHUNK))
    return (inputs[i] for i in order.tolist())


def _is_many(inputs: Inputs, n_axes: int) -> TypeGuard[Indexed]:
    """Whether inputs are several samples that can be asked for one by one."""
    if isinstance(inputs, (str, bytes)) or not hasattr(inputs, "__getitem__"):
        return False
    if isinstance(inputs, (Tensor, np.ndarray)):
        # A vector of ids is one text; three axes are one image.
        return inputs.ndim != n_axes and len(inputs) > 1
    if not isinstance(inputs, Sized) or len(inputs) < 2:
        return False
    # A list of integers is one text as well.
    return not (isinstance(inputs, Sequence) and isinstance(inputs[0], (int, np.integer)))
