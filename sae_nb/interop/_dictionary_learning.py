"""dictionary_learning: folders with `config.json` and a state dict, read and written; crosscoders, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.checks import checked, warn_caller
from sae_nb.files._atomic import read_json
from sae_nb.files._tensors import read_tensors as read_safetensors
from sae_nb.interop._foreign import (
    Contents,
    Original,
    Stated,
    accounted,
    check_holds,
    named_errors,
    read_tensors_and_facts,
    remember,
    stated_k,
    stated_tensors,
    write_folder,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, Rule, assemble
from sae_nb.interop._saelens_layout import as_saelens, as_stated, from_saelens, ours, saelens_layout
from sae_nb.interop._several import crosscoder

CONFIG, WEIGHTS, HUB_WEIGHTS = "config.json", "ae.pt", "model.safetensors"
LIBRARY = "dictionary_learning"
_LINEAR = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
_TOPK = {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "b_dec"}
_MATRICES = {name: name for name in ("W_enc", "W_dec", "b_dec", "b_enc")}
_GATED = {"b_gate": "gate_bias", "b_mag": "mag_bias", "r_mag": "r_mag", "b_dec": "decoder_bias"}
_JUMP = {name: name for name in ("W_enc", "W_dec", "b_dec", "threshold", "b_enc")}
_CLASSES: dict[str, tuple[Rule, dict[str, str]]] = {
    "AutoEncoder": ("relu", {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "bias"}),
    "AutoEncoderNew": ("relu", {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "decoder.bias"}),
    "GatedAutoEncoder": ("gated", {**_LINEAR, **_GATED}),
    "JumpReluAutoEncoder": ("jumprelu", _JUMP),
    "AutoEncoderTopK": ("topk", _TOPK),
    "BatchTopKSAE": ("jumprelu", _TOPK),
    "MatryoshkaBatchTopKSAE": ("jumprelu", _MATRICES),
}
"""By class: how codes are selected, and from SAELens' name of each tensor to this library's."""
_WRITTEN = {
    "topk": "AutoEncoderTopK",
    "standard": "AutoEncoderNew",
    "jumprelu": "JumpReluAutoEncoder",
    "gated": "GatedAutoEncoder",
}
"""The class that SAELens' architecture is written as."""
_CROSSCODERS = ("CrossCoder", "BatchTopKCrossCoder")
_CROSSCODER_TENSORS = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
_IN_UNITS = (
    "It is a backup of a training on activations divided by {0:.4g}, still in that unit: give it x / {0:.4g} "
    "and multiply what it writes by {0:.4g}."
)
_CARRIED_ALONG = ("threshold", "group_sizes", "k")
"""Tensors of BatchTopK that its TopK carries along."""
_OF_CROSSCODERS = (
    "k",
    "code_normalization_id",
    "activation_global_scale",
    "activation_mean",
    "activation_std",
)
"""Tensors of a crosscoder's choice and of a norm that was never set."""
_ALPHAS = (("sae", 1.0), ("cc", 0.1))
"""Weights of the two norms in MIXED, and the library's defaults."""
_NORMALISATIONS = ("CROSSCODER", "SAE", "MIXED", "NONE", "DECOUPLED")
"""By which norm of its atoms a crosscoder's codes are compared with the threshold, by their number less 1."""


