"""An SAE in SAELens' terms: the names and turns of its tensors, and what each architecture is there.

Writers for other libraries start from the same terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import (
    AbsTopKProx,
    Gated,
    MatchingPursuit,
    SkipTranscoder,
    SparseAutoencoder,
    Temporal,
    ThresholdProx,
    TopKProx,
    Transcoder,
)
from sae_nb.architectures._base import saelens_tensors
from sae_nb.architectures._one_step import OneStep
from sae_nb.interop._imported import Imported, Norm
from sae_nb.interop._temporal import saelens_temporal

PARTS = {
    "W_dec": "dictionary",
    "b_dec": "bias",
    "W_enc": "encoder",
    "b_enc": "encoder_bias",
    "b_gate": "gate_bias",
    "b_mag": "encoder_bias",
    "r_mag": "magnitude",
    "threshold": "threshold",
    "W_skip": "skip",
}
"""By SAELens' name of a tensor, our part."""
LINEAR = ("W_enc", "b_enc")
GATED = ("W_enc", "b_gate", "r_mag", "b_mag")
NORMS: dict[str, Norm] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
}
TRANSCODER = "transcoder"
"""Ending of the architectures that write elsewhere."""


def ours(tensors: Mapping[str, Tensor], names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Return our parts from tensors by SAELens' names: those of `names`, or all it has of them."""
    if names is None:
        names = [name for name in PARTS if name in tensors]
    turns = {"W_enc": torch.t, "r_mag": torch.exp}
    return {PARTS[name]: turns.get(name, Tensor.detach)(tensors[name]) for name in names}


def as_stated(sae: Imported, names: Iterable[str]) -> dict[str, Tensor]:
    """Return tensors of an imported SAE by SAELens' names."""
    turns = {"W_enc": torch.t, "r_mag": torch.log}
    return {
        name: turns.get(name, Tensor.detach)(getattr(sae, PARTS[name]).detach()) for name in names
    }


def as_saelens(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return tensors of another library by SAELens' names; `names` leads from these to the library's.

    What the library calls `….weight` is a linear map of torch, (out, in), and is turned.
    """
    return {name: _turned(tensors[other], other) for name, other in names.items()}


def from_saelens(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return tensors by SAELens' names under those of another library."""
    return {other: _turned(tensors[name], other) for name, other in names.items()}


def _turned(tensor: Tensor, name: str) -> Tensor:
    # torch's linear maps are (out, in); SAELens' W_enc and W_dec are the other way round.
    return tensor.T if name.endswith(".weight") else tensor


@dataclass(frozen=True, kw_only=True)
class TensorNames:
    """An SAE in SAELens' terms."""

    architecture: str
    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    """SAELens' name for it, its weights by their names there, further lines of the configuration."""


def as_transcoder(sae: SparseAutoencoder, layout: TensorNames) -> TensorNames:
    """Under the name that SAELens gives a transcoder of these codes."""
    known = {"standard": "", "jumprelu": "jumprelu_"}
    if layout.architecture not in known:
        raise TypeError(
            f"`sae` must select atoms by thresholds to be a transcoder of SAELens, got a {type(sae).__name__} "
            f"of {layout.architecture!r}. Use write_sparsify, or sae.save(…)."
        )
    skip = "skip_" if "W_skip" in layout.tensors else ""
    return replace(layout, architecture=f"{known[layout.architecture]}{skip}{TRANSCODER}")


@saelens_tensors.answer
def _saelens_tensors(sae: SparseAutoencoder) -> dict[str, Tensor]:
    """Return the tensors with which SAELens' formulas give this SAE's codes and reconstructions, fp32."""
    layout = saelens_layout(sae)
    layout = layout if sae.writes is None else as_transcoder(sae, layout)
    return {name: tensor.detach().clone() for name, tensor in layout.tensors.items()}


def saelens_layout(sae: SparseAutoencoder) -> TensorNames:
    """Return the SAE in SAELens' terms: what other writers start from, too."""
    translate = next((of for kind, of in _LAYOUTS.items() if isinstance(sae, kind)), None)
    by_row = sae.additive and not (sae.reads_sequences and sae.writes is not None)
    layout = translate(sae) if translate is not None and by_row else None
    if layout is not None:
        return layout
    raise TypeError(
        f"`sae` must be of an architecture whose codes SAELens can compute, got {type(sae).__name__}. "
        "Save it with sae.save(…), or train a TopK, BatchTopK, JumpReLU, ReLU, Gated, AbsTopK, "
        "MatchingPursuit, or a Temporal that is not strict, with novel='TopK' and encoder_bias=False."
    )


def _decoder(sae: SparseAutoencoder) -> dict[str, Tensor]:
    return {"W_dec": sae.dictionary.float(), "b_dec": sae.bias.detach().float()}


@torch.no_grad()
def _of_one_step(sae: OneStep) -> TensorNames | None:
    tensors = _decoder(sae) | {
        "W_enc": sae.encoder.weight.float().T,
        "b_enc": (sae.encoder.bias / sae.scaling.scale).float(),
    }
    facts: dict[str, Any] = {}
    if isinstance(sae, Transcoder):
        tensors |= _of_what_is_read(sae, tensors)
        facts["apply_b_dec_to_input"] = False
    was_training = sae.training
    prox = sae.eval()._prox(None)
    sae.train(was_training)
    if isinstance(prox, (TopKProx, AbsTopKProx)):
        kind = "topk" if isinstance(prox, TopKProx) else "abstopk"
        facts |= {"k": prox.k, "rescale_acts_by_decoder_norm": False}
        return TensorNames(architecture=kind, tensors=tensors, facts=facts)
    if isinstance(prox, ThresholdProx):
        limits = torch.as_tensor(prox.thresholds, dtype=torch.float32).detach()
        if not bool(limits.any()):
            return TensorNames(architecture="standard", tensors=tensors, facts=facts)
        tensors["threshold"] = limits.expand(sae.n_atoms)
        return TensorNames(architecture="jumprelu", tensors=tensors, facts=facts)
    return None


def _of_what_is_read(t: Transcoder, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transcoder's maps with its input's mean and unit folded in: theirs begin at x itself."""
    mean, unit = t.reading.mean.float(), (t.reading.scale / t.scaling.scale).float()
    into = tensors["W_enc"] * unit
    folded = {"W_enc": into, "b_enc": tensors["b_enc"] - mean @ into}
    if isinstance(t, SkipTranscoder):
        skip = t.skip.float()
        folded |= {"W_skip": skip.T, "b_dec": tensors["b_dec"] - mean @ skip}
    return folded


@torch.no_grad()
def _of_gated(sae: Gated) -> TensorNames:
    scale = sae.scaling.scale
    tensors = _decoder(sae) | {
        "W_enc": sae.encoder.weight.float().T,
        "b_gate": (sae.encoder.bias / scale).float(),
        "b_mag": (sae.magnitude_bias / scale).float(),
        "r_mag": sae.log_gain.float(),
    }
    return TensorNames(architecture="gated", tensors=tensors)


def _of_temporal(sae: Temporal) -> TensorNames | None:
    translated = saelens_temporal(sae)
    if translated is None:
        return None
    tensors, facts = translated
    return TensorNames(architecture="temporal", tensors=_decoder(sae) | tensors, facts=facts)


def _of_matching_pursuit(sae: MatchingPursuit) -> TensorNames | None:
    if not sae.nonnegative or not sae.reselect or sae.relative_tolerance is not None:
        return None
    facts = {
        "max_iterations": sae.k,
        "residual_threshold": sae.tolerance or 0.0,
        "stop_on_duplicate_support": sae.reselect == "stop",
    }
    return TensorNames(architecture="matching_pursuit", tensors=_decoder(sae), facts=facts)


_RULES = {
    "relu": "standard",
    "topk": "topk",
    "abstopk": "abstopk",
    "jumprelu": "jumprelu",
    "gated": "gated",
}


def _of_imported(sae: Imported) -> TensorNames | None:
    encoding = sae.encoding
    if encoding.keeps_equal:
        return None
    theirs = {norm: name for name, norm in NORMS.items()} | {"centre": "none"}
    facts: dict[str, Any] = {
        "apply_b_dec_to_input": encoding.pre_bias,
        "normalize_activations": theirs[encoding.norm],
    }
    tensors = _decoder(sae)
    if encoding.rule == "matching" and encoding.nonnegative:
        facts |= {
            "max_iterations": encoding.k,
            "residual_threshold": encoding.tolerance,
            "stop_on_duplicate_support": encoding.stops_on_same_support,
        }
        return TensorNames(architecture="matching_pursuit", tensors=tensors, facts=facts)
    if encoding.rule not in _RULES:
        return None
    names: tuple[str, ...] = GATED if encoding.rule == "gated" else LINEAR
    if "skip" in sae.parts:
        if sae.writes is None:
            return None
        names = (*names, "W_skip")
    if encoding.rule == "jumprelu":
        names = (*names, "threshold")
    tensors |= as_stated(sae, names)
    if encoding.k is not None and encoding.rule != "gated":
        facts |= {"k": encoding.k, "rescale_acts_by_decoder_norm": False}
    return TensorNames(architecture=_RULES[encoding.rule], tensors=tensors, facts=facts)


_LAYOUTS: dict[type[Any], Callable[[Any], TensorNames | None]] = {
    Imported: _of_imported,
    Temporal: _of_temporal,
    Gated: _of_gated,
    OneStep: _of_one_step,
    MatchingPursuit: _of_matching_pursuit,
}
