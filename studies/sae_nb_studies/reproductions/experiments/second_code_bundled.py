"""How much of the bundled SAEs' codes does orthogonal matching pursuit share? Rows of their own models."""

from __future__ import annotations

from functools import cache

import torch

import sae_nb as sn
from sae_nb_studies.evaluation.certifying._folders import bundled_inputs

SHORT = {"rows": 200, "saes": ("tiny-gpt/resid_post.3",)}
SAES = (
    "smollm2-135m/resid_post.9", "smollm2-135m/resid_post.16", "smollm2-135m/resid_post.23",
    "tiny-gpt/resid_post.3", "tiny-vit/resid_post.6", "tiny-audio/resid_post.4",
)  # fmt: skip


def run(seed: int, *, rows: int = 1500, saes: tuple[str, ...] = SAES) -> dict[str, float]:
    """Code `rows` rows, drawn by the seed, of each SAE anew."""
    numbers: dict[str, float] = {}
    for name in saes:
        acts = _acts(name)
        drawn = torch.randperm(len(acts), generator=torch.Generator().manual_seed(seed))[:rows]
        chosen = torch.zeros(len(acts), dtype=torch.bool).index_fill(0, drawn, True)
        found = sn.second_code(sn.load_sae(name), acts.subset(chosen), seed=seed)
        codes, tenths = found.solvers.set_index("code"), found.strengths["kept"]
        numbers |= {
            f"{name}: {what}": float(value)
            for what, value in {
                "shared": codes.loc["omp", "shared"],
                "shared with mp": codes.loc["mp", "shared"],
                "shared by chance": codes.loc["omp", "chance"],
                "shared with noise": codes.loc["encoder, noise of 1 %", "shared"],
                "R² of the encoder": codes.loc["encoder", "R²"],
                "R² of omp": codes.loc["omp", "R²"],
                "kept": found.kept,
                "kept of the strongest tenth": tenths.iloc[0],
                "kept of the weakest tenth": tenths.iloc[-1],
            }.items()
        }
    return numbers


@cache
def _acts(name: str) -> sn.Activations:
    model_name, place = name.split("/")
    model = sn.load_model(model_name)
    inputs = sn.data.prose("test") if model_name == "smollm2-135m" else bundled_inputs(model)
    return sn.capture(model, inputs, place, progress=False)
