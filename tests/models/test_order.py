"""Execution order is an axis: blocks that are shared or looped over have a layer for each time they run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb.models._running import run

BACKENDS = ["nnsight", "hooks"]


class Block(nn.Module):
    """A block with an attention by name."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.attn, self.mlp = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x).tanh()
        return x + self.mlp(x).tanh()


class Looped(nn.Module):
    """Two blocks, run three times, with a gate after each loop."""

    def __init__(self, loops: int = 3) -> None:
        super().__init__()
        self.loops = loops
        self.emb = nn.Embedding(20, 8)
        self.layers = nn.ModuleList([Block(), Block()])
        self.exit_gate, self.norm, self.head = nn.Linear(8, 1), nn.LayerNorm(8), nn.Linear(8, 20)

    def n_loops(self, ids: Tensor) -> int:
        """Return how often it loops for these tokens."""
        return self.loops

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        for _ in range(self.n_loops(ids)):
            for layer in self.layers:
                x = layer(x)
            self.exit_gate(x)
            y = self.norm(x)
        return self.head(y)


class Adaptive(Looped):
    """Loops as often as the first token says."""

    def n_loops(self, ids: Tensor) -> int:
        return int(ids[0, 0]) + 1


class Again(nn.Module):
    """One encoder layer, applied four times."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = self.b(x)
        return x


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def ids_of(n: int = 5, time: int = 7) -> Tensor:
    return torch.randint(1, 20, (n, time))


def outputs(module: nn.Module, parts: list[nn.Module], *args: Any) -> list[Tensor]:
    """What parts give in one pass, each time they run, by plain hooks."""
    seen: list[Tensor] = []
    hooks = [part.register_forward_hook(lambda _m, _a, out: seen.append(out)) for part in parts]
    with torch.no_grad():
        module.eval()(*args)
    for hook in hooks:
        hook.remove()
    return seen


def assert_same(x: Tensor, truth: Tensor) -> None:
    torch.testing.assert_close(x.view(truth.shape), truth, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_path_that_runs_four_times_gives_all_four(backend: Any, tmp_path: Any) -> None:
    """Equal to plain hooks; @2 and @last choose; saved, chosen and joined with their steps."""
    module, x = Again(), torch.randn(5, 7, 16)
    truth, model = outputs(module, [module.b], x), sn.wrap(module)
    options = {"backend": backend, "progress": False, "batch_size": 2}
    acts = sn.capture(model, x, "b", **options)
    assert "4 applications" in repr(acts)
    for step, expected in enumerate(truth):
        one = acts[acts.step == step]
        assert_same(one.x, expected)
        assert one.sample.tolist() == [i for i in range(5) for _ in range(7)]
    assert "application 3" in acts[acts.step == 3].where(0)
    several = sn.capture(model, x, ["b@2", "b@last"], **options)
    assert_same(several["b@2"].x, truth[2])
    assert_same(several["b@last"].x, truth[3])
    assert several["b@last"].step.unique().tolist() == [3]
    stored = sn.capture(model, x, "b", store=tmp_path / "s", **options)
    acts.save(tmp_path / "a")
    for again in (
        stored,
        sn.load_activations(tmp_path / "a"),
        sn.concatenate([acts[:9], acts[9:]]),
    ):
        assert torch.equal(again.step, acts.step)
        assert torch.equal(again.x, acts.x)
    slopes = sn.capture(model, x, "b", gradient_of=torch.sum, **options)
    assert torch.equal(slopes.gradient[slopes.step == 3], torch.ones(35, 16))
    stream = sn.stream(model, x, "b", backend=backend, batch_size=2)
    assert stream.count(next(iter(model.batches(x, batch_size=2)))) == 2 * 7 * 4


def test_a_block_that_is_in_no_list_has_a_layer_for_each_time_it_runs() -> None:
    """Its states over depth too; a block that runs once leaves the list of modules as it is."""
    module, x = Again(), torch.randn(5, 7, 16)
    model = sn.wrap(module)
    assert model.layers.values.tolist() == [[i, "b", i] for i in range(4)]
    truth = outputs(module, [module.b], x)
    states = sn.dynamics.capture_states(model, x)
    for layer, expected in enumerate([x, *truth]):
        assert_same(states[:, layer], expected)
    once = sn.wrap(nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)))
    assert once.layers.empty
    assert once.n_layers is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["b@7", "b@4"])
def test_an_application_beyond_the_last_is_refused(backend: Any, name: str) -> None:
    with pytest.raises(ValueError, match="one of the 4 applications of `b`"):
        sn.capture(sn.wrap(Again()), torch.randn(2, 3, 16), name, backend=backend, progress=False)


def test_one_state_is_asked_for_where_a_module_has_several() -> None:
    model = sn.wrap(Again())
    (batch,) = model.batches(torch.randn(2, 3, 16))
    with pytest.raises(ValueError, match="runs 4 times"):
        run(model, batch, read="b")
    assert run(model, batch, read="b@last").states["b@last"].shape == (2, 3, 16)


@pytest.mark.parametrize(("groups", "inner"), [(1, 1), (2, 1), (2, 3)])
def test_albert_has_all_its_layers(groups: int, inner: int) -> None:
    """Six of six shared layers, equal to its hidden states; norms after each sum."""
    config = AlbertConfig(
        vocab_size=20, embedding_size=8, hidden_size=16, num_hidden_layers=6, num_attention_heads=2,
        num_hidden_groups=groups, inner_group_num=inner, intermediate_size=32,
    )  # fmt: skip
    module = AlbertModel(config).eval()
    model, ids = sn.wrap(module), ids_of()
    assert model.n_layers == 6 * inner
    assert len(set(model.layers["module"])) == groups * inner
    with torch.no_grad():
        truth = module(ids, output_hidden_states=True).hidden_states
    for backend in BACKENDS:
        states = sn.dynamics.capture_states(model, ids, backend=backend, progress=False)
        assert len(truth) == 1 + 6 * inner
        for layer, expected in enumerate(truth):
            assert_same(states[:, layer], expected)
    kinds = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
    found = sn.capture(model, ids, [f"{kind}.2" for kind in kinds], progress=False)
    pre, attn, middle, mlp, post = (one.x for one in found.values())
    layer = model.get_module(model.layers["module"][2])
    torch.testing.assert_close(layer.attention.LayerNorm(pre + attn), middle)
    torch.testing.assert_close(layer.full_layer_layer_norm(middle + mlp), post)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_looped_language_model_has_a_layer_for_every_run(backend: Any) -> None:
    """1 + 6 states of two blocks run three times, its gate after each, and the norm that the answer comes from."""
    module, ids = Looped(), ids_of()
    truth = outputs(module, list(module.layers), ids)
    model = sn.wrap(module)
    assert model.n_layers == 6
    assert model.layers.values.tolist() == [[i, f"layers.{i % 2}", i // 2] for i in range(6)]
    states = sn.dynamics.capture_states(model, ids, backend=backend, progress=False)
    for layer, expected in enumerate([module.emb(ids), *truth]):
        assert_same(states[:, layer], expected)
    names = ["attn_out.3", "resid_pre.3", "resid_post.3", "mlp_out.3", "exit_gate.1", "final_norm"]
    found = sn.capture(model, ids, names, backend=backend, progress=False)
    attn, pre, post, mlp, gate, norm = (found[name].x for name in names)
    torch.testing.assert_close(module.layers[1].attn(pre), attn)
    torch.testing.assert_close(post - mlp.tanh(), pre + attn.tanh())
    torch.testing.assert_close(gate, module.exit_gate(post))
    assert_same(module.head(norm), module(ids))
    assert all(one.step is None for one in found.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_that_runs_more_often_for_some_samples_is_named(backend: Any) -> None:
    """By its path, and with what all samples have; the last application can be read."""
    model = sn.wrap(Adaptive())
    ids = torch.tensor([[0, 5, 6], [2, 7, 8]])
    options = {"backend": backend, "batch_size": 1, "progress": False}
    for name in ("layers.0", "resid_post.1"):
        with pytest.raises(
            ValueError, match=r"`layers\.0` .*same number of times for every sample"
        ):
            sn.capture(model, ids, name, **options)
    last = sn.capture(model, ids, "layers.0@last", **options)
    assert last.step.tolist() == [0] * 3 + [2] * 3


def test_blocks_that_run_once_are_layers_as_ever() -> None:
    model: LiveModel = sn.load_model("tiny-gpt")
    assert model.layers["loop"].eq(0).all()
    assert len(model.layers) == model.n_layers
    assert all(point.step is None and point.once for point in model.hook_points())
