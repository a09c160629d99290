"""Depth of a vision transformer trained on photographs: what the experiments ask of the bundled networks.

First `python -m sae_nb_studies.recipes.tiny_vit --out OUT --steps 200 --decay-steps 60 --batch 48
--data cifar10 --folder PHOTOS`, then `python benchmarks/cifar_depth.py OUT/tiny-vit --photos PHOTOS`:
similarity of layers,
evidence for phases, class basins, self-correction, and a Raptor of two and of three blocks, cut by similarity.
"""

from __future__ import annotations

import argparse
import time

import torch

import sae_nb as sn
from sae_nb import dynamics
from sae_nb.data import cifar10


def looked_at(states: dynamics.States, labels: torch.Tensor) -> dict[str, float]:
    """Similarity, phases and basins of all layers."""
    similarity = dynamics.layer_similarity(states)
    numbers: dict[str, float] = {}
    for reading in ("raw", "centred"):
        for k in (2, 3):
            found = dynamics.phase_evidence(similarity, k, reading=reading)
            numbers |= {
                f"{reading} k={k}, first cut": float(found.phases.cuts[1]),
                f"{reading} k={k}, claimed": float(found.supported),
                f"{reading} k={k}, contrast": found.phases.contrast,
            }
    basins = dynamics.class_basins(states, labels)
    numbers |= {"basins, first layer": float(basins.gap[1]), "basins, last": float(basins.gap[-1])}
    coherence = dynamics.patch_coherence(states).mean(dim=0)
    numbers |= {
        "patch coherence, least": float(coherence.min()),
        "patch coherence, last": float(coherence[-1]),
    }
    return numbers


def told(
    model: sn.LiveModel, states: dynamics.States, test: object, labels: torch.Tensor, steps: int
) -> dict[str, float]:
    """Raptors of two and three blocks at the cuts of similarity."""
    similarity, numbers = dynamics.layer_similarity(states), {}
    for k in (2, 3):
        cuts = dynamics.segment_phases(similarity, k).cuts
        config = dynamics.RaptorConfig(
            steps_1=steps // 3,
            steps_2=steps - steps // 3,
            batch_size=8,
            learning_rate=1e-2,
            test_fraction=0.0,
        )
        result = dynamics.train_raptor(states, cuts, config, model=model, progress=False)
        fit = dynamics.raptor_fit(result.raptor, dynamics.capture_states(model, test))
        kept = dynamics.raptor_accuracy(result.raptor, model, test, labels)
        numbers |= {
            f"Raptor k={k} mean layer R²": fit.mean_r2,
            f"Raptor k={k} last R²": float(fit.r2[-1]),
            f"Raptor k={k} kept": kept.kept,
            f"Raptor k={k} floor": float(fit.floor.mean()),
        }
    return numbers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of the trained network")
    parser.add_argument("--photos", required=True, help="where CIFAR-10 lies")
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--raptor-steps", type=int, default=200)
    given = parser.parse_args()
    began, model = time.process_time(), sn.load_model(given.model)
    train = cifar10(given.photos, split="train")[: given.pictures]
    test = cifar10(given.photos, split="test")[:256]
    answers = model(test.images).argmax(dim=1)
    numbers = {"accuracy": float((answers == test.label).double().mean())}
    states = dynamics.capture_states(model, train.images, dtype=torch.float16)
    numbers |= looked_at(states, train.label)
    push = dynamics.self_correction(model, train.images[:64], layer=4, size=0.05)
    numbers["self-correction from layer 4, end over start"] = push.ratio
    numbers |= told(model, states, test.images, test.label, given.raptor_steps)
    for name, value in numbers.items():
        print(f"| {name} | {value:.3f} |", flush=True)
    print(f"| CPU s | {time.process_time() - began:.0f} |")


if __name__ == "__main__":
    main()
