"""Promises of concept bottlenecks: heads read what was planted, and look where it is if the labels allow it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn


class Quarters(nn.Module):
    """Four places, one of each quarter, with a channel of their own: mean brightness, then a linear answer."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Identity()
        self.answer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=1).unflatten(1, (2, 4)).unflatten(3, (2, 4)).mean(dim=(2, 4))
        return self.answer(self.places(torch.diag_embed(means.flatten(1))).mean(dim=1))


def _model() -> sn.LiveModel:
    torch.manual_seed(0)
    return sn.wrap(Quarters(), name="quarters", patch_grid=(2, 2))


def _images(lit: Tensor) -> Tensor:
    """Noise, and a quarter of brightness where `lit` (n, 4) says so."""
    cells = 0.6 * lit.float().view(-1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.rand(len(lit), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return cells + 0.4 * noise


def _lit(n: int = 80, *, together: bool = False) -> Tensor:
    lit = torch.rand(n, 4, generator=torch.Generator().manual_seed(1)) > 0.5
    if together:
        lit[:, 3] = lit[:, 0]
    return lit


def _region(quarter: int, n: int) -> Tensor:
    mask = torch.zeros(n, 2, 2, dtype=torch.bool)
    mask.flatten(1)[:, quarter] = True
    return mask


def _found(*, together: bool = False, **settings: object) -> sn.vision.ConceptBottleneck:
    lit = _lit(together=together)
    known = {"first": lit[:, 0], "last": lit[:, 3]}
    return sn.vision.concept_bottleneck(_model(), _images(lit), known, "places", **settings)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_independent_concepts_are_read_from_their_region_and_twins_from_both(method: str) -> None:
    seen = _images(_lit(6))
    regions = {"first": _region(0, 6), "last": _region(3, 6)}
    apart, twins = (
        _found(together=together).look(seen, regions, method).table  # type: ignore[arg-type]
        for together in (False, True)
    )
    assert (apart["inside"] > 0.8).all()
    assert (apart["area"] == 0.25).all()
    assert twins["inside"].between(0.3, 0.7).all()
    assert (apart["low"] <= apart["inside"]).all()
    assert (apart["images"] == 6).all()


def test_heads_are_what_the_model_answers() -> None:
    """The new model's logits are directions · mean of the places, its names the concepts; the old one stays."""
    model, lit = _model(), _lit()
    images, before = _images(lit), _model()(_images(lit))
    found = sn.vision.concept_bottleneck(model, images, {"first": lit[:, 0]}, "places")
    states = sn.capture(model, images, "places", progress=False).x.view(80, 4, 4).mean(dim=1)
    offset = found.model(images)[:, 0] - states @ found.directions[0]
    assert torch.allclose(offset, offset[0].expand(80), atol=1e-4)
    assert found.model.class_names == ("first",)
    assert torch.equal(model(images), before)
    right = (found.model(images)[:, 0] > 0) == lit[:, 0]
    assert right.float().mean() > 0.95
    assert found.table.loc["first", "accuracy"] > 0.9


def test_the_input_of_a_module_is_a_hook_point_too() -> None:
    lit = _lit()
    one, other = (
        sn.vision.concept_bottleneck(_model(), _images(lit), {"first": lit[:, 0]}, point)
        for point in ("places", "places.input")
    )
    assert torch.equal(one.directions, other.directions)
    assert torch.equal(one.model(_images(lit[:3])), other.model(_images(lit[:3])))


def test_the_table_says_which_concepts_come_together() -> None:
    twins = _found(together=True).table
    assert twins["with"].tolist() == ["last", "first"]
    assert twins["phi"].tolist() == [1, 1]
    lit = _lit()
    alone = sn.vision.concept_bottleneck(_model(), _images(lit), {"first": lit[:, 0]}, "places")
    assert alone.table["with"].tolist() == [""]
    assert np.isnan(alone.table["phi"]).all()
    share = float(lit[:, 0].double().mean())
    assert alone.table.loc["first", "share"] == pytest.approx(share)


def test_labels_are_learned_through_the_concepts() -> None:
    """A label that is the concepts is read; one that is another quarter is read from activations alone."""
    own = _found(labels=_lit()[:, 0].long()).task
    other = _found(labels=_lit()[:, 1].long()).task
    assert own is not None
    assert other is not None
    assert own.loc["concepts", "accuracy"] > 0.9
    assert other.loc["activations", "accuracy"] > 0.9 > other.loc["concepts", "accuracy"] + 0.1
    assert _found().task is None


def test_images_without_a_region_do_not_count() -> None:
    regions = {"first": _region(0, 4), "last": torch.zeros(4, 2, 2)}
    regions["first"][:2] = True
    found = _found().look(_images(_lit(4)), regions, n_bootstrap=0)
    assert found.table["images"].tolist() == [2, 0]
    assert np.isnan(found.table.loc["last", "inside"])
    assert np.isnan(found.table["low"]).all()