@checked
@named_errors
def read_dictionary_learning(folder: str | Path, *, pre_bias: bool = False) -> Imported:
    """Read an SAE that dictionary_learning saved, or a crosscoder of its forks.

    A crosscoder's sites are in the order of the file; which places and models these are is not in it:
    `hook_point` stays None.

    Parameters
    ----------
    folder
        A `trainer_…` folder with `config.json` and `ae.pt`; `ae.pt` may be a whole training backup. Or one
        with `config.json` and `model.safetensors`, as crosscoders are on the hub.
    pre_bias
        For JumpReLU only: whether the bias is subtracted before encoding. The library does not store
        it; its default is False.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If the class is unknown, or weights are cut short, of other shapes, or not all tensors; or
        a crosscoder has a code for each of its sites, others that it writes than it reads, or no threshold
        yet.

    Source
    ------
    saprmarks/dictionary_learning, dictionary.py and trainers/*.py. Crosscoders: Minder et al.,
    arXiv 2504.02922, science-of-finetuning/dictionary_learning, dictionary.py.
    """
    folder = Path(folder)
    written = read_json(folder / CONFIG)
    config = Stated(written if isinstance(written, Mapping) else {})
    trainer = config.get("trainer")
    name = trainer.get("dict_class") if isinstance(trainer, Mapping) else config.get("dict_class")
    if name in _CROSSCODERS or (name is None and not (folder / WEIGHTS).is_file()):
        return _crosscoder(folder, config, name if isinstance(name, str) else None)
    if not isinstance(trainer, Mapping) or name not in _CLASSES:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must name a `trainer.dict_class` out of "
            f"{', '.join((*_CLASSES, *_CROSSCODERS))}, got {name!r}."
        )
    held, unit = _state(folder / WEIGHTS)
    tensors = stated_tensors(held)
    if _CLASSES[str(name)][0] == "topk" and "k" not in tensors:
        tensors.held["k"] = stated_k(trainer.get("k"), folder / CONFIG)  # of older versions
    try:
        parts, encoding = translated(str(name), tensors, pre_bias)
    except KeyError as error:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold the tensors of {name}, and {error} is missing. Is "
            "`dict_class` right?"
        ) from error
    sae = assemble(
        encoding=encoding,
        origin=_origin(config, str(name), unit),
        hook_point=_hook_point(trainer, config.get("buffer") or {}),
        **parts,
    )
    accounted(sae, tensors, config, carried=_CARRIED_ALONG if "k" in held else ())
    if "k" in held and sae.origin.stated.get("l0", k := int(held["k"])) != k:
        note = f"Its configuration states k={trainer['k']}, its weights hold k={k}: this is used."
        sae.origin = replace(sae.origin, stated={"l0": float(k)}, notes=[*sae.origin.notes, note])
    return remember(
        sae,
        LIBRARY,
        stated_tensors(held).held,
        written,
        restate=partial(_restated, name=str(name)),
        read=partial(read_dictionary_learning, pre_bias=pre_bias),
    )


def _restated(sae: Imported, original: Original, *, name: str) -> Contents:
    """`translated` backwards."""
    names = _CLASSES[name][1]
    new = from_saelens(as_stated(sae, names), names)
    if name == "AutoEncoder":
        norms = original.tensors["decoder.weight"].to(torch.float32).norm(dim=0)
        new["encoder.weight"] = new["encoder.weight"] / norms[:, None]
        new["encoder.bias"] = new["encoder.bias"] / norms
        new["decoder.weight"] = new["decoder.weight"] * norms
    if "threshold" in sae.parts:
        new["threshold"] = sae.threshold
    if sae.k is not None and "k" in original.tensors:
        new["k"] = torch.tensor(sae.k)
    return new, {}


# -------------------------------------------------------------------------------------------------
# Crosscoders: u = Σ_m (x_m − μ_m) s_m E_m + a, z = relu(u); with thresholds, entries with n_j z_j > θ.


def _crosscoder(folder: Path, config: Stated, name: str | None) -> Imported:
    weights = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else HUB_WEIGHTS)
    state, unit = _state(weights) if weights.suffix == ".pt" else (read_safetensors(weights), 1.0)
    tensors = stated_tensors(state)
    check_holds(tensors, _CROSSCODER_TENSORS, weights, f"Is it a crosscoder of {LIBRARY}?")
    encoders, encoder_bias, decoders, biases = (tensors[name] for name in _CROSSCODER_TENSORS)
    stated = config.get("trainer")
    trainer = stated if isinstance(stated, Mapping) else config
    if trainer.get("encoder_layers") is not None or len(encoders) != len(decoders):
        raise ValueError(
            f"{str(weights)!r} must read the sites that it writes, got {len(encoders)} and {len(decoders)}, "
            f"encoder_layers={trainer.get('encoder_layers')}. Such a crosscoder is not read."
        )
    jumps = "threshold" in tensors
    name = name or _CROSSCODERS[jumps]
    if name == _CROSSCODERS[True]:
        check_holds(tensors, ("threshold",), weights, "Is it a BatchTopK crosscoder?")
    means, units, fold = _normaliser(tensors)
    limits = _limits(tensors, trainer, weights) if jumps else None
    made = crosscoder(
        encoders * fold[:, None, None],
        encoder_bias,
        decoders,
        biases,
        encoding=Encoding(rule="jumprelu" if jumps else "relu", pre_bias=False),
        origin=_origin({"trainer": trainer, "buffer": config.get("buffer")}, name, unit),
        threshold=limits,
        means=means,
        units=units,
    )
    return accounted(made, tensors, config, carried=_OF_CROSSCODERS)


