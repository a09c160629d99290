"""Promises of `grow_k`: the phases of a training whose k grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.training import TrainConfig
from sae_nb.training._schedule import Schedule, growing


@pytest.fixture
def x() -> Tensor:
    return torch.randn(256, 8, generator=torch.Generator().manual_seed(1))


def made(k: int = 4, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return sn.MatchingPursuit(8, 16, k, generator=generator, **options)


GROWING = {"steps": 30, "batch_size": 32, "grow_k": True, "log_every": 1}


@pytest.mark.slow
def test_k_grows_to_its_own_value(x: Tensor) -> None:
    """One, two, four atoms per input, ten steps each; afterwards the SAE has the k it was made with."""
    sae, seen = made(), []
    config = TrainConfig(**GROWING)
    result = sn.train(sae, x, config, callbacks=[lambda r: seen.append(sae.k)], progress=False)
    assert seen == [1] * 10 + [2] * 10 + [4] * 10
    assert sae.k == 4
    l0 = [record.l0 for record in result.history]
    assert max(l0[:10]) <= 1 < max(l0[10:20]) <= 2 < max(l0[20:])


def test_every_phase_warms_up_and_decays() -> None:
    """Steps of 7 in phases 1, 2, 4: rates rise and fall in each, and none is zero."""
    schedule = Schedule(base=1.0, steps=20, warmup_steps=1, decay_fraction=0.5, phases=3)
    rates = [schedule(step) for step in range(20)]
    starts = [step for step in range(20) if schedule.begins(step)]
    assert starts == [0, 7, 14]
    assert min(rates) > 0
    for first, last in zip(starts, [7, 14, 20], strict=True):
        assert rates[first] < max(rates[first:last]) == 1.0 > rates[last - 1]
    assert [growing(k) for k in (1, 2, 3, 8, 1.36)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4, 8],
        [1, 1.36],
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("stop_at", "norms"), [(10, "unit"), (14, "unit"), (25, "free")])
def test_a_run_that_was_stopped_goes_on_bit_exactly(
    x: Tensor, tmp_path: Path, stop_at: int, norms: str
) -> None:
    """At the start of a phase, inside one, and in the last; the k of the SAE is back meanwhile."""
    whole = made(norms=norms)
    sn.train(whole, x, TrainConfig(**GROWING), progress=False)

    def stop(record: Any) -> None:
        if record.step == stop_at:
            raise KeyboardInterrupt

    sae = made(norms=norms)
    config = TrainConfig(**GROWING, checkpoint=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt, match="was interrupted"):
        sn.train(sae, x, config, callbacks=[stop], progress=False)
    assert sae.k == 4
    resumed = made(norms=norms)
    sn.train(resumed, x, config, progress=False)
    assert torch.equal(resumed.operator.weight, whole.operator.weight)
    assert torch.equal(resumed.bias, whole.bias)
    assert resumed.k == 4
