"""Matching pursuit reads Gram rows of 16 bits and still takes the steps of fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.codes import SparseCodes
from sae_nb.pursuit import _cpu as loops, _gram as gram, explain_plan, matching_pursuit

UNIT_OF_16_BITS = 1 / (2**15 - 1)


def _random(generator: torch.Generator) -> Tensor:
    return torch.randn(600, 48, generator=generator)


def _alike(generator: torch.Generator) -> Tensor:
    centres = normalize(torch.randn(30, 1, 48, generator=generator), dim=2)
    return (centres + 0.015 * torch.randn(30, 20, 48, generator=generator)).flatten(0, 1)


def _twins(generator: torch.Generator) -> Tensor:
    half = normalize(torch.randn(300, 48, generator=generator), dim=1)
    return torch.cat([half, half + 2e-6 * torch.randn(300, 48, generator=generator)])


def _crowd(generator: torch.Generator) -> Tensor:
    """Two hundred atoms nearly in one place, more than are compared one by one."""
    one = normalize(torch.randn(1, 48, generator=generator), dim=1)
    near = one + 1e-6 * torch.randn(200, 48, generator=generator)
    return torch.cat([near, torch.randn(300, 48, generator=generator)])


DICTIONARIES: dict[str, Callable[[torch.Generator], Tensor]] = {
    "random": _random, "alike": _alike, "twins": _twins, "crowd": _crowd,
}  # fmt: skip


def _problem(kind: str, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dictionary = normalize(DICTIONARIES[kind](generator), dim=1)
    chosen = torch.randint(len(dictionary), (150, 8), generator=generator)
    x = (0.5 + torch.rand(150, 8, generator=generator))[:, None] @ dictionary[chosen]
    return x[:, 0] + 0.1 * torch.randn(150, 48, generator=generator), dictionary


def _in_fp32(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **rules: Any) -> SparseCodes:
    with monkeypatch.context() as patch:
        patch.setattr(loops.Cpu, "rounds", False)
        return matching_pursuit(*arguments, **rules)


@pytest.mark.parametrize("kind", list(DICTIONARIES))
@pytest.mark.parametrize("reselect", [True, False, "stop"])
def test_codes_are_those_of_fp32(
    kind: str, reselect: Any, nonnegative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: the same atoms, and a coefficient comes from the residual itself."""
    for seed in range(2):
        x, dictionary = _problem(kind, seed)
        rules = {"nonnegative": nonnegative, "reselect": reselect}
        ours = matching_pursuit(x, dictionary, 24, **rules)
        expected = _in_fp32(monkeypatch, x, dictionary, 24, **rules)
        assert torch.equal(ours.offsets, expected.offsets)
        assert torch.equal(ours.atoms, expected.atoms)
        assert torch.equal(ours.values, expected.values)


def test_rounding_alone_would_choose_other_atoms() -> None:
    """The control: without the comparison of those within the error, groups of like atoms are mistaken."""
    x, dictionary = _problem("alike", 0)
    _, trace = matching_pursuit(x, dictionary, 24, trace=True)
    exact = dictionary @ dictionary.T
    wrong = {}
    for name, matrix in (
        ("fp32", exact),
        ("16 bits", (exact / UNIT_OF_16_BITS).round() * UNIT_OF_16_BITS),
    ):
        c, differs = x @ dictionary.T, torch.zeros(len(x), dtype=torch.bool)
        for step in range(24):
            amount, atom = c.max(dim=1)
            differs |= atom != trace.atoms[:, step]
            c = c - amount[:, None] * matrix[atom]
        wrong[name] = int(differs.sum())
    assert wrong["16 bits"] > 5 * wrong["fp32"]
    assert wrong["fp32"] <= 1


def test_steps_are_those_of_float64_where_fp32_can_tell() -> None:
    """Rows whose best two scores differ by 1e-6 ‖x‖ at every step of float64."""
    x, dictionary = _problem("alike", 1)
    residual, exact = x.double(), dictionary.double()
    sure, atoms = torch.ones(len(x), dtype=torch.bool), []
    for _ in range(12):
        scores, best = (residual @ exact.T).topk(2, dim=1)
        sure &= scores[:, 0] - scores[:, 1] > 1e-6 * x.norm(dim=1)
        residual = residual - scores[:, :1] * exact[best[:, 0]]
        atoms.append(best[:, 0])
    _, trace = matching_pursuit(x, dictionary, 12, trace=True)
    assert sure.double().mean() > 0.9
    assert torch.equal(trace.atoms[sure].long(), torch.stack(atoms, dim=1)[sure])


def test_atoms_of_any_norm_have_a_unit_that_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms of a tenth to one and a third; products then do not lie between −1 and 1."""
    x, dictionary = _problem("random", 2)
    lengths = torch.linspace(0.1, 1.3, len(dictionary))[:, None]
    ours = matching_pursuit(x, dictionary * lengths, 16, any_norm=True)
    expected = _in_fp32(monkeypatch, x, dictionary * lengths, 16, any_norm=True)
    assert torch.equal(ours.atoms, expected.atoms)
    assert torch.equal(ours.values, expected.values)


def test_a_row_that_is_explained_stops_as_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is below the rounding of 16 bits long before it is below that of fp32."""
    dictionary = torch.eye(40)[:, :24].clone()
    dictionary[24:] = normalize(torch.randn(16, 24), dim=1)
    x = torch.zeros(3, 24)
    x[0, :20] = 10.0 ** -torch.arange(20.0).mul(0.3)
    x[1, 3] = 2.0
    codes = matching_pursuit(x, dictionary, 20)
    assert codes.l0.tolist()[1:] == [1, 0]
    assert torch.equal(codes.to_dense(), _in_fp32(monkeypatch, x, dictionary, 20).to_dense())
    assert torch.allclose(codes.to_dense() @ dictionary, x, atol=2e-6)


def test_the_matrix_is_rounded_to_half_a_unit() -> None:
    """Of what a product of two atoms can be at most."""
    x, dictionary = _problem("random", 3)
    facts = gram.remember(dictionary, dictionary, norms="unit")
    with gram.gram_of(facts, dictionary, rounded=True) as matrix:
        assert matrix.dtype == torch.int16
        off = matrix.double() * facts.grain - dictionary.double() @ dictionary.double().T
        assert off.abs().max() <= 0.51 * facts.grain
        assert torch.equal(matrix, matrix.T)
    assert facts.grain == pytest.approx(UNIT_OF_16_BITS, rel=2e-3)
    plan = explain_plan(x, dictionary, 24)
    assert plan.strategy == "gram"
    assert plan.bytes["Gram matrix"] == 2 * len(dictionary) ** 2


def test_threads_change_nothing() -> None:
    x, dictionary = _problem("alike", 4)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            gram.forget()
            found.append(matching_pursuit(x, dictionary, 24))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].atoms, found[1].atoms)
    assert torch.equal(found[0].values, found[1].values)
