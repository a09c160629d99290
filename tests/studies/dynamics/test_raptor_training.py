"""Training a Raptor: it learns, resumes bit-exactly, pauses and stops; segments find a planted cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sae_nb.dynamics import States
from sae_nb.models import load_model
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
    """States of a network of shared blocks, made loud enough to matter."""
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
    """Two planted phases of two layers each."""
    return planted((0, 2, 4))


def config(**changes: object) -> RaptorConfig:
    """A short training by the authors' schedule."""
    defaults = {"steps_1": 12, "steps_2": 12, "batch_size": 16, "learning_rate": 1e-2}
    return RaptorConfig(**(defaults | changes))  # type: ignore[arg-type]


def joint(**changes: object) -> RaptorConfig:
    """A short training by the joint schedule."""
    defaults = {"steps": 24, "batch_size": 16}
    return RaptorConfig(**(defaults | changes))  # type: ignore[arg-type]


def test_it_learns_a_planted_recurrence(states: torch.Tensor) -> None:
    """Far above doing nothing on pictures it has not seen; the loss falls."""
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


def test_the_joint_schedule_learns_a_planted_recurrence(states: torch.Tensor) -> None:
    """R² .876 ± .066 over four seeds, far above doing nothing."""
    raptor = Raptor(SIZES, (0, 2, 4), seed=9)
    result = train_raptor(states, (0, 2, 4), joint(steps=240), raptor=raptor, progress=False)
    assert result.fit.mean_r2 > float(result.fit.floor.mean()) + 0.3


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


def test_a_step_to_no_layer_is_refused(states: torch.Tensor) -> None:
    """Nor is layer 0 the last one; states of another width are named."""
    raptor = Raptor(SIZES, (0, 2, 4))
    for layer in (0, 5):
        refused(f"`layer` must be one of 1 … 4, got {layer}", raptor.step, states[:, 0], layer)
    refused(r"`x` must have shape \(n, T, ", raptor.step, states[:, 0].mT, 1)


def test_forced_throughout_the_joint_loss_is_that_of_single_steps(states: torch.Tensor) -> None:
    """λ = 1: mixing states or losses is the same."""
    found = [
        float(loss.detach())
        for mix in ("states", "losses")
        for _, loss, _ in RaptorLoss(
            Raptor(SIZES, (0, 2, 4)), joint(forcing="always", mix=mix), KINDS, torch.ones(5)
        ).terms(states, 5)
    ]
    assert len(found) == 2
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_muon_moves_the_matrices_and_adamw_the_rest(states: torch.Tensor) -> None:
    """Each parameter by one of them; a new peak keeps their ratio."""
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
    """The second block's gradient does not depend on the first block."""
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


def test_a_refused_checkpoint_is_let_go(states: torch.Tensor, tmp_path: Path) -> None:
    """The folder is free for what the error advises, though a notebook keeps the error alive."""

    def begin(rate: float, *, resume: bool = True) -> None:
        settings = config(checkpoint=tmp_path / "c", learning_rate=rate)
        train_raptor(
            states,
            (0, 2, 4),
            settings,
            raptor=Raptor(SIZES, (0, 2, 4)),
            token_kinds=KINDS,
            progress=False,
            resume=resume,
        )

    begin(1e-2)
    with pytest.raises(ValueError, match="learning_rate was 0.01") as refused:
        begin(1e-3)
    begin(1e-3, resume=False)
    assert "resume=False" in str(refused.value)


def test_another_schedule_does_not_continue_a_run(states: torch.Tensor, tmp_path: Path) -> None:
    """The error names the schedules."""
    raptor = Raptor(SIZES, (0, 2, 4))
    settings = joint(checkpoint=tmp_path / "c", steps=2)
    train_raptor(states, (0, 2, 4), settings, raptor=raptor, progress=False)
    other = config(checkpoint=tmp_path / "c", steps_1=1, steps_2=1)
    with pytest.raises(ValueError, match="schedule was 'joint', this call has 'published'"):
        train_raptor(states, (0, 2, 4), other, raptor=raptor, progress=False)


