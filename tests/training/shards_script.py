"""What each worker runs in test_shards.py: SAEs whose atoms the workers share, results written by the first."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

import sae_nb as sn
from sae_nb.evaluation import evaluate_saved
from sae_nb.training._learner import Learner

torch.set_num_threads(1)
STEPS = 40
SAVED = ("topk", "published", "refitted")
KILLED = ("topk", "jump", "pursuit", "refitted")
N_ATOMS = 97
"""Odd, so that the shards differ in size."""


def rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(48, 16, generator=generator), dim=1)
    picked = torch.rand(1024, 48, generator=generator).topk(3, dim=1).indices
    strengths = 1 + torch.rand(1024, 3, generator=generator)
    return torch.zeros(1024, 48).scatter(1, picked, strengths) @ atoms


def saes(rank: int) -> dict[str, sn.SparseAutoencoder]:
    made = torch.Generator().manual_seed(rank)
    return {
        "topk": sn.TopK(16, N_ATOMS, 3, aux_weight=0.4, generator=made),
        "push-up": sn.TopK(16, N_ATOMS, 3, revival="push-up", aux_weight=0.1, generator=made),
        "batch": sn.BatchTopK(16, N_ATOMS, 3, generator=made),
        "relu": sn.ReLU(16, N_ATOMS, l0=4, aux_weight=0.1, generator=made),
        "jump": sn.JumpReLU(16, N_ATOMS, l0=3, generator=made),
        "pursuit": sn.MatchingPursuit(16, N_ATOMS, 1, generator=made),
        "once": sn.MatchingPursuit(
            16,
            N_ATOMS,
            4,
            reselect=False,
            nonnegative=False,
            bias=False,
            dropout=0.3,
            generator=made,
        ),
        "published": sn.MatchingPursuit(
            16, N_ATOMS, 3, reselect="stop", norms="free", relative_tolerance=0.5, generator=made
        ),
        "constants": sn.MatchingPursuit(16, N_ATOMS, 1, gradient="dictionary", generator=made),
        "refitted": sn.OrthogonalMatchingPursuit(16, N_ATOMS, 3, generator=made),
        "refitted signed": sn.OrthogonalMatchingPursuit(
            16, N_ATOMS, 4, nonnegative=False, relative_tolerance=0.3, dropout=0.2, generator=made
        ),
    }


def main(folder: Path, mode: str) -> None:
    """Train as one of the workers; in mode "killed", the last worker dies once, at step 30."""
    with sn.training.workers() as team:
        trained = saes(team.rank)
        if mode == "killed":
            trained = {name: trained[name] for name in KILLED}
        config = sn.TrainConfig(
            steps=STEPS,
            batch_size=130,
            log_every=5,
            dead_after_tokens=400,
            gradient_clip=0.5,
            shard_atoms=True,
            checkpoint=folder / f"checkpoint-{mode}",
            checkpoint_every=20,
        )
        held = weighed()
        if mode == "killed" and team.rank == team.size - 1:
            watch(folder / "died", len(trained))
        results = sn.train(list(trained.values()), rows(), config, progress=False)
        differences = [apart(team, sae) for sae in trained.values()]
        report = {
            name: {
                "loss": [record.loss for record in result.history],
                "gradient_norm": [record.gradient_norm for record in result.history],
                "r2": [record.r2 for record in result.history],
                "l0": [record.l0 for record in result.history],
                "dead": [record.dead_fraction for record in result.history],
                "auxiliary": [record.parts.get("auxiliary", 0.0) for record in result.history],
                "apart": difference,
                "bytes": held[i],
            }
            for i, (name, result, difference) in enumerate(
                zip(trained, results, differences, strict=True)
            )
        }
        if team.is_first:
            for name, sae in trained.items():
                sae.save(folder / mode / name)
            (folder / f"{mode}.json").write_text(json.dumps([team.size, report]))
        if mode != "killed":
            left = {
                name: str(saved(team.rank, name, folder / f"saved-{mode}").device) for name in SAVED
            }
            (folder / f"left-{mode}-{team.rank}.json").write_text(json.dumps(left))
            reports = {
                name: evaluate_saved(folder / f"saved-{mode}" / name, rows(), n_bootstrap=0)
                for name in SAVED
            }
            measured = {
                name: {row: measurement.value for row, measurement in report.items()}
                for name, report in reports.items()
            }
            (folder / f"measured-{mode}-{team.rank}.json").write_text(json.dumps(measured))


def saved(rank: int, name: str, folder: Path) -> sn.SparseAutoencoder:
    sae = saes(rank)[name]
    sn.train(
        sae,
        rows(),
        steps=STEPS,
        batch_size=130,
        dead_after_tokens=400,
        gradient_clip=0.5,
        shard_atoms=True,
        save_to=folder / name,
        progress=False,
    )
    return sae


def apart(team: sn.training.Team, sae: sn.SparseAutoencoder) -> float:
    tensors = [t.detach().double() for t in (*sae.parameters(), *sae.buffers())]
    return max(float((team.sum(t) / team.size - t).abs().max()) for t in tensors)


def weighed() -> dict[int, int]:
    """Bytes of parameters, gradients and moments of each SAE, at the end of its latest step."""
    held: dict[int, int] = {}
    settle = Learner.settle

    def measured(learner: Learner, *arguments: object) -> None:
        tensors = [t for p in learner.parameters for t in (p, p.grad)]
        for state in learner.optimiser.state.values():
            tensors += [t for t in state.values() if t.ndim > 0]
        held[learner.index] = sum(t.numel() * t.element_size() for t in tensors if t is not None)
        settle(learner, *arguments)

    Learner.settle = measured
    return held


def watch(mark: Path, n_saes: int) -> None:
    whole, seen = Learner.differentiate, 0

    def counted(learner: Learner, *arguments: object) -> None:
        nonlocal seen
        seen += 1
        if seen == n_saes * 30 + 1 and not mark.exists():
            mark.write_text("died once")
            os.kill(os.getpid(), signal.SIGKILL)
        whole(learner, *arguments)

    Learner.differentiate = counted


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
