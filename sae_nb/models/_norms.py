"""Whether a model's norms take off the mean of what they read, so that a mean in its stream changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sae_nb.models._checkpoint_files import bundled_folder, bundled_names, snapshot
from sae_nb.models._families import Structure, find_structure
from sae_nb.models._fetching import FETCHED, fetched_folder, hub_name, known_as

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"
SHORTEST = 4
"""Letters of the shortest family that is looked for in a name: shorter ones are in other words."""

SAME = 0.1
"""Largest change of a norm's answer, as a share of it, for which it is the same: above the rounding of half
precision, .02, and below what an RMS norm makes of a mean of 1, .3 and more."""


def takes_off_mean(module: nn.Module, structure: Structure | None) -> bool | None:
    """Return whether the norm behind the blocks takes off the mean, as a layer norm does.

    None where there is none, or another one before the blocks writes to the stream.
    """
    if structure is None or structure.final_norm is None:
        return None
    holder, _, name = structure.final_norm.rpartition(".")
    others = module.get_submodule(holder).named_children()
    if any("norm" in type(part).__name__.lower() for one, part in others if one != name):
        return None
    return _takes_off(module.get_submodule(structure.final_norm))


@torch.no_grad()
def _takes_off(norm: nn.Module) -> bool | None:
    """Try it: compare its answers to x and to x + 1."""
    weights = [weight for weight in norm.parameters() if weight.ndim]
    width = weights[0].shape[-1] if weights else getattr(norm, "normalized_shape", (8,))[-1]
    x = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    forward: Callable[..., Tensor] = type(
        norm
    ).forward  # that of an instance may be nnsight's or accelerate's
    try:
        like = weights[0] if weights else x
        there, moved = (forward(norm, one.to(like)).float() for one in (x, x + 1))
        return bool((there - moved).abs().max() < SAME * there.abs().max())
    except (RuntimeError, TypeError, AttributeError, ValueError):
        return None  # another kind of module of that name, or its weights are elsewhere


@lru_cache(maxsize=64)
def named_takes_off_mean(name: str) -> bool | None:
    """Return the same of a model by its name, from its configuration or family; nothing is fetched."""
    import transformers

    folder = _folder(name)
    try:
        config = (
            _of_family(name)
            if folder is None
            else transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
        )
        if config is None:
            return None
        config.num_hidden_layers = 2  # the norm behind them is the same
        with torch.device("meta"):
            module = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, ImportError):
        return None
    structure = find_structure(module)
    if structure is not None and structure.final_norm is not None:
        norm = module.get_submodule(structure.final_norm).to_empty(device="cpu")
        for weight in norm.parameters():
            weight.detach().fill_(1.0)
    return takes_off_mean(module, structure)


def _folder(name: str) -> Path | None:
    """Return the folder on this machine with the configuration of a model, if there is one."""
    fetched = _fetched(name)
    if name in bundled_names():
        folder: Path | Exception = bundled_folder(name)
    elif fetched is not None:
        try:
            folder = fetched_folder(fetched)
        except FileNotFoundError:
            return None
    else:
        own = Path(name).expanduser()
        there = (own / CONFIG).is_file()
        folder = own if there else snapshot(hub_name(name), None, local_files_only=True)
    return folder if isinstance(folder, Path) and (folder / CONFIG).is_file() else None


def _fetched(name: str) -> str | None:
    return next((one for one in FETCHED if known_as(one) == known_as(name)), None)


def _of_family(name: str) -> PretrainedConfig | None:
    """The usual configuration of the family that a model's name contains: "gemma2" for "google/gemma-2-2b"."""
    import transformers

    fetched = _fetched(name)
    families: Mapping[str, type[PretrainedConfig]] = transformers.CONFIG_MAPPING
    if fetched is not None:
        return families[FETCHED[fetched].model_type]()
    plain = "".join(filter(str.isalnum, known_as(name)))
    there = [kind for kind in families if len(kind) >= SHORTEST and kind.replace("_", "") in plain]
    return families[max(there, key=len)]() if there else None
