"""Attention-output SAEs: shares of heads, and the tokens that a head took an atom from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import head_shares
from sae_nb_studies.evaluation import head_sources

TEXT = "The dog ran home. The dog slept."


def trained(model: sn.LiveModel, inputs: object, hook_point: str, **settings: object) -> sn.TopK:
    acts = sn.capture(model, inputs, hook_point, progress=False)
    generator = torch.Generator().manual_seed(0)
    sae = sn.TopK(d_in=acts.d_in, n_atoms=24, k=3, generator=generator, **settings)
    sae.initialise(acts.x, generator=generator)
    sae.hook_point = hook_point
    return sae


@pytest.mark.slow
def test_the_parts_add_up_to_what_the_atom_reads(gpt: sn.LiveModel) -> None:
    sae = trained(gpt, [TEXT], "head_out.2")
    x = sn.capture(gpt, [TEXT], "head_out.2", drop_first=False, progress=False).x
    for atom, position in ((0, 5), (7, 8)):
        found = head_sources(gpt, sae, TEXT, atom, position=position)
        read = float(x[position] @ sae.encoder.weight[atom].detach())
        assert found.contributions.shape == (gpt.n_heads, len(x))
        assert found.contributions.sum() == pytest.approx(read, abs=1e-4)
        assert found.by_head.sum() == pytest.approx(found.by_source.sum(), abs=1e-5)
        assert not found.contributions[:, position + 1 :].any(), "a later token was read"
        assert found.strength == pytest.approx(float(np.asarray(sae.encode(x))[position, atom]))


def test_a_planted_source_is_found(gpt: sn.LiveModel) -> None:
    """An atom that reads one head's output along one token's value comes from that head and token."""
    (batch,) = gpt.batches([TEXT])
    attention = sn.models.read_attention(gpt, batch, 2)
    head, source = 1, 3
    reached = int(attention.pattern[head, :, source].argmax())
    sae = trained(gpt, [TEXT], "head_out.2")
    value = attention.values[head]
    others = torch.cat([value[:source], value[source + 1 :]])
    alone = value[source] - torch.linalg.lstsq(others.T, value[source]).solution @ others
    assert alone.norm() > 0.01 * value[source].norm(), "what is planted is rounding"
    with torch.no_grad():
        sae.encoder.weight[4] = 0
        sae.encoder.weight[4].unflatten(0, (gpt.n_heads, -1))[head] = alone / alone.norm()
    table = head_sources(gpt, sae, TEXT, 4, position=reached).table
    assert (table["head"][0], table["source"][0]) == (head, source)
    assert set(table["head"]) == {head}


def test_pictures_have_patches_as_sources() -> None:
    vit = sn.load_model("tiny-vit")
    pictures = sn.data.scenes(3, seed=0).images
    sae = trained(vit, pictures, "head_out.6")
    found = head_sources(vit, sae, pictures[:1], 2)
    x = sn.capture(vit, pictures[:1], "head_out.6", keep_special=True, progress=False).x
    read = float(x[found.position] @ sae.encoder.weight[2].detach())
    assert found.contributions.sum() == pytest.approx(read, abs=1e-4)
    assert found.tokens[0] == "cls"
    assert {"head", "source", "token", "contribution"} == set(found.table.columns)
    assert found.tokens[found.position] in str(found)


def test_shares_say_which_head_an_atom_belongs_to(gpt: sn.LiveModel) -> None:
    """They sum to 1; an atom within one head's part has all of it there; random ones have equal parts."""
    sae = trained(gpt, [TEXT], "head_out.2")
    n_heads = gpt.n_heads
    d_head = sae.d_in // n_heads
    with torch.no_grad():
        sae.operator.weight[0] = 0
        sae.operator.weight[0, d_head : 2 * d_head] = d_head**-0.5
    shares = head_shares(sae, n_heads)
    assert shares.shape == (24, n_heads)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(shares[0], np.eye(n_heads)[1], atol=1e-6)
