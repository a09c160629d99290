"""What an attribution graph takes from the call on: seconds, and memory beside what was said before the work.

Run `python benchmarks/circuit_graph.py`, or with `--model FOLDER` and a checkpoint of SmolLM2-135M. The first
row is tiny-gpt with its four transcoders, sixteen tokens, to the picture of a panel (goal: 5 s on two cores).
The second is the shape of SmolLM2-135M, 30 blocks of width 576, twelve tokens, with transcoders of six MLPs,
1024 atoms, 16 at a time, to the graph (goal: 60 s on two cores). Neither what a model says nor how well a
transcoder is trained changes the time: the same number of atoms fire, so the second row takes weights as they
are drawn where no checkpoint is named.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn
from sae_nb.circuits import AttributionGraph, attribution_graph

LAYERS = (4, 9, 14, 19, 24, 29)
N_ATOMS, K = 1024, 16
STORY = "One day she went to the park with her brother and they saw a big"
PROMPT = "The capital of Germany is Berlin. The capital of France is"


def small() -> tuple[str, Callable[[], AttributionGraph]]:
    """tiny-gpt, sixteen tokens, with a panel."""
    import sae_nb_widgets as sw

    gpt = sn.load_model("tiny-gpt")
    transcoders = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(gpt.n_layers or 0)]
    ids = gpt.tokenizer(STORY)["input_ids"][:16]
    text = str(gpt.tokenizer.decode(ids, skip_special_tokens=True))

    def drawn() -> AttributionGraph:
        graph = attribution_graph(gpt, transcoders, text)
        panel = sw.CircuitPanel(graph, node=-1)
        panel.close()
        return graph

    return "tiny-gpt, four transcoders, to the image", drawn


def large(folder: Path | None) -> tuple[str, Callable[[], AttributionGraph]]:
    """SmolLM2-135M, or a model of its shape, twelve tokens."""
    model: Any = sn.load_model(folder, device="cpu") if folder else sn.wrap(shaped())
    inputs: Any = PROMPT if folder else [list(range(5, 17))]
    width, transcoders = model.width(), []
    for layer in LAYERS:
        drawn = torch.Generator().manual_seed(layer)
        t = sn.Transcoder(width, width, N_ATOMS, K, generator=drawn).eval()
        t.hook_point, t.target_hook_point = f"mlp_in.{layer}", f"mlp_out.{layer}"
        transcoders.append(t)
    name = "SmolLM2-135M" if folder else "its shape, weights as drawn"
    return (
        f"{name}, six transcoders, to the graph",
        lambda: attribution_graph(model, transcoders, inputs, target=7),
    )


def shaped() -> Any:
    """A Llama of the shape of SmolLM2-135M."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        )
    ).eval()


class Said(logging.Handler):
    """Keeps what the graph says of its memory."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the size."""
        self.last = (re.findall(r"about ([\d.e+]+ MiB)", record.getMessage()) or [""])[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a checkpoint of SmolLM2-135M")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    said, log = Said(), logging.getLogger("sae_nb_studies.circuits")
    log.addHandler(said)
    log.setLevel(logging.INFO)
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.0f}, "
        f"torch {torch.__version__}\n\n"
        "| case | tokens | nodes, traced | seconds | CPU seconds | memory said | more at the peak |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for name, call in (small(), large(args.model)):
        for _ in range(args.rounds):
            before, began, cpu = peak(), time.perf_counter(), time.process_time()
            graph = call()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            n_read = int(graph.nodes.read.sum())
            print(
                f"| {name} | {len(graph.tokens)} | {len(graph)}, {n_read} | {seconds:.1f} | {cpu:.1f} | "
                f"{said.last} | {peak() - before:.0f} MiB |",
                flush=True,
            )


def peak() -> float:
    """Largest memory of the process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
