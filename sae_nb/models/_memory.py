"""Estimate of a model's memory, from its files' headers and configuration, before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sae_nb.checks import Count, available_memory, check_memory, check_path, checked
from sae_nb.models._checkpoint_files import (
    bundled_folder,
    bundled_names,
    count_parameters,
    hub_folder,
    read_config,
    stored_tensors,
)
from sae_nb.models._devices import Bits, as_dtype

MIB = 2**20
ROWS, TOKENS = 8, 128
"""Texts of a batch, the default of `capture`, and tokens of a text if not given."""

BLOCK_OF_4 = 64
"""Weights that share a scale in bitsandbytes' nf4; the scale has four bytes."""

OF_SCALE = 4
"""Bytes of the scale of a row in 8 bits, or of a block in 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeded:
    """Memory that a model takes, in bytes."""

    name: str
    weights: int
    """The model's name; its weights, in the format in which they are loaded."""

    tokenizer: int
    """Its tokenizer, by the size of its file."""

    activations: int
    """The most that one forward pass keeps at a time: its texts' states, caches and logits."""

    sae: int
    """Memory of an SAE in addition; 0 if none was given."""

    rows: int
    tokens: int
    """Texts in the pass, and tokens of each."""

    free: int | None
    """Memory that is free now; None where the system does not say."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.tokenizer + self.activations + self.sae

    @property
    def fits(self) -> bool:
        """Whether it fits into what is free, a tenth left over; True where that is not known."""
        return self.free is None or self.total <= 0.9 * self.free

    def __str__(self) -> str:
        sae = f" + {self.sae / MIB:.0f} of the SAE" if self.sae else ""
        free = "" if self.free is None else f"; {self.free / MIB:.0f} MiB are free"
        return (
            f"{self.name} needs {self.total / MIB:.0f} MiB: {self.weights / MIB:.0f} of weights + "
            f"{self.tokenizer / MIB:.0f} of its tokenizer + {self.activations / MIB:.0f} for "
            f"{self.rows} texts of {self.tokens} tokens{sae}{free}."
        )


@checked(leave=("name", "dtype"))
def memory_needed(
    name: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    bits: Bits | None = None,
    device_map: Mapping[str, Any] | None = None,
    rows: Count = ROWS,
    tokens: Count | None = None,
    sae: Any = None,
) -> MemoryNeeded:
    """Estimate the memory of a model of a folder, of the hub or of the bundle, without loading it.

    Weights are counted from the headers of its safetensors; a forward pass from its configuration: the
    widest point of a block, keys and values of all layers, and logits. A model of the hub must be in the
    cache, or is fetched. Quantising on a CPU passes through the weights as they are stored, so memory is
    higher for as long as that takes.

    Parameters
    ----------
    name
        As in `load_model`.
    dtype
        As in `load_model`; None: float32, which a CPU gets.
    bits
        8 or 4: the matrices of its blocks are quantised, with one scale a row, or one for 64 weights.
    device_map
        From modules to devices, as in `load_model`: what goes to "disk" takes no memory.
    rows, tokens
        Texts in one forward pass, and tokens of each; None: 128, or what the model can read if that is less.
    sae
        An SAE to load in addition.

    Raises
    ------
    ValueError, FileNotFoundError: As `load_model`, of `name` and `dtype`.

    Example
    -------
    >>> needed = memory_needed("tiny-gpt", rows=1)
    >>> needed.fits, needed.weights < needed.total
    (True, True)
    >>> memory_needed("tiny-gpt", bits=8).weights < needed.weights / 2
    True
    """
    number = as_dtype(dtype) or torch.float32
    folder = _folder(name)
    file = folder / "tokenizer.json"
    config = read_config(folder, str(name)).to_dict()
    config |= config.get("text_config") or {}
    longest = config.get("max_position_embeddings") or config.get("n_positions")
    if tokens is None:
        tokens = min(TOKENS, longest) if isinstance(longest, int) else TOKENS
    return MemoryNeeded(
        name=Path(name).name if folder.is_dir() and Path(name).is_dir() else str(name),
        weights=weight_bytes(folder, number, bits, device_map),
        tokenizer=OF_TOKENIZER * file.stat().st_size if file.is_file() else 0,
        activations=_pass_bytes(config, rows * tokens, number.itemsize),
        sae=_bytes_of(sae),
        rows=rows,
        tokens=tokens,
        free=available_memory(),
    )


def _folder(name: str | Path) -> Path:
    check_path(name, name="name")
    if str(name) in bundled_names():
        return bundled_folder(str(name))
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else hub_folder(str(name), None)


def check_room(
    folder: Path,
    name: str,
    dtype: torch.dtype | None,
    device: torch.device,
    bits: int | None = None,
) -> None:
    """Refuse to load weights that would not fit where they are to run."""
    count, stored = count_parameters(folder)
    needed = stored if dtype is None else count * dtype.itemsize
    if bits is not None:
        needed = weight_bytes(folder, dtype, bits)
    smaller = dtype is None or dtype.itemsize > 2
    instead = "Use dtype='bfloat16', which halves it." if smaller else "Use a smaller model."
    what = f"{name!r} with {count / 1e6:.4g} M parameters"
    if device.type != "cuda":
        check_memory(needed, what, instead)
        return
    free = torch.cuda.mem_get_info(device)[0]
    if needed > 0.95 * free:
        raise MemoryError(
            f"{what} must fit on {device}: it needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} "
            f"GiB are free. {instead}"
        )


def weight_bytes(
    folder: Path,
    dtype: torch.dtype | None,
    bits: int | None,
    device_map: Mapping[str, Any] | None = None,
) -> int:
    """Return the bytes of a checkpoint's weights once loaded; None: in the format in which they are stored."""
    total = 0
    for name, shape, stored in stored_tensors(folder):
        if device_map is not None and _place(name, device_map) == "disk":
            continue
        count = math.prod(shape)
        if bits is not None and _is_quantised(name, shape):
            n_scales = shape[0] if bits == 8 else math.ceil(count / BLOCK_OF_4)
            total += count * bits // 8 + n_scales * OF_SCALE
        else:
            total += stored if dtype is None else count * dtype.itemsize
    return total


