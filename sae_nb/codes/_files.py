"""Folders of sparse codes: safetensors, JSON, checksums."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sae_nb.files._atomic import (
    read_json,
    read_manifest,
)
from sae_nb.files._tensors import (
    read_tensors,
    write_folder,
)

if TYPE_CHECKING:
    from sae_nb.codes._sparse_codes import SparseCodes

KIND = "sparse codes"


def write_codes(codes: SparseCodes, folder: str | Path, *, replace: bool) -> None:
    """Write codes to a folder, which appears only when complete."""
    tensors = {"values": codes.values, "atoms": codes.atoms, "offsets": codes.offsets}
    config = {"n_atoms": codes.n_atoms, "shape": list(codes.leading_shape)}
    write_folder(
        folder,
        KIND,
        json={"config.json": config},
        tensors={"codes.safetensors": tensors},
        replace=replace,
    )


def read_codes(kind: type[SparseCodes], folder: str | Path) -> SparseCodes:
    """Read codes of a class from a folder that `write_codes` wrote."""
    folder = Path(folder)
    read_manifest(folder, KIND)
    config = read_json(folder / "config.json")
    parts = read_tensors(folder / "codes.safetensors")
    try:
        return kind(
            parts["values"],
            parts["atoms"],
            parts["offsets"],
            config["n_atoms"],
            tuple(config["shape"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(folder)!r} must hold sparse codes, and does not: {error} Encode again."
        ) from error
