"""Numbers of one seed, the four tensors of a plain SAE, and a folder of SAELens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def standard(d: int, n: int) -> dict[str, Tensor]:
    """Encoder, its bias, dictionary and the decoder's bias, by SAELens' names."""
    encoder = {"W_enc": draw(d, n, seed=1), "b_enc": draw(n, seed=2)}
    return encoder | {"W_dec": draw(n, d, seed=3), "b_dec": draw(d, seed=4)}


def linear(t: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same as the state of two linear layers, without the decoder's bias."""
    return {
        "encoder.weight": t["W_enc"].T.contiguous(), "encoder.bias": t["b_enc"],
        "decoder.weight": t["W_dec"].T.contiguous(),
    }  # fmt: skip


def saelens(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    """Write a folder as SAELens does."""
    folder.mkdir(exist_ok=True)
    metadata = {"sae_lens_version": "6.0.0", "hook_name": "blocks.2.hook_resid_pre"}
    d, n = tensors["W_enc"].shape
    base = {"d_in": d, "d_sae": n, "apply_b_dec_to_input": True, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(base | config))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "sae_weights.safetensors")
    return folder
