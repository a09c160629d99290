"""decompose: two parts that add up, sequence by sequence; and evaluation on whole sequences."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.temporal import Decomposition, decompose
from sae_nb.temporal._decomposition import _shares

LENGTHS = (7, 4, 9)


@pytest.fixture(scope="module")
def acts() -> Activations:
    sample = torch.cat([torch.full((n,), i) for i, n in enumerate(LENGTHS)])
    position = torch.cat([torch.arange(1, n + 1) for n in LENGTHS])
    x = 5 + torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    return Activations.from_tensor(x, sample=sample, position=position)


@pytest.fixture(scope="module", params=[False, True])
def sae(request: pytest.FixtureRequest, acts: Activations) -> sn.Temporal:
    sae = sn.Temporal(6, 16, 3, request.param, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, sn.TrainConfig(steps=3, batch_size=20), progress=False)
    return sae


def test_the_parts_add_up_to_the_full_forward(sae: sn.Temporal, acts: Activations) -> None:
    parts = decompose(sae, acts)
    assert parts.lengths == LENGTHS
    assert parts.predicted.shape == (3, 9, 6)
    for i, length in enumerate(LENGTHS):
        x = acts.x[acts.sample == i]
        assert torch.allclose(parts.x_hat[i, :length], sae(x), atol=1e-4)
        assert not bool(parts.x_hat[i, length:].any())
    assert torch.allclose(
        parts.rows(parts.novel) + sae.bias, sae.decode(parts.novel_codes), atol=1e-4
    )


def test_codes_are_those_of_both_parts(sae: sn.Temporal, acts: Activations) -> None:
    """Over one dictionary: predicted codes dense, novel codes sparse, one row per row of `acts`."""
    parts = decompose(sae, acts)
    assert torch.allclose(parts.predicted_codes @ sae.dictionary, parts.predicted, atol=1e-4)
    assert len(parts.novel_codes) == len(acts)
    first = sae.encode(acts.x[acts.sample == 1])
    assert torch.allclose(parts.codes_of(1).to_dense(), first.to_dense(), atol=1e-4)
    with pytest.raises(ValueError, match="were not kept"):
        _ = decompose(sae, acts, predicted_codes=False).predicted_codes


def test_what_neither_part_has_is_the_error(sae: sn.Temporal, acts: Activations) -> None:
    """x − x̂, row by row; and in the published form the predicted share is what the prediction explains."""
    parts = decompose(sae, acts)
    x_hat = parts.rows(parts.predicted + parts.novel) + sae.bias.detach()
    torch.testing.assert_close(parts.rows(parts.error), acts.x - x_hat, atol=1e-4, rtol=1e-4)
    centred = acts.x - sae.bias.detach()
    left = (centred - parts.rows(parts.predicted)).square().sum(dim=1)
    shares, explained = parts.rows(parts.energy_shares)[:, 0], 1 - left / centred.square().sum(1)
    assert torch.allclose(shares, explained, atol=1e-3) != sae.strict
    if sae.strict:
        assert torch.allclose(
            parts.predicted[:, 0], parts.predicted[:1, 0].expand(3, -1), atol=1e-5
        )


def test_attention_looks_back_only(sae: sn.Temporal, acts: Activations) -> None:
    """Rows sum to 1, slots after the present are empty, and it is not kept unless asked for."""
    assert decompose(sae, acts).attention is None
    seen = decompose(sae, acts, attention=True).attention
    assert seen.shape == (3, 4, 9, 9)
    assert torch.allclose(seen[2].sum(dim=-1), torch.ones(4, 9), atol=1e-5)
    assert not bool(seen.triu(1).any())


def test_the_sae_is_left_in_its_mode(sae: sn.Temporal, acts: Activations) -> None:
    sae.train()
    decompose(sae, acts)
    assert sae.training
    sae.eval()


def test_a_report_is_of_whole_sequences(sae: sn.Temporal, acts: Activations) -> None:
    """R² is that of both parts, whatever the batch; rows in disorder are refused."""
    parts = decompose(sae, acts)
    spread = (acts.x - acts.x.mean(dim=0)).square().sum()
    r2 = 1 - (acts.x - parts.rows(parts.x_hat)).square().sum() / spread
    for batch_size in (2, 4096):
        report = sn.evaluate(sae, acts, batch_size=batch_size, n_bootstrap=10)
        assert report["r2"].value == pytest.approx(float(r2), abs=1e-5)
    with pytest.raises(ValueError, match="in order of time"):
        sn.evaluate(
            sae, acts.subset(torch.randperm(20, generator=torch.Generator().manual_seed(1)))
        )


def test_the_attention_that_is_kept_is_that_of_the_first_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    sae = sn.Temporal(6, 16, 3, n_layers=2, generator=generator)
    x = torch.randn(2, 5, 6, generator=generator)
    found = decompose(sae, x, attention=True).attention
    first, second = sae.predict(x, attention=True).attention
    torch.testing.assert_close(found, first)
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_share_of_nothing_is_none() -> None:
    found = _shares(torch.tensor([1.0, 0.5, 0.25]), torch.tensor([0.0, 1.0, 0.5]))
    assert found.tolist() == [0, 0.5, 0.5]


def test_shares_are_of_the_activation_whose_error_counts() -> None:
    """x − b = (3, 4) + (0, 1) + (0, 5) has 109, of which 25 and 1; another has nothing; padding is in no row."""
    predicted, novel, error = torch.zeros(3, 2, 2, 2)
    predicted[0, 1], novel[0, 1] = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.0])
    error[0, 1] = torch.tensor([0.0, 5.0])
    predicted[1, 1] = 9
    parts = Decomposition(
        predicted, novel, error, SparseCodes.from_dense(torch.eye(3)), torch.tensor([1.0, 0.0]),
        lengths=(2, 1), starts=(0, 2), strict=True,
    )  # fmt: skip
    assert parts.energy_shares[0].tolist() == [[0, 0], pytest.approx([25 / 109, 1 / 109])]
    assert parts.rows(parts.energy)[:, 0].tolist() == [0, 25, 0]
    assert parts.x_hat[0].tolist() == [[1, 0], pytest.approx([4, 5])]
    assert parts.x_hat[1].tolist() == [[1, 0], [0, 0]]
    assert parts.headline == (
        "2 × 2 tokens, d_in=2, 23% of the energy predicted, strict (previous token 0%, running mean 0%)"
    )
    assert parts.codes_of(0).to_dense().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert parts.codes_of(1).to_dense().tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("strict", [False, True])
def test_plain_guesses_are_the_token_before_and_the_mean_of_all_before(strict: bool) -> None:
    """Of (2, 0), (1, 1), (0, 4), and of a shorter sequence. By token: cos² of x and the guess.

    Strict, x_t = α x_{t−1}: α = (2 + 4) / (4 + 2) = 1; of the means (2, 0), (1.5, .5): α = 4 / 6.5.
    """
    x = torch.tensor([[[2.0, 0], [1, 1], [0, 4]], [[1, 0], [3, 0], [0, 0]]])
    parts = Decomposition(
        torch.zeros_like(x), x / 4, 3 * x / 4, SparseCodes.from_dense(torch.eye(5)), torch.zeros(2),
        lengths=(3, 2), starts=(0, 3), strict=strict,
    )  # fmt: skip
    found = {name: shares.tolist() for name, shares in parts.plain_shares.items()}
    a = (4 / 6.5) ** 2
    wanted = (
        {
            "previous token": ([0, 4 / 2, 2 / 16], [0, 1, 0]),
            "running mean": ([0, 2 * a, 2.5 * a / 16], [0, 1, 0]),
        }
        if strict
        else {
            "previous token": ([0, 0.5, 0.5], [0, 1, 0]),
            "running mean": ([0, 0.5, 0.1], [0, 1, 0]),
        }
    )
    assert found == {name: [pytest.approx(one) for one in both] for name, both in wanted.items()}


def test_a_headline_leaves_out_first_tokens_which_have_no_past(sae: sn.Temporal) -> None:
    """Of two sequences of unlike lengths: five tokens of seven."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(7, sae.d_in, generator=generator)
    sample, position = torch.tensor([0, 0, 1, 1, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 2, 3, 4])
    parts = sn.temporal.decompose(
        sae, sn.Activations.from_tensor(x, sample=sample, position=position)
    )
    has_past = position > 0
    shares = parts.rows(parts.energy_shares)[has_past][:, 0]
    before = parts.rows(parts.plain_shares["previous token"])[has_past]
    assert f"{shares.mean():.0%} of the energy predicted" in parts.headline
    assert f"previous token {before.mean():.0%}" in parts.headline


