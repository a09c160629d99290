"""A Raptor in training on disk: weights, moments, step and records, verified when read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.dynamics.raptor_config import OWN_BUSINESS
from sae_nb.files import new_folder, read_tensors, write_json, write_manifest, write_tensors
from sae_nb.fingerprints import inputs_digest
from sae_nb.swapping import remove_folder
from sae_nb.training.checkpoint import KIND, POINTER, load_checkpoint, without_place
from sae_nb.training.records import Change, load_history

if TYPE_CHECKING:
    from sae_nb.dynamics.raptor_loop import RaptorTraining


def save_raptor_checkpoint(folder: Path, training: RaptorTraining) -> None:
    """Write one checkpoint, whole or not at all, then remove those before it.

    Parameters
    ----------
    folder
        Of all checkpoints of this run.
    training
        Between two steps.
    """
    name = f"step-{training.step:08d}"
    with new_folder(folder / name, replace=True) as partial:
        write_json(partial / "state.json", _facts(training))
        write_tensors(partial / "raptor.safetensors", training.raptor.state_dict())
        write_tensors(partial / "optimiser.safetensors", _moments(training))
        write_manifest(partial, KIND, step=training.step)
    write_json(folder / POINTER, {"kind": KIND, "latest": name})
    for older in folder.glob("step-*"):
        if older.name != name:
            remove_folder(older)


def load_raptor_checkpoint(folder: Path, training: RaptorTraining) -> None:
    """Put a checkpoint's tensors and numbers back; nothing happens where there is none.

    Raises
    ------
    ValueError, FileNotFoundError
        If it is of other states, cuts or settings, damaged or cut short.
    """
    found = load_checkpoint(folder)
    if found is None:
        return
    path, facts = found
    _check_same(facts, training, path)
    training.raptor.load_state_dict(read_tensors(path / "raptor.safetensors"))
    _load_moments(training, read_tensors(path / "optimiser.safetensors"))
    training.step, training.seconds = facts["step"], facts["seconds"]
    training.peak = facts["peak"]
    training.history[:] = load_history(facts["history"])
    training.changes = [Change(**change) for change in facts["changes"]]


def _facts(training: RaptorTraining) -> dict[str, Any]:
    return {
        "step": training.step,
        "seconds": training.seconds,
        "peak": training.peak,
        "config": without_place(training.config.to_json()),
        "identity": _identity(training),
        "history": [record.to_json() for record in training.history],
        "changes": [asdict(change) for change in training.changes],
    }


def _identity(training: RaptorTraining) -> dict[str, Any]:
    return {
        "states": inputs_digest(training.states, "other"),
        "shape": list(training.states.shape),
        "cuts": list(training.raptor.cuts),
        "sizes": asdict(training.raptor.sizes),
    }


def _check_same(facts: dict[str, Any], training: RaptorTraining, path: Path) -> None:
    here = {
        name: value for name, value in training.config.to_json().items() if name not in OWN_BUSINESS
    }
    pairs = [(facts.get("config", {}), here), (facts.get("identity", {}), _identity(training))]
    different = [
        f"{name} was {saved.get(name)!r}, this call has {value!r}"
        for saved, now in pairs
        for name, value in now.items()
        if saved.get(name) != value
    ]
    if different:
        raise ValueError(
            f"A checkpoint is continued only by the same run, but in {str(path)!r}"
            f" {'; '.join(different)}. Use the same settings, another `checkpoint` folder, or"
            " `resume=False` to start afresh."
        )


def _moments(training: RaptorTraining) -> dict[str, Tensor]:
    return {
        f"{i}.{name}": value
        for i, parameter in enumerate(training.parameters)
        for name, value in training.optimiser.state[parameter].items()
    }


def _load_moments(training: RaptorTraining, moments: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    saved = training.optimiser.state_dict()
    training.optimiser.load_state_dict(saved | {"state": state})