def _normaliser(tensors: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Mean and unit of each site, and what the encoder is multiplied by, if activations are normalised."""
    mean, std = (tensors.get(f"activation_{name}") for name in ("mean", "std"))
    none = torch.ones(len(tensors["encoder.weight"]))
    if mean is None or std is None or bool(mean.isnan().any() | std.isnan().any()):
        return None, None, none
    scale = tensors["activation_global_scale"].float()
    # On the way in it multiplies by s, on the way out it divides by s + 1e-8; the unit is of the way out.
    units = 1 / (scale + 1e-8)
    return mean, units, scale * units


def _limits(
    tensors: Mapping[str, Tensor], trainer: Mapping[str, Any], path: Path
) -> Float[Tensor, " n_atoms"]:
    """The threshold of each atom's code: θ / n_j, with the norm n_j by which the library compares it."""
    number = tensors.get("code_normalization_id")
    kinds = dict(enumerate(_NORMALISATIONS, start=1))
    kind = (
        str(trainer.get("code_normalization") or _NORMALISATIONS[0]).upper()
        if number is None
        else kinds.get(int(number))
    )
    if kind not in _NORMALISATIONS or kind == "DECOUPLED":
        raise ValueError(
            f"{str(path)!r} must give one code for all sites, got `code_normalization` {kind or number}: one "
            "for each site, or unknown. Such a crosscoder is not read."
        )
    threshold = float(tensors["threshold"])
    if threshold < 0:
        raise ValueError(
            f"{str(path)!r} must have a threshold, got {threshold:g}: it was saved before training set it, "
            "and its codes are dense. Use a later checkpoint."
        )
    decoders = tensors["decoder.weight"].float()
    each, whole = decoders.norm(dim=2).sum(dim=0), decoders.norm(dim=(0, 2))
    stated = [(trainer.get(f"code_normalization_alpha_{of}"), usual) for of, usual in _ALPHAS]
    shares = [usual if share is None else float(share) for share, usual in stated]
    norms = {
        "CROSSCODER": each,
        "SAE": whole,
        "MIXED": shares[0] * whole + shares[1] * each,
        "NONE": torch.ones_like(each),
    }[kind]
    # An atom of norm 0 never is above: the largest number stays finite.
    return torch.where(norms > 0, threshold / norms, torch.finfo(torch.float32).max)


# -------------------------------------------------------------------------------------------------
# What both kinds of files share.


def _state(path: Path) -> tuple[dict[str, Tensor], float]:
    """Return the SAE's tensors, and the unit of activations that a backup is still in."""
    tensors, facts = read_tensors_and_facts(path)
    inside = {n.removeprefix("ae."): t for n, t in tensors.items() if n.startswith("ae.")}
    if inside:  # a backup: the optimiser's tensors and the step lie beside the SAE's
        unit = facts.get("norm_factor", tensors.get("norm_factor"))
        return inside, 1.0 if unit is None else float(unit)
    if facts:
        raise ValueError(
            f"{str(path)!r} must hold tensors only, got {next(iter(facts))!r} too. Save the state "
            "dict alone."
        )
    return tensors, 1.0


def _origin(config: Mapping[str, Any], name: str, unit: float) -> Origin:
    trainer, buffer = config["trainer"], config.get("buffer") or {}
    stated = {"l0": trainer["k"]} if isinstance(trainer.get("k"), int) else {}
    return Origin(
        library=LIBRARY,
        architecture=name,
        model_name=trainer.get("lm_name"),
        hook_name=trainer.get("submodule_name") or f"layer {trainer.get('layer')}",
        context_length=buffer.get("ctx_len"),
        stated=stated,
        notes=[] if unit == 1 else [_IN_UNITS.format(unit)],
    )


def _hook_point(trainer: Mapping[str, Any], buffer: Mapping[str, Any]) -> str | None:
    layer, submodule = trainer.get("layer"), trainer.get("submodule_name")
    side = buffer.get("io", "out")
    if side not in ("in", "out"):
        raise ValueError(
            f"`buffer.io` in {CONFIG} must be 'in' or 'out', got {side!r}: a transcoder of this library is not "
            "read."
        )
    if submodule and side in ("in", "out"):
        name = str(submodule)
        if name.startswith("resid_post_layer_"):
            return f"resid_post.{name.removeprefix('resid_post_layer_')}"
        return name if side == "out" else f"{name}.input"
    if isinstance(layer, int) and side == "out":
        return f"resid_post.{layer}"
    return None


def translated(
    name: str, tensors: Mapping[str, Tensor], pre_bias: bool
) -> tuple[dict[str, Any], Encoding]:
    """Return our parts and the rule of an SAE of the class `name`."""
    rule, names = _CLASSES[name]
    parts: dict[str, Any] = ours(as_saelens(tensors, names))
    if name == "AutoEncoder":
        # The library renormalises on loading: unit atoms, their norms moved to the encoder.
        norms = parts["dictionary"].norm(dim=1)
        parts["dictionary"] = parts["dictionary"] / norms[:, None]
        parts["encoder"] = parts["encoder"] * norms[:, None]
        parts["encoder_bias"] = parts["encoder_bias"] * norms
    if rule == "topk":
        return parts, Encoding(rule=rule, k=stated_k(tensors["k"], f"`k` of {name}"))
    if name == "JumpReluAutoEncoder":
        return parts, Encoding(rule=rule, pre_bias=pre_bias)
    if rule == "jumprelu" and float(tensors["threshold"]) < 0:
        # Never set while training: the library's own threshold code would then be dense.
        k = int(tensors["k"])
        warn_caller(
            f"This SAE was saved before its threshold was set; the {k} largest codes of each input "
            "are kept instead."
        )
        return parts, Encoding(rule="topk", k=k)
    learned: dict[str, Any] = {}
    if rule == "jumprelu":
        parts["threshold"] = tensors["threshold"]
        sizes = tensors.get("group_sizes")
        groups = None if sizes is None else tuple(int(size) for size in sizes)
        learned = {"batch_k": float(tensors["k"]), "groups": groups}
    return parts, Encoding(rule=rule, pre_bias=name != "AutoEncoderNew", **learned)


@checked
def write_dictionary_learning(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE so that dictionary_learning loads it and computes the same codes.

    BatchTopK, Matryoshka and JumpReLU become a "JumpReluAutoEncoder" with their thresholds. A file of
    dictionary_learning that `read_dictionary_learning` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, BatchTopK, Matryoshka, JumpReLU, ReLU or Gated, or one read from another library.
    folder
        Gets `config.json` and `ae.pt`, a state dict of tensors alone; must not exist, and appears only
        when complete.

    Raises
    ------
    TypeError: If dictionary_learning cannot compute these codes.
    FileExistsError: If the folder exists.

    Source
    ------
    saprmarks/dictionary_learning 0.1, dictionary.py.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.interop import read_dictionary_learning
    >>> sae, x = TopK(d_in=4, n_atoms=8, k=2).eval(), torch.ones(1, 4)
    >>> again = read_dictionary_learning(write_dictionary_learning(sae, tempfile.mkdtemp() + "/sae"))
    >>> torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    True
    """
    return write_folder(
        sae,
        folder,
        LIBRARY,
        (CONFIG, WEIGHTS),
        translate=_as_theirs,
        read=read_dictionary_learning,
    )


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    name = _WRITTEN.get(layout.architecture)
    if name is None or layout.facts.get("normalize_activations", "none") != "none":
        raise TypeError(
            f"`sae` must be a TopK, BatchTopK, Matryoshka, JumpReLU, ReLU or Gated to be written for "
            f"dictionary_learning, got a {type(sae).__name__}. Use write_saelens."
        )
    trainer = {
        "dict_class": name,
        "activation_dim": sae.d_in,
        "dict_size": sae.n_atoms,
        "lm_name": sae.model_name,
        "submodule_name": None if sae.hook_point is None else str(sae.hook_point),
        **({"k": layout.facts["k"]} if "k" in layout.facts else {}),
    }
    t = dict(layout.tensors)
    if "b_enc" in t:
        # Only a TopK of theirs takes the decoder's bias off its input first.
        move = float(name == "AutoEncoderTopK") - float(
            layout.facts.get("apply_b_dec_to_input", True)
        )
        t["b_enc"] = t["b_enc"] + move * (t["b_dec"] @ t["W_enc"])
    tensors = from_saelens(t, _CLASSES[name][1])
    if name == "AutoEncoderTopK":
        tensors["k"] = torch.tensor(layout.facts["k"], dtype=torch.int32)
        tensors["threshold"] = torch.tensor(-1.0)
    return tensors, {"trainer": trainer}
