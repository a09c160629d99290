"""Atoms of an archetypal SAE lie where their weights on the most used archetypes balance."""

from __future__ import annotations

import numpy as np
import torch

from sae_nb.atoms.concept_map._concept_map import archetype_places


class Mixed:
    """Four atoms over four points; the second is used most, the third never."""

    mixture = torch.tensor(
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.9, 0.0, 0.1], [0.25, 0.25, 0.0, 0.5]]
    )
    dictionary = torch.eye(4)


def test_a_pure_atom_is_a_corner_and_a_mixture_lies_between() -> None:
    """Barycentric coordinates, exactly, with the most used archetype on top."""
    places = archetype_places(Mixed())
    assert places.archetypes.tolist() == [1, 0, 3]
    np.testing.assert_allclose(places.corners[0], [0, 1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(places.corners, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(places.xy[0], places.corners[1], atol=1e-6)
    expected = np.array([[0.9, 0, 0.1], [0.25, 0.25, 0.5]]) @ places.corners
    np.testing.assert_allclose(places.xy[2:], expected, atol=1e-6)
    np.testing.assert_allclose(places.held, 1)


def test_what_the_corners_do_not_hold_is_said() -> None:
    """Ratios among the corners alone; an atom with nothing there is at the centre, held 0."""
    mixed = Mixed()
    mixed.mixture = torch.tensor(
        [[0.3, 0.1, 0.0, 0.6, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.0, 0.0, 0.0]]
    )
    mixed.mixture = torch.cat([mixed.mixture, torch.eye(5)[[0, 1, 3]].repeat(3, 1)])
    places = archetype_places(mixed)
    assert sorted(places.archetypes.tolist()) == [0, 1, 3]
    assert places.held[1] == 0
    np.testing.assert_array_equal(places.xy[1], 0)
    assert np.abs(places.xy).max() <= 1 + 1e-6
