"""write_sparsify: our SAEs as a folder that sparsify loads, with the same codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.files import new_folder, write_json, write_tensors
from sae_nb.interop.originals import Original, put_back
from sae_nb.interop.saelens_writing import saelens_layout
from sae_nb.interop.sparsify import CONFIG, LIBRARY, WEIGHTS, read_sparsify


def write_sparsify(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE so that sparsify loads it and computes the same codes.

    What sparsify wrote and `read_sparsify` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, or one read from another library that keeps the k largest codes of an input; sparsify has
        no other.
    folder
        Gets `cfg.json` and `sae.safetensors`; must not exist, and appears only when complete. Its name is
        what sparsify takes for the hook point.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If sparsify cannot compute these codes.
    FileExistsError
        If the folder exists.

    Source
    ------
    EleutherAI/sparsify 1.3, sparse_coder.py.

    Example
    -------
    >>> import tempfile, torch
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.interop import read_sparsify
    >>> sae, x = TopK(d_in=4, n_atoms=8, k=2).eval(), torch.ones(1, 4)
    >>> again = read_sparsify(write_sparsify(sae, tempfile.mkdtemp() + "/layers.3"))
    >>> torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    True
    """
    folder = Path(folder)
    with new_folder(folder) as partial:
        if not put_back(sae, LIBRARY, partial, write=_as_it_was, read=read_sparsify):
            tensors, config = _as_theirs(sae)
            write_tensors(partial / WEIGHTS, tensors)
            write_json(partial / CONFIG, config)
    return folder


def _as_it_was(original: Original, folder: Path) -> None:
    write_tensors(folder / WEIGHTS, original.tensors)
    write_json(folder / CONFIG, original.config)


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    plain = layout.facts.get("normalize_activations", "none") == "none"
    if layout.architecture != "topk" or not plain:
        raise TypeError(
            f"`sae` must keep the k largest codes of each input to be written for sparsify, got a "
            f"{type(sae).__name__}. Use write_saelens."
        )
    tensors = {
        "encoder.weight": layout.tensors["W_enc"].T,
        "encoder.bias": layout.tensors["b_enc"],
        "W_dec": layout.tensors["W_dec"],
        "b_dec": layout.tensors["b_dec"],
    }
    config = {
        "activation": "topk",
        "expansion_factor": sae.n_atoms // sae.d_in,
        "normalize_decoder": True,
        "num_latents": sae.n_atoms,
        "k": layout.facts["k"],
        "multi_topk": False,
        "skip_connection": False,
        "transcode": not layout.facts.get("apply_b_dec_to_input", True),
        "d_in": sae.d_in,
    }
    return tensors, config
