"""Classes of photographs in a photo ViT: SAE atoms, PCA, k-means, NMF (as in CRAFT), neurons and random atoms.

One vision transformer trained on CIFAR-10 (`python -m sae_nb_studies.recipes.photo_vit`), at two thirds of its
depth. Dictionaries learn patches of photographs of the train split without labels; features are chosen on half
of the photographs of the test split and judged on the other half. The seed sets the SAE, the random draws of
the simpler methods and the choice of photographs; the network is always the same. Without a folder (a short
run), tiny-vit and its drawn scenes take its place.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import random_like
from sae_nb_studies.reproductions._final_states import N_PREFIX, photo_networks, some_photos

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SHORT = {"networks": "", "n_train": 60, "n_test": 100, "steps": 10, "n_images": 4, "n_concepts": 5}
SIMPLER = ("neurons", "PCA", "k-means", "NMF")
SIZES = (10, 30)
"""Numbers of features that a probe reads."""

N_ATOMS, K, N_PARTS = 256, 16, 64


def run(
    seed: int,
    *,
    networks: str = "photo_vits",
    photos: str = "photos",
    n_train: int = 800,
    n_test: int = 1000,
    steps: int = 400,
    n_images: int = 24,
    n_concepts: int = 25,
) -> dict[str, float]:
    """Learn from `n_train` photographs, choose features on half of `n_test`, and judge on the other half.

    `n_images`: photographs for insertion and deletion curves over `n_concepts` concepts.
    """
    train: Any
    test: Any
    if networks:
        model = photo_networks(networks)[0]
        train = some_photos(photos, "train", n_train, seed)
        test = some_photos(photos, "test", n_test, seed)
        label = test.label.numpy()
    else:
        model = sn.load_model("tiny-vit")
        train = sn.data.scenes(n_train, seed=seed)
        test = sn.data.scenes(n_test, seed=seed, split="test")
        label = test.digit.numpy()
    point = f"resid_post.{(model.n_layers or 1) * 2 // 3}"
    x, shown = (patches(model, some.images, point) for some in (train, test))
    found = Dictionaries(x.flatten(0, 1), steps, seed)
    first = np.arange(len(label)) < len(label) // 2
    numbers = {
        "accuracy": float(
            (model(test.images, batch_size=200).argmax(dim=1).numpy() == label).mean()
        )
    }
    numbers |= {"r2": found.r2, "atoms": float(N_ATOMS)}
    pooled = {name: both_pools(codes) for name, codes in found.features(shown).items()}
    for name, z in pooled.items():
        numbers |= {f"{what}, {name}": value for what, value in single(z, label, first).items()}
        numbers |= {f"probe of {m}, {name}": probed(z, label, first, m) for m in SIZES}
    means = shown.mean(dim=1).numpy()
    numbers["probe of all activations"] = probed(means, label, first, means.shape[1])
    for what in ("auc", "iou", *(f"probe of {m}" for m in SIZES)):
        best = max(numbers[f"{what}, {name}"] for name in SIMPLER)
        numbers[f"{what}, best simpler"] = best
        numbers[f"{what}, ahead"] = numbers[f"{what}, SAE"] - best
        numbers[f"{what}, ahead of random"] = numbers[f"{what}, SAE"] - numbers[f"{what}, random"]
    few = test.images[:n_images]
    return numbers | found.stability() | curves(model, found.sae, few, point, n_concepts, seed)


def patches(model: sn.LiveModel, images: Tensor, point: str) -> Tensor:
    """Capture the states of the patches: (images, patches, width)."""
    acts = sn.capture(model, images, point, progress=False)
    return acts.x[acts.position >= N_PREFIX].view(len(images), -1, acts.d_in).float()


class Dictionaries:
    """Every dictionary learned from rows without labels, twice: by two seeds, or by two halves for PCA."""

    def __init__(self, rows: Tensor, steps: int, seed: int) -> None:
        self.rows, self.mean = rows, rows.mean(dim=0)
        self.seeds = (seed, seed + 100)
        self.saes = [self._sae(steps, one) for one in self.seeds]
        acts = sn.Activations.from_tensor(rows)
        self.random = [random_like(self.sae, acts, seed=one) for one in self.seeds]
        self.axes = [
            torch.linalg.svd(half - half.mean(dim=0), full_matrices=False).Vh
            for half in rows.tensor_split(2)
        ]
        self.means = [
            sn.fit_classical(rows, "KMeans", N_ATOMS, max_rows=20_000, seed=s) for s in self.seeds
        ]
        self.parts = [
            sn.fit_classical(split(rows), "NMF", N_PARTS, max_rows=4096, seed=s) for s in self.seeds
        ]

    @property
    def sae(self) -> Any:
        """SAE of the first seed."""
        return self.saes[0]

    @property
    def r2(self) -> float:
        """R² of the first SAE on its training rows."""
        with torch.no_grad():
            left = self.rows - self.sae(self.rows)
        return float(1 - left.square().sum() / (self.rows - self.mean).square().sum())

    def _sae(self, steps: int, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        sae = sn.TopK(self.rows.shape[1], N_ATOMS, K, generator=generator)
        sn.train(sae, self.rows, steps=steps, seed=seed, progress=False)
        return sae.eval()

    @torch.no_grad()
    def features(self, shown: Tensor) -> dict[str, np.ndarray]:
        """Return each method's features of every patch, never negative: (images, patches, features)."""
        x = shown.flatten(0, 1)
        axes = torch.linalg.svd(self.rows - self.mean, full_matrices=False).Vh
        found = {
            "SAE": dense(self.sae.encode(x)),
            "random": dense(self.random[0].encode(x)),
            "neurons": signs(x - self.mean),
            "PCA": signs((x - self.mean) @ axes.T),
            "k-means": dense(self.means[0].encode(x)),
            "NMF": dense(self.parts[0].encode(split(x))),
        }
        return {name: z.reshape(len(shown), -1, z.shape[1]) for name, z in found.items()}

    def stability(self) -> dict[str, float]:
        """Measure how alike the two versions of each dictionary are: mean cosine of matched features."""
        pairs: dict[str, list[Any]] = {
            "SAE": [sae.dictionary.detach() for sae in self.saes],
            "random": [sae.dictionary.detach() for sae in self.random],
            "PCA": self.axes,
            "k-means": [one.dictionary - self.mean for one in self.means],
            "NMF": [minus(one.dictionary) for one in self.parts],
        }
        numbers = {
            f"stability, {name}": sn.evaluation.stability(
                pair, signed=name == "PCA", n_bootstrap=0
            ).value
            for name, pair in pairs.items()
        }
        own = numbers["stability, SAE"]
        return numbers | {
            f"stability, {name} − SAE": numbers[f"stability, {name}"] - own for name in pairs
        }


