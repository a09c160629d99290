"""Published Jacobian lenses: the `.pt` of the reference implementation, read as tensors alone, and written.

`{"J": {layer: (d, d) fp16}, "n_prompts", "source_layers", "d_model", …}`, as jlens (anthropics/jacobian-lens,
Apache-2.0) saves them and `neuronpedia/jacobian-lens` publishes them for many models, under
`<model>/jlens/<corpus>/<model>_jacobian_lens.pt`. A fit that is under way has sums and `n_done` in place of
means. They are fitted on raw activations of Hugging Face models, as ours are, without the first 16 tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sae_nb.checks import checked
from sae_nb.files import free_folder, replacing
from sae_nb.interop._detection import local_copy
from sae_nb.interop._foreign import read_keyed
from sae_nb.lenses import Lens

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

REPOSITORY = "neuronpedia/jacobian-lens"
_SUFFIX = "_jacobian_lens.pt"
_SKIPPED = 16


@checked
def read_jacobian_lens(path: str | Path, model: LiveModel | None = None) -> Lens:
    """Read a Jacobian lens that the reference implementation saved, or a fit of it that is under way.

    Parameters
    ----------
    path
        The `.pt` file. Only tensors and plain values are read from it.
    model
        The model to attach it to; the file states no model. None: `lens.on(model)` does so later.

    Raises
    ------
    FileNotFoundError: If it is not there.
    ValueError: If it holds something else, or the model has other blocks or another width.

    Example
    -------
    >>> import tempfile, sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> lens = sn.fit_lens(gpt, ["Once there was a small dog."], layers=[2], progress=False)
    >>> path = tempfile.mkdtemp() + "/tiny-gpt_jacobian_lens.pt"
    >>> write_jacobian_lens(lens, path)
    >>> read_jacobian_lens(path).layers
    (2,)
    """
    path = Path(path)
    content = read_keyed(path)
    summed = content.get("J_sum", content.get("jacobian_sums")) if "J" not in content else None
    held = content.get("J") if summed is None else summed
    if not isinstance(held, dict) or not held:
        raise ValueError(
            f"{str(path)!r} must hold Jacobians by layer under 'J', and holds {sorted(map(str, content))}. "
            "Pass a file of the jlens library."
        )
    maps = {int(layer): matrix.float() for layer, matrix in held.items()}
    n = int(content.get("n_prompts") or content.get("n_done") or 0)
    wanted = n
    if summed is not None:
        n = int(content.get("n_done") or n)
        maps = {layer: matrix / max(n, 1) for layer, matrix in maps.items()}
        wanted = max(int(content.get("n_prompts") or 0), n + 1)
    layers = tuple(sorted(maps))
    shapes = {tuple(matrix.shape) for matrix in maps.values()}
    d = maps[layers[0]].shape[-1]
    if shapes != {(d, d)}:
        raise ValueError(
            f"{str(path)!r} must hold square matrices of one width, got shapes {sorted(shapes)}."
        )
    if not all(bool(matrix.isfinite().all()) for matrix in maps.values()):
        raise ValueError(f"{str(path)!r} must hold finite numbers, and does not. Fit it again.")
    lens = Lens(
        kind="jacobian",
        layers=layers,
        n_layers=max(layers) + 2 if model is None else model.n_layers or 0,
        places=("token",),
        counts=(1,),
        d=d,
        maps=torch.stack([maps[layer] for layer in layers])[:, None],
        model_name=path.name.removesuffix(_SUFFIX),
        skip_first=int(content.get("skip_first_positions") or _SKIPPED),
        n_done=n,
        n_wanted=wanted,
        facts={"file": path.name},
    )
    return lens if model is None else lens.on(model)


@checked
def write_jacobian_lens(lens: Lens, path: str | Path) -> None:
    """Write a Jacobian lens of a language model as the reference implementation saves it, in fp16.

    Raises
    ------
    ValueError: If it is of another kind, or of images.
    FileExistsError: If there is a file of that name.
    """
    if lens.kind != "jacobian" or lens.places != ("token",) or lens.maps is None:
        raise ValueError(
            f"`lens` must be a Jacobian lens of a language model for this format, got {lens!r}. Use "
            "lens.save(folder)."
        )
    path = free_folder(path)
    largest = float(lens.maps.abs().max())
    if largest > torch.finfo(torch.float16).max:
        raise ValueError(
            f"`lens` must have numbers that fp16 holds, below 65504, got {largest:.0f}. Use lens.save(folder)."
        )
    content: dict[str, Any] = {
        "J": {layer: lens.maps[i, 0].half().clone() for i, layer in enumerate(lens.layers)},
        "n_prompts": lens.n_done,
        "source_layers": list(lens.layers),
        "d_model": lens.d,
        "skip_first_positions": lens.skip_first,
    }
    with replacing(path) as partial:
        torch.save(content, partial)


def published_lens(name: str, model: LiveModel | None) -> Lens:
    """Return a published lens by the model's name there, from the hub's cache, else fetched.

    Raises
    ------
    FileNotFoundError: If there is none of that name, or it is not within reach.
    """
    pattern = f"{name}/jlens/*/*{_SUFFIX}"
    folder = local_copy(
        name, REPOSITORY, None, [pattern], is_whole=lambda there: any(there.glob(pattern))
    )
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(
            f"{REPOSITORY!r} has no lens of {name!r}. Look at the folders of that repository, or fit one: "
            "sn.fit_lens(model, texts)."
        )
    return read_jacobian_lens(found[0], model)
