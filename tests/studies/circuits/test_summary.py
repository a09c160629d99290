"""What a change of a graph foresees; a graph given its model back."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, load_graph
from sae_nb.circuits._faithfulness import foreseen
from tests.refusing import refused

TEXT = "One day Mia saw"


@cache
def dictionaries() -> list[Any]:
    return [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(4)]


@cache
def graph() -> AttributionGraph:
    gpt = sn.load_model("tiny-gpt")
    return sn.circuits.attribution_graph(
        gpt, dictionaries(), TEXT, target=[" dog", " cat"], max_nodes=150
    )


def atoms_of(found: AttributionGraph, layer: int) -> list[int]:
    here = ((found.nodes.kind == "atom") & (found.nodes.layer == layer)).to_numpy()
    return [int(i) for i in np.argsort(-found.influence) if here[i]]


def test_without_a_target_one_answer_is_explained() -> None:
    """The model's likeliest token less its runner-up, in one target node: not ten answers at once."""
    gpt = sn.load_model("tiny-gpt")
    found = sn.circuits.attribution_graph(gpt, dictionaries()[:1], TEXT, max_nodes=0)
    likeliest = gpt([TEXT])[0, -1].topk(2).indices.tolist()
    assert found.outcomes == (tuple(likeliest),)
    assert int((found.nodes.kind == "target").sum()) == 1


@pytest.mark.slow
def test_what_is_foreseen_is_the_sum_over_all_paths() -> None:
    found = graph()
    matrix, values = found.matrix.toarray().astype(float), found.nodes.value.to_numpy(float)
    atoms = ((found.nodes.kind == "atom") & (values != 0)).to_numpy()
    relative = np.zeros_like(matrix)
    relative[atoms] = matrix[atoms] / values[atoms, None]
    start = np.zeros(len(found))
    node = atoms_of(found, 2)[0]
    start[node] = -1.0
    all_paths = np.linalg.solve(np.eye(len(found)) - relative, start)
    wanted = found.nodes.weight.to_numpy() @ matrix @ all_paths
    predicted, direct = foreseen(found, node, 0.0)
    assert predicted == pytest.approx(wanted, rel=1e-5)
    assert predicted != pytest.approx(direct, rel=1e-3)
    assert found.flow[node] == pytest.approx(-wanted, rel=1e-5)


@pytest.mark.slow
def test_a_graph_from_a_file_is_given_its_model_back(tmp_path: Path) -> None:
    """And answers as before; a pair's difference too. Others' models and transcoders are refused."""
    gpt, small = sn.load_model("tiny-gpt"), graph().prune()
    small.save(tmp_path / "graph")
    again = load_graph(tmp_path / "graph").with_model(gpt, dictionaries())
    node = atoms_of(small, 3)[0]
    for name in ("effect", "predicted"):
        wanted = getattr(small.intervene(node, n_random=0), name)
        assert getattr(again.intervene(node, n_random=0), name) == pytest.approx(wanted, abs=1e-5)
    pair = sn.circuits.attribution_graph(
        gpt, dictionaries(), TEXT, target=(" dog", " cat"), max_nodes=0
    )
    assert pair.outcomes == ((graph().outcomes[0][0], graph().outcomes[1][0]),)
    assert pair.with_model(gpt, dictionaries()).intervene(node).before.shape == (1024,)
    other = sn.Transcoder(gpt.width("mlp_out.3"), gpt.width("mlp_out.3"), 64, 4).eval()
    other.hook_point, other.target_hook_point = "mlp_in.3", "mlp_out.3"
    for model, given, rule in (
        (sn.load_model("tiny-vit"), dictionaries(), "must be tiny-gpt, which the graph is of"),
        (gpt, sn.load_sae("tiny-gpt/resid_post.3"), "must write"),
        (gpt, [*dictionaries()[:3], other], "must be those that the graph was made with"),
    ):
        refused(rule, load_graph(tmp_path / "graph").with_model, model, given)
    by_function = sn.circuits.attribution_graph(
        gpt, dictionaries(), TEXT, target=lambda z: z[3], max_nodes=0
    )
    assert by_function.outcomes == (None,)
    with pytest.raises(ValueError, match="a function that no file keeps"):
        by_function.with_model(gpt, dictionaries()).intervene(node)


@pytest.mark.slow
def test_several_atoms_are_changed_together() -> None:
    """As one each where there is one; a token is none; answers of the random directions are kept."""
    first, second = atoms_of(graph(), 3)[:2]
    alone, again = graph().intervene(first, n_random=0), graph().intervene([first], n_random=0)
    assert alone.effect == again.effect
    both = graph().intervene([first, second, first], n_random=2)
    assert both.name.count("atom") == 2
    assert both.predicted == pytest.approx(
        sum(foreseen(graph(), node, 0.0)[0] for node in (first, second))
    )
    assert both.controlled.shape == (2, len(both.before))
    refused("must be an atom, got 0, which is a token", graph().intervene, [first, 0])
    refused("got none", graph().intervene, [])
