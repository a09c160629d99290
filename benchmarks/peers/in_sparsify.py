"""Runs where sparsify is installed: opens each SAE, computes, saves it again."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sparsify import SparseCoder

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    sae = SparseCoder.load_from_disk(folder / "ours", device="cpu")
    with torch.no_grad():
        found = sae.encode(x)
        codes = torch.zeros(len(x), sae.num_latents).scatter(
            1, found.top_indices.long(), found.top_acts
        )
        x_hat = sae.decode(found.top_acts, found.top_indices)
        if sae.W_skip is not None:  # as its own whole pass does
            x_hat = x_hat + x @ sae.W_skip.mT
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
    sae.save_to_disk(folder / "again")
