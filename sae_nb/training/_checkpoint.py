"""Checkpoints of a training: always one whole one on disk, and none of another run taken up.

    folder/checkpoint.json      which of the folders below counts (replaced atomically)
    folder/step-00000200/       manifest.json, state.json, a file of tensors from each worker

Workers write their files into a hidden folder first. A new step folder is complete before
`checkpoint.json` names it, and only then is the old one removed, so processes killed at any moment leave
a checkpoint that can be read.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import safe_open

from sae_nb.checks import checked
from sae_nb.files._atomic import (
    json_object,
    new_folder,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)
from sae_nb.files._exchange import place, recover, remove_folder
from sae_nb.files._locks import Lock, hold_folder
from sae_nb.training._config import OWN_BUSINESS, TrainConfig
from sae_nb.training._parts import Part, file_name, part_files, stored, write_file
from sae_nb.training._process_group import Team
from sae_nb.training._records import History

if TYPE_CHECKING:
    from sae_nb.training._learner import Learner

KIND = "training-checkpoint"
POINTER = "checkpoint.json"


@checked
class Checkpoints:
    """The folder of checkpoints of one training: one whole one at any moment, whatever ends the process.

    Parameters
    ----------
    folder
        New, empty, or of checkpoints; made when a training holds it.

    Raises
    ------
    FileExistsError: If it is a file, or holds something else.

    Example
    -------
    >>> from tempfile import TemporaryDirectory
    >>> from sae_nb.files import write_json
    >>> with TemporaryDirectory() as parent:
    ...     checkpoints = Checkpoints(Path(parent) / "run")
    ...     checkpoints.hold()
    ...     with checkpoints.new(step=200) as unfinished:
    ...         write_json(unfinished / "state.json", {"step": 200})
    ...     path, state = checkpoints.latest()
    ...     checkpoints.release()
    >>> path.name, state
    ('step-00000200', {'step': 200})
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = place(folder)
        self._lock: Lock | None = None
        if self.folder.is_file():
            raise FileExistsError(
                f"`checkpoint` must be a folder, but {str(self.folder)!r} is a file. Choose another name."
            )
        contents = self.folder.iterdir() if self.folder.is_dir() else ()
        strange = [path.name for path in contents if not _is_ours(path)]
        if strange and not (self.folder / POINTER).is_file():
            raise FileExistsError(
                f"`checkpoint` must be a folder of its own, but {str(self.folder)!r} holds {strange[0]!r}. "
                "Choose another name."
            )

    def hold(self) -> None:
        """Hold the folder for one training, so that two never write into each other.

        Raises
        ------
        ValueError: If another one holds it.
        """
        self._lock = hold_folder(
            self.folder,
            f"`checkpoint` must be written by one training at a time, but another one is at work in "
            f"{str(self.folder)!r}. Wait for it or end it (`run.stop()`), or choose another folder.",
        )

    def release(self) -> None:
        """Free the folder for another training; nothing happens where it is not held."""
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def new(self, step: int, known: dict[str, dict[str, Any]] | None = None) -> Iterator[Path]:
        """Write one: the block puts its files into the folder it gets, `state.json` among them.

        When it has ended this checkpoint is the one that counts, and those before it are removed.

        Parameters
        ----------
        known
            Size in bytes and SHA-256 of files that need not be read again for that.
        """
        name = f"step-{step:08d}"
        with new_folder(self.folder / name, replace=True) as unfinished:
            yield unfinished
            write_manifest(unfinished, KIND, known=known, step=step)
        write_json(self.folder / POINTER, {"kind": KIND, "latest": name})
        self._tidy(name)

    def latest(
        self, verify: Literal["full", "sizes"] = "full"
    ) -> tuple[Path, dict[str, Any]] | None:
        """Return the folder of the checkpoint that counts, verified, and its `state.json`; None without one.

        `verify`: "full" compares checksums, "sizes" lengths alone.

        Raises
        ------
        ValueError: If a file was cut short or altered, or is of something else.
        FileNotFoundError: If the checkpoint that counts is missing.
        """
        pointer_file = self.folder / POINTER
        if not pointer_file.is_file():
            return None
        pointer = json_object(pointer_file)
        if pointer.get("kind") != KIND or not isinstance(pointer.get("latest"), str):
            raise ValueError(
                f"{str(pointer_file)!r} must name a {KIND}, but does not. Choose another folder."
            )
        latest = self.folder / pointer["latest"]
        recover(latest)
        if not latest.is_dir():
            raise FileNotFoundError(
                f"{str(pointer_file)!r} must name a folder next to it, but {latest.name!r} is missing. "
                "Put it back, or use another `checkpoint` folder, or `resume=False` to start afresh."
            )
        read_manifest(latest, KIND, verify=verify)
        self._tidy(latest.name)
        return latest, read_json(latest / "state.json")

    def _tidy(self, latest: str) -> None:
        """Remove older checkpoints, and what a killed process left half-written."""
        for path in list(self.folder.iterdir()):
            if not _is_ours(path) or path.name in (latest, POINTER):
                continue
            if path.is_dir() and not path.name.startswith("."):
                remove_folder(path)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_ours(path: Path) -> bool:
    return path.name.lstrip(".").startswith(("step-", POINTER))


