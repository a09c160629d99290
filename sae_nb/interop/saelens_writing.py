"""write_saelens: our SAEs as a folder that SAELens 6 loads, with the same codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import Gated, MatchingPursuit, SparseAutoencoder, Temporal
from sae_nb.architectures.one_step import OneStep
from sae_nb.architectures.proxes import AbsTopKProx, ThresholdProx, TopKProx
from sae_nb.files import new_folder, write_json, write_tensors
from sae_nb.interop.hook_names import lens_name
from sae_nb.interop.imported import Imported
from sae_nb.interop.originals import Original, put_back
from sae_nb.interop.saelens import CONFIG, LIBRARY, WEIGHTS, read_saelens
from sae_nb.interop.temporal import DIVISOR

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

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If SAELens has no architecture that computes these codes.
    FileExistsError
        If the folder exists.

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

    def as_it_was(original: Original, to: Path) -> None:
        stated = dict(original.config.get("metadata") or {}) | metadata
        write_tensors(to / WEIGHTS, original.tensors)
        write_json(to / CONFIG, original.config | ({"metadata": stated} if metadata else {}))

    folder = Path(folder)
    with new_folder(folder) as partial:
        if not put_back(sae, LIBRARY, partial, write=as_it_was, read=read_saelens):
            layout = saelens_layout(sae)
            write_tensors(partial / WEIGHTS, layout.tensors)
            write_json(partial / CONFIG, _config(sae, layout, metadata))
    return folder


def _config(sae: SparseAutoencoder, layout: Layout, metadata: dict[str, Any]) -> dict[str, Any]:
    own = {
        "sae_lens_version": VERSION,
        "sae_lens_training_version": None,
        "model_name": sae.model_name,
        "hook_name": None if sae.hook_point is None else lens_name(str(sae.hook_point)),
        "training_architecture": type(sae).__name__,
    }
    return {
        "architecture": layout.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_atoms,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": own | metadata,
        **layout.facts,
    }


def saelens_layout(sae: SparseAutoencoder) -> Layout:
    """The SAE in SAELens' terms: what other writers start from, too.

    Parameters
    ----------
    sae
        Of ours, or read from another library.

    Raises
    ------
    TypeError
        If SAELens has no architecture that computes these codes.
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
_NORMS = {"none": "none", "layer_norm": "layer_norm", "constant_norm": "constant_norm_rescale"}


def _of_imported(sae: Any) -> Layout | None:
    encoding = sae.encoding
    facts: dict[str, Any] = {
        "apply_b_dec_to_input": encoding.pre_bias,
        "normalize_activations": _NORMS[encoding.norm],
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
