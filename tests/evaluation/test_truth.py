"""Known factors and hierarchies: identifiability, absorption, swallowing, on planted cases."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import identifiability
from sae_nb_studies.evaluation import absorption, swallowed
from sae_nb_studies.evaluation.concepts._absorption import absorbed_rows


class Fixed:
    """An SAE whose codes are a matrix product and a threshold."""

    hook_point = model_name = None

    def __init__(self, encoder: torch.Tensor, dictionary: torch.Tensor, least: float = 0.5) -> None:
        self.encoder, self.dictionary, self.least = encoder, dictionary, least
        self.n_atoms, self.d_in = dictionary.shape

    def encode(self, x: torch.Tensor) -> SparseCodes:
        z = x @ self.encoder.T
        return SparseCodes.from_dense(torch.where(z > self.least, z, 0.0))

    def decode(self, codes: SparseCodes) -> torch.Tensor:
        return codes.to_dense() @ self.dictionary


def noisy(z: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return z + 0.05 * torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def mixture():
    """Four factors, each a direction of its own, in 16 dimensions."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(600, 4, generator=generator) < torch.tensor([0.5, 0.3, 0.1, 0.05])
    return torch.nn.functional.pad(noisy(2 * truth.float()), (0, 12)), truth.numpy()


# Identifiability


def test_atoms_that_are_the_factors_identify_them(mixture):
    """Balanced accuracy 1, the right atom for each, the control below."""
    x, truth = mixture
    found = identifiability(Fixed(torch.eye(16), torch.eye(16)), x, truth, names=list("abcd"))
    assert found.value == 1
    assert [(f.name, f.atom) for f in found.factors] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert found.floor == 0.5
    assert found.control < 0.95
    assert found.interval == (1.0, 1.0)


def test_factors_that_are_not_in_the_data_are_at_the_floor(mixture):
    """Shuffled truth, many atoms to choose from: held-out accuracy 0.5, published plain far above."""
    x, truth = mixture
    shuffled = truth[np.random.default_rng(0).permutation(len(truth))]
    encoder = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    found = identifiability(Fixed(encoder, encoder), x, shuffled)
    assert found.value == pytest.approx(0.5, abs=0.07)
    assert found.interval[0] < 0.5


def test_the_threshold_is_chosen_where_it_separates(monkeypatch):
    clock = SimpleNamespace(perf_counter=iter([10.0, 12.5]).__next__)
    monkeypatch.setattr("sae_nb.evaluation.concepts._factors.time", clock)
    truth = np.arange(200) % 2 == 0
    x = torch.where(torch.from_numpy(truth), 3.0, 1.0)[:, None].expand(200, 2)
    found = identifiability(Fixed(torch.eye(2), torch.eye(2)), x, truth[:, None])
    assert found.factors[0].threshold == 2
    assert (found.value, found.seconds) == (1, 2.5)


