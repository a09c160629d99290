"""Bad input at the front door: refused before any work, with rule, given and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn

PICTURES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    """The bundled vision model."""
    return sn.load_model("tiny-vit")


@pytest.fixture
def sae() -> sn.TopK:
    """An untrained SAE of the model's width."""
    return sn.TopK(d_in=64, n_atoms=32, k=4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def passes(model: sn.LiveModel) -> list[int]:
    """Counts forward passes through the first block while a test runs."""
    count: list[int] = []
    hook = model.get_module("blocks.0").register_forward_hook(lambda *_: count.append(1))
    yield count  # type: ignore[misc]
    hook.remove()


Call = Callable[[sn.LiveModel, sn.TopK], Any]
CASES: dict[str, tuple[Call, type[Exception], str]] = {
    "width": (lambda m, s: s.encode(torch.zeros(5, 384)), ValueError, r"d_in=64.*384"),
    "empty": (lambda m, s: s.encode(torch.zeros(0, 64)), ValueError, "empty"),
    "k too small": (lambda m, s: sn.TopK(64, 32, 0), ValueError, r"between 1 and n_atoms=32, got 0"),
    "k too large": (lambda m, s: s.encode(torch.ones(1, 64), k=33), ValueError, r"n_atoms=32, got 33"),
    "nan": (lambda m, s: s.encode(torch.full((2, 64), torch.nan)), ValueError, "first is row 0"),
    "beyond the SAE's precision": (
        lambda m, s: s.encode(torch.full((2, 64), 1e300, dtype=torch.float64)), ValueError, "first is row 0"
    ),
    "without a square": (lambda m, s: s.encode(torch.full((2, 64), 1e19)), ValueError, "squared in float32"),
    "pursued without a square": (
        lambda m, s: sn.matching_pursuit(torch.full((2, 64), 1e19), s.dictionary, 2),
        ValueError,
        "squared in float32",
    ),
    "strength without a square": (
        lambda m, s: sn.steer(m, "resid_post.3", s, 1, 1e30, mode="scale"), ValueError, "`by`.*squared"
    ),
    "direction times strength": (
        lambda m, s: sn.steer(m, "resid_post.3", direction=torch.full((64,), 1e10), by=1e10),
        ValueError,
        "`by`.*squared",
    ),
    "empty hook point": (lambda m, s: sn.capture(m, PICTURES, ""), sn.HookPointNotFound, '"embed"'),
    "nan in training": (
        lambda m, s: sn.train(s, torch.full((20, 64), torch.inf), progress=False),
        ValueError,
        "finite|NaN|infin",
    ),
    "width in training": (
        lambda m, s: sn.train(s, torch.ones(20, 65), progress=False),
        ValueError,
        r"64.*65|65.*64",
    ),
    "hook point": (
        lambda m, s: sn.capture(m, PICTURES, "resid_post.12"),
        sn.HookPointNotFound,
        r"resid_post\.1[01]?",
    ),
    "hook point of steering": (
        lambda m, s: sn.steer(m, "resid_pots.3", s, 1, 1.0),
        sn.HookPointNotFound,
        r"resid_post\.3",
    ),
    "atom": (lambda m, s: sn.steer(m, "resid_post.3", s, 32, 1.0), IndexError, "0 and 31.*got 32"),
    "mode": (
        lambda m, s: sn.steer(m, "resid_post.3", s, 1, 1.0, mode="louder"),
        ValueError,
        "add.*set.*scale.*louder",
    ),
    "steering width": (
        lambda m, s: sn.steer(m, "resid_post.3", direction=torch.ones(63), by=1.0),
        ValueError,
        "64.*63|63.*64",
    ),
    "no pictures": (lambda m, s: sn.capture(m, PICTURES[:0], "resid_post.3"), ValueError, "empty|least one"),
    "picture size": (
        lambda m, s: sn.capture(m, PICTURES[:, :, :30], "resid_post.3"),
        ValueError,
        "32.*30|30.*32",
    ),
    "text for a vision model": (
        lambda m, s: sn.capture(m, "a text", "resid_post.3"),
        (TypeError, ValueError, FileNotFoundError),
        "image",
    ),
    "steps": (lambda m, s: sn.TrainConfig(steps=0), ValueError, "steps.*0"),
    "a crosscoder spliced": (
        lambda m, s: sn.splice(m, ["resid_post.0", "resid_post.1"], sn.Crosscoder([64, 64], 8, 2)),
        ValueError,
        "all its 2 sites",
    ),
    "covariance beyond memory": (
        lambda m, s: sn.lab.SparseBayes(noise=0.1, solver="exact").fit(
            torch.ones(1, 1000), sn.architectures.CosineOperator(torch.arange(1_000_000) % 1000 == 0)
        ),
        MemoryError,
        "solver='cg'",
    ),
    "seconds": (
        lambda m, s: sn.evaluation.steering_curves(m, "resid_post.3", s, PICTURES, 0, 1, max_seconds=0.0),
        ValueError,
        "`max_seconds` allows 0 s",
    ),
    "labels": (
        lambda m, s: sn.evaluate(s, sn.capture(m, PICTURES, "resid_post.3", progress=False), m, PICTURES, torch.tensor([1])),
        ValueError,
        "labels.*4.*1|labels.*1.*4",
    ),
}  # fmt: skip


AFTER_A_PASS = ("labels", "seconds")
"""What is known only once the model has run."""


@pytest.mark.parametrize("case", [case for case in CASES if case not in AFTER_A_PASS])
def test_refused_before_the_model_runs(
    case: str, model: sn.LiveModel, sae: sn.TopK, passes: list[int]
) -> None:
    """The message names the rule and what was given; not one block has run."""
    call, error, words = CASES[case]
    with pytest.raises(error) as caught:
        call(model, sae)
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)
    assert passes == []


@pytest.mark.parametrize("case", AFTER_A_PASS)
def test_refused_once_the_model_has_run(case: str, model: sn.LiveModel, sae: sn.TopK) -> None:
    call, error, words = CASES[case]
    with pytest.raises(error, match=words):
        call(model, sae)


def test_nan_in_the_model_names_hook_point_and_patch(model: sn.LiveModel) -> None:
    """A NaN inside the network leads to the place and the first patch where it showed."""

    def spoil(x: torch.Tensor) -> torch.Tensor:
        spoilt = x.clone()
        spoilt[2, 5 + 8 + 3] = torch.nan  # cls and registers, one row of patches, three more
        return spoilt

    with pytest.raises(ValueError) as caught, sn.splice(model, "resid_post.3", spoil):
        sn.capture(model, PICTURES, "resid_post.3", progress=False)
    for word in ("resid_post.3", "patch 1,3"):
        assert word in str(caught.value)


def test_requests_beyond_memory_say_both_sizes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: sn.LiveModel
) -> None:
    """Materialising a store that does not fit names what it needs and what is free."""
    sn.capture(model, PICTURES, "resid_post.3", store=tmp_path / "acts", progress=False)
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"needs .* GiB .* free"):
        _ = sn.load_activations(tmp_path / "acts").x
