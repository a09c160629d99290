"""Do the names of SmolLM2's atoms foretell what the atoms write? Forty named atoms per seed and block."""

from __future__ import annotations

import torch

import sae_nb as sn
from sae_nb_studies.evaluation import intervention_score

SHORT = {"n_atoms": 3, "blocks": (16,)}
BLOCKS = (9, 16, 23)
BEGINNINGS = (
    "The old man said that", "In the morning we", "This is about a", "She looked at the",
    "It was the first", "They had never seen", "On the table there was a", "He began to talk about the",
)  # fmt: skip


def run(seed: int, *, n_atoms: int = 40, blocks: tuple[int, ...] = BLOCKS) -> dict[str, float]:
    """Score `n_atoms` names of each block, drawn by the seed."""
    model = sn.load_model("smollm2-135m")
    numbers: dict[str, float] = {}
    for block in blocks:
        name = f"smollm2-135m/resid_post.{block}"
        examples, sae = sn.load_examples(name), sn.load_sae(name)
        labels = {atom: str(label) for atom, label in examples.labels.items()}
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        atoms = [sorted(labels)[i] for i in order[:n_atoms].tolist()]
        found = intervention_score(
            examples.catalogue(sae),
            model,
            {a: labels[a] for a in atoms},
            list(BEGINNINGS),
            seed=seed,
        )
        topics = found.table[~found.table["name"].str.contains("“")]
        numbers |= {
            f"block {block}: score": found.value,
            f"block {block}: control": found.control,
            f"block {block}: above the control": found.value - found.control,
            f"block {block}: score of names without a quoted word": float(topics["score"].mean()),
        }
    return numbers
