"""Triton's kernels against the reference and fp64, at odd sizes; and training steps that wait for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from triton_interpreter import DEVICE, NothingWaits, a_card

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.kernels import (
    _reference as reference,
    _triton_primitives as ours,
    batch_topk_encode,
    decode,
    nested_squared_error,
    paths_taken,
    per_entry,
    threshold_encode,
    topk_encode,
)
from sae_nb.kernels._adam import FusedAdam, half_of
from sae_nb.kernels._backends import Entries, PreCodes, precision, training_step

Triton = ours.Triton


def problem(rows: int, d: int, n: int, seed: int = 0) -> PreCodes:
    """A row of zeros and one of NaN among random ones."""
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias = (torch.randn(*s, generator=generator) for s in ((rows, d), (n, d), (n,)))
    x[0], x[1] = 0, torch.nan
    return PreCodes(x.to(DEVICE), weight.to(DEVICE), 0.1 * bias.to(DEVICE))


def chosen(pre_codes: PreCodes, half: bool, select: Callable[[Triton], Entries]) -> Any:
    """Entries as a step has them, the pre-codes they were chosen from, and both as matrices."""
    primitives = Triton(half=half)
    with training_step():
        entries = select(primitives)
        _, u = primitives._product(pre_codes, slice(None), again=True)
    return entries, u.float().nan_to_num(nan=-torch.inf)


def dense(entries: Entries, n: int) -> Tensor:
    support = entries.support
    z = torch.zeros(len(support.counts), n, device=entries.values.device)
    return z.index_put_(
        (support.rows.long(), entries.atoms.long()), entries.values, accumulate=True
    )


def holds(entries: Entries, wanted: Tensor, size: int) -> bool:
    """Whether entries are those of a matrix, of a fixed number, padding at the end of rows or of the batch."""
    support, n = entries.support, wanted.shape[1]
    alone = entries.alone()
    codes = SparseCodes(alone.values, alone.atoms, alone.offsets, n)
    return (
        len(entries.values) == size
        and torch.equal(dense(entries, n), wanted)
        and torch.equal(codes.to_dense(), wanted)
        and torch.equal(support.counts.long(), (wanted != 0).sum(dim=1))
    )


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "signed"), [(13, 3, False), (13, 13, True), (333, 1, False), (333, 3, True)]
)
def test_the_largest_of_rows_are_exact(n: int, k: int, signed: bool, half: bool) -> None:
    """In registers, from blocks, and with a ragged last block; k = 1 and k = n."""
    pre_codes = problem(4, 7, n)
    entries, u = chosen(pre_codes, half, lambda p: p.topk(pre_codes, k, signed=signed))
    finite = u.masked_fill(u == -torch.inf, 0) if signed else u
    assert holds(entries, reference.topk(finite, k, signed=signed).to_dense(), 4 * k)


@pytest.mark.slow
def test_rows_of_any_length_are_searched_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "IN_REGISTERS", 4)
    for k, bias in ((5, 0.0), (40, -9.0)):
        pre_codes = problem(3, 7, 50)
        pre_codes.bias.add_(bias)
        entries, u = chosen(pre_codes, True, lambda p, at=pre_codes, k=k: p.topk(at, k))
        assert holds(entries, reference.topk(u, k).to_dense(), 3 * k)


@pytest.mark.parametrize("share", [0.3, 0.0])
@pytest.mark.parametrize("n", [20, 333])
def test_the_largest_among_some_atoms(n: int, share: float) -> None:
    """No atom among them: no entry, and a row that is all negative has none either."""
    among = (torch.rand(n, generator=torch.Generator().manual_seed(1)) < share).to(DEVICE)
    pre_codes = problem(4, 7, n)
    entries, u = chosen(pre_codes, False, lambda p: p.topk(pre_codes, 4, among=among))
    assert holds(entries, reference.topk(torch.where(among, u, -1), 4).to_dense(), 16)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("n", "kept", "bias"), [(13, 9, 0.0), (13, 52, 0.0), (333, 20, 0.0), (70, 20, -99.0)]
)
def test_the_largest_of_a_batch_are_exact(n: int, kept: int, bias: float, half: bool) -> None:
    """Few, more than there are positive ones, and none."""
    pre_codes = problem(4, 7, n)
    pre_codes.bias.add_(bias)
    entries, u = chosen(pre_codes, half, lambda p: p.batch_topk(pre_codes, kept))
    assert holds(entries, reference.batch_topk(u, kept).to_dense(), kept)


@pytest.mark.slow
def test_of_equal_ones_a_batch_keeps_those_of_earlier_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And in a row those at lower atoms, also where it is looked at in pieces."""
    monkeypatch.setattr(ours, "_tile", lambda _: 16)
    pre_codes = problem(5, 3, 100)
    whole = PreCodes(pre_codes.x.nan_to_num().round(), pre_codes.weight.round())
    entries, u = chosen(whole, True, lambda p: p.batch_topk(whole, 31))
    assert holds(entries, reference.batch_topk(u, 31).to_dense(), 31)


