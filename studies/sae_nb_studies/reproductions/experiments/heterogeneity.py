"""E4, five concepts of equal variance spread over 6 to 126 directions: how many atoms does each input get?

`sn.data.uneven_dimensions`: 8 000 points each in 128 dimensions; 512 atoms. L0 and unexplained variance
by concept, and the slope of log L0 against log dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.data import ConceptClouds

SHORT = {"points": 2000, "steps": 200, "spade_weights": [1.0], "ks": [16]}
N_ATOMS = 512
PUBLISHED_PRICE = 0.5
"""γ of the published ReLU, on inputs of length √d_in.

An early version had 237 to 312 of 512 atoms on at this penalty after 800 steps, hence "dense"; ours
starts with few on, and has 18 to 77.
"""


def run(
    seed: int,
    *,
    points: int = 8000,
    steps: int = 800,
    spade_weights: Sequence[float] = (0.1, 1.0),
    ks: Sequence[int] = (16, 32),
) -> dict[str, float]:
    """Train every SAE and measure L0 and unexplained variance of each concept.

    `steps` of 512 rows; `ks`: atoms per input of TopK, and of ReLU on average.
    """
    data = sn.studies.data.uneven_dimensions(points, seed=seed)
    d_in = data.x.shape[1]
    saes: dict[str, SparseAutoencoder] = {}
    for weight in spade_weights:
        name = f"SpaDE {weight:g}"
        saes[name] = sn.SpaDE(d_in, N_ATOMS, sparsity=weight, generator=_generator(seed))
    for k in ks:
        saes[f"TopK {k}"] = sn.TopK(d_in, N_ATOMS, k, generator=_generator(seed))
        saes[f"ReLU {k}"] = sn.ReLU(d_in, N_ATOMS, l0=k, generator=_generator(seed))
    saes["dense ReLU"] = sn.ReLU(
        d_in, N_ATOMS, sparsity=PUBLISHED_PRICE / d_in**0.5, generator=_generator(seed)
    )
    untrained = sn.SpaDE(d_in, N_ATOMS, generator=_generator(seed))
    untrained.initialise(data.x[torch.randperm(len(data), generator=_generator(seed))[:8192]], None)
    numbers = _measured(untrained, data, "untrained")
    for name, sae in saes.items():
        sn.train(sae, data.x, _config(sae, steps, seed), progress=False)
        numbers |= _measured(sae, data, name)
    return numbers | _worst(numbers, list(saes))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _config(sae: SparseAutoencoder, steps: int, seed: int) -> sn.TrainConfig:
    """Return the published schedule for SpaDE, and its own for each other SAE."""
    rate, decay = (1e-2, 1.0) if isinstance(sae, sn.SpaDE) else (None, None)
    return sn.TrainConfig(
        steps=steps, batch_size=512, seed=seed, learning_rate=rate, decay_fraction=decay
    )


@torch.no_grad()
def _measured(sae: SparseAutoencoder, data: ConceptClouds, name: str) -> dict[str, float]:
    codes = sae.encode(data.x)
    active = torch.zeros(len(data)).index_add(
        0, codes.support.rows, (codes.values != 0).to(torch.float32)
    )
    numbers, l0 = {}, []
    for cloud, m in enumerate(data.dimensions):
        inside = data.concept == cloud
        x, x_hat = data.x[inside], sae.decode(codes.rows(inside))
        l0.append(float(active[inside].mean()))
        numbers[f"{name} l0 m={m}"] = l0[-1]
        numbers[f"{name} nmse m={m}"] = 1 - sn.evaluation.explained_variance(x, x_hat)
    sizes, counts = torch.tensor(data.dimensions).log(), torch.tensor(l0).clamp_min(1e-3).log()
    numbers[f"{name} slope"] = slope(sizes, counts)
    numbers[f"{name} least rise"] = float(torch.tensor(l0).diff().min())
    return numbers


def slope(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Return the slope of the least-squares line of y against x."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    return float((x * y).sum() / x.square().sum())


def _worst(numbers: dict[str, float], names: Sequence[str]) -> dict[str, float]:
    def over(what: str, kind: str) -> list[float]:
        return [numbers[f"{name} {what}"] for name in names if name.startswith(kind)]

    return {
        "SpaDE, slope": min(over("slope", "SpaDE")),
        "SpaDE, least rise": min(over("least rise", "SpaDE")),
        "TopK, slope": max(abs(value) for value in over("slope", "TopK")),
        "ReLU, slope": max(abs(value) for value in over("slope", "ReLU")),
        "dense ReLU, l0 ratio": numbers["dense ReLU l0 m=6"] / max(over("l0 m=6", "SpaDE")),
        "SpaDE, nmse ratio": min(_nmse_ratios(numbers, "SpaDE")),
        "TopK, nmse ratio": max(_nmse_ratios(numbers, "TopK")),
    }


def _nmse_ratios(numbers: dict[str, float], kind: str) -> list[float]:
    """Return, for each SAE, the unexplained variance of the widest concept over that of the narrowest."""
    found: dict[str, dict[int, float]] = {}
    for number, value in numbers.items():
        name, _, m = number.partition(" nmse m=")
        if m and name.startswith(kind):
            found.setdefault(name, {})[int(m)] = value
    return [by_size[max(by_size)] / by_size[min(by_size)] for by_size in found.values()]
