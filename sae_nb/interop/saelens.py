"""SAELens: folders with `cfg.json` and `sae_weights.safetensors`, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures.base import SparseAutoencoder
from sae_nb.files import read_json, read_tensors
from sae_nb.interop.hook_names import known_hook_point
from sae_nb.interop.imported import Encoding, Imported, Norm, Origin, assemble
from sae_nb.interop.originals import remember
from sae_nb.interop.strangers import named_errors

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
LIBRARY = "SAELens"
_NORMS: dict[str, Norm] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}
_JUMPS = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_PLAIN = ("standard", "transcoder", "skip_transcoder")
_KNOWN = (*_PLAIN, *_JUMPS, "topk", "abstopk", "gated", "matching_pursuit", "batchtopk", "temporal")


@named_errors
def read_saelens(folder: str | Path, *, scale: float | None = None) -> SparseAutoencoder:
    """Read an SAE that SAELens saved.

    Parameters
    ----------
    folder
        Holds `cfg.json` and `sae_weights.safetensors`; files older than version 6 too.
    scale
        Factor activations are multiplied by before this SAE sees them, for files whose
        `normalize_activations` is "expected_average_only_in" and that were not folded: √d_in over the
        mean norm of the activations.

    Returns
    -------
    SparseAutoencoder
        Gives the codes SAELens gives.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If it is of an architecture we cannot express, or cut short or altered.

    Source
    ------
    SAELens 6.54, saes/*.py and the conversion of older files in loading/pretrained_sae_loaders.py.
    """
    folder = Path(folder)
    found = read_json(folder / CONFIG)
    config, tensors = modern(found), read_tensors(folder / WEIGHTS)
    sae = _of(config, tensors, folder, scale)
    # With a factor given from outside, the file alone is no longer this SAE.
    return sae if scale is not None else remember(sae, LIBRARY, tensors, found)


def _of(
    config: dict[str, Any], tensors: dict[str, Tensor], folder: Path, scale: float | None
) -> SparseAutoencoder:
    architecture = config.get("architecture", "standard")
    if architecture not in _KNOWN:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must name one of {', '.join(_KNOWN)}, got {architecture!r}."
        )
    if architecture == "temporal":
        from sae_nb.interop.temporal import temporal_of_saelens

        return temporal_of_saelens(config, tensors, origin_of(config))
    if config.get("d_out", config.get("d_in")) != config.get("d_in"):
        raise ValueError(
            f"A transcoder must have d_out = d_in={config.get('d_in')} to be used here, got "
            f"d_out={config.get('d_out')}."
        )
    return _assembled(config, tensors, scale)


def _assembled(config: dict[str, Any], tensors: dict[str, Tensor], scale: float | None) -> Imported:
    architecture = config.get("architecture", "standard")
    dictionary = tensors["W_dec"]
    parts = _parts(architecture, config, tensors)
    bias = tensors["b_dec"]
    pre_bias = bool(config.get("apply_b_dec_to_input", True))
    if architecture == "matching_pursuit" and not pre_bias:
        bias = torch.zeros_like(bias)  # tied: added back only where it was taken off
    if architecture in ("topk", "abstopk") and config.get("rescale_acts_by_decoder_norm"):
        # topk(u·‖d‖) decoded by d/‖d‖ is a top-k SAE with scaled encoder and unit atoms.
        norms = dictionary.norm(dim=1)
        parts["encoder"] = parts["encoder"] * norms[:, None]
        parts["encoder_bias"] = parts["encoder_bias"] * norms
        dictionary = dictionary / norms[:, None]
    scale = _scale(config, scale)
    if scale != 1:
        parts["encoder"] = parts["encoder"] * scale
        dictionary, bias = dictionary / scale, bias / scale
    return assemble(
        dictionary,
        bias,
        encoding=_encoding(architecture, config, pre_bias=pre_bias),
        origin=origin_of(config),
        hook_point=known_hook_point(config["metadata"].get("hook_name")),
        **parts,
    )


def _parts(
    architecture: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    if architecture == "matching_pursuit":
        return {}
    parts = {"encoder": tensors["W_enc"].T}
    if architecture == "gated":
        parts["gate_bias"] = tensors["b_gate"]
        parts["magnitude"] = tensors["r_mag"].exp()
        parts["encoder_bias"] = tensors["b_mag"]
        return parts
    parts["encoder_bias"] = tensors["b_enc"]
    if architecture in _JUMPS:
        log = tensors.get("log_threshold")
        parts["threshold"] = tensors["threshold"] if log is None else log.exp()
    if architecture == "batchtopk":
        if "topk_threshold" not in tensors:
            raise ValueError(
                f"A training checkpoint of {config.get('architecture')!r} must hold `topk_threshold`, "
                "and does not. Save it for inference in SAELens."
            )
        parts["threshold"] = tensors["topk_threshold"]
    if "W_skip" in tensors:
        parts["skip"] = tensors["W_skip"]
    return parts


def _encoding(architecture: str, config: Mapping[str, Any], *, pre_bias: bool) -> Encoding:
    normalise = str(config.get("normalize_activations", "none"))
    norm = _NORMS.get(normalise, "none")
    shared: dict[str, Any] = {"pre_bias": pre_bias, "norm": norm}
    if architecture == "matching_pursuit":
        return Encoding(
            rule="matching",
            k=config.get("max_iterations"),
            tolerance=float(config.get("residual_threshold", 1e-2)),
            stops_on_same_support=bool(config.get("stop_on_duplicate_support", True)),
            **shared,
        )
    if architecture in ("topk", "abstopk"):
        rule: Any = architecture
        return Encoding(rule=rule, k=int(config["k"]), **shared)
    if architecture == "gated":
        return Encoding(rule="gated", **shared)
    jumps = architecture in _JUMPS or architecture == "batchtopk"
    return Encoding(rule="jumprelu" if jumps else "relu", **shared)


def _scale(config: Mapping[str, Any], scale: float | None) -> float:
    normalise = config.get("normalize_activations", "none")
    if normalise == "covariance_whitening":
        raise ValueError(
            "`normalize_activations` must be folded into the weights to be read here, got "
            "'covariance_whitening'. Fold it in SAELens and save again."
        )
    if normalise == "expected_average_only_in":
        if scale is None:
            raise ValueError(
                "This SAE expects activations scaled to norm √d_in on average, and its file does not "
                "hold the factor. Pass scale=√d_in / (mean norm of your activations), or fold it in "
                "SAELens (fold_activation_norm_scaling_factor) and save again."
            )
        return float(scale)
    return 1.0 if scale is None else float(scale)


def origin_of(config: Mapping[str, Any]) -> Origin:
    """What a configuration states of where the SAE comes from.

    Parameters
    ----------
    config
        As `modern` returns it.
    """
    metadata = config["metadata"]
    return Origin(
        library=LIBRARY,
        architecture=str(metadata.get("training_architecture", config.get("architecture"))),
        model_name=metadata.get("model_name"),
        hook_name=metadata.get("hook_name"),
        hook_name_out=metadata.get("hook_name_out"),
        context_length=metadata.get("context_size"),
        prepend_bos=metadata.get("prepend_bos"),
    )


def modern(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of any version, as version 6 writes it.

    Parameters
    ----------
    config
        Contents of `cfg.json`.

    Raises
    ------
    ValueError
        If it is not one.

    Example
    -------
    >>> old = {"hook_point": "blocks.1.hook_resid_pre", "activation_fn_str": "topk",
    ...        "activation_fn_kwargs": {"k": 8}, "normalize_activations": True}
    >>> new = modern(old)
    >>> new["architecture"], new["k"], new["metadata"]["hook_name"], new["normalize_activations"]
    ('topk', 8, 'blocks.1.hook_resid_pre', 'expected_average_only_in')
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{CONFIG!r} must hold an object, got {type(config).__name__}.")
    new = dict(config)
    metadata = dict(new.get("metadata") or {})
    if "sae_lens_version" not in metadata:
        names = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index"}
        for old, name in names.items():
            if old in new:
                new.setdefault(name, new.pop(old))
        activation = new.pop("activation_fn_str", new.get("activation_fn"))
        if activation == "topk" and "k" not in new:
            new["architecture"], new["k"] = "topk", (new.get("activation_fn_kwargs") or {}).get("k")
        if isinstance(new.get("normalize_activations"), bool):
            folded = "expected_average_only_in" if new["normalize_activations"] else "none"
            new["normalize_activations"] = folded
        for name in ("model_name", "hook_name", "prepend_bos", "context_size", "hook_head_index"):
            if name in new:
                metadata.setdefault(name, new[name])
    new["metadata"] = metadata
    return new