def write_parts(folder: Path, parts: Mapping[str, Part], team: Team) -> dict[str, dict[str, Any]]:
    """Write this worker's parts, as all workers must; return size and checksum of each file of theirs.

    Raises
    ------
    OSError: In every worker, if one of them cannot write.
    ValueError: If the first worker does not see the files of the others.
    """
    if team.alone:
        write_file(folder / file_name(0, 1), parts)
    else:
        from sae_nb.training._distributed_parts import save

        save(folder, parts, team.size)
    names = [file_name(rank, team.size) for rank in range(team.size)]
    mine = folder / names[team.rank]
    with mine.open("rb") as file:
        digest = bytearray(hashlib.file_digest(file, "sha256").digest())
    facts = torch.frombuffer(digest, dtype=torch.int64)
    facts = torch.cat([torch.tensor([mine.stat().st_size]), facts]).to(team.device)
    every = [one.cpu() for one in team.exchange(facts)]
    seen = all((folder / name).is_file() for name in names) if team.is_first else True
    if not team.all(mine=seen):
        raise ValueError(
            f"The folder of {str(folder)!r} must be one that all {team.size} workers see, but the first "
            "does not see the files of all. Use a folder of a shared disk."
        )
    return {
        name: {"bytes": int(one[0]), "sha256": one[1:].numpy().tobytes().hex()}
        for name, one in zip(names, every, strict=True)
    }


def save_checkpoint(
    checkpoints: Checkpoints, state: dict[str, Any], learners: list[Learner], team: Team
) -> None:
    """Write one checkpoint, every worker its part, then remove the one before it."""
    apart = checkpoints.folder / f".step-{state['step']:08d}.parts"
    parts = {name: part for learner in learners for name, part in learner.parts().items()}
    if team.is_first:  # one generator speaks for all
        parts |= {f"rng.{device}": Part(numbers) for device, numbers in _generators(learners)}

    def finish(known: dict[str, dict[str, Any]]) -> None:
        # The path of a folder reveals something about a machine, and it may move.
        said = state | {"config": state["config"] | {"checkpoint": None, "save_to": None}}
        facts = [
            {
                "live": learner.live(),
                "running_loss": learner.best.mean_to_json(),
                "plateau": learner.plateau.to_json(),
                "history": [record.to_json() for record in learner.history],
            }
            for learner in learners
        ]
        with checkpoints.new(state["step"], known) as unfinished:
            write_json(unfinished / "state.json", said | {"learners": facts})
            for name in known:
                (apart / name).rename(unfinished / name)

    try:
        known = write_parts(apart, parts, team)
        team.first_does(lambda: finish(known))
    finally:  # of a disk that is full nothing stays
        if team.is_first:
            shutil.rmtree(apart, ignore_errors=True)