def test_samples_are_as_strong_as_their_strongest_row(mixture):
    x, truth = mixture
    rows = torch.zeros(1800, 16)
    rows[1::3] = x
    acts = sn.Activations.from_tensor(rows, sample=torch.arange(1800) // 3)
    found = identifiability(Fixed(torch.eye(16), torch.eye(16)), acts, truth)
    assert found.value == 1
    assert (found.unit, found.n) == ("samples", 300)


# Absorption: the parent is direction 0; a child is direction 1, and comes with its parent


@pytest.fixture(scope="module")
def family():
    generator = torch.Generator().manual_seed(0)
    parent = torch.rand(1200, generator=generator) < 0.5
    child = parent & (torch.rand(1200, generator=generator) < 0.4)
    z = torch.zeros(1200, 8)
    z[:, 0], z[:, 1] = parent.float(), child.float()
    return noisy(2 * z), parent.numpy(), child.numpy()


def absorbing() -> Fixed:
    dictionary = torch.eye(8)
    dictionary[1, 0] = 1
    dictionary = torch.nn.functional.normalize(dictionary, dim=1)
    encoder = torch.eye(8)
    encoder[0, 1] = -1  # the parent's latent is silent under the child
    encoder[1] = torch.tensor([0.0, 2**0.5, 0, 0, 0, 0, 0, 0])
    return Fixed(encoder, dictionary)


def test_a_child_that_swallows_its_parent_absorbs_it(family):
    x, parent, child = family
    found = absorption(absorbing(), x, parent, most_main=1, n_bootstrap=50)
    assert found.main == (0,)
    assert found.absorbers[0][0] == 1
    share = child[parent].mean()
    assert found.value == pytest.approx(share, abs=0.06)
    assert found.full.value == pytest.approx(share, abs=0.06)
    assert found.interval[0] > 0.2


def test_an_sae_with_both_atoms_absorbs_nothing(family):
    x, parent, _ = family
    found = absorption(Fixed(torch.eye(8), torch.eye(8)), x, parent, n_bootstrap=50)
    assert found.value == found.full.value == 0
    assert found.told.value > 0.98
    assert found.splits.value == 0


def test_a_split_attribute_has_two_main_latents():
    """The attribute is one of two directions that never come together; one latent each."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(0, 4, (1200,), generator=generator)
    x = noisy(2 * torch.nn.functional.one_hot(which, 8).float())
    found = absorption(Fixed(torch.eye(8), torch.eye(8)), x, (which < 2).numpy(), n_bootstrap=0)
    assert set(found.main) == {0, 1}
    assert found.splits.value == 1


def test_a_dictionary_that_does_not_tell_the_attribute_gets_no_score(family):
    """Dead or blind SAEs would score 0, which is best: undefined instead, and told says why."""
    x, parent, _ = family
    blind = torch.eye(8)[2:]
    for sae in (Fixed(blind, blind), Fixed(torch.eye(8), torch.eye(8), least=1e9)):
        found = absorption(sae, x, parent, n_bootstrap=0)
        assert np.isnan(found.value)
        assert np.isnan(found.full.value)
        assert np.isnan(found.splits.value)
        assert found.told.value < 0.6


def test_absorbed_fractions_by_hand():
    """P = 2: main 2 → 0; main .5 and another .9 → .9/1.4; another .7 < .4·2 → 0; other only → 1."""
    z = csr_matrix([[2.0, 0, 0], [0.5, 0.9, 0], [0.5, 0.7, 0], [0, 0.9, 0], [0, 0, 1.5]])
    cosine, p = np.array([1.0, 1.0, 0.05]), np.full(5, 2.0)
    absorbed, full, often = absorbed_rows(z, cosine, p, (0,), least_cosine=0.1)
    assert absorbed == pytest.approx([0, 0.9 / 1.4, 0, 1, 0])
    assert full.tolist() == [0, 0, 0, 1, 0]
    assert often == ((1, 2),)


# Swallowing, where the tree is known


def test_parents_that_stay_silent_are_counted():
    """True codes: 0. With every parent's latent silenced under a child: 1. Half of the children: 0.5."""
    tree = sn.data.concept_tree(800)
    z = tree.codes.to_dense()
    parents = torch.unique(tree.parent[tree.parent >= 0])
    has_child = (z[:, tree.parent >= 0] > 0).any(dim=1)

    class Known:
        n_atoms, d_in, dictionary = 20, 20, tree.dictionary

        def __init__(self, z):
            self.z = z

        def encode(self, x):
            return SparseCodes.from_dense(self.z[: len(x)])

    known = (tree.x, tree.codes, tree.dictionary, tree.parent)
    assert swallowed(Known(z), *known, n_bootstrap=20).value == 0
    silenced = z.clone()
    silenced[has_child[:, None] & torch.isin(torch.arange(20), parents)] = 0
    found = swallowed(Known(silenced), *known, n_bootstrap=20)
    assert found.value == 1
    assert found.interval == (1.0, 1.0)
    one = z.clone()
    one[(z[:, 1] > 0), 0] = 0  # one of nine children swallows
    assert swallowed(Known(one), *known, n_bootstrap=20).value == pytest.approx(1 / 9)
    dead = swallowed(Known(torch.zeros_like(z)), *known, n_bootstrap=0)
    assert np.isnan(dead.value)
