"""Are the atoms of transcoders easier to explain than those of an SAE of the same MLP's output?

An MLP of tiny-gpt on stories: TopK on its output, and a transcoder and a skip transcoder from its input to its
output, all of the same size, k and training. Atoms are drawn from each and explained by a small rule on half of
the stories; the rules are judged on the other half (detection, balanced: 0.5 is chance).
"""

from __future__ import annotations

from typing import Any

import torch

import sae_nb as sn
from sae_nb.evaluation import explained_variance, score_explanations

SHORT = {"steps": 30, "stories": 80, "n_explained": 6, "n_atoms": 64}
MODEL, LAYERS, K = "tiny-gpt", (1, 3), 8


def run(
    seed: int, *, steps: int = 1000, stories: int = 900, n_explained: int = 64, n_atoms: int = 512
) -> dict[str, float]:
    """Train the three at two layers, and explain atoms of each and of untrained ones.

    `steps` of 512 rows; `stories` to train on, half as many others to explain and judge on;
    `n_explained` atoms of each.
    """
    model = sn.load_model(MODEL)
    places = [f"mlp_{side}.{layer}" for layer in LAYERS for side in ("in", "out")]
    seen, fresh = (
        sn.capture(model, sn.data.stories(n, 2 * seed + i).texts, places, progress=False)
        for i, n in ((40, stories), (41, stories // 2))
    )
    numbers: dict[str, list[float]] = {}
    for layer in LAYERS:
        sides = [(of[f"mlp_in.{layer}"], of[f"mlp_out.{layer}"]) for of in (seen, fresh)]
        for name, value in _of_layer(sides, seed, steps, n_explained, n_atoms).items():
            numbers.setdefault(name, []).append(value)
    found = {name: sum(values) / len(values) for name, values in numbers.items()}
    for name in ("transcoder", "skip"):
        found[f"{name} − sae detection"] = found[f"{name} detection"] - found["sae detection"]
    return found


def _of_layer(
    sides: list[tuple[Any, Any]], seed: int, steps: int, n_explained: int, n_atoms: int
) -> dict[str, float]:
    """Measure detection, fuzzing, R² and dead atoms of every dictionary at one layer."""
    (read, written), (test_read, test_written) = sides
    d = read.d_in
    numbers: dict[str, float] = {}
    for name, sae in _dictionaries(d, n_atoms, seed).items():
        pair = isinstance(sae, sn.Transcoder)
        rows = (read, written) if pair else written
        config = sn.TrainConfig(steps=steps, batch_size=512, seed=seed)
        if name.startswith("untrained"):
            sae.initialise(rows)
        else:
            sn.train(sae, rows, config, progress=False)
        test = test_read if pair else test_written
        codes = sae.encode(test).detach()
        scores = score_explanations(
            sae, test, codes=codes, n_atoms=n_explained, n_bootstrap=0, seed=seed
        ).scores
        numbers |= {f"{name} {what}": scores[what].value for what in ("detection", "fuzzing")}
        numbers[f"{name} another's rule"] = float(scores["detection"].control or 0.0)
        x_hat = sae(test.x).detach()
        numbers[f"{name} r2"] = float(explained_variance(test_written.x, x_hat))
        numbers[f"{name} dead"] = 1 - len(codes.atoms[codes.values != 0].unique()) / n_atoms
    return numbers


def _dictionaries(d: int, n_atoms: int, seed: int) -> dict[str, Any]:
    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    return {
        "sae": sn.TopK(d, n_atoms, K, generator=drawn()),
        "transcoder": sn.Transcoder(d, d, n_atoms, K, generator=drawn()),
        "skip": sn.SkipTranscoder(d, d, n_atoms, K, generator=drawn()),
        "untrained sae": sn.TopK(d, n_atoms, K, generator=drawn()),
        "untrained transcoder": sn.Transcoder(d, d, n_atoms, K, generator=drawn()),
    }
