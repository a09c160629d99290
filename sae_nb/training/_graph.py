"""Steps on a card that ask the host nothing: a CUDA graph each, and what they leave for the next record."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._massive import ordinary_rows
from sae_nb.kernels._adam import FusedAdam
from sae_nb.kernels._dense import note

if TYPE_CHECKING:
    from sae_nb.architectures import TrainingLoss

MOST_UNREAD = 1000
"""Steps after which the card is asked even where records lie further apart."""


class Taken(NamedTuple):
    """What a step leaves. That of a graph lies in memory that its next replay writes again."""

    loss: TrainingLoss
    norm: Float[Tensor, ""]
    """Of the gradient before clipping."""

    x: Float[Tensor, "batch d_in"]
    """The rows it saw."""


class StepGraph:
    """A training step that is captured when a batch comes a second time under the same settings, then replayed.

    The first batch of a shape or a setting is taken eagerly: kernels are compiled, and memory is found. A
    weight that someone else has written since lets the graph go, too. Where a graph cannot be captured, steps
    stay eager; the code of both is one function.
    """

    def __init__(
        self,
        step: Callable[[Tensor], Taken],
        settings: Callable[[], Hashable],
        parameters: Sequence[Tensor],
        what: str,
    ) -> None:
        """`settings`: returns whatever numbers a step takes from the host."""
        self._step, self._settings = step, settings
        self._parameters, self._what = parameters, what
        self._stream = torch.cuda.Stream(parameters[0].device)  # type: ignore[no-untyped-call]
        self._key: Hashable = None
        self._refused: Hashable = None
        self._written: list[tuple[int, int]] = []
        self._captured: tuple[torch.cuda.CUDAGraph, Tensor, Taken] | None = None
        self._captures = 0

    def __call__(self, x: Float[Tensor, "batch d_in"]) -> Taken:
        """Take a step."""
        key = (x.shape, self._settings())
        written = self._captured is not None and self._written != self._versions()
        if key != self._key or written or key == self._refused:
            self._captured = None  # its memory is free before more is taken
            taken = self._eagerly(x)
            self._key = (x.shape, self._settings())  # it may have found that it needs more room
            return taken
        if self._captured is None:
            self._captured = self._capture(x)
        if self._captured is None:
            self._refused = key
            return self._eagerly(x)
        graph, batch, taken = self._captured
        batch.copy_(x)
        graph.replay()
        return taken

    def _eagerly(self, x: Tensor) -> Taken:
        """On the stream that captures, where torch wants the steps before a capture."""
        here = torch.cuda.current_stream(x.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            taken = self._step(x)
        here.wait_stream(self._stream)
        return taken

    def _capture(self, x: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Taken] | None:
        try:
            graph, batch = torch.cuda.CUDAGraph(), x.clone()
            # Another thread of a notebook may use the card meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                taken = self._step(batch)
        except RuntimeError as error:  # no room for it, or something in it that no graph holds
            reason = str(error.__context__ or error).splitlines()[0]
            note("training step", "eager", f"{self._what}: no graph, {reason[:200]}")
            torch.cuda.empty_cache()
            return None
        self._written = self._versions()
        self._captures += 1
        often = "once" if self._captures == 1 else f"{self._captures} times"
        note("training step", "CUDA graph", f"{self._what}, captured {often}")
        return graph, batch, taken

    def _versions(self) -> list[tuple[int, int]]:
        return [(p.data_ptr(), p._version) for p in self._parameters]


class Unread(NamedTuple):
    """What was read of the steps since the last time."""

    losses: list[float]
    norm: float
    n_massive: int
    wrong: list[float]
    """Number of the first step that was not finite (0: none), its loss, its norm and the terms of its loss."""


class StepLog:
    """What steps leave on a card until it is read: losses, massive rows, and the first that was not finite.

    From that one on the optimiser moves no weight. `keep_rows`: also the rows of that step, where they may be
    what was not finite.
    """

    def __init__(self, every: int, optimiser: FusedAdam, *, keep_rows: bool) -> None:
        self.number = torch.zeros_like(optimiser.found, dtype=torch.float64)
        """Of the step under way, counted from 1."""

        self.unread = 0
        self.terms: list[str] = []
        self.rows: Float[Tensor, "batch d_in"] | None = None
        self._optimiser, self._keep_rows = optimiser, keep_rows
        self._losses = self.number.new_zeros(min(every, MOST_UNREAD))
        self._norm, self._n_massive = torch.zeros_like(self.number), torch.zeros_like(self.number)
        self._wrong: Float[Tensor, " numbers"] | None = None

    @property
    def full(self) -> bool:
        """Whether the next step would write over a loss that was not read."""
        return self.unread == len(self._losses)

    def fraction(self, steps: int) -> Any:
        """Return the share of the run that is over, as a tensor that stands for the number."""
        return ((self.number - 1) / steps).float()

    def ordinary(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """Return rows with ordinary ones in the place of massive ones, which are counted."""
        x, n_massive = ordinary_rows(x)
        self._n_massive += n_massive
        return x

    @torch.no_grad()
    def add(
        self, loss: TrainingLoss, norm: Float[Tensor, ""], x: Float[Tensor, "batch d_in"]
    ) -> None:
        """Take in a step before the optimiser moves."""
        from sae_nb.kernels._triton_primitives import overflowed

        self.terms = list(loss.parts)
        now = torch.stack([loss.total.detach(), norm, *loss.parts.values()]).double()
        self._losses.copy_(torch.cat([self._losses[1:], now[:1]]))
        self._norm.copy_(norm)
        if self._wrong is None:
            self._wrong = now.new_zeros(1 + len(now))
        is_new = ~torch.isfinite(now[:2]).all() & (self._wrong[0] == 0)
        self._wrong.copy_(torch.where(is_new, torch.cat([self.number[None], now]), self._wrong))
        if self._keep_rows:
            if self.rows is None or self.rows.shape != x.shape:
                self.rows = torch.zeros_like(x)
            self.rows.copy_(torch.where(is_new, x, self.rows))
        self._optimiser.found.copy_((self._wrong[0] != 0) | overflowed(x.device))

    def read(self) -> Unread:
        """Wait for the card, once."""
        wrong = self._losses[:0] if self._wrong is None else self._wrong
        found = torch.cat([self._norm[None], self._n_massive[None], self._losses, wrong]).tolist()
        end = 2 + len(self._losses)
        losses = found[end - self.unread : end]
        self._n_massive.zero_()
        self.unread = 0
        return Unread(losses, found[0], int(found[1]), found[end:] or [0.0])


def sent_ahead(batches: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield batches on a card: each is on its way, from pinned memory, while the step before it runs."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    under_way: list[tuple[Tensor, torch.cuda.Event]] = []
    for x in batches:
        pinned = x.pin_memory()
        with torch.cuda.stream(stream):
            under_way.append((pinned.to(device, non_blocking=True), stream.record_event()))
        if len(under_way) > 1:
            yield _arrived(*under_way.pop(0))
    for one in under_way:
        yield _arrived(*one)


def _arrived(x: Tensor, sent: torch.cuda.Event) -> Tensor:
    here = torch.cuda.current_stream(x.device)
    here.wait_event(sent)
    x.record_stream(here)
    return x
