"""Checkpoints a killed training run continues from exactly: tensors first, then the JSON on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sae_nb.files import read_json, read_tensors, write_json, write_tensors

CHECKPOINT_FILE = "checkpoint.json"


def save_run(
    folder: Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    record: Mapping[str, Any],
) -> None:
    """Write a checkpoint; the JSON goes last and names the tensors that belong to it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}.{name}": p for name, p in module.named_parameters()}
    for name, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
    file = f"step-{step}.safetensors"
    write_tensors(folder / file, tensors)
    write_json(folder / CHECKPOINT_FILE, {**record, "step": step, "file": file})
    for old in folder.glob("step-*.safetensors"):
        if old.name != file:
            old.unlink()


def read_record(folder: Path) -> dict[str, Any]:
    """What a checkpoint says about its run."""
    return dict(read_json(folder / CHECKPOINT_FILE))


@torch.no_grad()
def restore_run(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Put a checkpoint's tensors back into the same modules and optimisers."""
    tensors = read_tensors(folder / read_record(folder)["file"])
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            parameter.copy_(tensors[f"{prefix}.{name}"])
    for name, optimiser in optimisers.items():
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": _state_of(name, tensors), "param_groups": groups})


def _state_of(optimiser: str, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        owner, _, rest = key.partition(".")
        if owner == optimiser:
            index, _, field = rest.partition(".")
            state.setdefault(int(index), {})[field] = value
    return state
