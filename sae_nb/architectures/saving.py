"""Saving and loading SAEs: a folder with safetensors, JSON and a manifest; never a pickle."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

from sae_nb.architectures.base import SparseAutoencoder
from sae_nb.files import (
    new_folder,
    read_json,
    read_manifest,
    read_tensors,
    write_json,
    write_manifest,
    write_tensors,
)
from sae_nb.folder_locks import holding_folder
from sae_nb.ready_made.shelf import near_names, shelf_folder
from sae_nb.swapping import recover
from sae_nb.write_errors import place

KIND = "sae"
WEIGHTS, CONFIG = "sae.safetensors", "config.json"
P99 = "strength_p99"
"""Attribute of an SAE that knows how strongly its atoms fire, for `steer(…, unit="p99")`."""

_PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}
_Sae = TypeVar("_Sae", bound=SparseAutoencoder)


def save_sae(sae: SparseAutoencoder, folder: str | Path) -> None:
    """Write an SAE to a folder, replacing an SAE that was saved there before.

    Parameters
    ----------
    sae
        Of a registered architecture.
    folder
        Appears only when complete.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    OSError
        If it cannot be written; says why, and what was saved before is as it was.
    """
    from sae_nb.sessions import carry_over

    folder = place(folder)
    replace = folder.is_dir()
    if replace and any(folder.iterdir()):
        _check_is_sae(folder)
    # Held, so that a label another kernel writes meanwhile goes to the old folder before its labels are
    # carried over, or to the new one.
    with (
        holding_folder(folder) if replace else nullcontext(),
        new_folder(folder, replace=replace) as partial,
    ):
        write_sae(sae, partial)
        write_manifest(partial, KIND, architecture=type(sae).__name__)
        carry_over(folder, partial)
    sae.folder = folder


def write_sae(
    sae: SparseAutoencoder, folder: Path, *, matrices_as: torch.dtype | None = None
) -> None:
    """Write the two files of an SAE into a folder that the caller seals with a manifest.

    Parameters
    ----------
    sae
        Of a registered architecture.
    folder
        Exists.
    matrices_as
        Narrower number format in which matrices are stored; None stores them as they are. They are
        widened again on loading.
    """
    state = sae.state_dict()
    if matrices_as is not None:
        state = {name: t.to(matrices_as) if t.ndim > 1 else t for name, t in state.items()}
    write_tensors(folder / WEIGHTS, state)
    config: dict[str, Any] = {
        "architecture": type(sae).__name__,
        "settings": sae.settings(),
        "hook_point": None if sae.hook_point is None else str(sae.hook_point),
        "model_name": sae.model_name,
        "dtype": str(sae.dtype).removeprefix("torch."),
    }
    known = getattr(sae, P99, None)
    if known is not None:
        config[P99] = [float(f"{value:.6g}") for value in torch.as_tensor(known).tolist()]
    write_json(folder / CONFIG, config)


def load_sae(folder_or_name: str | Path) -> SparseAutoencoder:
    """Read an SAE of any architecture, in eval mode, on the CPU.

    Parameters
    ----------
    folder_or_name
        A folder written by `sae.save`, or by SAELens, dictionary_learning, sparsify, overcomplete,
        Gemma Scope or the authors of temporal SAEs (see `sae_nb.interop`); the name of a ready-made
        SAE, such as "tiny-vit/resid_post.6" (`sn.ready_made_names()` lists them); or
        "hf:owner/repository/path" for a folder on the Hugging Face hub, the only name that goes to
        the network. A folder comes first.

    Raises
    ------
    FileNotFoundError
        If there is neither such a folder nor such a name, or a file is missing.
    ValueError
        If a file was cut short or altered, or the folder holds something else.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import TopK
    >>> folder = tempfile.mkdtemp() + "/sae"
    >>> TopK(d_in=4, n_atoms=8, k=2).save(folder)
    >>> load_sae(folder).settings()["n_atoms"]
    8
    """
    folder = _located(folder_or_name)
    sae = _read(folder)
    if Path(folder_or_name).is_dir():
        sae.folder = folder
    return sae


def _read(folder: Path) -> SparseAutoencoder:
    """Read the SAE of a folder that is there, ours or another library's."""
    from sae_nb.architectures import ARCHITECTURES

    if not (folder / "manifest.json").is_file():
        return _of_another_library(folder)
    read_manifest(folder, KIND)
    config = read_json(folder / CONFIG)
    name = config.get("architecture")
    if name in ARCHITECTURES:
        return _rebuild(ARCHITECTURES[name], config, folder)
    elsewhere = _fixed_classes()
    if name not in elsewhere:
        raise ValueError(
            f"{str(folder)!r} must hold one of {', '.join(ARCHITECTURES)}, got {name!r}. It may be "
            "from a newer version of sae_nb."
        )
    return _rebuild(elsewhere[name], config, folder)


