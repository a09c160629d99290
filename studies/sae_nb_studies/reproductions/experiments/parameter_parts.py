"""Parameter decomposition: are a network's true parts found, on a toy of superposition and on one that adds?

Toy: five sparse features in two dimensions, x̂ = ReLU(WᵀWx + b), trained by each seed; its true parts are the five
rank-one matrices that each hold one feature's direction. Trained: tiny-modular from the state at "=" before its MLP
to the answer, on all 53² sums; its neurons and embedding are known to be made of few frequencies, and a part's purity
is the largest share of its activation's power, over both numbers, at one frequency. Seeds draw starts and batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.data import sparse_features
from sae_nb.models import Bottleneck, train_bottlenecks
from sae_nb_studies.circuits import WeightParts, decompose_weights, random_parts, singular_parts
from sae_nb_studies.data.tasks import MODULUS, all_sums

SHORT = {"toy_steps": 600, "sum_steps": 60}
SPARSITY, N_ROWS = 0.95, 40_000
LAYERS = {"0": "first", "1": "second"}
MLP = {"mlp.c_fc": "into the MLP", "mlp.c_proj": "out of the MLP"}


def run(seed: int, *, toy_steps: int = 2000, sum_steps: int = 800) -> dict[str, float]:
    """Decompose the toy and the MLP that adds; `*_steps` are of the decompositions."""
    return superposition(seed, toy_steps) | sums(seed, sum_steps)


# -------------------------------------------------------------------------------------------------
# Five features in two dimensions.


def superposition(seed: int, steps: int) -> dict[str, float]:
    """Match parts of both matrices of a toy with its features; and again with less of what they need."""
    toy, x = trained_toy(seed), toy_inputs(seed)
    true = true_parts(toy)

    def decomposed(steps: int = steps, n_components: int = 20, **options: Any) -> WeightParts:
        return decompose_weights(
            untied(toy),
            x,
            n_components=n_components,
            steps=steps,
            batch_size=96,
            seed=seed,
            **options,
        )

    found = decomposed()
    errors = found.check(x[:4000], seed=seed).set_index("way").error
    matches = [found.match(true[layer], layer) for layer in LAYERS]
    random = [random_parts(true["0"].sum(dim=0), 20, seed=draw) for draw in range(5)]
    numbers = {
        f"toy, {name}, cosine": match.value
        for name, match in zip(LAYERS.values(), matches, strict=True)
    }
    numbers |= {
        "toy, cosine, random": float(np.mean([match.random for match in matches])),
        "toy, cosine, singular": float(np.mean([match.singular for match in matches])),
        "toy, best column": best_columns(found.parts["0"], toy),
        "toy, best column, random": float(np.mean([best_columns(one, toy) for one in random])),
        "toy, parts too many or too few": count_off(found),
        "toy, left over": max(found.faithfulness.values()),
        "toy, error by importance": float(errors["importance"] / errors["no parts"]),
        "toy, error by others' importance": float(errors["of other inputs"] / errors["no parts"]),
    }
    less = {
        "five parts": decomposed(n_components=5, n_starts=1),
        "importance free": decomposed(coefficient=0.0, n_starts=1),
        "a tenth of the steps": decomposed(steps=max(10, steps // 10), n_starts=1),
    }
    for name, one in less.items():
        cosines = [one.match(true[layer], layer).value for layer in LAYERS]
        numbers |= {
            f"toy, {name}, cosine": float(np.mean(cosines)),
            f"toy, {name}, left over": max(one.faithfulness.values()),
            f"toy, {name}, parts too many or too few": count_off(one),
        }
    return numbers


def count_off(found: WeightParts) -> float:
    """Return by how many the parts alive differ from the five features, averaged over both matrices."""
    return float(np.mean([abs(n - 5) for n in found.n_alive.values()]))


def trained_toy(seed: int) -> Bottleneck:
    """Train the toy: all features alike, each on in one of twenty inputs."""
    alike = torch.ones(5)
    (toy,) = train_bottlenecks([SPARSITY], importance=alike, steps=1500, batch_size=1024, seed=seed)
    return toy


def toy_inputs(seed: int) -> Float[Tensor, "n 5"]:
    """Inputs on which some feature is on: the others ask nothing of any part."""
    x = sparse_features(N_ROWS, 5, SPARSITY, seed=seed)
    return x[x.any(dim=1)]


def untied(toy: Bottleneck) -> nn.Sequential:
    """Return the toy as two linear layers and a ReLU."""
    first = nn.Linear(toy.n_features, toy.n_hidden, bias=False)
    second = nn.Linear(toy.n_hidden, toy.n_features)
    with torch.no_grad():
        first.weight.copy_(toy.directions.T)
        second.weight.copy_(toy.directions)
        second.bias.copy_(toy.bias)
    return nn.Sequential(first, second, nn.ReLU())


def true_parts(toy: Bottleneck) -> dict[str, Float[Tensor, "features d_in d_out"]]:
    """Return, for either matrix, what each feature's direction alone is of it."""
    first = torch.diag_embed(toy.directions.detach().T).permute(1, 2, 0).contiguous()
    return {"0": first, "1": first.mT}


