"""Promises of blindspots: what a set lacks is found, halves of one set differ in nothing, copies are one concept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn

KINDS = 8


def _documents(rows: Tensor, sae: sn.TopK | None = None) -> sn.uses.Documents:
    model = sn.wrap(nn.Sequential(nn.Identity()))
    if sae is None:
        sae = sn.TopK(KINDS, KINDS, 2).eval()
        with torch.no_grad():
            sae.dictionary.copy_(torch.eye(KINDS))
            sae.encoder.weight.copy_(torch.eye(KINDS))
    return sn.uses.documents(model, sae, rows, "0", progress=False)


def _images(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, KINDS, generator=generator).argsort(dim=1)[:, :2]
    return torch.zeros(n, KINDS).scatter_(1, chosen, 1 + torch.rand(n, 2, generator=generator))


@pytest.mark.slow
def test_a_removed_concept_is_suppressed_and_the_added_one_exaggerated() -> None:
    """δ is 0 and 1 there; nobody else is tagged; a set is not worse for being smaller."""
    rows = _images(300)
    a = _documents(rows[rows[:, 5] == 0])
    b = _documents(rows[rows[:, 2] == 0][:100])
    found = sn.vision.blindspots(a, b)
    kinds = found.table.set_index("atom")["kind"]
    assert kinds[2] == "suppressed"
    assert kinds[5] == "exaggerated"
    assert sorted(found.table["delta"])[:: KINDS - 1] == [0, 1]
    assert set(found.examples(5)["set"]) == {"b"}
    # The images of b that hold concept 5 are those named first.
    holds = (rows[rows[:, 2] == 0][:100][:, 5] > 0).numpy()
    assert holds[found.images["image"][: holds.sum()]].all()
    assert (found.images["share"][holds.sum() :] < found.images["share"][0]).all()


@pytest.mark.slow
def test_halves_of_one_set_differ_in_nothing() -> None:
    docs = _documents(_images(120, seed=1))
    tagged = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(docs))
        first, second = docs.subset(order[:60]), docs.subset(order[60:])
        found = sn.vision.blindspots(first, second, n_bootstrap=0, n_permutations=100)
        tagged += bool((found.table["kind"] != "").any())
    assert tagged <= 3


@pytest.mark.slow
def test_copies_that_share_a_concept_are_one() -> None:
    """Two atoms of one direction: apart, one looks suppressed and the other exaggerated; opposites stay apart."""
    sae = sn.TopK(4, 4, 1).eval()
    atoms = torch.tensor([[1.0, 0.1, 0, 0], [1.0, -0.1, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    with torch.no_grad():
        sae.dictionary.copy_(nn.functional.normalize(atoms, dim=1))
        sae.encoder.weight.copy_(sae.dictionary)
    rest = torch.eye(4)[2].repeat(20, 1)
    one, other = (torch.cat([atoms[i].repeat(40, 1), rest]) for i in (0, 1))
    one_way = torch.cat([one, -torch.eye(4)[:1].repeat(20, 1)])
    docs = (
        _documents(one_way, sae),
        _documents(torch.cat([other, -torch.eye(4)[:1].repeat(20, 1)]), sae),
    )
    together = sn.vision.blindspots(*docs)
    assert sorted(*together.groups.values()) == [0, 1]
    assert (together.table["kind"] == "").all()
    apart = sn.vision.blindspots(*docs, alike=1.0)
    assert set(apart.table["kind"]) == {"suppressed", "exaggerated", ""}


def test_pairs_find_what_is_small_beside_their_differences() -> None:
    """Strengths that vary by pair hide a small drop from random divisions, not from exchanged pairs."""
    generator = torch.Generator().manual_seed(0)
    own = torch.zeros(40, KINDS)
    own[:, 3] = 1 + 9 * torch.rand(40, generator=generator)
    own[:, 4] = 2.0
    less = own.clone()
    less[:, 3] *= 0.9
    a, b = _documents(own), _documents(less)
    paired = sn.vision.blindspots(a, b, paired=True).table.set_index("atom")
    loose = sn.vision.blindspots(a, b).table.set_index("atom")
    assert paired.loc[3, "kind"] == "weaker"
    assert loose.loc[3, "kind"] == ""
    assert paired.loc[3, "high"] < 0.5 < loose.loc[3, "high"]
