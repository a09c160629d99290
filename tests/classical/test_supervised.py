"""supervised_dictionary: planted attributes, edits that are read back, and labels that do not fit."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn

N, D = 400, 12
COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, dict[str, list], dict[str, torch.Tensor]]:
    """x = x̄ + a direction per colour + one per size + noise; size depends on colour."""
    generator = torch.Generator().manual_seed(0)
    colour = torch.randint(3, (N,), generator=generator)
    size = (torch.rand(N, generator=generator) < torch.tensor([0.9, 0.5, 0.1])[colour]).long()
    truth = {"colour": torch.randn(3, D, generator=generator)}
    truth["size"] = torch.randn(2, D, generator=generator)
    noise = 0.1 * torch.randn(N, D, generator=generator)
    x = 3.0 + truth["colour"][colour] + truth["size"][size] + noise
    labels = {"colour": [COLOURS[i] for i in colour], "size": size.tolist()}
    return x, labels, truth


def error(s: sn.classical.SupervisedDictionary, truth: dict[str, torch.Tensor]) -> float:
    colour = [s.dictionary[s.atom("colour", one)] for one in COLOURS]
    found = torch.stack([colour[1] - colour[0], colour[2] - colour[0]])
    meant = truth["colour"][1:] - truth["colour"][0]
    size = s.dictionary[s.atom("size", 1)] - s.dictionary[s.atom("size", 0)]
    differences = (found - meant, size - (truth["size"][1] - truth["size"][0]))
    return max(float(one.abs().max()) for one in differences)


def test_attributes_that_occur_together_are_kept_apart_by_least_squares(planted) -> None:
    x, labels, truth = planted
    assert error(sn.supervised_dictionary(x, labels), truth) < 0.1
    assert error(sn.supervised_dictionary(x, labels, method="mean"), truth) > 0.3


def test_reconstruction_is_best_and_values_average_to_zero(planted) -> None:
    """Up to the noise of the labels' own rows, and Σ_v p_v u_v = 0 for each attribute."""
    x, labels, _ = planted
    s = sn.supervised_dictionary(x, labels)
    left = x - s.reconstruct(labels)
    assert float(left.square().mean()) == pytest.approx(0.01, rel=0.1)
    for name in ("colour", "size"):
        u = torch.stack([s.dictionary[s.atom(name, one)] for one in labels[name]])
        torch.testing.assert_close(u.mean(dim=0), torch.zeros(D), atol=1e-5, rtol=0)
    shuffled = {name: some[1:] + some[:1] for name, some in labels.items()}
    assert float((x - s.reconstruct(shuffled)).square().mean()) > 0.5


def test_an_edit_changes_one_attribute_alone(planted) -> None:
    """What was edited reads as the new value, the other as before; with `was` given, to the bit of the formula."""
    x, labels, _ = planted
    s = sn.supervised_dictionary(x, labels)
    assert s.read(x, "colour") == tuple(labels["colour"])
    assert s.read(x, "size") == tuple(labels["size"])
    edited = s.edit(x, "colour", "red")
    assert set(s.read(edited, "colour")) == {"red"}
    assert s.read(edited, "size") == tuple(labels["size"])
    torch.testing.assert_close(edited, s.edit(x, "colour", "red", was=labels["colour"]))
    red = [i for i, one in enumerate(labels["colour"]) if one == "red"]
    torch.testing.assert_close(edited[red], x[red])


@pytest.mark.slow
def test_labels_of_samples_reach_all_their_rows() -> None:
    vit = sn.load_model("tiny-vit")
    pictures = sn.data.scenes(80, seed=0)
    acts = sn.capture(vit, pictures.images, "resid_post.10", progress=False)
    s = sn.supervised_dictionary(acts, {"digit": pictures.digit})
    per_row = sn.supervised_dictionary(acts, {"digit": pictures.digit[acts.sample]})
    assert torch.equal(s.dictionary, per_row.dictionary)
    assert s.names[:2] == ("digit = 0", "digit = 1")
    assert "digit (10)" in repr(s)
