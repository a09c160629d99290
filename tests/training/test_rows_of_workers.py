"""Every worker's rows make the batch of all; one may read for all; parts of a capture open as one store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from workers_as_threads import Together, in_threads

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.capturing import StreamEndedError
from sae_nb.training import Team
from sae_nb.training._rows_of_workers import RowsOfWorkers, _told, read_ahead

FACTS = {"d_in": 2, "hook_point": "resid_post.1", "model_name": "m"}


class Counted:
    """A stream whose rows say who made them and when."""

    d_in, hook_point, model_name = 2, "resid_post.1", "m"

    def __init__(self, worker: int, n: int = 99) -> None:
        self.worker, self.n = worker, n

    def batches(self, batch_size: int, *, seed: int, start: int = 0) -> Iterator[Tensor]:
        for number in range(start, self.n):
            yield torch.tensor([[self.worker, number]]).repeat(batch_size, 1).float()
        raise StreamEndedError("read once")


def first_batches(team: Together, sources: list[Any], n: int, start: int = 0) -> list[Tensor]:
    facts = [None if one is None else FACTS for one in sources]
    rows = RowsOfWorkers(sources[team.rank], team, facts)
    return [x for _, x in zip(range(n), rows.batches(5, seed=0, start=start), strict=False)]


def test_a_batch_holds_rows_of_every_worker() -> None:
    sources = [Counted(rank) for rank in range(3)]
    every = in_threads(3, lambda team: first_batches(team, sources, 2, start=4))
    for found in every:
        assert [x[:, 0].tolist() for x in found] == [[0, 1, 1, 2, 2]] * 2
        assert [x[:, 1].unique().tolist() for x in found] == [[4], [5]]


def test_one_worker_may_read_for_all() -> None:
    every = in_threads(3, lambda team: first_batches(team, [None, Counted(1), None], 1))
    for (x,) in every:
        assert x.tolist() == [[1, 0]] * 5


def test_all_end_where_one_ends() -> None:
    sources = [Counted(0), Counted(1, n=2)]

    def work(team: Together) -> str:
        with pytest.raises(StreamEndedError) as ended:
            first_batches(team, sources, 9)
        return str(ended.value)

    assert in_threads(2, work) == [
        "The source of every worker must go on, but that of one has ended. Pass lists, which are read "
        "again, or train for fewer steps.",
        "read once",
    ]


def test_texts_are_told_to_all() -> None:
    told = in_threads(3, lambda team: _told(team, "aé" * (team.rank + 1)))
    assert told == [["aé", "aéaé", "aéaéaé"]] * 3


def test_a_batch_is_read_while_the_one_before_is_used() -> None:
    """By another thread, one ahead and not more; an error comes where its batch is asked for."""
    read, done = [], threading.Event()

    def batches() -> Iterator[Tensor]:
        for i in range(3):
            read.append((i, threading.current_thread().name))
            if i == 1:
                done.set()
            yield torch.tensor(i)
        raise OSError("disk")

    ahead = read_ahead(batches())
    assert int(next(ahead)) == 0
    assert done.wait(10)
    assert [int(next(ahead)), int(next(ahead))] == [1, 2]
    with pytest.raises(OSError, match="disk"):
        next(ahead)
    assert {name for _, name in read} == {"sae_nb reading rows"}
    unfinished = read_ahead(iter(torch.zeros(9)))
    next(unfinished)
    unfinished.close()
    assert not any(one.name == "sae_nb reading rows" for one in threading.enumerate())


def test_a_source_is_needed_and_one_place() -> None:
    with pytest.raises(ValueError, match="got None in all 1"):
        sn.training.rows_of_workers(None)
    acts = Activations.from_tensor(torch.eye(2))
    assert sn.training.rows_of_workers(acts) is acts


def test_parts_of_workers_open_as_one_store_or_not_at_all(tmp_path: Path) -> None:
    """In the order of their ranks, by number; a missing part is named, and another number of workers."""
    for rank in range(11):
        rows = torch.full((rank + 1, 3), float(rank))
        Activations.from_tensor(rows).save(tmp_path / Team(rank, 11).part_name)
    acts = sn.load_activations(tmp_path)
    assert acts.on_disk
    assert acts.x[:, 0].tolist() == [float(rank) for rank in range(11) for _ in range(rank + 1)]
    (tmp_path / "part-3-of-11").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"part of every worker.*misses \[3\]"):
        sn.load_activations(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "part-3-of-12")
    with pytest.raises(FileNotFoundError, match=r"part of every worker"):
        sn.load_activations(tmp_path)
