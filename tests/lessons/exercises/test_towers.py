"""Notebook 27: ten wrong answers to each exercise in which a function is written, and what they are told."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons.exercises import _towers as exercises
from sae_nb_lessons.studies import best_detector, bridges, joint_sae, own_found, paired, sides
from torch import Tensor

from tests.lessons.exercises.asked import Ways, named, told_apart

SEARCHES: Ways = [
    *named(exercises._SEARCH_SLIPS),
    (lambda x, y: 1 / len(x), "yours gives"),
    (lambda x, y: 1 - own_found(x, y), "yours gives"),
    (lambda x, y: own_found(x, y.roll(1, dims=0)), "yours gives"),
]
SIDES: Ways = [
    *named(exercises._SIDE_SLIPS),
    (lambda z, w: (sides(z, w) > 0.5).double(), "yours gives"),
    (lambda z, w: torch.full((z.shape[1],), 0.5), "yours gives"),
]
BRIDGES: Ways = [
    *named(exercises._BRIDGE_SLIPS),
    (lambda z, w, D: bridges(z, w, D) - bridges(z, w, D).mean(), "yours gives"),
    (lambda z, w, D: bridges(z, w, D).diag().diag(), "yours gives"),
]
DETECTORS: Ways = [
    *named(exercises._DETECTOR_SLIPS),
    (lambda z, y: 0, "yours gives"),
    (lambda z, y: len(z[0]) - 1, "yours gives"),
]


def detector(z: Tensor, y: Tensor) -> Tensor:
    """The right atom, by recall and precision, as a 0-d tensor."""
    hits = ((z > 0) & y[:, None]).sum(dim=0).double()
    recall, precision = hits / y.sum(), hits / (z > 0).sum(dim=0).clamp(min=1)
    return (2 / (1 / recall.clamp(min=1e-9) + 1 / precision.clamp(min=1e-9))).argmax()


@pytest.mark.parametrize(
    ("id", "right", "wrong"),
    [
        ("27.1", lambda x, y: torch.tensor(own_found(x, y)), SEARCHES),
        ("27.3", lambda z, w: sides(z, w).tolist(), SIDES),
        ("27.4", lambda z, w, D: torch.einsum("na,nb,ad,bd->ab", z, w, D, D) / len(z), BRIDGES),
        ("27.5", detector, DETECTORS),
    ],
)
def test_ten_wrong_answers_are_told_apart(id: str, right: object, wrong: Ways) -> None:
    """Each gets its own sentence, and seven or more of them the name of the mistake."""
    told_apart(id, right, wrong)


def test_some_atoms_serve_one_side_and_a_detector_of_images_reads_captions() -> None:
    """As question, hints and lesson say."""
    assert 0.1 < exercises.split_share() < 0.5
    pairs, sae = paired(), joint_sae()
    is_green = pairs.scenes.colour == 3
    atom = best_detector(sae.encode(pairs.image[400:]).to_dense(), is_green[400:])
    fires = sae.encode(pairs.text[:400]).to_dense()[:, atom] > 0
    hits = float((fires & is_green[:400]).sum())
    assert 2 * hits / float(fires.sum() + is_green[:400].sum()) > 0.7
