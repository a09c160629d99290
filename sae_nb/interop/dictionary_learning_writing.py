"""write_dictionary_learning: our SAEs as a folder that dictionary_learning loads, with the same codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.files import new_folder, write_json
from sae_nb.interop.dictionary_learning import (
    CONFIG,
    LIBRARY,
    WEIGHTS,
    read_dictionary_learning,
)
from sae_nb.interop.originals import Original, contiguous, put_back
from sae_nb.interop.saelens_writing import Layout, saelens_layout


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

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If dictionary_learning cannot compute these codes.
    FileExistsError
        If the folder exists.

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
    folder = Path(folder)
    with new_folder(folder) as partial:
        if not put_back(sae, LIBRARY, partial, write=_as_it_was, read=read_dictionary_learning):
            state, trainer = _as_theirs(sae)
            torch.save(contiguous(state), partial / WEIGHTS)
            write_json(partial / CONFIG, {"trainer": trainer})
    return folder


def _as_it_was(original: Original, folder: Path) -> None:
    torch.save(contiguous(original.tensors), folder / WEIGHTS)
    write_json(folder / CONFIG, original.config)


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
    return tensors_of(layout), trainer


def _linear(layout: Layout) -> dict[str, Tensor]:
    t = layout.tensors
    return {"encoder.weight": t["W_enc"].T, "decoder.weight": t["W_dec"].T}


def _encoder_bias(layout: Layout, *, before: bool) -> Tensor:
    """Bias of the encoder where the decoder's is, or is not, taken off the input first."""
    t, taken_off = layout.tensors, layout.facts.get("apply_b_dec_to_input", True)
    move = t["b_dec"] @ t["W_enc"]
    return t["b_enc"] + (float(before) - float(taken_off)) * move


def _topk(layout: Layout) -> dict[str, Tensor]:
    return _linear(layout) | {
        "encoder.bias": _encoder_bias(layout, before=True),
        "b_dec": layout.tensors["b_dec"],
        "k": torch.tensor(layout.facts["k"], dtype=torch.int32),
        "threshold": torch.tensor(-1.0),
    }


def _relu(layout: Layout) -> dict[str, Tensor]:
    bias = {"encoder.bias": _encoder_bias(layout, before=False)}
    return _linear(layout) | bias | {"decoder.bias": layout.tensors["b_dec"]}


def _jump_relu(layout: Layout) -> dict[str, Tensor]:
    t = layout.tensors
    bias = _encoder_bias(layout, before=False)
    return {name: t[name] for name in ("W_enc", "W_dec", "b_dec", "threshold")} | {"b_enc": bias}


def _gated(layout: Layout) -> dict[str, Tensor]:
    t = layout.tensors
    biases = {"gate_bias": t["b_gate"], "mag_bias": t["b_mag"], "r_mag": t["r_mag"]}
    return _linear(layout) | biases | {"decoder_bias": t["b_dec"]}


_CLASSES: dict[str, tuple[str, Any]] = {
    "topk": ("AutoEncoderTopK", _topk),
    "standard": ("AutoEncoderNew", _relu),
    "jumprelu": ("JumpReluAutoEncoder", _jump_relu),
    "gated": ("GatedAutoEncoder", _gated),
}
