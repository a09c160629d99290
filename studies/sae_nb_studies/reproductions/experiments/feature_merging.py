"""Atoms merged pair by pair: are copies merged first, and how many atoms do the bundled SAEs need?

Copies are planted in tiny-vit's SAE: some atoms get a copy, exact or rotated by a known angle, that takes
over half of their uses, drawn at random. Then the SAEs as they are: R² on images and stories that they
were not trained on, and the model's loss with the merged dictionary in its place, compared with merging
random pairs and with dropping the weakest atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import sae_nb as sn

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SHORT = {"n_images": 12, "n_texts": 2, "n_copies": 10, "n_answers": 2, "places": ("tiny-vit",)}
POINTS = {"tiny-vit": "resid_post.6", "tiny-gpt": "resid_post.3"}
COSINES = {"exact": 1.0, "turned": 0.98}
"""Cosine of an atom with its planted copy."""

SHARE = 0.99


def run(
    seed: int,
    *,
    n_images: int = 40,
    n_texts: int = 10,
    n_copies: int = 40,
    n_answers: int = 4,
    places: tuple[str, ...] = tuple(POINTS),
) -> dict[str, float]:
    """Merge on rows of `n_images` and `n_texts`; `n_copies` atoms get a copy."""
    numbers: dict[str, float] = {}
    for place in places:
        model, sae = sn.load_model(place, "cpu"), sn.load_sae(f"{place}/{POINTS[place]}")
        inputs, labels = material(place, n_images, n_texts, seed)
        acts = sn.capture(model, inputs, POINTS[place], progress=False)
        if place == "tiny-vit":
            for kind, cosine in COSINES.items():
                found = planted(sae, acts, n_copies, cosine, seed)
                numbers |= {f"{kind} copies, {name}": value for name, value in found.items()}
        numbers |= {
            f"{place}, {name}": value
            for name, value in real(sae, acts, model, inputs, labels, n_answers, seed).items()
        }
    return numbers


def material(place: str, n_images: int, n_texts: int, seed: int) -> tuple[Any, Tensor | None]:
    """Return scenes of unseen handwriting with their digit, or stories."""
    if place == "tiny-vit":
        scenes = sn.data.scenes(n_images, seed=2000 + seed, split="test")
        return scenes.images, scenes.digit
    return sn.data.stories(n_texts, seed=2000 + seed).texts, None


def real(
    sae: SparseAutoencoder,
    acts: sn.Activations,
    model: sn.LiveModel,
    inputs: Any,
    labels: Tensor | None,
    n_answers: int,
    seed: int,
) -> dict[str, float]:
    """Count the atoms needed, merged and dropped, and test whether random pairs are worse at every point."""
    found = sn.studies.evaluation.merge(
        sae, acts, model, inputs, labels=labels, n_answers=n_answers, seed=seed
    )
    alive, answers = len(found.alive), found.answers
    half = int(np.argmin(abs(found.left - alive / 2)))
    after = answers.iloc[1:]
    return {
        "alive": float(alive),
        "needed": found.needed(SHARE) / alive,
        "needed, dropped": found.simpler(SHARE) / alive,
        "fewer than dropped": (found.simpler(SHARE) - found.needed(SHARE)) / alive,
        "r2": float(found.r2[0]),
        "r2 at half": float(found.r2[half]),
        "r2 at half, dropped": float(found.dropped[half]),
        "r2 at half, random": float(found.random[:, half].mean()),
        "random worse": float((found.random[:, 1:] < found.r2[1:]).mean()),
        "random worse, loss": float((after["random"] > after["merged"]).mean()),
        "loss": float(answers["merged"].iloc[0]),
        "loss at the end": float(answers["merged"].iloc[-1]),
        "loss at the end, dropped": float(answers["simpler"].iloc[-1]),
        "loss at the end, random": float(answers["random"].iloc[-1]),
    }


# Planted copies: known pairs.


class WithCopies:
    """An SAE some of whose atoms have a copy that takes over half of their uses."""

    def __init__(self, sae: SparseAutoencoder, atoms: Tensor, cosine: float, seed: int) -> None:
        self.sae, self.atoms = sae, atoms
        self.d_in, self.n_atoms = sae.d_in, sae.n_atoms + len(atoms)
        generator = torch.Generator().manual_seed(seed)
        own = sae.dictionary[atoms]
        drawn = torch.randn(own.shape, generator=generator)
        across = torch.nn.functional.normalize(
            drawn - (drawn * own).sum(dim=1, keepdim=True) * own, dim=1
        )
        turned = cosine * own + (1 - cosine**2) ** 0.5 * across
        self.dictionary = torch.cat((sae.dictionary, turned))
        self._lottery = torch.rand(4096, generator=generator)

    def encode(self, x: Tensor) -> sn.SparseCodes:
        """Encode with the SAE, and pass half of the codes on to the copies, by row."""
        codes = self.sae.encode(x).detach()
        copy = torch.full((self.sae.n_atoms,), -1)
        copy[self.atoms] = torch.arange(len(self.atoms)) + self.sae.n_atoms
        theirs = copy[codes.atoms.long()]
        drawn = self._lottery[(7 * codes.support.rows + 13 * codes.atoms.long()) % 4096]
        handed = (theirs >= 0) & (drawn < 0.5)
        atoms = torch.where(handed, theirs, codes.atoms.long()).int()
        return sn.SparseCodes(codes.values, atoms, codes.offsets, self.n_atoms, codes.leading_shape)

    def decode(self, codes: sn.SparseCodes) -> Tensor:
        """Sum atoms and copies."""
        return codes @ self.dictionary + self.sae.bias.detach()


def planted(
    sae: SparseAutoencoder, acts: sn.Activations, n_copies: int, cosine: float, seed: int
) -> dict[str, float]:
    """Return the share of the planted pairs among the first merges, and the same for random pairs."""
    frequency = sae.encode(acts.x).frequency
    often = (frequency > 0.001).nonzero().flatten()
    generator = torch.Generator().manual_seed(100 + seed)
    atoms = often[torch.randperm(len(often), generator=generator)[:n_copies]].sort().values
    twice = WithCopies(sae, atoms, cosine, seed)
    used = sn.studies.evaluation.merge(twice, acts, n_random=1, seed=seed)
    known = {(int(atom), sae.n_atoms + i) for i, atom in enumerate(atoms)}
    rank = {tuple(sorted(pair)): i for i, pair in enumerate(used.pairs.tolist())}
    places = [rank.get(pair, len(used.pairs)) for pair in known]
    alive = len(used.alive)
    return {
        "among the first": float(np.mean([place < len(known) for place in places])),
        "among twice": float(np.mean([place < 2 * len(known) for place in places])),
        "merged at all": float(np.mean([place < len(used.pairs) for place in places])),
        "chance": len(known) / (alive * (alive - 1) / 2),
        "nearest": nearest(twice, used, known),
    }


def nearest(twice: WithCopies, used: Any, known: set[tuple[int, int]]) -> float:
    """Return the same share among the pairs of largest cosine, the simpler method."""
    alive = torch.from_numpy(used.alive)
    unit = torch.nn.functional.normalize(twice.dictionary[alive], dim=1)
    cosine = (unit @ unit.T).triu(1).flatten()
    first = cosine.topk(len(known)).indices
    pairs = {(int(alive[place // len(alive)]), int(alive[place % len(alive)])) for place in first}
    return len(pairs & known) / len(known)
