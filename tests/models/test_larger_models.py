"""Models that are quantised or spread: memory said before, read and steered as others, refused by name."""

from __future__ import annotations

import copy
import importlib.util
import re
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import sae_nb as sn
from sae_nb.models import MemoryNeeded, load_model, memory_needed, wrap
from sae_nb.models._checkpoint_files import WEIGHTS

TEXTS = ["Once upon a time there was a fox.", "The sea is blue."]
HERE = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
        ),
    )
    for name in ("accelerate", "torchao")
]


def _quantised(module: nn.Module) -> nn.Module:
    """A copy whose linear maps are in 8 bits, by torch's own dynamic quantisation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            copy.deepcopy(module), {nn.Linear}, dtype=torch.qint8
        )
    return made


@pytest.fixture(scope="module")
def plain() -> Any:
    return load_model("tiny-gpt")


@pytest.fixture(scope="module")
def quantised(plain: Any) -> Any:
    return wrap(_quantised(plain.module), plain.tokenizer, name="tiny-gpt in 8 bits")


class _PeakOfOutputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that tensors made inside the block hold at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor) and func.namespace == "aten" and not _is_view(func):
                storage = made.untyped_storage()
                self.held[id(made)] = storage.nbytes()
                weakref.finalize(made, self.held.pop, id(made), None)
        self.peak = max(self.peak, sum(self.held.values()))
        return out


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None for r in func._schema.returns)


@pytest.mark.parametrize("name", ["tiny-gpt", "tiny-induction", "smollm2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_of_weights_is_said_before_they_are_loaded(
    name: str, dtype: str, request: pytest.FixtureRequest
) -> None:
    """What the headers say is what the module holds, to a hundredth: 15 % would do."""
    place: str | Path = name
    if name == "smollm2":
        place = request.getfixturevalue("smollm2")
    needed = memory_needed(place, dtype=dtype)
    module = load_model(place, dtype=dtype).module
    held = {p.data_ptr(): p.numel() * p.element_size() for p in module.parameters()}
    assert needed.weights == pytest.approx(sum(held.values()), rel=0.01)


@pytest.mark.parametrize(("rows", "tokens"), [(8, 128), (2, 256)])
def test_memory_of_a_pass_is_said_before_it_runs(plain: Any, rows: int, tokens: int) -> None:
    """Predicted from the configuration, within 15 % of weights and what the pass was seen to hold."""
    needed = memory_needed("tiny-gpt", rows=rows, tokens=tokens)
    seen = _PeakOfOutputs()
    with torch.inference_mode(), seen:
        plain.module(torch.full((rows, tokens), 300))
    used = needed.weights + seen.peak
    assert needed.weights + needed.activations == pytest.approx(used, rel=0.15)


def test_a_model_is_said_to_fit_or_not() -> None:
    """By what is free now; an SAE counts, what lies on the disk does not."""
    sae = sn.TopK(d_in=64, n_atoms=1024, k=4)
    alone, both = memory_needed("tiny-gpt"), memory_needed("tiny-gpt", sae=sae)
    assert both.sae >= 2 * 4 * 64 * 1024
    assert both.total - alone.total == both.sae
    assert alone.fits
    tight = MemoryNeeded(
        name="x", weights=95, tokenizer=0, activations=0, sae=0, rows=1, tokens=1, free=100
    )
    assert not tight.fits
    away = memory_needed(
        "tiny-gpt", device_map={"": "cpu", "transformer.h": "disk", "model.layers": "disk"}
    )
    assert away.weights < alone.weights / 2
    assert re.match(r"tiny-gpt needs \d+ MiB: \d+ of weights", str(alone))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_a_quantised_model_is_read_and_steered_as_another(
    plain: Any, quantised: Any, backend: Any
) -> None:
    """Every hook point is read, near what the plain model has there; edits and ablations reach its answer."""
    points = ["resid_post.1", "mlp_post.1", "attn_out.1", "head_out.1", "mlp_out.1", "mlp_in.1"]
    theirs = sn.capture(quantised, TEXTS, points, backend=backend, progress=False)
    ours = sn.capture(plain, TEXTS, points, progress=False)
    for point in points:
        assert theirs[point].x.dtype == torch.float32
        alike = torch.nn.functional.cosine_similarity(theirs[point].x, ours[point].x)
        assert alike.median() > 0.9, point
    x = theirs["resid_post.1"].x
    before = quantised(TEXTS)
    direction = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(0))
    by = float(x.norm(dim=1).mean())
    with sn.steer(quantised, "resid_post.1", direction=direction, by=by, backend=backend):
        steered = quantised(TEXTS)
        assert quantised.generate("Once", 3) != "Once"
    assert not torch.allclose(steered, before, equal_nan=True)
    sae = sn.TopK(x.shape[1], 64, 4)
    sae.initialise(x)
    atom = int(sae.encode(x).atoms[0])
    with sn.ablate(quantised, "resid_post.1", sae, atom=atom, backend=backend):
        assert not torch.allclose(quantised(TEXTS), before, equal_nan=True)
    assert torch.equal(torch.nan_to_num(quantised(TEXTS)), torch.nan_to_num(before))


class _Integers(nn.Module):
    """A module whose output is quantised itself, as static quantisation leaves it."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.make = nn.Linear(4, 4), make
        self.quantise = _Function(make)

    def forward(self, x: Tensor) -> Tensor:
        y = self.quantise(self.inner(x))
        return y.dequantize() if y.is_quantized else y.float()


