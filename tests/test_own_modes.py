"""What the tool computes does not hang on torch's modes around the call: inference mode and autocast."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.checks import checked
from sae_nb.models import LiveModel, wrap

sys.path.insert(0, str(Path(__file__).parent))
from test_docstrings import BY_PACKAGE, failed_examples

Mode = Callable[[], AbstractContextManager[Any]]
MODES: dict[str, Mode] = {
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
D = 8


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Squares(nn.Module):
    """(n, 8) → the sum of squares of x W."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(D, D, bias=False)
        with torch.no_grad():
            self.a.weight.copy_(_drawn(D, D))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).square().sum(dim=1)


@pytest.fixture
def sae() -> sn.TopK:
    """An untrained SAE."""
    return sn.TopK(D, 32, 3, generator=torch.Generator().manual_seed(0))


@each_mode
@pytest.mark.parametrize("n", [1, 8, 64])
def test_codes_and_reconstructions(n: int, mode: Mode, sae: sn.TopK) -> None:
    x = _drawn(n, D)
    codes, x_hat = sae.encode(x).to_dense(), sae(x)
    with mode():
        again = sae.encode(x)
        made = sae(x), sae.decode(again)
    assert torch.equal(again.to_dense(), codes)
    for one in made:
        assert torch.equal(one, x_hat)
        assert not one.is_inference()


@each_mode
def test_rows_and_weights_made_in_a_mode(mode: Mode) -> None:
    """As those made outside: captured, trained on, differentiated with."""
    model, outside = wrap(Squares()), _drawn(64, D)
    slope = sn.capture(model, outside, "a", gradient_of=torch.sum, progress=False).gradient
    with mode():
        x, there = outside.clone(), wrap(Squares())
        inside = sn.TopK(D, 32, 3, generator=torch.Generator().manual_seed(0))
        sn.train(inside, x, steps=2, progress=False)
    torch.testing.assert_close(slope, 2 * outside @ model.module.a.weight.T)
    again = sn.capture(there, x, "a", gradient_of=torch.sum, progress=False)
    assert torch.equal(again.gradient, slope)
    plain = sn.TopK(D, 32, 3, generator=torch.Generator().manual_seed(0))
    sn.train(plain, outside, steps=2, progress=False)
    assert torch.equal(inside.dictionary, plain.dictionary)
    sn.train(inside, x, steps=1, progress=False)  # and on, with weights and rows of that mode
    inside.encode(x).values.sum().backward()


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_an_edit_in_a_pass_under_autocast(backend: Any, sae: sn.TopK) -> None:
    """The model's answer keeps the person's autocast; what the edit adds is what it adds without."""
    model, x = wrap(nn.Sequential(nn.Linear(D, D))), _drawn(4, D)
    with sn.splice(model, "0", sae, backend=backend), MODES["autocast"]():
        made = model(x)
    with MODES["autocast"]():
        h = model.module(x)
    assert h.dtype == made.dtype == torch.bfloat16
    assert torch.equal(made, sae(h.float()).bfloat16())


def test_a_capture_is_the_models_own_precision() -> None:
    model, x = wrap(Squares()), _drawn(4, D)
    with MODES["autocast"]():
        acts = sn.capture(model, x, "a", progress=False)
        assert torch.equal(model(x), model.module(x))  # the model's own answer is the person's call
    torch.testing.assert_close(acts.x, x @ model.module.a.weight.T)
    assert acts.x.dtype == torch.float32


def test_tied_weights_of_inference_mode_stay_tied() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D))
        model[1].weight = model[0].weight
    live = wrap(model)
    assert model[1].weight is model[0].weight
    assert not any(weight.is_inference() for weight in live.parameters())


def test_a_checked_function_gets_what_autograd_may_keep() -> None:
    @checked
    def squared(x: Tensor, parts: list[Tensor], by: dict[str, Any]) -> Tensor:
        w = torch.ones(2, requires_grad=True)
        with torch.enable_grad():
            total = sum((one * w).sum() for one in (x, *parts, *by["rows"]))
        return torch.autograd.grad(total, w)[0]

    with torch.inference_mode():
        x = torch.tensor([1.0, 2.0])
        inside = squared(x, [x, x], {"rows": (x,)})
    assert inside.tolist() == squared(x, [x, x], {"rows": (x,)}).tolist() == [4.0, 8.0]


@each_mode
@pytest.mark.slow
def test_gradients_through_a_model(mode: Mode, gpt: LiveModel) -> None:
    """Direct effects, heads by gradient, lenses, patching and graphs are to the bit what they are outside."""
    texts, pair = ["Once upon a time there was a", "The dog ran to the"], (" cat", " dog")
    transcoders = [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in range(gpt.n_layers or 0)]
    calls: list[Callable[[], Any]] = [
        lambda: sn.circuits.direct_effects(gpt, texts, pair).values,
        lambda: sn.circuits.head_contributions(gpt, texts, target=pair, method="gradient").values,
        lambda: sn.circuits.attribution_graph(gpt, transcoders, texts[0]).edges.weight.to_numpy(),
        lambda: sn.circuits.patch(gpt, "The cat", "The dog", (" is", " was")).effect,
        lambda: sn.fit_lens(gpt, texts, kind="jacobian", progress=False).maps,
        lambda: sn.fit_lens(gpt, texts, kind="tuned", progress=False).maps,
    ]
    for call in calls:
        outside = torch.as_tensor(call())
        with mode():
            inside = torch.as_tensor(call())
        torch.testing.assert_close(inside, outside, rtol=1e-6, atol=1e-6)


THEIR_OWN = ("planted_dictionary", "steer", "dose_response")
"""Examples that show a person's own product, or compare with their model's own answer: in their autocast."""


@pytest.mark.slow
@pytest.mark.parametrize("package", [name for name in BY_PACKAGE if name != "sae_nb_lessons"])
def test_every_public_name(package: str) -> None:
    """What a docstring shows is what happens, also in both modes at once."""
    with MODES["inference mode"](), MODES["autocast"]():
        failed = failed_examples(BY_PACKAGE[package], THEIR_OWN)
    assert failed == ""
