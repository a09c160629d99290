"""A dictionary's part in one task, by hand: models whose logits are the activation, so nothing else happens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.evaluation import edit_success, necessity, sparse_control, sufficiency


class Axes:
    """Atoms are the axes, codes the positive coordinates above a bias; x̂ may be a share of what is there."""

    def __init__(self, d_in: int, share: float = 1.0) -> None:
        self.dictionary, self.share = torch.eye(d_in), share
        self.d_in = self.n_atoms = d_in

    def encode(self, x: Tensor) -> sn.SparseCodes:
        return sn.SparseCodes.from_dense(self.share * x.relu())

    def decode(self, codes: sn.SparseCodes) -> Tensor:
        return codes.to_dense()


@pytest.fixture
def model() -> sn.LiveModel:
    return sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b", "c"])


X = torch.tensor([[3.0, 0, 1], [0, 2, 1], [4, 1, 0], [0, 5, 0]])
RIGHT, WRONG = ["a", "b", "a", "b"], ["b", "a", "b", "a"]


def test_sufficiency_is_the_share_of_the_preference_that_is_left(model: Any) -> None:
    """Half of x gives half the difference of logits; x̄ in its place has this one's mean."""
    found = sufficiency(model, "0", Axes(3, 0.5), X, RIGHT, WRONG, positions=None)
    assert found.value == pytest.approx(0.5)
    clean = np.array([3.0, 2, 3, 5])
    means = X.mean(dim=0)
    assert found.floor == pytest.approx(0.0, abs=1e-6)  # each class is right twice
    assert float(means[0] - means[1]) != 0
    assert found.control < 0.5
    assert clean.sum() == 13


def test_necessity_is_the_drop_that_taking_x_hat_away_costs(model: Any) -> None:
    """x̄ + x − x/2: half the preference goes, and the mean costs all of it."""
    assert necessity(model, "0", Axes(3), X, RIGHT, WRONG, positions=None).value == pytest.approx(1)
    found = necessity(model, "0", Axes(3, 0.5), X, RIGHT, WRONG, positions=None)
    assert found.value == pytest.approx(0.5)
    assert found.floor == 0


def test_edits_are_chosen_by_how_near_they_bring_the_target(model: Any) -> None:
    """From (1, 0, 0) to (0, 2, .5): the second axis first, then the first, then the third."""
    x, y = torch.tensor([[1.0, 0, 0]] * 2), torch.tensor([[0.0, 2, 0.5], [0.0, 2, 0.5]])
    found = sparse_control(model, "0", Axes(3), x, y, budgets=[1, 2, 3], positions=None)
    assert found.atoms == ((1, 0, 2),) * 2
    size = (1 + 4 + 0.25) ** 0.5
    by_hand = [(1 + 0.25) ** 0.5 / size, 0.5 / size, 0]
    np.testing.assert_allclose(found.left[0], by_hand, atol=1e-6)
    np.testing.assert_allclose(found.removed[0], [0, 1, 1], atol=1e-6)
    assert [found[k].value for k in (1, 2, 3)] == [1, 1, 1]
    assert found[1].floor == 0
    assert found.fewest() == 1


def test_no_atom_is_edited_that_brings_the_target_no_nearer(model: Any) -> None:
    """Half of the way is the most that such codes can say; the answer stays what it was."""
    x, y = torch.tensor([[1.0, 0.9, 0]]), torch.tensor([[1.0, 0.9, 0]])
    found = sparse_control(model, "0", Axes(3), x, y, budgets=[2], positions=None)
    assert found.atoms == ((),)
    assert found.left[0, 0] == 1
    assert found[2].value == found[2].floor == 1


def test_one_swap_of_a_supervised_dictionary_reaches_the_target(model: Any) -> None:
    """Two atoms of the attribute that differs; the others are left alone. Random edits do not."""
    generator = torch.Generator().manual_seed(0)
    kind, size = (
        torch.randint(2, (60,), generator=generator),
        torch.randint(2, (60,), generator=generator),
    )
    axes = torch.tensor([[4.0, 0, 0], [0, 4.0, 0]])
    rows = axes[kind] + torch.tensor([0, 0, 1.0]) * size[:, None]
    other = axes[1 - kind] + torch.tensor([0, 0, 1.0]) * size[:, None]
    labels = {"kind": kind, "size": size}
    s = sn.supervised_dictionary(rows, labels)
    turned = {"kind": 1 - kind, "size": size}
    found = sparse_control(
        model, "0", s, rows, other, budgets=[2], attributes=labels, target_attributes=turned,
        positions=None,
    )  # fmt: skip
    assert all(sorted(atoms) == [0, 1] for atoms in found.atoms)
    assert found.left.max() < 1e-5
    assert found[2].value == 1 > found[2].control
    assert sufficiency(
        model, "0", s, rows, kind.tolist(), (1 - kind).tolist(), attributes=labels, positions=None
    ).value == pytest.approx(1, abs=1e-5)
    to_one = edit_success(model, "0", s, rows, "kind", 1, "b", positions=None)
    assert to_one.value == 1
    assert to_one.floor == pytest.approx(float(kind.float().mean()))
    assert to_one.control < 1


@pytest.mark.slow
def test_a_language_model_is_edited_at_the_last_token_of_each_text() -> None:
    """Rows of a batch go to their own texts, of whatever length: the target's own row gives its answer."""
    gpt, point = sn.load_model("tiny-gpt"), "resid_post.3"
    texts = ["In the end all was", "It was the", "Tom and Ida", "The cat sat in the"]
    others = [texts[i] for i in (1, 2, 3, 0)]
    width = gpt.width(gpt.hook_point(point))
    found = sparse_control(
        gpt, point, Axes(width), texts, others, budgets=[1, width], n_bootstrap=0
    )
    # Positive coordinates alone: part of the way; all of both signs would be the whole.
    assert 0 < found.left[:, 1].max() < found.left[:, 0].min() < 1
    assert found[width].control <= 1
