"""An SAE as a folder with safetensors, JSON and a manifest, never a pickle; written and read back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sae_nb import architectures
from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures.parts._operators import UNIT_GUARD
from sae_nb.files import (
    MANIFEST,
    MappedMatrix,
    Stream,
    holding_folder,
    in_memory,
    is_mapping,
    new_folder,
    place,
    read_json,
    read_manifest,
    read_tensors,
    write_bytes,
    write_json,
    write_manifest,
    write_streams,
    write_tensors,
)

KIND = "sae"
WEIGHTS, CONFIG = "sae.safetensors", "config.json"
P99 = "strength_p99"
"""Attribute of an SAE that knows how strongly its atoms fire, which is a unit of `steer`."""
MEASURED, TARGET = "measured", "target_hook_point"

_OF_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".json")

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
"""Every architecture by the name it is saved under: the SAEs that the door of this room names."""


def place_to_save(folder: str | Path) -> Path:
    """Return the folder if an SAE may be saved there."""
    folder = place(folder)
    if folder.suffix in _OF_FILES and not folder.is_dir():
        raise ValueError(
            f"An SAE is saved as a folder: weights, settings, and labels beside them. Got "
            f"{folder.name!r}, the name of a file. Use sae.save({folder.stem!r})."
        )
    if folder.is_dir() and any(folder.iterdir()):
        _check_is_sae(folder)
    return folder


def save_sae(
    sae: SparseAutoencoder,
    folder: str | Path,
    tensors: Mapping[str, Tensor | Stream] | None = None,
) -> None:
    """Write an SAE to a folder, replacing an SAE that was saved there before.

    `tensors`: In place of those it has, where it has but a part of them.
    """
    folder = place_to_save(folder)
    replace = folder.is_dir()
    # Held, so that a label another kernel writes meanwhile goes to the old folder before its labels are
    # carried over, or to the new one.
    with (
        holding_folder(folder) if replace else nullcontext(),
        new_folder(folder, replace=replace) as partial,
    ):
        write_sae(sae, partial, tensors=tensors)
        write_manifest(partial, KIND, architecture=type(sae).__name__)
        # After the manifest: labels go on changing, and are not part of it.
        _carry_over(folder, partial)
    sae.folder = folder


def write_sae(
    sae: SparseAutoencoder,
    folder: Path,
    *,
    matrices_as: torch.dtype | None = None,
    tensors: Mapping[str, Tensor | Stream] | None = None,
) -> None:
    """Write the two files of an SAE into a folder that the caller seals with a manifest."""
    state, dtype = sae.state_dict(), sae.dtype
    if sae.kept_as is not None:  # as its file has them
        dtype = sae.kept_as
        state = {n: _as_kept(t, dtype) for n, t in state.items()}
    if matrices_as is not None:
        state = {name: t.to(matrices_as) if t.ndim > 1 else t for name, t in state.items()}
    if tensors is None:
        write_tensors(folder / WEIGHTS, state)
    else:
        write_streams(folder / WEIGHTS, tensors)
    config: dict[str, Any] = {
        "architecture": type(sae).__name__,
        "settings": _settings_of(sae),
        "hook_point": None if sae.hook_point is None else str(sae.hook_point),
        "model_name": sae.model_name,
        "dtype": str(dtype).removeprefix("torch."),
    }
    if sae.target_hook_point is not None:
        config[TARGET] = str(sae.target_hook_point)
    if sae.measured is not None:
        config[MEASURED] = {n: v for n, v in sae.measured.items() if math.isfinite(v)}
    known = getattr(sae, P99, None)
    if known is not None:
        config[P99] = [float(f"{value:.6g}") for value in torch.as_tensor(known).tolist()]
    write_json(folder / CONFIG, config)


def _as_kept(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if isinstance(tensor, MappedMatrix):
        return tensor.unscaled()
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _settings_of(sae: SparseAutoencoder) -> dict[str, Any]:
    """Settings as a file keeps them."""
    later = sae.later_settings
    return {n: v for n, v in sae.settings().items() if n not in later or later[n] != v}


def _carry_over(old: Path, new: Path) -> None:
    """Copy what people wrote beside an SAE, such as its labels and its session, into its new folder."""
    if not (old / MANIFEST).is_file():
        return
    own = {MANIFEST, *read_json(old / MANIFEST).get("files", ())}
    for file in sorted(old.rglob("*")):
        name = file.relative_to(old)
        # A name with a dot in front is a file that somebody is writing.
        if file.is_file() and str(name) not in own and not file.name.startswith("."):
            write_bytes(new / name, file.read_bytes())


def read_sae(
    folder: Path,
    elsewhere: Callable[[str], type[SparseAutoencoder] | None],
    *,
    do: str = "It may be from a newer version of sae_nb.",
) -> SparseAutoencoder:
    """Read the SAE of a folder that `save_sae` wrote, in eval mode, on the CPU.

    `elsewhere` finds a class that is no architecture by the name it was saved under.
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
    stored = read_tensors(folder / WEIGHTS)
    dtype = _dtype_of(config, folder)
    if is_mapping():
        check_mappable(sae)
        sae.kept_as, dtype = dtype, torch.promote_types(dtype, torch.float32)
        stored = {n: t if sae.n_atoms in t.shape else in_memory(t) for n, t in stored.items()}
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in stored.items()}
    try:
        sae.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold the tensors of a {architecture.__name__} with "
            f"{config['settings']}, and does not ({error}). Save the SAE again."
        ) from error
    if sae.kept_as is not None:
        _settle(sae)
    elif any(tensors[name].dtype != stored[name].dtype for name in stored):
        # Rounding in a narrower format left rows a little off the sphere.
        sae.after_optimiser_step()
    sae.hook_point, sae.model_name = config["hook_point"], config["model_name"]
    sae.target_hook_point = config.get(TARGET)
    sae.measured = config.get(MEASURED)
    if P99 in config:
        setattr(sae, P99, torch.tensor(config[P99]))
    return sae.eval()


def _settle(sae: SparseAutoencoder) -> None:
    """Let an SAE be used whose matrices stay in their file."""
    operator: Any = sae.operator
    weight = operator.weight
    if sae.unit_atoms and weight.held.stored.dtype != sae.kept_as:
        operator.weight = nn.Parameter(weight.unit_rows(UNIT_GUARD), requires_grad=False)
    sae.requires_grad_(False)


def check_mappable(sae: SparseAutoencoder) -> None:
    """Refuse an SAE that cannot be used without its weights in memory."""
    why = sae.not_mapped
    if why:
        raise ValueError(
            f"`mmap` must be False for a {type(sae).__name__}: {why}. Load it without mmap."
        )


def _dtype_of(config: dict[str, Any], folder: Path) -> torch.dtype:
    name = config.get("dtype")
    if name not in _DTYPES:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must name a dtype among {', '.join(_DTYPES)}, got {name!r}. "
            "Save the SAE again."
        )
    return _DTYPES[name]


def _check_is_sae(folder: Path) -> None:
    manifest = folder / MANIFEST
    kind = read_json(manifest).get("kind") if manifest.is_file() else None
    if kind != KIND:
        raise FileExistsError(
            f"{str(folder)!r} must be new or hold an SAE, got "
            f"{'a folder of other files' if kind is None else f'{kind!r}'}. Choose another name."
        )
