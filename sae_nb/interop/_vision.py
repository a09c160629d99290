"""SAEs of vision models by other projects: VISAEBench's, sae-for-vlm's and Prisma's files, read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.files._atomic import read_json
from sae_nb.files._tensors import read_tensors as read_safetensors
from sae_nb.interop._dictionary_learning import translated
from sae_nb.interop._foreign import (
    Stated,
    accounted,
    check_holds,
    known_hook_point,
    named_errors,
    read_tensors_and_facts,
    read_tensors_only,
    stated_k,
    stated_tensors,
)
from sae_nb.interop._imported import Encoding, Imported, Norm, Origin, assemble

CONFIG = "config.json"
VISAEBENCH, VISAEBENCH_WEIGHTS = "VISAEBench", "sae.pt"
_VISAEBENCH_FILES = (VISAEBENCH_WEIGHTS, "model.safetensors", "model.pt")
"""Names of the weights, in the order in which its own loader looks for them."""

VLM = "sae-for-vlm"
PRISMA, PRISMA_WEIGHTS = "Prisma", "weights.pt"

_OVERCOMPLETE = {
    "encoder.weight": "encoder.final_block.0.weight",
    "encoder.bias": "encoder.final_block.0.bias",
    "decoder.weight": "dictionary._weights",
}
_NORMS: dict[Any, Norm] = {
    None: "none",
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}
_SHORTEST = 0.01
"""Thresholds of VISAEBench's JumpReLU where a file has none."""
_STANDARDISED = (
    "It reads activations less their mean, divided by one standard deviation over all entries. Neither is in "
    "its files: take both from many activations of images like yours."
)


@checked
@named_errors
def read_visaebench(folder: str | Path) -> Imported:
    """Read an SAE of VISAEBench: z = [xEᵀ + a]₊ cut to k codes or at a threshold, x̂ = zD (+ b).

    It reads activations less their mean, divided by one standard deviation over all entries; neither is
    in its files.

    Parameters
    ----------
    folder
        Holds `sae.pt`, `model.safetensors` or `model.pt`, and `config.json`.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If the activation is unknown, or the file holds other tensors, or anything but tensors.

    Source
    ------
    visaebench 0.1.0, hub/loader.py and hub/sae_wrapper.py.
    """
    place = Path(folder)
    config = _config(place / CONFIG)
    weights = next(
        filter(Path.is_file, (place / n for n in _VISAEBENCH_FILES)), place / VISAEBENCH_WEIGHTS
    )
    read = read_safetensors if weights.suffix == ".safetensors" else read_tensors_only
    held = dict(stated_tensors(read(weights)).held)
    for name, other in _OVERCOMPLETE.items():
        if name not in held and other in held:
            held[name] = held.pop(other)
    tensors = Stated(held)
    check_holds(tensors, list(_OVERCOMPLETE), weights, f"Is it an SAE of {VISAEBENCH}?")
    kind = str(
        config.get("activation") or config.get("sae_type") or config.get("architecture") or "topk"
    ).lower()
    atoms = tensors["decoder.weight"].float()
    if "dictionary.multiplier" in tensors:
        atoms = atoms * tensors["dictionary.multiplier"].float().exp()
    bias = tensors.get("decoder.bias")
    encoding, threshold = _visaebench_rule(kind, tensors, config, place / CONFIG)
    sae = assemble(
        atoms,
        None if bias is None else bias.float(),
        encoding=encoding,
        origin=Origin(library=VISAEBENCH, architecture=kind, notes=[_STANDARDISED]),
        hook_point=None,
        encoder=tensors["encoder.weight"].float(),
        encoder_bias=tensors["encoder.bias"].float(),
        threshold=threshold,
    )
    return accounted(sae, tensors, config, carried=("_running_threshold",))


def _visaebench_rule(
    kind: str, tensors: Stated, config: Stated, path: Path
) -> tuple[Encoding, Tensor | None]:
    """Return the rule of an SAE of VISAEBench, and its thresholds."""
    if kind == "topk":
        return Encoding(rule="topk", k=stated_k(config.get("k"), path), pre_bias=False), None
    if kind == "batchtopk":
        stated = config.get("threshold")
        running = tensors.get("_running_threshold", torch.zeros(()))
        k = float(config.get("k") or 0)
        encoding = Encoding(rule="jumprelu", pre_bias=False, keeps_equal=True, batch_k=k)
        return encoding, torch.tensor(float(running if stated is None else stated))
    if kind == "jumprelu":
        default = torch.full((len(tensors["encoder.bias"]),), _SHORTEST)
        limits = tensors.get("jump_thresholds", tensors.get("thresholds", default))
        return Encoding(rule="jumprelu", pre_bias=False), limits.float()
    raise ValueError(
        f"{str(path)!r} must name the activation 'topk', 'batchtopk' or 'jumprelu', got {kind!r}. Such an "
        "SAE is not read."
    )


