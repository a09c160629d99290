"""Folders as Acme writes them: acme.json with k, acme.safetensors with the rows of a dictionary."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import sae_nb as sn


def read(folder: Path) -> sn.SparseAutoencoder:
    rows = load_file(folder / "acme.safetensors")["rows"]
    sae = sn.TopK(
        rows.shape[1], rows.shape[0], k=json.loads((folder / "acme.json").read_text())["k"]
    )
    with torch.no_grad():
        sae.operator.weight.copy_(rows)
    return sae.eval()


ACME = sn.interop.FolderFormat("Acme", ("acme.json", "acme.safetensors"), read)
