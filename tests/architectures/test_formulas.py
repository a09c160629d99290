"""Parts of architectures on a few uneven numbers: by hand, or written out in plain torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import (
    ConvolutionOperator,
    FixedOperator,
    HardProx,
    IdentityProx,
    RidgeProx,
    SimplexProx,
    SoftProx,
    TopKProx,
    admm,
    cg,
    fista,
    ista,
)
from sae_nb.architectures._matryoshka import drawn_on
from sae_nb.architectures._one_step import below
from sae_nb.architectures._recipe import InputScaling, geometric_median
from sae_nb.architectures._revival import resampled_atoms
from sae_nb.architectures._sparsity import Adaptive
from sae_nb.architectures._universal import _mixed
from sae_nb.architectures.parts._proxes import codes_where, entries_above, tile_of


def problem(n_atoms: int, d_in: int) -> tuple[FixedOperator, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n_atoms)
    atoms = torch.randn(n_atoms, d_in, generator=generator, dtype=torch.float64)
    x = torch.randn(3, d_in, generator=generator, dtype=torch.float64)
    return FixedOperator(atoms), x, atoms


def soft(v: Tensor, limit: float) -> Tensor:
    return v.sign() * (v.abs() - limit).clamp_min(0)


@pytest.mark.parametrize(("n_atoms", "d_in"), [(7, 4), (3, 5)])
@pytest.mark.parametrize("restart", [True, False])
def test_solvers_take_the_published_steps(n_atoms: int, d_in: int, restart: bool) -> None:
    """ISTA, FISTA and ADMM on ½‖x − z D‖² + 0.3 ‖z‖₁, nine steps of each."""
    operator, x, atoms = problem(n_atoms, d_in)
    step = 1 / operator.lipschitz()

    def once(z: Tensor) -> Tensor:
        return soft(z + step * (x - z @ atoms) @ atoms.T, 0.3 * step)

    z = x.new_zeros(3, n_atoms)
    for _ in range(9):
        z = once(z)
    found = ista(operator, x, SoftProx(0.3), n_steps=9)
    torch.testing.assert_close(found.to_dense(), z, atol=1e-9, rtol=1e-7)
    rows = []
    for i in range(3):
        z = y = x.new_zeros(3, n_atoms)
        t = 1.0
        for _ in range(9):
            new, following = once(y), (1 + math.sqrt(1 + 4 * t * t)) / 2
            momentum = (t - 1) / following
            if restart and float(((y - new) * (new - z))[i].sum()) > 0:
                momentum, following = 0.0, 1.0
            y, z, t = new + momentum * (new - z), new, following
        rows.append(z[i])
    found = fista(operator, x, SoftProx(0.3), restart=restart, n_steps=9)
    torch.testing.assert_close(found.to_dense(), torch.stack(rows), atol=1e-9, rtol=1e-7)
    z = u = x.new_zeros(3, n_atoms)
    matrix = atoms @ atoms.T + 0.7 * torch.eye(n_atoms, dtype=x.dtype)
    for _ in range(9):
        w = torch.linalg.solve(matrix, (x @ atoms.T + 0.7 * (z - u)).T).T
        z = soft(w + u, 0.3 / 0.7)
        u = u + w - z
    found = admm(operator, x, SoftProx(0.3), rho=0.7, n_steps=9)
    torch.testing.assert_close(found.to_dense(), z, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize(("n_atoms", "d_in"), [(5, 3), (3, 5)])
def test_conjugate_gradients_are_the_dense_solve(n_atoms: int, d_in: int) -> None:
    operator, x, atoms = problem(n_atoms, d_in)
    atoms = atoms * torch.arange(1.0, n_atoms + 1)[:, None]
    ridge = atoms @ atoms.T + 0.4 * torch.eye(n_atoms, dtype=x.dtype)
    wanted = torch.linalg.solve(ridge, (x @ atoms.T).T).T
    operator = FixedOperator(atoms)
    found = cg(operator, x, RidgeProx(0.4), n_steps=n_atoms)
    torch.testing.assert_close(found.to_dense(), wanted, atol=1e-7, rtol=1e-6)
    # One step: along the gradient over the diagonal, as far as the quadratic falls.
    r = x @ atoms.T
    p = r / (atoms.square().sum(dim=1) + 0.4)
    length = (r * p).sum(dim=1) / (p * (p @ ridge)).sum(dim=1)
    first = cg(operator, x, RidgeProx(0.4), n_steps=1).to_dense()
    torch.testing.assert_close(first, length[:, None] * p, atol=1e-9, rtol=1e-7)
    silent = atoms.clone()
    silent[1] = 0
    least = cg(FixedOperator(silent), x, IdentityProx(), n_steps=n_atoms).to_dense()
    others = [i for i in range(n_atoms) if i != 1]
    fitted = x @ torch.linalg.pinv(silent[others])
    torch.testing.assert_close(
        least[:, others] @ silent[others], fitted @ silent[others], atol=1e-6, rtol=1e-5
    )
    assert bool((least[:, 1] == 0).all())


def test_objectives_count_what_they_say() -> None:
    z = torch.tensor([[1.0, 0.0, 3.0], [0.5, 0.25, 0.25], [-1.0, 0.0, 2.0]])
    assert HardProx(0.5).objective(z).tolist() == [1, 1.5, 1]
    assert HardProx(0.5, nonnegative=True).objective(z).tolist() == [1, 1.5, math.inf]
    assert TopKProx(2).objective(z).tolist() == [0, math.inf, math.inf]
    assert SoftProx(0.5).objective(z).tolist() == [2, 0.5, 1.5]
    cost = torch.tensor([1.0, 2.0, 4.0])
    assert SimplexProx(cost).objective(z).tolist() == [math.inf, 2, math.inf]
    assert RidgeProx(0.5).objective(z).tolist() == pytest.approx([2.5, 0.09375, 1.25])
    assert IdentityProx().objective(z).tolist() == [0, 0, 0]
    assert IdentityProx().dense(z).tolist() == z.tolist()
    kept = HardProx(0.5).dense(torch.tensor([[2.0, -2.1, 1.9]]), 4.0)
    assert kept[0].tolist() == pytest.approx([0, -2.1, 0])


@pytest.mark.parametrize("bias", [None, torch.tensor([0.1, -0.2, 0.3, 0.0])])
def test_the_simplex_is_reached_at_a_cost(bias: Tensor | None) -> None:
    """The point of the simplex nearest to pre-codes less their costs, against every support."""
    generator = torch.Generator().manual_seed(4)
    x, weight = torch.randn(5, 3, generator=generator), torch.randn(4, 3, generator=generator)
    cost = torch.tensor([0.5, 0.0, 1.0, 0.2])
    codes = SimplexProx(cost).of_affine(x, weight, bias, None)
    assert (codes.n_rows, codes.n_atoms) == (5, 4)
    for v, found in zip(
        x @ weight.T + (0 if bias is None else bias) - cost, codes.to_dense(), strict=True
    ):
        best, least = v, math.inf
        for chosen in range(1, 16):
            on = torch.tensor([bool(chosen >> i & 1) for i in range(4)])
            z = torch.where(on, v - (v[on].sum() - 1) / on.sum(), torch.zeros(4))
            if bool((z >= 0).all()) and float((z - v).square().sum()) < least:
                best, least = z, float((z - v).square().sum())
        assert found.tolist() == pytest.approx(best.tolist(), abs=1e-5)


def test_entries_are_taken_by_row() -> None:
    v = torch.tensor([[1.0, 3.0, 2.0], [0.0, 5.0, 1.5]])
    found = entries_above(v, torch.tensor([[1.5], [1.0]]))
    assert found.to_dense().tolist() == [[0, 3, 2], [0, 5, 1.5]]
    same = codes_where(v, (v > torch.tensor([[1.5], [1.0]])).numpy())
    assert same.to_dense().tolist() == found.to_dense().tolist()
    assert tile_of(v, slice(1, 2)).tolist() == [[0, 5, 1.5]]
    assert tile_of(v[0], slice(1, 2)).tolist() == [1, 3, 2]
    assert tile_of(2.0, slice(1, 2)) == 2


def test_a_kernel_is_an_atom_at_every_place() -> None:
    operator = ConvolutionOperator(torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]]), n_samples=5)
    assert (operator.n_places, operator.n_atoms, operator.d_in) == (4, 12, 5)
    assert operator.energy().tolist() == [5] * 4 + [10] * 4 + [0.25] * 4
    whole = ConvolutionOperator(torch.ones(1, 5), n_samples=5)
    assert whole.n_atoms == 1


def test_scaling_and_median_are_in_the_units_of_the_rows() -> None:
    scaling = InputScaling(2)
    scaling.fit_(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    assert scaling.mean.tolist() == [2, 2]
    assert float(scaling.variance) == pytest.approx(5)
    assert float(scaling.scale) == pytest.approx(math.sqrt(2 / 5))
    scaling.fit_(torch.tensor([[0.1, 0.0], [0.3, 0.4]]))
    assert float(scaling.scale) == pytest.approx(10 * math.sqrt(2 / 5))
    scaling.fit_(torch.ones(3, 2))
    assert float(scaling.scale) == 1
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.3, 1.0], [9.0, 9.0], [0.5, 0.1]]).double()
    median = geometric_median(rows)
    for size in (1e-3, 1e3):
        scaled = geometric_median(size * rows) / size
        torch.testing.assert_close(scaled, median, atol=1e-6, rtol=0)


def test_rows_that_replace_atoms_lie_evenly_on_a_line() -> None:
    """Squared lengths 1, 1, 4: the middles of two halves of 6 are 1.5 and 4.5."""
    residual = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    atoms, found = resampled_atoms(residual, torch.tensor([5, 8]))
    assert atoms.tolist() == [5, 8]
    assert found.tolist() == [[0, 1], [1, 0]]
    # Of 1 and 9, both middles, 2.5 and 7.5, are in the second row, which is taken once.
    two = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    atoms, found = resampled_atoms(two, torch.tensor([5, 8, 9]))
    assert (atoms.tolist(), found.tolist()) == ([5], [[0, 1]])
    for dead, left in ((torch.tensor([3]), torch.zeros(3, 2)), (torch.tensor([]).long(), residual)):
        atoms, found = resampled_atoms(left, dead)
        assert (atoms.shape, found.shape) == ((0,), (0, 2))


def test_the_price_of_an_entry_follows_the_target() -> None:
    """Twice as many entries as wanted: up by 2 to the power 0.01; at most a factor e is counted."""
    price = Adaptive(2.0)
    codes = sn.SparseCodes.from_dense(torch.ones(4, 4))
    assert float(price(codes, 4)) == pytest.approx(2**0.01)
    assert float(price(codes, 4, lambda n: n * 100)) == pytest.approx(2**0.01 * math.exp(0.01))
    assert float(Adaptive(None)(codes, 4)) == 1


def test_a_threshold_lies_below_by_the_rounding_of_its_sums() -> None:
    """4 ε √16 · 8 of the sums, and ε · 2 of the number itself."""
    eps = torch.finfo(torch.float64).eps
    smallest, largest = torch.tensor(2.0).double(), torch.tensor(8.0).double()
    assert float(smallest - below(smallest, largest, 16)) / eps == 130
    assert float(below(smallest, torch.tensor(1e30).double(), 16)) == 0


def test_drawn_prefixes_are_ordered_and_end_with_all_atoms() -> None:
    torch.manual_seed(0)
    for n in (3, 9):
        drawn = drawn_on(torch.device("cpu"), 10, n).tolist()
        assert drawn == sorted(set(drawn))
        assert len(drawn) == n + 1
        assert drawn[-1] == 10
        assert drawn[0] >= 1
    assert drawn_on(torch.device("cpu"), 10, 9).tolist() == [*range(1, 11)]


def test_draws_are_those_published_for_splitmix64() -> None:
    """The first numbers of seed 1234567, as other implementations print them."""
    assert [_mixed(1234567, number) for number in range(5)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
        4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_settings_and_beginnings_are_those_of_the_papers() -> None:
    assert sn.TopK(4, 8, 2).aux_weight == 1 / 32
    gated = sn.Gated(4, 8)
    own = {id(one.rows): one.begins for one in gated._atom_rows()}
    assert own[id(gated.magnitude_bias)] == own[id(gated.log_gain)] == 0


def test_a_pursuits_loss_is_a_share_of_the_variance() -> None:
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(5)) + 0.5
    sae = sn.MatchingPursuit(4, 7, 2, generator=torch.Generator().manual_seed(1))
    sae.initialise(x, torch.Generator().manual_seed(0))
    loss = sae.training_loss(x, torch.zeros(7, dtype=torch.int64), 100, 0.5)
    left = (x - sae.decode(loss.codes)).detach().square().sum()
    spread = (x - x.mean(dim=0)).square().sum()
    assert float(loss.total.detach()) == pytest.approx(float(left / spread), rel=1e-4)
