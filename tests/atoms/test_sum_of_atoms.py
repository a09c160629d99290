"""One activation is drawn as the sum that the SAE makes of it: every term, and what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context
from sae_nb.atoms._sum_of_atoms import _image_of


@pytest.mark.parametrize("make", [sn.TopK, sn.MatchingPursuit, sn.ReLU, sn.SpaDE, sn.Gated])
def test_the_terms_add_up_to_what_the_sae_returns(make: type[sn.SparseAutoencoder]) -> None:
    torch.manual_seed(0)
    k = {"k": 6} if make in (sn.TopK, sn.MatchingPursuit) else {}
    sae = make(d_in=16, n_atoms=32, **k)
    x = torch.randn(10, 16)
    whole = sn.atoms.sum_of_atoms(sae, x, -1, n=2)
    np.testing.assert_allclose(whole.x_hat, sae(x)[-1].detach().numpy(), atol=2e-6)
    np.testing.assert_array_equal(whole.x, x[-1].numpy())


def written_down(**more: Any) -> sn.atoms.SumOfAtoms:
    """x = (5, 1) from a bias of (1, 0), two atoms and a rest; (1, −1) is left."""
    given = {
        "where": "row 0", "x": np.array([5.0, 1.0]), "bias": np.array([1.0, 0.0]),
        "atoms": np.array([3, 7]), "strengths": np.array([2.0, -1.0]), "labels": ("cat", ""),
        "parts": np.array([[2.0, 0.0], [0.0, 1.0]]), "rest": np.array([1.0, 1.0]), "n_rest": 4,
    }  # fmt: skip
    return sn.atoms.SumOfAtoms(**(given | more))


def test_what_is_left_is_a_share_of_what_the_bias_leaves() -> None:
    """Of 16 + 1 the atoms leave 1 + 1; a linear map is taken off first; a row that is the bias has nothing left."""
    plain = written_down()
    assert plain.x_hat.tolist() == [4, 2]
    assert plain.left == pytest.approx(2 / 17)
    linear = written_down(linear=np.array([1.0, -1.0]))
    assert linear.x_hat.tolist() == [5, 1]
    assert linear.left == 0
    assert written_down(linear=np.array([2.0, 0.0])).left == pytest.approx(2 / 5)
    assert written_down(x=np.array([1.0, 0.0])).left == 0
    assert plain.headline == (
        "row 0 = bias + 2.00 × atom 3 (cat) + \u22121.00 × atom 7 + 4 weaker; 11.8\u2009% is left"
    )
    assert "linear map + 2.00" in linear.headline
    assert "weaker" not in written_down(n_rest=0).headline


def test_the_strongest_atoms_by_size_are_told_and_the_weaker_are_counted() -> None:
    """Atoms along the axes: strengths are what the row has there."""
    sae = sn.TopK(d_in=4, n_atoms=4, k=3)
    with torch.no_grad():
        for weight in (sae.operator.weight, sae.encoder.weight):
            weight.copy_(torch.eye(4))
    x = torch.tensor([[9.0, 9, 9, 9], [1, 4, 2, 3]])
    found = sn.atoms.sum_of_atoms(sae, x, -1, n=2, labels={1: "b", 0: "a"})
    assert (found.atoms.tolist(), found.strengths.tolist()) == ([1, 3], [4, 3])
    assert (found.n_rest, found.rest.tolist(), found.labels) == (1, [0, 0, 2, 0], ("b", ""))
    assert found.left == pytest.approx(1 / 30)
    whole = sn.atoms.sum_of_atoms(sae, x, 1, n=5)
    assert (whole.n_rest, whole.rest.tolist()) == (0, [0, 0, 0, 0])


def test_the_box_of_a_patch_is_in_pixels() -> None:
    """Patches of 4 × 2 pixels in an image of 8 × 6, after one token: 4 is in the second row, first column."""
    pictures = torch.arange(144, dtype=torch.uint8).reshape(1, 3, 8, 6)
    context = Context(
        kind="vision", n_samples=1, patch_grid=(2, 3), prefix_tokens=1, pictures=pictures
    )
    acts = Activations.from_tensor(
        torch.ones(7, 2), context=context, sample=torch.zeros(7, dtype=torch.long),
        position=torch.arange(7),
    )  # fmt: skip
    boxes = [_image_of(acts, row)[1] for row in (0, 1, 3, 4)]
    assert boxes == [None, (-0.5, -0.5, 1.5, 3.5), (3.5, -0.5, 5.5, 3.5), (-0.5, 3.5, 1.5, 7.5)]
    image = _image_of(acts, 0)[0]
    assert np.array_equal(image, pictures[0].permute(1, 2, 0).numpy())
    assert _image_of(Activations.from_tensor(torch.ones(1, 2)), 0) == (None, None)
