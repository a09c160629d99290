"""Every strategy gives the same codes; the plan says what it takes."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from sae_nb.pursuit import (
    Plan,
    _engine as engine,
    _gram as gram,
    _planning as planning,
    explain_plan,
    matching_pursuit,
)
from sae_nb.pursuit._cpu import Cpu
from sae_nb.pursuit._planning import Size, make_plan

SIZE = Size(
    rows=4096,
    d_in=768,
    n_atoms=8192,
    k=32,
    dtype=torch.float32,
    device=torch.device("cpu"),
    refits=False,
    trace=False,
    refresh_every=32,
    gram_known=False,
)


def _problem(rows: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 24, generator=generator, dtype=torch.float64)
    dictionary = torch.randn(260, 24, generator=generator, dtype=torch.float64)
    return x, dictionary / dictionary.norm(dim=1, keepdim=True)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    from sae_nb.pursuit import _pursuits as running

    followed: list[Plan] = []

    def note(*arguments: Any) -> Plan:
        followed.append(make_plan(*arguments))
        return followed[-1]

    monkeypatch.setattr(running, "make_plan", note)
    return followed


def test_every_strategy_gives_the_same_codes(
    pursuit: Any, nonnegative: bool, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the Gram matrix and without, in one tile and in many; some of its rows: next test."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # each thread packs a slice of its own
    x, dictionary = _problem(50)
    expected = pursuit(x, dictionary, 6, nonnegative=nonnegative, backend="reference").to_dense()
    for cap in (None, 620_000, 110_000, 90_000):
        gram.forget()
        codes = pursuit(x, dictionary, 6, nonnegative=nonnegative, memory_cap=cap)
        assert torch.allclose(codes.to_dense(), expected, atol=1e-9)
        assert cap is None or plans[-1].peak_bytes <= cap
    assert {plan.strategy for plan in plans} == {"gram", "direct"}
    assert len({plan.tile_rows for plan in plans}) > 2


@pytest.mark.parametrize("slots", [1, 3, 64, 260])
@pytest.mark.parametrize("reselect", [True, False])
def test_a_row_cache_of_any_size_gives_the_same_codes(slots: int, reselect: bool) -> None:
    """Also when one step chooses more atoms than there are slots."""
    from sae_nb.pursuit._checking import check_dictionary
    from sae_nb.pursuit._problem import Problem

    x, dictionary = _problem(40)
    problem = Problem(
        x=x, dictionary=dictionary, k=9, algorithm="matching_pursuit", reselect=reselect,
        refresh_every=4,
    )  # fmt: skip
    facts = check_dictionary(dictionary, normalise=False)
    plan = Plan("rows", tile_rows=17, gram_rows=slots, bytes={}, seconds=0.0)
    steps = engine.pursue(problem, plan, facts, Cpu())
    expected, trace = matching_pursuit(
        x, dictionary, 9, reselect=reselect, backend="reference", trace=True
    )
    assert torch.equal(steps.atoms.gather(1, steps.places.long()), trace.atoms)
    assert torch.allclose(steps.selections().merge(steps.amounts[steps.taken()]), expected.values)


@pytest.mark.parametrize("refresh_every", [1, 3, 16, 1000])
def test_refreshing_changes_nothing_but_rounding(refresh_every: int) -> None:
    """Correlations computed anew at any interval lead to the same codes."""
    x, dictionary = _problem()
    expected = matching_pursuit(x, dictionary, 20, backend="reference").to_dense()
    ours = matching_pursuit(x, dictionary, 20, refresh_every=refresh_every).to_dense()
    assert torch.allclose(ours, expected, atol=1e-9)


def test_drift_stays_within_its_bound() -> None:
    """After 32 fp32 updates correlations are off by a few units in the last place of ‖x‖."""
    from sae_nb.pursuit._checking import check_dictionary
    from sae_nb.pursuit._problem import Problem, Steps

    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(512, 64, generator=generator), dim=1)
    x = torch.randn(64, 64, generator=generator)
    problem = Problem(x=x, dictionary=dictionary, k=33, algorithm="matching_pursuit")
    plan = Plan("gram", tile_rows=64, gram_rows=512, bytes={}, seconds=0.0)
    steps, buffers = Steps.empty(problem), engine.Buffers(problem, plan)
    facts = check_dictionary(dictionary, normalise=False)
    with gram.gram_of(facts, dictionary) as matrix:
        tile = engine.Tile(problem, steps, slice(0, 64), buffers, matrix)
        tile.correlate()
        Cpu().matching(tile, 0, 33, keep=True)
    last = dictionary[steps.atoms.gather(1, steps.places.long())[:, -1].long()]
    before = tile.r + steps.amounts[:, -1:] * last
    exact = before.double() @ dictionary.double().T
    drift = (tile.c - exact).abs().amax(dim=1) / x.norm(dim=1)
    assert 0 < float(drift.max()) < 33 * torch.finfo(torch.float32).eps


def test_the_plan_adds_up() -> None:
    plan = make_plan(SIZE, 2**30)
    assert plan.strategy == "gram"
    assert plan.tile_rows * 8192 * 4 == planning.TILE_BYTES["cpu"]
    assert plan.bytes["Gram matrix"] == 8192**2 * 2
    assert plan.bytes["correlations"] == 64 * 2**20
    assert plan.peak_bytes < 2**28 + 2**26 + 2**25
    assert plan.peak_bytes < SIZE.rows * SIZE.n_atoms * SIZE.k * 4 / 10
    text = str(plan)
    assert "Gram matrix" in text
    assert "128.0 MiB" in text
    assert "not direct: about" in text


SMALL = replace(SIZE, rows=10, d_in=6, n_atoms=20, k=3, refresh_every=2)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


def _used(plan: Plan) -> dict[str, int]:
    return {part: size for part, size in plan.bytes.items() if size}


@pytest.mark.usefixtures("two_threads")
def test_bytes_are_those_of_every_array() -> None:
    """Ten rows in tiles of five, width 6, 20 atoms, three steps; 16 bits of a whole Gram matrix, then 32, 64."""
    plan = planning._plan(SMALL, "gram", 5, 20)
    both = {"correlations": 5 * 20 * 4, "residuals": 5 * 6 * 4}
    both |= {"packed factors": 2 * 6 * 20 * 4 + 240, "steps": 10 * (3 * 12 + 17)}
    both |= {"codes": 10 * (3 * (4 + 4 + 12) + 8)}
    panel = 20 * 256 * 4
    assert _used(plan) == both | {"Gram matrix": 20 * 20 * 2, "Gram matrix, a panel": panel}
    known = planning._plan(replace(SMALL, gram_known=True), "gram", 5, 20)
    assert _used(known) == both | {"Gram matrix": 20 * 20 * 2}
    rows = planning._plan(SMALL, "rows", 5, 4)
    assert _used(rows) == both | {"Gram matrix": 20 * 4 * 4, "chosen atoms": 4 * 6 * 4}
    exact = replace(SMALL, dtype=torch.float64, refits=True, trace=True)
    assert _used(planning._plan(exact, "gram", 5, 20)) == {
        "Gram matrix": 20 * 20 * 8,
        "correlations": 5 * 20 * 8,
        "residuals": 5 * 6 * 8,
        "packed factors": 2 * 6 * 20 * 8 + 480,
        "small systems": 5 * (16 * 9 + 60),
        "steps": 10 * (3 * 16 + 17 + 8 * (4 + 9)),
        "codes": 10 * (3 * (8 + 4 + 12) + 8),
    }
    traced = replace(SMALL, trace=True)
    assert planning._plan(traced, "direct", 5, 0).bytes["steps"] == 10 * (3 * 12 + 17 + 4 * 4)


@pytest.mark.usefixtures("two_threads")
def test_a_product_packs_a_slice_of_its_factors() -> None:
    """768 numbers in four slices of 192, of 204 at most; what a thread packs has an upper bound."""
    assert planning._packed_bytes(replace(SIZE, n_atoms=512), 9) == 2 * 512 * 192 * 4 + 2 * 98304
    assert (
        planning._packed_bytes(replace(SIZE, d_in=205, n_atoms=64), 9) == 2 * 64 * 103 * 4 * 5 // 4
    )
    assert (
        planning._packed_bytes(replace(SIZE, d_in=204, n_atoms=64), 9) == 2 * 64 * 204 * 4 * 5 // 4
    )
    assert planning._packed_bytes(SIZE, 9) == 2 * 6528 * 192 * 4 + 2**20
    exact = replace(SIZE, dtype=torch.float64)
    assert planning._packed_bytes(exact, 9) == 2 * 6528 * 40 * 8 * 5 // 4
    card = replace(SMALL, device=torch.device("cuda"))
    assert planning._packed_bytes(card, 5) == 6 * (5 + 20) * 4 // 2
    assert planning._packed_bytes(replace(card, n_atoms=10**7), 5) == 12 * 2**20


@pytest.mark.usefixtures("two_threads")
def test_seconds_are_those_of_products_and_updates() -> None:
    """1000 rows, width 100, 500 atoms: a product is 10⁸ operations at 10¹¹ a second; 2 MB at 6 · 10⁹."""
    size = replace(SIZE, rows=1000, d_in=100, n_atoms=500, k=7, refresh_every=3)
    product, update, gram_matrix = 1e-3, 2e6 / 6e9, 2.5e-4

    def seconds(strategy: Any, tile_rows: int = 100, gram_rows: int = 0, **change: Any) -> float:
        return planning._plan(replace(size, **change), strategy, tile_rows, gram_rows).seconds

    assert seconds("direct") == pytest.approx(7 * (product + update))
    assert seconds("gram") == pytest.approx(3 * product + 7 * update + gram_matrix)
    assert seconds("gram", gram_known=True) == pytest.approx(3 * product + 7 * update)
    assert seconds("gram", seconds_without=1e-4) == pytest.approx(3e-3 + 7 * update + 1.5e-4)
    assert seconds("gram", seconds_without=9) == pytest.approx(3e-3 + 7 * update)
    solved = 49 * 1000 * 500 / 1.2e10
    assert seconds("gram", refits=True) == pytest.approx(product + solved + gram_matrix)
    slower = {"dtype": torch.float64}
    assert seconds("direct", **slower) == pytest.approx(7 * (2 * product + 2 * update))
    assert seconds("gram", refits=True, **slower) == pytest.approx(
        2 * (product + solved + gram_matrix)
    )
    # a tile of 100 rows takes 700 atoms of 500, some twice; a row is a 500th of twice the matrix
    taken = 500 * (1 - math.exp(-700 / 500))
    steps = 3 * product + 21 * update
    assert seconds("rows", gram_rows=64) == pytest.approx(
        steps + 10 * taken / 500 * 2 * gram_matrix
    )
    assert seconds("rows", gram_rows=500) == pytest.approx(steps + 2 * gram_matrix)
    assert seconds("rows", 1000, 500) == pytest.approx(
        steps + (1 - math.exp(-14)) * 2 * gram_matrix
    )
    card = {"device": torch.device("cuda")}
    assert seconds("direct", **card) == pytest.approx(7 * (1e8 / 5e13 + 2e6 / 2e12))
    assert seconds("gram", refits=True, gram_known=True, **card) == pytest.approx(
        1e8 / 5e13 + 49 * 5e5 / 1e12
    )
    assert seconds("gram", refits=True, gram_known=True, **card, **slower) == pytest.approx(
        1e8 / 2.5e13 + 49 * 5e5 / 5e11
    )


def test_what_was_lost_is_the_time_beyond_that_with_a_gram_matrix() -> None:
    plan = make_plan(SIZE, 2**26)
    assert plan.strategy != "gram"
    ready = make_plan(replace(SIZE, gram_known=True), 2**31)
    lost = planning.lost_without_gram(SIZE, plan)
    assert lost == pytest.approx(plan.seconds - ready.seconds)
    assert lost > 0
    assert planning.lost_without_gram(SIZE, ready) == 0
    none = Plan("direct", 5, 0, {}, seconds=0.0)
    assert planning.lost_without_gram(SIZE, none) == 0


@pytest.mark.usefixtures("two_threads")
def test_as_many_gram_rows_are_kept_as_there_is_room_for() -> None:
    """Tiles as large as 64 MB of correlations allow, or halves of them; 64 rows of the matrix, or no plan."""
    wide = replace(SIZE, rows=300, d_in=50, n_atoms=1000, k=4)
    rest = planning._plan(wide, "rows", 300, 0).peak_bytes + 300 * 50 * 4
    for kept in (64, 65, 1000, 2000):
        plan = planning._fit(wide, "rows", rest + kept * 4000 + 3999, None)
        assert (plan.tile_rows, plan.gram_rows) == (300, min(kept, 1000))
    half = planning._fit(wide, "rows", rest + 64 * 4000 - 1, None)
    assert half.tile_rows == 150
    assert half.gram_rows == 63 + (150 * (1000 + 50 + 50) * 4 + 3999) // 4000
    few = replace(wide, n_atoms=40, rows=100)
    rest = planning._plan(few, "rows", 100, 0).peak_bytes + 40 * 50 * 4
    assert planning._fit(few, "rows", rest + 40 * 160, None).gram_rows == 40
    assert planning._fit(replace(wide, rows=10**5), "direct", 2**30, None).tile_rows == 16777
    assert planning._fit(wide, "direct", 2**30, 7).tile_rows == 7
    card = replace(wide, rows=10**8, device=torch.device("cuda"))
    assert planning._fit(card, "direct", 2**60, None).tile_rows == 2**30 // 1000
    assert planning._fit(replace(wide, rows=1), "direct", 2**12, None) is None
    exact = planning._plan(wide, "direct", 300, 0).peak_bytes
    assert planning._fit(wide, "direct", exact, None).tile_rows == 300
    assert planning._fit(wide, "direct", exact - 1, None).tile_rows == 150


def test_a_plan_in_words() -> None:
    """Bytes in binary units; how much longer another way takes."""
    sizes = (512, 2**20 - 103, 2**20, 3 * 2**29, 2**30, 5 * 2**29)
    found = [planning._size(size) for size in sizes]
    assert found == ["0.5 KiB", "1023.9 KiB", "1.0 MiB", "1.50 GiB", "1.00 GiB", "2.50 GiB"]
    fast, slow = (Plan("gram", 5, 0, {}, seconds=time) for time in (0.2, 0.5))
    assert planning._why_not("rows", slow, fast, 2**20) == "rows: about 2.5 times as long"
    assert planning._why_not("rows", None, fast, 2**20) == "rows: does not fit under 1.0 MiB"


def test_a_smaller_cap_means_less_memory_and_more_time() -> None:
    """Down to one row at a time, then a refusal that says what is needed."""
    plans = [make_plan(SIZE, cap) for cap in (2**30, 2**27, 2**26, 2**25)]
    assert plans[0].strategy == "gram"
    assert {plan.strategy for plan in plans[1:]} <= {"rows", "direct"}
    assert [p.peak_bytes for p in plans] == sorted((p.peak_bytes for p in plans), reverse=True)
    assert [p.seconds for p in plans] == sorted(p.seconds for p in plans)
    assert all("gram: does not fit" in " ".join(p.others) for p in plans[1:])
    with pytest.raises(MemoryError, match="at least"):
        make_plan(SIZE, 2**16)


def test_few_rows_do_not_pay_for_a_whole_gram_matrix() -> None:
    """Eight inputs against 8192 atoms: only the rows chosen are made, unless all are there."""
    from dataclasses import replace

    few = replace(SIZE, rows=8)
    assert make_plan(few, 2**31).strategy != "gram"
    assert make_plan(replace(few, gram_known=True), 2**31).strategy == "gram"


def test_many_small_calls_make_the_gram_matrix_in_the_end(plans: list[Plan]) -> None:
    """Once they have lost as much as it costs; from then on all use it, until the atoms change."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(1500, 64, generator=generator), dim=1)
    x = torch.randn(4, 64, generator=generator)
    for _ in range(200):
        matching_pursuit(x, dictionary, 6)
        if plans[-1].strategy == "gram":
            break
    calls = len(plans)
    assert plans[0].strategy != "gram"
    assert plans[-1].strategy == "gram"
    assert 3 < calls < 200
    matching_pursuit(x, dictionary, 6)
    assert plans[-1].strategy == "gram"
    assert explain_plan(x, dictionary, 6).strategy == "gram"
    dictionary.neg_()
    matching_pursuit(x, dictionary, 6)
    assert plans[-1].strategy == plans[0].strategy


