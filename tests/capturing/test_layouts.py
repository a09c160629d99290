"""The axis of a state that holds its features: decided by the module that makes it, given, or stated."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.models import LiveModel


class TimesFirst(nn.Module):
    """Makes (batch, time, channels) of (batch, channels, time), and back at once: its layout is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def trace_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(1, 6, 31, stride=16),
        nn.ReLU(),
        nn.BatchNorm1d(6),
        nn.MaxPool1d(2),
        nn.ConvTranspose1d(6, 5, 3, stride=2),
    ).eval()


@pytest.fixture(scope="module")
def traced() -> tuple[LiveModel, nn.Sequential, Tensor]:
    module = trace_network()
    return sn.wrap(module, sample_rate=400), module, torch.randn(4, 1, 400)


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
@pytest.mark.parametrize("point", ["0", "2", "4.input"])
def test_rows_of_a_1d_convolution_are_steps_in_time(traced, point: str, backend: str) -> None:
    """As wide as it has channels, also after what keeps its layout; `position` is time."""
    model, module, x = traced
    stop = {"": 5, "4.input": 4}.get(point, int(point[:1] or 0) + 1)
    wanted = module[:stop](x).transpose(1, 2)
    acts = sn.capture(model, x, point or "4", backend=backend, progress=False)
    assert torch.equal(acts.x, wanted.flatten(0, 1))
    assert acts.position.tolist() == list(range(wanted.shape[1])) * 4
    assert "channels are features" in repr(acts)


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
@pytest.mark.parametrize("point", [0, 2, 3])
def test_an_edit_reaches_the_channels(traced, point: int, backend: str) -> None:
    """At every step in time: steering and ablation give what plain torch gives."""
    model, module, x = traced
    state, rest = module[: point + 1](x), module[point + 1 :]
    direction = torch.randn(6)
    with sn.steer(model, str(point), direction=direction, by=2.0, backend=backend):
        steered = model(x)
    assert torch.allclose(steered, rest(state + 2 * direction[:, None]), atol=1e-6)
    sae = sn.TopK(6, 12, 2)
    with sn.ablate(model, str(point), sae, atom=[3, 5], backend=backend):
        ablated = model(x)
    rows = state.transpose(1, 2).flatten(0, 1)
    lost = sae.encode(rows).to_dense()[:, [3, 5]] @ sae.dictionary[[3, 5]]
    without = (rows - lost).reshape(4, -1, 6).transpose(1, 2)
    assert torch.allclose(ablated, rest(without), atol=1e-5)


def test_gradients_have_the_rows_of_their_states(traced) -> None:
    model, module, x = traced
    acts = sn.capture(model, x, "2", gradient_of=lambda y: y.square().sum(), progress=False)
    state = module[:3](x).detach().requires_grad_()
    (wanted,) = torch.autograd.grad(module[3:](state).square().sum(), state)
    assert torch.allclose(acts.gradient, wanted.transpose(1, 2).flatten(0, 1), atol=1e-6)


def test_rows_know_their_time(traced) -> None:
    """The strides up to a module over the sample rate; kept by files, by stores and by the rows of a part."""
    model, _, x = traced
    acts = sn.capture(model, x, ["0", "3", "4"], progress=False)
    steps = {name: float(one.seconds[1]) for name, one in acts.items()}
    assert steps == pytest.approx({"0": 16 / 400, "3": 32 / 400, "4": 16 / 400})
    assert torch.allclose(acts["0"].seconds, acts["0"].position * 0.04)
    assert torch.equal(acts["0"][5:].seconds, acts["0"].seconds[5:])
    assert sn.capture(sn.wrap(trace_network()), x, "0", progress=False).seconds is None


def test_a_store_keeps_layout_and_time(traced, tmp_path: Path) -> None:
    model, _, x = traced
    memory = sn.capture(model, x, "3", progress=False)
    stored = sn.capture(model, x, "3", store=tmp_path / "acts", progress=False)
    memory.save(tmp_path / "saved")
    for acts in (stored, sn.load_activations(tmp_path / "saved")):
        assert torch.equal(acts.x, memory.x)
        assert torch.equal(acts.seconds, memory.seconds)
        assert acts.context.policy["features"] == "channels"


