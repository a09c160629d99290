"""How well is an atom's effect on the answer foreseen: by the direct path, by a Jacobian lens?

SAEs are trained at a middle block of tiny-vit and of tiny-gpt. Atoms that fire on held-out inputs are added to
the running model there, each at its largest strength, and so are random directions of the same sizes; the
measured change of the answer is compared with the direct path (the logit lens of an atom) and with a Jacobian
lens that was fitted on other inputs. Seeds draw the SAE, all inputs, and the atoms.
"""

from __future__ import annotations

from typing import Any

import torch

import sae_nb as sn

SHORT = {"n_fit": 12, "n_held_out": 8, "n_train": 60, "steps": 80, "n_atoms": 24}
BLOCKS = {"tiny-vit": 6, "tiny-gpt": 1}


def run(
    seed: int,
    *,
    n_fit: int = 48,
    n_held_out: int = 48,
    n_train: int = 400,
    steps: int = 250,
    n_atoms: int = 80,
) -> dict[str, float]:
    """Measure both models.

    `n_fit`, `n_held_out`: inputs of the lens, and of the measurement; `n_train`, `steps`: inputs and steps of
    the SAE; `n_atoms`: atoms that are measured.
    """
    numbers: dict[str, float] = {}
    for name, block in BLOCKS.items():
        model, point = sn.load_model(name), f"resid_post.{block}"
        train = inputs(name, n_train, 1000 + seed, "train")
        acts = sn.capture(model, train, point, progress=False)
        torch.manual_seed(seed)
        sae = sn.TopK(acts.d_in, 512, k=16)
        sae.hook_point = point
        sn.train(sae, acts, steps=steps, seed=seed, progress=False)
        fitted = inputs(name, n_fit, 2000 + seed, "train")
        lens = sn.fit_lens(model, fitted, layers=[block], progress=False, context_length=48)
        held_out = inputs(name, n_held_out, 3000 + seed, "test")
        found = lens.check(held_out, sae, n_atoms=n_atoms, seed=seed, context_length=48)
        atoms, random = found.atoms_by_kind.loc["atom"], found.atoms_by_kind.loc["random"]
        numbers |= {
            f"{name}, lens": float(atoms["correlation"]),
            f"{name}, direct path": float(atoms["logit correlation"]),
            f"{name}, gained": float(atoms["correlation"] - atoms["logit correlation"]),
            f"{name}, lens, random": float(random["correlation"]),
            f"{name}, direct path, random": float(random["logit correlation"]),
            f"{name}, hits": float(atoms["hits"]),
            f"{name}, hits of the direct path": float(atoms["logit hits"]),
            f"{name}, top": float(atoms["top"]),
            f"{name}, top of the direct path": float(atoms["logit top"]),
        }
    return numbers


def inputs(name: str, n: int, seed: int, split: Any) -> Any:
    """Return images of scenes, or stories."""
    if name == "tiny-gpt":
        return list(sn.data.stories(n, seed=seed).texts)
    return sn.data.scenes(n, seed=seed, split=split).images
