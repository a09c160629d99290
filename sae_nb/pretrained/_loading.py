"""load_sae: an SAE from a folder of ours, from another library's, from the shelf, or published by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from sae_nb.activations._hook_point_check import place_of
from sae_nb.activations._massive import massive, row_norms
from sae_nb.architectures import SparseAutoencoder
from sae_nb.architectures._saving import KIND, misfit
from sae_nb.checks import check_path, checked, warn_caller
from sae_nb.exports import offered_by_a_study
from sae_nb.files._atomic import MANIFEST, existing_folder, json_object
from sae_nb.files._exchange import recover
from sae_nb.models._fetching import FETCHABLE, known_as
from sae_nb.pretrained._bundled import bundled_folder, bundled_name, is_bundled, near_names, own_sae

if TYPE_CHECKING:
    from sae_nb.activations import Activations

# -------------------------------------------------------------------------------------------------
# load_sae: an SAE from a folder of ours, from another library's, from the shelf, or published by name.


N_LISTED = 6
"""SAEs of a folder that an error lists."""

DEEPEST = 3
"""Levels of folders below one in which its SAEs are looked for."""

_PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")


@checked(leave=("folder_or_name",))
def load_sae(folder_or_name: str | Path, sae_id: str | None = None) -> SparseAutoencoder:
    """Read an SAE of any architecture, in eval mode, on the CPU.

    Parameters
    ----------
    folder_or_name
        A folder written by `sae.save`, or by SAELens, dictionary_learning, sparsify, overcomplete,
        Gemma Scope or the authors of temporal SAEs (see `sae_nb.interop`); the name of a pretrained
        SAE, such as "tiny-vit/resid_post.6" (`sn.pretrained_names()` lists them); the name of a
        published one, such as "gpt2-small-res-jb/blocks.8.hook_resid_pre" (`sn.published()` lists
        them); or "hf:owner/repository/path" for a folder on the Hugging Face hub. A folder comes first.
        The last two are read from the hub's cache, and fetched where that has them not; nothing else
        goes to the network. A published SAE is in the units and at the hook point of the model that
        `load_model` gives; `sae.origin.notes` lists the conversions. The first captured activations
        that it reads are checked, and a warning is given if they do not fit.
    sae_id
        Which SAE of a release, as SAELens has it: `load_sae(release, sae_id)` is
        `load_sae(f"{release}/{sae_id}")`.

    Raises
    ------
    FileNotFoundError: If there is neither such a folder nor such a name, or a file is missing.
    ValueError: If a file was cut short or altered, or the folder holds something else; or a published
        release has no SAE of that name, or is in a format that is not read.

    Example
    -------
    >>> import tempfile
    >>> from sae_nb.architectures import TopK
    >>> folder = tempfile.mkdtemp() + "/sae"
    >>> TopK(d_in=4, n_atoms=8, k=2).save(folder)
    >>> load_sae(folder).settings()["n_atoms"]
    8
    """
    if sae_id is not None:
        folder_or_name = f"{folder_or_name}/{sae_id}"
    return _loaded(folder_or_name)


def _loaded(folder_or_name: str | Path) -> SparseAutoencoder:
    folder = _located(folder_or_name)
    if folder is None:
        from sae_nb.interop._published import published_sae

        return published_sae(str(folder_or_name))
    sae = (
        own_sae(folder, _elsewhere)
        if (folder / MANIFEST).is_file()
        else _of_another_library(folder)
    )
    if Path(folder_or_name).is_dir():
        sae.folder = folder
    if is_bundled(folder) and sae.model_name in FETCHABLE:
        sae.on_first_use = (
            warn_of_misfit  # its model's weights come from elsewhere, in several forms
        )
    return sae


def _elsewhere(name: str) -> type[SparseAutoencoder] | None:
    """Find a class that is read, fitted or a study's, by the name it is saved under."""
    from sae_nb.classical import ITDA, Classical, SemiNMF
    from sae_nb.interop import IMPORTED

    known = {**IMPORTED, **{cls.__name__: cls for cls in (Classical, ITDA, SemiNMF)}}
    found = known.get(name) or offered_by_a_study(name)
    return found if isinstance(found, type) and issubclass(found, SparseAutoencoder) else None