def _generators(learners: list[Learner]) -> list[tuple[str, torch.Tensor]]:
    """States of the global generators."""
    devices = {learner.parameters[0].device for learner in learners}
    on_cards = [(str(d), torch.cuda.get_rng_state(d)) for d in devices if d.type == "cuda"]
    return [("cpu", torch.get_rng_state()), *on_cards]


def rows_trained_on(folder: Path) -> int | None:
    """Return how many rows the checkpointed training reads; None without one, and for a stream."""
    pointer = folder / POINTER
    latest = json_object(pointer).get("latest") if pointer.is_file() else None
    state = folder / str(latest) / "state.json"
    return read_json(state)["identity"].get("the data's rows") if state.is_file() else None


def check_same_run(
    saved: dict[str, Any], identity: dict[str, Any], config: TrainConfig, where: Path
) -> None:
    """Refuse a checkpoint of other settings, other data or other SAEs, naming what differs."""
    settings = config.to_json()
    # An option younger than the checkpoint had its default.
    before = TrainConfig().to_json() | saved["config"]
    # How long a phase is depends on all steps.
    free = set(OWN_BUSINESS) - ({"steps"} if config.grow_k else set())
    differences = [
        f"{name} was {before[name]!r}, this call has {settings[name]!r}"
        for name in settings
        if name not in free and settings[name] != before[name]
    ]
    differences += [
        f"{name} was {saved['identity'].get(name)!r}, this call has {value!r}"
        for name, value in identity.items()
        if value != saved["identity"].get(name) and value != saved["identity_now"].get(name)
    ]
    if differences:
        raise ValueError(
            f"A checkpoint is continued only by the same run, but in {str(where)!r} "
            f"{'; '.join(differences)}. Use the same settings, another `checkpoint` folder, or "
            "`resume=False` to start afresh."
        )
    if config.steps < saved["step"]:
        raise ValueError(
            f"`steps` must be at least the {saved['step']} steps already done in {str(where)!r}, got "
            f"{config.steps}. Ask for more steps, or use `resume=False` to start afresh."
        )


def read_parts_into(folder: Path, parts: Mapping[str, Part], team: Team) -> None:
    """Read what this worker has into its tensors, whatever number of workers wrote them."""
    files = part_files(folder)
    if team.alone and len(files) == 1:
        with safe_open(files[0], framework="pt") as file:
            for name, part in parts.items():
                part.rows.copy_(file.get_tensor(name))
        return
    from sae_nb.training._distributed_parts import load

    load(folder, parts, alone=team.alone)


def restore(path: Path, state: dict[str, Any], learners: list[Learner], team: Team) -> None:
    """Put a checkpoint's tensors and numbers back into SAEs, optimisers and trackers."""
    if not part_files(path):
        raise ValueError(
            f"A checkpoint must hold a file of each worker, but {str(path)!r} holds none: an earlier version "
            "of sae_nb wrote it. End that training with that version, or use `resume=False` to start afresh."
        )
    there = stored(path)
    parts = {
        name: part
        for learner in learners
        for name, part in learner.parts(learner.room_for_moments(there)).items()
    }
    for name, (dtype, shape) in there.items():
        if name.startswith("rng."):
            parts[name] = Part(torch.empty(shape, dtype=dtype))
    read_parts_into(path, parts, team)
    for learner, facts in zip(learners, state["learners"], strict=True):
        learner.take(parts)
        learner.history[:] = History.from_json(facts["history"])
        for name, value in facts["live"].items():
            learner.set(name, value)
        learner.best.load_mean(facts["running_loss"])
        learner.plateau.load(facts["plateau"])
    # Global generators: an architecture with dropout draws from them, and a resumed run must draw
    # what the uninterrupted one would have drawn.
    torch.set_rng_state(parts["rng.cpu"].tensor)
    for name, part in parts.items():
        if name.startswith("rng.cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state(part.tensor, name.removeprefix("rng."))