def test_chunks_of_a_long_sequence_agree() -> None:
    """A token's parts are those that it has as the last of a chunk as long as its past in training."""
    sae = sn.Temporal(8, 32, 3, n_heads=2, generator=torch.Generator().manual_seed(0)).eval()
    sae.longest_trained.fill_(6)
    x = torch.randn(31, 8, generator=torch.Generator().manual_seed(1)).cumsum(dim=0)
    with pytest.warns(UserWarning, match="each token sees the last 6 alone"):
        whole = sn.temporal.decompose(sae, x)
    with pytest.warns(UserWarning, match="A sequence of 7 tokens"):
        chunks = {t: sn.temporal.decompose(sae, x[t - 6 : t + 1]) for t in (6, 11, 12, 13, 30)}
    with pytest.warns(UserWarning, match="A sequence of 8 tokens"):
        longer = sn.temporal.decompose(sae, x[23:])
    first = sn.temporal.decompose(sae, x[:6])
    torch.testing.assert_close(whole.predicted[:, :6], first.predicted)
    for time, chunk in chunks.items():
        torch.testing.assert_close(whole.predicted[:, time], chunk.predicted[:, -1])
        torch.testing.assert_close(whole.energy_shares[:, time], chunk.energy_shares[:, -1])
    torch.testing.assert_close(whole.predicted[:, 30], longer.predicted[:, -1])
    shorter = sn.temporal.decompose(sae, x[25:])
    assert (whole.predicted[:, 30] - shorter.predicted[:, -1]).abs().max() > 1e-3