def split(x: Tensor) -> Tensor:
    """Concatenate positive and negative parts, as CRAFT does for signed activations."""
    return torch.cat((x.clamp_min(0), (-x).clamp_min(0)), dim=1)


def minus(atoms: Tensor) -> Tensor:
    """Return directions for atoms of `split` rows: positive part minus negative part."""
    own, other = atoms.chunk(2, dim=1)
    return own - other


def signs(z: Tensor) -> np.ndarray:
    """Return one feature for each sign of each column."""
    return split(z).numpy()


def dense(codes: sn.SparseCodes) -> np.ndarray:
    """Return the strengths of all atoms, with their zeros."""
    return np.asarray(codes.to_scipy().toarray(), np.float32)


def both_pools(z: np.ndarray) -> np.ndarray:
    """Return the mean and the maximum over the patches of each image."""
    return np.concatenate((z.mean(axis=1), z.max(axis=1)), axis=1)


def single(z: np.ndarray, label: np.ndarray, first: np.ndarray) -> dict[str, float]:
    """Return mean AUROC and IoU of the best feature for each class, chosen on one half, judged on the other."""
    aucs, ious = [], []
    ranks = rankdata(z[first], axis=0)
    for kind in np.intersect1d(label[first], label[~first]):
        truth = label == kind
        best = z[:, int(areas(ranks, truth[first]).argmax())]
        aucs.append(float(areas(rankdata(best[~first])[:, None], truth[~first])[0]))
        cuts = np.unique(np.quantile(best[first], np.linspace(0.5, 0.99, 50)))
        cut = max(cuts, key=lambda one: overlap(best[first] > one, truth[first]))
        ious.append(overlap(best[~first] > cut, truth[~first]))
    return {"auc": float(np.mean(aucs)), "iou": float(np.mean(ious))}


def areas(ranks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the AUROC of every column of ranks."""
    n = int(truth.sum())
    return np.asarray((ranks[truth].sum(axis=0) - n * (n + 1) / 2) / (n * (len(truth) - n)))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two masks."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def probed(z: np.ndarray, label: np.ndarray, first: np.ndarray, m: int) -> float:
    """Return the accuracy of a linear probe on the m features that differ most between classes."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # features that never fire, probes that have not converged
        score = np.nan_to_num(f_classif(z[first], label[first])[0], posinf=0)
        own = np.argsort(-score, kind="stable")[:m]
        x = StandardScaler().fit(z[first][:, own]).transform(z[:, own])
        probe = LogisticRegression(max_iter=500, C=0.3).fit(x[first], label[first])
    return float((probe.predict(x[~first]) == label[~first]).mean())


def curves(
    model: sn.LiveModel,
    sae: SparseAutoencoder,
    images: Tensor,
    point: str,
    n_concepts: int,
    seed: int,
) -> dict[str, float]:
    """Measure the areas of C-insertion and C-deletion beyond those of random orders, in logits."""
    atoms = sn.vision.concept_head(model, sae, images, point, n_concepts=n_concepts)
    parts = sn.vision.craft(model, images, point, n_concepts=n_concepts, seed=seed)
    numbers = {"craft r2": float(parts.r2)}
    for name, head, codes in (("SAE", atoms, atoms.codes), ("CRAFT", parts.head, parts.codes)):
        order = sn.vision.sobol(head, codes, n_designs=16, n_bootstrap=0, seed=seed)
        found = sn.vision.concept_curves(
            head, codes, torch.from_numpy(order.total), n_random=5, n_bootstrap=0, seed=seed
        )
        table = found.table
        for curve, sign in (("insertion", 1), ("deletion", -1)):
            ahead = sign * (table.loc[curve, "area"] - table.loc[curve, "floor"])
            numbers[f"{curve} beyond random, {name}"] = float(ahead)
            numbers[f"{curve}, sd of random, {name}"] = float(table.loc[curve, "floor sd"])
        whole = float(found.insertion[-1] - found.insertion[0])
        numbers[f"logit by concepts, {name}"] = whole
    return numbers
