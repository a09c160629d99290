"""On a GPU everything answers as on the CPU; constructed on `meta`, nothing is computed."""

from __future__ import annotations

import pytest
import torch

from sae_nb.models import wrap
from sae_nb.models._families import find_structure
from sae_nb.models._interventions import Intervention

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def test_structure_is_found_without_weights(build) -> None:
    """Hook points depend on the modules alone, so they can be listed for a model not yet loaded."""
    from transformers import AutoModelForCausalLM

    module = build("llama")
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(module.config)
    assert next(empty.parameters()).is_meta
    assert find_structure(empty) == find_structure(module)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "vit", "dinov2_with_registers"])
def test_answers_on_a_gpu_are_those_on_the_cpu(build, family) -> None:
    """Batches are made where the model is; edits may hold vectors on the CPU."""
    model = wrap(build(family))
    vision = model.kind == "vision"
    inputs = torch.rand(3, 3, 32, 32) if vision else [[6, 7, 9], [11, 8, 13, 14], [6, 12]]
    vector = torch.randn(16)
    model.interventions.append(
        Intervention(model.hook_point("resid_post.1"), lambda x, _s: x + vector.to(x))
    )
    on_cpu = model(inputs)
    model.module.to("cuda")
    (batch,) = model.batches(inputs)
    assert batch.sample.device.type == "cuda"
    assert model.device.type == "cuda"
    on_gpu = model(inputs)
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-3, rtol=1e-3, equal_nan=True)


@pytest.mark.gpu
@needs_gpu
def test_texts_from_a_gpu_are_those_from_the_cpu(build) -> None:
    """Greedy, and sampled with one seed (in float64, so that rounding does not decide)."""
    model = wrap(build("gpt2", eos_token_id=None).double())
    prompts = [[6, 7, 9], [11, 8, 13, 14, 15]]
    asked = [{}, {"temperature": 0.8, "seed": 3}, {"use_cache": False}]
    on_cpu = [model.generate(prompts, max_new_tokens=8, **options) for options in asked]
    model.module.to("cuda")
    on_gpu = [model.generate(prompts, max_new_tokens=8, **options) for options in asked]
    for texts, others in zip(on_cpu, on_gpu, strict=True):
        assert [t.tolist() for t in texts] == [t.tolist() for t in others]
