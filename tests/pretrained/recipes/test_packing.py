"""Packed codes come back to 8 bits, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import load_file

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.codes import SparseCodes
from sae_nb.pretrained import ExampleStore
from sae_nb.pretrained._examples import read_context, unpack_codes
from sae_nb_studies.recipes.saes._packing import pack_codes, write_examples


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 40))
def test_strengths_come_back_within_the_stated_error(seed: int, n: int, n_atoms: int) -> None:
    """|z − z'| ≤ s/255 · √(z/s) and a little; the same atoms, none lost, none new."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, n_atoms, generator=generator).clamp_min(0) ** 3
    codes = SparseCodes.from_dense(z)
    back = unpack_codes(pack_codes(codes))
    assert torch.equal(back.atoms.long(), codes.atoms.long())
    assert torch.equal(back.offsets, codes.offsets)
    largest = z.amax(dim=0)[codes.atoms.long()]
    bound = largest / 255 * (codes.values / largest).sqrt() + largest / 255**2
    assert bool(((back.values - codes.values).abs() <= bound + 1e-6).all())
    assert bool((back.values > 0).all())


def test_texts_and_pictures_come_back(tmp_path: Path) -> None:
    ids = Ragged(torch.tensor([5, 6, 7]), torch.tensor([0, 2, 3]))
    contexts = [
        Context(kind="language", n_samples=2, token_ids=ids, vocabulary={5: "a", 6: " b", 7: "c"}),
        Context(
            kind="vision",
            n_samples=2,
            pictures=torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2),
            patch_grid=(1, 1),
            prefix_tokens=1,
            policy={"drop_first": False},
        ),
    ]
    for number, context in enumerate(contexts):
        sample, position = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
        acts = Activations(torch.randn(3, 4), sample=sample, position=position, context=context)
        codes = SparseCodes.from_dense(torch.tensor([[1.0, 0], [0, 2], [3, 0]]))
        folder = tmp_path / str(number)
        folder.mkdir()
        write_examples(folder, acts, codes, {"p99": np.array([3.0, 2.0])}, {"name": "x"})
        arrays, facts = (
            load_file(folder / ExampleStore.ARRAYS),
            json.loads((folder / ExampleStore.FACTS).read_text("utf-8")),
        )
        back = read_context(arrays, facts["context"])
        assert "x" not in arrays
        assert facts["name"] == "x"
        assert torch.equal(arrays["sample"].long(), sample)
        assert torch.equal(arrays["position"].long(), position)
        assert dict(back.vocabulary) == dict(context.vocabulary)
        assert (back.patch_grid, back.prefix_tokens) == (context.patch_grid, context.prefix_tokens)
        if context.pictures is not None:
            assert back.pictures is not None
            assert torch.equal(back.pictures, context.pictures)
        if context.token_ids is not None:
            assert back.token_ids is not None
            assert torch.equal(back.token_ids.sample(0), torch.tensor([5, 6]))
