"""circuit-tracer: `layer_{i}.safetensors` per layer's transcoder, or folders whose layers share atoms."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder
from sae_nb.checks import checked, warn_caller
from sae_nb.files._atomic import existing
from sae_nb.files._tensors import read_tensors
from sae_nb.interop._foreign import (
    Stated,
    accounted,
    check_holds,
    flat_yaml,
    named_errors,
    remember,
    stated_k,
    stated_tensors,
    write_file,
)
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble
from sae_nb.interop._saelens_layout import ours, saelens_layout
from sae_nb.interop._several import ImportedCrossLayerTranscoder, cross_layer_transcoder

CONFIG = "config.yaml"
FIRST = ("W_enc_0.safetensors", "W_dec_0.safetensors")
"""Files of the first layer of a cross-layer transcoder."""
LIBRARY = "circuit-tracer"
_FILE = re.compile(r"layer_(\d+)\.safetensors")
_ENCODER = re.compile(r"W_enc_\d+\.safetensors")
_THRESHOLD = "activation_function.threshold"
_PLACES = {
    "mlp.hook_in": "mlp_in",
    "hook_resid_mid": "resid_mid",
    "mlp.hook_out": "mlp_out",
    "hook_mlp_out": "mlp_out",
}
"""Its names of places that are ours, too; an input after a norm without its gain is not."""


def is_transcoder(file: Path) -> bool:
    """Return whether a file has a name as circuit-tracer gives it."""
    return _FILE.fullmatch(file.name) is not None


@checked
@named_errors
def read_circuit_tracer(path: str | Path) -> Imported | ImportedCrossLayerTranscoder:
    """Read one layer's transcoder of a set that circuit-tracer saved, or a cross-layer transcoder.

    The places it reads and writes are in `config.yaml` next to it, if there is one; a place that we
    have no name for stays None, and is given where the transcoder is used.

    Parameters
    ----------
    path
        A file `layer_{i}.safetensors`; or the folder with `W_enc_{i}.safetensors` and
        `W_dec_{i}.safetensors` for every layer of a cross-layer transcoder.

    Raises
    ------
    FileNotFoundError: If there is no such file or folder, or a layer is missing.
    ValueError: If a file is called otherwise, or holds other tensors.

    Source
    ------
    decoderesearch/circuit-tracer, transcoder/single_layer_transcoder.py and cross_layer_transcoder.py. Of
    TopK's k largest entries, and of a JumpReLU with a negative threshold, it also keeps negative ones;
    codes here are positive.
    """
    path = Path(path)
    return _several_layers(path) if path.is_dir() else _one_layer(path, path)


def _one_layer(file: Path, named: Path) -> Imported:
    """Read the transcoder of a layer, as it is where the file has the other name."""
    file = existing(file)
    layer = _FILE.fullmatch(named.name)
    if layer is None:
        raise ValueError(
            f"{file.name!r} must be called layer_0.safetensors or so, as {LIBRARY} saves the transcoder of a "
            f"layer. Pass such a file, or for a cross-layer transcoder the folder, {str(file.parent)!r}."
        )
    config = _config(named.parent)
    tensors = stated_tensors(read_tensors(file))
    check_holds(tensors, ("W_enc", "W_dec", "b_enc", "b_dec"), file, f"Is it of {LIBRARY}?")
    jumps, where = _THRESHOLD in tensors, tensors if "k" in tensors else config
    stated = None if jumps else where.get("k")
    if isinstance(stated, str) and stated.strip().isdecimal():  # of a line of YAML
        stated = float(stated)
    k = None if stated is None else stated_k(stated, file)
    rule = "jumprelu" if jumps else "topk" if k else "relu"
    reads, writes = _hooks(config)
    parts = ours(tensors, [name for name in ("W_skip",) if name in tensors])
    if rule == "jumprelu":
        parts["threshold"] = tensors[_THRESHOLD].flatten()
    sae = assemble(
        tensors["W_dec"],
        tensors["b_dec"],
        encoding=Encoding(rule=rule, k=k if rule == "topk" else None, pre_bias=False),  # type: ignore[arg-type]
        origin=Origin(
            library=LIBRARY,
            architecture="transcoder",
            model_name=config.get("model_name"),
            hook_name=reads,
            hook_name_out=writes,
        ),
        hook_point=_place(reads, layer[1]),
        target_hook_point=_place(writes, layer[1]),
        transcodes=True,
        encoder=tensors["W_enc"],
        encoder_bias=tensors["b_enc"],
        **parts,
    )
    accounted(sae, tensors, config)
    return remember(sae, LIBRARY, tensors.held, {}, names_its_place=False)


@checked
def write_circuit_tracer(sae: SparseAutoencoder, path: str | Path) -> Path:
    """Write a transcoder of one layer as circuit-tracer's sets have them.

    A file that `read_circuit_tracer` read is written back to the bit; after further training, the
    learned tensors are written, in their dtypes. Where a set reads and writes is in its `config.yaml`,
    which stays yours.

    Parameters
    ----------
    sae
        A Transcoder or SkipTranscoder as wide where it writes as where it reads, of any selection except
        AbsTopK and Gated, or one read from another library. Sets of ReLU transcoders are what that library
        loads from such files by itself.
    path
        Gets the file, `layer_{i}.safetensors`; must not exist, and appears only when complete.

    Raises
    ------
    TypeError: If it is not a transcoder, or circuit-tracer cannot compute its codes. ValueError: If the
    file is called otherwise. FileExistsError: If the file exists.

    Source
    ------
    decoderesearch/circuit-tracer, transcoder/single_layer_transcoder.py.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import Transcoder
    >>> from sae_nb.interop import read_circuit_tracer
    >>> t = Transcoder(d_in=4, d_out=4, n_atoms=8, base="ReLU").eval()
    >>> again = read_circuit_tracer(write_circuit_tracer(t, tempfile.mkdtemp() + "/layer_3.safetensors"))
    >>> torch.allclose(again(torch.ones(1, 4)), t(torch.ones(1, 4)))
    True
    """
    path = Path(path)
    if not is_transcoder(path):
        raise ValueError(
            f"`path` must be called layer_0.safetensors or so, as {LIBRARY} calls the transcoder of a layer, "
            f"got {path.name!r}. Give it the number of the layer."
        )
    again = partial(_one_layer, named=path)
    return write_file(sae, path, LIBRARY, translate=_as_theirs, read=again, transcoders=True)


def _as_theirs(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    layout = saelens_layout(sae)
    plain = layout.facts.get("normalize_activations", "none") == "none"
    known = layout.architecture in ("standard", "jumprelu", "topk") and plain
    if sae.writes is None or sae.d_in != sae.d_out or not known:
        raise TypeError(
            "`sae` must be a transcoder that writes as wide as it reads and selects by a ReLU, thresholds or "
            f"TopK, to be written for {LIBRARY}, got a {type(sae).__name__}. Use write_saelens, or "
            "sae.save(…)."
        )
    tensors = dict(layout.tensors)
    tensors["W_enc"] = tensors["W_enc"].T
    if "threshold" in tensors:
        tensors[_THRESHOLD] = tensors.pop("threshold")
    if layout.architecture == "topk":
        tensors["k"] = torch.tensor(layout.facts["k"])
    return tensors, {}


def _several_layers(folder: Path) -> ImportedCrossLayerTranscoder:
    n_layers = len(
        [file for file in folder.glob("W_enc_*.safetensors") if _ENCODER.fullmatch(file.name)]
    )
    if not n_layers:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold W_enc_0.safetensors and so on, as {LIBRARY} saves a cross-layer "
            "transcoder, and does not. Pass its folder, or a file layer_0.safetensors."
        )
    files, config = [_tensors(folder, i) for i in range(n_layers)], _config(folder)
    layers = [_layer(file, folder, i) for i, file in enumerate(files)]
    if any(bool((layer["threshold"] < 0).any()) for layer in layers if "threshold" in layer):
        warn_caller(
            f"Some thresholds are negative, for which {LIBRARY} keeps negative codes; these are left out."
        )
    reads, writes = _hooks(config)
    made = cross_layer_transcoder(
        layers,
        encoding=Encoding(rule="jumprelu" if "threshold" in layers[0] else "relu", pre_bias=False),
        origin=Origin(
            library=LIBRARY,
            architecture="cross_layer_transcoder",
            model_name=config.get("model_name"),
            hook_name=reads,
            hook_name_out=writes,
        ),
        places=(_PLACES.get(reads or ""), _PLACES.get(writes or "")),
    )
    return accounted(made, files, config)


def _tensors(folder: Path, i: int) -> Stated:
    files = [folder / f"W_{side}_{i}.safetensors" for side in ("enc", "dec")]
    return stated_tensors(
        {name: value for file in files for name, value in read_tensors(file).items()}
    )


def _layer(tensors: Stated, folder: Path, i: int) -> dict[str, Tensor]:
    """The tensors of one layer by our names."""
    needed = [f"{name}_{i}" for name in ("W_enc", "b_enc", "b_dec", "W_dec")]
    check_holds(tensors, needed, folder / f"W_enc_{i}.safetensors", f"Is it of {LIBRARY}?")
    names = zip(("encoder", "encoder_bias", "bias", "dictionary"), needed, strict=True)
    layer = {own: tensors[theirs] for own, theirs in names}
    if f"W_skip_{i}" in tensors:
        layer["skip"] = tensors[f"W_skip_{i}"]
    if f"threshold_{i}" in tensors:
        layer["threshold"] = tensors[f"threshold_{i}"].flatten()
    return layer


def _config(folder: Path) -> Stated:
    return Stated(flat_yaml(folder / CONFIG) if (folder / CONFIG).is_file() else {})


def _hooks(config: Stated) -> tuple[str | None, str | None]:
    """Return its names for the places that it reads and writes."""
    return config.get("feature_input_hook"), config.get("feature_output_hook")


def _place(name: str | None, layer: str) -> str | None:
    kind = _PLACES.get(name or "")
    return None if kind is None else f"{kind}.{layer}"