@pytest.mark.parametrize("shift", [0.0, 50.0, -3.0])
def test_what_is_above_thresholds_fits_or_is_told(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room leaves entries out, which a flag on the card says; the next step has more."""
    monkeypatch.setattr(ours, "_CAPACITIES", {})
    pre_codes = problem(4, 7, 40)
    thresholds = torch.linspace(0, 1, 40, device=DEVICE) + shift
    entries, u = chosen(pre_codes, True, lambda p: p.above(pre_codes, thresholds))
    assert holds(entries, reference.above(u, thresholds).to_dense(), len(entries.values))
    (room,) = ours._CAPACITIES.values()
    assert room.entries == len(entries.values) or room.entries > 160
    if shift == 0:
        room.entries = 7
        room.needed.zero_(), room.seen.zero_()
        short, _ = chosen(pre_codes, True, lambda p: p.above(pre_codes, thresholds))
        assert torch.equal(short.values, entries.values[:7])
        assert bool(ours.overflowed(torch.device(room.needed.device)))
        ours.make_room()
        assert not bool(ours.overflowed(torch.device(room.needed.device)))
        again, _ = chosen(pre_codes, True, lambda p: p.above(pre_codes, thresholds))
        assert torch.equal(dense(again, 40), dense(entries, 40))


def off(ours: Tensor, true: Tensor) -> float:
    return float((ours.double() - true).abs().max() / true.abs().max().clamp(min=1e-30))


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", ["rows", "batch", "skewed", "wide"])
def test_sums_over_entries_are_those_of_fp64(
    kind: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding, its error, dots, and sums by atom, of rows and of values; skewed: one atom in all chunks."""
    rows, d, n, k = {"wide": (3, 37, 13, 3), "skewed": (40, 5, 30, 4)}.get(kind, (9, 7, 50, 3))
    if kind == "wide":
        monkeypatch.setattr(ours, "COLUMNS", 16)
    pre_codes = problem(rows, d, n)
    pre_codes.x.nan_to_num_()
    if kind == "skewed":
        pre_codes.bias[7] += 99
    p, weight = Triton(half=half), pre_codes.weight
    with training_step():
        entries = p.batch_topk(pre_codes, k * rows) if kind == "batch" else p.topk(pre_codes, k)
    support, z = entries.support, dense(entries, n).double()
    start, target = torch.ones(d, device=DEVICE), torch.randn(rows, d, device=DEVICE)
    atoms, inputs = ((half_of(t) if half else t).double() for t in (weight, target))
    at = (support.rows.long(), support.atoms.long())

    def of_entries(matrix: Tensor) -> Tensor:
        return matrix[at].masked_fill(support.fills, 0)

    left = target.double() - z @ atoms - start.double()
    found = p.residuals(entries.values, support, weight, start, target)
    again = p.sum_inputs(entries.values, support, target)
    assert off(p.sum_atoms(entries.values, support, weight, start), z @ atoms + start) < 1e-6
    assert off(found.residual, left) < 1e-6
    assert off(found.squared_error, left.square().sum()) < 1e-6
    if found.dots is not None:
        assert off(found.dots, of_entries(left @ atoms.T)) < 1e-6
        assert off(found.rough, left) < (2**-7 if half else 1e-6)
    assert off(p.dots(target, support, weight), of_entries(target.double() @ atoms.T)) < 1e-6
    assert off(again, z.T @ inputs) < 1e-6
    assert off(p.totals(entries.values, support), z.sum(dim=0)) < 1e-6
    assert off(p.totals(entries.values.clone(), support), z.sum(dim=0)) < 1e-6
    assert torch.equal(p.sum_inputs(entries.values, support, target), again)


STEPS: dict[str, Callable[[], Any]] = {
    "TopK": lambda: sn.TopK(6, 20, 3, aux_k=10),
    "push-up": lambda: sn.TopK(6, 20, 3, revival="push-up"),
    "resample": lambda: sn.TopK(6, 20, 3, revival="resample"),
    "AbsTopK": lambda: sn.AbsTopK(6, 20, 3),
    "BatchTopK": lambda: sn.BatchTopK(6, 20, 3),
    "BatchTopK, more than are positive": lambda: sn.BatchTopK(6, 20, 16),
    "JumpReLU": lambda: sn.JumpReLU(6, 20, l0=3),
    "ReLU": lambda: sn.ReLU(6, 20, l0=4.0, aux_weight=0.1),
    "Matryoshka": lambda: sn.Matryoshka(6, 20, 3),
    "random prefixes": lambda: sn.Matryoshka(6, 20, 3, over="TopK", random_prefixes=20),
    "Transcoder": lambda: sn.SkipTranscoder(4, 2, 20, 3),
    "Crosscoder": lambda: sn.Crosscoder([4, 2], 20, 3),
    "Crosscoder JumpReLU": lambda: sn.Crosscoder([4, 2], 20, base="JumpReLU"),
}


def step_of(sae: Any, x: Tensor, fraction: float | Tensor) -> tuple[Any, dict[str, Tensor]]:
    """The loss of a batch and the gradients of a training step, a third of the atoms dead."""
    silent = torch.zeros(sae.n_atoms, dtype=torch.int64, device=x.device)
    silent[::3] = 100
    sae.zero_grad()
    loss = sae.training_loss(x, silent, 50, fraction)
    loss.total.backward()
    return loss, {name: p.grad.clone() for name, p in sae.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(STEPS))
def test_a_training_step_waits_for_nothing_and_equals_that_of_the_cpu(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss, its terms, gradients and what the SAE remembers, to the rounding of fp32; prefixes drawn: all."""
    torch.manual_seed(0)
    sae, x = STEPS[kind](), torch.randn(9, 6)
    sites = list(x.split([4, 2], dim=1)) if sum(sae.sites) != sae.d_in or sae.by_site else x
    sae.initialise(tuple(sites) if sae.writes else sites, torch.Generator().manual_seed(0))
    sae.train()
    state = {name: value.clone() for name, value in sae.state_dict().items()}
    loss, gradients = step_of(sae, x, 0.02)
    sae.after_optimiser_step()
    after = {name: value.clone() for name, value in sae.state_dict().items()}
    sae.load_state_dict(state)
    with a_card(monkeypatch), precision("float32"):
        sae, x = sae.to(DEVICE), x.to(DEVICE)
        fraction = torch.tensor(0.02, device=DEVICE)
        step_of(sae, x, fraction)  # the first batch may look: at the room that thresholds need
        sae.load_state_dict(state)
        with NothingWaits():
            found, slopes = step_of(sae, x, fraction)
            sae.after_optimiser_step()
    assert found.parts.keys() == loss.parts.keys()
    assert slopes.keys() == gradients.keys()
    assert off(found.total, loss.total.double().to(DEVICE)) < 1e-5
    for name, gradient in gradients.items():
        assert off(slopes[name], gradient.double().to(DEVICE)) < 1e-5, name
    for name, value in sae.state_dict().items():
        assert off(value, after[name].double().to(DEVICE)) < 1e-5, name
    adam = FusedAdam(sae.parameters())
    with NothingWaits():
        norm = adam.norm()
        adam.step()
    every = torch.nn.utils.get_total_norm([p.grad for p in sae.parameters() if p.grad is not None])
    assert off(norm, every.double()) < 1e-5


@pytest.mark.slow
def test_gradients_in_bf16_are_those_of_what_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """3e-3 of fp64's, from the codes and atoms in bf16; a second step repeats bit for bit."""
    torch.manual_seed(0)
    sae, x = sn.TopK(40, 60, 8, aux_weight=0.0).to(DEVICE), torch.randn(12, 40, device=DEVICE)
    silent = torch.zeros(60, dtype=torch.int64, device=DEVICE)
    with a_card(monkeypatch):
        results = []
        for _ in range(2):
            sae.zero_grad()
            loss = sae.training_loss(x, silent, 50, 0.5)
            loss.total.backward()
            results.append((sae.operator.weight.grad.clone(), sae.encoder.weight.grad.clone()))
        assert paths_taken()["topk step"].chosen == "triton bf16"
        kept = sae.encode(x)
        assert kept.support.path.name == "triton"
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    z, rows = loss.codes.to_dense().double(), x.double()
    atoms = half_of(sae.operator.weight).double()
    scale = -2 / (len(x) * sae.scaling.variance.double())
    left = rows - sae.bias.double() - z @ atoms
    of_values = torch.where(z != 0, left @ atoms.T, 0) * scale
    seen = (rows - sae.bias.double()).bfloat16().double()
    for found, true in zip(results[0], (scale * z.T @ left, of_values.T @ seen), strict=True):
        assert float((found - true).norm() / true.norm()) < 3e-3
    assert kept.nnz == int((kept.values > 0).sum())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rows", "batch", "thresholds"])
def test_public_calls_have_no_padding_and_the_gradients_of_the_reference(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded, decoded, compared by nested prefixes, read by atom: fp32, as in every call outside of a step."""
    encode: dict[str, Callable[..., SparseCodes]] = {
        "rows": lambda *at, **how: topk_encode(*at, k=3, signed=True, **how),
        "batch": lambda *at, **how: batch_topk_encode(*at, k=2.5, **how),
        "thresholds": lambda *at, **how: threshold_encode(*at, thresholds=0.7, **how),
    }
    x, weight, bias = (torch.randn(*shape, device=DEVICE) for shape in ((7, 5), (19, 5), (19,)))
    results = []
    with a_card(monkeypatch):
        for backend in ("auto", "reference"):
            how: Any = {"backend": backend}
            own = [t.clone().requires_grad_() for t in (x, weight, bias, x[0])]
            codes = encode[kind](*own[:3], centre=own[3], **how)
            errors, *_ = nested_squared_error(codes, own[1], own[3], own[0], widths=(4, 19), **how)
            read = per_entry(own[2], codes, **how) * codes.values
            x_hat = decode(codes, own[1], **how)
            (errors[0] + 2 * errors[1] + read.sum() + x_hat.square().sum()).backward()
            assert bool((codes.values != 0).all())
            results.append((codes.to_dense().detach(), *(t.grad for t in own)))
    for found, true in zip(*results, strict=True):
        assert off(found, true.double()) < 1e-5


def test_adam_in_one_kernel_is_adam() -> None:
    """Clipping, the sphere, unit norm; a gradient that is not finite, or a flag, changes nothing."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(*s, generator=generator) for s in ((5, 33), (5, 33), (70,))]
    drawn[0] /= drawn[0].norm(dim=1, keepdim=True)
    fused = [torch.nn.Parameter(p.clone().to(DEVICE)) for p in drawn]
    plain = [torch.nn.Parameter(p.double()) for p in drawn]
    rate = torch.tensor(2e-3, device=DEVICE)
    groups = [
        {"params": fused[:1], "sphere": True, "copy": True},
        {"params": fused[1:], "lr": rate},
    ]
    how: dict[str, Any] = {"lr": 2e-3, "eps": 1e-9}
    ours, true = FusedAdam(groups, most=1.0, **how), torch.optim.Adam(plain, **how)
    for turn in range(5):
        for p, q in zip(fused, plain, strict=True):
            q.grad = torch.randn(q.shape, generator=generator).double() * (0.01 if turn % 2 else 1)
            p.grad = q.grad.float().to(DEVICE)
        fused[1].grad[0, 0] = torch.nan if turn == 2 else fused[1].grad[0, 0]
        ours.found.fill_(turn == 3)
        before = [p.detach().clone() for p in fused]
        with NothingWaits():
            norm = ours.norm()
            ours.step()
        if turn in (2, 3):
            assert all(torch.equal(a, b) for a, b in zip(before, fused, strict=True))
            continue
        with torch.no_grad():
            atoms = plain[0]
            length = atoms.norm(dim=1, keepdim=True)
            atoms.grad -= atoms * (atoms.grad * atoms).sum(dim=1, keepdim=True) / length**2
        assert off(norm, torch.nn.utils.clip_grad_norm_(plain, 1.0).to(DEVICE)) < 1e-6
        true.step()
        with torch.no_grad():
            plain[0].div_(plain[0].norm(dim=1, keepdim=True))
        for p, q in zip(fused, plain, strict=True):
            assert off(p.detach(), q.detach().to(DEVICE)) < 1e-6
    assert int(ours.skipped) == 2
    assert float(ours.state[fused[0]]["step"]) == 3
    assert torch.equal(half_of(fused[0].detach()), fused[0].detach().bfloat16())
    assert half_of(fused[0]).data_ptr() == half_of(fused[0]).data_ptr()  # the copy, not a new one
    with torch.no_grad():
        fused[0].mul_(2)  # its copy is older now
    assert torch.equal(half_of(fused[0]), fused[0].detach().bfloat16())


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import triton
from sae_nb.kernels import _triton as kernels
at = {"i": "i32", "f": "fp32", "P": "*fp32", "H": "*bf16", "I": "*i32", "S": "*i16", "L": "*i64", "U": "*u8"}
for line in sys.stdin.read().split(";"):
    name, types, numbers, warps = line.split()
    kernel, constants = getattr(kernels, name), eval(f"dict({numbers})")
    runtime = [a for a in kernel.arg_names if a not in constants]
    signature = dict(zip(runtime, (at[t] for t in types), strict=True))
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, {a: signature[a] for a in kernel.arg_names},
                       {(kernel.arg_names.index(a),): v for a, v in constants.items()})
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": int(warps)})
"""

AT_FULL_SIZE = (
    "select_blocks HHUIPISIii K2=32,NB2=512,G=32,SIGNED=0,AMONG=0,HALF=1,BITS=15 1",
    "select_long_rows HUIPISIii T=2048,SIGNED=0,AMONG=1,HALF=1,BITS=15 8",
    "count_digits HHIIIiiii SHIFT=7,WIDTH=8,G=32,R=128,GATED=1,HALF=1 8",
    "fill_against_key HHIILPISIii T=1024,G=32,HALF=1 4",
    "compare_rows HPILIPPPPHPPii KC=8,W=1024,FIXED=1,START=1,ROUGH=1 4",
    "sum_chunks SLIPHPPPPPiiii C=64,W=1024,FIXED=1 1",
    "adam_rows PPPPHIPPiffffff W=1024,SPHERE=1,COPY=1 4",
)


@pytest.mark.slow
def test_kernels_compile_for_a_hopper_card() -> None:
    """With the assembler of Triton's own wheel, and without a card."""
    quiet = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run(
        [sys.executable, "-c", COMPILE],
        input=";".join(AT_FULL_SIZE),
        env=quiet,
        text=True,
        check=True,
    )