@checked
@named_errors
def read_sae_for_vlm(path: str | Path) -> Imported:
    """Read an SAE of sae-for-vlm: the state dict of dictionary_learning's BatchTopKSAE, or its Matryoshka.

    Parameters
    ----------
    path
        `ae_….pt`.

    Raises
    ------
    FileNotFoundError: If there is no such file.
    ValueError: If a tensor is missing, or the file holds anything but tensors.

    Source
    ------
    Pach et al., "Sparse autoencoders learn monosemantic features in vision-language models", arXiv
    2504.02821; the files: mateuszpach/sae-for-vlm.
    """
    tensors = stated_tensors(read_tensors_only(path))
    name = "MatryoshkaBatchTopKSAE" if "W_enc" in tensors else "BatchTopKSAE"
    parts, encoding = translated(name, tensors, False)
    origin = Origin(library=VLM, architecture=name)
    sae = assemble(encoding=encoding, origin=origin, hook_point=None, **parts)
    return accounted(sae, tensors, carried=("k", "group_sizes"))


@checked
@named_errors
def read_prisma(folder: str | Path) -> Imported:
    """Read an SAE of Prisma: z = σ((n(x) − b)E + a), x̂ = n⁻¹(zD + b), with its own norm n.

    A gated one has z = 1[(n(x) − b)E + a_gate > 0] · [(n(x) − b)E · e^r + a_mag]₊.

    Parameters
    ----------
    folder
        Holds `weights.pt`, a state dict with or without others around it, and `config.json`, which names
        the place by `hook_point_layer` and `layer_subtype`.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If the activation or the norm is unknown, it is a transcoder, or the file holds objects: those
        are never made. Save its `state_dict` alone where it was written.

    Source
    ------
    Prisma-Multimodal/ViT-Prisma, sae/sae.py and sae/config.py; Joseph et al., arXiv 2504.19475.
    """
    place = Path(folder)
    config = _config(place / CONFIG)
    everything, _ = read_tensors_and_facts(place / PRISMA_WEIGHTS)
    inside = {name.rpartition("state_dict.")[2]: tensor for name, tensor in everything.items()}
    tensors = stated_tensors(inside)
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    check_holds(tensors, names, place / PRISMA_WEIGHTS, f"Is it an SAE of {PRISMA}?")
    if "b_dec_out" in tensors or config.get("is_transcoder"):
        raise ValueError(
            f"{str(place / PRISMA_WEIGHTS)!r} must be an SAE, and is a transcoder, whose norm also scales its "
            "skip connection. Such a one is not read: take one of its SAEs."
        )
    if config.get("architecture") == "gated":
        check_holds(tensors, ("r_mag", "b_mag", "b_gate"), place / PRISMA_WEIGHTS, "Is it gated?")
    norm, chosen = config.get("normalize_activations"), config.get("activation_fn_str", "relu")
    if norm not in _NORMS or chosen not in ("relu", "topk"):
        raise ValueError(
            f"{str(place / CONFIG)!r} must have a norm among {', '.join(str(n) for n in _NORMS)} and the "
            f"activation 'relu' or 'topk', got {norm!r} and {chosen!r}. Such an SAE is not read."
        )
    encoding, parts = _prisma_rule(chosen, _NORMS[norm], tensors, config, place / CONFIG)
    hook = _prisma_place(config)
    origin = Origin(
        library=PRISMA,
        architecture=config.get("architecture") or "vanilla",
        model_name=config.get("model_name"),
        hook_name=hook,
    )
    sae = assemble(
        tensors["W_dec"].float(),
        tensors["b_dec"].float(),
        encoding=encoding,
        origin=origin,
        hook_point=known_hook_point(hook),
        encoder=tensors["W_enc"].float().T,
        **parts,
    )
    return accounted(sae, tensors, config, carried=("b_enc",))


def _prisma_place(config: Stated) -> str | None:
    """Return the place that an SAE reads: its files have a layer and a kind, older ones the whole name."""
    layer, kind, hook = (config.get(n) for n in ("hook_point_layer", "layer_subtype", "hook_point"))
    if isinstance(hook, str):
        return hook.format(layer=layer)
    return f"blocks.{layer}.{kind}" if isinstance(layer, int) and isinstance(kind, str) else None


def _prisma_rule(
    chosen: str, norm: Norm, tensors: Stated, config: Stated, path: Path
) -> tuple[Encoding, dict[str, Any]]:
    """Return the rule of an SAE of Prisma, and what it needs besides the encoder."""
    parts = {"encoder_bias": tensors["b_enc"].float()}
    if "r_mag" in tensors and chosen == "relu":
        parts = {
            "encoder_bias": tensors["b_mag"].float(),
            "gate_bias": tensors["b_gate"].float(),
            "magnitude": tensors["r_mag"].float().exp(),
        }
        return Encoding(rule="gated", norm=norm), parts
    if "log_theta" in tensors:
        parts["threshold"] = tensors["log_theta"].float().exp()
        return Encoding(rule="jumprelu", norm=norm), parts
    if chosen == "topk":
        k = stated_k((config.get("activation_fn_kwargs") or {}).get("k"), path)
        return Encoding(rule="topk", k=k, norm=norm), parts
    return Encoding(rule="relu", norm=norm), parts


def _config(path: Path) -> Stated:
    config = read_json(path)
    if not isinstance(config, Mapping):
        raise ValueError(
            f"{str(path)!r} must hold settings by name, got {type(config).__name__}. Download it again."
        )
    return Stated(config)
