"""openai/sparse_autoencoder: one state dict with two texts that name the activation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sae_nb.checks import checked
from sae_nb.interop._foreign import check_holds, named_errors, read_tensors_and_facts
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble

LIBRARY = "openai/sparse_autoencoder"
_NEEDED = ("pre_bias", "latent_bias", "encoder.weight", "decoder.weight")


@checked
@named_errors
def read_openai(path: str | Path, *, hook_point: str | None = None) -> Imported:
    """Read a `.pt` file of openai/sparse_autoencoder; the file does not say where it was trained.

    A TopK SAE of that library normalises each activation (mean 0, standard deviation 1) and undoes it
    after decoding; ReLU ones do not.

    Raises
    ------
    FileNotFoundError: If there is no such file.
    ValueError: If a tensor is missing, the activation unknown, or more inside than tensors and texts.

    Source
    ------
    openai/sparse_autoencoder, model.py.
    """
    tensors, facts = read_tensors_and_facts(path)
    check_holds(tensors, _NEEDED, path, f"Is it of {LIBRARY}?")
    activation = str(facts.get("activation", "ReLU"))
    rules: dict[str, Any] = {"ReLU": "relu", "TopK": "topk"}
    if activation not in rules:
        raise ValueError(f"`activation` in the file must be 'ReLU' or 'TopK', got {activation!r}.")
    k = facts.get("activation_state_dict.k")
    topk = activation == "TopK"
    if topk and not isinstance(k, int):
        raise ValueError(f"`activation_state_dict.k` in the file must be an integer, got {k!r}.")
    encoding = Encoding(
        rule=rules[activation],
        k=int(k) if topk and k is not None else None,
        norm="layer_norm" if topk else "none",
    )
    return assemble(
        tensors["decoder.weight"].T,
        tensors["pre_bias"],
        encoding=encoding,
        origin=Origin(library=LIBRARY, architecture=activation),
        hook_point=hook_point,
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["latent_bias"],
    )
