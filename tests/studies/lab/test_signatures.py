"""Promises of Signatures: Gram matrices, movements that change nothing, Grassmann distance, Mantel's test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.lab import SignatureDistances, Signatures
from sae_nb_studies.lab._signatures import _moved, _movements, grassmann


class Pixels(torch.nn.Module):
    """Passes its images on: features are what is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.nn.Conv2d(3, 12, 4, stride=4)
        with torch.no_grad():
            self.seen.weight.copy_(
                torch.randn(12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.seen(x).flatten(2).transpose(1, 2)


class Net(torch.nn.Module):
    """One layer of tokens, and an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = Pixels()

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x).mean(dim=1)


def stripes(n: int, angle: float, seed: int = 0, side: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    at = torch.arange(side) - side / 2
    across = (
        torch.cos(torch.tensor(angle)) * at[:, None] - torch.sin(torch.tensor(angle)) * at[None]
    )
    phase = 6.3 * torch.rand(n, 1, 1, generator=generator)
    colour = 0.3 + 0.2 * torch.rand(n, 3, 1, 1, generator=generator)
    return 0.5 + colour * torch.sin(0.8 * across[None] + phase)[:, None]


@pytest.fixture(scope="module")
def net() -> Any:
    return sn.wrap(Net(), patch_grid=(6, 6))


@pytest.fixture(scope="module")
def found(net: Any) -> SignatureDistances:
    angles = [0.0, 0.0, np.pi / 2, np.pi / 2, np.pi / 4, np.pi / 4]
    images = torch.cat([stripes(4, angle, seed) for seed, angle in enumerate(angles)])
    return Signatures(net, "tokens").fit(images, [i // 4 for i in range(24)])


def test_movements_have_one_size_and_are_orthogonal() -> None:
    height, width, step = 20, 32, 0.5
    grids = [
        torch.nn.functional.affine_grid(one[None], [1, 1, height, width], align_corners=False)[0]
        for one in _movements(height, width, step)
    ]
    fields = torch.stack(grids) * torch.tensor([width / 2, height / 2])
    together = torch.einsum("ayxc,byxc->ab", fields, fields) / (height * width)
    assert torch.allclose(together, step**2 * torch.eye(6), atol=1e-5)


@pytest.mark.slow
def test_generators_are_the_least_squares_ones(net: Any) -> None:
    """The change that they make, measured by moving the images along them, is the smallest eigenvalue's share."""
    images = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    found = Signatures(net, "tokens", n_generators=1).fit(images, [0, 0, 1, 1])
    movements = _movements(24, 24, 0.5)

    def change(direction: Any) -> float:
        weights = torch.as_tensor(direction, dtype=torch.float32)
        with torch.no_grad():
            each = [
                net.module.tokens(_moved(images[:2], one))
                - net.module.tokens(_moved(images[:2], -one))
                for one in movements
            ]
        return float(sum(w * d for w, d in zip(weights, each)).square().sum())

    whole = sum(change(one) for one in np.eye(6))
    assert change(found.generators[0, 0]) / whole == pytest.approx(found.changes[0, 0], rel=1e-3)
    rng = np.random.default_rng(0)
    others = rng.standard_normal((20, 6))
    for other in others / np.linalg.norm(others, axis=1, keepdims=True):
        assert change(other) > change(found.generators[0, 0])


@pytest.mark.slow
def test_families_are_nearer_than_strangers(found: SignatureDistances) -> None:
    """By texture and by symmetry; distances are symmetric, zero to oneself, and at most 1."""
    assert found.nearest() == ("1", "0", "3", "2", "5", "4")
    for part in (found.texture, found.symmetry, found.distance):
        np.testing.assert_array_equal(part, part.T)
        assert np.diag(part).max() == 0
        assert 0 < part.max() <= 1
    mixed = 0.5 * found.texture + 0.5 * found.symmetry
    np.testing.assert_allclose(found.distance, mixed)


@pytest.mark.slow
def test_texture_is_the_distance_of_gram_matrices(net: Any, found: SignatureDistances) -> None:
    grams = []
    for angle, seed in ((0.0, 0), (np.pi / 2, 2)):
        with torch.no_grad():
            rows = net.module.tokens(stripes(4, angle, seed)).flatten(0, 1).double()
        grams.append((rows.T @ rows / len(rows)).numpy())
    a, b = grams
    expected = np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b))
    assert found.texture[0, 2] == pytest.approx(expected, rel=1e-4)


def test_grassmann_distance_is_of_spaces() -> None:
    """0 for one space in two bases, 1 where as many angles as can be are right, and the angle of two lines."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    turned = basis[:, :3] @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert grassmann(basis[:, :3], turned) == pytest.approx(0, abs=1e-6)
    assert grassmann(basis[:, :3], basis[:, 3:]) == pytest.approx(1)
    assert grassmann(basis[:, :5], basis[:, 1:]) == pytest.approx(1)
    line = np.cos(0.4) * basis[:, :1] + np.sin(0.4) * basis[:, 1:2]
    assert grassmann(basis[:, :1], line) == pytest.approx(0.4 / (np.pi / 2))


def made(distances: Any) -> SignatureDistances:
    n = len(distances)
    return SignatureDistances(
        names=tuple(map(str, range(n))),
        texture=np.asarray(distances, float),
        symmetry=np.asarray(distances, float),
        mixing=0.5,
        generators=np.zeros((n, 1, 6)),
        changes=np.full((n, 6), 1 / 6),
    )


@pytest.mark.slow
def test_mantel_permutes_artists_and_not_pairs() -> None:
    """The null of all orders of four artists holds the values that enumeration gives, and p is a rank."""
    rng = np.random.default_rng(0)
    ours = rng.random((4, 4))
    ours = np.triu(ours, 1) + np.triu(ours, 1).T
    test = made(ours).mantel(["a", "a", "b", "b"], n_permutations=400, level=0.2)
    between = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], float)
    upper = np.triu_indices(4, 1)
    from itertools import permutations

    every = {
        round(float(np.corrcoef(ours[upper], between[np.ix_(o, o)][upper])[0, 1]), 9)
        for o in permutations(range(4))
    }
    assert set(test.null.round(9).tolist()) == every
    assert len(every) == 3  # ways to part four artists into two pairs
    reached = (test.null >= test.observed - 1e-12).sum()
    assert test.p == pytest.approx((1 + reached) / 401)


def test_images_are_given_to_whom_they_look_like(net: Any) -> None:
    """New stripes go to stripes of their direction; an artist's only image is at no distance from that artist."""
    known = torch.cat([stripes(3, 0.0, 0), stripes(3, np.pi / 2, 1)])
    asked = torch.cat([stripes(2, np.pi / 2, 2), stripes(2, 0.0, 3)])
    whose = ["level"] * 3 + ["upright"] * 3
    given = Signatures(net, "tokens").attribute(known, whose, asked)
    truth = ["upright", "upright", "level", "level"]
    assert given.nearest("symmetry") == given.nearest("texture") == tuple(truth)
    assert given.accuracy(truth) == 1
    assert given.accuracy(truth[::-1]) == 0
    np.testing.assert_allclose(given.figure(truth).data[0].z, [[0, 1], [1, 0]])
    own = Signatures(net, "tokens").attribute(asked[1:3], ["a", "b"], asked[1:3])
    assert np.diag(own.distance).max() < 1e-6 < own.distance[0, 1]
    with pytest.raises(ValueError, match="truth"):
        given.accuracy(truth[:2])
