"""The illusion check flags what is one and spares what is none; the row space is that of the Jacobian."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.steering import Answers
from sae_nb_studies.evaluation import illusion_check
from sae_nb_studies.evaluation.causal._subspace_illusion import reading_space, space_of

D = 64


def along(*axes: int) -> Tensor:
    v = torch.zeros(D)
    v[list(axes)] = 1.0
    return v


def linear(weight: Tensor) -> sn.LiveModel:
    head = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    head.weight.data = weight
    return sn.wrap(
        torch.nn.Sequential(torch.nn.Identity(), head),
        class_names=[str(i) for i in range(len(weight))],
    )


@pytest.fixture(scope="module")
def planted() -> tuple[sn.LiveModel, Tensor, Tensor]:
    """Of 64 dimensions, 0 varies with the concept and is read (the model's own way); 1 varies with the
    concept and is not read; 2 is read and hardly ever varies; the rest is noise that nobody reads."""
    weight = torch.zeros(3, D)
    weight[0, [0, 2]], weight[1, [0, 2]] = 1.0, -1.0
    weight[2, 2] = 0.5  # a third class, or 0 and 2 would be read as one direction
    noise = torch.randn(2, 200, D, generator=torch.Generator().manual_seed(0))
    scale = torch.ones(D)
    scale[:3] = torch.tensor([0.3, 0.3, 0.01])
    base, source = noise * scale
    base[:, 0] += 1
    source[:, 0] -= 1
    base[:, 1] += 2
    source[:, 1] -= 2
    return linear(weight), base, source


@pytest.mark.slow
def test_the_constructed_illusion_is_flagged(planted: tuple[sn.LiveModel, Tensor, Tensor]) -> None:
    """Half disconnected, half dormant: patching along both has an effect that neither has."""
    model, base, source = planted
    v = along(1, 2)
    found = illusion_check(model, "0", None, None, base, source, direction=v)
    assert found.light == "red"
    assert "illusion" in found.verdict
    assert found["v"].value > found["v"].control
    assert abs(found["v_null"].value) < 1e-6
    assert abs(found["v_row"].value) < 0.1 * found["v"].value
    assert found["dormant index"].value < 0.1


def test_the_direction_that_is_read_is_spared(planted: tuple[sn.LiveModel, Tensor, Tensor]) -> None:
    model, base, source = planted
    found = illusion_check(model, "0", None, None, base, source, direction=along(0))
    assert found.light == "green"
    assert found["full"].value == pytest.approx(1, abs=1e-5)
    assert found["v"].value == pytest.approx(1, abs=0.02)  # by hand: all but dimension 2's noise


def test_a_direction_that_nobody_reads_has_nothing_to_explain(
    planted: tuple[sn.LiveModel, Tensor, Tensor],
) -> None:
    model, base, source = planted
    found = illusion_check(model, "0", None, None, base, source, direction=along(3))
    assert found.light == "grey"
    assert found.read_share < 1e-6


@pytest.mark.slow
def test_an_sae_atom_is_checked_like_a_direction(
    planted: tuple[sn.LiveModel, Tensor, Tensor],
) -> None:
    model, base, source = planted
    sae = sn.TopK(d_in=D, n_atoms=80, k=2, generator=torch.Generator().manual_seed(0))
    by_atom = illusion_check(model, "0", sae, 3, base, source)
    by_row = illusion_check(model, "0", None, None, base, source, direction=sae.dictionary[3])
    assert by_atom.atom == 3
    assert [m.value for m in by_atom.values()] == pytest.approx([m.value for m in by_row.values()])


def test_the_sketched_space_is_the_row_space_of_a_linear_reader() -> None:
    """Rank 2 of centred logits, and W's rows lie in it; a given reader gives the same."""
    weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    runs = Answers(linear(weight), torch.randn(5, 6), "0")
    space = reading_space(runs)
    centred = weight - weight.mean(dim=0)
    assert space.rank == 2
    for row in centred:
        assert torch.allclose(space.part(row), row, atol=1e-4)
    assert torch.allclose(space.basis @ space.basis.T, torch.eye(2), atol=1e-5)
    exact = space_of(centred.double().T @ centred.double(), 1 - 1e-9)
    assert torch.allclose(exact.part(weight[0]), space.part(weight[0]), atol=1e-3)


def test_a_nonlinear_model_is_read_through_its_gradient() -> None:
    project = torch.nn.Linear(5, 2, bias=False)
    project.weight.data = torch.eye(2, 5)
    model = sn.wrap(
        torch.nn.Sequential(torch.nn.Identity(), project, torch.nn.Tanh(), torch.nn.Linear(2, 3)),
        class_names=["a", "b", "c"],
    )
    space = reading_space(Answers(model, torch.randn(8, 5), "0"), energy=0.999)
    assert space.rank == 2
    assert float(space.part(torch.tensor([0.0, 0, 1, 1, 1])).norm()) < 1e-5