def test_a_run_pauses_resumes_and_stops(states: torch.Tensor) -> None:
    """Hands on a training in a thread; what it leaves is usable."""
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


def test_divergence_is_said(states: torch.Tensor) -> None:
    """A loss that is no number ends the training."""
    bad = states.clone()
    bad[:, 1] *= 1e30
    with pytest.raises(FloatingPointError, match="lower `learning_rate`"):
        train_raptor(
            bad, (0, 2, 4), config(normalise=False), raptor=Raptor(SIZES, (0, 2, 4)), progress=False
        )


def test_segments_that_cannot_be_are_refused() -> None:
    """A longest segment below the shortest, where none would be fitted; fewer images than a step takes."""
    sizes = BlockSizes(d_model=8, n_heads=2, hidden=16)
    with pytest.raises(ValueError, match="`max_len` must be at least 3, got 2"):
        segment_errors(torch.randn(10, 5, 3, 8), sizes, min_len=3, max_len=2)
    with pytest.raises(ValueError, match="at most the 8 images to train on, got 16"):
        segment_errors(torch.randn(10, 5, 3, 8), sizes)


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


def test_segments_take_settings_of_either_schedule() -> None:
    """One block learns from the teacher's states: stages and weights of tokens make no difference."""
    x = planted((0, 2, 4), n=32, seed=4)
    rates = {"optimiser": "adamw", "learning_rate": 1e-2, "weight_decay": 0.0}
    staged = config(steps_1=4, steps_2=0, last_weights=(1.0, 0.0, 0.0), **rates)
    found = [segment_errors(x, SIZES, one).error for one in (staged, joint(steps=4, **rates))]
    assert found[0].tolist() == found[1].tolist()


def test_wrong_requests_are_refused(states: torch.Tensor) -> None:
    """Cuts, steps, images and states that make no training."""
    for cuts, words in (((0, 2, 5), "= 4"), ((0, 3, 2, 4), "c_0 < … < c_k"), ((4,), "0 = c_0")):
        refused(words, train_raptor, states, cuts, progress=False)
    with pytest.raises(TypeError, match=r"`cuts\[1\]` must be an integer"):
        train_raptor(states, (0, 1.5, 4), progress=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most the 6 images to train on, got 16"):
        train_raptor(states[:8], (0, 2, 4), progress=False)
    tied = load_model("tiny-vit-tied")
    others = States(torch.zeros(32, 13, 5, 64), model_name="tiny-vit")
    with pytest.raises(
        ValueError, match="states of `model`, tiny-vit-tied, got states of tiny-vit"
    ):
        train_raptor(others, (0, 4, 8, 12), model=tied, progress=False)
    with pytest.raises(ValueError, match="12 layers besides the embeddings and width 64"):
        train_raptor(torch.zeros(32, 13, 5, 8), (0, 12), model=tied, progress=False)


def test_wrong_settings_are_refused() -> None:
    """What belongs to the other schedule, does not add up or is out of range."""
    refused("must not both be 0", RaptorConfig, steps_1=0, steps_2=0)
    refused("must hold 3 values", RaptorConfig, joint_weights=(1.0, 1.0))
    with pytest.raises(ValueError, match="`steps_1` must be left out with schedule='joint'"):
        RaptorConfig(schedule="joint", steps_1=5)
    with pytest.raises(ValueError, match=r"`steps` must be steps_1 \+ steps_2 = 30, got 31"):
        RaptorConfig(steps_1=10, steps_2=20, steps=31)


def test_each_schedule_has_its_defaults() -> None:
    """Stages imply the authors' one; their steps are shared out of `steps`; another one keeps values."""
    assert RaptorConfig().schedule == "joint"
    staged = RaptorConfig(steps_1=10)
    assert (staged.schedule, staged.steps_2, staged.mix) == ("published", 300, "losses")
    shared = RaptorConfig(schedule="published", steps=50)
    assert (shared.steps_1, shared.steps_2) == (20, 30)
    moved = replace(RaptorConfig(steps=50), schedule="published")
    assert (moved.steps_1, moved.steps_2, moved.optimiser, moved.mix) == (20, 30, "muon", "states")
