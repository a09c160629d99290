"""Neurons: as parts that are removed, as atoms of graphs; and heads, which are in the edges of these."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, Contributions, attribution_graph, neuron_contributions
from sae_nb.models import Frozen
from sae_nb_studies.circuits import neuron_transcoders

SUMS = ["40 + 20 =", "3 + 5 =", "17 + 36 ="]
BRACKETS = "( ( ) ) ( ) )"


@cache
def model(name: str) -> Any:
    return sn.load_model(name, device="cpu")


@cache
def of(method: Any) -> Contributions:
    return neuron_contributions(model("tiny-modular"), SUMS, target="7", method=method)


@cache
def graph(name: str, text: str, target: str) -> AttributionGraph:
    neurons = neuron_transcoders(model(name))
    return attribution_graph(model(name), neurons, text, target=target, drop_first=False)


def answers() -> list[float]:
    modular = model("tiny-modular")
    seven = modular.tokenizer.get_vocab()["7"]
    found = []
    for text in SUMS:
        logits = modular([text])[0, -1]
        found.append(float(logits[seven] - logits.mean()))
    return found


@pytest.mark.slow
def test_removal_of_a_neuron_is_a_run_with_its_mean(monkeypatch) -> None:
    modular = model("tiny-modular")
    acts = sn.capture(modular, SUMS, "mlp_post.0", progress=False, drop_first=False)
    largest = int(np.abs(of("ablation").values[0]).argmax())
    mean = acts.x[:, largest].mean()

    def exchange(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[..., largest] = mean
        return x

    clean = answers()
    with sn.splice(modular, "mlp_post.0", exchange):
        by_hand = np.subtract(clean, answers()).mean()
    assert of("ablation").values[0, largest] == pytest.approx(by_hand, rel=1e-3, abs=1e-4)
    whole = of("ablation").values
    monkeypatch.setattr("sae_nb.circuits._asked.BLOCK", 100)
    of.cache_clear()
    assert of("ablation").values == pytest.approx(whole, abs=1e-4)


@pytest.mark.slow
def test_decomposition_of_the_last_block_is_what_edges_say() -> None:
    """Straight to the answer with norms held: (a − mean) / a times the edge, where a neuron fires in all sums."""
    modular = model("tiny-modular")
    acts = sn.capture(modular, SUMS, "mlp_post.0", progress=False, drop_first=False)
    mean, last = acts.x.mean(dim=0).numpy(), acts.x[acts.position == 4].numpy()
    total = np.zeros(256)
    for text, x in zip(SUMS, last, strict=True):
        whole = graph("tiny-modular", text, "7")
        here = (whole.nodes.kind == "atom") & (whole.nodes.position == 4)
        atoms = whole.nodes.atom[here].to_numpy()
        edges = whole.matrix[[len(whole) - 1]].toarray()[0, here]
        total[atoms] += edges * (1 - mean[atoms] / x[atoms]) / len(SUMS)
    always = (last > 0).all(axis=0)
    assert always.sum() >= 3
    assert of("contextual").values[0, always] == pytest.approx(total[always], rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [("tiny-induction", "q k e f q k e", "f"), ("tiny-brackets", BRACKETS, "broken")],
)
def test_flow_through_a_head_is_what_scaling_it_changes(name: str, text: str, target: str) -> None:
    known, whole = model(name), graph(name, text, target)
    flow = whole.heads()
    batch = next(iter(known.batches([text])))
    word = known.tokenizer.get_vocab()[target]
    frozen = Frozen(known)

    def logit(held: Frozen) -> float:
        with torch.no_grad(), held:
            logits = known.main_output(known.forward(batch))[0, -1].double()
        return float(logits[word] - logits.mean())

    def scaled(head: int, x: torch.Tensor) -> torch.Tensor:
        factor = torch.ones(known.n_heads, 1)
        factor[head] += 1e-2
        return (x.unflatten(-1, (known.n_heads, -1)) * factor).flatten(-2)

    before = logit(frozen)
    for row in flow.itertuples():
        with sn.splice(known, f"head_out.{row.layer}", partial(scaled, row.head)):
            change = logit(Frozen(known, frozen.constants)) - before
        assert change * 100 == pytest.approx(row.flow, rel=2e-2, abs=2e-2)


def test_flow_through_a_node_is_what_is_foreseen_without_it() -> None:
    from sae_nb.circuits._faithfulness import foreseen

    whole = graph("tiny-brackets", BRACKETS, "broken")
    atoms = whole.nodes.index[whole.nodes.kind == "atom"]
    for node in (int(atoms[0]), int(atoms[len(atoms) // 2]), int(atoms[-1])):
        assert whole.flow[node] == pytest.approx(-foreseen(whole, node, 0.0)[0], rel=1e-6, abs=1e-9)
    slopes = np.where(whole.nodes.kind == "target", 1.0, whole.flow / whole.nodes.value)
    biases = np.nansum(slopes * whole.nodes.bias * whole.nodes.kind.isin(["atom", "target"]))
    ends = whole.nodes.kind.isin(["token", "error"]).to_numpy()
    (value,) = whole.nodes.value[whole.nodes.kind == "target"]
    assert whole.flow[ends].sum() + biases == pytest.approx(value, rel=1e-3)
