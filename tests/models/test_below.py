"""What lies below an edit is not computed twice, and the answer is the same to the bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb.models._prefix_cache import PrefixCache
from sae_nb.models._running import run
from sae_nb.steering import splice
from tests.models.conftest import build_model, inputs_for
from tests.models.test_families import EVERY


@contextmanager
def counted(model: LiveModel) -> Iterator[Counter[str]]:
    """Count what modules compute: calls of the leaves inside blocks."""
    calls: Counter[str] = Counter()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in model.module.named_modules()
        if not list(module.children())
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def answers(
    model: LiveModel, place: str, edit: Callable[[Tensor], Tensor], inputs: Any
) -> tuple[Tensor, Tensor, PrefixCache, int, int]:
    """Return the answer of a whole edited run and of one from the place on, with how much each computed."""
    batch = next(iter(model.batches(inputs, batch_size=2))).to(model.device)
    below = PrefixCache(model, [model.hook_point(place)])
    with model.lock, torch.no_grad():
        with counted(model) as whole, splice(model, place, edit):
            expected = run(model, batch).answer.tensor
        with below.noted():
            run(model, batch)
        with counted(model) as rest, below.left_out(), splice(model, place, edit):
            got = run(model, batch).answer.tensor
    return expected, got, below, whole.total(), rest.total()


@pytest.mark.parametrize("family", EVERY)
def test_every_family_answers_the_same(family: str) -> None:
    """Edits at an input, an output and inside the last block; the blocks below are left out."""
    model = sn.wrap(build_model(family))
    inputs = inputs_for(model)
    for place in ("resid_pre.2", "resid_post.1", "mlp_out.2"):
        if place not in model.hook_points():
            continue
        expected, got, below, whole, rest = answers(model, place, lambda x: 0.5 * x + 0.1, inputs)
        assert torch.equal(expected, got), place
        assert below.n_kept == 2, place
        assert rest < whole, place


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_both_ways_of_editing(gpt: Any, backend: Any) -> None:
    """A splice by hooks puts its edit around the block that is left out, as nnsight does."""
    batch = next(iter(gpt.batches(["The cat sat in the garden."], batch_size=1)))
    below = PrefixCache(gpt, [gpt.hook_point("resid_post.3")])
    with gpt.lock, torch.no_grad():
        with splice(gpt, "resid_post.3", torch.zeros_like, backend=backend):
            expected = run(gpt, batch).answer.tensor
        with below.noted():
            clean = run(gpt, batch).answer.tensor
        with (
            below.left_out(),
            splice(gpt, "resid_post.3", torch.zeros_like, backend=backend) as edit,
        ):
            got = run(gpt, batch).answer.tensor
        assert torch.equal(run(gpt, batch).answer.tensor, clean)
    assert below.n_kept == 4
    assert edit.n_touched > 0
    assert torch.equal(got, expected)
    assert not torch.equal(got, clean)


class _Noting(nn.Module):
    """Blocks that get an object that all of them may write into."""

    def __init__(self, notes: bool) -> None:
        super().__init__()
        self.stack = nn.ModuleList(_Block(notes) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        notes: set[int] = set()
        for block in self.stack:
            x = block(x, notes)
        return x.mul_(2)


class _Block(nn.Module):
    def __init__(self, notes: bool) -> None:
        super().__init__()
        self.linear, self.notes = nn.Linear(4, 4), notes

    def forward(self, x: Tensor, notes: set[int]) -> Tensor:
        notes.add(len(notes))
        return self.linear(x).mul_(len(notes) if self.notes else 1.0)


def test_an_object_that_passes_the_blocks_is_not_left_behind() -> None:
    """What lower blocks note in it would be missing above, so that everything is computed."""
    model = sn.wrap(_Noting(notes=True))
    expected, got, below, whole, rest = answers(
        model, "stack.1", lambda x: x + 1, torch.randn(2, 4)
    )
    assert torch.equal(expected, got)
    assert below.n_kept == 0
    assert rest == whole


def test_a_module_that_writes_into_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is handed on each time: the second answer is the first."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)) for _ in range(4)]
    model = sn.wrap(nn.Sequential(*layers))
    below = PrefixCache(model, [model.hook_point("3")])
    batch = next(iter(model.batches(torch.randn(2, 4), batch_size=2)))
    with model.lock, torch.no_grad():
        with below.noted():
            clean = run(model, batch).answer.tensor
        with below.left_out():
            assert all(torch.equal(run(model, batch).answer.tensor, clean) for _ in range(3))
        monkeypatch.setattr("sae_nb.models._prefix_cache.KEPT", 2 * 2 * 4 * 4)
        with below.noted():
            run(model, batch)
    assert below.n_kept <= 2


def test_edits_of_others_make_every_run_whole(gpt: Any) -> None:
    """A steering that is active decides what lies below."""
    below = PrefixCache(gpt, [gpt.hook_point("resid_post.3")])
    batch = next(iter(gpt.batches(["The cat sat."], batch_size=1)))
    direction = torch.ones(gpt.width())
    with gpt.lock, sn.steer(gpt, "resid_post.0", direction=direction, by=2.0), below.noted():
        run(gpt, batch)
    assert below.n_kept == 0


def test_a_block_that_runs_twice_is_computed() -> None:
    """Its second run differs from its first."""
    model = sn.load_model("tiny-looped")
    expected, got, below, _, _ = answers(
        model, "resid_post.3", lambda x: 0.5 * x, [model.tokenizer.decode([5, 6, 7, 8])]
    )
    assert torch.equal(expected, got)
    assert below.n_kept == 0


@pytest.mark.slow
def test_a_report_is_the_same(gpt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of `evaluate`, and every token's cost, as without."""
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    texts = list(sn.data.stories(12, seed=3))
    acts = sn.capture(gpt, texts, "resid_post.3", progress=False)

    def judged() -> tuple[dict[str, Any], Any]:
        report = sn.evaluate(sae, acts, gpt, n_bootstrap=20, progress=False)
        rows = {
            name: (row.value, row.floor, row.control) for name, row in report.measurements.items()
        }
        return rows, sn.evaluation.token_costs(gpt, sae, acts)

    rows, costs = judged()
    monkeypatch.setattr(PrefixCache, "left_out", PrefixCache.noted)
    whole, all_costs = judged()
    assert rows == whole
    assert (costs.ce_spliced == all_costs.ce_spliced).all()
