"""Is a circuit foretold from its graph? Membership learned on graphs that were taken apart, against a flat cut.

tiny-modular and tiny-brackets as bundled; atoms are neurons. A seed draws the inputs. Of graphs not learned from,
as many atoms as the search keeps are chosen by the learned membership, by influence (a flat cut) and at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sae_nb as sn
from sae_nb.circuits import attribution_graph
from sae_nb_studies.circuits import known_circuit, learn_membership, neuron_transcoders
from sae_nb_studies.reproductions.experiments.graph_decomposition import shuffled

SHORT = {"learned_from": 2, "judged": 1}
MODELS = ("tiny-modular", "tiny-brackets")
SHARE = 0.9


def run(seed: int, *, learned_from: int = 16, judged: int = 8) -> dict[str, float]:
    """Decompose graphs of both models, learn from the first and judge on the others."""
    numbers: dict[str, float] = {}
    for name in MODELS:
        model: Any = sn.load_model(name)
        neurons = neuron_transcoders(model)
        texts = list(known_circuit(model, n=max(learned_from + judged, 40), seed=seed).inputs)
        graphs = [
            attribution_graph(
                model, neurons, text, target=int(model([text])[0, -1].argmax()), drop_first=False
            )
            for text in texts[: learned_from + judged]
        ]
        found = [graph.decompose(share=SHARE, n_random=1) for graph in graphs]
        mixed = [shuffled(graph, seed) for graph in graphs]
        ways = {
            "learned": (learn_membership(graphs[:learned_from], found[:learned_from]), graphs),
            "edges shuffled": (learn_membership(mixed[:learned_from], found[:learned_from]), mixed),
            "without edges": (
                learn_membership(graphs[:learned_from], found[:learned_from], hops=0),
                graphs,
            ),
        }
        for way, (learned, of) in ways.items():
            tables = [
                learned.compare(graph, len(one.kept), seed=seed).set_index("way").recovered
                for graph, one in zip(of[learned_from:], found[learned_from:], strict=True)
            ]
            # How far from all that the atoms do: more than that is as far off as less.
            off = {
                key: float(np.mean([abs(1 - t[key]) for t in tables])) for key in tables[0].index
            }
            numbers[f"{name}, {way}: off"] = off["learned"]
            if way == "learned":
                numbers[f"{name}, influence: off"] = off["influence"]
                numbers[f"{name}, random: off"] = off["random"]
        numbers[f"{name}, searched: off"] = float(
            np.mean([abs(1 - one.recovered) for one in found[learned_from:]])
        )
    return numbers
