"""The SAEs that ship with the toolkit: where they lie, what they are called, how one of ours is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sae_nb.activations._positions import TRAINING, PositionPolicy
from sae_nb.architectures import SparseAutoencoder
from sae_nb.architectures._catalogue import read_sae
from sae_nb.architectures._describing import HELD_OUT
from sae_nb.checks import checked
from sae_nb.files._atomic import read_json

BUNDLED = Path(__file__).parent / "saes"
N_NEAR = 3
_DECODERS = ("gemma-3-270m", "smollm2-135m", "tiny-gpt")
"""Models of pretrained SAEs that have attention sinks."""

MEASUREMENTS = "examples.json"
"""Measurements of a pretrained SAE, in its folder."""

_MEASURED = ("r2", "l0", "dead_fraction")


@checked
def pretrained_names() -> list[str]:
    """Return the names of the SAEs that ship with the toolkit, for `load_sae` and `load_examples`.

    "model/hook point" is an SAE, "model/mlp.L" the transcoder of block L's MLP, "model/temporal.L" the
    temporal SAE after block L.

    Example
    -------
    >>> "tiny-vit/resid_post.6" in pretrained_names()
    True
    """
    files = BUNDLED.glob("*/*/manifest.json")
    return sorted("/".join(file.parent.relative_to(BUNDLED).parts) for file in files)


def bundled_folder(name: str) -> Path | None:
    """Return the folder of a pretrained SAE, or None where there is none of that name."""
    return BUNDLED / name if name in pretrained_names() else None


def bundled_name(sae: object) -> str:
    """Return what an SAE of a bundled model is called if it is pretrained: "model/place"."""
    place = str(getattr(sae, "hook_point", None))
    if getattr(sae, "writes", None) is not None:
        place = place.replace("mlp_in.", "mlp.")
    if getattr(sae, "reads_sequences", False):
        place = place.replace("resid_post.", "temporal.")
    return f"{getattr(sae, 'model_name', None)}/{place}"


def near_names(name: str) -> str:
    """Return, in words, the pretrained SAEs whose names are nearest to one that is none."""
    from difflib import get_close_matches

    known = pretrained_names()
    near = get_close_matches(name, known, n=N_NEAR, cutoff=0.0)
    others = len(known) - len(near)
    listed = ", ".join(repr(other) for other in near)
    return f"{listed} or {others} more: sn.pretrained_names()" if others > 0 else listed


def is_bundled(folder: Path) -> bool:
    """Return whether a folder is that of a pretrained SAE."""
    return BUNDLED in folder.parents


def own_sae(
    folder: Path, elsewhere: Callable[[str], type[SparseAutoencoder] | None] = lambda _: None
) -> SparseAutoencoder:
    """Read the SAE of a folder that `sae.save` wrote, with what was measured of it.

    `elsewhere` finds a class that is not an architecture by the name it was saved under.
    """
    sae = read_sae(folder, elsewhere)
    if (folder / MEASUREMENTS).is_file() and (
        report := read_json(folder / MEASUREMENTS).get("report")
    ):
        # Of held-out rows; what its training measured is of the last batch, and counts dead atoms on more rows.
        of_report = {name: row["value"] for name, row in report.items() if name in _MEASURED}
        own = {} if sae.measured is None else sae.measured
        last_batch = {"r2", "l0"} & of_report.keys()
        kept = {name: value for name, value in own.items() if name not in last_batch}
        sae.measured = of_report | kept | {HELD_OUT: 1.0}
    if is_bundled(folder) and sae.position_policy is None:
        sinks = sae.model_name in _DECODERS  # what `capture` left out by itself for all of them
        sae.position_policy = PositionPolicy(drop_first=sinks, drop_massive=sinks, source=TRAINING)
    return sae
