"""A stream serves what a capture would hold, in a reproducible order, and runs no more than it must."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sae_nb.capturing import capture, stream
from sae_nb.capturing._streaming import StreamEndedError, in_fresh_order
from sae_nb.models import LiveModel, wrap
from sae_nb.steering import splice
from tests.capturing.small import gpt2, growth, pictures as drawn_pictures, vit

POINT = "resid_post.1"
pictures = partial(drawn_pictures, 12)


@pytest.fixture(scope="module")
def vision() -> LiveModel:
    return wrap(vit(3), name="tiny")


@pytest.fixture(scope="module")
def language() -> LiveModel:
    return wrap(gpt2(), name="tiny-gpt")


def token_ids(n: int = 30) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(2, 14, (n,), generator=generator).tolist()
    return [torch.randint(4, 64, (m,), generator=generator).tolist() for m in lengths]


def drawn(source: Any, batch_size: int, count: int, **how: Any) -> list[Tensor]:
    return list(itertools.islice(source.batches(batch_size, **how), count))


def apart(x: Tensor, other: Tensor) -> Tensor:
    """Largest difference of each row to each row of another: batches of other sizes differ by rounding."""
    return (x[:, None] - other).abs().amax(dim=2)


def same_rows(x: Tensor, other: Tensor) -> bool:
    """Whether each row is one of the other's, and the other way round, in any order."""
    differ = apart(x, other) > 1e-4
    return not bool(differ.all(dim=0).any()) and not bool(differ.all(dim=1).any())


def runs_of(module: nn.Module) -> list[int]:
    seen: list[int] = []
    module.register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
    return seen


# What comes out


@pytest.mark.parametrize("buffer", [69 * 3, 69 * 4, 10_000])
def test_one_pass_serves_every_captured_row_once(vision: LiveModel, buffer: int) -> None:
    """The rows of a capture, in another order, no row twice."""
    acts = capture(vision, pictures(), POINT, progress=False)
    source = stream(vision, pictures(), POINT, buffer=buffer, batch_size=5)
    x = torch.cat(drawn(source, 36, len(acts) // 36))
    assert same_rows(x, acts.x)
    assert len(x) == len(acts)
    assert not torch.equal(x, acts.x)


@pytest.mark.parametrize("settings", [{}, {"pack": True, "context_length": 16}])
def test_texts_are_streamed_as_they_are_captured(
    language: LiveModel, settings: dict[str, Any]
) -> None:
    """The same rows are dropped. Packing joins texts in each pass's own order, so only counts agree."""
    acts = capture(language, token_ids(), POINT, progress=False, **settings)
    source = stream(language, token_ids(), POINT, buffer=10_000, **settings)
    assert source.policy["drop_first"] is True
    (x,) = drawn(source, len(acts), 1)
    if settings:
        assert len(x) == len(acts)
    else:
        assert same_rows(x, acts.x)


def test_every_pass_has_an_order_of_its_own(vision: LiveModel) -> None:
    source = stream(vision, drawn_pictures(4), POINT, buffer=69)
    n = 4
    rows = drawn(source, 69, 3 * n)
    first, second = torch.cat(rows[:n]), torch.cat(rows[n : 2 * n])
    assert same_rows(first, second)
    assert not torch.equal(first, second)
    # The order of samples changes too, not only that of rows in a buffer of one sample.
    assert not all(same_rows(*pair) for pair in zip(rows[:n], rows[n : 2 * n], strict=True))


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_same_seed_same_batches(vision: LiveModel, backend: Any) -> None:
    """Also from another stream over the same inputs, and with either backend."""
    expected = drawn(stream(vision, pictures(), POINT, buffer=200), 50, 30, seed=7)
    again = drawn(stream(vision, pictures(), POINT, buffer=200, backend=backend), 50, 30, seed=7)
    other = drawn(stream(vision, pictures(), POINT, buffer=200), 50, 30, seed=8)
    for a, b in zip(expected, again, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    assert not torch.equal(expected[0], other[0])


def inputs_of_every_kind() -> dict[str, Any]:
    x = pictures()
    return {
        "tensor": x,
        "array": x.numpy(),
        "list": list(x),
        "images": SimpleNamespace(images=x),
        "dataset": TensorDataset(x, torch.arange(len(x))),
        "loader": DataLoader(TensorDataset(x, torch.arange(len(x))), batch_size=5),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(inputs_of_every_kind()))
def test_resumed_stream_equals_an_unbroken_one(vision: LiveModel, kind: str) -> None:
    """Bit for bit, from any batch on, over several passes, for every kind of input."""
    inputs = inputs_of_every_kind()[kind]
    unbroken = drawn(stream(vision, inputs, POINT, buffer=150, batch_size=5), 40, 60, seed=3)
    for start in (0, 1, 3, 20, 21, 41, 58):
        source = stream(vision, inputs, POINT, buffer=150, batch_size=5)
        resumed = drawn(source, 40, 2, seed=3, start=start)
        assert torch.equal(resumed[0], unbroken[start])
        assert torch.equal(resumed[1], unbroken[start + 1])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"pack": True, "context_length": 16}])
def test_resumed_text_stream_equals_an_unbroken_one(
    language: LiveModel, settings: dict[str, Any]
) -> None:
    """Padded or packed, where batches give different numbers of rows."""
    source = stream(language, token_ids(), POINT, buffer=64, batch_size=4, **settings)
    unbroken = drawn(source, 10, 60, seed=1)
    for start in (1, 6, 7, 30, 59):
        assert torch.equal(drawn(source, 10, 1, seed=1, start=start)[0], unbroken[start])


