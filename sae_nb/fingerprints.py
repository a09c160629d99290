"""Short digests that tell one model, one set of inputs, one batch from another."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_SAMPLED = 256  # values looked at per tensor: training moves all of them, so a few give it away


def weights_digest(module: nn.Module) -> str:
    """Return a digest of every parameter's and buffer's name, shape, type and 256 of its values."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().reshape(-1)
        if len(flat):
            picked = torch.linspace(0, len(flat) - 1, min(len(flat), _SAMPLED)).long()
            digest.update(tensor_bytes(flat[picked.to(flat.device)]))
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Return a digest of a tokenizer's vocabulary and special tokens; None without one."""
    if tokenizer is None:
        return None
    parts = [sorted(tokenizer.get_vocab().items()), sorted(map(str, tokenizer.all_special_tokens))]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def inputs_digest(inputs: Any, kind: str) -> str | None:
    """Return a digest of inputs that are at hand (texts, ids, tensors, pictures), else None.

    Parameters
    ----------
    inputs
        As for `capture`.
    kind
        What the model reads. Strings are texts to a language model only; to others they name files,
        whose contents they do not tell.
    """
    digest = hashlib.blake2b(digest_size=16)
    return digest.hexdigest() if _feed(digest, inputs, texts=kind == "language") else None


def _feed(digest: Any, inputs: Any, *, texts: bool) -> bool:
    held = getattr(inputs, "images", None)
    if isinstance(held, (Tensor, np.ndarray)):
        inputs = held
    if isinstance(inputs, (Tensor, np.ndarray)):
        tensor = torch.as_tensor(inputs)
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor_bytes(tensor))
        return True
    if isinstance(inputs, (int, float)) or (texts and isinstance(inputs, str)):
        text = f"{type(inputs).__name__}:{inputs}".encode()
        digest.update(len(text).to_bytes(8, "big") + text)
        return True
    if isinstance(inputs, (list, tuple)):
        digest.update(f"[{len(inputs)}]".encode())
        return all(_feed(digest, item, texts=texts) for item in inputs)
    if isinstance(inputs, dict):
        return all(
            _feed(digest, str(key), texts=True) and _feed(digest, value, texts=texts)
            for key, value in inputs.items()
        )
    return False


def tensor_bytes(tensor: Tensor) -> Any:
    """The content of a tensor as bytes, of any type."""
    # As bytes: numpy knows no bfloat16.
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if len(flat) else b""
