"""Steps on a card: nothing is asked of it between records, and what is captured is what is computed.

Without a card Triton's interpreter runs the kernels, and a stand-in replays a graph: every operation again, on the
same memory and with the same numbers of the host, so that a number which should have been a tensor is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton_interpreter import DEVICE, NothingWaits, a_card

import sae_nb as sn
from sae_nb.kernels import paths_taken
from sae_nb.training import _loop, start_training
from sae_nb.training._graph import StepGraph, StepLog
from sae_nb.training._learner import Learner

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {
    "batch_size": 3, "log_every": 2, "progress": False, "precision": "float32", "dead_after_tokens": 6,
}  # fmt: skip


def rows(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


Ways = list[str]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ways]:
    """A card, and what became of each step on it; every step but the first of a size waits for nothing."""
    seen: Ways = []
    step, eagerly, capture = Learner.step, StepGraph._eagerly, StepGraph._capture

    sizes: set[int] = set()

    def waiting_for_nothing(self: Learner, x: Tensor, number: int, **how: Any) -> Any:
        if self.log is None or len(x) not in sizes:
            sizes.add(len(x))
            return step(self, x, number, **how)
        before = len(seen)
        with NothingWaits():
            taken = step(self, x, number, **how)
        if len(seen) == before:
            seen.append("replay")
        return taken

    def eager(self: StepGraph, x: Tensor) -> Any:
        seen.append("eager")
        return eagerly(self, x)

    def captured(self: StepGraph, x: Tensor) -> Any:
        found = capture(self, x)
        if found is not None:
            seen.append("capture")
        return found

    monkeypatch.setattr(_loop, "INITIAL_ROWS", 6)
    monkeypatch.setattr(Learner, "step", waiting_for_nothing)
    monkeypatch.setattr(StepGraph, "_eagerly", eager)
    monkeypatch.setattr(StepGraph, "_capture", captured)
    with a_card(monkeypatch):
        yield seen


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


MAKE: dict[str, Callable[[], Any]] = {
    "TopK": lambda: sn.TopK(4, 6, 2, generator=generator()),
    "resample": lambda: sn.TopK(4, 6, 2, revival="resample", generator=generator()),
    "push-up": lambda: sn.AbsTopK(4, 6, 2, revival="push-up", generator=generator()),
    "BatchTopK": lambda: sn.BatchTopK(4, 6, 2, generator=generator()),
    "JumpReLU": lambda: sn.JumpReLU(4, 6, l0=2, generator=generator()),
    "ReLU": lambda: sn.ReLU(4, 6, l0=2.0, aux_weight=0.1, generator=generator()),
    "Matryoshka": lambda: sn.Matryoshka(4, 6, 2, generator=generator()),
    "Archetypal": lambda: sn.Archetypal(4, 6, 2, generator=generator()),
    "Transcoder": lambda: sn.SkipTranscoder(3, 2, 6, 2, generator=generator()),
    "Crosscoder": lambda: sn.Crosscoder([3, 2], 6, 2, generator=generator()),
    "MP": lambda: sn.MatchingPursuit(4, 6, 2, generator=generator()),
    "MP, free": lambda: sn.MatchingPursuit.for_concepts(4, 6, 2, generator=generator()),
}


def trained(kind: str, device: str, **more: Any) -> Any:
    """In bf16, where matrices are read so: their copies are written by the graph, too."""
    sae = MAKE[kind]()
    sites = rows(30, sum(sae.sites)).split(list(sae.sites), dim=1)
    data = tuple(sites) if sae.writes else list(sites) if sae.by_site else sites[0]
    how = SHORT | {"steps": 4, "precision": "auto"} | more
    return sn.train(sae.to(device), data, **how)


def state_of(result: Any) -> dict[str, Tensor]:
    return {name: value.double().cpu() for name, value in result.sae.state_dict().items()}


@pytest.mark.parametrize("kind", list(MAKE))
def test_a_training_on_a_card_waits_for_nothing_and_learns_the_same(kind: str, ways: Ways) -> None:
    """One eager step, one capture, then replays; with the same records and weights as eager steps have."""
    result = trained(kind, DEVICE)
    assert ways == ["eager", "capture", "replay", "replay"]
    assert paths_taken()["training step"].chosen == "CUDA graph"
    assert [record.step for record in result.history] == [1, 2, 4]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepGraph, "_capture", lambda *_: None)
        eager = trained(kind, DEVICE)
    for name, value in state_of(eager).items():
        assert torch.equal(state_of(result)[name], value), name
    for ours, theirs in zip(result.history, eager.history, strict=True):
        for number in ("loss", "parts", "r2", "l0", "dead_fraction", "gradient_norm"):
            assert getattr(ours, number) == getattr(theirs, number), (ours.step, number)


# One small SAE for the rules of graphs, records and errors


def small() -> Any:
    sae = sn.ReLU(3, 4, generator=generator())
    sae.initialise(rows(6, 3), generator())
    return sae.to(DEVICE)


def run(sae: Any, data: Any = None, **more: Any) -> Any:
    x = rows(24, 3).to(DEVICE) if data is None else data
    return sn.train(sae, x, **(SHORT | {"steps": 6, "batch_size": 4} | more))


def same(one: Any, other: Any) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Batches:
    """Rows that exist only while they are served, where the SAE is; `spoil` may change a batch, or end them."""

    d_in, hook_point, model_name = 3, "resid_post.3", "tiny"

    def __init__(self, spoil: Callable[[int, Tensor], Tensor | None]) -> None:
        self.spoil = spoil

    def batches(self, batch_size: int, *, seed: int = 0, start: int = 0) -> Iterator[Tensor]:
        plain = sn.Activations.from_tensor(rows(24, 3)).batches(batch_size, seed=seed, start=start)
        for number, x in enumerate(plain, start=start + 1):
            spoiled = self.spoil(number, x.clone().to(DEVICE))
            if spoiled is None:
                return
            yield spoiled


def changing(run: Any) -> Callable[[Any], None]:
    """Set a learning rate, then a weight of the loss, then write the atoms from outside."""

    def change(record: Any) -> None:
        training = run()
        if record.step == 2:
            training.set(learning_rate=0.004)
        if record.step == 4:
            training.set(sparsity=0.5)
        if record.step == 6:
            with torch.no_grad():
                training.saes[0].operator.weight.copy_(-training.saes[0].operator.weight)

    return change


def changed(sae: Any, ways: Ways) -> tuple[Any, int]:
    """A training that is changed on its way, and how often the card was read."""
    reads: list[int] = []
    read = StepLog.read
    data = Batches(lambda number, x: x[:2] if number == 9 else x)
    settings = {name: value for name, value in SHORT.items() if name != "progress"}
    config = sn.TrainConfig(**settings | {"steps": 9, "batch_size": 4})
    training = _loop.Training(sae, data, config, callbacks=changing(lambda: training))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepLog, "read", lambda self: (reads.append(1), read(self))[1])
        training.run()
    return training.results()[0], len(reads)


def test_a_step_is_captured_anew_when_a_shape_or_a_setting_changes(ways: Ways) -> None:
    """Not for another learning rate, which lies on the card; and for weights that someone else wrote."""
    result, reads = changed(small(), ways)
    fresh = ["eager", "capture"]
    assert ways == [*fresh, "replay", "replay", *fresh, *fresh, "eager"]
    assert [record.step for record in result.history] == [1, 2, 4, 6, 8, 9]
    assert reads == len(result.history)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepGraph, "_capture", lambda *_: None)
        eager, _ = changed(small(), ways)
    assert same(result.sae, eager.sae)
    assert [r.loss for r in result.history] == [r.loss for r in eager.history]


def struck(number: int, x: Tensor) -> Tensor:
    if number == 4:
        raise MemoryError("struck")
    return x


@pytest.fixture
def of_cpu() -> Any:
    """A training before any card is there."""
    return run(small().cpu(), rows(24, 3), steps=5)


def test_a_resumed_training_ends_with_the_same_bits(
    of_cpu: Any, ways: Ways, tmp_path: Path
) -> None:
    """From a checkpoint between two records, where the card is read for it; a CPU's, but for rounding."""
    whole = run(small(), Batches(lambda _, x: x), steps=5)
    for record, true in zip(whole.history, of_cpu.history, strict=True):
        for number in ("loss", "r2", "l0", "gradient_norm", "learning_rate"):
            assert getattr(record, number) == pytest.approx(getattr(true, number), rel=1e-4), number
    of_atoms = whole.sae.dictionary.cpu() - of_cpu.sae.dictionary
    assert float(of_atoms.abs().max()) < 1e-4
    with pytest.raises(MemoryError, match="struck"):
        run(small(), Batches(struck), steps=5, checkpoint=tmp_path, checkpoint_every=3)
    again = run(small(), Batches(lambda _, x: x), steps=5, checkpoint=tmp_path)
    assert ways.count("eager") == ways.count("capture") == 3
    assert same(again.sae, whole.sae)
    assert [r.loss for r in again.history] == [r.loss for r in whole.history]


