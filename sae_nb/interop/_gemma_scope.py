"""Gemma Scope 1 (`params.npz`) and 2 (`params.safetensors`, or one for each layer): JumpReLU SAEs."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.checks import checked, warn_caller
from sae_nb.files import (
    CompressedError,
    existing,
    is_mapping,
    mapped_arrays,
    read_json,
    read_tensors,
)
from sae_nb.interop._foreign import check_holds, named_errors
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble
from sae_nb.interop._several import ImportedCrossLayerTranscoder, cross_layer_transcoder

ARRAYS, TENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
LAYERS = "params_layer_{}.safetensors"
LIBRARY = "Gemma Scope"
_NAMES = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
_LAYER = re.compile(r"layer_(\d+)")
_EMBEDDING = re.compile(r"(?:^|/)embedding/width_\w+/average_l0_\d+/?$")
_L0 = re.compile(r"average_l0_(\d+)")
# What names a site other than the residual stream, as a word of its own: "…-pt-mlp/", "attn_out/".
_SITE = re.compile(r".*(?<![a-z])(mlp|attn?|transcoders?)(?![a-z])")


@checked
@named_errors
def read_gemma_scope(folder: str | Path) -> Imported | ImportedCrossLayerTranscoder:
    """Read a JumpReLU SAE of Gemma Scope or Gemma Scope 2, or a cross-layer transcoder of the latter.

    Layer and stated L0 are read from the folder's name ("layer_12/width_16k/average_l0_82"), and
    whether it is of the MLP ("…-pt-mlp"); of attention and of transcoders the hook point stays None. A
    transcoder reads its MLP's input after the norm and without that norm's gain. One of the embedding
    ("embedding/width_4k/average_l0_6") is given in units of what the model makes of it, √d_in times the table.

    Parameters
    ----------
    folder
        Holds `params.npz`, or `params.safetensors` and `config.json`; or `params_layer_0.safetensors` and
        so on, the layers of a cross-layer transcoder.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If an array is missing or of another shape, the file would need unpickling, or the folder
        holds a crosscoder, which has a code for each of its sites.

    Source
    ------
    Lieberum et al., "Gemma Scope", arXiv 2408.05147; layout as read by SAELens 6.54. Cross-layer: as read
    by decoderesearch/circuit-tracer, transcoder/cross_layer_transcoder.py, which leaves out what atoms
    write at layers before their own.
    """
    folder = Path(folder)
    if (folder / LAYERS.format(0)).is_file():
        return _several_layers(folder)
    newer = (folder / TENSORS).is_file()
    arrays = read_tensors(folder / TENSORS) if newer else _read_arrays(folder / ARRAYS)
    arrays = {name.lower(): value for name, value in arrays.items()}
    check_holds(arrays, _NAMES, folder, f"Is it of {LIBRARY}?")
    config = read_json(folder / CONFIG) if newer and (folder / CONFIG).is_file() else {}
    skip = arrays.get("affine_skip_connection")
    site = _SITE.match(str(folder))
    # Of embeddings it has seen those of the table, and the model adds them up times √d_in.
    unit = arrays["w_dec"].shape[-1] ** 0.5 if _EMBEDDING.search(folder.as_posix()) else 1.0
    return assemble(
        arrays["w_dec"] * unit,
        arrays["b_dec"],
        encoding=Encoding(rule="jumprelu", pre_bias=False),
        origin=_origin(folder, config),
        hook_point=_hook_point(str(folder)),
        transcodes=skip is not None or (site is not None and site[1].startswith("transcoder")),
        encoder=arrays["w_enc"].T / unit,
        encoder_bias=arrays["b_enc"],
        threshold=arrays["threshold"],
        skip=None if skip is None else skip.T,
    )


def _several_layers(folder: Path) -> ImportedCrossLayerTranscoder:
    if "crosscoder" in str(folder).lower():
        raise ValueError(
            f"{str(folder)!r} must be a cross-layer transcoder, and by its name is a crosscoder of {LIBRARY}, "
            "whose atoms are read at one site each and written to all; it is not read. Choose one of clt/."
        )
    n_layers = len(list(folder.glob(LAYERS.format("*"))))
    layers = [_layer(folder / LAYERS.format(i), n_layers) for i in range(n_layers)]
    early = [str(i) for i, layer in enumerate(layers) if bool(layer["dictionary"][:, :i].any())]
    if early:
        warn_caller(
            f"Atoms of layers {', '.join(early)} also write at layers before their own, which a running "
            "model has left by then; that part is left out."
        )
    for i, layer in enumerate(layers):
        layer["dictionary"] = layer["dictionary"][:, i:]
    return cross_layer_transcoder(
        layers,
        encoding=Encoding(rule="jumprelu", pre_bias=False),
        origin=Origin(library=LIBRARY, architecture="jump_relu_multi_layer", prepend_bos=True),
    )


def _layer(file: Path, n_layers: int) -> dict[str, Tensor]:
    """The tensors of one layer by our names."""
    arrays = {name.lower(): value for name, value in read_tensors(file).items()}
    check_holds(arrays, _NAMES, file, f"Is it of {LIBRARY}?")
    atoms = arrays["w_dec"]
    if atoms.ndim != 3 or atoms.shape[1] != n_layers:
        raise ValueError(
            f"`w_dec` in {str(file)!r} must have axes (atoms, {n_layers} layers, width), got shape "
            f"{tuple(atoms.shape)}. Are all its layers there?"
        )
    layer = {
        "encoder": arrays["w_enc"].T,
        "encoder_bias": arrays["b_enc"],
        "threshold": arrays["threshold"],
        "dictionary": atoms,
        "bias": arrays["b_dec"],
    }
    skip = arrays.get("affine_skip_connection")
    return layer if skip is None else layer | {"skip": skip}


def _read_arrays(path: Path) -> dict[str, Tensor]:
    path = existing(path)
    try:
        if is_mapping():
            return mapped_arrays(path)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except CompressedError:
        raise
    except (ValueError, zipfile.BadZipFile, OSError, EOFError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} must be a complete file of number arrays, and is not ({error}). Nothing in "
            "it was run. Download it again."
        ) from error


def _origin(folder: Path, config: Any) -> Origin:
    l0 = _L0.search(str(folder))
    return Origin(
        library=LIBRARY,
        architecture="jump_relu",
        model_name=config.get("model_name") if isinstance(config, dict) else None,
        hook_name=_hook_point(str(folder)),
        prepend_bos=True,
        stated={"l0": float(l0[1])} if l0 else {},
    )


def _hook_point(path: str) -> str | None:
    layer, site = _LAYER.search(path), _SITE.match(path)
    if _EMBEDDING.search(path.replace("\\", "/")):
        return "embed"
    if layer is None or (site and site[1] != "mlp"):
        return None
    return f"{'mlp_out' if site else 'resid_post'}.{layer[1]}"
