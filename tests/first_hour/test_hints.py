"""What hints say to write gives what the foreign name means; near names are found."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb._hints import near
from sae_nb.architectures import ARCHITECTURES

NOT_SAELENS = ("OrthogonalMatchingPursuit", "PolySAE", "SpaDE", "TopAFA", "TreeSAE")
"""Their codes are not those of any of SAELens' architectures."""


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_saelens_formula_gives_our_codes(name: str) -> None:
    """(x − b_dec) W_enc + b_enc is the code wherever an atom fires, z W_dec + b_dec the reconstruction: for the
    tensors that hints of W_enc and b_enc name. Where SAELens has no such architecture, that is said.
    """
    kind = ARCHITECTURES[name]
    settings = (
        {"k": 3}
        if name not in ("ReLU", "JumpReLU", "Gated", "SpaDE", "GroupBiasAdaptation", "TopAFA")
        else {}
    )
    x = 3 * torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) + 1
    try:
        sae = kind(12, 24, **settings)
    except TypeError:
        return  # of several sites: `write_saelens` and its tests have those
    if (
        sae.writes is not None
        or getattr(sae, "reads_sequences", False)
        or getattr(sae, "reads_gradient", False)
    ):
        return
    sn.train(sae, x, steps=10, batch_size=128, progress=False)
    if name in NOT_SAELENS:
        with pytest.raises(TypeError, match="SAELens can compute"):
            sae.to_saelens()
        return
    tensors = sae.to_saelens()
    codes = sae.encode(x)
    z = codes.to_dense().detach()
    assert torch.allclose(
        z @ tensors["W_dec"] + tensors["b_dec"], sae.decode(codes).detach(), atol=1e-4
    )
    if "W_enc" in tensors and "b_enc" in tensors:
        before = (x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]
        assert torch.allclose(before[z != 0], z[z != 0], atol=1e-4)


def test_a_near_name_is_found() -> None:
    """A letter left out, or swapped with the next, of a long name; nothing for what is unlike all."""
    assert near("evalaute", ["evaluate", "ablate"])[0] == "evaluate"
    assert near("sparseautoEncoder", ["SparseAutoencoder"]) == ["SparseAutoencoder"]
    assert near("help", ["ReLU", "TopK"]) == []
    known = ["dead_fraction", "ce_recovered", "accuracy_recovered", "l0_mean", "hook_point"]
    for name in known:
        for i in range(len(name) - 1):
            swapped = name[:i] + name[i + 1] + name[i] + name[i + 2 :]
            assert near(swapped, known)[0] == name
            assert near(name[:i] + name[i + 1 :], known)[0] == name
