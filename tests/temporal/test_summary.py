"""The record of one sequence in time: parts add up, controls are controls, nothing from the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.temporal import TemporalSummary, read_in_time, summarise_sequence
from sae_nb.temporal._summary import MOST_SIMILARITY, _raster, _thinned


@pytest.fixture(scope="module")
def sae() -> sn.Temporal:
    generator = torch.Generator().manual_seed(0)
    made = sn.Temporal(d_in=8, n_atoms=32, k=3, generator=generator)
    made.initialise(torch.randn(200, 8, generator=generator), generator)
    return made.eval()


def sequence(time: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(time, 8, generator=torch.Generator().manual_seed(seed)).cumsum(dim=0)


@pytest.fixture(scope="module")
def record(sae: sn.Temporal) -> TemporalSummary:
    return summarise_sequence(sae, sequence(20), boundaries=[7])


def test_shares_are_of_the_activation(record: TemporalSummary, sae: sn.Temporal) -> None:
    """‖predicted‖² and ‖novel‖² as decompose has them over ‖x − b‖², beside those of the plain guesses."""
    x = sequence(20)
    parts = sn.temporal.decompose(sae, x[None])
    wanted = torch.stack([p[0].square().sum(1) for p in (parts.predicted, parts.novel)], dim=1)
    np.testing.assert_allclose(record.energy, wanted, rtol=1e-5)
    centred = x - sae.bias.detach()
    np.testing.assert_allclose(record.shares, wanted / centred.square().sum(1, True), rtol=1e-4)
    cosine = torch.cosine_similarity(centred[1:], centred[:-1], dim=1)
    np.testing.assert_allclose(record.plain["previous token"][1:], cosine**2, rtol=1e-4)
    assert list(record.rivals) == ["shuffled order", "previous token", "running mean"]
    assert record.rivals["running mean"] == pytest.approx(record.plain["running mean"][1:].mean())
    assert record.rivals["shuffled order"] == pytest.approx(record.shuffled[1:].mean())


@pytest.mark.parametrize("time", [2, 20])
def test_a_mean_share_is_of_times_that_have_a_past(sae: sn.Temporal, time: int) -> None:
    """All but the first: of two the second alone."""
    found = summarise_sequence(sae, sequence(time))
    assert found.predicted_share == pytest.approx(found.shares[1:, 0].sum() / (time - 1))
    assert found.rivals["shuffled order"] == pytest.approx(found.shuffled[1:].sum() / (time - 1))
    assert found.predicted_share != pytest.approx(found.shares[:, 0].mean(), rel=0.01)


def test_a_token_reads_from_its_past_alone(record: TemporalSummary) -> None:
    """Attention on the present and the future is zero; sources are before the token, largest first."""
    assert not np.triu(record.attention).any()
    sources = record.read_from(9)
    assert [time for time, _ in sources] == sorted(
        range(9), key=lambda i: (-record.attention[9, i], i)
    )[: len(sources)]
    assert record.read_from(0) == []


def test_the_future_does_not_change_what_was_said(sae: sn.Temporal) -> None:
    """Energies up to a time are the same whatever follows."""
    x = sequence(16)
    longer = torch.cat([x, 50 * sequence(4, seed=9)])
    one, two = (summarise_sequence(sae, rows) for rows in (x, longer))
    np.testing.assert_allclose(one.energy, two.energy[:16], rtol=1e-4, atol=1e-6)


def test_a_raster_starts_with_the_first_to_fire(record: TemporalSummary) -> None:
    """Rows are ordered by their first firing, and hold what the codes hold."""
    raster = record.rasters["novel"]
    first = [int(np.flatnonzero(np.isfinite(row))[0]) for row in raster.strengths]
    assert first == sorted(first)
    fired = {int(a) for a in record.novel_codes.atoms[record.novel_codes.values != 0]}
    assert len(raster.atoms) + raster.left_out == len(fired)
    assert set(raster.atoms.tolist()) <= fired


def test_the_control_knows_no_order(sae: sn.Temporal) -> None:
    """Reversing a sequence reverses its control, up to which orders were drawn; energies move more."""
    x = sequence(24)
    forth, back = (summarise_sequence(sae, rows, n_shuffles=64) for rows in (x, x.flip(0)))
    moved_control = np.abs(forth.shuffled - back.shuffled[::-1]).mean()
    moved_share = np.abs(forth.shares[:, 0] - back.shares[::-1, 0]).mean()
    assert moved_control < 0.5 * moved_share


def test_similarity_is_the_cosine_of_centred_codes(record: TemporalSummary) -> None:
    """By hand for the raw activations; lag 1 is the mean beside the diagonal."""
    x = sequence(20).numpy()
    centred = x - x.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(record.similarity["raw"], unit @ unit.T, atol=1e-5)
    assert record.lag1["raw"] == pytest.approx(
        np.mean(np.sum(unit[1:] * unit[:-1], axis=1)), abs=1e-5
    )
    far = [np.mean(np.sum(unit[lag:] * unit[:-lag], axis=1)) for lag in range(1, 11)]
    assert record.by_distance["raw"] == pytest.approx(far, abs=1e-5)
    # Over every order of twenty, a pair of neighbours is any two of them.
    pairs = [unit[i] @ unit[j] for i in range(20) for j in range(20) if i != j]
    assert record.order_lost["raw"] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_numbers_of_a_sequence_are_those_of_its_parts(sae: sn.Temporal) -> None:
    """FVU around the mean over time; attention without the empty slot, of all heads; a mean of eight orders."""
    x = sequence(9)
    found, parts = summarise_sequence(sae, x), sn.temporal.decompose(sae, x[None], attention=True)
    left, spread = (x - parts.x_hat[0]).square().sum(), (x - x.mean(dim=0)).square().sum()
    assert found.fvu == pytest.approx(float(left / spread))
    seen = parts.attention[0].mean(dim=0)
    for time in range(9):
        np.testing.assert_allclose(
            found.attention[time, :time], seen[time, 1 : time + 1], atol=1e-6
        )
        assert not found.attention[time, time:].any()
    generator, shares = torch.Generator().manual_seed(0), torch.zeros(8, 9)
    for one in shares:
        order = torch.randperm(9, generator=generator)
        one[order] = sn.temporal.decompose(sae, x[order][None]).energy_shares[0, :, 0]
    np.testing.assert_allclose(found.shuffled, shares.mean(dim=0), atol=1e-5)
    assert (found.first_position, found.unread, found.boundaries, found.kind) == (
        0,
        0,
        (),
        "signal",
    )
    assert np.isnan(summarise_sequence(sae, torch.ones(3, 8), n_shuffles=1).fvu)


def test_boundaries_part_a_sequence_and_lie_inside(
    record: TemporalSummary, sae: sn.Temporal
) -> None:
    parted = replace(record, boundaries=(17, 3))
    assert parted.documents.tolist() == [0] * 3 + [1] * 14 + [2] * 3
    for at in (0, 20):
        with pytest.raises(ValueError, match="between 1 and 19"):
            summarise_sequence(sae, sequence(20), boundaries=[at])
    assert summarise_sequence(sae, sequence(3), boundaries=[1, 2], n_shuffles=1).boundaries == (
        1,
        2,
    )


def test_the_most_predicted_is_furthest_above_its_best_rival(record: TemporalSummary) -> None:
    """By 0.4, 0.3 and 0.2, the last unknown; of a text only what begins a word, if anything does.

    Each rival is the best somewhere, a guess that has no share is none, and the first time has no past.
    """
    plain = {
        "previous token": np.array([0.0, np.nan, 0.0, 0.6, 0.0]),
        "running mean": np.array([0.0, 0.6, 0.1, 0.0, 0.0]),
    }
    shares = np.array([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.8, 0.2], [np.nan, np.nan]])
    shuffled = np.array([0.0, 0.2, 0.1, 0.2, 0.0])
    for kind, names, most in (
        ("signal", (" -", " b", "a", " c", "d"), 2),
        ("text", (" -", " b", "a", " c", "d"), 1),
        ("text", (" -", "b", "a", " c", "d"), 3),
        ("text", (" -", "b", "a", "c", "d"), 2),
    ):
        one = replace(
            record, shares=shares, shuffled=shuffled, plain=plain, names=names, kind=kind
        )  # fmt: skip
        assert one.most_predicted == most


def test_what_a_time_adds_and_reads_is_told_by_size(record: TemporalSummary) -> None:
    """Eight atoms by |z| and six earlier times, nothing that is 0."""
    z = torch.zeros(2, 12)
    z[1, :10] = torch.tensor([1.0, -9, 3, 4, -5, 6, 7, 2, 8, 0.5])
    one = replace(record, novel_codes=SparseCodes.from_dense(z))
    assert one.atoms_added(0) == []
    assert one.atoms_added(1) == [
        (1, -9), (8, 8), (6, 7), (5, 6), (4, -5), (3, 4), (2, 3), (7, 2),
    ]  # fmt: skip
    assert one.atoms_added(1, most=1) == [(1, -9)]
    attention = np.array([[9.0] * 9] * 8 + [[0.1, 0, 0.2, 0.05, 0.2, 0.15, 0.01, 0.02, 7]])
    read = replace(record, attention=attention)
    assert read.read_from(8) == [(2, 0.2), (4, 0.2), (5, 0.15), (0, 0.1), (3, 0.05), (7, 0.02)]
    assert read.read_from(3, most=9) == [(0, 9), (1, 9), (2, 9)]
    few = replace(record, attention=np.array([[0, 0, 0], [0, 0, 0], [0.5, 0, 3.0]]))
    assert few.read_from(2) == [(0, 0.5)]


def test_a_raster_has_the_strongest_48_and_counts_the_others() -> None:
    """Atom i has an energy of i², the lowest two of fifty that fire are left out; atom 5 fires first."""
    codes = torch.zeros(3, 60)
    codes[1, 1:51] = -torch.arange(1.0, 51)
    codes[0, 5], codes[1, 5] = 5, 0
    codes[2, 7] = 1
    raster = _raster(codes)
    assert raster.left_out == 2
    assert raster.atoms.tolist() == [5, *range(50, 7, -1), 7, 6, 4, 3]
    np.testing.assert_array_equal(raster.strengths[0], [5, np.nan, np.nan])
    at = raster.atoms.tolist().index(7)
    np.testing.assert_array_equal(raster.strengths[at], [np.nan, -7, 1])
    few = raster.strongest(2)
    assert (few.atoms.tolist(), few.left_out) == ([50, 49], 48)
    assert few.strengths[:, 1].tolist() == [-50, -49]
    assert raster.strongest(48).left_out == 2


def test_the_last_squares_of_a_thinned_matrix_are_smaller() -> None:
    matrix = np.arange(25.0).reshape(5, 5)
    thin = _thinned(matrix, 2)
    assert thin.tolist() == [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]
    assert _thinned(matrix, 1) is matrix
    assert _thinned(matrix, 5).tolist() == [[12]]


def test_long_sequences_are_thinned_by_means(sae: sn.Temporal) -> None:
    """A row of the matrix stands for `stride` times, and is their mean."""
    long = summarise_sequence(sae, sequence(MOST_SIMILARITY * 2 - 3), n_shuffles=1)
    assert long.stride == 2
    matrix = long.similarity["raw"]
    assert matrix.shape == (MOST_SIMILARITY - 1, MOST_SIMILARITY - 1) == (127, 127)
    x = sequence(MOST_SIMILARITY * 2 - 3).numpy()
    centred = x - x.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert matrix[3, 5] == pytest.approx((unit[6:8] @ unit[10:12].T).mean(), abs=1e-4)


@pytest.mark.parametrize("n_words", [5, pytest.param(515, marks=pytest.mark.slow)])
def test_a_text_is_read_as_capture_reads_it(gpt: sn.LiveModel, n_words: int) -> None:
    """Names, places and numbers are those of its tokens; what no longer fits into 512 is counted."""
    sae = sn.Temporal(128, 16, 2, generator=torch.Generator().manual_seed(0)).eval()
    text = " dog" * n_words
    acts = sn.capture(gpt, text, "resid_post.1", drop_massive=False, progress=False)
    found = read_in_time(gpt, sae, text, "resid_post.1", n_shuffles=1)
    n_tokens = len(gpt.tokenizer(text)["input_ids"])
    assert (found.names, found.kind) == (tuple(acts.tokens), "text")
    assert found.first_position == int(acts.position[0])
    assert found.unread == max(n_tokens - 512, 0)
    specials = gpt.tokenizer.all_special_ids
    assert found.special.tolist() == [int(i) in specials for i in acts.tokens.ids]
    np.testing.assert_allclose(found.shares, summarise_sequence(sae, acts.x, n_shuffles=1).shares)
    with pytest.raises(ValueError, match="must be one text, got 2"):
        read_in_time(gpt, sae, [text, text], "resid_post.1")
    with pytest.raises(ValueError, match="`hook_point` must be given"):
        read_in_time(gpt, sae, text)
