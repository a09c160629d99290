"""Gemma Scope 1 (`params.npz`) and 2 (`params.safetensors`), read and written; several layers, read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb.activations._sites import AND
from sae_nb.architectures import SkipTranscoder, SparseAutoencoder
from sae_nb.checks import checked, warn_caller
from sae_nb.files._atomic import check_archive, existing, json_object, read_json
from sae_nb.files._tensors import read_tensors
from sae_nb.interop._foreign import (
    Contents,
    Original,
    Stated,
    accounted,
    came_from,
    check_holds,
    named_errors,
    remember,
    stated_tensors,
    write_folder,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble
from sae_nb.interop._saelens_layout import as_stated, saelens_layout
from sae_nb.interop._several import (
    ImportedCrosscoder,
    ImportedCrossLayerTranscoder,
    cross_layer_transcoder,
    crosscoder,
)

ARRAYS, TENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
LAYERS = "params_layer_{}.safetensors"
LIBRARY, NEWER = "Gemma Scope", "Gemma Scope 2"
_NAMES = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
_LAYER = re.compile(r"layer_(\d+)")
_EMBEDDING = re.compile(r"(?:^|/)embedding/width_\w+/average_l0_\d+/?$")
_L0 = re.compile(r"average_l0_(\d+)")
_MODULES = {
    "output": "resid_post",
    "self_attn.o_proj.input": "head_out",
    "pre_feedforward_layernorm.output": "mlp_in",
    "post_feedforward_layernorm.output": "mlp_out",
}
"""Places by their module in a block of Gemma 3; the MLP's output is what its closing norm gives."""
_MODULE = re.compile(rf".*layers\.(\d+)\.({'|'.join(map(re.escape, _MODULES))})")
_SITES = re.compile(r"layer_(\d+(?:_\d+)+)")
# What names a site other than the residual stream, as a word of its own: "…-pt-mlp/", "attn_out/".
_SITE = re.compile(r".*(?<![a-z])(mlp|attn?|transcoders?)(?![a-z])")


@checked
@named_errors
def read_gemma_scope(folder: str | Path) -> Imported | ImportedCrossLayerTranscoder:
    """Read a JumpReLU SAE of Gemma Scope or 2, or a crosscoder or cross-layer transcoder of the latter.

    `config.json` names the places of Gemma Scope 2. Otherwise layer and stated L0 are read from the folder's
    name ("layer_12/width_16k/average_l0_82"), and whether it is of the MLP ("…-pt-mlp"); of attention and
    of transcoders the hook point stays None. A transcoder of Gemma Scope reads its MLP's input after the
    norm and without that norm's gain. One of the embedding ("embedding/width_4k/average_l0_6") is given
    in units of the model's input, √d_in times the table. A crosscoder's atoms are read at one site
    each, in the order of its files, and written at all.

    Parameters
    ----------
    folder
        Holds `params.npz`, or `params.safetensors` and `config.json`; or `params_layer_0.safetensors` and
        so on, the layers of a cross-layer transcoder, or of a crosscoder: its folder's name says so, and
        which layers ("crosscoder/layer_5_9_12_15_width_65k_l0_medium").

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If an array is missing or of another shape, or the file would need unpickling.

    Source
    ------
    Lieberum et al., "Gemma Scope", arXiv 2408.05147; layout as read by SAELens 6.54. Several layers:
    McDougall et al., "Gemma Scope 2 Technical Paper", §2.6 (an encoder reads one layer, a decoder writes
    that and later ones); transcoders as decoderesearch/circuit-tracer reads them,
    transcoder/cross_layer_transcoder.py, which leaves out what atoms write at layers before their own.
    """
    folder = Path(folder)
    if (folder / LAYERS.format(0)).is_file():
        return _several_layers(folder)
    return _one_site(folder, folder)


