"""openai/sparse_autoencoder: one state dict with texts that name the activation, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.checks import checked
from sae_nb.interop._foreign import (
    Stated,
    accounted,
    check_holds,
    named_errors,
    read_tensors_and_facts,
    remember,
    stated_k,
    stated_tensors,
    write_file,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble
from sae_nb.interop._saelens_layout import as_saelens, from_saelens, ours, saelens_layout

LIBRARY = "openai/sparse_autoencoder"
_NAMES = {
    "W_enc": "encoder.weight",
    "b_enc": "latent_bias",
    "W_dec": "decoder.weight",
    "b_dec": "pre_bias",
}
"""From SAELens' name of each tensor to this library's."""
_COUNTS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
"""Tensors that it counts in while it trains."""
_STATE = "activation_state_dict"
"""Its name of what an activation holds: nothing, or k and what comes after the choice."""


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
    held, plain = read_tensors_and_facts(path)
    tensors, facts = stated_tensors(held), Stated(plain)
    check_holds(tensors, tuple(_NAMES.values()), path, f"Is it of {LIBRARY}?")
    activation = str(facts.get("activation", "ReLU"))
    rules: dict[str, Any] = {"ReLU": "relu", "TopK": "topk"}
    if activation not in rules:
        raise ValueError(f"`activation` in the file must be 'ReLU' or 'TopK', got {activation!r}.")
    topk = activation == "TopK"
    k = stated_k(facts.get(f"{_STATE}.k"), path, f"{_STATE}.k") if topk else None
    after = str(facts.get(f"{_STATE}.postact_fn", "ReLU"))
    if topk and after != "ReLU":
        raise ValueError(
            f"`{_STATE}.postact_fn` in the file must be 'ReLU', got {after!r}: codes here are "
            "positive. Such an SAE is not read."
        )
    encoding = Encoding(
        rule=rules[activation],
        k=k,
        norm="layer_norm" if topk else "none",
    )
    parts: dict[str, Any] = ours(as_saelens(tensors, _NAMES))
    sae = assemble(
        **parts,
        encoding=encoding,
        origin=Origin(library=LIBRARY, architecture=activation),
        hook_point=hook_point,
    )
    accounted(sae, tensors, facts, carried=_COUNTS)
    # What its writer had: facts of the activation are inside, not "activation.k" as torch's modules name them.
    inside = f"{_STATE}."
    config: dict[str, Any] = {n: v for n, v in plain.items() if not n.startswith(inside)}
    if "activation" in plain:
        config[_STATE] = {
            n.removeprefix(inside): v for n, v in plain.items() if n.startswith(inside)
        }
    return remember(sae, LIBRARY, tensors.held, config, names_its_place=False)


@checked
def write_openai(sae: SparseAutoencoder, path: str | Path) -> Path:
    """Write an SAE so that openai/sparse_autoencoder loads it and computes the same codes.

    There: ``Autoencoder.from_state_dict(torch.load(path, weights_only=True))``, with `strict=False` for
    what came of a TopK that it saved itself, as for that file. Tensors, texts and numbers are in the
    file, no code. A file that `read_openai` read is written back to the bit; after further training,
    the learned tensors are written, in their dtypes. Its counts of when an atom last fired stay as they
    were.

    Parameters
    ----------
    sae
        ReLU, or one read from another library: a ReLU, or a TopK that normalises each activation, as every
        TopK does there.
    path
        Gets the file, a `.pt`; must not exist, and appears only when complete.

    Raises
    ------
    TypeError: If openai/sparse_autoencoder cannot compute these codes.
    ValueError: If the path does not end in `.pt`.
    FileExistsError: If the file exists.

    Source
    ------
    openai/sparse_autoencoder, model.py.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import ReLU
    >>> from sae_nb.interop import read_openai
    >>> sae, x = ReLU(d_in=4, n_atoms=8).eval(), torch.ones(1, 4)
    >>> again = read_openai(write_openai(sae, tempfile.mkdtemp() + "/sae.pt"))
    >>> torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    True
    """
    if Path(path).suffix != ".pt":
        raise ValueError(
            f"`path` must be a file whose name ends in .pt, got {str(path)!r}. Add .pt to it."
        )
    return write_file(sae, path, LIBRARY, translate=_as_theirs, read=read_openai)


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    kind = (layout.architecture, layout.facts.get("normalize_activations", "none"))
    if kind not in _WRITTEN:
        raise TypeError(
            "`sae` must be a ReLU without a norm, or a TopK that normalises each activation, to be written "
            f"for {LIBRARY}, got a {type(sae).__name__} of {kind[0]!r} with the norm {kind[1]!r}. Use "
            "write_saelens."
        )
    t = dict(layout.tensors)
    if not layout.facts.get("apply_b_dec_to_input", True):
        t["b_enc"] = t["b_enc"] + t["b_dec"] @ t["W_enc"]  # theirs always takes the bias off first
    tensors = from_saelens(t, _NAMES) | {
        "stats_last_nonzero": torch.zeros(sae.n_atoms, dtype=torch.long),
        "latents_activation_frequency": torch.ones(sae.n_atoms),
        "latents_mean_square": torch.zeros(sae.n_atoms),
    }
    if kind[0] == "standard":
        return tensors, {"activation": "ReLU", _STATE: {}}
    its = {"k": layout.facts["k"], "postact_fn": "ReLU"}
    return tensors, {"activation": "TopK", _STATE: its}


_WRITTEN = (("standard", "none"), ("topk", "layer_norm"))
"""Architectures and norms of SAELens that this library computes, too."""
