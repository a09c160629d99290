"""Every kind of file we read: how one is made, how it is opened, and what is in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.sessions import Annotations, save_session


@dataclass(frozen=True)
class FileKind:
    """One kind of folder or file."""

    name: str

    make: Callable[[Path], None]
    """Write one under this path."""

    read: Callable[[Path], Any]
    """Open it and give back all that is in it, as plain values and tensors."""

    checksums: bool = True
    """Whether damage is always noticed; a foreign file may hold any numbers."""


def sae(seed: int = 0) -> sn.TopK:
    """A small one."""
    made = sn.TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(seed))
    made.hook_point = "resid_post.0"
    return made


def rows(n: int = 40) -> Tensor:
    """Rows with one large value now and then."""
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1))


def _of_sae(found: Any) -> Any:
    settings = found.settings()
    return [settings, {name: value.clone() for name, value in found.state_dict().items()}]


def _make_activations(path: Path) -> None:
    sn.Activations.from_tensor(rows(), hook_point="resid_post.0").save(path)


def _read_activations(path: Path) -> Any:
    found = sn.load_activations(path)
    return [found.x[:].clone(), found.hook_point]


def _make_session(path: Path) -> None:
    panels = {"browser": {"atom": 3, "search": "مرحبا"}}
    save_session(path, sae(), panels=panels, recipes=({"atom": 3, "strength": 2.0},), atom=3)


def _read_session(path: Path) -> Any:
    found = sn.open_session(path)
    return [found.panels, list(found.recipes), found.atom, dict(found.labels)]


def _make_annotations(path: Path) -> None:
    path.mkdir()
    Annotations(path, sae()).write(3, "seven", note="a note")


def _read_annotations(path: Path) -> Any:
    found = Annotations(path, sae())
    return [(atom, found.label(atom), found.note(atom)) for atom in found]


def _train(path: Path, steps: int) -> sn.TrainResult:
    config = sn.TrainConfig(steps=steps, batch_size=8, checkpoint=path, log_every=2)
    return sn.train(sae(), rows(), config, progress=False)


def _read_checkpoint(path: Path) -> Any:
    # The run is finished: it returns what the checkpoint holds, without a step.
    copy = path.with_name(path.name + "-open")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    found = _train(copy, 4)
    return [_of_sae(found.sae), [r.loss for r in found.history]]


def _make_codes(path: Path) -> None:
    sae().encode(rows()).save(path)


def _read_codes(path: Path) -> Any:
    found = sn.SparseCodes.load(path)
    return [found.values, found.atoms, found.offsets, found.n_atoms, tuple(found.shape)]


def _sweep(path: Path) -> Any:
    config = sn.TrainConfig(steps=4, batch_size=8)
    sizes: dict[str, Any] = {"n_atoms": 8, "settings": {"k": [2]}, "seeds": [0]}
    return sn.sweep(rows(), ["TopK"], **sizes, config=config, folder=path, progress=False)


def _read_sweep(path: Path) -> Any:
    (row,) = _sweep(path).rows
    return [row.name, row.measured, _of_sae(row.sae)]


def _make_raptor(path: Path) -> None:
    from sae_nb_studies.dynamics import Raptor

    Raptor.from_model(sn.load_model("tiny-vit"), cuts=(0, 6, 12)).save(path)


def _read_raptor(path: Path) -> Any:
    from sae_nb_studies.dynamics import Raptor

    return dict(Raptor.load(path).state_dict())


def _make_saelens(path: Path) -> None:
    from sae_nb.interop import write_saelens

    write_saelens(sae(), path)


OURS = [
    FileKind("sae", lambda path: sae().save(path), lambda path: _of_sae(sn.load_sae(path))),
    FileKind("activations", _make_activations, _read_activations),
    FileKind("checkpoint", lambda path: _train(path, 4) and None, _read_checkpoint),
    FileKind("codes", _make_codes, _read_codes),
    FileKind("session", _make_session, _read_session),
    FileKind("annotations", _make_annotations, _read_annotations),
    FileKind("sweep", lambda path: _sweep(path) and None, _read_sweep),
    FileKind("raptor", _make_raptor, _read_raptor),
    FileKind("saelens", _make_saelens, lambda path: _of_sae(sn.load_sae(path)), checksums=False),
]


def same(a: Any, b: Any) -> bool:
    """Whether two contents are equal to the last bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
