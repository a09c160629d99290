"""load_sae: an SAE from a folder of ours, from another library's, from the shelf, or from the hub."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import NoReturn

from sae_nb.architectures import SparseAutoencoder, read_sae
from sae_nb.checks import check_path, checked
from sae_nb.files import MANIFEST, read_json, recover

# -------------------------------------------------------------------------------------------------
# Where pretrained SAEs lie, and what they are called: "model/hook point".


SHELF = Path(__file__).parent / "saes"
N_NEAR = 3

FACTS = "examples.json"
"""What was measured of a pretrained SAE, in its folder."""

_MEASURED = ("r2", "l0", "dead_fraction")


@checked
def pretrained_names() -> list[str]:
    """Return the names of the SAEs that ship with the toolkit, for `load_sae` and `load_examples`.

    "model/hook point" is an SAE, "model/mlp.L" the transcoder of block L's MLP.

    Example
    -------
    >>> "tiny-vit/resid_post.6" in pretrained_names()
    True
    """
    files = SHELF.glob("*/*/manifest.json")
    return sorted("/".join(file.parent.relative_to(SHELF).parts) for file in files)


def shelf_folder(name: str) -> Path | None:
    """Return the folder of a pretrained SAE, or None where there is none of that name."""
    return SHELF / name if name in pretrained_names() else None


def shelf_name(sae: object) -> str:
    """Return what an SAE of a bundled model is called if it is pretrained: "model/place"."""
    place = str(getattr(sae, "hook_point", None))
    if getattr(sae, "writes", None) is not None:
        place = place.replace("mlp_in.", "mlp.")
    return f"{getattr(sae, 'model_name', None)}/{place}"


def transcoder_places(place: str) -> tuple[str, str] | None:
    """Return what a transcoder "mlp.L" reads and writes; None for a hook point."""
    kind, _, layer = place.partition(".")
    return (f"mlp_in.{layer}", f"mlp_out.{layer}") if kind == "mlp" else None


def near_names(name: str) -> str:
    """Return, in words, the pretrained SAEs whose names are nearest to one that is none."""
    from difflib import get_close_matches

    known = pretrained_names()
    near = get_close_matches(name, known, n=N_NEAR, cutoff=0.0)
    others = len(known) - len(near)
    listed = ", ".join(repr(other) for other in near)
    return f"{listed} or {others} more: sn.pretrained_names()" if others > 0 else listed


# -------------------------------------------------------------------------------------------------
# load_sae: an SAE from a folder of ours, from another library's, from the shelf, or from the hub.


_PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")


@checked(leave=("folder_or_name",))
def load_sae(folder_or_name: str | Path) -> SparseAutoencoder:
    """Read an SAE of any architecture, in eval mode, on the CPU.

    Parameters
    ----------
    folder_or_name
        A folder written by `sae.save`, or by SAELens, dictionary_learning, sparsify, overcomplete,
        Gemma Scope or the authors of temporal SAEs (see `sae_nb.interop`); the name of a pretrained
        SAE, such as "tiny-vit/resid_post.6" (`sn.pretrained_names()` lists them); or
        "hf:owner/repository/path" for a folder on the Hugging Face hub, the only name that goes to
        the network. A folder comes first.

    Raises
    ------
    FileNotFoundError: If there is neither such a folder nor such a name, or a file is missing.
    ValueError: If a file was cut short or altered, or the folder holds something else.

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
    if (folder / MANIFEST).is_file():
        from sae_nb.classical import ITDA, Classical, SemiNMF
        from sae_nb.interop import IMPORTED

        # Besides the architectures: classes that are read or fitted, never trained.
        sae = read_sae(
            folder, {**IMPORTED, **{cls.__name__: cls for cls in (Classical, ITDA, SemiNMF)}}
        )
    else:
        sae = _of_another_library(folder)
    if Path(folder_or_name).is_dir():
        sae.folder = folder
    if sae.measured is None and (folder / FACTS).is_file():
        report = read_json(folder / FACTS).get("report", {})
        sae.measured = {name: row["value"] for name, row in report.items() if name in _MEASURED}
    return sae


def _located(folder_or_name: str | Path) -> Path:
    """Return the folder of a path or a name."""
    if not isinstance(folder_or_name, str | PathLike):
        raise TypeError(f"`folder_or_name` must be a folder or a name, got {folder_or_name!r}.")
    folder = check_path(folder_or_name, name="folder_or_name")
    recover(folder)
    if folder.is_dir() or _is_one_file(folder):
        return folder
    if isinstance(folder_or_name, str) and folder_or_name.startswith("hf:"):
        from sae_nb.interop import hub_sae

        return hub_sae(folder_or_name)
    shelved = shelf_folder(folder_or_name) if isinstance(folder_or_name, str) else None
    if shelved is None:
        _refuse_file(folder)
    return shelved


def _is_one_file(path: Path) -> bool:
    """Whether a file is a whole SAE by the rules of its library, and no pickle."""
    if not path.is_file() or path.suffix in _PICKLES:
        return False
    from sae_nb.interop import reader_of

    return reader_of(path) is not None


def _of_another_library(folder: Path) -> SparseAutoencoder:
    from sae_nb.interop import known_layouts, reader_of

    reader = reader_of(folder)
    if reader is not None:
        return reader(folder)
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    content = f" It holds {pickles[0]!r}, a pickle, which is never opened." if pickles else ""
    raise ValueError(
        f"{str(folder)!r} must be a folder written by sae.save, with a manifest.json, and has none."
        f"{content} Folders of other libraries are known by their files: {known_layouts()}. Pass another "
        "folder."
    )


def _refuse_file(path: Path) -> NoReturn:
    if path.is_file() and path.suffix in _PICKLES:
        raise ValueError(
            f"`folder_or_name` must be a folder, got {str(path)!r}, which by its name is a pickle: it "
            "could run code and is never opened. Convert it with safetensors."
        )
    raise FileNotFoundError(
        f"No folder {str(path)!r}, and no pretrained SAE of that name. Pass the folder that "
        f"sae.save(…) wrote, or one of {near_names(path.as_posix())}."
        if not path.is_file()
        else f"`folder_or_name` must be a folder, got the file {str(path)!r}. Pass its "
        f"folder, {str(path.parent)!r}."
    )
