"""circuit-tracer: folders with one `layer_{i}.safetensors` per layer's transcoder, and a `config.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

from sae_nb.checks import checked
from sae_nb.files import existing, read_tensors
from sae_nb.interop._foreign import check_holds, flat_yaml, named_errors, remember
from sae_nb.interop._imported import Encoding, Imported, Origin, assemble
from sae_nb.interop._saelens import ours

CONFIG = "config.yaml"
LIBRARY = "circuit-tracer"
_FILE = re.compile(r"layer_(\d+)\.safetensors")
_THRESHOLD = "activation_function.threshold"
_PLACES = {
    "mlp.hook_in": "mlp_in",
    "hook_resid_mid": "resid_mid",
    "mlp.hook_out": "mlp_out",
    "hook_mlp_out": "mlp_out",
}
"""Its names of places that are ours, too; an input after a norm without its gain is not."""


def is_transcoder(file: Path) -> bool:
    """Whether a file is called as circuit-tracer calls one."""
    return _FILE.fullmatch(file.name) is not None


@checked
@named_errors
def read_circuit_tracer(file: str | Path) -> Imported:
    """Read one layer's transcoder of a set that circuit-tracer saved.

    Where it reads and writes is in `config.yaml` beside it, if there is one; a place that we have no name
    for stays None, and is given where the transcoder is used.

    Parameters
    ----------
    file
        `layer_{i}.safetensors`.

    Raises
    ------
    FileNotFoundError: If there is no such file.
    ValueError: If it is called otherwise, holds other tensors, or is of layers that share atoms
        (`W_enc_{i}.safetensors`), which is not read.

    Source
    ------
    safety-research/circuit-tracer, transcoder/single_layer_transcoder.py. Of TopK's k largest entries, it
    also keeps negative ones; codes here are positive.
    """
    file = existing(Path(file))
    layer = _FILE.fullmatch(file.name)
    if layer is None:
        raise ValueError(
            f"{file.name!r} must be called layer_0.safetensors or so, as {LIBRARY} saves the transcoder of a "
            "layer. Pass such a file; a cross-layer transcoder of it is not read."
        )
    config = flat_yaml(file.parent / CONFIG) if (file.parent / CONFIG).is_file() else {}
    tensors = read_tensors(file)
    check_holds(tensors, ("W_enc", "W_dec", "b_enc", "b_dec"), file, f"Is it of {LIBRARY}?")
    k = int(tensors["k"]) if "k" in tensors else int(config.get("k", 0))
    rule = "jumprelu" if _THRESHOLD in tensors else "topk" if k else "relu"
    reads, writes = (config.get(f"feature_{side}_hook") for side in ("input", "output"))
    parts = ours(tensors, [name for name in ("W_skip",) if name in tensors])
    if rule == "jumprelu":
        parts["threshold"] = tensors[_THRESHOLD].flatten()
    sae = assemble(
        tensors["W_dec"],
        tensors["b_dec"],
        encoding=Encoding(rule=rule, k=k or None, pre_bias=False),  # type: ignore[arg-type]
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
    return remember(sae, LIBRARY, tensors, dict(config))


def _place(name: str | None, layer: str) -> str | None:
    kind = _PLACES.get(name or "")
    return None if kind is None else f"{kind}.{layer}"