def test_a_batch_of_unlike_sequences_is_each_alone(sae: sn.Temporal) -> None:
    """Long beside short: padding is no past and no future."""
    generator = torch.Generator().manual_seed(4)
    lengths = (2, 9, 4)
    x = torch.randn(sum(lengths), sae.d_in, generator=generator)
    sample = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    position = torch.cat([torch.arange(n) for n in lengths])
    parts = sn.temporal.decompose(
        sae, sn.Activations.from_tensor(x, sample=sample, position=position)
    )
    for i, rows in enumerate(x.split(lengths)):
        alone = sn.temporal.decompose(sae, rows)
        torch.testing.assert_close(
            parts.predicted[i, : lengths[i]], alone.predicted[0], atol=1e-5, rtol=1e-4
        )
        assert not parts.predicted[i, lengths[i] :].any()


def test_activations_of_another_model_are_refused_by_name(sae: sn.Temporal) -> None:
    x = torch.randn(4, sae.d_in + 1, generator=torch.Generator().manual_seed(0))
    acts = sn.Activations.from_tensor(
        x, sample=torch.zeros(4, dtype=torch.long), position=torch.arange(4), model_name="an-other"
    )
    own = sn.Temporal(sae.d_in, 8, 2)
    own.model_name = "the-own"
    with pytest.raises(ValueError, match=r"rows are of an-other, the SAE is of the-own"):
        sn.temporal.decompose(own, acts)
