"""What is killed: a capture to disk, a training of several SAEs, an SAE and its session saved again, a site."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import torch
from killing import Work
from safetensors.torch import load_file
from tqdm import tqdm

import sae_nb as sn
from tests.files.by_hand import read_manifest
from tests.models.small_models import small_vit

torch.set_num_threads(1)
# tqdm's lock is shared by forked processes: one that is killed while its bar is drawn holds up all others.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0
TIMES = {"seconds", "tokens_per_second"}
SAVES = 12


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _check_names(folder: Path) -> None:
    """Every file under a final name is whole, as far as can be told without a manifest."""
    for file in folder.rglob("*"):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        if file.suffix == ".safetensors":
            load_file(file)
        elif file.suffix == ".json":
            json.loads(file.read_text("utf-8"))


# --- capture --------------------------------------------------------------------------------------


def capture(folder: Path) -> None:
    """Two hook points of a small ViT into shards of a few batches."""
    model = sn.wrap(small_vit(d_model=16, n_blocks=3, n_heads=2), name="tiny")
    pictures = torch.rand(24, 3, 32, 32, generator=_drawn(1))
    points = ["resid_post.1", "mlp_out.0"]
    sn.capture(model, pictures, points, batch_size=2, store=folder, shard_rows=200, progress=False)


def look_at_store(folder: Path) -> int:
    """Complete shards; each has the checksum it was written with."""
    _check_names(folder)
    if (folder / "manifest.json").is_file():
        found = sn.load_activations(folder)
        assert isinstance(found, dict)
        return 1000
    try:
        sn.load_activations(folder)
    except (ValueError, FileNotFoundError):
        pass
    else:
        raise AssertionError("a store that is not finished was opened")
    if not (folder / "capture.json").is_file():
        return 0
    shards: list[Any] = json.loads((folder / "capture.json").read_text("utf-8"))["shards"]
    for shard in shards:
        for name, facts in shard["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != facts["sha256"]:
                raise AssertionError(f"shard {name} is not what was written")
    return len(shards)


def every_byte(folder: Path) -> dict[str, str]:
    """Checksum of each file."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


# --- training -------------------------------------------------------------------------------------


def training(folder: Path) -> None:
    """Three SAEs on the same batches; the atoms of one die and are born again."""
    rows = torch.randn(512, 16, generator=_drawn(3))
    saes = [
        sn.TopK(16, 32, 3, generator=_drawn(0)),
        sn.TopK(16, 32, 2, revival="resample", generator=_drawn(1)),
        sn.BatchTopK(16, 32, 3, generator=_drawn(2)),
    ]
    with torch.no_grad():
        saes[1].encoder.bias[:12] -= 30.0
    config = sn.TrainConfig(
        steps=24,
        batch_size=32,
        checkpoint=folder,
        checkpoint_every=3,
        log_every=4,
        dead_after_tokens=128,
        learning_rate=0.01,
    )
    sn.train(saes, rows, config, progress=False)


def look_at_checkpoints(folder: Path) -> int:
    """Step of the checkpoint that counts; all that have a final name are whole."""
    _check_names(folder)
    for step in folder.glob("step-*"):
        read_manifest(step)
    if not (folder / "checkpoint.json").is_file():
        return 0
    latest = str(json.loads((folder / "checkpoint.json").read_text("utf-8"))["latest"])
    read_manifest(folder / latest)
    return int(latest.removeprefix("step-"))


def all_but_times(folder: Path) -> Any:
    """Every tensor of the last checkpoint byte by byte, and its records without their times."""
    state = json.loads((folder / "step-00000024" / "state.json").read_text("utf-8"))
    records = [
        {name: value for name, value in record.items() if name not in TIMES}
        for learner in state["learners"]
        for record in learner["history"]
    ]
    files = every_byte(folder)
    tensors = {name: files[name] for name in files if name.endswith(".safetensors")}
    return [sorted(files), tensors, records, state["tokens"]]


# --- saving ---------------------------------------------------------------------------------------


def _version(seed: int) -> sn.TopK:
    return sn.TopK(8, 16, 2, generator=_drawn(seed))


def saving(folder: Path) -> None:
    """One SAE and its session, saved over each other; the last save is always the same."""
    from sae_nb.sessions import save_session

    for seed in range(SAVES):
        sae = _version(seed)
        sae.save(folder / "sae")
        save_session(folder / "session", sae, panels={"map": {"version": seed}}, labels={1: "one"})


def look_at_saves(folder: Path) -> int:
    """The SAE and the session each are one of those that were saved, whole; and never gone again."""
    versions = [_version(seed).dictionary for seed in range(SAVES)]
    known = 0
    if (folder / "sae").exists():
        found = sn.load_sae(folder / "sae").dictionary
        assert sum(torch.equal(found, one) for one in versions) == 1
        known += 1
    if (folder / "session").exists():
        session = sn.open_session(folder / "session")
        seed = session.panels["map"]["version"]
        session.check_sae(_version(seed))
        assert dict(session.labels) == {1: "one"}
        known += 1
    return known


# --- a site ---------------------------------------------------------------------------------------


def site(folder: Path) -> None:
    """A site, written over the one before."""
    from sae_nb.site import write_site

    x = torch.randn(60, 4, generator=_drawn(0))
    sae = sn.TopK(4, 8, k=2, generator=_drawn(1))
    for title in ("one", "two"):
        write_site(folder / "site", sae, x, title=title, overwrite=True)


def look_at_site(folder: Path) -> int:
    """Under its name the site is whole, and never gone again."""
    if not (folder / "site").exists():
        return 0
    return int(read_manifest(folder / "site")["n_atoms"])


WORKS = {
    "capture": Work("capture", capture, look_at_store, every_byte),
    "training": Work("training", training, look_at_checkpoints, all_but_times),
    "saving": Work("saving", saving, look_at_saves, every_byte),
    "site": Work("site", site, look_at_site, every_byte),
}
