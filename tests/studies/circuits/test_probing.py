"""Groups of atoms by what they do over prompts: peaks by hand, roles by definition, numbers on planted atoms."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import sae_nb as sn
from sae_nb_studies.circuits import PromptGroups, probe_prompts
from sae_nb_studies.circuits._probing import _comparison

NAMES = ("Ben", "Jack", "Max", "Tom")
PROMPTS = [f"One day {name} went to the" for name in NAMES]


@cache
def gpt() -> Any:
    return sn.load_model("tiny-gpt")


@cache
def transcoders() -> list[Any]:
    return [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in (0, 1)]


@cache
def found() -> PromptGroups:
    return probe_prompts(gpt(), transcoders(), PROMPTS)


@pytest.mark.slow
def test_an_atom_is_where_its_dense_code_is_largest() -> None:
    """Strength and position of the strongest atom of each place, from codes that are written out."""
    table = found().atoms
    for place, sae in zip(("mlp_out.0", "mlp_out.1"), transcoders(), strict=True):
        row = table[table.place == place].sort_values("strength").iloc[-1]
        peaks, largest = [], []
        for prompt in found().prompts:
            acts = sn.capture(gpt(), [prompt], str(sae.hook_point), progress=False)
            z = sae.encode(acts).to_dense()[:, int(row.atom)].detach().numpy()
            peaks.append(int(np.asarray(acts.position)[z.argmax()]))
            largest.append(float(z.max()))
        assert row.strength == pytest.approx(np.mean(largest), rel=1e-4)
        assert row.position in peaks
        assert row.steady == peaks.count(row.position) / len(peaks)


def test_roles_are_places_of_the_prompts() -> None:
    ids = np.stack([gpt().tokens(prompt)["id"].to_numpy() for prompt in PROMPTS])
    varies = (ids != ids[:1]).any(axis=0)
    for row in found().atoms.itertuples():
        expected = "say" if row.position == len(varies) - 1 else "relationship"
        assert row.role == ("semantic" if varies[row.position] else expected)
    assert set(found().atoms.role) == {"semantic", "relationship", "say"}


@pytest.mark.slow
def test_a_graph_names_the_atoms() -> None:
    every = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(gpt().n_layers)]
    graph = sn.circuits.attribution_graph(gpt(), every, PROMPTS[0]).prune(0.8)
    nodes = graph.nodes[graph.nodes.kind == "atom"]
    small = probe_prompts(gpt(), every, PROMPTS, graph=graph)
    asked = set(zip(nodes.place, nodes.atom, strict=True))
    assert set(zip(small.atoms.place, small.atoms.atom, strict=True)) <= asked
    assert 0 < len(small.atoms) <= len(asked)


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Six atoms of two kinds over four prompts: the first kind at 1, the second at 2; the last moves."""
    strength = np.zeros((6, 4, 3))
    strength[:3, :, 1] = 1.0
    strength[3:, :, 2] = 2.0
    train, test = strength[:, :2].copy(), strength[:, 2:].copy()
    test[5] = 0.0
    test[5, :, 0] = 1.0
    return train, test


def test_planted_kinds_have_the_numbers_that_they_must() -> None:
    """All but one of six are where they were: (3 · 1 + 3 · 2/3) / 6; its cosines are 0, so 4 of 6 pairs count."""
    train, test = planted()
    labels = {"behaviour": list("aaabbb"), "direction": list("abcabc"), "layer": [""] * 6}
    table = _comparison(labels, train, test, np.random.default_rng(0)).set_index("way")
    right = table.loc["behaviour"]
    assert (right.consistency, right.transfer) == pytest.approx((5 / 6, 5 / 6))
    assert right.similarity == pytest.approx((3 * 1 + 3 * 1 / 3) / 6)
    assert table.transfer["direction"] < right.transfer
    assert table.transfer["random"] < right.transfer
    assert np.isnan(table.transfer["layer"])