def _place(tensor: str, device_map: Mapping[str, Any]) -> object:
    """Return the device of a tensor: that of its nearest module in the map."""
    over = [m for m in device_map if not m or tensor == m or tensor.startswith(f"{m}.")]
    return device_map[max(over, key=len)] if over else None


OF_TOKENIZER = 13
"""A tokenizer's tables in memory, in sizes of its tokenizer.json. Ours, measured on SmolLM2's 3.4 MiB."""


def _is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    """Whether quantisers take a tensor: matrices of the blocks, not embeddings, heads or norms."""
    words = ("embed", "lm_head", "wte", "wpe", "norm", "score", "classifier")
    return len(shape) == 2 and name.endswith(".weight") and not any(word in name for word in words)


def _pass_bytes(config: Mapping[str, Any], tokens: int, itemsize: int) -> int:
    """Return the maximum that a forward pass without gradient keeps at a time, in addition to the weights."""

    def number(*names: str, default: int = 0) -> int:
        return next((int(config[n]) for n in names if isinstance(config.get(n), int)), default)

    width = number("hidden_size", "n_embd", "d_model")
    inner = number("intermediate_size", "n_inner", "ffn_dim", default=4 * width)
    n_layers = number("num_hidden_layers", "n_layer")
    n_heads = number("num_attention_heads", "n_head", default=1)
    of_head = number("head_dim", default=width // max(n_heads, 1))
    kept = 2 * n_layers * number("num_key_value_heads", default=n_heads) * of_head
    in_block = 2 * width + 3 * inner  # the stream, its norm; gate, up and their product
    at_the_end = 2 * width + number("vocab_size")
    return tokens * itemsize * (kept + max(in_block, at_the_end))


def _bytes_of(sae: object) -> int:
    if sae is None:
        return 0
    if not hasattr(sae, "state_dict"):
        raise TypeError(
            f"`sae` must be an SAE or None, got {type(sae).__name__}. Build or load one first."
        )
    return sum(t.numel() * t.element_size() for t in sae.state_dict().values())