@pytest.mark.parametrize("what", ["row", "loss"])
def test_what_is_not_finite_is_named_at_the_next_record(what: str, ways: Ways) -> None:
    """By its own step; the SAE keeps the weights of the step before it."""

    def spoil(number: int, x: Tensor) -> Tensor | None:
        if number == 4:
            x[3 if what == "row" else slice(None), 2] = torch.nan if what == "row" else 1e19
        return x

    how: dict[str, Any] = {"log_every": 3, "steps": 20, "learning_rate": 1e-3}
    sae, good = small(), small()
    says = (
        r"row 3\. It is in the batch of step 4\..*_post\.3"
        if what == "row"
        else "at step 4 for ReLU"
    )
    with pytest.raises(ValueError if what == "row" else FloatingPointError, match=says):
        run(sae, Batches(spoil), **how)
    assert len(ways) == 6
    with pytest.raises(MemoryError, match="struck"):
        run(good, Batches(struck), **how)
    assert same(sae, good)


def test_massive_rows_give_their_place_to_ordinary_ones(ways: Ways) -> None:
    """How long they are changes no bit, and they are counted."""
    results = []
    for length in (1e3, 1e5):
        x = rows(16, 3)
        x[3] *= length
        results.append(run(small(), x.to(DEVICE), batch_size=8, steps=4))
    assert same(results[0].sae, results[1].sae)
    assert results[0].n_massive == results[1].n_massive == 2
    assert results[0].tokens == 32
    assert ways[2:4] == ["replay"] * 2


