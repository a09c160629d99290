"""write_overcomplete: our SAEs as a state dict that overcomplete loads, with the same codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import BatchTopK, SparseAutoencoder
from sae_nb.files import new_folder, write_json
from sae_nb.interop.originals import Original, contiguous, put_back
from sae_nb.interop.overcomplete import ABOUT, LIBRARY, WEIGHTS, read_overcomplete
from sae_nb.interop.saelens_writing import Layout, saelens_layout

UNIT = 1e-6
"""How far from 1 a norm may be for overcomplete's own normalisation to leave the atom as it is."""


def write_overcomplete(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE so that overcomplete's classes load it and compute the same codes.

    overcomplete has no file format and takes no bias off its inputs. So `about.json` says which class the
    state dict is of, its `top_k`, `k` or `running_threshold`, and the `center`: give that class x − center,
    and add center to what it decodes. There:

    ``sae = TopKSAE(about["input_shape"], nb_concepts=about["nb_concepts"], top_k=about["top_k"])``,
    ``sae.load_state_dict(torch.load("state_dict.pt", weights_only=True))``, and only then ``sae.eval()``,
    which fixes the dictionary.

    What `read_overcomplete` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, BatchTopK, Matryoshka, JumpReLU, ReLU, Archetypal over one of these, MatchingPursuit, or one
        read from another library. overcomplete's matching pursuit also takes steps along an atom that
        correlates negatively, where no other is left; ours stops there.
    folder
        Gets `state_dict.pt`, tensors alone, and `about.json`; must not exist, and appears only when
        complete.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If overcomplete cannot compute these codes.
    FileExistsError
        If the folder exists.

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
    folder = Path(folder)
    with new_folder(folder) as partial:
        if not put_back(sae, LIBRARY, partial, write=_as_it_was, read=read_overcomplete):
            state, about = _as_theirs(sae)
            torch.save(contiguous(state), partial / WEIGHTS)
            write_json(partial / ABOUT, about)
    return folder


def _as_it_was(original: Original, folder: Path) -> None:
    torch.save(contiguous(original.tensors), folder / WEIGHTS)
    write_json(folder / ABOUT, original.config)


@torch.no_grad()
def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    about = _about(sae, layout)
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


def _about(sae: SparseAutoencoder, layout: Layout) -> dict[str, Any]:
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
