"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for a card that is not here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None,
        reason="Triton is not installed: it comes with PyTorch for CUDA on Linux",
    ),
]


def _run(program: str, **environment: str) -> str:
    """What a program of this folder prints; Triton reads its environment once."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, str(HERE / program)],
        capture_output=True,
        text=True,
        env=inherited | environment | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    return result.stdout


def test_kernels_equal_the_cpu_in_the_interpreter() -> None:
    """Every rule and both strategies, ties, dependent atoms, gradients; no step reads from the card."""
    assert _run("interpreted.py", TRITON_INTERPRET="1").splitlines()[-1] == "parts 6"


def test_kernels_compile_for_a_card_that_is_not_here(tmp_path: Path) -> None:
    """For an H100: two programs of matching pursuit fit a multiprocessor, and products use tensor cores."""
    found = _run("compiled.py", TRITON_CACHE_DIR=str(tmp_path)).split()
    registers = dict(zip(found[::2], map(int, found[1::2]), strict=True))
    assert registers["matching_steps"] <= 128
    assert registers["product_best"] <= 255
    assert len(registers) == 11
