"""Runs where dictionary_learning is installed: opens each SAE, computes, saves it again."""

import shutil
import sys
from pathlib import Path

import torch
from dictionary_learning.utils import load_dictionary
from safetensors.torch import load_file, save_file

for folder in sorted(Path(sys.argv[1]).iterdir()):
    x = load_file(folder / "x.safetensors")["x"]
    sae, config = load_dictionary(str(folder / "ours"), device="cpu")
    with torch.no_grad():
        codes = sae.encode(x)
        x_hat = sae.decode(codes)
    save_file(
        {"codes": codes.contiguous(), "x_hat": x_hat.contiguous()}, folder / "found.safetensors"
    )
    (folder / "again").mkdir()
    torch.save(sae.state_dict(), folder / "again" / "ae.pt")
    shutil.copy(folder / "ours" / "config.json", folder / "again" / "config.json")
