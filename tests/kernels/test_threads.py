"""Two Python threads in compiled loops: no crash under any threading layer, no thread count lost."""

from __future__ import annotations

import os
import threading

import pytest
from warm_python import WarmPython

from sae_nb.kernels import _threads as threads

pytestmark = pytest.mark.slow

TRAIN_AND_ENCODE = """
import threading, torch
from sae_nb.architectures import TopK

x = torch.randn(600, 32)
sae = TopK(d_in=32, n_atoms=256, k=8, generator=torch.Generator().manual_seed(0))
sae.initialise(x, None)
viewer = TopK(d_in=32, n_atoms=256, k=8, generator=torch.Generator().manual_seed(0))
silent = torch.zeros(256, dtype=torch.long)
expected = viewer.encode(x).values.sum().item()
stop, seen, errors = threading.Event(), [], []

def look():
    try:
        while not stop.is_set():
            seen.append(viewer.encode(x).values.sum().item())
    except Exception as error:
        errors.append(error)

lookers = [threading.Thread(target=look) for _ in range(2)]
for looker in lookers:
    looker.start()
optimiser = torch.optim.Adam(sae.parameters(), lr=1e-3)
for step in range(60):
    optimiser.zero_grad()
    sae.training_loss(x, silent, 10**9, step / 60).total.backward()
    optimiser.step()
stop.set()
for looker in lookers:
    looker.join()
import numba
assert not errors, errors
assert len(seen) > 2 and all(abs(s - expected) < 1e-3 * abs(expected) for s in seen)
print(numba.threading_layer(), len(seen))
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_training_survives_people_encoding(warm_python: WarmPython, layer: str) -> None:
    """Training in one thread and encoding in two more, to the right answer."""
    result = warm_python.run(TRAIN_AND_ENCODE, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in result.stderr:
        pytest.skip(f"this machine has no {layer} layer")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == layer


FORKED = """
import multiprocessing, sys, torch
import sae_nb as sn

torch.set_num_threads(2)  # as most machines have
x, sae, model = torch.randn(64, 16), sn.TopK(16, 600, 4), sn.load_model("tiny-vit")  # enough for the loops
images = sn.data.scenes(2, seed=0).images
torch.randn(500, 500) @ torch.randn(500, 500), sae.encode(x), model(images)

def child():
    print(model(images).shape[0], flush=True)
    try:
        sae.encode(x)
    except RuntimeError as error:
        print(error, flush=True)

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
sys.exit(process.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_to_spawn(warm_python: WarmPython) -> None:
    """Once OpenMP has run, Numba would kill it and torch's second thread never come: its models run with one
    thread, and compiled loops say what to do."""
    result = warm_python.run(FORKED, NUMBA_THREADING_LAYER="omp", OMP_NUM_THREADS="2")
    assert (result.returncode, result.stderr) == (0, "")
    ran, told = result.stdout.splitlines()
    assert ran == "2"
    assert "forked" in told
    assert 'get_context("spawn")' in told


def test_workqueue_ends_the_process_without_the_lock(warm_python: WarmPython) -> None:
    """The lock is needed: the same program without it dies (so the test above can fail)."""
    program = (
        "import contextlib, sae_nb.kernels._threads as t\n"
        "t.numba_lock = contextlib.nullcontext\n" + TRAIN_AND_ENCODE
    )
    result = warm_python.run(program, NUMBA_THREADING_LAYER="workqueue")
    assert result.returncode != 0
    assert "Concurrent access has been detected" in result.stderr


@pytest.mark.parametrize(("layer", "alone"), [("workqueue", True), ("omp", False), (None, True)])
def test_the_lock_is_held_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, layer: str | None, alone: bool
) -> None:
    """Exclusive under workqueue and before the layer is known; free under safe layers."""
    monkeypatch.setattr(threads, "_layer", lambda: layer)
    inside = threading.Event()

    def enter() -> None:
        with threads.numba_lock():
            inside.set()

    other = threading.Thread(target=enter)
    with threads.numba_lock():
        other.start()
        assert inside.wait(0.2 if alone else 10) is not alone
    other.join(10)
    assert inside.is_set()


def test_numbas_first_launch_leaves_torchs_threads_alone(warm_python: WarmPython) -> None:
    """The two may share an OpenMP runtime, whose thread count Numba sets at its first launch."""
    program = (
        "import torch; torch.set_num_threads(1)\n"
        "from sae_nb.kernels import warm_up\n"
        "warm_up(); import numba\n"
        "print(torch.get_num_threads(), numba.get_num_threads())"
    )
    result = warm_python.run(program)
    assert result.stdout.split() == ["1", "2"], result.stderr
