"""An SAE as its files give it back, and its measurements as plain numbers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import numpy as np

from sae_nb.architectures import SparseAutoencoder, sae_folder
from sae_nb.evaluation import Measurement
from sae_nb.pretrained import load_sae

_Sae = TypeVar("_Sae", bound=SparseAutoencoder)


def as_shipped(sae: _Sae, **options: Any) -> _Sae:
    """Return an SAE as its files give it back: whatever is measured, is measured on that."""
    with TemporaryDirectory() as parent:
        with sae_folder(sae, Path(parent) / "sae", **options):
            pass
        shipped = cast(_Sae, load_sae(Path(parent) / "sae"))
    shipped.folder = None
    return shipped


def plain(m: Measurement) -> dict[str, Any]:
    """Return the numbers of a measurement that are finite."""
    numbers = {"value": m.value, "floor": m.floor, "control": m.control}
    numbers |= {"low": m.interval[0], "high": m.interval[1]}
    return {n: v for n, v in numbers.items() if v is not None and np.isfinite(v)}
