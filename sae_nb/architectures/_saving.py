"""An SAE as a folder of safetensors, JSON and a manifest, never a pickle; and the record of its upload."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sae_nb._hooks import Hook
from sae_nb.files._atomic import MANIFEST, new_folder, read_json, write_json, write_manifest
from sae_nb.files._exchange import place
from sae_nb.files._locks import holding_folder
from sae_nb.files._streams import Stream, write_streams
from sae_nb.files._tensors import write_tensors

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.activations import Activations
    from sae_nb.activations._positions import PositionPolicy
    from sae_nb.architectures._base import SparseAutoencoder

KIND = "sae"
WEIGHTS, CONFIG = "sae.safetensors", "config.json"
P99 = "strength_p99"
"""Attribute of an SAE that knows how strongly its atoms fire, which is a unit of `steer`."""
MEASURED, TARGET, POLICY = "measured", "target_hook_point", "position_policy"

misfit: Hook[[Any, Activations], None] = Hook("misfit")
"""(sae, its first activations): warns if they do not go together; for `on_first_use` of what a file holds."""

_OF_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".json")


class Provenance:
    """What is known of an SAE next to its weights, and is written next to them."""

    hook_point: str | None = None
    """Where the activations it reads were captured, once known."""

    target_hook_point: str | None = None
    """Where what it writes was captured; None where that is what it reads, and before it is known."""

    model_name: str | None = None
    """The model they came from, once known."""

    position_policy: PositionPolicy | None = None
    """The positions of its inputs that it is for: those that the activations it was trained on were of. None
    where that is not known: the default of `capture` then holds in a running model."""

    folder: Path | None = None
    """Folder it was last saved to or read from; labels and notes are kept there."""

    measured: Mapping[str, float] | None = None
    """R² ("r2"), mean L0 ("l0") and share of dead atoms ("dead_fraction"), as last measured: by the end
    of its training, or on held-out samples for a pretrained one; None before that. After a training also
    "steps", those done, and where it was cut short "of_steps", those asked for."""

    on_first_use: Callable[[Any, Activations], None] | None = None
    """Called once with the SAE and the first captured activations that it reads."""

    @property
    def looks(self) -> bool:
        """Whether it looks at captured activations before it reads them."""
        return self.on_first_use is not None

    def look_at(self, acts: Activations) -> None:
        """See captured activations before the first codes of them; see `on_first_use`."""
        look, self.on_first_use = self.on_first_use, None
        if look is not None:
            look(self, acts)


def place_to_save(folder: str | Path) -> Path:
    """Return the folder if an SAE may be saved there."""
    folder = place(folder)
    if folder.suffix in _OF_FILES and not folder.is_dir():
        raise ValueError(
            f"An SAE is saved as a folder: weights, settings, and labels next to them. Got "
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
    # Held, so that a label another kernel writes meanwhile goes to the old folder before what is next to the
    # SAE is kept, or to the new one. Labels go on changing, and are not part of the manifest.
    with (
        holding_folder(folder) if replace else nullcontext(),
        new_folder(folder, replace=replace) as partial,
    ):
        _write(sae, partial, tensors=tensors)
        write_manifest(partial, KIND, architecture=type(sae).__name__)
    sae.folder = folder


@contextmanager
def sae_folder(
    sae: SparseAutoencoder,
    folder: Path,
    *,
    matrices_as: torch.dtype | None = None,
    part_bytes: int | None = None,
) -> Iterator[Path]:
    """Write an SAE to a folder together with what the block puts next to it, such as examples and a card.

    The folder appears, or replaces the one before, when the block has ended; an error leaves it as it was.

    Parameters
    ----------
    matrices_as
        A narrower format of weights; torch.int8 keeps a scale for every row. None: as they are.
    part_bytes
        Weights in several files of at most this size, where a site takes no larger ones. None: one file.

    Yields
    ------
    Path
        The unfinished folder, where the SAE is already.

    Example
    -------
    >>> from tempfile import TemporaryDirectory
    >>> import sae_nb as sn
    >>> with TemporaryDirectory() as parent:
    ...     with sae_folder(sn.TopK(4, 8, k=2), Path(parent) / "sae") as unfinished:
    ...         size = (unfinished / "README.md").write_text("Of nothing yet.")
    ...     sn.load_sae(Path(parent) / "sae").n_atoms
    8
    """
    with new_folder(folder, replace=folder.is_dir()) as partial:
        _write(sae, partial, matrices_as=matrices_as, part_bytes=part_bytes)
        yield partial
        write_manifest(partial, KIND, architecture=type(sae).__name__)


def _write(
    sae: SparseAutoencoder,
    folder: Path,
    *,
    matrices_as: torch.dtype | None = None,
    part_bytes: int | None = None,
    tensors: Mapping[str, Tensor | Stream] | None = None,
) -> None:
    """Write the two files of an SAE into a folder that the caller seals with a manifest.

    `matrices_as`: a narrower format; torch.int8 keeps a scale for every row. `part_bytes`: see `write_tensors`.
    """
    state = sae.state_dict()
    if matrices_as is not None:
        state = _narrowed(state, matrices_as)
    if tensors is None:
        write_tensors(folder / WEIGHTS, state, part_bytes=part_bytes)
    else:
        write_streams(folder / WEIGHTS, tensors)
    later = sae.later_settings
    config: dict[str, Any] = {
        "architecture": type(sae).__name__,
        "settings": {n: v for n, v in sae.settings().items() if n not in later or later[n] != v},
        "hook_point": None if sae.hook_point is None else str(sae.hook_point),
        "model_name": sae.model_name,
        "dtype": str(sae.dtype).removeprefix("torch."),
    }
    if sae.target_hook_point is not None:
        config[TARGET] = str(sae.target_hook_point)
    if sae.position_policy is not None:
        config[POLICY] = sae.position_policy.stated()
    if sae.measured is not None:
        config[MEASURED] = {n: v for n, v in sae.measured.items() if math.isfinite(v)}
    known = getattr(sae, P99, None)
    if known is not None:
        config[P99] = [float(f"{value:.6g}") for value in torch.as_tensor(known).tolist()]
    write_json(folder / CONFIG, config)


LEVELS = 127
SCALE = ".row_scale"
"""Largest level of eight bits; after a matrix's name, what one level of each of its rows is worth."""