def test_without_a_graph_steps_stay_eager(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be captured, as where memory ends, and says so; the result is the same."""
    captured = run(small(), steps=3)
    known = paths_taken()["training step"]
    assert (known.chosen, known.reason) == ("CUDA graph", "ReLU, captured once")
    for error in (torch.cuda.OutOfMemoryError("full"), RuntimeError("no graph")):

        def refuses(*_: object, error: Exception = error, **__: object) -> Any:
            raise error

        monkeypatch.setattr(torch.cuda, "graph", refuses)
        ways.clear()
        eager = run(small(), steps=3)
        assert ways == ["eager"] * 3
        known = paths_taken()["training step"]
        assert (known.chosen, known.reason) == ("eager", f"ReLU: no graph, {error}")
        assert same(captured.sae, eager.sae)


def stopped() -> Any:
    """A training in a thread that is stopped after its third step, while weights of the loss still rise."""
    training = start_training(
        small(), Batches(lambda number, x: (number == 4 and training.stop(), x)[1]),
        **(SHORT | {"steps": 50, "batch_size": 4}),
    )  # fmt: skip
    training.wait(60)
    return training


def test_a_training_that_is_stopped_reads_what_was_left(ways: Ways) -> None:
    """Its running loss has all steps, though the history ends at a record."""
    result = stopped().wait()
    assert ways == ["eager", "capture", "replay"]
    assert (result.stopped, result.steps) == ("stopped", 3)
    assert [record.step for record in result.history] == [1, 2]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepGraph, "_capture", lambda *_: None)
        eager = stopped()
    assert same(result.sae, eager.sae)
    (learner,) = eager._training.learners
    assert learner.best._weight == pytest.approx(1 - 0.95**3)


def test_a_card_trains_beside_an_sae_that_looks_at_every_step(ways: Ways, plain_sae: Any) -> None:
    """Each with its own records; the one that waits for nothing does so all the same."""
    together = run([small(), plain_sae(3, 4).to(DEVICE)], steps=3)
    assert ways == ["eager", "capture", "replay"]
    assert same(together[0].sae, run(small(), steps=3).sae)
    assert [record.sae for record in together[1].history] == [1] * 3


def test_a_class_from_elsewhere_says_itself_that_its_steps_may_become_a_graph(ways: Ways) -> None:
    """Its Python may do more than a graph repeats."""

    class Own(sn.ReLU):
        """Counts its steps."""

    class Plain(sn.ReLU):
        """Does no more than its base."""

        fixed_codes = True

    assert not Own(3, 4).has_one_shape
    assert Plain(3, 4).has_one_shape
