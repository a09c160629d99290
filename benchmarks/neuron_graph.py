"""Graphs of neurons of SmolLM2-135M: seconds of graph, panel and change, and what is kept and lost.

Run `python benchmarks/neuron_graph.py --model FOLDER` with a checkpoint of SmolLM2-135M-Instruct. Goals on
two cores: graph and panel 10 s together, an intervention 1 s. The first four prompts are those of the plan,
the last three are new. `kept`: the k neurons that speak most for the answer answer freely, all others are as
on the contrast. `lost`: these alone are as on the contrast. Shares of the whole effect. Seconds are of this
process's own work on one thread: what they are on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import sae_nb_widgets as sw
import torch

import sae_nb as sn

PROMPTS = (
    ("The keys to the cabinet", "The key to the cabinet", (" are", " is"), (20, 50, 100)),
    ("The key to the cabinets", "The keys to the cabinets", (" is", " are"), (20, 200, 500)),
    ("The capital of France is", "The capital of Japan is", (" Paris", " Tokyo"), (20, 100, 500)),
    ("The capital of Italy is", "The capital of Spain is", (" Rome", " Madrid"), (20, 200, 500)),
    ("The opposite of hot is", "The opposite of big is", (" cold", " small"), (20, 100, 500)),
    ("The boy lost his ball, so", "The girl lost her ball, so", (" he", " she"), (20, 100, 500)),
    ("The books on the table", "The book on the table", (" were", " was"), (20, 100, 500)),
)


def measured(model: Any, prompt: Any) -> list[str]:
    """Return the rows of one prompt."""
    text, contrast, target, numbers = prompt
    began = time.process_time()
    graph = sn.circuits.attribution_graph(model, "neurons", text, contrast=contrast, target=target)
    drawn = time.process_time()
    panel = sw.CircuitPanel(graph)
    opened = time.process_time()
    panel.wait()
    changes = []
    for factor in (2.0, 0.0, 0.5):
        start = time.process_time()
        panel.intervene(factor)
        changes.append(time.process_time() - start)
    panel.close()
    curve = graph.faithfulness(numbers, n_random=5)
    shares = (curve.kept, curve.lost, curve.random, curve.random_lost)
    kept, lost, random, random_lost = (
        " / ".join(f"{value + 0.0:.2f}".replace("-0.00", "0.00") for value in part)
        for part in shares
    )
    k = " / ".join(map(str, numbers))
    return [
        f"| {text} ({target[0].strip()} − {target[1].strip()}) | {k} | {kept} | {lost} | {random} "
        f"| {random_lost} | {drawn - began:.1f} | {opened - drawn:.1f} | {np.median(changes):.2f} |"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    model = sn.load_model(parser.parse_args().model, device="cpu")
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.0f}, torch {torch.__version__}"
    )
    print(f"Python {platform.python_version()}")
    print("| prompt | k | kept | lost | random kept | random lost | graph | panel | change |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for prompt in PROMPTS:
        print("\n".join(measured(model, prompt)), flush=True)


if __name__ == "__main__":
    main()