def test_batches_larger_than_the_buffer_are_whole(vision: LiveModel) -> None:
    source = stream(vision, pictures(), POINT, buffer=30)
    unbroken = drawn(source, 100, 12)
    assert {len(batch) for batch in unbroken} == {100}
    assert torch.equal(drawn(source, 100, 1, start=9)[0], unbroken[9])


# What is run


def test_resuming_runs_only_from_the_buffer_needed(vision: LiveModel) -> None:
    """Earlier samples are read, not run: one look at the layout, then the buffer of batch `start`."""
    own = wrap(vision.module, name="tiny")
    source = stream(own, drawn_pictures(60), POINT, buffer=69 * 10, batch_size=5)
    seen = runs_of(vision.module.embed)
    drawn(source, 69, 1, start=45)
    assert sum(seen) == 5 + 10


def test_small_inputs_are_not_run_many_times_to_fill_a_buffer(vision: LiveModel) -> None:
    """The buffer shrinks to one pass: a first batch costs one pass, not a hundred."""
    own = wrap(vision.module, name="tiny")
    source = stream(own, drawn_pictures(4), POINT, buffer=1 << 20)
    seen = runs_of(vision.module.embed)
    drawn(source, 16, 1)
    assert sum(seen) <= 4 + 4


def test_nothing_runs_when_a_stream_is_made(vision: LiveModel) -> None:
    """Inputs are checked, the model is not run; the width is known beforehand."""
    seen = runs_of(vision.module.embed)
    assert stream(vision, pictures(), POINT).d_in == 16
    assert seen == []


# Living with others


def test_lock_is_free_between_batches(vision: LiveModel) -> None:
    """While training works on a batch, a panel in another thread can use the model."""
    batches = stream(vision, pictures(), POINT, buffer=100).batches(30)
    next(batches)
    got: list[bool] = []

    def panel() -> None:
        got.append(vision.lock.acquire(timeout=10))
        vision(drawn_pictures(1))
        vision.lock.release()

    thread = threading.Thread(target=panel)
    thread.start()
    thread.join()
    assert got == [True]
    next(batches)


def test_edits_are_seen_from_the_next_forward_on(vision: LiveModel) -> None:
    own = wrap(vision.module, name="tiny")
    batches = stream(own, pictures(), POINT, buffer=69, batch_size=1).batches(69)
    plain = next(batches)
    with splice(own, POINT, lambda x: x + 1000):
        edited = next(batches)
    assert float(plain.max()) < 500 < float(edited.min())


# Iterators that can be read once


def one_by_one(n: int = 12) -> Iterator[Tensor]:
    yield from drawn_pictures(n)


def test_iterator_is_served_to_its_end(vision: LiveModel) -> None:
    """Every whole batch, then a message that says what to do."""
    batches = stream(vision, one_by_one(), POINT, buffer=100, batch_size=5).batches(50)
    taken = []
    with pytest.raises(StreamEndedError, match=r"ended after 828 rows.*Pass a list"):
        taken.extend(iter(batches))
    taken = [] if taken else taken
    source = stream(vision, one_by_one(), POINT, buffer=100, batch_size=5)
    taken = drawn(source, 50, 828 // 50)
    expected = capture(vision, pictures(), POINT, progress=False)
    differ = apart(torch.cat(taken), expected.x)
    assert float(differ.amin(dim=1).max()) < 1e-4
    assert len(differ.argmin(dim=1).unique()) == 800


def test_iterator_cannot_go_back(vision: LiveModel) -> None:
    """A second reading is refused at the call, not served from the middle."""
    source = stream(vision, one_by_one(), POINT, buffer=100)
    batches = source.batches(50)
    next(batches)
    with pytest.raises(ValueError, match="cannot go back.*new iterator"):
        source.batches(50)


def test_fresh_iterator_can_be_resumed_forwards(vision: LiveModel) -> None:
    """The start of a new iterator is passed over without running it."""
    unbroken = drawn(stream(vision, one_by_one(), POINT, buffer=100, batch_size=5), 50, 12, seed=1)
    for start in (1, 2, 7, 11):
        source = stream(vision, one_by_one(), POINT, buffer=100, batch_size=5)
        assert torch.equal(drawn(source, 50, 1, seed=1, start=start)[0], unbroken[start])


# Bad input


def test_stream_without_rows_says_so(language: LiveModel) -> None:
    """All first tokens: nothing is left to stream, and it does not loop for ever."""
    with pytest.raises(ValueError, match="all were dropped"):
        next(stream(language, [[5], [6]], POINT).batches(2))


# The order of a pass


@pytest.mark.slow
def test_fresh_order_keeps_rows_of_a_dict_together() -> None:
    inputs = {"a": torch.arange(50), "b": torch.arange(50) * 2}
    found = in_fresh_order(inputs, torch.Generator().manual_seed(0), 0)
    assert torch.equal(found["a"] * 2, found["b"])
    assert not torch.equal(found["a"], inputs["a"])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_flat_while_streaming() -> None:
    before = """
        from sae_nb.capturing import stream
        from sae_nb.models import wrap
        from tests.models.small_models import small_vit

        model = wrap(small_vit(d_model=64, n_blocks=2))
        source = stream(model, torch.rand(64, 3, 32, 32), "resid_post.0", buffer=2208)
        batches = source.batches(552)
    """
    assert growth(before, "next(batches)", warm=60, times=160) <= 1.02
