"""Every architecture by its name, and the SAE of a folder: of the architecture that the folder names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from sae_nb import architectures, plugins
from sae_nb.activations._positions import PositionPolicy
from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures._saving import (
    CONFIG,
    KIND,
    MEASURED,
    P99,
    POLICY,
    TARGET,
    WEIGHTS,
    widened,
)
from sae_nb.files._atomic import read_json, read_manifest
from sae_nb.files._tensors import read_tensors

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}
_Sae = TypeVar("_Sae", bound=SparseAutoencoder)


def _offered() -> Iterator[type[SparseAutoencoder]]:
    for name in dir(architectures):
        if name != "ARCHITECTURES":  # which is being made
            value = getattr(architectures, name)
            is_sae = inspect.isclass(value) and issubclass(value, SparseAutoencoder)
            if is_sae and not inspect.isabstract(value):
                yield value


ARCHITECTURES: dict[str, type[SparseAutoencoder]] = {sae.__name__: sae for sae in _offered()}
"""Every architecture by the name it is saved under: the SAEs that this package names, and those
that other installed packages bring."""


def _accept(_: str, value: object) -> None:
    """Keep an architecture of another package, by the name it is saved under."""
    if (
        not isinstance(value, type)
        or not issubclass(value, SparseAutoencoder)
        or inspect.isabstract(value)
    ):
        raise TypeError(f"it must be a concrete class of SparseAutoencoder, got {value!r}")
    if ARCHITECTURES.setdefault(value.__name__, value) is not value:
        raise ValueError(f"there is an architecture of the name {value.__name__!r} already")


def read_sae(
    folder: Path,
    elsewhere: Callable[[str], type[SparseAutoencoder] | None],
    *,
    do: str = "It may be from a newer version of sae_nb, or from a package that is not installed here.",
) -> SparseAutoencoder:
    """Read the SAE of a folder that `save_sae` wrote, in eval mode, on the CPU.

    `elsewhere` finds a class that is not an architecture by the name it was saved under.
    """
    read_manifest(folder, KIND)
    config = read_json(folder / CONFIG)
    name = str(config.get("architecture"))
    architecture = ARCHITECTURES.get(name) or elsewhere(name)
    if architecture is None:
        raise ValueError(
            f"{str(folder)!r} must hold one of {', '.join(ARCHITECTURES)}, got {name!r}. {do}"
        )
    return _rebuild(architecture, config, folder)


def load_as(architecture: type[_Sae], folder: str | Path) -> _Sae:
    """Read an SAE that must be of one architecture."""
    own = {architecture.__name__: architecture}
    sae = read_sae(Path(folder), own.get, do="Use load_sae, which reads every kind.")
    sae.folder = Path(folder)
    if not isinstance(sae, architecture):
        raise ValueError(
            f"{str(folder)!r} must hold a {architecture.__name__}, got a {type(sae).__name__}. Use "
            f"{type(sae).__name__}.load, or load_sae for any."
        )
    return sae


def _rebuild(
    architecture: type[SparseAutoencoder], config: dict[str, Any], folder: Path
) -> SparseAutoencoder:
    # On the meta device nothing is drawn: loading leaves the global generator alone.
    try:
        with torch.device("meta"):
            sae = architecture(**config["settings"])
    except TypeError as error:
        raise ValueError(
            f"{str(folder)!r} must hold a {architecture.__name__} of this version of sae_nb, got settings "
            f"that it does not take ({error}). Update sae_nb, or save the SAE again."
        ) from error
    written = read_tensors(folder / WEIGHTS)
    stored, dtype = widened(written), _dtype_of(config, folder)
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in stored.items()}
    try:
        sae.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold the tensors of a {architecture.__name__} with "
            f"{config['settings']}, and does not ({error}). Save the SAE again."
        ) from error
    if any(tensor.dtype != written[name].dtype for name, tensor in tensors.items()):
        # Rounding in a narrower format left rows a little off the sphere.
        sae.after_optimiser_step()
    sae.hook_point, sae.model_name = config["hook_point"], config["model_name"]
    sae.target_hook_point = config.get(TARGET)
    if config.get(POLICY) is not None:
        sae.position_policy = PositionPolicy.read(config[POLICY])
    sae.measured = config.get(MEASURED)
    if P99 in config:
        setattr(sae, P99, torch.tensor(config[P99]))
    return sae.eval()


def _dtype_of(config: dict[str, Any], folder: Path) -> torch.dtype:
    name = config.get("dtype")
    if name not in _DTYPES:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must name a dtype among {', '.join(_DTYPES)}, got {name!r}. "
            "Save the SAE again."
        )
    return _DTYPES[name]


# Last: a part may itself read from this package.
plugins.take("architectures", _accept)
