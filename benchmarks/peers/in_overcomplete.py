"""Runs where overcomplete is installed: fills its own TopKSAE with our tensors and computes."""

import sys
from pathlib import Path

import torch
from overcomplete.sae import TopKSAE
from safetensors.torch import load_file, save_file

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    ours = load_file(folder / "ours" / "tensors.safetensors")
    n_atoms, d_in = ours["dictionary"].shape
    sae = TopKSAE(d_in, nb_concepts=n_atoms, top_k=int(ours["k"])).eval()
    state = sae.state_dict()
    state["dictionary._weights"] = ours["dictionary"]
    state["encoder.final_block.0.weight"] = ours["encoder"]
    # It takes no bias off the input first.
    state["encoder.final_block.0.bias"] = ours["encoder_bias"] - ours["encoder"] @ ours["bias"]
    sae.load_state_dict(state)
    with torch.no_grad():
        _, codes = sae.encode(x)
        x_hat = sae.decode(codes) + ours["bias"]
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
