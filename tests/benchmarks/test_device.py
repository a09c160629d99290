"""Promises of a run on a bare GPU machine: what was found is kept at every moment, and what is missing is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import optimize, sparse
from scripts import script

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOUND = 'print(\'RESULT {"what": "a number", "ms": 3}\', flush=True)'

RUN = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import measure
todo = [measure.Part(n, [sys.executable, "-c", code], 60, 0.0) for n, code in {parts!r}]
report = measure.Report(Path({out!r}), "cpu", 1.0, todo)
for part in todo:
    measure.take(part, 60, report)
    report.keep()
"""


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    return script(BENCHMARKS / "device" / "measure.py", "measure")


def part(measure: ModuleType, code: str, **more: object) -> object:
    return measure.Part("one", [sys.executable, "-c", code], 60, 0.0, **more)


def test_a_part_that_hangs_or_dies_costs_itself_alone(measure: ModuleType, tmp_path: Path) -> None:
    """Its results stay, its state says what happened, and what it started has ended."""
    child = "import subprocess, sys, time; subprocess.Popen(['sleep', '98.7']); " + FOUND
    cases = {
        "done": (FOUND, 60.0),
        "out of time": (child + "; time.sleep(60)", 3.0),
        "failed (exit 3): the last word": (FOUND + "; print('the last word'); exit(3)", 60.0),
    }
    todo = [part(measure, code) for code, _ in cases.values()]
    report = measure.Report(tmp_path, "cpu", 1.0, todo)
    for one, (state, (_, limit)) in zip(todo, cases.items(), strict=True):
        measure.take(one, limit, report)
        assert one.state.startswith(state)
        assert one.results == [{"what": "a number", "ms": 3}]
    report.keep()
    assert "| one | a number | ms 3 |" in (tmp_path / "table.md").read_text()
    left = subprocess.run(
        ["pgrep", "-f", "sleep 98.7"], capture_output=True, text=True, check=False
    )
    assert not left.stdout


def test_what_is_missing_skips_by_name(measure: ModuleType, tmp_path: Path) -> None:
    """A module that is not there, and time that is not."""
    absent, late = part(measure, FOUND, needs=("no_such_module",)), part(measure, FOUND)
    late.least_seconds = 30  # type: ignore[attr-defined]
    report = measure.Report(tmp_path, "cpu", 1.0, [absent, late])
    measure.take(absent, 60, report)
    measure.take(late, 4, report)
    assert absent.state == "skipped: no_such_module cannot be imported here"  # type: ignore[attr-defined]
    assert late.state == "skipped: 4 s were left, it takes 30"  # type: ignore[attr-defined]


def test_a_killed_run_leaves_all_it_had_found(tmp_path: Path) -> None:
    """SIGKILL in the second part: the first is done, the second running, with the result it had printed."""
    parts = [("first", FOUND), ("second", FOUND + "; import time; time.sleep(60)")]
    code = RUN.format(folder=str(BENCHMARKS / "device"), parts=parts, out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    results, deadline = tmp_path / "results.json", time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            seen = json.loads(results.read_text())["parts"] if results.exists() else []
            if seen and seen[1]["results"]:
                break
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    left = json.loads(results.read_text())
    assert [one["state"] for one in left["parts"]] == ["done", "running"]
    assert left["parts"][1]["results"] == [{"what": "a number", "ms": 3}]
    assert left["ended"] is None
    assert "[second] RESULT" in (tmp_path / "log.txt").read_text()


def test_bounds_are_counted_by_hand() -> None:
    """One size worked out on paper: 65 536 inputs of width 768, 16 384 atoms, 32 steps."""
    costs = script(BENCHMARKS / "gpu_costs.py", "gpu_costs")
    size, rates = costs.Size(65536, 768, 16384, 32), costs.Rates(copy=1e12, fp32=1e13, bf16=1e14)
    assert costs.product(size, rates.fp32) == pytest.approx(2 * 65536 * 768 * 16384 / 1e13)
    # Correlations once, then 31 times a Gram row and an atom: everything fits shared memory.
    assert costs.mp_loop(size, rates) == pytest.approx(65536 * (16384 + 31 * (16384 + 768)) * 4e-12)
    assert costs.mp_loop(size, rates, shared=0) > 2.5 * costs.mp_loop(size, rates)
    for seconds in costs.KERNELS.values():
        assert 0 < seconds(size, costs.H100) < seconds(size, rates)


def test_the_stand_in_sorts_as_scipy_does() -> None:
    """Columns in order, rows in order within; empty rows and columns."""
    ours = script(BENCHMARKS / "device" / "stand_ins" / "scipy" / "sparse.py", "stand_in_sparse")
    generator = np.random.default_rng(0)
    dense = generator.random((7, 5)) * (generator.random((7, 5)) < 0.4)
    dense[2], dense[:, 3] = 0, 0
    theirs = sparse.csr_matrix(dense)
    parts = (theirs.data, theirs.indices, theirs.indptr)
    expected, found = theirs.tocsc(), ours.csr_matrix(parts, theirs.shape).tocsc()
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


def test_the_stand_in_fits_as_scipy_does() -> None:
    """Coefficients that turn negative leave, as in scipy; some end at zero."""
    ours = script(BENCHMARKS / "device" / "stand_ins" / "scipy" / "optimize.py", "stand_in_nnls")
    generator = np.random.default_rng(0)
    for _ in range(40):
        a, b = generator.normal(size=(8, 5)), generator.normal(size=8)
        expected, norm = optimize.nnls(a, b)
        found, ours_norm = ours.nnls(a, b)
        np.testing.assert_allclose(found, expected, atol=1e-10)
        assert ours_norm == pytest.approx(norm)


def test_the_pack_leaves_out_what_a_device_does_not_need() -> None:
    """Pretrained weights and exported sites stay; kernels, the bundled model and the tests travel."""
    pack = script(BENCHMARKS / "device" / "pack.py", "pack")
    stays = ("sae_nb/pretrained/smollm2/w.bin", "sae_nb/site/app.js", "benchmarks/scale.json")
    goes = ("sae_nb/pursuit/_cuda.py", "sae_nb/models/weights/tiny-gpt/model.safetensors")
    assert all(pack.LEFT_OUT.match(name) for name in stays)
    assert not any(pack.LEFT_OUT.match(name) for name in goes)