def _narrowed(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    narrow: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            narrow[name] = tensor
        elif dtype == torch.int8:
            scale = (
                tensor.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(tensor.dtype).tiny)
                / LEVELS
            )
            narrow |= {name: (tensor / scale).round().to(torch.int8), name + SCALE: scale}
        else:
            narrow[name] = tensor.to(dtype)
    return narrow


def widened(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file with its rows of eight bits as floats."""
    return {
        name: tensor * stored[name + SCALE] if name + SCALE in stored else tensor
        for name, tensor in stored.items()
        if not name.endswith(SCALE)
    }


def _check_is_sae(folder: Path) -> None:
    manifest = folder / MANIFEST
    kind = read_json(manifest).get("kind") if manifest.is_file() else None
    if kind != KIND:
        raise FileExistsError(
            f"{str(folder)!r} must be new or hold an SAE, got "
            f"{'a folder of other files' if kind is None else f'{kind!r}'}. Choose another name."
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Upload:
    """The upload to the hub, or a preview of it; made by `push_to_hub`."""

    repo: str
    """"owner/name"."""

    inside: str
    """Folder in the repository; empty for the repository itself."""

    folder: Path
    """Folder of the upload; after a real upload without `folder=` it is gone."""

    files: DataFrame
    """Columns file and bytes."""

    card: str
    """The text of the model card."""

    url: str | None
    """Of the commit; None where nothing was sent."""

    def __repr__(self) -> str:
        size = int(self.files["bytes"].sum()) / 1e6
        what = f"{len(self.files)} files, {size:.2f} MB"
        where = f"hf:{'/'.join(filter(None, (self.repo, self.inside)))}"
        done = f"not sent; it lies in {str(self.folder)!r}" if self.url is None else self.url
        return f"Upload({what} for {where}: {done})"