def load_as(architecture: type[_Sae], folder: str | Path) -> _Sae:
    """Read an SAE that must be of one architecture.

    Parameters
    ----------
    architecture
        Its class, or `SparseAutoencoder` for any.
    folder
        What `save` wrote.

    Raises
    ------
    ValueError
        If it is of another architecture.
    """
    sae = load_sae(folder)
    if not isinstance(sae, architecture):
        raise ValueError(
            f"{str(folder)!r} must hold a {architecture.__name__}, got a {type(sae).__name__}. Use "
            f"{type(sae).__name__}.load, or load_sae for any."
        )
    return sae


def _located(folder_or_name: str | Path) -> Path:
    """Return the folder that a path or a name stands for."""
    folder = Path(folder_or_name)
    recover(folder)
    if folder.is_dir():
        return folder
    if isinstance(folder_or_name, str) and folder_or_name.startswith("hf:"):
        from sae_nb.interop.hub import hub_sae

        return hub_sae(folder_or_name)
    shelved = shelf_folder(folder_or_name) if isinstance(folder_or_name, str) else None
    if shelved is None:
        _refuse_file(folder)
    return shelved


def _fixed_classes() -> dict[str, type[SparseAutoencoder]]:
    """Classes that are read or fitted, never trained."""
    from sae_nb.classical import Classical
    from sae_nb.interop import IMPORTED

    return {**IMPORTED, "Classical": Classical}


def _of_another_library(folder: Path) -> SparseAutoencoder:
    from sae_nb.interop.detection import known_layouts, reader_of

    reader = reader_of(folder)
    if reader is not None:
        return reader(folder)
    _refuse_folder(folder, known_layouts())


def _rebuild(
    architecture: type[SparseAutoencoder], config: dict[str, Any], folder: Path
) -> SparseAutoencoder:
    # On the meta device nothing is drawn: loading leaves the global generator alone.
    with torch.device("meta"):
        sae = architecture(**config["settings"])
    stored = read_tensors(folder / WEIGHTS)
    dtype = _dtype_of(config, folder)
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in stored.items()}
    try:
        sae.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold the tensors of a {architecture.__name__} with "
            f"{config['settings']}, and does not ({error}). Save the SAE again."
        ) from error
    if any(tensors[name].dtype != stored[name].dtype for name in stored):
        # Rounding in a narrower format left rows a little off the sphere.
        sae.after_optimiser_step()
    sae.hook_point, sae.model_name = config["hook_point"], config["model_name"]
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


def _check_is_sae(folder: Path) -> None:
    manifest = folder / "manifest.json"
    kind = read_json(manifest).get("kind") if manifest.is_file() else None
    if kind != KIND:
        raise FileExistsError(
            f"{str(folder)!r} must be new or hold an SAE, got "
            f"{'a folder of other files' if kind is None else f'{kind!r}'}. Choose another name."
        )


def _refuse_file(path: Path) -> NoReturn:
    if path.is_file() and path.suffix in _PICKLES:
        raise ValueError(
            f"`folder_or_name` must be a folder, got {str(path)!r}, which by its name is a pickle: it "
            "could run code and is never opened. Convert it with safetensors."
        )
    raise FileNotFoundError(
        f"No folder {str(path)!r}, and no ready-made SAE of that name. Pass the folder that "
        f"sae.save(…) wrote, or one of {near_names(path.as_posix())}."
        if not path.is_file()
        else f"`folder_or_name` must be a folder, got the file {str(path)!r}. Pass its folder."
    )


def _refuse_folder(folder: Path, layouts: str) -> NoReturn:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    found = f" It holds {pickles[0]!r}, a pickle, which is never opened." if pickles else ""
    raise ValueError(
        f"{str(folder)!r} must be a folder written by sae.save, with a manifest.json, and has none."
        f"{found} Folders of other libraries are known by their files: {layouts}. Pass another folder."
    )
