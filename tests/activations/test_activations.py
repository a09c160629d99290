"""Activations: batches that resume bit for bit, and rows that know where they came from."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from sae_nb.activations import Activations, Context, Ragged, concatenate, load_activations
from sae_nb.activations._rows import Rows, Shuffle
from sae_nb.activations.tokens import describe_ids, join_tokens
from sae_nb.capturing import capture
from sae_nb.models import wrap


def numbered(n: int, d: int = 2) -> Tensor:
    return torch.arange(n, dtype=torch.float32)[:, None].expand(n, d).contiguous()


def row_numbers(batches: Any, count: int) -> list[list[int]]:
    return [batch[:, 0].long().tolist() for batch in itertools.islice(batches, count)]


def samples_of_three(n: int = 12) -> Activations:
    index = torch.arange(n)
    return Activations.from_tensor(numbered(n), sample=index // 3, position=index % 3)


@pytest.fixture
def stored(tmp_path: Path) -> Activations:
    Activations.from_tensor(numbered(97)).save(tmp_path / "stored")
    found = load_activations(tmp_path / "stored")
    assert isinstance(found, Activations)
    assert found.on_disk
    return found


def language() -> Activations:
    ids = torch.tensor([1, 5, 6, 7, 1, 8, 9])
    context = Context(
        kind="language",
        n_samples=2,
        token_ids=Ragged(ids, torch.tensor([0, 4, 7])),
        vocabulary={1: "<s>", 5: "The", 6: " octo", 7: "pus", 8: "<b>", 9: " swims"},
        policy={"drop_first": True, "special_tokens": [1]},
    )
    sample, position = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 2, 3, 1, 2])
    return Activations.from_tensor(
        numbered(5),
        sample=sample,
        position=position,
        context=context,
        hook_point="resid_post.0",
        model_name="tiny",
    )


# Batches


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    batch=st.integers(1, 70),
    buffer=st.none() | st.integers(1, 80),
    seed=st.integers(0, 5),
)
def test_every_row_comes_once_per_epoch(n: int, batch: int, buffer: int | None, seed: int) -> None:
    """Whatever the sizes: each epoch is a permutation of all rows, laid end to end."""
    acts = Activations.from_tensor(numbered(n))
    size = min(n, batch)
    batches = acts.batches(batch, seed=seed, buffer_rows=buffer)
    drawn = list(itertools.chain(*row_numbers(batches, -(-3 * n // size))))
    for epoch in range(3):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    batch=st.integers(1, 70),
    buffer=st.none() | st.integers(1, 80),
    start=st.integers(0, 200),
)
def test_resumed_batches_equal_unbroken_ones(
    n: int, batch: int, buffer: int | None, start: int
) -> None:
    """`start` gives exactly what an unbroken iteration would have given next."""
    acts = Activations.from_tensor(numbered(n))
    unbroken = row_numbers(acts.batches(batch, seed=1, buffer_rows=buffer), start + 3)
    resumed = row_numbers(acts.batches(batch, seed=1, start=start, buffer_rows=buffer), 3)
    assert resumed == unbroken[start:]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    """No two passes alike, and the same seed is the same order on any machine."""
    acts = Activations.from_tensor(numbered(50))
    first, second = row_numbers(acts.batches(50, seed=0), 2)
    (other,) = row_numbers(acts.batches(50, seed=1), 1)
    assert first != second != other != first
    assert row_numbers(acts.batches(50, seed=0), 2) == [first, second]
    ten = Activations.from_tensor(numbered(10))
    # Pinned: a checkpoint of today must resume on the torch of tomorrow.
    assert row_numbers(ten.batches(10, seed=0), 1) == [[5, 0, 4, 1, 8, 3, 2, 6, 9, 7]]


def test_disk_and_memory_give_the_same_batches(stored: Activations) -> None:
    held = Activations.from_tensor(stored.x)
    for seed in (0, 1):
        assert row_numbers(stored.batches(10, seed=seed), 25) == row_numbers(
            held.batches(10, seed=seed), 25
        )


@pytest.mark.slow
def test_small_buffer_on_disk_keeps_every_promise(stored: Activations) -> None:
    """Each row once per epoch, resumable, though only 16 rows are held."""
    unbroken = row_numbers(stored.batches(10, seed=3, buffer_rows=16), 40)
    drawn = list(itertools.chain(*unbroken))
    for epoch in range(4):
        assert sorted(drawn[epoch * 97 : (epoch + 1) * 97]) == list(range(97))
    for start in (0, 1, 9, 10, 37):
        assert (
            row_numbers(stored.batches(10, seed=3, start=start, buffer_rows=16), 2)
            == (unbroken[start : start + 2])
        )


def test_small_buffer_still_mixes_far_rows() -> None:
    """A buffer of a tenth of the rows holds rows from everywhere, not one stretch."""
    rows = Rows.in_memory(numbered(10_000))
    shuffle = Shuffle(rows, seed=0, buffer_rows=1000)
    batch = shuffle.draw(0, 256)[:, 0]
    assert float(batch.std()) > 2000  # uniform over all rows: 2887; one stretch of 1000: 289
    assert len(torch.unique(batch // 1000)) == 10


def test_batches_are_copies() -> None:
    """What training does to a batch never reaches the rows."""
    acts = Activations.from_tensor(numbered(5))
    next(acts.batches(5)).zero_()
    assert torch.equal(acts.x, numbered(5))


# Split, subset, concatenate


def test_split_never_cuts_a_sample() -> None:
    """Rows of one sample are correlated: they land on one side."""
    acts = samples_of_three(30)
    for seed in range(5):
        first, second = acts.split(0.7, seed=seed)
        assert not set(first.sample.tolist()) & set(second.sample.tolist())
        assert (len(first), len(second)) == (21, 9)
        together = torch.cat([first.x, second.x])[:, 0].sort().values
        assert torch.equal(together, acts.x[:, 0])
    assert torch.equal(acts.split(0.7, seed=1)[0].x, acts.split(0.7, seed=1)[0].x)
    assert not torch.equal(acts.split(0.7, seed=1)[0].x, acts.split(0.7, seed=2)[0].x)


def test_rows_keep_their_application() -> None:
    """Of a module that runs several times."""
    acts = Activations.from_tensor(torch.eye(3), step=torch.tensor([0, 1, 2]))
    assert acts[[2, 0]].step.tolist() == [2, 0]
    assert acts.to(torch.float64).step.tolist() == [0, 1, 2]


def test_subsets_of_a_store_stay_on_disk(stored: Activations) -> None:
    """Split and subset read nothing; rows are those of memory, also twice over."""
    held = Activations.from_tensor(stored.x)
    part, _ = stored.split(0.5, seed=2)
    expected, _ = held.split(0.5, seed=2)
    assert part.on_disk
    assert torch.equal(part.x, expected.x)
    mask = torch.arange(len(part)) % 3 == 0
    assert part.subset(mask).on_disk
    assert torch.equal(part.subset(mask).x, expected.subset(mask).x)
    assert row_numbers(part.batches(7), 20) == row_numbers(expected.batches(7), 20)
    assert torch.equal(part.rows([3, 1, 40]), expected.x[[3, 1, 40]])
    shuffled = stored.subset([9, 2, 30])
    assert not shuffled.on_disk
    assert shuffled.x[:, 0].tolist() == [9, 2, 30]


def test_concatenate_counts_samples_on() -> None:
    """Samples of two captures stay apart, and tokens stay with their rows."""
    both = concatenate([language(), language()])
    assert both.sample.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert both.context.n_samples == 4
    assert both.tokens[:] == language().tokens[:] * 2
    assert both.where(7) == "text 2, position 3: <s>The octo⟦pus⟧"


def test_parts_of_a_split_join_again() -> None:
    acts = language()
    first, second = acts.split(0.5)
    both = concatenate([first, second])
    assert both.context is acts.context
    order = both.x[:, 0].long()
    assert torch.equal(both.sample, acts.sample[order])
    assert [both.tokens[i] for i in range(5)] == [acts.tokens[int(i)] for i in order]


def test_joined_stores_stay_on_disk(stored: Activations) -> None:
    both = concatenate([stored, Activations.from_tensor(numbered(3))])
    assert both.on_disk
    assert both.x[:, 0].tolist() == [*range(97), 0, 1, 2]
    assert both.sample.tolist() == list(range(100))


# Tokens and where


def test_tokens_read_as_text() -> None:
    """One is a string, several a list; ids are at hand; nothing is escaped or changed."""
    tokens = language().tokens
    assert tokens[0] == "The"
    assert tokens[-1] == " swims"
    assert tokens[1:4] == [" octo", "pus", "<b>"]
    assert tokens.ids.tolist() == [5, 6, 7, 8, 9]
    assert list(tokens) == ["The", " octo", "pus", "<b>", " swims"]
    with pytest.raises(IndexError):
        tokens[5]


def test_where_shows_the_neighbourhood() -> None:
    """The token in its text, cut where that is long."""
    acts = language()
    assert acts.where(1) == "text 0, position 2: <s>The⟦ octo⟧pus"
    ids = torch.arange(20)
    context = Context(
        kind="language",
        n_samples=1,
        token_ids=Ragged(ids, torch.tensor([0, 20])),
        vocabulary={i: f" w{i}" for i in range(20)},
    )
    acts = Activations.from_tensor(
        numbered(20), sample=torch.zeros(20).long(), position=ids, context=context
    )
    expected = "text 0, position 9: … w3 w4 w5 w6 w7 w8⟦ w9⟧ w10 w11 w12 w13 w14 w15…"
    assert acts.where(9) == expected
    assert acts.where(-1).endswith("⟦ w19⟧")
    with pytest.raises(IndexError):
        acts.where(20)


def test_sentencepiece_and_byte_tokens_keep_their_spaces() -> None:
    """What decode would drop is put back; what is no text keeps the tokenizer's name."""

    class Sentencepiece:
        pieces = {0: "▁the", 1: "cat", 2: "<0xE2>", 3: None}

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
            return [self.pieces[i] for i in ids]

        def decode(self, ids: list[int], **_: Any) -> str:
            return {1: "cat", 2: "�"}[ids[0]]

    named = describe_ids(Sentencepiece(), range(4))
    assert named == {0: " the", 1: "cat", 2: "<0xE2>", 3: "<id 3>"}
    assert join_tokens(["the", "octo", "##pus"]) == "the octopus"
    assert join_tokens(["The", " cat"]) == "The cat"


