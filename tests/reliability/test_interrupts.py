"""Ctrl-C at any moment of long work: it reaches the caller, leaves no part as done, and the same call goes on.

`SAE_NB_INTERRUPTS=10 pytest tests/reliability/test_interrupts.py` presses it at ten random moments of each work; the
default is one.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from interrupted_works import WORKS, Press, model, pictures, seconds

import sae_nb as sn

TIMES = int(os.environ.get("SAE_NB_INTERRUPTS", "1"))
_counts = {"interrupted": 0, "done before": 0}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


def pressed(work: Any, folder: Path, after: float) -> tuple[BaseException | None, Any]:
    """Run a work with one Ctrl-C in it; the interrupt that came out, or what it gave before it came."""
    given = None
    try:
        with Press(after) as press:
            given = work(folder)
    except KeyboardInterrupt as stop:
        return stop, None
    assert press.dropped or not press.done, "Ctrl-C was swallowed"
    return None, given


def same(a: Any, b: Any) -> bool:
    """Return whether two works gave the same."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(a == b)


def state_of(name: str, inputs: Any) -> tuple[torch.Tensor, int, int]:
    """Return a model's answer, its edits, and the hooks on its modules."""
    live = model(name)
    hooks = sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) for part in live.module.modules()
    )
    return live(inputs), len(live.interventions), hooks


def at_work() -> list[str]:
    """Return the threads of the toolkit that are still under way."""
    threads = [one for one in threading.enumerate() if one.name.startswith("sae_nb")]
    for thread in threads:
        thread.join(10)
    return [thread.name for thread in threads if thread.is_alive()]


def faults_of(folder: Path, stop: BaseException | None) -> list[str]:
    """Return what is wrong with what an interrupt left: files under a final name are whole, or marked."""
    faults = []
    saved = folder / "sae"
    if saved.exists() and stop is not None:
        sae = sn.load_sae(saved)
        if sae.measured["steps"] < 120 and "cut short" not in repr(sae):
            faults.append("a part of a training was saved without a mark")
    result = getattr(stop, "result", None)
    if isinstance(result, sn.Activations) and not result.context.policy.get("interrupted"):
        faults.append("activations of a part have no mark")
    swept = folder / "s" / "sweep.json"
    if type(result).__name__ == "Sweep" and result.asked != 4:
        faults.append("a part of a sweep has no mark")
    if swept.exists() and stop is not None:
        faults += [
            f"{one} is kept as done after a part"
            for one in swept.parent.glob("*/config.json")
            if '"of_steps"' in one.read_text(encoding="utf-8")
        ]
    return faults


@pytest.mark.timeout(240 + 120 * TIMES)
@pytest.mark.usefixtures("python_handles_ctrl_c")
@pytest.mark.parametrize("name", WORKS)
def test_ctrl_c_at_any_moment(name: str, tmp_path: Path) -> None:
    """Nothing stays behind, no part counts as done, and the same call then gives what it always gives."""
    work, draw = WORKS[name], random.Random(name)
    work(tmp_path / "warm-up") if TIMES > 1 else None
    takes, whole = seconds(work, tmp_path / "whole")
    before = state_of("tiny-vit", pictures()[:2])
    for turn in range(TIMES):
        folder = tmp_path / str(turn)
        folder.mkdir()
        stop, given = pressed(work, folder, draw.uniform(0, takes))
        _counts["interrupted" if stop else "done before"] += 1
        assert stop is not None or same(given, whole)
        assert at_work() == []
        after = state_of("tiny-vit", pictures()[:2])
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]
        assert faults_of(folder, stop) == []
        assert same(work(folder), whole), "the same call gives something else afterwards"
        assert not list(folder.rglob("*.partial"))
