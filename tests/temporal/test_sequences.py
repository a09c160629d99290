"""Sequences of activations: what is refused, how they are cut, and batches that can be resumed."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from sae_nb.activations import Activations
from sae_nb.temporal import Sequences
from sae_nb.temporal._sequences import SequenceRows, in_order, padded, unpadded


def acts_of(lengths: list[int], *, first: int = 0) -> Activations:
    sample = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    position = torch.cat([torch.arange(first, first + n) for n in lengths])
    x = torch.randn(len(sample), 3, generator=torch.Generator().manual_seed(0))
    return Activations.from_tensor(x, sample=sample, position=position)


def test_samples_are_sequences_wherever_they_begin() -> None:
    sequences = Sequences(acts_of([3, 5], first=1))
    assert (sequences.lengths, sequences.starts) == ((3, 5), (0, 3))


def test_a_batch_of_texts_is_as_many_sequences() -> None:
    acts = in_order(torch.randn(2, 3, 4))
    assert acts.sample.tolist() == [0, 0, 0, 1, 1, 1]
    assert acts.position.tolist() == [0, 1, 2, 0, 1, 2]


def test_long_sequences_are_cut_in_nearly_equal_pieces() -> None:
    assert Sequences(acts_of([7, 2]), context=3).lengths == (3, 2, 2, 2)
    assert Sequences(acts_of([97]), context=96).lengths == (49, 48)


def test_a_lone_token_is_refused() -> None:
    with pytest.raises(ValueError, match="lone token"):
        Sequences(acts_of([3, 1]))


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]])
def test_shuffled_rows_are_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match=r"in order of time.*shuffled.*split"):
        Sequences(acts_of([2, 2]).subset(order))


def test_gaps_are_refused_or_cut() -> None:
    acts = acts_of([6, 2]).subset([0, 1, 3, 4, 5, 6, 7])
    with pytest.raises(ValueError, match=r"position 3 comes after position 1: 1 gaps in all"):
        Sequences(acts)
    assert Sequences(acts, gaps="cut").lengths == (2, 3, 2)


def test_batches_are_whole_sequences_each_once_per_epoch() -> None:
    acts = acts_of([2, 3, 2, 3, 2])
    sequences = Sequences(acts)
    batches = list(islice(sequences.batches(5, seed=1), 5))
    assert all(isinstance(batch, SequenceRows) for batch in batches)
    seen = [
        tuple(rows.flatten().tolist()) for batch in batches for rows in batch.split(batch.lengths)
    ]
    assert len(set(seen[:5])) == len(set(seen[5:])) == 5
    later = next(iter(sequences.batches(5, seed=1, start=3)))
    assert torch.equal(later, batches[3])
    assert later.lengths == batches[3].lengths


@pytest.mark.parametrize("lengths", [[3, 0], [4], [2], []], ids=str)
def test_lengths_are_positive_and_add_up(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="add up to the 3 rows"):
        SequenceRows.of(torch.zeros(3, 2), lengths)
    assert SequenceRows.of(torch.zeros(3, 2), [1, 2]).lengths == (1, 2)


def test_padding_comes_off_again() -> None:
    rows, lengths = torch.randn(9, 2), [4, 2, 3]
    side_by_side = padded(rows, lengths)
    assert side_by_side.shape == (3, 4, 2)
    assert not bool(side_by_side[1, 2:].any())
    assert torch.equal(unpadded(side_by_side, lengths), rows)


def test_groups_hold_every_sequence_and_few_rows() -> None:
    sequences = Sequences(acts_of([2, 9, 3, 3, 3]))
    groups = list(sequences.groups(9))
    assert groups == [[0], [1], [2, 3, 4]]


def test_sequences_say_how_long_they_are() -> None:
    assert repr(Sequences(acts_of([3, 5, 4]))).startswith("Sequences(3 of 3 to 5 tokens · ")
    assert repr(Sequences(acts_of([4, 4]))).startswith("Sequences(2 of 4 tokens · ")


@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 1, 4)])
def test_a_tensor_must_hold_two_tokens_in_time(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        in_order(torch.ones(shape))
    assert in_order(torch.ones(2, 4)).position.tolist() == [0, 1]


def test_sequences_are_chosen_by_numbers_that_there_are() -> None:
    sequences = Sequences(acts_of([3, 5]))
    for chosen in ([1, 0], [-1, -2]):
        assert sequences.rows(chosen).lengths in ([5, 3], (5, 3))
    for wrong in ([2], [-3], [0, 2], []):
        with pytest.raises(IndexError, match="sequences from 0 to 1"):
            sequences.rows(wrong)


def test_a_position_comes_once() -> None:
    acts = Activations.from_tensor(
        torch.ones(3, 2), sample=torch.zeros(3, dtype=torch.long), position=torch.tensor([0, 1, 1])
    )
    with pytest.raises(ValueError, match="positions that do not rise"):
        Sequences(acts)


def test_the_first_gap_is_named_and_two_rows_need_positions() -> None:
    sample = torch.zeros(6, dtype=torch.long)
    acts = Activations.from_tensor(
        torch.ones(6, 2), sample=sample, position=torch.tensor([0, 1, 4, 5, 9, 10])
    )
    with pytest.raises(ValueError, match="comes after position 1: 2 gaps in all"):
        Sequences(acts)
    two = Activations.from_tensor(
        torch.ones(2, 2), sample=torch.arange(2), position=torch.zeros(2, dtype=torch.long)
    )
    with pytest.raises(ValueError, match="got 2 rows that are all at position 0"):
        Sequences(two)


def test_rows_that_say_nothing_are_one_sequence() -> None:
    """Those that are marked keep their lengths."""
    rows = torch.randn(5, 2)
    assert SequenceRows.of(rows).lengths == (5,)
    assert SequenceRows.of(SequenceRows.of(rows, [2, 3])).lengths == (2, 3)
