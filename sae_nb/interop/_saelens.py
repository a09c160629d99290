"""SAELens: folders with `cfg.json` and `sae_weights.safetensors`, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import (
    AbsTopKProx,
    Gated,
    MatchingPursuit,
    OneStep,
    SparseAutoencoder,
    Temporal,
    ThresholdProx,
    TopKProx,
)
from sae_nb.files import read_json, read_tensors, write_json, write_tensors
from sae_nb.interop._hook_names import known_hook_point, lens_name
from sae_nb.interop._imported import Encoding, Imported, Norm, Origin, assemble, named_errors
from sae_nb.interop._originals import remember, write_folder
from sae_nb.interop._temporal import DIVISOR

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
    FileNotFoundError: If a file is missing.
    ValueError: If it is of an architecture we cannot express, or cut short or altered.

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
        from sae_nb.interop._temporal import temporal_of_saelens

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
    """What a configuration states of where the SAE comes from."""
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
    """A configuration of any version, as version 6 writes it."""
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


VERSION = "6.54.12"
"""Version of SAELens whose layout this is; without one its reader takes the file for a very old one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """An SAE in SAELens' terms."""

    architecture: str
    """What SAELens calls it."""

    tensors: dict[str, Tensor]
    """Weights by SAELens' names."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Further lines of the configuration."""


def write_saelens(sae: SparseAutoencoder, folder: str | Path, **metadata: Any) -> Path:
    """Write an SAE so that SAELens loads it and computes the same codes.

    BatchTopK, Matryoshka and JumpReLU become "jumprelu" with their thresholds, as SAELens itself
    saves them for inference. What SAELens wrote and `read_saelens` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, BatchTopK, Matryoshka, ReLU, JumpReLU, AbsTopK, Gated or MatchingPursuit, a Temporal of
        the published form with novel="TopK" and encoder_bias=False, or one that was read from another
        library.
    folder
        Gets `cfg.json` and `sae_weights.safetensors`; must not exist, and appears only when complete.
    metadata
        Further facts for SAELens' `metadata`, such as context_size=512, prepend_bos=True.

    Raises
    ------
    TypeError: If SAELens has no architecture that computes these codes.
    FileExistsError: If the folder exists.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.interop import read_saelens
    >>> sae, x = TopK(d_in=4, n_atoms=8, k=2).eval(), torch.ones(1, 4)
    >>> again = read_saelens(write_saelens(sae, tempfile.mkdtemp() + "/sae"))
    >>> torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    True
    """

    def store(to: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        stated = dict(config.get("metadata") or {}) | metadata
        write_tensors(to / WEIGHTS, tensors)
        write_json(to / CONFIG, config | ({"metadata": stated} if metadata else {}))

    return write_folder(sae, folder, LIBRARY, translate=_as_theirs, store=store, read=read_saelens)


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    metadata = {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "model_name": sae.model_name,
        "hook_name": None if sae.hook_point is None else lens_name(str(sae.hook_point)),
        "training_architecture": type(sae).__name__,
    }
    config = {
        "architecture": layout.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_atoms,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
        **layout.facts,
    }
    return layout.tensors, config


def saelens_layout(sae: SparseAutoencoder) -> Layout:
    """The SAE in SAELens' terms: what other writers start from, too.

    `sae`: Of ours, or read from another library.
    """
    layout = next((layout for kind, layout in _LAYOUTS.items() if isinstance(sae, kind)), None)
    found = None if layout is None else layout(sae)
    if found is not None:
        return found
    raise TypeError(
        f"`sae` must be of an architecture whose codes SAELens can compute, got {type(sae).__name__}. "
        "Save it with sae.save(…), or train a TopK, BatchTopK, JumpReLU, ReLU, Gated, AbsTopK, "
        "MatchingPursuit, or a Temporal that is not strict, with novel='TopK' and encoder_bias=False."
    )


def _decoder(sae: SparseAutoencoder) -> dict[str, Tensor]:
    return {"W_dec": sae.dictionary.float(), "b_dec": sae.bias.detach().float()}


@torch.no_grad()
def _of_one_step(sae: Any) -> Layout | None:
    tensors = _decoder(sae) | {
        "W_enc": sae.encoder.weight.float().T,
        "b_enc": (sae.encoder.bias / sae.scaling.scale).float(),
    }
    was_training = sae.training
    prox = sae.eval()._prox(None)
    sae.train(was_training)
    if isinstance(prox, TopKProx):
        facts = {"k": prox.k, "rescale_acts_by_decoder_norm": False}
        return Layout(architecture="topk", tensors=tensors, facts=facts)
    if isinstance(prox, AbsTopKProx):
        facts = {"k": prox.k, "rescale_acts_by_decoder_norm": False}
        return Layout(architecture="abstopk", tensors=tensors, facts=facts)
    if isinstance(prox, ThresholdProx):
        limits = torch.as_tensor(prox.thresholds, dtype=torch.float32).detach()
        if not bool(limits.any()):
            return Layout(architecture="standard", tensors=tensors)
        tensors["threshold"] = limits.expand(sae.n_atoms)
        return Layout(architecture="jumprelu", tensors=tensors)
    return None


@torch.no_grad()
def _of_gated(sae: Any) -> Layout:
    scale = sae.scaling.scale
    tensors = _decoder(sae) | {
        "W_enc": sae.encoder.weight.float().T,
        "b_gate": (sae.encoder.bias / scale).float(),
        "b_mag": (sae.magnitude_bias / scale).float(),
        "r_mag": sae.log_gain.float(),
    }
    return Layout(architecture="gated", tensors=tensors)


@torch.no_grad()
def _of_temporal(sae: Any) -> Layout | None:
    """The published form, without thresholds per atom; SAELens has no other.

    There one encoder serves attention and novel codes, λ = 1 / (4 d_in) comes on top, and nothing is
    scaled: attention's own gain moves into the three maps that read its codes.
    """
    if sae.strict or sae.novel not in ("TopK", "ReLU") or bool(sae.encoder.bias.any()):
        return None
    encoder = sae.encoder.weight.float() * DIVISOR * sae.d_in
    gain = sae.prescale * sae.scaling.scale.float()
    read = (".k_ctx.weight", ".q_target.weight", ".v_ctx.weight")
    attention = {
        name: tensor.float() * (gain if name.endswith(read) else 1.0)
        for name, tensor in sae.state_dict().items()
        if name.startswith("attn_layers.")
    }
    facts = {
        "n_heads": sae.n_heads,
        "n_attn_layers": sae.n_layers,
        "bottleneck_factor": sae.bottleneck_factor,
        "sae_diff_type": "topk" if sae.novel == "TopK" else "relu",
        "kval_topk": int(sae.k) if sae.novel == "TopK" else None,
        "tied_weights": False,
        "activation_normalization_factor": 1.0,
    }
    tensors = _decoder(sae) | {"W_enc": encoder.T} | attention
    return Layout(architecture="temporal", tensors=tensors, facts=facts)


def _of_matching_pursuit(sae: Any) -> Layout | None:
    if not sae.nonnegative or not sae.reselect or sae.relative_tolerance is not None:
        return None
    facts = {
        "max_iterations": sae.k,
        "residual_threshold": sae.tolerance or 0.0,
        "stop_on_duplicate_support": False,
    }
    return Layout(architecture="matching_pursuit", tensors=_decoder(sae), facts=facts)


_RULES = {"relu": "standard", "topk": "topk", "abstopk": "abstopk", "jumprelu": "jumprelu"}
_NORMS_WRITTEN = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm": "constant_norm_rescale",
}


