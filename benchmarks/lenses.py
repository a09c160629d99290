"""Lenses on a real language model: layers against the model's answer, and atoms against the running model.

Run `python benchmarks/lenses.py --model FOLDER [--sae FOLDER --sae-layer 16]`, where FOLDER holds a
Hugging Face checkpoint such as SmolLM2-135M. A Jacobian lens of all blocks is fitted on four texts of 25
tokens; everything else is measured on others: agreement and KL per layer on ten texts, effects of 24 live
atoms per layer on six (TopK, 2 048 atoms, 250 steps on 4 800 rows, one SAE per seed), each next to the
direct path and to random directions of the same sizes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

LAYERS, SEEDS = (4, 12, 22), (0, 1)
LENGTH, N_FIT, N_HELD_OUT, N_ROW_TEXTS = 25, 4, 10, 200
PROMPTS = ("The opposite of hot is", "The capital of France is")


def long_enough(model: Any, split: str) -> list[str]:
    """Return texts of more than `LENGTH` tokens."""
    import sae_nb as sn

    texts = sn.data.prose(split).texts
    return [text for text in texts if len(model.tokenizer.encode(text)) > LENGTH]


def vision() -> None:
    """Print the score of tiny-vit's atoms at block 6, on five sets of images."""
    import sae_nb as sn

    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    for seed in range(5):
        images = sn.data.scenes(48, seed=10 + seed, split="train").images
        held_out = sn.data.scenes(48, seed=20 + seed, split="test").images
        lens = sn.fit_lens(model, images, layers=[6], progress=False)
        found = lens.check(held_out, sae, n_atoms=80, seed=seed)
        print(f"seed {seed}\n{found.atoms_by_kind.round(3).T.to_string()}")


def main() -> None:
    """Fit, then print the tables."""
    import torch

    import sae_nb as sn

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--vision", action="store_true", help="tiny-vit on five seeds, instead")
    parser.add_argument("--sae", type=Path)
    parser.add_argument("--sae-layer", type=int, default=16)
    parser.add_argument("--store", type=Path, help="folder of the fit, to continue it")
    given = parser.parse_args()
    if given.vision:
        vision()
        return
    model = sn.load_model(str(given.model))
    texts, held_out = long_enough(model, "train"), long_enough(model, "test")
    begin = time.perf_counter()
    lens = sn.fit_lens(model, texts[:N_FIT], context_length=LENGTH, store=given.store)
    print(f"fit: {time.perf_counter() - begin:.0f} s\n{lens.curve.iloc[-1].round(2).to_string()}")
    layers = lens.check(held_out[:N_HELD_OUT], context_length=LENGTH)
    print(layers.table.round(3).to_string())
    saes = []
    for layer in LAYERS:
        rows = texts[N_FIT : N_FIT + N_ROW_TEXTS]
        acts = sn.capture(model, rows, f"resid_post.{layer}", context_length=LENGTH)
        for seed in SEEDS:
            torch.manual_seed(seed)
            sae = sn.TopK(acts.d_in, 2048, k=32)
            sae.hook_point = f"resid_post.{layer}"
            sn.train(sae, acts, steps=250, seed=seed, progress=False)
            saes.append((layer, seed, sae))
    if given.sae is not None:
        saes.append((given.sae_layer, 0, sn.load_sae(given.sae)))
    for layer, seed, sae in saes:
        some = held_out[6 * seed : 6 * seed + 6]
        found = lens.check(some, sae, layer, seed=seed, context_length=LENGTH)
        print(f"layer {layer}, seed {seed}\n{found.atoms_by_kind.round(3).T.to_string()}")
    for prompt in PROMPTS:
        print(f"{prompt}\n{lens.read(prompt).grid().to_string()}")


if __name__ == "__main__":
    main()