def test_explaining_does_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    x, dictionary = _problem()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "mm", None)
        plan = explain_plan(x, dictionary, 5, memory_cap=500_000)
    assert plan.peak_bytes <= 500_000


PREPARE = """
import sys, torch
from sae_nb.pursuit import explain_plan, matching_pursuit
torch.set_num_threads(1)

generator = torch.Generator().manual_seed(0)
dictionary = torch.nn.functional.normalize(torch.randn(4096, 512, generator=generator), dim=1)
x = torch.randn(512, 512, generator=generator)
small = torch.nn.functional.normalize(dictionary[:300, :16], dim=1)
for some in (10**8, 2 * 10**5):  # loops loaded, threads started
    matching_pursuit(x[:100, :16].contiguous(), small, 4, memory_cap=some)
"""
MEASURE = (
    PREPARE
    + """
import ctypes

def status(name):
    line = next(l for l in open("/proc/self/status") if l.startswith(name))
    return int(line.split()[1]) * 1024

cap = int(sys.argv[1])
plan = explain_plan(x, dictionary, 16, memory_cap=cap)
# Freed pages go back, and what stands below the mark is filled: what comes now raises it.
ctypes.CDLL(None).malloc_trim(0)
filled = b"\\1" * max(0, status("VmHWM") - status("VmRSS"))
before = status("VmHWM")
codes = matching_pursuit(x, dictionary, 16, memory_cap=cap)
print(plan.strategy, plan.peak_bytes, plan.bytes["packed factors"], status("VmHWM") - before)
"""
)


