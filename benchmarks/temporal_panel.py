"""How long a `TemporalPanel` takes to open on a text of 512 tokens.

Run `python benchmarks/temporal_panel.py`. tiny-gpt, last block, a Temporal of 256 atoms, fitted for some
steps; the panel is opened several times on as many texts. CPU seconds of all threads.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from sae_nb_widgets.temporal import TemporalPanel

import sae_nb as sn

POINT, TOKENS = "resid_post.3", 512


def texts(model: sn.LiveModel, n: int) -> list[str]:
    """Stretches of prose whose tokens fill the context."""
    whole = model.tokenizer("\n".join(sn.data.prose("test").texts), verbose=False)["input_ids"]
    return [model.tokenizer.decode(whole[i * TOKENS :][: TOKENS - 2]) for i in range(n)]


def main() -> None:
    """Fit, open, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    model = sn.load_model("tiny-gpt")
    read = texts(model, given.rounds + 1)
    sae = sn.Temporal(model.width(POINT), 256, 8, generator=torch.Generator().manual_seed(0))
    acts = sn.capture(model, read, POINT, progress=False)
    sn.train(sae, acts, sn.TrainConfig(steps=10, batch_size=1024), progress=False)
    sae.hook_point = POINT
    rows = []
    for text in read:
        cpu, wall = time.process_time(), time.perf_counter()
        panel = TemporalPanel(model, sae, text)
        panel.wait()
        rows.append((time.process_time() - cpu, time.perf_counter() - wall))
        panel.close()
    first, *others = rows
    print("| opening | CPU s | wall s here |\n| --- | --- | --- |")
    print(f"| the first of a session | {first[0]:.2f} | {first[1]:.2f} |")
    cpu, wall = (statistics.median(column) for column in zip(*others, strict=True))
    print(f"| the next ones (median of {len(others)}) | {cpu:.2f} | {wall:.2f} |")


if __name__ == "__main__":
    main()
