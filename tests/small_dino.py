"""DINOv2 with registers, small and with random weights, as `save_pretrained` writes it; images as files."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

import sae_nb as sn

SIDE, PATCH = 56, 14


def save_dino(folder: Path, n_blocks: int) -> Path:
    """Write weights, configuration and image processor: 4 × 4 patches of width 24."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.Dinov2WithRegistersConfig(
            hidden_size=24,
            num_hidden_layers=n_blocks,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=PATCH,
        )
        transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    transformers.BitImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    return folder


def save_images(folder: Path, n: int) -> Path:
    """Write scenes as files, in two folders."""
    for i, scene in enumerate(sn.data.scenes(n, seed=0).images):
        place = folder / ("odd" if i % 2 else "even")
        place.mkdir(parents=True, exist_ok=True)
        pixels = (255 * scene).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).resize((64, 64)).save(place / f"{i}.png")
    return folder
