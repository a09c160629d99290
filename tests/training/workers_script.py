"""What each worker runs in test_workers.py: several SAEs on the same batches, results written by the first."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

import sae_nb as sn

torch.set_num_threads(1)


def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(48, 16, generator=generator), dim=1)
    picked = torch.rand(1024, 48, generator=generator).topk(3, dim=1).indices
    strengths = 1 + torch.rand(1024, 3, generator=generator)
    return torch.zeros(1024, 48).scatter(1, picked, strengths) @ atoms


def saes(rank: int) -> list[sn.SparseAutoencoder]:
    made = torch.Generator().manual_seed(rank)
    return [
        sn.TopK(16, 96, 3, aux_weight=0.0, generator=made),
        sn.TopK(16, 96, 3, revival="resample", generator=made),
        sn.MatchingPursuit(16, 96, 3, generator=made),
        sn.BatchTopK(16, 96, 3, generator=made),
    ]


def main(folder: Path, mode: str) -> None:
    """Train as one of the workers; in mode "killed", the last worker dies once, at step 30."""
    with sn.training.workers() as team:
        trained = saes(team.rank)
        config = sn.TrainConfig(
            steps=60,
            batch_size=130,
            log_every=5,
            dead_after_tokens=1300,
            checkpoint=folder / f"checkpoint-{mode}",
            checkpoint_every=20,
        )
        if mode == "killed" and team.rank == team.size - 1:
            watch(folder / "died")
        results = sn.train(trained, rows(), config, progress=False)
        weights = [sae.dictionary.detach().double() for sae in trained]
        apart = [float((team.sum(w) / team.size - w).abs().max()) for w in weights]
        if mode != "killed":
            brought(team, folder / f"brought-{mode}-{team.rank}")
        if team.is_first:
            report = [
                {"loss": [h.loss for h in r.history], "r2": [h.r2 for h in r.history], "apart": far}
                for r, far in zip(results, apart, strict=True)
            ]
            (folder / f"{mode}.json").write_text(json.dumps([team.size, report]))


def brought(team: sn.training.Team, folder: Path) -> None:
    """Write batches of rows that each worker captured, and how all train on rows of the first one's model."""
    model = sn.load_model("tiny-vit")
    pictures = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mine, store = pictures[team.part(7)], folder / "acts"
    captured = sn.capture(model, mine, "resid_post.2", store=store, progress=False)
    batches = sn.training.rows_of_workers(captured).batches(5, seed=1)
    live = sn.stream(model, pictures, "resid_post.2") if team.is_first else None
    sae = sn.TopK(64, 96, 4, generator=torch.Generator().manual_seed(0))
    source = sn.training.rows_of_workers(live)
    result = sn.train(sae, source, steps=12, batch_size=33, log_every=3, progress=False)
    found = {
        "batches": [next(batches).tolist() for _ in range(3)],
        "loss": [record.loss for record in result.history],
        "dictionary": sae.dictionary.tolist(),
    }
    (folder / "found.json").write_text(json.dumps(found))


def watch(mark: Path) -> None:
    """Kill this process at the 30th time it sums gradients of its first SAE, once in all."""
    whole, seen = sn.training.Team.sum_gradients, 0

    def counted(team: sn.training.Team, parameters: list[torch.nn.Parameter]) -> None:
        nonlocal seen
        seen += 1
        if seen == 4 * 30 and not mark.exists():
            mark.write_text("died once")
            os.kill(os.getpid(), signal.SIGKILL)
        whole(team, parameters)

    sn.training.Team.sum_gradients = counted


def threads() -> list[str]:
    """Names of this process's threads, C++'s included; empty where the system does not list them."""
    return [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    left = [name for name in threads() if "gloo" in name]
    if left:
        sys.exit(f"threads of the group are left: {left}")
