"""Shortcuts: which models prefer what is easier to see, which atoms encode it, and what removing them repairs.

Planted: a label, a latent that predicts it nine times in ten, and one that predicts it less often and is larger
in the rows. The models are a linear classifier at its optimum, the same trained like the others, a network with
one hidden layer, and a transformer of one block over ten pieces of a row. Scenes: handwritten 0 against 1; in
nine of ten, the ink is warm for 0 and cold for 1. A small convolutional network learns them, and SAEs read its
checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import sae_nb as sn

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SHORT = {
    "steps": 60,
    "ratios": (1, 10),
    "shares": (0.85,),
    "n_scenes": 600,
    "checkpoints": (0, 20, 60),
    "sae_steps": 10,
}
CORE, MAIN = 0.9, (0.85, 10)
"""Share of labels that the core predicts; the shortcut's share and ratio to which bounds apply."""

SHARE_OF_INK = 0.9
N_ATOMS, K, ROWS = 128, 8, 60_000
N_RANDOM, MANY = 5, 8


def run(
    seed: int,
    *,
    steps: int = 1000,
    ratios: tuple[int, ...] = (1, 3, 10),
    shares: tuple[float, ...] = (0.6, 0.75, 0.85),
    n_scenes: int = 3000,
    checkpoints: tuple[int, ...] = (0, 25, 50, 100, 200, 400, 800),
    sae_steps: int = 200,
) -> dict[str, float]:
    """Train for `steps` on planted rows at every share and ratio, and up to the last checkpoint on scenes.

    `ratios` of availability and `shares` of the shortcut; `n_scenes` sets how many scenes are drawn.
    """
    numbers = planted(seed, steps, ratios, shares)
    learned = Learned.of(seed, n_scenes, checkpoints)
    return numbers | atoms_of(learned, sae_steps, seed)


# -------------------------------------------------------------------------------------------------
# Planted rows.


