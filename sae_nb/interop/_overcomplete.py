"""overcomplete: state dicts, read and written; what they do not hold is asked for, or is in `about.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from sae_nb.architectures import BatchTopK, SparseAutoencoder
from sae_nb.checks import checked
from sae_nb.files._atomic import read_json
from sae_nb.interop._foreign import (
    Contents,
    Original,
    Stated,
    accounted,
    named_errors,
    read_tensors_only,
    remember,
    stated_k,
    stated_tensors,
    write_folder,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, Rule, assemble
from sae_nb.interop._saelens_layout import TensorNames, saelens_layout

WEIGHTS, ABOUT = "state_dict.pt", "about.json"
LIBRARY = "overcomplete"
_NORMALIZATIONS = ("l2", "max_l2", "l1", "max_l1", "identity")
"""What its dictionary layer does to atoms: of each its norm becomes 1, or the largest norm of all."""
_DERIVED = ("dictionary._fused_dictionary",)
"""Tensors that it makes of others."""
_KINDS = {
    "SAE": "relu",
    "TopKSAE": "topk",
    "RATopKSAE": "topk",
    "BatchTopKSAE": "batchtopk",
    "JumpSAE": "jumprelu",
    "RAJumpSAE": "jumprelu",
    "MpSAE": "matching",
    "OMPSAE": "orthogonal",
}


@checked
@named_errors
def read_overcomplete(
    folder: str | Path,
    *,
    kind: str | None = None,
    k: int | None = None,
    threshold: float | None = None,
    delta: float | None = None,
) -> Imported:
    """Read the state dict of an overcomplete SAE.

    The library has no file format: `torch.save(sae.state_dict(), "state_dict.pt")` holds the tensors,
    and `about.json` next to it, or the arguments here, the numbers that are not among them. Its
    `center`, which `write_overcomplete` puts there, is taken off inputs and added to reconstructions.

    Parameters
    ----------
    folder
        Holds `state_dict.pt`; or that file.
    kind
        Class of the SAE: "SAE", "TopKSAE", "BatchTopKSAE", "JumpSAE", "MpSAE", "OMPSAE",
        "RATopKSAE", "RAJumpSAE".
    k
        `top_k` or `k` of that class.
    threshold
        Running threshold of a BatchTopKSAE.
    delta
        Largest relaxation of an archetypal dictionary; None trusts the stored one.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If a number that is needed is not given, the encoder has several blocks, or the file holds
        anything but tensors.

    Source
    ------
    KempnerInstitute/overcomplete 0.3, sae/*.py.
    """
    path = Path(folder)
    weights = path / WEIGHTS if path.is_dir() else path
    stated_in = weights.parent / ABOUT
    written = read_json(stated_in) if stated_in.is_file() else {}
    about = Stated(written if isinstance(written, Mapping) else {})
    kind = _known_kind(kind or about.get("class"))
    tensors = stated_tensors(read_tensors_only(weights))
    own = "k" if kind in ("MpSAE", "OMPSAE") else "top_k"
    k = k or about.get(own) or about.get("k") or about.get("top_k")
    k = None if k is None else stated_k(k, stated_in, own)
    threshold = about.get("running_threshold") if threshold is None else threshold
    delta = about.get("delta") if delta is None else delta
    encoding = _encoding(_KINDS[kind], k, threshold)
    center = about.get("center")
    if center is not None:
        encoding = replace(encoding, pre_bias=True)
    sae = assemble(
        _dictionary(tensors, delta, _normalization(about, stated_in)),
        None if center is None else torch.tensor(center, dtype=torch.float32),
        encoding=encoding,
        origin=Origin(library=LIBRARY, architecture=kind),
        hook_point=None,
        **_encoder(tensors, encoding, threshold),
    )
    given = {"class": kind, "running_threshold": threshold, "delta": delta, own: k}
    missing = {name: fact for name, fact in given.items() if fact is not None and name not in about}
    if "dictionary.W" in tensors:
        # Mixtures of data points, of which few are any atom.
        sae.operator.weight.requires_grad_(False)
    accounted(sae, tensors, about, carried=_DERIVED)
    return remember(sae, LIBRARY, tensors.held, {**written, **missing}, restate=_restated)


def _known_kind(kind: object) -> str:
    if kind not in _KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(_KINDS)}, got {kind!r}. Say which class the state dict "
            "is of."
        )
    return str(kind)


def _normalization(about: Stated, path: Path) -> str:
    stated = about.get("normalization", "l2")
    if stated not in _NORMALIZATIONS:
        raise ValueError(
            f"`normalization` in {str(path)!r} must be one of {', '.join(_NORMALIZATIONS)}, got "
            f"{stated!r}: such a dictionary is not read."
        )
    return str(stated)


def _restated(sae: Imported, original: Original) -> Contents:
    theirs, about = original.tensors, original.config
    new: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    if "dictionary._weights" in theirs:
        atoms = sae.dictionary
        lengths = theirs["dictionary._weights"].to(torch.float32).norm(dim=1, keepdim=True)
        if about.get("normalization", "l2") == "identity":
            lengths = atoms.norm(dim=1, keepdim=True) / theirs["dictionary.multiplier"].exp()
        new["dictionary._weights"] = torch.nn.functional.normalize(atoms, dim=1) * lengths
    if "encoder" in sae.parts:
        new |= _unfolded(sae, theirs)
    if "thresholds" in theirs:
        new["thresholds"] = sae.threshold.log()
    elif "threshold" in sae.parts:
        facts["running_threshold"] = float(sae.threshold[0])
    if sae.k is not None:
        facts["k" if "k" in about else "top_k"] = sae.k
    if "center" in about:
        facts["center"] = sae.bias.tolist()
    return new, facts


def _unfolded(sae: Imported, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`_encoder` backwards: the linear map before batch normalisation."""
    norm = {n.rpartition(".")[2]: t for n, t in theirs.items() if ".final_block.1." in n}
    weight, bias = sae.encoder, sae.encoder_bias
    if "running_var" in norm:
        ones = torch.ones(sae.n_atoms, 1)
        gain, shift = _folded(ones, torch.zeros(sae.n_atoms), norm)
        weight, bias = weight / gain, (bias - shift) / gain[:, 0]
    return {"encoder.final_block.0.weight": weight, "encoder.final_block.0.bias": bias}


def _encoding(rule: str, k: int | None, threshold: float | None) -> Encoding:
    if rule == "batchtopk":
        if threshold is None:
            raise ValueError(
                "`threshold` must be given for a BatchTopKSAE, whose running threshold is not in its "
                "state dict. Pass sae.running_threshold."
            )
        # Its top_k counts a whole batch, whose size is not stated.
        return Encoding(rule="jumprelu", pre_bias=False, keeps_equal=True, batch_k=0.0)
    chosen = cast(Rule, rule)
    if rule not in ("topk", "matching", "orthogonal"):
        return Encoding(rule=chosen, pre_bias=False, nonnegative=False)
    if k is None:
        raise ValueError("`k` must be given: it is not in the state dict. Pass the SAE's own.")
    return Encoding(rule=chosen, k=k, pre_bias=False, nonnegative=False)


def _encoder(
    tensors: Mapping[str, Tensor], encoding: Encoding, threshold: float | None
) -> dict[str, Any]:
    if encoding.rule in ("matching", "orthogonal"):
        return {}
    blocks = [
        name for name in tensors if name.startswith("encoder.") and ".final_block.0." not in name
    ]
    norm = {name.rpartition(".")[2]: tensors[name] for name in blocks if ".final_block.1." in name}
    if len(norm) != len(blocks):
        raise ValueError(
            "The encoder must be one linear map, with or without batch normalisation, to be read here, "
            f"got further tensors such as {blocks[0]!r}."
        )
    weight, bias = (tensors[f"encoder.final_block.0.{name}"] for name in ("weight", "bias"))
    if "running_var" in norm:
        weight, bias = _folded(weight, bias, norm)
    parts = {"encoder": weight, "encoder_bias": bias}
    if "thresholds" in tensors:
        parts["threshold"] = tensors["thresholds"].exp()
    elif encoding.rule == "jumprelu":
        parts["threshold"] = torch.tensor(float(threshold or 0.0))
    return parts


def _folded(weight: Tensor, bias: Tensor, norm: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    gain = 1 / (norm["running_var"] + 1e-5).sqrt()
    shift = -norm["running_mean"] * gain
    if "weight" in norm:
        gain, shift = gain * norm["weight"], shift * norm["weight"] + norm["bias"]
    return weight * gain[:, None], bias * gain + shift


def _dictionary(tensors: Mapping[str, Tensor], delta: float | None, normalization: str) -> Tensor:
    gain = tensors.get("dictionary.multiplier", torch.zeros(())).exp()
    if "dictionary.W" not in tensors:
        atoms = tensors["dictionary._weights"]
        if normalization == "identity":
            return gain * atoms
        # What the library does to its weights when it leaves training mode, "l2" by default.
        lengths = atoms.norm(p=int(normalization[-1]), dim=1, keepdim=True)
        return gain * atoms / (lengths.amax() if "max" in normalization else lengths)
    mixture = torch.relu(tensors["dictionary.W"])
    mixture = mixture / (mixture.sum(dim=1, keepdim=True) + 1e-8)
    relax = tensors["dictionary.Relax"]
    if delta is not None:
        relax = relax * (delta / relax.norm(dim=1, keepdim=True)).clamp(max=1)
    return gain * (mixture @ tensors["dictionary.C"] + relax)


UNIT = 1e-6
"""Allowed distance of a norm from 1 for overcomplete's own normalisation to leave the atom unchanged."""


@checked
def write_overcomplete(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE so that overcomplete's classes load it and compute the same codes.

    overcomplete has no file format and takes no bias off its inputs. So `about.json` names the class of
    the state dict, its `top_k`, `k` or `running_threshold`, and the `center`: give that class x −
    center, and add center to its output. There:

    ``sae = TopKSAE(about["input_shape"], nb_concepts=about["nb_concepts"], top_k=about["top_k"])``,
    ``sae.load_state_dict(torch.load("state_dict.pt", weights_only=True))``, and only then ``sae.eval()``,
    which fixes the dictionary.

    A file that `read_overcomplete` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, BatchTopK, Matryoshka, JumpReLU, ReLU, Archetypal over one of these, MatchingPursuit, or one
        read from another library. overcomplete's matching pursuit also takes steps along an atom that
        correlates negatively, where no other is left; ours stops there.
    folder
        Gets `state_dict.pt`, tensors alone, and `about.json`; must not exist, and appears only when
        complete.

    Raises
    ------
    TypeError: If overcomplete cannot compute these codes.
    FileExistsError: If the folder exists.

    Source
    ------
    KempnerInstitute/overcomplete 0.3, sae/*.py.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.interop import read_overcomplete
    >>> sae, x = TopK(d_in=4, n_atoms=8, k=2).eval(), torch.ones(1, 4)
    >>> again = read_overcomplete(write_overcomplete(sae, tempfile.mkdtemp() + "/sae"))
    >>> torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    True
    """
    return write_folder(
        sae, folder, LIBRARY, (ABOUT, WEIGHTS), translate=_as_theirs, read=read_overcomplete
    )


@torch.no_grad()
def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    about = _facts_written(sae, layout)
    tensors = layout.tensors
    bias, atoms = tensors["b_dec"], tensors["W_dec"]
    about |= {"input_shape": sae.d_in, "nb_concepts": sae.n_atoms}
    if bool(bias.any()):
        about["center"] = bias.tolist()
    if bool(((atoms.norm(dim=1) - 1).abs() > UNIT).any()):
        about["normalization"] = "identity"
    state = {"dictionary._weights": atoms, "dictionary.multiplier": torch.tensor(0.0)}
    if about["class"] == "MpSAE":
        return state, about
    # Where no bias is taken off first, the encoder gets what the centred input lacks.
    taken_off = layout.facts.get("apply_b_dec_to_input", True)
    moved = torch.zeros_like(tensors["b_enc"]) if taken_off else bias @ tensors["W_enc"]
    state["encoder.final_block.0.weight"] = tensors["W_enc"].T
    state["encoder.final_block.0.bias"] = tensors["b_enc"] + moved
    if about["class"] == "JumpSAE":
        state["thresholds"] = tensors["threshold"].log()
    return state, about


def _facts_written(sae: SparseAutoencoder, layout: TensorNames) -> dict[str, Any]:
    facts, kind = layout.facts, layout.architecture
    if facts.get("normalize_activations", "none") == "none":
        if kind == "topk":
            return {"class": "TopKSAE", "top_k": facts["k"]}
        if kind == "standard":
            return {"class": "SAE"}
        if kind == "jumprelu" and isinstance(sae, BatchTopK):
            limit = torch.unique(layout.tensors["threshold"])
            if len(limit) == 1:
                return {"class": "BatchTopKSAE", "top_k": sae.k, "running_threshold": limit.item()}
        if kind == "jumprelu" and bool((layout.tensors["threshold"] >= 0).all()):
            return {"class": "JumpSAE"}
        stops = facts.get("residual_threshold") or facts.get("stop_on_duplicate_support")
        if kind == "matching_pursuit" and not stops and facts.get("max_iterations"):
            return {"class": "MpSAE", "k": facts["max_iterations"]}
    raise TypeError(
        f"`sae` must be a TopK, BatchTopK, Matryoshka, JumpReLU, ReLU or MatchingPursuit to be written "
        f"for overcomplete, got a {type(sae).__name__}. Use write_saelens, or sae.save(…)."
    )
