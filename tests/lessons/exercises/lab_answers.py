"""Answers to the exercises of the labs: right ones however written, and the common mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.linalg import subspace_angles
from torch import Tensor
from torch.nn.functional import conv2d, pad

from tests.lessons.exercises.asked import Asked

LAPLACE = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def ring(h: Tensor, v: Tensor, m: Tensor, dt: float) -> Tensor:
    bent = conv2d(h[None, None], LAPLACE[None, None], padding=1)[0, 0]
    v = v + dt * bent * m
    return torch.stack([(h + dt * v) * m, v])


def placed(h: Tensor, places: int) -> Tensor:
    return torch.stack([pad(h, (i, places - 1 - i)) for i in range(places)])


def moved(z: Tensor, x: Tensor, h: Tensor, b: float, size: float, weight: float) -> Tensor:
    atoms = placed(h, len(z))
    return torch.relu(z + size * atoms @ (x - torch.exp(z @ atoms + b)) - size * weight)


def loss(f_reference: Tensor, f_data: Tensor, weight: float) -> Tensor:
    return weight * f_reference.exp().sum() - weight * len(f_reference) - f_data.sum()


def changed(x: Tensor, gamma: float) -> Tensor:
    before = x.roll(1, dims=0)
    before[0] = x[0]
    return (1 + gamma) * x - gamma * before


def by_powers(b: Tensor, a: Tensor, order: int) -> Tensor:
    return torch.stack([torch.linalg.matrix_power(a, g) @ b for g in range(order)])


def attended(query: Tensor, patches: Tensor, centres: Tensor, a: float, b: float) -> Tensor:
    likely = (a * patches @ query - a**2 * patches.square().sum(dim=1) / 2) / b**2
    return (likely.softmax(dim=0) * centres).sum()


ASKED = [
    Asked(
        "lab_01.1",
        right=[
            lambda z: z.T @ z - torch.diag((z * z).sum(dim=0)),
            lambda z: torch.einsum("ij,il->jl", z, z) * (1 - torch.eye(z.shape[1])),
        ],
    ),
    Asked(
        "lab_01.2",
        right=[0.25],  # (1 + 2λ) / 2‖W‖²
        near=[(0.125, "leaves out the reconstruction"), (0.5, "Halve it")],
    ),
    Asked(
        "lab_02.1",
        right=[
            lambda z, ridge: torch.inverse(z @ z.T + ridge * torch.eye(len(z))) @ z,
            lambda z, ridge: z @ torch.inverse(z.T @ z + ridge * torch.eye(z.shape[1])),
        ],
    ),
    Asked("lab_02.2", right=[250], near=[(500, "½")]),  # half of the trace
    Asked("lab_03.1", right=[ring]),
    Asked("lab_03.2", right=[9], near=[(10, "held")]),
    Asked("lab_04.1", right=[moved]),
    Asked("lab_04.2", right=[1 / 1.96], near=[(1, "overlap"), (1.96, "1 / L")]),
    Asked("lab_05.1", right=[loss, lambda a, b, w: float(loss(a, b, w))]),
    Asked("lab_05.3", right=[999], near=[(1000, "One fewer"), (99, "1/100")]),
    Asked("lab_06.1", right=[1 / math.sqrt(5)], near=[(0.2, "variance"), (0.5, "noise alone")]),
    Asked(
        "lab_06.2",
        right=[lambda solve, signs: sum(p * solve(p[None])[0] for p in signs) / len(signs)],
    ),
    Asked("lab_07.1", right=[changed]),
    Asked("lab_07.2", right=[5], near=[(3, "change of +1")]),
    Asked("lab_08.1", right=[by_powers]),
    Asked("lab_08.2", right=[6], near=[(36, "within rows")]),
    Asked("lab_09.1", right=[lambda a, b: float(np.linalg.norm(subspace_angles(a, b)))]),
    Asked("lab_09.2", right=[0.05], near=[(4 / 99, "count it")]),
    Asked("lab_10.1", right=[attended]),
    Asked("lab_10.2", right=[16], near=[(4, "patches"), (8, "")]),
]
