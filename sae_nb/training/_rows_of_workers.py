"""Rows that several workers bring: each its own captures or its own live model, or one for all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.background import Task, checkpoint
from sae_nb.training._process_group import Team, current_team

if TYPE_CHECKING:
    from sae_nb.activations import ActivationSource


def rows_of_workers(source: ActivationSource | None) -> ActivationSource:
    """Return a source whose batches hold rows of every worker's own source, side by side.

    Of a batch of B rows each worker that has a source reads B / (their number), by its own shuffle, and
    sends them to the others: B · d_in numbers a step. So captures may lie on the disk of the machine that made
    them, live models may run where there is room, and one worker may capture for all. Rows from disk are read
    one batch ahead.

    Parameters
    ----------
    source
        Of this worker: activations or a stream, of one model and hook point in all workers. None: it has
        none, and gets what the others read.

    Raises
    ------
    ValueError: In all workers alike, if none has a source, or they are of different models, hook points or
        widths.

    Example
    -------
    >>> import sae_nb as sn
    >>> with sn.training.workers() as team:
    ...     mine = Activations.from_tensor(torch.eye(4)[team.part(4)])
    ...     rows = rows_of_workers(mine)
    ...     next(rows.batches(2, seed=0)).shape
    torch.Size([2, 4])
    """
    from sae_nb.training._sources import _as_source, fingerprint

    team = current_team()
    mine = None if source is None else fingerprint(_as_source(source))
    every = [json.loads(text) for text in _told(team, json.dumps(mine))]
    known = [facts for facts in every if facts is not None]
    if not known:
        raise ValueError(
            f"`source` must be given in one worker at least, got None in all {team.size}. Pass activations "
            "or a stream where there are some."
        )
    for name in ("d_in", "hook_point", "model_name"):
        values = [None if facts is None else facts[name] for facts in every]
        if len({facts[name] for facts in known}) > 1:
            raise ValueError(
                f"`source` must have one {name} in all workers, got by rank {values}. Capture the same place "
                "of the same model everywhere."
            )
    if source is not None and team.alone:
        return source
    return RowsOfWorkers(source, team, every)


class RowsOfWorkers:
    """Batches of rows that several workers read; see `rows_of_workers`."""

    def __init__(
        self, source: ActivationSource | None, team: Team, facts: list[dict[str, Any] | None]
    ) -> None:
        known = [one for one in facts if one is not None]
        self.d_in: int = known[0]["d_in"]
        self.hook_point: str | None = known[0]["hook_point"]
        self.model_name: str | None = known[0]["model_name"]
        self.facts_of_workers = known[0] | {"rows of workers": facts}
        self._source, self._team = source, team
        self._readers = [rank for rank, one in enumerate(facts) if one is not None]

    def __repr__(self) -> str:
        where = f" at {self.hook_point} of {self.model_name}" if self.hook_point else ""
        return f"RowsOfWorkers({self.d_in} wide{where}, read by {len(self._readers)} of {self._team.size})"

    @property
    def policy(self) -> Mapping[str, Any]:
        """Positions that this worker's rows are of; empty where it reads none."""
        context = getattr(self._source, "context", None)
        policy: Mapping[str, Any] = getattr(self._source, "policy", getattr(context, "policy", {}))
        return policy

    def batches(
        self, batch_size: int, *, seed: int, start: int = 0
    ) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield batches, the same in all workers, as long as every source gives its part."""
        from sae_nb.capturing._streaming import StreamEndedError

        own = self._own(batch_size, seed, start)
        while True:
            here, ended = torch.empty(0, self.d_in), None
            try:
                here = here if own is None else next(own)
            except StreamEndedError as error:
                ended = error
            if not self._team.all(mine=ended is None):
                raise ended or StreamEndedError(
                    "The source of every worker must go on, but that of one has ended. Pass lists, "
                    "which are read again, or train for fewer steps."
                )
            yield torch.cat(self._every(here.float()))

    def _own(self, batch_size: int, seed: int, start: int) -> Iterator[Tensor] | None:
        """Return this worker's parts of the batches."""
        if self._source is None:
            return None
        place = self._readers.index(self._team.rank)
        part = Team(place, len(self._readers)).part(batch_size)
        if part.start == part.stop:
            raise ValueError(
                f"`batch_size` must be at least the number of workers with a source, {len(self._readers)}, "
                f"got {batch_size}. Take larger batches."
            )
        own = self._source.batches(part.stop - part.start, seed=seed, start=start)
        stored = isinstance(self._source, Activations) and self._source.on_disk
        return read_ahead(own) if stored else own

    def _every(self, here: Tensor) -> list[Tensor]:
        team, parts = self._team, []
        sizes = team.gather(len(here))
        for rank in self._readers:
            part = here if rank == team.rank else here.new_empty(sizes[rank], self.d_in)
            part = part.to(team.device).contiguous()
            team.send(part, source=rank)
            parts.append(part)
        return parts


def read_ahead(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield batches; while one is used, a thread reads the next."""
    ready: SimpleQueue[Tensor | BaseException | None] = SimpleQueue()
    room, ends = Semaphore(1), [False]

    def read() -> None:
        try:
            while True:
                room.acquire()
                checkpoint()
                if ends[0]:
                    return
                ready.put(next(batches, None))
        except BaseException as error:  # noqa: BLE001 - raised where the batch is asked for
            ready.put(error)

    def stop() -> None:
        ends[0] = True
        room.release()

    task = Task("reading rows", read, stop)
    try:
        while (x := ready.get()) is not None:
            if isinstance(x, BaseException):
                raise x
            room.release()
            yield x
    finally:
        stop()
        task.wait()


def _told(team: Team, text: str) -> list[str]:
    """Return every worker's text, by rank."""
    mine = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    lengths = team.gather(len(mine))
    padded = torch.zeros(max(lengths), dtype=torch.uint8)
    padded[: len(mine)] = mine
    every = team.exchange(padded.to(team.device))
    return [
        one[:length].cpu().numpy().tobytes().decode()
        for one, length in zip(every, lengths, strict=True)
    ]
