"""Training a Raptor: it learns, resumes bit-exactly, pauses and stops; segments find a planted cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sae_nb_studies.dynamics import (
    BlockSizes,
    Raptor,
    RaptorConfig,
    segment_errors,
    start_raptor,
    train_raptor,
)
from sae_nb_studies.dynamics.raptor._loop import RaptorLoss, RaptorTraining
from tests.refusing import refused

SIZES = BlockSizes(d_model=8, n_heads=2, hidden=16)
KINDS = ("cls", "patch", "patch", "patch")


def planted(cuts: tuple[int, ...], n: int = 64, seed: int = 0) -> torch.Tensor:
    teacher = Raptor(SIZES, cuts, seed=seed)
    with torch.no_grad():
        for i, block in enumerate(teacher.blocks):
            block.out.weight.mul_(6)
            block.down.weight.mul_(6)
            block.down.bias.normal_(0, 0.3, generator=torch.Generator().manual_seed(i))
        x = torch.randn(n, 4, 8, generator=torch.Generator().manual_seed(seed + 1))
        return teacher.roll_out(x)


@pytest.fixture(scope="module")
def states() -> torch.Tensor:
    return planted((0, 2, 4))


def config(**changes: object) -> RaptorConfig:
    defaults = {"steps_1": 12, "steps_2": 12, "batch_size": 16, "learning_rate": 1e-2}
    return RaptorConfig(**(defaults | changes))  # type: ignore[arg-type]


def joint(**changes: object) -> RaptorConfig:
    defaults = {"steps": 24, "batch_size": 16}
    return RaptorConfig(**(defaults | changes))  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_learns_a_planted_recurrence(states: torch.Tensor) -> None:
    result = train_raptor(
        states,
        (0, 2, 4),
        config(steps_1=120, steps_2=120, log_every=1),
        raptor=Raptor(SIZES, (0, 2, 4), seed=9),
        token_kinds=KINDS,
        progress=False,
    )
    assert result.fit.mean_r2 > float(result.fit.floor.mean()) + 0.3
    assert result.history[-1].loss < 0.6 * result.history[120].loss
    assert result.skipped == ("register",)
    assert result.r2.shape == result.relative_error.shape == (4,)


def test_the_joint_loss_mixes_states(states: torch.Tensor) -> None:
    """What the next block reads is λ · teacher + (1 − λ) · own; every layer and token counts alike."""
    raptor, variance = Raptor(SIZES, (0, 2, 4)), torch.tensor([1.0, 0.5, 2.0, 3.0, 4.0])
    settings = joint(steps=100, anneal_fraction=1.0)
    assert settings.forced_share(25) == 0.75
    ((_, found, _),) = RaptorLoss(raptor, settings, KINDS, variance).terms(states, 25)
    x, parts = states[:, 0], []
    with torch.no_grad():
        for layer in range(1, 5):
            own = raptor.step(x, layer)
            parts.append((own - states[:, layer]).square().mean() / variance[layer])
            x = 0.75 * states[:, layer] + 0.25 * own
    assert float(found.detach()) == pytest.approx(float(torch.stack(parts).mean()), rel=1e-5)


@pytest.mark.slow
def test_muon_moves_the_matrices_and_adamw_the_rest(states: torch.Tensor) -> None:
    raptor = Raptor(SIZES, (0, 2, 4))
    training = RaptorTraining.prepare(states, (0, 2, 4), joint(), raptor=raptor)
    kinds = {
        name: type(training.optimiser_of(parameter)).__name__
        for name, parameter in raptor.named_parameters()
    }
    by_muon = {name.split(".", 2)[2] for name, kind in kinds.items() if kind == "Muon"}
    assert by_muon == {f"{part}.weight" for part in ("qkv", "out", "up", "down")}
    training.set(learning_rate=1.5e-3)
    training.run()
    adamw, muon = (optimiser.param_groups[0]["lr"] for optimiser in training.optimisers)
    assert muon == pytest.approx(adamw * 0.02 / 3e-3)
    assert training.history[0].learning_rate == pytest.approx(1.5e-3 * 0.5)  # warm-up of two steps


def test_blocks_of_stage_1_learn_alone(states: torch.Tensor) -> None:
    gradients = []
    for seed in (0, 1):
        raptor = Raptor(SIZES, (0, 2, 4))
        raptor.blocks[0].load_state_dict(Raptor(SIZES, (0, 2, 4), seed=seed).blocks[0].state_dict())
        loss = RaptorLoss(raptor, config(forcing="never"), KINDS, torch.ones(5))
        for _, term, _ in loss.terms(states, 0):
            term.backward()
        gradients.append(raptor.blocks[1].up.weight.grad.clone())
    assert torch.equal(*gradients)


def test_terms_are_the_published_losses(states: torch.Tensor) -> None:
    """Teacher forcing, own roll-out and stage 2, written out for two blocks."""
    raptor, setting = Raptor(SIZES, (0, 2, 4)), config(steps_1=100, anneal_fraction=1.0)
    loss = RaptorLoss(raptor, setting, KINDS, torch.ones(5))
    found = [(name, float(term.detach())) for name, term, _ in loss.terms(states, 25)]
    assert [name for name, _ in found] == ["teacher forcing", "own roll-out"] * 2
    with torch.no_grad():
        forced = [raptor.step(states[:, layer - 1], layer) for layer in (1, 2)]
        plain = sum((x - states[:, i]).square().mean() for x, i in zip(forced, (1, 2), strict=True))
        own = raptor.roll_out(states[:, 2], start=2)[:, 1:] - states[:, 3:]
        typed = own.square().mean(-1)
        cls, patch = typed[..., 0].mean(), typed[..., 1:].mean()
    assert found[0][1] == pytest.approx(0.75 * float(plain) / 2, rel=1e-4)
    assert found[3][1] == pytest.approx(0.25 * float((0.34 * cls + 0.33 * patch) / 0.67), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [config, joint])
def test_a_resumed_training_is_bit_equal(
    states: torch.Tensor, tmp_path: Path, schedule: Callable[..., RaptorConfig]
) -> None:
    """Stopped after 15 of 24 steps and continued: the same weights and records."""

    def run(folder: Path | None, stop_at: int | None = None) -> RaptorTraining:
        settings = schedule(checkpoint=folder, checkpoint_every=5, log_every=1)
        training = RaptorTraining.prepare(
            states,
            (0, 2, 4),
            settings,
            raptor=Raptor(SIZES, (0, 2, 4)),
            token_kinds=KINDS,
        )
        if stop_at is not None:
            training.callbacks.append(
                lambda r: training.control.stop("stopped") if r.step == stop_at else None
            )
        training.run()
        return training

    whole = run(None)
    assert run(tmp_path / "c", stop_at=15).step == 15
    assert len(list((tmp_path / "c").glob("step-*"))) == 1
    again = run(tmp_path / "c")
    assert [r.step for r in again.history] == [r.step for r in whole.history]
    assert [r.loss for r in again.history] == [r.loss for r in whole.history]
    for a, b in zip(again.raptor.parameters(), whole.raptor.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_pauses_resumes_and_stops(states: torch.Tensor) -> None:
    seen: list[int] = []
    run = start_raptor(
        states, (0, 2, 4), config(steps_2=100_000), raptor=Raptor(SIZES, (0, 2, 4)),
        callbacks=lambda r: seen.append(r.step),
    )  # fmt: skip
    run.pause()
    at = run.step
    assert run.state == "paused"
    run.set(learning_rate=2e-3)
    assert run.live() == {"learning_rate": 2e-3}
    run.resume()
    run.stop()
    result = run.wait(30)
    assert result.stopped == "stopped"
    assert run.step >= at
    assert run.histories[0] is run.records
    refused("this one is done", run.set, learning_rate=1e-3, error=RuntimeError)
    assert not run.snapshot().training


@pytest.mark.slow
def test_segment_errors_find_the_planted_cut() -> None:
    """The cut where one block gives way to another leaves the least error, out of all."""
    x = planted((0, 3, 6), n=96, seed=4)
    calls: list[tuple[int, int, float]] = []
    found = segment_errors(
        x,
        SIZES,
        joint(steps=40, learning_rate=1e-2, muon_learning_rate=0.05),
        token_kinds=KINDS,
        max_len=4,
        on_fit=lambda i, j, e: calls.append((i, j, e)),
    )
    assert len(calls) == found.n_fits == 5 + 4 + 3
    assert found.cuts(2) == (0, 3, 6)
    assert found.rank_of((0, 3, 6)) == 1
    for cuts, words in (((0, 1, 6), "min_len=2"), ((0, 7), "c_k = 6")):
        refused(words, found.rank_of, cuts)
    assert found.ranking(2)[0] == (found.cuts(2), pytest.approx(found.ranking(2)[0][1]))
