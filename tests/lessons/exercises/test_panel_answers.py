"""Questions that are read off a panel or a slider: what the panels show, and slips with a right number."""

from __future__ import annotations

import pytest
import torch
from sae_nb_lessons import exercise

import sae_nb as sn
from sae_nb_studies.data import six_gaussians
from tests.lessons.exercises.asked import Asked
from tests.lessons.exercises.panel_answers import ASKED

NUMBERS = [one for one in ASKED if "number" in exercise(one.id).expects]


@pytest.mark.parametrize("asked", NUMBERS, ids=lambda asked: asked.id)
def test_a_slip_with_the_right_number_is_not_right(asked: Asked) -> None:
    for slip in (-1, 100, 0.01, 10, 0.1, 1.5):
        assert not exercise(asked.id).check(slip * float(str(asked.right[0]))), slip


@pytest.mark.parametrize(
    ("id", "wrong"),
    [("07.4", ([2, 11], [0, 1], [1], [1, 2, 3], "both", 4)), ("06.2", (0, 4, -1, 1.5, "third"))],
)
def test_a_wrong_place_is_not_right(id: str, wrong: tuple[object, ...]) -> None:
    assert not any(exercise(id).check(answer) for answer in wrong)


def test_the_clouds_are_rebuilt_worst_by_the_one_with_a_price() -> None:
    """04.4 as its lesson trains them: ReLU far below, the other two near 1."""
    clouds = six_gaussians(4000, seed=0)
    torch.manual_seed(0)
    saes = {
        "SpaDE": sn.SpaDE(2, 128, sparsity=1e-3),
        "ReLU": sn.ReLU(2, 128, l0=8),
        "TopK": sn.TopK(2, 128, k=8),
    }
    ends = {
        name: sn.train(sae, clouds.x, steps=300, batch_size=512, seed=0, progress=False).history[-1]
        for name, sae in saes.items()
    }
    assert exercise("13.4").check(min(ends, key=lambda name: ends[name].r2))
    # Five seeds, in two orders of summing: .965 ± .007 beside 1 − .0001 and 1 − .00004.
    left = {name: 1 - end.r2 for name, end in ends.items()}
    assert left["ReLU"] > 10 * max(left["SpaDE"], left["TopK"])


def test_bars_come_back_in_one_pursuit_alone() -> None:
    """02.5: after every step of OMP what is left is orthogonal to all that were taken; of MP it is not."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(128, 64, generator=generator), dim=1)
    x = torch.randn(1, 64, generator=generator)
    back = {}
    for name, pursue in {"MP": sn.matching_pursuit, "OMP": sn.orthogonal_matching_pursuit}.items():
        codes, trace = pursue(x, dictionary, 8, trace=True)
        left = x - codes.to_dense() @ dictionary
        taken = torch.unique(trace.atoms[0])
        back[name] = float((left @ dictionary[taken].T).abs().max())
    assert back["OMP"] < 1e-4 < 0.01 < back["MP"]
    assert exercise("11.1").check("MP")
