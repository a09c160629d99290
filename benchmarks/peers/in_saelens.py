"""Runs where SAELens is installed: opens each SAE, computes, saves it again."""

import sys
from pathlib import Path

import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    sae = SAE.load_from_disk(str(folder / "ours"), device="cpu")
    with torch.no_grad():
        codes = sae.encode(x)
        # A linear map beside the atoms is a part of what a whole pass gives, and of no decoder.
        x_hat = sae(x) if hasattr(sae, "W_skip") else sae.decode(codes)
    codes = codes.to_dense() if codes.is_sparse else codes
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
    sae.save_model(str(folder / "again"))