def _located(folder_or_name: str | Path) -> Path | None:
    """Return the folder of a path or a name; None for the name of a published SAE."""
    if not isinstance(folder_or_name, str | PathLike):
        raise TypeError(f"`folder_or_name` must be a folder or a name, got {folder_or_name!r}.")
    folder = check_path(folder_or_name, name="folder_or_name")
    recover(folder)
    if folder.is_dir():
        return existing_folder(folder)
    if _is_one_file(folder):
        return folder
    if isinstance(folder_or_name, str) and folder_or_name.startswith("hf:"):
        from sae_nb.interop._detection import hub_sae

        return hub_sae(folder_or_name)
    bundled = bundled_folder(folder_or_name) if isinstance(folder_or_name, str) else None
    if bundled is None and not folder.is_file() and isinstance(folder_or_name, str):
        from sae_nb.interop._published import is_published

        if is_published(folder_or_name):
            return None
    if bundled is None:
        _refuse_file(folder)
    return bundled


def _is_one_file(path: Path) -> bool:
    """Whether a file is a whole SAE by the rules of its library, and no pickle."""
    if not path.is_file() or path.suffix in _PICKLES:
        return False
    from sae_nb.interop._detection import reader_of

    return reader_of(path) is not None


def _of_another_library(folder: Path) -> SparseAutoencoder:
    from sae_nb.interop._detection import known_layouts, reader_of

    reader = reader_of(folder)
    if reader is not None:
        return reader(folder)
    several = list(islice(_saes_in(folder), N_LISTED + 1))
    if several:
        listed = ", ".join(str(path.relative_to(folder)) for path in several[:N_LISTED])
        more = " and more" * (len(several) > N_LISTED)
        raise ValueError(
            f"{str(folder)!r} must be the folder of one SAE, and holds several: {listed}{more}. Load one of "
            f"them: sn.load_sae({str(several[0])!r})."
        )
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    content = f" It holds {pickles[0]!r}, a pickle, which is never opened." if pickles else ""
    raise ValueError(
        f"{str(folder)!r} must be a folder written by sae.save, with a manifest.json, and has none."
        f"{content} Folders of other libraries are known by their files: {known_layouts()}. Pass another "
        "folder."
    )


