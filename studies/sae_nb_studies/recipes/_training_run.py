"""A training run of a small model by a recipe: its optimisers, its loop, what a killed run continues from."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sae_nb.files import read_json, read_tensors, write_json, write_tensors
from sae_nb.interrupts import ending_with
from sae_nb_studies._muon import Muon

CHECKPOINT_FILE = "checkpoint.json"
_PEAKS = {"muon": "muon_learning_rate", "adamw": "adam_learning_rate"}


class Run(ABC):
    """Everything a step changes: the modules, the optimisers, the counters.

    Muon moves the matrices inside the blocks, AdamW the rest.
    """

    settings_key = "recipe"  # under which a checkpoint keeps the recipe
    free = frozenset({"log_every"})  # settings that leave every step as it is

    model: Any
    modules: dict[str, nn.Module]
    parameters: list[nn.Parameter]
    optimisers: dict[str, torch.optim.Optimizer]

    def __init__(self, recipe: Any, data: str) -> None:
        self.recipe, self.data, self.step, self.seconds = recipe, data, 0, 0.0
        self.loss = float("nan")

    def _optimise_blocks(self, inside: str) -> None:
        """Optimise all of the model: the matrices of parts so called by Muon; vectors do not decay."""
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.modules, self.parameters = {"model": self.model}, list(named.values())
        matrices = {n: p for n, p in named.items() if inside in n and p.ndim == 2}
        rest = [p for n, p in named.items() if n not in matrices]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2]},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimise(list(matrices.values()), groups)

    def _optimise(self, inside: list[nn.Parameter], rest: Any) -> None:
        decay = self.recipe.weight_decay
        self.optimisers = {
            "muon": Muon(inside, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            "adamw": torch.optim.AdamW(rest, weight_decay=decay, betas=(0.9, 0.99)),
        }

    @abstractmethod
    def _loss(self, batch: Any) -> Tensor:
        """Return the loss that the step lowers."""

    def train(
        self,
        batch_at: Callable[[int], Any],
        checkpoint: Path,
        log: Callable[[], None],
        *,
        resume: bool,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        """Take all steps, or those a killed run has left; `after` is called behind each."""
        if resume and (checkpoint / CHECKPOINT_FILE).exists():
            self.restore(checkpoint)
        with ending_with(partial(self._left, checkpoint)), torch.random.fork_rng(devices=[]):
            while self.step < self.recipe.steps:
                began = time.perf_counter()
                self.model.train()
                self.advance(batch_at(self.step))
                self.seconds += time.perf_counter() - began
                if self.step % self.recipe.log_every == 0 or self.step == self.recipe.steps:
                    log()
                    self.save(checkpoint)
                after()

    def _left(self, checkpoint: Path) -> tuple[str, None]:
        """Tell what an interrupted run has left: its checkpoint, from which resuming is exact."""
        text = f"Training was interrupted after step {self.step} of {self.recipe.steps}. "
        if not (checkpoint / CHECKPOINT_FILE).exists():
            return text + "There is no checkpoint yet; nothing is kept.", None
        kept = read_json(checkpoint / CHECKPOINT_FILE)["step"]
        return text + f"With --resume it goes on from step {kept} ({str(checkpoint)!r}).", None

    def advance(self, batch: Any) -> None:
        """Take one optimiser step."""
        r = self.recipe
        # What is dropped is drawn from a seed of this step alone: nothing to restore on resume.
        torch.manual_seed(r.seed * 1_000_003 + self.step)
        rise = min(1.0, (self.step + 1) / r.warmup_steps)
        fall = min(1.0, (r.steps - self.step) / r.decay_steps)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = getattr(r, _PEAKS[name]) * rise * fall
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.loss = float(loss.detach())

    def facts(self, loaded: nn.Module) -> dict[str, Any]:
        """Return the facts of every card: about the run, and about the model reloaded from its file."""
        return {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "minutes": round(self.seconds / 60, 1),
            "threads": torch.get_num_threads(),
            "last_training_loss": round(self.loss, 4),
            "parameters": sum(p.numel() for p in loaded.parameters()),
            "seed": self.recipe.seed,
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
        }

    def save(self, folder: Path) -> None:
        """Write a checkpoint; the JSON goes last and names the tensors that belong to it."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for prefix, module in self.modules.items():
            tensors |= {f"{prefix}.{name}": p for name, p in module.named_parameters()}
        for name, optimiser in self.optimisers.items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        file = f"step-{self.step}.safetensors"
        write_tensors(folder / file, tensors)
        record = {
            self.settings_key: asdict(self.recipe),
            "data": self.data,
            "seconds": self.seconds,
            "loss": self.loss if self.step else None,
            "step": self.step,
            "file": file,
        }
        write_json(folder / CHECKPOINT_FILE, record)
        for old in folder.glob("step-*.safetensors"):
            if old.name != file:
                old.unlink()

    @torch.no_grad()
    def restore(self, folder: Path) -> None:
        """Continue from a checkpoint of the same recipe."""
        record = dict(read_json(folder / CHECKPOINT_FILE))
        begun = {**record[self.settings_key], "data": record["data"]}
        given = {**asdict(self.recipe), "data": self.data}
        decaying = record["step"] > min(r["steps"] - r["decay_steps"] for r in (begun, given))
        free = self.free if decaying else self.free | {"steps", "decay_steps"}
        if any(given[name] != begun.get(name) for name in given.keys() - free):
            raise ValueError(
                f"A run must continue with the recipe it was begun with, {begun}, got {given}."
                " Give the same options, or another folder to begin again."
            )
        tensors = read_tensors(folder / record["file"])
        for prefix, module in self.modules.items():
            for name, parameter in module.named_parameters():
                parameter.copy_(tensors[f"{prefix}.{name}"])
        for name, optimiser in self.optimisers.items():
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": _state_of(name, tensors), "param_groups": groups})
        self.step, self.seconds = int(record["step"]), float(record["seconds"])
        self.loss = float("nan") if record["loss"] is None else float(record["loss"])


def _state_of(optimiser: str, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        owner, _, rest = key.partition(".")
        if owner == optimiser:
            index, _, field = rest.partition(".")
            state.setdefault(int(index), {})[field] = value
    return state