class Pieces(nn.Module):
    """A transformer of one block over ten pieces of a row, as a vision transformer reads patches."""

    def __init__(self, d_in: int, n_pieces: int = 10, width: int = 32) -> None:
        super().__init__()
        self.n_pieces = n_pieces
        self.embed = nn.Linear(d_in // n_pieces, width)
        self.place = nn.Parameter(0.02 * torch.randn(n_pieces, width))
        self.block = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of rows."""
        tokens = self.embed(x.unflatten(1, (self.n_pieces, -1))) + self.place  # type: ignore[no-untyped-call]
        return self.head(self.block(tokens).mean(dim=1))


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda d: nn.Linear(d, 2),
    "MLP": lambda d: nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, 2)),
    "transformer": Pieces,
}


def planted(
    seed: int, steps: int, ratios: tuple[int, ...], shares: tuple[float, ...]
) -> dict[str, float]:
    """Measure the bias of every model at every share of the shortcut and ratio of availability."""
    bias: dict[tuple[str, float, int], float] = {}
    for share in shares:
        for ratio in ratios:
            data = sn.studies.data.planted_shortcuts(
                2000, predictivity=(CORE, share), availability=(1 / ratio, 1.0), seed=seed
            )
            grid = data.on_grid()
            best = LogisticRegression(C=1e6, max_iter=5000, tol=1e-8).fit(data.x, data.label)
            answers = {"optimum": torch.from_numpy(best.predict(grid.x))}
            for name, make in MODELS.items():
                torch.manual_seed(seed)
                model = trained(make(data.x.shape[1]), data.x, data.label, steps)
                with torch.no_grad():
                    answers[name] = model(grid.x).argmax(dim=1)
            bias |= {(name, share, ratio): grid.bias(one) for name, one in answers.items()}
    at = {name: bias[name, *MAIN] for name in ("optimum", *MODELS)}
    numbers = {f"bias, {name}": value for name, value in at.items()}
    for name in ("MLP", "transformer"):
        numbers |= {
            f"{name} − optimum": at[name] - at["optimum"],
            f"{name} − linear": at[name] - at["linear"],
        }
    for name in ("optimum", *MODELS):
        own = {cell[1:]: value for cell, value in bias.items() if cell[0] == name}
        numbers |= {f"{name}, {s} × {r}": value for (s, r), value in own.items()}
        numbers |= {
            f"{name}, availability": float(
                np.mean([own[s, ratios[-1]] - own[s, ratios[0]] for s in shares])
            ),
            f"{name}, predictivity": own[shares[-1], ratios[-1]] - own[shares[0], ratios[-1]],
        }
    return numbers


def trained(
    model: nn.Module,
    x: Tensor,
    label: Tensor,
    steps: int,
    *,
    rate: float = 1e-2,
    batch: int = 256,
    at: Callable[[int], None] = lambda _: None,
) -> nn.Module:
    """Train by Adam on cross-entropy at a falling rate; call `at` before each step and after the last."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        at(step)
        rows = torch.randint(len(x), (batch,), generator=generator)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), label[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
    at(steps)
    return model


# -------------------------------------------------------------------------------------------------
# Scenes: colour against digit.


class Net(nn.Module):
    """Three convolutions, the mean over places, and a linear readout."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, width, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(width, 2)

    def places(self, images: Tensor) -> Tensor:
        """Return the output of the body: (images, places, width)."""
        with torch.no_grad():
            return torch.cat([self.body(some) for some in images.split(256)]).flatten(2).mT  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images."""
        return self.head(self.body(images).mean(dim=(2, 3)))


class Learned:
    """A network that learned biased scenes, as it was at some steps, and unbiased scenes to judge it on."""

    def __init__(self, nets: dict[int, Net], images: Tensor, core: Tensor, ink: Tensor) -> None:
        self.nets, self.images = nets, images
        self.truth = {"shortcut": ink.numpy(), "core": core.numpy()}
        self.first = np.arange(len(images)) < len(images) // 2
        """Half on which atoms and directions are chosen; the other judges them."""

    @classmethod
    def of(cls, seed: int, n: int, checkpoints: tuple[int, ...]) -> Learned:
        """Train up to the last checkpoint, and keep a copy of the network at each."""
        images, core, ink = zeros_and_ones(4 * n, 2 * seed, "train")
        agree = np.random.default_rng(seed).random(len(core)) < SHARE_OF_INK
        kept = torch.from_numpy(agree == (core == ink).numpy())
        torch.manual_seed(seed)
        net, kept_nets = Net(), dict[int, Net]()

        def keep(step: int) -> None:
            if step in checkpoints:
                kept_nets[step] = Net()
                kept_nets[step].load_state_dict(net.state_dict())

        trained(net, images[kept], core[kept], checkpoints[-1], rate=2e-3, batch=64, at=keep)
        return cls(kept_nets, *zeros_and_ones(2 * n, 2 * seed + 1, "test"))


def zeros_and_ones(n: int, seed: int, split: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Draw 2`n` scenes and keep those of 0 or 1; also return whether the digit is 1, and the ink cold."""
    drawn = sn.data.scenes(2 * n, seed=seed, split=split)
    kept = drawn.digit < 2
    warm = torch.tensor(
        [name in ("red", "orange", "yellow", "pink") for name in drawn.colour_names]
    )
    return drawn.images[kept], drawn.digit[kept], (~warm[drawn.colour[kept]]).long()


def atoms_of(learned: Learned, sae_steps: int, seed: int) -> dict[str, float]:
    """Compare how early, large and stable the atoms of both factors are, then remove the shortcut's."""
    found = {}
    for step, net in learned.nets.items():
        places = net.places(learned.images)
        found[step] = (places, dictionary(places, sae_steps, seed))
    last = max(found)
    aucs = {
        step: {name: Sides(*pair, learned, name).auc for name in learned.truth}
        for step, pair in found.items()
    }
    ahead = {step: auc["shortcut"] - auc["core"] for step, auc in aucs.items()}
    places, sae = found[last]
    sides = {name: Sides(places, sae, learned, name) for name in learned.truth}
    other = dictionary(places, sae_steps, seed + 100)
    near = (sae.dictionary @ other.dictionary.T).amax(dim=1).detach().numpy()
    shuffled = Sides(places, sae, learned, "core", np.random.default_rng(seed))
    numbers = {f"auc of {name}, step {s}": a[name] for s, a in aucs.items() for name in a}
    numbers |= {f"{name} of {factor}": value for factor, side in sides.items()
                for name, value in (("size", side.size), ("stability", float(near[side.atoms].mean())))}  # fmt: skip
    numbers |= {
        "earlier": float(np.mean([ahead[step] for step in ahead if step > 0])),
        "earlier, untrained": ahead[0],
        "auc, shuffled": shuffled.auc,
        "larger": float(np.log2(numbers["size of shortcut"] / numbers["size of core"])),
        "more stable": numbers["stability of shortcut"] - numbers["stability of core"],
        "stability of all": float(near[(sae.encode(flat(places)).frequency > 0).numpy()].mean()),
    }
    return numbers | cures(learned, learned.nets[last], places, sae, sides["shortcut"], seed)


def flat(places: Tensor) -> Tensor:
    """Return the rows of all places, image after image."""
    return places.flatten(0, 1)


def dictionary(places: Tensor, steps: int, seed: int) -> Any:
    """Train an SAE on the network's places."""
    generator = torch.Generator().manual_seed(seed)
    rows = flat(places)[torch.randperm(places.shape[0] * places.shape[1], generator=generator)]
    sae = sn.TopK(places.shape[2], N_ATOMS, K, generator=generator)
    sn.train(sae, rows[:ROWS], steps=steps, batch_size=512, seed=seed, progress=False)
    return sae.eval()


class Sides:
    """The atom that best marks each side of a factor on half of the images, and its AUROC on the other half."""

    def __init__(
        self,
        places: Tensor,
        sae: SparseAutoencoder,
        learned: Learned,
        factor: str,
        shuffled: np.random.Generator | None = None,
    ) -> None:
        truth, first = learned.truth[factor], learned.first
        truth = truth if shuffled is None else shuffled.permutation(truth)
        with torch.no_grad():
            codes = sae.encode(flat(places))
        largest = strongest(codes, len(places))
        auc = np.array([roc_auc_score(truth[first], one) for one in largest[first].T])
        self.order = np.argsort(-abs(auc - 0.5), kind="stable")
        self.atoms = np.array([auc.argmax(), auc.argmin()])
        self.aucs = [
            roc_auc_score(side[~first], largest[~first, atom])
            for atom, side in zip(self.atoms, (truth == 1, truth == 0), strict=True)
        ]
        self.auc = float(np.mean(self.aucs))
        energy = np.asarray(codes.to_scipy().power(2).sum(axis=0)).ravel()
        energy = energy * sae.dictionary.detach().square().sum(dim=1).numpy()
        self.size = float(energy[self.atoms].mean() / energy[energy > 0].mean())
        """Of their energy that of the mean atom that fires."""


def strongest(codes: sn.SparseCodes, n: int) -> np.ndarray:
    """Return the largest strength of each atom in each of `n` images."""
    dense = codes.to_scipy().toarray()
    return np.asarray(dense.reshape(n, -1, dense.shape[1]).max(axis=1))


# -------------------------------------------------------------------------------------------------
# The cure: removing something from the activations, and the answers that follow.


def cures(
    learned: Learned, net: Net, places: Tensor, sae: SparseAutoencoder, sides: Sides, seed: int
) -> dict[str, float]:
    """Measure accuracy where digit and ink disagree, and where they agree, before and after each removal."""
    truth, first = learned.truth, learned.first
    rows = {
        name: np.flatnonzero(~first & ((truth["core"] == truth["shortcut"]) == agree))
        for name, agree in (("conflict", False), ("agreement", True))
    }
    core = torch.from_numpy(truth["core"])
    numbers = {}  # type: ignore[var-annotated]
    for name, change in changes(learned, places, sae, sides, seed).items():
        with torch.no_grad():
            right = (net.head((places - change).mean(dim=1)).argmax(dim=1) == core).numpy()
        numbers |= {f"{where}, {name}": float(right[own].mean()) for where, own in rows.items()}
    randoms = [name for name in numbers if name.startswith("conflict, random")]
    random = float(np.mean([numbers.pop(name) for name in randoms]))
    for i in range(N_RANDOM):
        numbers.pop(f"agreement, random {i}")
    gain = {
        name.removeprefix("conflict, "): value - numbers["conflict, nothing"]
        for name, value in numbers.items()
        if name.startswith("conflict, ")
    }
    gain["random"] = random - numbers["conflict, nothing"]
    simpler = max(gain[name] for name in ("probe", "difference of means", "component"))
    numbers |= {f"gained, {name}": value for name, value in gain.items() if name != "nothing"}
    return numbers | {
        "gained − random": gain["atoms"] - gain["random"],
        "many − random": gain["many atoms"] - gain["random"],
        "gained − simpler": gain["atoms"] - simpler,
        "many − simpler": gain["many atoms"] - simpler,
        "lost where they agree": numbers["agreement, nothing"] - numbers["agreement, atoms"],
    }


def changes(
    learned: Learned, places: Tensor, sae: SparseAutoencoder, sides: Sides, seed: int
) -> Mapping[str, Tensor]:
    """Return what each removal subtracts at every place.

    The shortcut's atoms at their strengths, random atoms at the same strengths, or the part along a direction.
    """
    with torch.no_grad():
        codes = torch.from_numpy(sae.encode(flat(places)).to_scipy().toarray()).float()
    atoms = sae.dictionary.detach()
    codes = codes.view(len(places), -1, len(atoms))
    found = {
        "nothing": torch.zeros_like(places),
        "atoms": codes[..., sides.atoms] @ atoms[sides.atoms],
        "many atoms": codes[..., sides.order[:MANY]] @ atoms[sides.order[:MANY]],
    }
    generator = np.random.default_rng(seed)
    alive = np.setdiff1d(np.flatnonzero(codes.flatten(0, 1).any(dim=0)), sides.atoms)
    norms = atoms.norm(dim=1, keepdim=True)
    for i in range(N_RANDOM):
        drawn = generator.choice(alive, len(sides.atoms), replace=False)
        own = atoms[drawn] / norms[drawn] * norms[sides.atoms]
        found[f"random {i}"] = codes[..., sides.atoms] @ own
    for name, direction in directions(learned, places).items():
        mean = places[learned.first].mean(dim=(0, 1))
        found[name] = ((places - mean) @ direction)[..., None] * direction
    return found


def directions(learned: Learned, places: Tensor) -> dict[str, Tensor]:
    """Return unit directions of the shortcut found without an SAE.

    A probe's, the difference of means, and the principal component most correlated with the shortcut.
    """
    x = places.mean(dim=1)[learned.first].double().numpy()
    y = learned.truth["shortcut"][learned.first]
    scale = np.maximum(x.std(axis=0), 1e-9)
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:10]
    best = max(axes, key=lambda axis: abs(spearmanr(x @ axis, y).statistic))
    probe = LogisticRegression(max_iter=1000, C=0.1).fit(x / scale, y).coef_[0] / scale
    found = {
        "probe": probe,
        "difference of means": x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0),
        "component": best,
    }
    return {
        name: torch.from_numpy(one / np.linalg.norm(one)).float() for name, one in found.items()
    }