# Memory, precision, copies


def test_precision_changes_as_rows_are_read(stored: Activations) -> None:
    """`.to` converts what comes out and leaves the disk alone."""
    half = stored.to(torch.float16)
    assert half.on_disk
    assert half.x.dtype == torch.float16
    assert next(half.batches(5)).dtype == torch.float16
    assert half.rows([1]).dtype == torch.float16
    assert stored.x.dtype == torch.float32
    assert Activations.from_tensor(numbered(2)).to(dtype=torch.bfloat16).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="device"):
        stored.to("nowhere")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_survives_the_disk(tmp_path: Path, dtype: torch.dtype) -> None:
    acts = Activations.from_tensor(torch.randn(10, 3).to(dtype))
    acts.save(tmp_path / "s")
    assert torch.equal(load_activations(tmp_path / "s").x, acts.x)


def test_language_context_survives_the_disk(tmp_path: Path) -> None:
    acts = language()
    acts.save(tmp_path / "s")
    again = load_activations(tmp_path / "s")
    assert again.tokens[:] == acts.tokens[:]
    assert dict(again.context.policy) == dict(acts.context.policy)
    assert again.where(1) == acts.where(1)
    assert (again.hook_point, again.model_name) == ("resid_post.0", "tiny")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_activations_can_be_copied(copied: Any) -> None:
    """A worker process or a user's deepcopy gets the same."""
    again = copied(language())
    assert torch.equal(again.x, language().x)
    assert again.tokens[:] == language().tokens[:]


def test_rows_carry_no_gradient() -> None:
    """Training an SAE never reaches back into what made the rows."""
    x = torch.randn(4, 2, requires_grad=True)
    assert not Activations.from_tensor(x).x.requires_grad


@pytest.mark.slow
def test_a_store_is_shuffled_one_buffer_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = wrap(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity()))
    settings: dict[str, Any] = {"batch_size": 200, "shard_rows": 400, "progress": False}
    capture(model, numbered(1380), "0", store=tmp_path / "s", **settings)
    stored = load_activations(tmp_path / "s")
    assert isinstance(stored, Activations)
    monkeypatch.setattr(Rows, "all", lambda _self: pytest.fail("read everything"))
    shuffle = Shuffle(stored._rows, seed=0, buffer_rows=256)
    for position in range(0, 2 * len(stored), 100):
        shuffle.draw(position, 100)
        assert len(shuffle._held) <= 256
