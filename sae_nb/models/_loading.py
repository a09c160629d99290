"""`load_model`: a bundled model, a checkpoint folder or a Hugging Face id, by one name."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from sae_nb.checks import check_device
from sae_nb.models._bundled import bundled_names, is_own, load_bundled, load_own
from sae_nb.models._checkpoints import load_folder
from sae_nb.models._hook_points import near_names
from sae_nb.models._hub import hub_folder
from sae_nb.models._live_model import LiveModel
from sae_nb.models._remote import check_remote, load_remote

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def load_model(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    *,
    remote: bool | str = False,
) -> LiveModel:
    """Load a live model: bundled, from a folder, or from the Hugging Face hub.

    Weights are read from safetensors only and code in a checkpoint is never run. The network is used
    only for a hub id that is not whole in the cache, and never with ``HF_HUB_OFFLINE=1``.

    Parameters
    ----------
    name
        A bundled model ("tiny-gpt", "tiny-vit", "tiny-vit@step-N" for a checkpoint along its
        training), a checkpoint folder, or a hub id ("owner/model").
    device
        Where it runs; None: a visible NVIDIA GPU, else the CPU.
    dtype
        Number format: "float32", "bfloat16", "float16", "float64" or a torch dtype. None: float32
        for bundled models and on a CPU, else as stored.
    revision
        Branch, tag or commit of a hub id; "step-N" of a bundled model.
    remote
        True: for a language model that does not fit. Only its configuration and tokenizer are fetched, and
        every `capture` sends its texts to the server nnsight is configured for, and waits; the
        server's answer is unpacked by nnsight, so ask only one you trust. "local": nnsight's dry run of
        that, on this machine. An address: another server. Everything else (steering, generation, panels
        that run the model) needs the weights and says so. Nothing is contacted before a capture, but
        the hub for an id that is not cached.

    Raises
    ------
    ValueError: If the device is not there, the dtype unknown, or the checkpoint unusable.
    FileNotFoundError: If nothing of that name is found here or can be reached.

    Example
    -------
    >>> model = load_model("tiny-vit")
    >>> model.patch_grid, model.hook_points()[-2:]
    ((8, 8), ['resid_post.11', 'final_norm'])
    """
    if not isinstance(name, (str, os.PathLike)) or not str(name).strip():
        raise TypeError(f"`name` must be a model's name or folder, got {name!r}.")
    text = os.fspath(name)
    bundled = bundled_names()
    is_bundled = text.partition("@")[0] in {known.partition("@")[0] for known in bundled}
    if check_remote(remote):
        _check_nothing_local(device, dtype, text, is_bundled)
        return load_remote(text, remote, revision)
    place = check_device(device)
    number_format = _dtype(dtype)
    if is_bundled:
        return load_bundled(text, device=place, dtype=number_format, revision=revision)
    folder = Path(text).expanduser()
    if folder.is_dir():
        _check_no_revision(revision, text)
        load = load_own if is_own(folder) else load_folder
        return load(folder, name=folder.resolve().name, device=place, dtype=number_format)
    _check_hub_id(text, isinstance(name, os.PathLike), bundled)
    folder = hub_folder(text, revision)
    return load_folder(folder, name=text, device=place, dtype=number_format)


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if isinstance(dtype, str) and dtype.removeprefix("torch.") in _DTYPES:
        return _DTYPES[dtype.removeprefix("torch.")]
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype in _DTYPES.values()):
        return dtype
    raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)} or None, got {dtype!r}.")


def _check_nothing_local(device: object, dtype: object, name: str, is_bundled: bool) -> None:
    if is_bundled:
        raise ValueError(
            f"`name` must be a hub id for a model that runs remotely, got {name!r}, which is bundled "
            "and small. Leave `remote` out."
        )
    if device is not None or dtype is not None:
        raise ValueError(
            f"`device` and `dtype` must be None for a model that runs remotely, got {device!r} and "
            f"{dtype!r}: the server decides. Leave them out."
        )


def _check_no_revision(revision: str | None, name: str) -> None:
    if revision is not None:
        raise ValueError(
            f"`revision` is for hub ids and bundled models, got {revision!r} with the folder "
            f"{name!r}. Leave it out."
        )


def _check_hub_id(name: str, is_path: bool, bundled: list[str]) -> None:
    """Refuse what cannot be a hub id before anything is asked of the network."""
    looks_like_path = is_path or name.startswith((".", "/", "~", "\\")) or name.count("/") > 1
    if looks_like_path:
        raise FileNotFoundError(
            f"`name` must be a folder that exists, a hub id or a bundled model, got {name!r}, which "
            "is not there."
        )
    near = near_names(name.lower().replace("_", "-"), bundled) if "/" not in name else []
    if near:
        raise FileNotFoundError(
            f"`name` must be a model's name, got {name!r}. Did you mean {near[0]!r}? Bundled are: "
            f"{', '.join(bundled)}. A hub id of that name must be written owner/{name}."
        )