def _saes_in(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Yield the SAEs in a folder and below, by name: folders, and files that are one each."""
    from sae_nb.interop._detection import reader_of

    for path in sorted(folder.iterdir(), key=lambda one: _by_number(one.name)):
        if path.is_file():
            if _is_one_file(path):
                yield path
        elif path.is_dir():
            if reader_of(path) is not None or _is_ours(path):
                yield path
            elif depth > 1:
                yield from _saes_in(path, depth - 1)


def _by_number(name: str) -> list[str]:
    """Names with numbers in their order: layer_2 before layer_10."""
    return [f"{int(part):09d}" if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _is_ours(folder: Path) -> bool:
    file = folder / MANIFEST
    return file.is_file() and json_object(file).get("kind") == KIND


def _refuse_file(path: Path) -> NoReturn:
    if path.is_file() and path.suffix in _PICKLES:
        raise ValueError(
            f"`folder_or_name` must be a folder, got {str(path)!r}, which by its name is a pickle: it "
            "could run code and is never opened. Convert it with safetensors."
        )
    if path.is_file():
        raise FileNotFoundError(
            f"`folder_or_name` must be a folder, got the file {str(path)!r}. Pass its folder, "
            f"{str(path.parent)!r}."
        )
    from sae_nb.interop._published import near_releases

    near = near_releases(path.as_posix())
    raise FileNotFoundError(
        f"No folder {str(path)!r}, and no pretrained SAE of that name. Pass the folder that "
        f"sae.save(…) wrote, or one of {near_names(path.as_posix())}."
        + f" Published releases of such a name: {near}; sn.published() lists them."
        * bool(near)
    )


# -------------------------------------------------------------------------------------------------
# The first activations that an SAE reads of a model that comes from elsewhere: is it made for them?


ROWS_LOOKED_AT = 256
"""Enough to see an R² below `POOR`, and no delay: a hundredth of a second at GPT-2's size. Ours."""

ROWS_NEEDED = 16
"""Fewer rows say too little: the next that come are looked at. Ours."""

SMALLER = (1 / 2, 1 / 4, 1 / 8)
"""Scales that are tried. No larger ones: what has thresholds explains more of larger activations, whatever it
was trained on. Ours."""

SHOWN = 0.01
"""Difference of R² from which another scale is spoken of: what two digits show. Ours."""

L0_FACTOR = 4.0
"""Ratio to the stated L0 from which a measured one is doubted: texts of another kind change it by two. Ours."""

CAUSES = (
    "Likely causes: a scale or a norm of activations that its file does not state, another hook point, a mean "
    "that was taken off in its training (centred weights), other weights of the model."
)


@misfit.answer
def warn_of_misfit(sae: Any, acts: Activations) -> None:
    """Warn if an SAE hardly explains activations, or with far more or fewer atoms than it states.

    With the model, `check_fit` finds out the cause.
    """
    origin = getattr(sae, "origin", None)
    by_name = getattr(origin, "release", None) if origin else bundled_name(sae)
    name = by_name or f"This SAE of {getattr(origin, 'library', 'another library')}"
    names, figures = list(_other_names(sae, acts)), _other_figures(sae, acts)
    if figures is None:
        sae.on_first_use = warn_of_misfit
    # What a file of one's own calls its model is no name that models here must have.
    if figures or (names and by_name):
        said = [name for name in ("notes", "unread") if getattr(origin, name, None)]
        notes = f" See {' and '.join(f'sae.origin.{name}' for name in said)}, too." if said else ""
        warn_caller(
            f"{name} may not fit these activations: "
            f"{'; '.join([*names, *(figures or ())])}. {CAUSES} sn.check_fit(model, sae) tries them.{notes}"
        )


def _other_names(sae: Any, acts: Activations) -> Iterator[str]:
    stated, here = sae.model_name, acts.model_name
    if stated and here and known_as(stated) != known_as(here):
        yield f"it is of {stated!r}, they are of {here!r}"
    places = (sae.hook_point, acts.hook_point)
    if None not in places and place_of(places[0]) != place_of(places[1]):
        yield f"it is of {str(places[0])!r}, they are of {str(places[1])!r}"


@torch.no_grad()
def _other_figures(sae: Any, acts: Activations) -> list[str] | None:
    """Say which figures are far from those of an SAE that fits; None where there are too few rows."""
    from sae_nb.evaluation import explained_variance
    from sae_nb.evaluation.report._fit import CLEARLY, POOR

    if sae.reads_sequences or sae.by_site or len(sae.sites) > 2:
        return []
    reads, writes = acts.sides
    numbers = torch.linspace(0, len(acts) - 1, min(len(acts), ROWS_LOOKED_AT)).long().tolist()
    x, y = (side.rows(numbers).to(sae.device, torch.float32) for side in (reads, writes))
    usual = ~massive(row_norms(x))  # of which one can hold most of the variance
    if int(usual.sum()) < ROWS_NEEDED:
        return None
    x, y = x[usual], y[usual]
    codes, figures = sae.encode(x), []
    if y.shape[1] == sae.d_out and (sae.writes is None or writes is not reads):
        r2, known = float(explained_variance(y, sae(x).float())), _stated(sae, "r2")
        if r2 < (POOR if known is None else min(POOR, known / 2)):
            figures.append(
                f"R² is {r2:.2f} on {len(x)} of them"
                + ("" if known is None else f", and was {known:.2f} where it was measured")
            )
        for by in SMALLER:
            fit = float(explained_variance(by * y, sae(by * x).float()))
            if fit >= POOR and fit - r2 > SHOWN and 1 - fit < CLEARLY * (1 - r2):
                figures.append(
                    f"R² is {r2:.2f} on {len(x)} of them and {fit:.2f} on {by:g} times them, so they are "
                    "larger than those of its training"
                )
                break
    l0, known = float(codes.l0.float().mean()), _stated(sae, "l0")
    known = None if known is None else min(known, sae.n_atoms)
    if known is not None and not known / L0_FACTOR <= l0 <= known * L0_FACTOR:
        figures.append(f"{l0:.1f} atoms fire on one, and its file states {known:g}")
    return figures


def _stated(sae: Any, figure: str) -> float | None:
    """Return a figure of an SAE, measured here or from its file; None without one."""
    known = (sae.measured or {}).get(figure)
    if known is None and hasattr(sae, "origin"):
        name = {"r2": "explained variance"}.get(figure, figure)
        encoding = getattr(sae, "encoding", None)
        k = None if encoding is None or figure != "l0" else (encoding.k or encoding.batch_k)
        known = sae.origin.stated.get(name, k)
    return known or None
