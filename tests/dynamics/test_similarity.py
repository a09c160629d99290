"""Similarity of layers: against a slow loop, blind to what it should be blind to, all three readings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sae_nb.dynamics import LayerSimilarity, States, layer_similarity

KINDS = ("cls", "register", "patch", "patch")


@pytest.fixture
def states() -> States:
    return States(torch.randn(12, 5, 4, 6), token_kinds=KINDS)


def test_raw_is_the_authors_cosine_of_cls_and_mean_patch(states: States) -> None:
    x, found = states + 0, layer_similarity(states)
    features = torch.stack((x[:, 1:, 0], x[:, 1:, 2:].mean(dim=2)), dim=2)
    for i in range(4):
        for j in range(4):
            expected = F.cosine_similarity(features[:, i], features[:, j], dim=-1).mean()
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-5)
    assert found.features == ("cls", "patch mean")
    assert found.skipped == ("register",)


def test_registers_change_nothing(states: States) -> None:
    other = states + 0
    other[:, :, 1] = torch.randn(12, 5, 6) * 100
    again = layer_similarity(other, token_kinds=KINDS).readings
    for name, reading in layer_similarity(states).readings.items():
        torch.testing.assert_close(again[name], reading)


def test_centring_takes_away_what_all_samples_share(states: States) -> None:
    """A common vector raises the raw cosine to one and leaves centred cosine and CKA as they were."""
    shifted = (states + 0) + 100.0
    before, after = layer_similarity(states), layer_similarity(shifted, token_kinds=KINDS)
    assert after.means["raw"] > 0.99
    torch.testing.assert_close(after.centred, before.centred, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after.cka, before.cka, atol=1e-3, rtol=1e-3)


def test_cka_sees_through_rotations_and_nothing_else() -> None:
    """Rotated layers are one to CKA; with few samples the debiased one of noise is near zero."""
    x = torch.randn(200, 1, 1, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    joined = torch.cat((x, x, x @ rotation, torch.randn(200, 1, 1, 8)), dim=1)
    found = layer_similarity(joined)
    assert not found.debiased
    assert float(found.cka[0, 1]) == pytest.approx(1.0, abs=1e-4)
    few = layer_similarity(torch.randn(40, 4, 1, 32))
    assert few.debiased
    assert few.cka[~torch.eye(3, dtype=torch.bool)].abs().max() < 0.15


def test_debiased_cka_is_the_published_estimator() -> None:
    x = torch.randn(10, 3, 1, 6).double()
    found = layer_similarity(x).cka
    torch.testing.assert_close(layer_similarity(1e-3 * x).cka, found, atol=1e-4, rtol=0)

    def hsic(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        k, m = a @ a.T, b @ b.T
        k.fill_diagonal_(0)
        m.fill_diagonal_(0)
        n, one = len(k), torch.ones(len(k), 1, dtype=k.dtype)
        return (
            (k @ m).trace()
            + (one.T @ k @ one) * (one.T @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one.T @ k @ m @ one)
        ).squeeze()

    # In fp32: states are read as float.
    centred = [x[:, i, 0] - x[:, i, 0].mean(dim=0) for i in (1, 2)]
    cross = hsic(centred[0], centred[1])
    expected = cross / (hsic(*[centred[0]] * 2) * hsic(*[centred[1]] * 2)).sqrt()
    assert float(found[0, 1]) == pytest.approx(float(expected), abs=1e-4)


def test_text_states_are_compared_token_by_token() -> None:
    x = torch.randn(6, 4, 7, 5)
    found = layer_similarity(x)
    expected = F.cosine_similarity(x[:, 1], x[:, 3], dim=-1).mean()
    assert found.features == ("token",)
    assert float(found[0, 2]) == pytest.approx(float(expected), abs=1e-5)


def test_it_is_a_tensor_with_readings(states: States) -> None:
    """Indexing and arithmetic give plain tensors; samples stay at hand."""
    found = layer_similarity(states)
    assert isinstance(found, LayerSimilarity)
    assert type(found[0]) is torch.Tensor
    torch.testing.assert_close(found.by_sample["raw"].mean(dim=0), found + 0)
