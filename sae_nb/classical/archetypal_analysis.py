"""Archetypal analysis: every row is a mixture of archetypes, every archetype a mixture of rows.

min ‖X − Z W X‖²  with the rows of Z (n × K) and of W (K × n) on the probability simplex.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures.proxes import SimplexProx

INNER = 10
"""Accelerated projected gradient steps in Z, and in W, per alternation. Ours."""


@torch.no_grad()
def archetypal_analysis(
    x: Float[Tensor, "n d_in"],
    n_atoms: int,
    *,
    n_steps: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n_atoms n"], list[float]]:
    """Find archetypes: extreme points whose hull holds the data as well as may be.

    Parameters
    ----------
    x
        Rows.
    n_atoms
        Number of archetypes, at most n.
    n_steps
        Alternations.
    generator
        Draws the first archetype.

    Returns
    -------
    tuple
        W (the archetypes are W X), and ‖X − Z W X‖² after every alternation, which never rises.

    Source
    ------
    Cutler and Breiman, "Archetypal analysis", Technometrics 1994; projected gradients as in Mørup and
    Hansen, Neurocomputing 2012, with steps from the Lipschitz constants instead of a search; started
    from rows far apart (their FurthestSum, simplified).
    """
    # Mixtures move with the data, so the mean can be taken off; steps may then be longer.
    x = x - x.mean(dim=0)
    w = torch.zeros(n_atoms, len(x), dtype=x.dtype)
    w[torch.arange(n_atoms), far_apart(x, n_atoms, generator)] = 1
    z = torch.full((len(x), n_atoms), 1 / n_atoms, dtype=x.dtype)
    spread = _squared_norm(x)
    errors = []
    for _ in range(n_steps):
        atoms = w @ x
        z = _descend(z, atoms, x, _squared_norm(atoms))
        _move_archetypes(w, x, z, spread)
        errors.append(float((x - z @ (w @ x)).square().sum()))
    return w, errors


def _move_archetypes(w: Tensor, x: Tensor, z: Tensor, spread: float) -> None:
    """Bring each archetype in turn to the point of the hull that serves best, the others fixed.

    With R what the others leave, ‖R − z_k a‖² = ‖z_k‖² ‖a − v‖² + const for v = Rᵀz_k / ‖z_k‖²: so
    a = w_k X is the projection of v on the hull.
    """
    residual = x - z @ (w @ x)
    for k in range(len(w)):
        weight = z[:, k]
        power = float(weight @ weight)
        if power == 0:
            continue
        atom = w[k] @ x
        wanted = atom + residual.T @ weight / power
        w[k] = _descend(w[k : k + 1], x, wanted[None], spread)[0]
        residual += torch.outer(weight, atom - w[k] @ x)


def _descend(start: Tensor, points: Tensor, target: Tensor, bound: float) -> Tensor:
    """Accelerated projected gradient steps on ‖target − m · points‖² over mixtures m."""
    project, step = SimplexProx(), 1 / max(bound, 1e-12)
    point = ahead = start
    for t in range(INNER):
        new = project.dense(ahead - step * (ahead @ points - target) @ points.T)
        # Momentum is dropped whenever it points uphill, so the error never rises.
        uphill = float(((ahead - new) * (new - point)).sum()) > 0
        ahead = new if uphill else new + t / (t + 3) * (new - point)
        point = new
    return point


def _squared_norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2)) ** 2


def far_apart(x: Float[Tensor, "n d_in"], n: int, generator: torch.Generator) -> Tensor:
    """Rows chosen one by one, each the farthest from those chosen before.

    Parameters
    ----------
    x
        Rows.
    n
        How many.
    generator
        Draws a row; the first choice is the one farthest from it.

    Example
    -------
    >>> x = torch.tensor([[0.0], [1.0], [9.0], [10.0]])
    >>> far_apart(x, 2, torch.Generator().manual_seed(0)).sort().values.tolist()
    [0, 3]
    """
    drawn = x[torch.randint(len(x), (1,), generator=generator)]
    distance = torch.cdist(x, drawn)[:, 0]
    chosen = [int(distance.argmax())]
    distance = torch.cdist(x, x[chosen])[:, 0]
    while len(chosen) < n:
        chosen.append(int(distance.argmax()))
        distance = distance.minimum(torch.cdist(x, x[chosen[-1:]])[:, 0])
    return torch.tensor(chosen)