def _one_site(folder: Path, named: Path) -> Imported:
    """Read an SAE or transcoder of one site, as it is where its folder has the other name."""
    newer = (folder / TENSORS).is_file()
    stated = read_tensors(folder / TENSORS) if newer else _read_arrays(folder / ARRAYS)
    arrays = _arrays(stated)
    check_holds(arrays, _NAMES, folder, f"Is it of {LIBRARY}?")
    written = read_json(folder / CONFIG) if newer and (folder / CONFIG).is_file() else {}
    config = Stated(written if isinstance(written, dict) else {})
    _check_stated(config, arrays, folder)
    skip = arrays.get("affine_skip_connection")
    unit = _unit(arrays["w_dec"].shape[-1], named)
    sae = assemble(
        arrays["w_dec"] * unit,
        arrays["b_dec"],
        encoding=Encoding(rule="jumprelu", pre_bias=False),
        origin=_origin(named, config),
        hook_point=_place(config, "in") or _hook_point(str(named)),
        transcodes=skip is not None or _is_transcoder(named) or _states_transcoder(config),
        encoder=arrays["w_enc"].T / unit,
        encoder_bias=arrays["b_enc"],
        threshold=arrays["threshold"],
        skip=None if skip is None else skip.T,
    )
    sae.target_hook_point = _place(config, "out") if sae.writes else None
    accounted(sae, arrays, config)
    return remember(
        sae,
        NEWER if newer else LIBRARY,
        stated,
        written if isinstance(written, dict) else {},
        restate=partial(_restated, unit=unit),
        read=partial(_one_site, named=named),
        names_its_place=False,
    )


def _arrays(stated: Mapping[str, Tensor]) -> Stated:
    held: dict[str, Tensor] = stated_tensors(stated).held
    return Stated({name.lower(): value for name, value in held.items()})


def _check_stated(config: Stated, arrays: Stated, folder: Path) -> None:
    """Refuse a configuration that is of another kind than the arrays."""
    kind, affine = config.get("architecture", "jump_relu"), config.get("affine_connection")
    if kind not in ("jump_relu", "jumprelu"):
        raise ValueError(
            f"{str(folder / CONFIG)!r} must state the architecture 'jump_relu', got {kind!r}. Such an SAE is "
            "not read."
        )
    if affine is not None and bool(affine) != ("affine_skip_connection" in arrays):
        raise ValueError(
            f"{str(folder / CONFIG)!r} must state an `affine_connection` where the arrays have "
            f"'affine_skip_connection' and only there, got {affine!r}. One of the two is of another SAE."
        )


def _unit(width: int, folder: Path) -> float:
    """Return the factor of atoms: the SAE of embeddings saw the table's, and the model has √d_in times
    these.
    """
    return float(width**0.5) if _EMBEDDING.search(folder.as_posix()) else 1.0


def _is_transcoder(folder: Path) -> bool:
    site = _SITE.match(str(folder))
    return site is not None and site[1].startswith("transcoder")


def _states_transcoder(config: Stated) -> bool:
    """Return whether a configuration is of a transcoder, or reads and writes at two places."""
    places = [
        {config.get(f"{library}hook_point_{side}") for side in ("in", "out")} - {None}
        for library in ("", "hf_")
    ]
    return "transcoder" in str(config.get("type")) or any(len(both) > 1 for both in places)