def _of_imported(sae: Any) -> Layout | None:
    encoding = sae.encoding
    facts: dict[str, Any] = {
        "apply_b_dec_to_input": encoding.pre_bias,
        "normalize_activations": _NORMS_WRITTEN[encoding.norm],
    }
    tensors = _decoder(sae)
    if "skip" in sae.parts or encoding.keeps_equal:
        return None
    if encoding.rule == "matching" and encoding.nonnegative:
        facts |= {
            "max_iterations": encoding.k,
            "residual_threshold": encoding.tolerance,
            "stop_on_duplicate_support": encoding.stops_on_same_support,
        }
        return Layout(architecture="matching_pursuit", tensors=tensors, facts=facts)
    if encoding.rule == "gated":
        tensors |= {
            "W_enc": sae.encoder.detach().T,
            "b_gate": sae.gate_bias.detach(),
            "b_mag": sae.encoder_bias.detach(),
            "r_mag": sae.magnitude.detach().log(),
        }
        return Layout(architecture="gated", tensors=tensors, facts=facts)
    if encoding.rule not in _RULES:
        return None
    tensors |= {"W_enc": sae.encoder.detach().T, "b_enc": sae.encoder_bias.detach()}
    if encoding.rule == "jumprelu":
        tensors["threshold"] = sae.threshold.detach()
    if encoding.k is not None:
        facts |= {"k": encoding.k, "rescale_acts_by_decoder_norm": False}
    return Layout(architecture=_RULES[encoding.rule], tensors=tensors, facts=facts)


_LAYOUTS: dict[type[Any], Callable[[Any], Layout | None]] = {
    Imported: _of_imported,
    Temporal: _of_temporal,
    Gated: _of_gated,
    OneStep: _of_one_step,
    MatchingPursuit: _of_matching_pursuit,
}