def best_columns(parts: Float[Tensor, "n features hidden"], toy: Bottleneck) -> float:
    """Return the mean over features of the best cosine that a part has with its direction, as the paper does."""
    cosines = torch.cosine_similarity(parts, toy.directions.detach()[None], dim=2)
    return float(cosines.amax(dim=0).mean())


# -------------------------------------------------------------------------------------------------
# Sums modulo 53.


class AfterAttention(nn.Module):
    """A one-block GPT-2 from the stream before its MLP to the logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.norm, self.mlp = model.transformer.h[0].ln_2, model.transformer.h[0].mlp
        self.last, self.head = model.transformer.ln_f, model.lm_head

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n words"]:
        """Return the logits of each row."""
        return self.head(self.last(x + self.mlp(self.norm(x))))


def adder() -> tuple[AfterAttention, Float[Tensor, "sums d"]]:
    """Return the MLP with what follows, and the state at "=" of every sum, a by a, b by b."""
    model = sn.load_model("tiny-modular").module
    after = AfterAttention(model).float()
    seen: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0][:, -1])

    handle = after.norm.register_forward_pre_hook(note)
    try:
        with torch.no_grad():
            model(torch.as_tensor(all_sums().ids))
    finally:
        handle.remove()
    return after, seen[0].detach()


def sums(seed: int, steps: int) -> dict[str, float]:
    """Decompose both matrices of the MLP, and measure how pure in frequency its parts are."""
    after, x = adder()
    found = decompose_weights(
        after,
        x,
        list(MLP),
        n_components=128,
        coefficient=1e-3,
        divergence="kl",
        steps=steps,
        batch_size=64,
        n_starts=1,
        seed=seed,
    )
    errors = found.check(x, seed=seed).set_index("way").error
    numbers: dict[str, float] = {}
    for layer, name in MLP.items():
        site = found.runs.site(layer)
        rows = found.runs.clean(x).seen[layer]
        alive = found.parts[layer][: found.n_alive[layer]]
        random = random_parts(site.weight, len(found.reads[layer]), seed=seed)
        gates = found.importance(x)[layer]
        numbers |= {
            f"sums, {name}, purity": purity(alive, rows),
            f"sums, {name}, purity, random": purity(random, rows),
            f"sums, {name}, purity, singular": purity(singular_parts(site.weight), rows),
            f"sums, {name}, purity, neurons": purity(neurons(site.weight, layer), rows),
            f"sums, {name}, alive": float(len(alive)),
            f"sums, {name}, needed per sum": float((gates > 0.1).sum(dim=1).float().mean()),
            f"sums, {name}, left over": found.faithfulness[layer],
            f"sums, {name}, like a neuron": like_neurons(found, layer),
        }
    return numbers | {
        "sums, error by importance": float(errors["importance"] / errors["no parts"]),
        "sums, error by others' importance": float(errors["of other inputs"] / errors["no parts"]),
    }


def neurons(weight: Float[Tensor, "d_in d_out"], layer: str) -> Float[Tensor, "n d_in d_out"]:
    """Return what each neuron has of a matrix."""
    split = torch.diag_embed(weight if layer == "mlp.c_fc" else weight.T).permute(1, 0, 2)
    return split if layer == "mlp.c_fc" else split.mT


def like_neurons(found: WeightParts, layer: str) -> float:
    """Return the mean, over parts alive, of the largest cosine with what one neuron has of the matrix."""
    side = (found.writes if layer == "mlp.c_fc" else found.reads)[layer][: found.n_alive[layer]]
    other = (found.reads if layer == "mlp.c_fc" else found.writes)[layer][: found.n_alive[layer]]
    weight = found.runs.site(layer).weight
    rows = nn.functional.normalize(weight.T if layer == "mlp.c_fc" else weight, dim=1)
    cosines = nn.functional.normalize(side, dim=1) * (
        nn.functional.normalize(other, dim=1) @ rows.T
    )
    return float(cosines.amax(dim=1).mean()) if len(cosines) else 0.0


def purity(parts: Float[Tensor, "n d_in d_out"], rows: Float[Tensor, "sums d_in"]) -> float:
    """Return parts' largest share of power at one frequency of either number or both, weighted by their power."""
    if not len(parts):
        return 0.0
    read = nn.functional.normalize(parts, dim=1)
    size = parts.flatten(1).norm(dim=1)
    widest = parts.norm(dim=1).argmax(dim=1)
    vectors = read[torch.arange(len(parts)), :, widest]
    h = (rows @ vectors.T).double().T.reshape(-1, MODULUS, MODULUS)
    power = torch.fft.fft2(h).abs().square()
    power[:, 0, 0] = 0
    total = power.sum(dim=(1, 2))
    bands = [torch.tensor([0, f, -f]) for f in range(1, MODULUS // 2 + 1)]
    at = torch.stack([power[:, band][:, :, band].sum(dim=(1, 2)) for band in bands], dim=1)
    weights = total * size**2
    return float((at.amax(dim=1) / total.clamp(min=1e-30) * weights).sum() / weights.sum())