def _restated(sae: Imported, original: Original, *, unit: float) -> Contents:
    """`_one_site` backwards."""
    parts = as_stated(sae, ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"))
    new = _by_their_names(parts | ({"W_skip": sae.skip} if "skip" in sae.parts else {}), unit)
    return {name: new[name.lower()] for name in original.tensors if name.lower() in new}, {}


def _by_their_names(tensors: dict[str, Tensor], unit: float) -> dict[str, Tensor]:
    """Tensors by SAELens' names under those of Gemma Scope."""
    new = {name.lower(): tensor for name, tensor in tensors.items()}
    if "w_skip" in new:
        new["affine_skip_connection"] = new.pop("w_skip").T
    return new | {"w_enc": new["w_enc"] * unit, "w_dec": new["w_dec"] / unit}


@checked
def write_gemma_scope(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write an SAE or transcoder as Gemma Scope's are: a JumpReLU, in numpy's arrays.

    A file that `read_gemma_scope` read is written back to the bit; after further training, the learned
    arrays are written, in their dtypes. `params.safetensors` and `config.json`, as in Gemma Scope 2,
    are written for an SAE that was read from these, and for a linear map next to the atoms, which
    `params.npz` cannot hold.

    Parameters
    ----------
    sae
        JumpReLU, ReLU, BatchTopK, Matryoshka, a Transcoder or SkipTranscoder whose atoms have thresholds, or
        one read from another library whose atoms have.
    folder
        Gets `params.npz`, not compressed, or the two; must not exist, and appears only when complete.
        Its name holds all that the arrays do not: "layer_12/width_16k/average_l0_82" the layer and L0;
        "…-mlp", "…-transcoders" the kind; "embedding/width_4k/average_l0_6" an SAE of embeddings, whose
        arrays are written in the unit of the table.

    Raises
    ------
    TypeError: If its codes are not those of a JumpReLU. ValueError: If the folder's name is of another
    kind than the SAE. FileExistsError: If the folder exists.

    Source
    ------
    Lieberum et al., "Gemma Scope", arXiv 2408.05147; the arrays as SAELens 6.54 reads them.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import JumpReLU
    >>> from sae_nb.interop import read_gemma_scope
    >>> sae, x = JumpReLU(d_in=4, n_atoms=8, l0=2).eval(), torch.ones(1, 4)
    >>> again = read_gemma_scope(write_gemma_scope(sae, tempfile.mkdtemp() + "/layer_3/width_8"))
    >>> again.hook_point, torch.allclose(again.encode(x).to_dense(), sae.encode(x).to_dense())
    ('resid_post.3', True)
    """
    folder = Path(folder)
    skips = isinstance(sae, SkipTranscoder) or (isinstance(sae, Imported) and "skip" in sae.parts)
    _check_name(sae, folder, skips=skips)
    newer = skips or came_from(sae) == NEWER
    return write_folder(
        sae,
        folder,
        NEWER if newer else LIBRARY,
        (CONFIG, TENSORS) if newer else (None, ARRAYS),
        translate=partial(_as_theirs, folder=folder),
        read=partial(_one_site, named=folder),
        transcoders=True,
    )


def _check_name(sae: SparseAutoencoder, folder: Path, *, skips: bool) -> None:
    """Refuse a name by which the arrays would be read as something else."""
    embeds, transcodes = bool(_EMBEDDING.search(folder.as_posix())), _is_transcoder(folder)
    kind, example = "an SAE", "layer_12/width_16k/average_l0_82"
    if sae.writes is not None:
        kind, example = "a transcoder", "gemma-scope-2b-pt-transcoders/layer_12/width_16k"
    elif sae.hook_point == "embed":
        kind, example = "an SAE of embeddings", "embedding/width_4k/average_l0_6"
    fits = {
        "an SAE": not embeds and not transcodes,
        "a transcoder": not embeds and (transcodes or skips),
        "an SAE of embeddings": embeds and not transcodes,
    }
    if not fits[kind]:
        raise ValueError(
            f"`folder` must be called as {LIBRARY} calls {kind}, {example!r} or so, because its arrays do not "
            f"say what they are, got {str(folder)!r}. Choose such a name."
        )


def _as_theirs(sae: SparseAutoencoder, *, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    norm = layout.facts.get("normalize_activations", "none")
    if layout.architecture not in ("standard", "jumprelu") or norm != "none":
        raise TypeError(
            "`sae` must choose atoms by thresholds, of activations without a norm, to be written for "
            f"{LIBRARY}, got a {type(sae).__name__} of {layout.architecture!r} with the norm {norm!r}. Use "
            "write_saelens."
        )
    t = dict(layout.tensors)
    if layout.facts.get("apply_b_dec_to_input", True):
        t["b_enc"] = t["b_enc"] - t["b_dec"] @ t["W_enc"]  # theirs never takes the bias off first
    t.setdefault("threshold", torch.zeros_like(t["b_enc"]))
    config = {
        "architecture": "jump_relu",
        "model_name": sae.model_name,
        "affine_connection": "W_skip" in t,
    }
    return _by_their_names(t, _unit(sae.d_out, folder)), config


def _several_layers(folder: Path) -> ImportedCrosscoder | ImportedCrossLayerTranscoder:
    """Read what has a file for each layer: of a crosscoder one code, of a transcoder a code for each."""
    n_layers = len(list(folder.glob(LAYERS.format("*"))))
    files = [_arrays(read_tensors(folder / LAYERS.format(i))) for i in range(n_layers)]
    layers = [_layer(file, folder / LAYERS.format(i), n_layers) for i, file in enumerate(files)]
    config = folder / CONFIG
    facts = Stated(json_object(config) if config.is_file() else {})
    kind = facts.get("type") or f"{folder.parent.name} {folder.name}"
    crosses = "crosscoder" in str(kind).lower()
    made = _crosscoder(layers, folder, facts) if crosses else _cross_layer(layers, facts)
    return accounted(made, files, facts)


def _crosscoder(
    layers: Sequence[dict[str, Tensor]], folder: Path, facts: Stated
) -> ImportedCrosscoder:
    """Each atom is read at the site whose file has it, and written at all: one code, site after site."""
    own = [len(layer["encoder"]) for layer in layers]
    encoders = torch.zeros(len(layers), layers[0]["encoder"].shape[1], sum(own))
    for i, (atoms, layer) in enumerate(zip(torch.split(encoders, own, dim=2), layers, strict=True)):
        atoms[i] = layer["encoder"].T
    made = crosscoder(
        encoders,
        torch.cat([layer["encoder_bias"] for layer in layers]),
        torch.cat([layer["dictionary"] for layer in layers]).transpose(0, 1),
        torch.stack([layer["bias"] for layer in layers]),
        encoding=Encoding(rule="jumprelu", pre_bias=False),
        origin=_origin_of_several("jump_relu_crosscoder", facts),
        threshold=torch.cat([layer["threshold"] for layer in layers]),
    )
    sites = _SITES.search(folder.name)
    if sites and len(numbers := sites[1].split("_")) == len(layers):
        made.hook_point = AND.join(f"resid_post.{number}" for number in numbers)
    return made


def _origin_of_several(architecture: str, facts: Stated) -> Origin:
    return Origin(
        library=NEWER,
        architecture=architecture,
        model_name=facts.get("model_name"),
        prepend_bos=True,
        stated=_stated_l0(facts.get("l0")),
    )


def _stated_l0(l0: object) -> dict[str, float]:
    return {"l0": float(l0)} if isinstance(l0, int | float) else {}


def _cross_layer(
    layers: Sequence[dict[str, Tensor]], facts: Stated
) -> ImportedCrossLayerTranscoder:
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
        origin=_origin_of_several("jump_relu_multi_layer", facts),
    )


def _layer(arrays: Stated, file: Path, n_layers: int) -> dict[str, Tensor]:
    """The tensors of one layer by our names."""
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
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, zipfile.BadZipFile, OSError, EOFError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} must be a complete file of number arrays, and is not ({error}). Nothing in "
            "it was run. Download it again."
        ) from error


def _origin(folder: Path, config: Stated) -> Origin:
    l0 = _L0.search(str(folder))
    known = float(l0[1]) if l0 else config.get("l0")
    return Origin(
        library=LIBRARY,
        architecture="jump_relu",
        model_name=config.get("model_name"),
        hook_name=_place(config, "in") or _hook_point(str(folder)),
        prepend_bos=True,
        stated=_stated_l0(known),
    )


def _place(config: Stated, side: str) -> str | None:
    """Return the place that a configuration names by the model's own module."""
    module = _MODULE.fullmatch(str(config.get(f"hf_hook_point_{side}")))
    return None if module is None else f"{_MODULES[module[2]]}.{module[1]}"


def _hook_point(path: str) -> str | None:
    layer, site = _LAYER.search(path), _SITE.match(path)
    if _EMBEDDING.search(path.replace("\\", "/")):
        return "embed"
    if layer is None or (site and site[1] != "mlp"):
        return None
    return f"{'mlp_out' if site else 'resid_post'}.{layer[1]}"
