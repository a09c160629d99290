"""Compiled loops in several threads, of one caller and of several, also in a forked process."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar

import pytest
import torch
from warm_python import WarmPython

from sae_nb.kernels import _threads as threads

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
assert not errors, errors
assert len(seen) > 2 and all(abs(s - expected) < 1e-3 * abs(expected) for s in seen)
"""


@pytest.mark.slow
def test_training_survives_people_encoding(warm_python: WarmPython) -> None:
    """Training in one thread and encoding in two more, each with two threads, to the right answer."""
    result = warm_python.run(TRAIN_AND_ENCODE, OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr


FORKED = """
import multiprocessing, sys, torch
import sae_nb as sn

torch.set_num_threads(2)  # as most machines have
x, sae, model = torch.randn(64, 16), sn.TopK(16, 600, 4), sn.load_model("tiny-vit")  # enough for the loops
images = sn.data.scenes(2, seed=0).images
torch.randn(500, 500) @ torch.randn(500, 500), sae.encode(x), model(images)

expected = sae.encode(x).values

def child():
    print(model(images).shape[0], torch.equal(sae.encode(x).values, expected), flush=True)

process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
sys.exit(process.exitcode)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_the_same(warm_python: WarmPython) -> None:
    """The threads that share loops, and torch's second one, do not come along: both do without them."""
    result = warm_python.run(FORKED, OMP_NUM_THREADS="2")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "2 True\n"


def test_every_part_is_computed_once_and_its_error_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts cover 0 … n, all have ended when one fails, and what may be compiled holds in every thread."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    done, context = [], ContextVar("context", default="")

    def loop(begin: int, end: int, fails: int) -> None:
        time.sleep(0.02 * begin)
        done.append((begin, end, context.get()))
        if begin == fails:
            raise ArithmeticError(f"part {begin}")

    context.set("asked")
    threads.share(loop, 10, -1)
    assert sorted(done) == [(0, 3, "asked"), (3, 6, "asked"), (6, 10, "asked")]
    for fails in (0, 3):
        done.clear()
        with pytest.raises(ArithmeticError, match=f"part {fails}"):
            threads.share(loop, 10, fails)
        assert len(done) == 3
    done.clear()
    threads.share(loop, 1, -1)
    assert done == [(0, 1, "asked")]
