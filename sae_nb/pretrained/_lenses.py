"""load_lens: a lens from a folder of ours, from the shelf, from a published file, or published by name."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from sae_nb.checks import check_path, checked
from sae_nb.files._exchange import recover
from sae_nb.lenses._files import read_lens

if TYPE_CHECKING:
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

LENSES = Path(__file__).parent / "lenses"
"""Lenses of bundled models, in a folder of the model's name."""


def lens_names() -> list[str]:
    """Return the bundled models that have a lens on the shelf."""
    return sorted(file.parent.name for file in LENSES.glob("*/manifest.json"))


@checked(leave=("folder_or_name",))
def load_lens(folder_or_name: str | Path, model: LiveModel | None = None) -> Lens:
    """Read a lens, and attach it to a model.

    Parameters
    ----------
    folder_or_name
        A folder that `lens.save` or a fit wrote, also one that was interrupted; the name of a bundled model
        that has one ("tiny-gpt", "tiny-audio"); a file `…_jacobian_lens.pt` of the reference
        implementation; or the name of a published lens, such as "gpt2-small", from
        `neuronpedia/jacobian-lens` in the hub's cache or, where that has it not, fetched. A folder or file
        comes first.
    model
        The model that it reads. None: a bundled one is loaded when it is needed; attach any other with
        `lens.on(model)`.

    Raises
    ------
    FileNotFoundError: If there is neither such a folder nor such a name.
    ValueError: If a file was cut short or altered, or the lens is of another model: other blocks, width,
        name and weights.

    Example
    -------
    >>> import tempfile, sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> folder = tempfile.mkdtemp() + "/lens"
    >>> sn.fit_lens(gpt, ["The cat sat in the garden."], kind="logit", progress=False).save(folder)
    >>> load_lens(folder, gpt)
    Lens(logit of tiny-gpt: blocks 0 … 2 of 4)
    """
    if not isinstance(folder_or_name, str | PathLike):
        raise TypeError(f"`folder_or_name` must be a folder or a name, got {folder_or_name!r}.")
    path = check_path(folder_or_name, name="folder_or_name")
    recover(path)
    if path.is_file():
        if path.suffix != ".pt":
            raise ValueError(
                f"`folder_or_name` must be a folder or a `.pt` of the reference implementation, got the file "
                f"{str(path)!r}. Pass its folder, {str(path.parent)!r}."
            )
        from sae_nb.interop import read_jacobian_lens

        return read_jacobian_lens(path, model)
    if not path.is_dir() and str(folder_or_name) in lens_names():
        path = LENSES / str(folder_or_name)
    if path.is_dir():
        lens = read_lens(path)
        return lens if model is None else lens.on(model)
    name = str(folder_or_name)
    if "/" in name or path.is_absolute():
        raise FileNotFoundError(
            f"No folder {name!r}. Pass the folder that lens.save(…) wrote, one of {lens_names()}, or the "
            "name of a published lens."
        )
    from sae_nb.interop._jacobian_lens import published_lens

    return published_lens(name, model)
