"""Gemma Scope 1 (`params.npz`) and 2 (`params.safetensors` and `config.json`): JumpReLU SAEs."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.files import existing, read_json, read_tensors
from sae_nb.interop._foreign import check_holds, named_errors
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble

ARRAYS, TENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
LIBRARY = "Gemma Scope"
_NAMES = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
_LAYER = re.compile(r"layer_(\d+)")
_L0 = re.compile(r"average_l0_(\d+)")
# What names a site other than the residual stream, as a word of its own: "…-pt-mlp/", "attn_out/".
_SITE = re.compile(r".*(?<![a-z])(mlp|attn?|transcoders?)(?![a-z])")


@checked
@named_errors
def read_gemma_scope(folder: str | Path) -> Imported:
    """Read a JumpReLU SAE of Gemma Scope or Gemma Scope 2.

    Layer and stated L0 are read from the folder's name ("layer_12/width_16k/average_l0_82"), and
    whether it is of the MLP ("…-pt-mlp"); of attention and of transcoders the hook point stays None. A
    transcoder reads its MLP's input after the norm and without that norm's gain.

    Parameters
    ----------
    folder
        Holds `params.npz`, or `params.safetensors` and `config.json`.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If an array is missing or of another shape, or the file would need unpickling.

    Source
    ------
    Lieberum et al., "Gemma Scope", arXiv 2408.05147; layout as read by SAELens 6.54.
    """
    folder = Path(folder)
    newer = (folder / TENSORS).is_file()
    arrays = read_tensors(folder / TENSORS) if newer else _read_arrays(folder / ARRAYS)
    arrays = {name.lower(): value for name, value in arrays.items()}
    check_holds(arrays, _NAMES, folder, f"Is it of {LIBRARY}?")
    config = read_json(folder / CONFIG) if newer and (folder / CONFIG).is_file() else {}
    skip = arrays.get("affine_skip_connection")
    site = _SITE.match(str(folder))
    return assemble(
        arrays["w_dec"],
        arrays["b_dec"],
        encoding=Encoding(rule="jumprelu", pre_bias=False),
        origin=_origin(folder, config),
        hook_point=_hook_point(str(folder)),
        transcodes=skip is not None or (site is not None and site[1].startswith("transcoder")),
        encoder=arrays["w_enc"].T,
        encoder_bias=arrays["b_enc"],
        threshold=arrays["threshold"],
        skip=None if skip is None else skip.T,
    )


def _read_arrays(path: Path) -> dict[str, Tensor]:
    path = existing(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
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
    if layer is None or (site and site[1] != "mlp"):
        return None
    return f"{'mlp_out' if site else 'resid_post'}.{layer[1]}"
