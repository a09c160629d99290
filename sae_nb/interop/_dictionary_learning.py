"""dictionary_learning: folders with `config.json` and a state dict `ae.pt`, read and written."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.files import read_json, write_json
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble, named_errors
from sae_nb.interop._originals import contiguous, remember, write_folder
from sae_nb.interop._saelens import Layout, saelens_layout
from sae_nb.interop._tensors_only import read_tensors_and_facts

CONFIG, WEIGHTS = "config.json", "ae.pt"
LIBRARY = "dictionary_learning"


@named_errors
def read_dictionary_learning(folder: str | Path, *, pre_bias: bool = False) -> Imported:
    """Read an SAE that dictionary_learning saved.

    Parameters
    ----------
    folder
        A `trainer_…` folder with `config.json` and `ae.pt`; `ae.pt` may be a whole training backup.
    pre_bias
        For JumpReLU only: whether the bias is subtracted before encoding. The library does not store
        it; its default is False.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If the class is unknown, or the weights are cut short, of other shapes, or hold anything but
        tensors.

    Source
    ------
    saprmarks/dictionary_learning, dictionary.py and trainers/*.py.
    """
    folder = Path(folder)
    config = read_json(folder / CONFIG)
    trainer = config.get("trainer") if isinstance(config, Mapping) else None
    name = trainer.get("dict_class") if isinstance(trainer, Mapping) else None
    if not isinstance(trainer, Mapping) or name not in _READERS:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must name a `trainer.dict_class` out of "
            f"{', '.join(_READERS)}, got {name!r}."
        )
    tensors = _state(folder / WEIGHTS)
    origin = _origin(config, str(name))
    try:
        parts, encoding = _READERS[name](tensors, pre_bias)
    except KeyError as error:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold the tensors of {name}, and {error} is missing. Is "
            "`dict_class` right?"
        ) from error
    hook_point = _hook_point(trainer, config.get("buffer") or {})
    sae = assemble(encoding=encoding, origin=origin, hook_point=hook_point, **parts)
    return sae if pre_bias else remember(sae, LIBRARY, tensors, config)


def _state(path: Path) -> dict[str, Tensor]:
    tensors, facts = read_tensors_and_facts(path)
    inside = {n.removeprefix("ae."): t for n, t in tensors.items() if n.startswith("ae.")}
    if inside:  # a backup: the optimiser's tensors and the step lie beside the SAE's
        return inside
    if facts:
        raise ValueError(
            f"{str(path)!r} must hold tensors only, got {next(iter(facts))!r} too. Save the state "
            "dict alone."
        )
    return tensors


def _origin(config: Mapping[str, Any], name: str) -> Origin:
    trainer, buffer = config["trainer"], config.get("buffer") or {}
    stated = {"l0": trainer["k"]} if isinstance(trainer.get("k"), int) else {}
    return Origin(
        library=LIBRARY,
        architecture=name,
        model_name=trainer.get("lm_name"),
        hook_name=trainer.get("submodule_name") or f"layer {trainer.get('layer')}",
        context_length=buffer.get("ctx_len"),
        stated=stated,
    )


def _hook_point(trainer: Mapping[str, Any], buffer: Mapping[str, Any]) -> str | None:
    layer, submodule = trainer.get("layer"), trainer.get("submodule_name")
    if submodule:
        name = str(submodule)
        if name.startswith("resid_post_layer_"):
            return f"resid_post.{name.removeprefix('resid_post_layer_')}"
        return name
    if isinstance(layer, int) and buffer.get("io", "out") == "out":
        return f"resid_post.{layer}"
    return None


Parts = dict[str, Any]


def _linear(t: Mapping[str, Tensor]) -> Parts:
    return {"dictionary": t["decoder.weight"].T, "encoder": t["encoder.weight"]}


def _auto_encoder(t: Mapping[str, Tensor], _: bool) -> tuple[Parts, Encoding]:
    parts = _linear(t)
    # The library renormalises on loading: unit atoms, their norms moved to the encoder.
    norms = parts["dictionary"].norm(dim=1)
    parts["dictionary"] = parts["dictionary"] / norms[:, None]
    parts["encoder"] = parts["encoder"] * norms[:, None]
    parts["encoder_bias"] = t["encoder.bias"] * norms
    return {**parts, "bias": t["bias"]}, Encoding(rule="relu")


def _auto_encoder_new(t: Mapping[str, Tensor], _: bool) -> tuple[Parts, Encoding]:
    parts = {**_linear(t), "encoder_bias": t["encoder.bias"], "bias": t["decoder.bias"]}
    return parts, Encoding(rule="relu", pre_bias=False)


def _gated(t: Mapping[str, Tensor], _: bool) -> tuple[Parts, Encoding]:
    parts = {
        **_linear(t),
        "bias": t["decoder_bias"],
        "gate_bias": t["gate_bias"],
        "encoder_bias": t["mag_bias"],
        "magnitude": t["r_mag"].exp(),
    }
    return parts, Encoding(rule="gated")


def _jump_relu(t: Mapping[str, Tensor], pre_bias: bool) -> tuple[Parts, Encoding]:
    parts = {**_matrices(t), "threshold": t["threshold"]}
    return parts, Encoding(rule="jumprelu", pre_bias=pre_bias)


def _topk(t: Mapping[str, Tensor], _: bool) -> tuple[Parts, Encoding]:
    parts = {**_linear(t), "encoder_bias": t["encoder.bias"], "bias": t["b_dec"]}
    return parts, Encoding(rule="topk", k=int(t["k"]))


def _batch_topk(t: Mapping[str, Tensor], _: bool) -> tuple[Parts, Encoding]:
    parts = {**_linear(t), "encoder_bias": t["encoder.bias"], "bias": t["b_dec"]}
    return _thresholded(parts, t)


def _matryoshka(t: Mapping[str, Tensor], _: bool) -> tuple[Parts, Encoding]:
    return _thresholded(_matrices(t), t)


def _matrices(t: Mapping[str, Tensor]) -> Parts:
    return {
        "dictionary": t["W_dec"],
        "encoder": t["W_enc"].T,
        "encoder_bias": t["b_enc"],
        "bias": t["b_dec"],
    }


def _thresholded(parts: Parts, t: Mapping[str, Tensor]) -> tuple[Parts, Encoding]:
    if float(t["threshold"]) < 0:
        # Never set while training: the library's own threshold code would then be dense.
        k = int(t["k"])
        warnings.warn(
            f"This SAE was saved before its threshold was set; the {k} largest codes of each input "
            "are kept instead.",
            stacklevel=5,
        )
        return parts, Encoding(rule="topk", k=k)
    return {**parts, "threshold": t["threshold"]}, Encoding(rule="jumprelu")


_READERS = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jump_relu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}


def write_dictionary_learning(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE so that dictionary_learning loads it and computes the same codes.

    BatchTopK, Matryoshka and JumpReLU become a "JumpReluAutoEncoder" with their thresholds. What
    dictionary_learning wrote and `read_dictionary_learning` read is written back to the bit.

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
        sae, folder, LIBRARY, translate=_as_theirs, store=_store, read=read_dictionary_learning
    )


def _store(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    torch.save(contiguous(tensors), folder / WEIGHTS)
    write_json(folder / CONFIG, config)


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    found = _CLASSES.get(layout.architecture)
    if found is None or layout.facts.get("normalize_activations", "none") != "none":
        raise TypeError(
            f"`sae` must be a TopK, BatchTopK, Matryoshka, JumpReLU, ReLU or Gated to be written for "
            f"dictionary_learning, got a {type(sae).__name__}. Use write_saelens."
        )
    name, tensors_of = found
    trainer = {
        "dict_class": name,
        "activation_dim": sae.d_in,
        "dict_size": sae.n_atoms,
        "lm_name": sae.model_name,
        "submodule_name": None if sae.hook_point is None else str(sae.hook_point),
        **({"k": layout.facts["k"]} if "k" in layout.facts else {}),
    }
    return tensors_of(layout), {"trainer": trainer}


def _write_linear(layout: Layout) -> dict[str, Tensor]:
    t = layout.tensors
    return {"encoder.weight": t["W_enc"].T, "decoder.weight": t["W_dec"].T}


def _encoder_bias(layout: Layout, *, before: bool) -> Tensor:
    """Bias of the encoder where the decoder's is, or is not, taken off the input first."""
    t, taken_off = layout.tensors, layout.facts.get("apply_b_dec_to_input", True)
    move = t["b_dec"] @ t["W_enc"]
    return t["b_enc"] + (float(before) - float(taken_off)) * move


def _write_topk(layout: Layout) -> dict[str, Tensor]:
    return _write_linear(layout) | {
        "encoder.bias": _encoder_bias(layout, before=True),
        "b_dec": layout.tensors["b_dec"],
        "k": torch.tensor(layout.facts["k"], dtype=torch.int32),
        "threshold": torch.tensor(-1.0),
    }


def _relu(layout: Layout) -> dict[str, Tensor]:
    bias = {"encoder.bias": _encoder_bias(layout, before=False)}
    return _write_linear(layout) | bias | {"decoder.bias": layout.tensors["b_dec"]}


def _write_jump_relu(layout: Layout) -> dict[str, Tensor]:
    t = layout.tensors
    bias = _encoder_bias(layout, before=False)
    return {name: t[name] for name in ("W_enc", "W_dec", "b_dec", "threshold")} | {"b_enc": bias}


def _write_gated(layout: Layout) -> dict[str, Tensor]:
    t = layout.tensors
    biases = {"gate_bias": t["b_gate"], "mag_bias": t["b_mag"], "r_mag": t["r_mag"]}
    return _write_linear(layout) | biases | {"decoder_bias": t["b_dec"]}


_CLASSES: dict[str, tuple[str, Any]] = {
    "topk": ("AutoEncoderTopK", _write_topk),
    "standard": ("AutoEncoderNew", _relu),
    "jumprelu": ("JumpReluAutoEncoder", _write_jump_relu),
    "gated": ("GatedAutoEncoder", _write_gated),
}
