"""sparsify: folders with `cfg.json` and `sae.safetensors`, one per hook point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_nb.files import read_json, read_tensors
from sae_nb.interop.hook_names import known_hook_point
from sae_nb.interop.imported import Encoding, Imported, Origin, assemble
from sae_nb.interop.originals import remember
from sae_nb.interop.strangers import named_errors

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
LIBRARY = "sparsify"


@named_errors
def read_sparsify(folder: str | Path) -> Imported:
    """Read an SAE or transcoder that sparsify saved; the folder's name is its hook point.

    Parameters
    ----------
    folder
        Holds `cfg.json` and `sae.safetensors`.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If the configuration is of another kind, or the weights are cut short or of other shapes.

    Source
    ------
    EleutherAI/sparsify 1.3, sparse_coder.py and fused_encoder.py.
    """
    folder = Path(folder)
    config = read_json(folder / CONFIG)
    rule: Any = config.get("activation", "topk") if isinstance(config, Mapping) else None
    if rule not in ("topk", "groupmax") or not isinstance(config.get("k"), int):
        raise ValueError(
            f"{str(folder / CONFIG)!r} must state an `activation` of 'topk' or 'groupmax' and a `k`, "
            f"got {rule!r}. Is it a sparsify folder?"
        )
    tensors = read_tensors(folder / WEIGHTS)
    missing = {"encoder.weight", "encoder.bias", "W_dec", "b_dec"} - set(tensors)
    if missing:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold encoder and decoder, and {sorted(missing)[0]!r} is "
            "missing. Was it saved without its decoder?"
        )
    place = folder.name
    signed = bool(config.get("signed"))
    if signed and rule == "topk":
        rule = "abstopk"
    sae = assemble(
        tensors["W_dec"],
        tensors["b_dec"],
        encoding=Encoding(rule=rule, k=config["k"], pre_bias=not config.get("transcode", False)),
        origin=Origin(
            library=LIBRARY,
            architecture="transcoder" if config.get("transcode") else rule,
            hook_name=place,
            stated={"l0": config["k"]},
        ),
        hook_point=known_hook_point(place),
        encoder=tensors["encoder.weight"],
        encoder_bias=tensors["encoder.bias"],
        skip=tensors.get("W_skip"),
    )
    return remember(sae, LIBRARY, tensors, config)
