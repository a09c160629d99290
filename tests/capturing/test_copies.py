"""Rows come from a card while the model runs on: here with a stand-in whose copies arrive late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.capturing import _copies, _harvest
from sae_nb.models import LiveModel


class Stream:
    """What was asked of a stream, in order; a copy is made when its end is waited for."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.waiting: list[Callable[[], object]] = []

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class Event:
    """The end of what a stream has got so far."""

    def record(self, stream: Stream) -> None:
        self.stream, self.n = stream, len(stream.waiting)

    def synchronize(self) -> None:
        for copy in self.stream.waiting[: self.n]:
            copy()
        self.stream.log.append("ended")


class Row(Tensor):
    """Rows that say they are on a card."""

    is_cuda = True  # type: ignore[assignment]

    def record_stream(self, stream: Any) -> None:
        stream.log.append(f"kept for {stream.name}")


class LatePlace(Tensor):
    """Pinned memory: nothing is in it before the copy has ended."""

    def copy_(self, x: Tensor, non_blocking: bool = False) -> Tensor:  # type: ignore[override]
        assert non_blocking
        place, source = self.as_subclass(Tensor), x.as_subclass(Tensor)
        BESIDE.log.append("copy")
        BESIDE.waiting.append(lambda: place.copy_(source))
        return self


BESIDE = Stream("beside", [])


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is captured is on a card, whose copies go through `BESIDE`."""
    log: list[str] = []
    BESIDE.log, BESIDE.waiting = log, []
    empty, by_row = torch.empty, _harvest.batch_rows

    @contextmanager
    def inside(stream: Stream) -> Iterator[None]:
        yield

    def pinned(*shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        made = empty(*shape, **options)
        return made.fill_(torch.nan).as_subclass(LatePlace) if pin_memory else made

    def rows(*given: Any, **options: Any) -> Any:
        found = by_row(*given, **options)
        log.append("model")
        return _harvest.replace(found, x=found.x.clone().as_subclass(Row))

    monkeypatch.setattr(_harvest, "batch_rows", rows)
    monkeypatch.setattr(_copies, "_beside", lambda _: BESIDE)
    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream("the model's", log))
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    return log


def _captured(model: LiveModel, store: Path | None = None, **more: Any) -> sn.Activations:
    texts = ["a dog", "a dog ran to the sun", "it", "the sun was warm", "once", "she ran"]
    options: dict[str, Any] = {"batch_size": 2, "progress": False, "backend": "hooks"} | more
    return sn.capture(model, texts, "resid_post.1", store=store, **options)


@pytest.mark.parametrize("kept", ["in memory", "in a store", "the first rows", "half"])
def test_late_copies_give_the_same_rows(
    gpt: LiveModel, late: list[str], tmp_path: Path, kept: str
) -> None:
    more: dict[str, Any] = {
        "the first rows": {"max_rows": 5},
        "half": {"dtype": torch.float16},
    }.get(kept, {})
    stores = (tmp_path / "a", tmp_path / "b") if kept == "in a store" else (None, None)
    found = _captured(gpt, stores[0], **more)
    with pytest.MonkeyPatch.context() as plain:
        plain.setattr(Row, "is_cuda", False)
        expected = _captured(gpt, stores[1], **more)
    rows = [torch.as_tensor(one.rows(range(len(one)))) for one in (found, expected)]
    assert torch.equal(*rows)
    assert type(rows[0]) is Tensor
    assert found.to_pandas().equals(expected.to_pandas())
    assert found.context.policy == expected.context.policy


def test_the_model_runs_while_rows_are_on_their_way(gpt: LiveModel, late: list[str]) -> None:
    """A copy waits for the model's stream, the next batch for no copy, and the last copy is waited for."""
    _captured(gpt, drop_massive=False)
    one = ["model", "beside waits for the model's", "copy", "kept for beside"]
    assert late == [*one, *one, "ended", *one, "ended", "ended"]


def test_without_pinned_memory_rows_are_copied_at_once(
    gpt: LiveModel, late: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = torch.empty

    def refused(*shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return made(*shape, **options)

    expected = _captured(gpt)
    monkeypatch.setattr(torch, "empty", refused)
    late.clear()
    assert torch.equal(_captured(gpt).x, expected.x)
    assert set(late) == {"model"}
