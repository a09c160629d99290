"""Do images that maximise atoms of tiny-vit's SAE beat the best scene, look like one, and show their class?

For every texture and every digit, the atom is taken whose strength in an image (at its strongest patch) best
separates that class from the others (AUC). Each gets an image by MACO, 256 steps of 4 crops, as do random atoms
that fire. The model's own heads then tell which texture and which digit the image shows. Random atoms are
tested for classes drawn at random; images of random phase, and the best scene of each atom, are measured for
comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

import sae_nb as sn

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

SHORT = {"steps": 6, "crops": 2, "n": 64, "n_random": 2, "classes": 2}
POINT = "resid_post.6"


def run(
    seed: int,
    *,
    steps: int = 256,
    crops: int = 4,
    n: int = 400,
    n_random: int = 6,
    classes: int = 10,
) -> dict[str, float]:
    """Maximise the atoms of at most `classes` textures and digits, and `n_random` others; measure the images.

    Atoms are chosen on `n` scenes drawn by the seed, of handwriting that the model never saw.
    """
    model, sae = sn.load_model("tiny-vit", "cpu"), sn.load_sae("tiny-vit/" + POINT)
    scenes = sn.data.scenes(n, seed=seed, split="test")
    strengths = pooled(model, sae, scenes.images)
    labels = {"texture": scenes.texture, "digit": scenes.digit}
    areas = {head: told(strengths, of)[:classes] for head, of in labels.items()}
    chosen = {head: area.argmax(axis=1).tolist() for head, area in areas.items()}
    others = random_atoms(strengths, n_random, seed)
    atoms = sorted({*chosen["texture"], *chosen["digit"], *others})
    settings: dict[str, Any] = {"n_steps": steps, "n_crops": crops, "seed": seed}
    found = sn.vision.maximise(model, sae, atoms, POINT, images=scenes.images, **settings)
    place = {atom: i for i, atom in enumerate(atoms)}
    best = found.natural.max(axis=1)
    numbers = {
        "beats noise": float((found.activation > found.random.max(axis=1)).mean()),
        "beats natural": float((found.activation > best).mean()),
        "noise beats natural": float((found.random.max(axis=1) > best).mean()),
        "times natural": float(np.median(found.activation / best)),
        "noise, times natural": float(np.median(found.random.mean(axis=1) / best)),
        "unusual": float(found.table["unusual"].median()),
        "not farther than natural": near(found.distance, found.natural_distance),
        "noise not farther than natural": near(found.random_distance, found.natural_distance),
    }
    generator = torch.Generator().manual_seed(seed)
    for head, mine in chosen.items():
        seen = {
            "maximised": model.heads(found.image)[head],
            "natural": model.heads(found.example)[head],
        }
        wanted = torch.arange(len(mine))
        rows = [place[atom] for atom in mine]
        for name, logits in seen.items():
            numbers[f"{head}, {name}"] = hit(logits[rows], wanted)
        drawn = torch.randint(int(labels[head].max()) + 1, (len(others),), generator=generator)
        numbers[f"{head}, random atoms"] = hit(seen["maximised"][[place[a] for a in others]], drawn)
        numbers[f"{head}, AUC"] = float(areas[head].max(axis=1).mean())
    return numbers


@torch.no_grad()
def pooled(model: LiveModel, sae: SparseAutoencoder, images: Tensor) -> Tensor:
    """Return the strength of every atom at its strongest patch of every image: (images, atoms)."""
    acts = sn.capture(model, images, POINT, progress=False)
    codes = sae.encode(acts).to_dense()
    return codes.view(len(images), -1, codes.shape[1])[:, model.prefix_tokens :].amax(dim=1)


def told(strengths: Tensor, labels: Tensor) -> np.ndarray:
    """Return the AUC of every atom for every class, (classes, atoms); ½ for an atom that never fires."""
    ranks = rankdata(strengths.numpy(), axis=0)
    rows = []
    for c in range(int(labels.max()) + 1):
        on = (labels == c).numpy()
        n = int(on.sum())
        rows.append((ranks[on].sum(axis=0) - n * (n + 1) / 2) / max(n * (len(on) - n), 1))
    return np.stack(rows)


def random_atoms(strengths: Tensor, n: int, seed: int) -> list[int]:
    """Draw `n` atoms that fire in at least one scene in a hundred."""
    alive = ((strengths > 0).double().mean(dim=0) >= 0.01).nonzero().flatten()
    order = torch.randperm(len(alive), generator=torch.Generator().manual_seed(1000 + seed))
    return alive[order[:n]].tolist()


def near(distance: np.ndarray, natural: np.ndarray) -> float:
    """Return the share of images no farther from a scene than 95 % of scenes are from another."""
    return float((distance <= np.quantile(natural, 0.95)).mean())


def hit(logits: Tensor, wanted: Tensor) -> float:
    """Return the share of images to which a head gives the wanted class."""
    return float((logits.argmax(dim=1) == wanted).double().mean())
