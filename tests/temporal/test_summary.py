"""The record of one sequence in time: parts add up, controls are controls, nothing from the future."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.temporal import TemporalSummary, summarise_sequence
from sae_nb.temporal._summary import MOST_SIMILARITY


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


def test_shares_are_of_the_energy_and_add_up(record: TemporalSummary, sae: sn.Temporal) -> None:
    """‖predicted‖² and ‖novel‖² as decompose has them, each over their sum."""
    parts = sn.temporal.decompose(sae, sequence(20)[None])
    wanted = torch.stack([p[0].square().sum(1) for p in (parts.predicted, parts.novel)], dim=1)
    np.testing.assert_allclose(record.energy, wanted, rtol=1e-5)
    np.testing.assert_allclose(record.shares.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(record.shares[:, 0], record.energy[:, 0] / record.energy.sum(1))


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


def test_atoms_added_are_the_novel_codes(record: TemporalSummary, sae: sn.Temporal) -> None:
    """Strongest first, k at most, with the values that decompose has."""
    parts = sn.temporal.decompose(sae, sequence(20)[None])
    dense = parts.novel_codes.to_dense()[4]
    found = record.atoms_added(4)
    assert 0 < len(found) <= 3
    assert [value for _, value in found] == sorted((v for _, v in found), reverse=True)
    for atom, value in found:
        assert value == pytest.approx(float(dense[atom]), rel=1e-5)


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


def test_long_sequences_are_thinned_by_means(sae: sn.Temporal) -> None:
    """A row of the matrix stands for `stride` times, and is their mean."""
    long = summarise_sequence(sae, sequence(MOST_SIMILARITY * 2 - 3), n_shuffles=1)
    assert long.stride == 2
    matrix = long.similarity["raw"]
    assert matrix.shape == (MOST_SIMILARITY - 1, MOST_SIMILARITY - 1)
    x = sequence(MOST_SIMILARITY * 2 - 3).numpy()
    centred = x - x.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert matrix[3, 5] == pytest.approx((unit[6:8] @ unit[10:12].T).mean(), abs=1e-4)
