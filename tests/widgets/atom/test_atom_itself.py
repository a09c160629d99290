"""The atom itself in AtomBrowser: images, courses over time, places, orbits; and inputs drawn alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.atom._atom_view import ITSELF, ORBIT, orbit_of, places_drawing
from sae_nb_widgets.pursuit._detail import picture
from torch import Tensor

import sae_nb as sn
from sae_nb.codes import SparseCodes

DIGITS = torch.as_tensor(sn.data.digits().images[:300]).flatten(1).float()


class Kernels:
    d_in, n_atoms = 40, 5
    atoms_as = "line"

    def __init__(self) -> None:
        time = torch.arange(40.0)
        rows = torch.stack([torch.exp(-time / tau) * (time / tau) for tau in (2, 4, 6, 8, 12.0)])
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return sn.matching_pursuit(x, self.dictionary, 1)


class Turned(Kernels):
    d_in, n_atoms = 9, 8
    atoms_as = (3, 3)
    orbits = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])

    def __init__(self) -> None:
        images = torch.zeros(2, 3, 3)
        images[0, 0, :2], images[1, 0, 0] = 1.0, 1.0
        turned = [torch.rot90(one, turn, (0, 1)) for turn in range(4) for one in images]
        self.dictionary = torch.nn.functional.normalize(torch.stack(turned).flatten(1), dim=1)


@pytest.fixture
def kernels() -> sw.AtomBrowser:
    dictionary = Kernels()
    noise = 0.01 * torch.randn(60, 40, generator=torch.Generator().manual_seed(0))
    made = sw.AtomBrowser(dictionary, 3 * dictionary.dictionary.repeat(12, 1) + noise, atom=2)
    assert not made.problem, made.status
    return made


@pytest.mark.slow
def test_a_kernel_is_a_curve_of_its_own_numbers(kernels: sw.AtomBrowser) -> None:
    """Of the atom shown, and of the next one when that is."""
    for atom in (2, 4):
        kernels.atom = atom
        drawn = kernels.itself.curves.values(0)
        np.testing.assert_allclose(drawn, kernels.catalogue.sae.dictionary[atom], rtol=1e-6)
    assert kernels.itself.curves.description == ITSELF


def test_inputs_lie_under_what_the_atom_says_of_them(kernels: sw.AtomBrowser) -> None:
    """Each example's chart holds the input and z times the atom, which here nearly is the input."""
    curves: Any = kernels.examples.component
    assert len(curves.charts) == len(kernels.summary.examples)
    for i, example in enumerate(kernels.summary.examples):
        x = kernels.catalogue.acts.x[example.row]
        np.testing.assert_allclose(curves.values(2 * i), x, rtol=1e-6)
        explained = example.strength * kernels.catalogue.sae.dictionary[2]
        np.testing.assert_allclose(curves.values(2 * i + 1), explained, rtol=1e-6)
        assert float((x - explained).norm()) < 0.1 * float(x.norm())


@pytest.mark.slow
def test_an_orbit_stands_beside_its_atom() -> None:
    """The atom first, then those of its orbit alone; a click goes there."""
    dictionary = Turned()
    panel = sw.AtomBrowser(dictionary, dictionary.dictionary.repeat(3, 1), atom=3)
    assert panel.itself.grid.atoms == [3, 1, 5, 7]
    assert panel.itself.grid.description == ORBIT
    panel.itself.grid.selected = (2, -1)
    assert panel.atom == 5
    assert panel.itself.grid.atoms == [5, 1, 3, 7]
    assert orbit_of(Kernels(), 3) == [3]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["KDS", "WLSC"])
def test_atoms_of_the_lab_are_images(system: str) -> None:
    """Learned on digits: the atom and the inputs it fires on are drawn as 8 × 8 images."""
    made = getattr(sn.lab, system)(64, 12, generator=torch.Generator().manual_seed(0))
    panel = sw.AtomBrowser(made.fit(DIGITS, steps=10), DIGITS, atoms_as=(8, 8))
    assert not panel.problem, panel.status
    atom = made.dictionary[panel.atom].detach().numpy()
    expected = picture(atom, (8, 8), float(np.abs(atom).max()), signed=bool((atom < 0).any()))
    assert expected.shape == (3, 8, 8)
    assert panel.itself.grid.tile == (8, 8)
    grid: Any = panel.examples.component
    assert grid.captions == [one.place for one in panel.summary.examples]
    assert panel.to_png()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_landmark_lies_where_it_is_among_the_data() -> None:
    """A ring at dictionary + bias, on the scale of the points."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator) + torch.tensor([30.0, -4.0])
    kds = sn.lab.KDS(2, 8, generator=generator).fit(x, steps=30)
    panel = sw.AtomBrowser(kds, x, atoms_as="point")
    assert "data:image/png" in panel.itself.place.value
    place = panel.itself._place_of(panel.atom)
    np.testing.assert_allclose(place, kds.landmarks[panel.atom].detach(), rtol=1e-5)
    assert x.min(dim=0).values[0] - 1 < place[0] < x.max(dim=0).values[0] + 1
    drawn = places_drawing(
        np.array([[0.0, 0.0], [4.0, 4.0]]), np.array([0.0, 1.0]), np.array([2.0, 2.0])
    )
    ring: Any = drawn.strokes[-1]
    assert (ring.x, ring.y) == (drawn.width / 2, drawn.height / 2)