class _Function(nn.Module):
    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Tensor:
        return self.make(x)


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
@pytest.mark.parametrize(
    "make",
    [
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        lambda x: (10 * x).to(torch.int8),
    ],
    ids=["qint8", "int8"],
)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
def test_an_output_of_integers_is_not_steered(make: Any, backend: Any) -> None:
    """Nothing can be added to it: said with the hook point, and the model runs as before."""
    model = wrap(_Integers(make))
    x = torch.ones(2, 4)
    before = model(x)
    with (
        pytest.raises(
            TypeError, match=r'"quantise" must meet floating-point activations, got torch\.q?int8'
        ),
        sn.steer(model, "quantise", direction=torch.ones(4), by=1.0, backend=backend),
    ):
        model(x)
    with sn.steer(model, "inner", direction=torch.ones(4), by=1.0, backend=backend):
        assert not torch.equal(model(x), before)
    assert torch.equal(model(x), before)


def _copied(tmp_path: Path) -> Path:
    """The bundled language model as a folder of somebody's."""
    import shutil

    return Path(shutil.copytree(WEIGHTS / "tiny-gpt", tmp_path / "mine"))


@pytest.mark.parametrize("package", HERE)
def test_with_the_packages_a_model_is_placed_read_and_steered(
    package: str, plain: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half of the blocks on the disk, or weights in 8 bits; memory is said first. Skipped without them."""
    folder = _copied(tmp_path)
    if package == "accelerate":
        blocks = plain.structure.blocks
        names = dict(plain.module.named_children())
        place: dict[str, str] = dict.fromkeys(names, "cpu")
        inner = blocks.partition(".")[0]
        place.pop(inner, None)
        place |= {f"{inner}.{n}": "cpu" for n, _ in names[inner].named_children()}
        place.pop(blocks, None)
        place |= {f"{blocks}.{i}": "disk" if i else "cpu" for i in range(plain.n_layers)}
        model = load_model(
            folder, device_map=place, offload_folder=tmp_path / "disk", dtype="float32"
        )
        assert any(p.is_meta for p in model.parameters())
        assert model.device.type == "cpu"
    else:
        model = load_model(folder, bits=8)
    assert "of weights" in capfd.readouterr().err
    x = sn.capture(model, TEXTS, "resid_post.2", progress=False).x
    expected = sn.capture(plain, TEXTS, "resid_post.2", progress=False).x
    assert torch.nn.functional.cosine_similarity(x, expected).min() > 0.98
    before = model(TEXTS)
    for backend in ("nnsight", "hooks"):
        with sn.steer(
            model, "resid_post.2", direction=torch.ones(x.shape[1]), by=9.0, backend=backend
        ):
            assert not torch.allclose(model(TEXTS), before, equal_nan=True)
