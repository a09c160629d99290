"""Published Jacobian lenses: the `.pt` of the reference implementation, read as tensors alone, and written.

A finished lens is `{"J": {layer: (d, d) fp16}, "n_prompts", "source_layers", "d_model"}`, as jlens
(anthropics/jacobian-lens, Apache-2.0; `jlens/lens.py`) saves it; TransformerLens 4.3 adds its own facts under
"metadata". A checkpoint of a fit is `{"jacobian_sum": {layer: (d, d) fp32}, "n_done", "next_idx",
"source_layers"}`, in later versions with "target_layer" and "skip_first" (`jlens/fitting.py`); one or two of
the published files are such checkpoints. `neuronpedia/jacobian-lens` publishes lenses of many models under
`<model>/jlens/<corpus>/<model>_jacobian_lens.pt`, some as `…_jacobian_lens_n1000.pt`. They are fitted on raw
activations of Hugging Face models, as ours are, by the same formula, without the first 16 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sae_nb.checks import checked
from sae_nb.files._atomic import free_folder, replacing
from sae_nb.interop._detection import local_copy
from sae_nb.interop._foreign import read_keyed, states
from sae_nb.lenses import Lens
from sae_nb.lenses._files import bundled_model

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

REPOSITORY = "neuronpedia/jacobian-lens"
_NAME = re.compile(r"(.+)_jacobian_lens(?:_n(\d+))?\.pt")
_SKIPPED = 16


@checked
def read_jacobian_lens(path: str | Path, model: LiveModel | None = None) -> Lens:
    """Read a Jacobian lens that the reference implementation saved, or a checkpoint of its fit.

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
    facts = {**_facts_in(content.get("metadata")), **_facts_in(content)}
    running = "J" not in content
    held = content.get("jacobian_sum" if running else "J")
    if not isinstance(held, dict) or not held:
        raise ValueError(
            f"{str(path)!r} must hold Jacobians by layer under 'J', or their sums under 'jacobian_sum', and "
            f"holds {sorted(map(str, content))}. Pass a file of the jlens library."
        )
    n = int(facts.get("n_done" if running else "n_prompts") or 0)
    if running and n < 1:
        raise ValueError(
            f"{str(path)!r} must hold the sums of at least one prompt ('n_done'), got {n}. Continue that fit "
            "until its first prompt is done."
        )
    maps = {int(layer): matrix.float() / (n if running else 1) for layer, matrix in held.items()}
    layers = tuple(sorted(maps))
    shapes = {tuple(matrix.shape) for matrix in maps.values()}
    d = maps[layers[0]].shape[-1]
    if shapes != {(d, d)} or int(facts.get("d_model", d)) != d:
        raise ValueError(
            f"{str(path)!r} must hold square matrices of one width, {facts.get('d_model', d)}, got shapes "
            f"{sorted(shapes)}. It was altered; download it again."
        )
    if not all(bool(matrix.isfinite().all()) for matrix in maps.values()):
        raise ValueError(f"{str(path)!r} must hold finite numbers, and does not. Fit it again.")
    target, named = facts.get("target_layer"), _NAME.fullmatch(path.name)
    if target is not None and int(target) <= layers[-1]:
        raise ValueError(
            f"{str(path)!r} must be fitted to a block after those it reads, got block {target} and layers up "
            f"to {layers[-1]}. It was altered; download it again."
        )
    skipped = facts.get("skip_first", facts.get("skip_first_positions"))
    name = str(facts.get("model_name") or (named[1] if named else path.stem))
    lens = Lens(
        kind="jacobian",
        layers=layers,
        # The file states no number of blocks; `on` takes that of the model.
        n_layers=layers[-1] + 2 if target is None else int(target) + 1,
        places=("token",),
        counts=(1,),
        d=d,
        maps=torch.stack([maps[layer] for layer in layers])[:, None],
        model_name=name,
        opens=partial(bundled_model, name),
        skip_first=_SKIPPED if skipped is None else int(skipped),
        n_done=n,
        n_wanted=n + running,
        facts={"file": path.name, "blocks assumed": target is None}
        | ({"not read": unread} if (unread := _unread(content, layers)) else {}),
    )
    return lens if model is None else lens.on(model)


_READ = frozenset((
    "J", "jacobian_sum", "n_prompts", "n_done", "next_idx", "source_layers", "d_model", "target_layer",
    "skip_first", "skip_first_positions", "model_name", "metadata",
))  # fmt: skip


def _unread(content: Mapping[Any, Any], layers: tuple[int, ...]) -> list[str]:
    """Return names of what else the file states."""
    more = content.get("metadata")
    held = {**(more if isinstance(more, Mapping) else {}), **content}
    others = [str(n) for n, v in held.items() if n not in _READ and states(v)]
    stated = content.get("source_layers")
    agree = stated is None or sorted(stated) == list(layers)
    return others if agree else [*others, "source_layers"]


def _facts_in(content: object) -> dict[str, Any]:
    """Return the plain values of a mapping; nothing of anything else."""
    if not isinstance(content, Mapping):
        return {}
    return {
        str(name): value for name, value in content.items() if isinstance(value, str | int | float)
    }


@checked
def write_jacobian_lens(lens: Lens, path: str | Path) -> None:
    """Write a Jacobian lens of a language model as the reference implementation saves it, in fp16.

    Raises
    ------
    ValueError: If it is of another kind, of images, or of an encoder.
    FileExistsError: If there is a file of that name.
    """
    plain = lens.places == ("token",) and lens.stream is None and lens.slope is None
    if lens.kind != "jacobian" or not plain or lens.maps is None:
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
        "metadata": {"skip_first_positions": lens.skip_first, "target_layer": lens.n_layers - 1},
    }
    with replacing(path) as partial:
        torch.save(content, partial)


def published_lens(name: str, model: LiveModel | None) -> Lens:
    """Return a published lens by the model's name there, from the hub's cache, else fetched.

    Raises
    ------
    FileNotFoundError: If there is none of that name, or it is not within reach.
    """
    pattern = f"{name}/jlens/*/*_jacobian_lens*.pt"
    folder = local_copy(
        name, REPOSITORY, None, [pattern], is_whole=lambda there: any(there.glob(pattern))
    )
    named = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob(pattern))}
    found = {path: int(parts[2] or 0) for path, parts in named.items() if parts}
    if not found:
        raise FileNotFoundError(
            f"{REPOSITORY!r} has no lens of {name!r}. Look at the folders of that repository, or fit one: "
            "sn.fit_lens(model, texts)."
        )
    return read_jacobian_lens(max(found, key=lambda path: found[path]), model)
