"""sparsify: folders with `cfg.json` and `sae.safetensors`, one per hook point, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.checks import checked
from sae_nb.files._atomic import read_json
from sae_nb.files._tensors import read_tensors
from sae_nb.interop._foreign import (
    Stated,
    accounted,
    check_holds,
    known_hook_point,
    named_errors,
    remember,
    sites_of,
    stated_k,
    stated_tensors,
    write_folder,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, Rule, assemble
from sae_nb.interop._saelens_layout import as_saelens, from_saelens, ours, saelens_layout

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
LIBRARY = "sparsify"
_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
"""From SAELens' name of each tensor to this library's."""


@checked
@named_errors
def read_sparsify(folder: str | Path) -> Imported:
    """Read an SAE or transcoder that sparsify saved; the folder's name is its hook point.

    A transcoder reads what enters the module of that name, and writes what leaves it.

    Parameters
    ----------
    folder
        Holds `cfg.json` and `sae.safetensors`.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If the configuration is of another kind, or the weights are cut short or of other shapes.

    Source
    ------
    EleutherAI/sparsify 1.3, sparse_coder.py and fused_encoder.py.
    """
    folder = Path(folder)
    written = read_json(folder / CONFIG)
    config = Stated(written if isinstance(written, Mapping) else {})
    stated = config.get("activation", "topk") if config else None
    if stated not in ("topk", "groupmax"):
        raise ValueError(
            f"{str(folder / CONFIG)!r} must state an `activation` of 'topk' or 'groupmax', got {stated!r}. Is "
            "it a sparsify folder?"
        )
    k = stated_k(config.get("k"), folder / CONFIG)
    tensors = stated_tensors(read_tensors(folder / WEIGHTS))
    check_holds(
        tensors, tuple(_NAMES.values()), folder / WEIGHTS, "Was it saved without its decoder?"
    )
    skips = config.get("skip_connection")
    if skips is not None and bool(skips) != ("W_skip" in tensors):
        raise ValueError(
            f"{str(folder / CONFIG)!r} must state a `skip_connection` where the weights have 'W_skip' and only "
            f"there, got {skips!r}. One of the two files is of another SAE."
        )
    place, transcodes = folder.name, bool(config.get("transcode"))
    reads, writes = sites_of(place) if transcodes else (known_hook_point(place), None)
    rule: Rule = "topk"
    if stated == "groupmax":
        rule = "groupmax"
    elif config.get("signed"):
        rule = "abstopk"
    sae = assemble(
        encoding=Encoding(rule=rule, k=k, pre_bias=not transcodes),
        origin=Origin(
            library=LIBRARY,
            architecture="transcoder" if transcodes else rule,
            hook_name=place,
            stated={"l0": k},
        ),
        hook_point=reads,
        target_hook_point=writes,
        transcodes=transcodes,
        **ours(as_saelens(tensors, _NAMES)),
        skip=tensors.get("W_skip"),
    )
    accounted(sae, tensors, config)
    return remember(sae, LIBRARY, tensors.held, written)


@checked
def write_sparsify(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE so that sparsify loads it and computes the same codes.

    A file of sparsify that `read_sparsify` read is written back to the bit.

    Parameters
    ----------
    sae
        TopK, a Transcoder or SkipTranscoder that selects by TopK and writes as wide as it reads, or one
        read from another library that keeps the k largest codes of an input; sparsify has no other.
    folder
        Gets `cfg.json` and `sae.safetensors`; must not exist, and appears only when complete. Its name is
        what sparsify takes for the hook point.

    Raises
    ------
    TypeError: If sparsify cannot compute these codes.
    FileExistsError: If the folder exists.

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
    return write_folder(
        sae,
        folder,
        LIBRARY,
        (CONFIG, WEIGHTS),
        translate=_as_theirs,
        read=read_sparsify,
        transcoders=True,
    )


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    plain = layout.facts.get("normalize_activations", "none") == "none"
    if layout.architecture != "topk" or not plain or sae.d_out != sae.d_in:
        raise TypeError(
            f"`sae` must keep the k largest codes of each input, and write as wide as it reads, to be "
            f"written for sparsify, got a {type(sae).__name__}. Use write_saelens."
        )
    config = {
        "activation": "topk",
        "expansion_factor": sae.n_atoms // sae.d_in,
        "normalize_decoder": True,
        "num_latents": sae.n_atoms,
        "k": layout.facts["k"],
        "multi_topk": False,
        "skip_connection": "W_skip" in layout.tensors,
        "transcode": not layout.facts.get("apply_b_dec_to_input", True),
        "d_in": sae.d_in,
    }
    skip = {name: layout.tensors[name] for name in ("W_skip",) if name in layout.tensors}
    return from_saelens(layout.tensors, _NAMES) | skip, config
