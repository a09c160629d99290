"""A vision transformer of four post-norm blocks that somebody else trained to tell cats from horses.

x_0 = [cls, W·patches] + position;  m = norm_1(x + attn(x));  x' = norm_2(m + mlp(norm(m))).
32×32 photographs, patches of 4, width 128, 4 heads; the class comes from cls.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

PATCH = 4
GRID = (8, 8)
WIDTH = 128
N_HEADS = 4
N_BLOCKS = 4
CLASS_NAMES = ("cat", "horse")


class Embedding(nn.Module):
    """Pixel values to token states: cls, then patches row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(3 * PATCH**2, WIDTH)
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(torch.zeros(1, 1 + GRID[0] * GRID[1], WIDTH))

    def forward(self, pixels: Tensor) -> Tensor:
        # unfold orders a patch's numbers as channel, row, column, which is what was trained on.
        patches = self.patch(F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2))
        return torch.cat((self.cls.expand(len(pixels), -1, -1), patches), dim=1) + self.position


class Attention(nn.Module):
    """Multi-head attention without biases on queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (N_HEADS, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One post-norm step; the MLP has a norm of its own in front."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.norm_1 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 512), nn.GELU(), nn.Linear(512, WIDTH)
        )
        self.norm_2 = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.norm_1(x + self.attn(x))
        return self.norm_2(middle + self.mlp(middle))


class PhotoViT(nn.Module):
    """Pixel values (picture − 0.5) / 0.5 to cat and horse logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = Embedding()
        self.blocks = nn.ModuleList(Block() for _ in range(N_BLOCKS))
        self.head = nn.Linear(WIDTH, len(CLASS_NAMES))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


# The file's names, one of them misspelt, to ours.
_RENAMED = (
    (r"^transformer_blocks\.", "blocks."),
    (r"\.attention\.", ".attn."),
    (r"\.q_projection\.", ".query."),
    (r"\.k_projection\.", ".key."),
    (r"\.v_projeciton\.", ".value."),
    (r"\.o_projection\.", ".out."),
    (r"\.layernorm(\d)\.", r".norm_\1."),
    (r"\.fc\.", ".mlp."),
    (r"^to_patch_embedding\.1\.", "embed.patch."),
    (r"^cls_token$", "embed.cls"),
    (r"^positional_embedding$", "embed.position"),
    (r"^classifier\.", "head."),
)


def photo_vit(folder: Path) -> nn.Module:
    """Load the trained network from its folder (one safetensors file)."""
    module = PhotoViT()
    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for pattern, ours in _RENAMED:
            name = re.sub(pattern, ours, name)
        state[name] = tensor
    module.load_state_dict(state)
    return module.eval()


def normalised(pictures: Tensor) -> Tensor:
    """What the network was trained on: the `preprocess` to wrap it with."""
    return (pictures - 0.5) / 0.5