def test_an_unknown_layout_is_stated() -> None:
    """A warning and the repr name the axis that is taken; giving it ends the warning, and decides."""
    model, x = sn.wrap(nn.Sequential(Unknown(), Unknown())), torch.randn(2, 6, 9)
    with pytest.warns(UserWarning, match="the last axis, of 9, is taken for features"):
        acts = sn.capture(model, x, "0", progress=False)
    assert torch.equal(acts.x, 2 * x.flatten(0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        last = sn.capture(model, x, "0", features="last", progress=False)
        channels = sn.capture(model, x, "0", features="channels", progress=False)
    assert torch.equal(last.x, acts.x)
    assert torch.equal(channels.x, 2 * x.transpose(1, 2).flatten(0, 1))
    point = model.hook_point("0", features="channels")
    with sn.steer(model, point, direction=torch.arange(6.0), by=1.0):
        assert torch.equal(model(x), 2 * (2 * x + torch.arange(6.0)[:, None]))


def test_the_channels_of_a_convolution_inside_decide() -> None:
    """Where parts of a module disagree and its shape leaves no doubt."""
    module = nn.ModuleList([nn.Conv1d(1, 6, 5), TimesFirst()])
    block = _Both(module)
    model, x = sn.wrap(nn.Sequential(block)), torch.randn(3, 1, 40)
    acts = sn.capture(model, x, "0", progress=False)
    assert torch.equal(acts.x, block(x).transpose(1, 2).flatten(0, 1))


class _Both(nn.Module):
    def __init__(self, parts: nn.ModuleList) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


def test_what_keeps_features_last_is_read_as_before() -> None:
    """Linear layers, norms and attention, in sequences and in maps."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0).eval()
    x = torch.randn(3, 5, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        acts = sn.capture(sn.wrap(nn.Sequential(encoder, nn.Dropout(0.1))), x, "1", progress=False)
        maps = sn.capture(sn.wrap(nn.Sequential(nn.Linear(8, 4))), x[:, None], "0", progress=False)
    assert torch.allclose(acts.x, encoder(x).flatten(0, 1), atol=1e-6)
    assert maps.shape == (15, 4)


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
@pytest.mark.parametrize("word", ["registers", "patches", "last"])
def test_positions_of_images_have_the_words_of_steering(word: str, backend: str) -> None:
    """The rows of a capture are those of all rows, chosen by their position, and those that `steer` changes."""
    model, images = sn.load_model("tiny-vit"), sn.data.scenes(3, seed=1).images
    whole = sn.capture(model, images, "resid_post.2", backend=backend, progress=False)
    n = 1 + 4 + 64
    wanted = {"cls": [0], "registers": [1, 2, 3, 4], "patches": range(5, n)}
    wanted |= {"not_first": range(1, n), "last": [n - 1]}
    mask = torch.isin(whole.position, torch.tensor(list(wanted[word])))
    acts = sn.capture(
        model, images, "resid_post.2", positions=word, backend=backend, progress=False
    )
    assert torch.equal(acts.x, whole.x[mask])
    assert torch.equal(acts.position, whole.position[mask])
    assert torch.equal(acts.sample, whole.sample[mask])
    assert acts.tokens[:] == whole.subset(mask).tokens[:]
    assert acts.context.policy["n_dropped_others"] == int((~mask).sum())
    stream = sn.stream(model, images, "resid_post.2", positions=word, backend=backend)
    streamed = next(stream.batches(len(acts), seed=0))
    assert {row.numpy().tobytes() for row in streamed} <= {row.numpy().tobytes() for row in acts.x}
    direction = torch.zeros(whole.d_in)
    direction[0] = 1.0
    with sn.steer(model, "resid_post.2", direction=direction, by=3.0, positions=word):
        steered = sn.capture(model, images, "resid_post.2", backend=backend, progress=False)
    assert torch.equal((steered.x != whole.x).any(dim=1), mask)


def test_positions_that_a_model_does_not_have_are_refused() -> None:
    """By one rule where rows are read and where they are changed."""
    vit, gpt = sn.load_model("tiny-vit"), sn.load_model("tiny-gpt")
    direction = torch.ones(128)
    for word in ("cls", "registers", "patches"):
        with pytest.raises(ValueError, match="prefix_tokens"):
            sn.capture(gpt, ["a text"], "resid_post.1", positions=word)
        with pytest.raises(ValueError, match="prefix_tokens"):
            sn.stream(gpt, ["a text"], "resid_post.1", positions=word)
        with pytest.raises(ValueError, match="prefix_tokens"):
            sn.steer(gpt, "resid_post.1", direction=direction, by=1.0, positions=word)
    with pytest.raises(ValueError, match="role"):
        sn.capture(vit, sn.data.scenes(1).images, "resid_post.1", positions="user")