CAPS = [(2**27, "gram"), (5 * 2**20, "direct")]


@pytest.fixture(scope="module")
def _kept_loops() -> None:
    """The same calls before those that are measured: what no cache holds takes memory to compile."""
    calls = f"for cap in {[cap for cap, _ in CAPS]}: matching_pursuit(x, dictionary, 16, memory_cap=cap)"
    subprocess.run([sys.executable, "-c", PREPARE + calls], capture_output=True, check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("_kept_loops")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize(("cap", "strategy"), CAPS)
def test_the_predicted_memory_is_what_a_process_takes(cap: int, strategy: str) -> None:
    """High-water mark of a fresh process, to a quarter; a product packs its factors on some processors alone."""
    command = [sys.executable, "-c", MEASURE, str(cap)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    followed, *sizes = done.stdout.split()
    predicted, packed, measured = map(int, sizes)
    assert followed == strategy
    assert predicted <= cap
    margin = 0.25 * predicted
    assert predicted - packed - margin <= measured <= predicted + margin


def test_memory_that_is_gone_all_the_same_is_told_with_what_would_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan is for half of what is free; another process may have taken that since."""

    def out_of_memory(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Cpu, "matching", out_of_memory)
    monkeypatch.setattr("sae_nb.kernels._memory.available_memory", lambda _: 100_000)
    x, dictionary = _problem(900)
    with pytest.raises(MemoryError, match=r"matching_pursuit of 900 rows .* rows at a time would"):
        matching_pursuit(x, dictionary, 4)


def test_a_plan_takes_half_of_what_is_free_or_four_gigabytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = replace(SIZE, rows=100_000, n_atoms=32_768)
    for free, cap in ((2**30, 2**29), (None, 2**32)):
        monkeypatch.setattr("sae_nb.pursuit._planning.available_memory", lambda _, free=free: free)
        assert make_plan(wide) == make_plan(wide, cap)
    assert (make_plan(wide, 2**29).strategy, make_plan(wide).strategy) == ("rows", "gram")
    # a Gram matrix of so many atoms fits into four gigabytes and not into three, or five and not four
    assert make_plan(replace(wide, n_atoms=40_000)).strategy == "gram"
    assert make_plan(replace(wide, n_atoms=46_000)).strategy == "direct"


@pytest.mark.parametrize("gib", [4, 10, 80], ids=["a small card", "a MIG slice", "a whole H100"])
def test_a_plan_for_a_gpu_fits_the_memory_it_has(gib: int) -> None:
    """Half of it, from a Gram matrix of 16 384 atoms down; what never fits is refused with its bytes."""
    from dataclasses import replace

    cap = gib * 2**30 // 2
    wide = replace(SIZE, rows=65_536, n_atoms=16_384, device=torch.device("cuda"))
    for size in (wide, replace(wide, rows=4096), replace(wide, n_atoms=65_536, d_in=2304)):
        assert make_plan(size, cap).peak_bytes <= cap
    assert make_plan(wide, 40 * 2**30).strategy == "gram"
    with pytest.raises(MemoryError, match=r"it needs at least \d+ bytes .* encode fewer rows"):
        make_plan(replace(wide, rows=4_000_000), 2**30)


CARD = replace(SIZE, n_atoms=16384, rows=65536, device=torch.device("cuda"), triton=True)


@pytest.mark.parametrize(
    ("change", "milliseconds"),
    [
        ({}, 31.2),
        ({"rows": 4096}, 2.0),
        ({"refits": True, "solves": True}, 142),
        ({"refits": True, "solves": True, "rows": 4096}, 9.3),
    ],
)
def test_times_of_triton_are_as_measured(change: dict[str, Any], milliseconds: float) -> None:
    """On an H200, width 768, 16 384 atoms, 32 steps, the Gram matrix being known."""
    plan = make_plan(replace(CARD, gram_known=True, **change), 100 * 2**30)
    assert plan.strategy == "gram"
    assert 1e3 * plan.seconds == pytest.approx(milliseconds, rel=0.15)


def test_triton_keeps_a_gram_matrix_of_16_bits_where_it_fits() -> None:
    whole = 2 * CARD.n_atoms**2
    assert make_plan(CARD, 100 * 2**30).bytes["Gram matrix"] == whole
    small = make_plan(CARD, whole)  # a card of 4 GB has 2 free and half of that to give
    assert small.strategy == "direct"
    assert small.peak_bytes <= whole
    # A pursuit that solves for nothing has no use for one.
    assert make_plan(replace(CARD, refits=True), 100 * 2**30).strategy == "direct"


TRITON = replace(SMALL, n_atoms=100, device=torch.device("cuda"), triton=True)


def test_bytes_of_triton_are_those_of_every_array() -> None:
    """Tiles of five rows, width 6, 100 atoms; correlations whole, or two words for 32 of them."""
    kept = planning._plan(TRITON, "gram", 5, 100)
    assert _used(kept) == {
        "Gram matrix": 100 * 100 * 2,
        "Gram matrix, a panel": 100 * (4 * 100 + 6 * 6),
        "correlations": 5 * 4 * 100,
        "numbers of 16 bits": 2 * 6 * 105 * 3,
        "residuals": 5 * 6 * 4,
        "packed factors": 6 * 105 * 4 // 2,
        "steps": 10 * (3 * 12 + 17),
        "codes": 10 * (3 * (4 + 4 + 12) + 8),
    }
    never = planning._plan(replace(TRITON, refresh_every=3), "gram", 5, 100)
    assert never.bytes["residuals"] == 0
    wide = planning._plan(replace(TRITON, n_atoms=5000), "gram", 5, 5000)
    assert wide.bytes["Gram matrix, a panel"] == 4096 * (4 * 5000 + 36)
    direct = planning._plan(replace(TRITON, refits=True), "direct", 5, 0)
    assert direct.bytes["Gram matrix"] == direct.bytes["Gram matrix, a panel"] == 0
    assert direct.bytes["correlations"] == 5 * 4 * 2 * 4
    assert direct.bytes["numbers of 16 bits"] == 2 * 6 * 105
    assert direct.bytes["residuals"] == 5 * 6 * 4
    assert direct.bytes["small systems"] == 5 * (12 * 9 + 24 * 3)
    assert planning._plan(replace(TRITON, refits=True), "gram", 5, 0).bytes["Gram matrix"] == 40000


def test_seconds_of_triton_are_those_of_products_and_reads() -> None:
    size = replace(TRITON, rows=1000, d_in=100, n_atoms=500, k=7, refresh_every=3, gram_known=True)

    def seconds(strategy: Any, **change: Any) -> float:
        return planning._plan(replace(size, **change), strategy, 100, 0).seconds

    product, read, atoms = 1e8, 7 * 1000 * 500 / 2.9e12, 1000 * 100 * 16 / 2.9e12
    assert seconds("gram") == pytest.approx(3 * product / 2e14 + 2 * read)
    unknown = {"gram_known": False}
    assert seconds("gram", **unknown) - seconds("gram") == pytest.approx(5e7 / 2e14)
    paid = seconds("gram", **unknown, seconds_without=1e-7) - seconds("gram")
    assert paid == pytest.approx(1.5e-7)
    assert seconds("gram", **unknown, seconds_without=1.0) == seconds("gram")
    for n, reads in ((2**15, 2), (2**15 + 1, 10)):
        expected = 3 * 2e5 * n / 2e14 + 7e3 * n * reads / 2.9e12
        assert seconds("gram", n_atoms=n) == pytest.approx(expected)
    steps, solving = 7 * (product / 4.3e14 + atoms), 49 / 2 * 1000 * 100 * 4 / 4.4e12
    assert seconds("direct") == pytest.approx(steps)
    assert seconds("gram", refits=True) == pytest.approx(steps + solving)
    assert seconds("direct", refits=True) == pytest.approx(steps + 2 * solving)
    whole = seconds("gram", refits=True, **unknown) - seconds("gram", refits=True)
    assert whole == pytest.approx(2.5e7 / 2.5e13)
