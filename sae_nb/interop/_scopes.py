"""SAEs that were published as one state dict each, read as their authors' code uses them; not written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sae_nb.files._atomic import json_object
from sae_nb.files._tensors import read_tensors
from sae_nb.interop._foreign import (
    Stated,
    accounted,
    check_holds,
    known_hook_point,
    named_errors,
    read_tensors_only,
    stated_tensors,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, Rule, assemble, noted_factor

SCOPE_CONFIG, SCOPE_WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
"""Files of a Llama Scope SAE, in its folder."""
R1_CONFIG, R1_WEIGHTS = "config.json", "sae_weights.safetensors"
_LOG_THRESHOLD = "log_jumprelu_threshold"
_USUAL = {
    "use_decoder_bias": True,
    "apply_decoder_bias_to_pre_encoder": False,
    "use_glu_encoder": False,
    "act_fn": "jumprelu",
    "norm_activation": "dataset-wise",
}
"""Settings of the SAEs of Llama Scope that are read here."""
_PARTS = ("W_enc", "b_enc", "W_dec", "b_dec")
_K = re.compile(r"L0_(\d+)")


@dataclass(frozen=True, kw_only=True)
class States:
    """One publisher's layout of a state dict."""

    library: str
    names: tuple[str, str, str, str]
    """Its names of the encoder, its bias, the dictionary and the decoder's bias."""

    atoms_first: bool = True
    """Whether the encoder is (n_atoms, d_in) and the dictionary (d_in, n_atoms), as torch's layers are."""

    pre_bias: bool = False


_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
_LAYERS = (
    "encoder_linear.weight",
    "encoder_linear.bias",
    "decoder_linear.weight",
    "decoder_linear.bias",
)
LLAMA_SCOPE = States(library="Llama Scope", names=_LINEAR)
GOODFIRE = States(library="Goodfire", names=_LAYERS)
DEEPSEEK = States(library="qresearch", names=_LINEAR)
QWEN_SCOPE = States(library="Qwen Scope", names=_PARTS)
HEADS = States(library="attention-output SAEs", names=_PARTS, atoms_first=False, pre_bias=True)


def _assembled(
    states: States,
    held: Mapping[str, Tensor],
    path: Path,
    origin: Origin,
    facts: Stated | None = None,
    *,
    rule: Rule = "relu",
    k: int | None = None,
    threshold: Tensor | None = None,
    scale: float = 1.0,
) -> Imported:
    """Put an SAE together that reads s·x and writes x̂ / s, the factor folded into its weights."""
    tensors = stated_tensors(held)
    check_holds(tensors, states.names, path, f"Is it of {states.library}?")
    encoder, encoder_bias, dictionary, bias = (tensors[name].float() for name in states.names)
    if not states.atoms_first:
        encoder, dictionary = encoder.T, dictionary.T
    sae = assemble(
        dictionary.T / scale,
        bias / scale,
        encoding=Encoding(rule=rule, k=k, pre_bias=states.pre_bias),
        origin=replace(origin, notes=[noted_factor(scale)] if scale != 1 else []),
        hook_point=known_hook_point(origin.hook_name),
        encoder=encoder * scale,
        encoder_bias=encoder_bias,
        threshold=threshold,
    )
    if facts is not None and facts.get("d_model", sae.d_in) != sae.d_in:
        raise ValueError(
            f"`d_model` next to {str(path)!r} must be its width, {sae.d_in}, got {facts['d_model']}. One of "
            "the two files is of another SAE."
        )
    return accounted(sae, tensors, facts, carried=(_LOG_THRESHOLD,))


@named_errors
def read_relu_states(path: Path, states: States) -> Imported:
    """Read a `.pt` whose codes are relu(x Eᵀ + a), or of x − b where the bias is taken off first.

    Source: as SAELens 6.54 reads them, loading/pretrained_sae_loaders.py (goodfire, deepseek_r1,
    connor_rob_hook_z).
    """
    return _assembled(
        states, read_tensors_only(path), path, Origin(library=states.library, architecture="ReLU")
    )


@named_errors
def read_qwen_scope(path: Path, repository: str) -> Imported:
    """Read a TopK SAE of Qwen Scope; its k is in the name of the repository ("…-W32K-L0_50").

    Source: as SAELens 6.54 reads them (qwen_scope). The bias is not taken off first, and no norm of an
    atom counts for the choice.
    """
    named = _K.search(repository)
    if named is None:
        raise ValueError(
            f"{repository!r} must say how many atoms are kept, as in '…-W32K-L0_50', and does not. It is "
            "not a repository of Qwen Scope."
        )
    tensors = read_tensors_only(path)
    origin = Origin(library=QWEN_SCOPE.library, architecture="TopK", stated={"l0": float(named[1])})
    return _assembled(QWEN_SCOPE, tensors, path, origin, rule="topk", k=int(named[1]))


def _facts(path: Path) -> Stated:
    """Return the settings in a file of Llama Scope; refuse an SAE that is computed otherwise than those."""
    facts = Stated(json_object(path))
    reads, writes = facts.get("hook_point_in"), facts.get("hook_point_out")
    others = {name: facts.get(name, usual) for name, usual in _USUAL.items()}
    if writes not in (None, reads) or others != _USUAL:
        raise ValueError(
            f"{str(path)!r} must state an SAE that writes where it reads, with {_USUAL}, got "
            f"hook_point_out={writes!r} and {others}. Such an SAE is not read."
        )
    return facts


def _llama_origin(facts: Stated) -> Origin:
    place = facts["hook_point_in"]
    return Origin(
        library=LLAMA_SCOPE.library, architecture="JumpReLU", hook_name=place, prepend_bos=True
    )


@named_errors
def read_llama_scope(folder: Path) -> Imported:
    """Read a JumpReLU SAE of Llama Scope, trained on activations scaled to a mean norm of √d_in.

    The factor s = √d_in / (mean norm of its data) is in its file: weights and threshold take it up.

    Source: He et al., "Llama Scope", arXiv 2410.20526; as SAELens 6.54 reads them (llama_scope).
    """
    facts = _facts(folder / SCOPE_CONFIG)
    tensors = read_tensors(folder / SCOPE_WEIGHTS)
    scale = facts["d_model"] ** 0.5 / facts["dataset_average_activation_norm"]["in"]
    return _assembled(
        LLAMA_SCOPE,
        tensors,
        folder / SCOPE_WEIGHTS,
        _llama_origin(facts),
        facts,
        rule="jumprelu",
        scale=scale,
        threshold=torch.tensor(float(facts["jump_relu_threshold"]) * scale),
    )


@named_errors
def read_llama_scope_r1(folder: Path, scale: float) -> Imported:
    """Read a JumpReLU SAE of Llama Scope R1, whose activations are multiplied by `scale` first.

    Source: as SAELens 6.54 reads them (llama_scope_r1_distill), which has the factor in its list and takes
    the thresholds as they are.
    """
    facts, weights = _facts(folder / R1_CONFIG), folder / R1_WEIGHTS
    tensors = read_tensors(weights)
    check_holds(tensors, (_LOG_THRESHOLD,), weights, "Is it of Llama Scope R1?")
    return _assembled(
        LLAMA_SCOPE,
        tensors,
        weights,
        _llama_origin(facts),
        facts,
        rule="jumprelu",
        scale=scale,
        threshold=tensors[_LOG_THRESHOLD].float().exp(),
    )
