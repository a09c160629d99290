"""What a dictionary answers, `sae(x)`, is what is compared with the target, wherever that is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.activations import Activations, reconstruction, uncoded, written_codes
from sae_nb.atoms import AtomCatalogue
from sae_nb.evaluation import attribute
from sae_nb.interop import Imported

NORMS = ("layer_norm", "constant_norm", "centre")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def foreign(
    norm: Any = "none", parts: tuple[str, ...] = ("encoder", "encoder_bias"), **more: Any
) -> Any:
    encoding: Any = {"rule": "relu", "norm": norm, "pre_bias": False}
    origin: Any = {"library": "x", "architecture": "y"}
    sae = Imported(8, 12, encoding=encoding, origin=origin, parts=parts, **more)
    with torch.no_grad():
        for i, weight in enumerate(sae.parameters()):
            weight.copy_(drawn(*weight.shape, seed=i) / 2)
    return sae.eval()


def rows() -> Tensor:
    """Rows far from zero and of different lengths, so that a forgotten mean or length is seen."""
    return (drawn(400, 8, seed=9) + 3) * torch.linspace(0.5, 4, 400)[:, None]


def by_hand(sae: Any, x: Tensor) -> Tensor:
    centre = x.mean(dim=1, keepdim=True) if sae.encoding.norm != "constant_norm" else 0.0
    length = {
        "layer_norm": x.std(dim=1, keepdim=True),
        "constant_norm": x.norm(dim=1, keepdim=True) / 8**0.5,
        "centre": torch.ones(len(x), 1),
    }[sae.encoding.norm]
    seen = (x - centre) / (length + (1e-5 if sae.encoding.norm == "layer_norm" else 0))
    z = torch.relu(seen @ sae.encoder.T + sae.encoder_bias)
    return ((z @ sae.dictionary + sae.bias) * length + centre).detach()


def share(x: Tensor, x_hat: Tensor) -> float:
    return 1 - float((x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())


@pytest.mark.parametrize("norm", NORMS)
def test_a_foreign_sae_is_judged_by_what_it_answers(norm: str) -> None:
    """In evaluations, catalogues, sums of atoms, and what is split of its error; by its file's tensors."""
    sae, x = foreign(norm), rows()
    acts = Activations.from_tensor(x)
    x_hat = by_hand(sae, x)
    r2 = share(x, x_hat)
    assert torch.allclose(sae(x), x_hat, atol=1e-4)
    assert sn.evaluate(sae, acts, n_bootstrap=0).r2.value == pytest.approx(r2, abs=1e-4)
    assert AtomCatalogue(sae, acts).r2 == pytest.approx(r2, abs=1e-4)
    one = sn.atoms.sum_of_atoms(sae, acts, row=7, n=3)
    assert one.x_hat == pytest.approx(x_hat[7].numpy(), abs=1e-3)
    merged = sn.evaluation.merge(sae, acts, n_left=4, n_random=1)
    assert merged.r2[0] == pytest.approx(r2, abs=1e-3)
    stitched = sn.evaluation.stitch(sae, sae, acts)
    assert (stitched.r2_small, stitched.r2_large) == pytest.approx((r2, r2), abs=1e-4)


def test_every_answer_is_the_decoded_codes_and_what_no_code_says() -> None:
    x, y = rows(), rows().relu() + rows()
    skip = sn.SkipTranscoder(8, 8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
    skip.initialise((x, y))
    temporal = sn.Temporal(8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0))
    temporal.initialise(x.reshape(10, 40, 8))
    foreigners = [foreign(norm) for norm in NORMS]
    foreigners.append(foreign("layer_norm", ("encoder", "encoder_bias", "skip"), d_out=8))
    for sae, given in [(skip, x), (temporal, x.reshape(10, 40, 8)), *((f, x) for f in foreigners)]:
        sae = sae.eval()
        gain, rest = uncoded(sae, given)
        codes = sae.encode(given)
        answer = sae(given)
        scale = float(answer.abs().max())
        assert torch.allclose(sae.decode(codes) * gain + rest, answer, atol=1e-5 * scale)
        assert torch.allclose(reconstruction(sae, codes, given), answer, atol=1e-5 * scale)
        assert not torch.allclose(sae.decode(codes), answer, atol=1e-3 * scale)
        made = written_codes(sae, codes, given)
        lengths = (made.values / codes.values).detach()
        assert torch.allclose(
            lengths, (torch.as_tensor(gain) * torch.ones(400, 1)).flatten()[codes.support.rows]
        )


def test_a_forward_of_ones_own_is_what_is_compared() -> None:
    class Shifted(sn.TopK):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 2

    sae = Shifted(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0)).eval()
    x = rows()
    assert torch.equal(reconstruction(sae, sae.encode(x), x), sae(x))
    found = sn.evaluate(sae, Activations.from_tensor(x), n_bootstrap=0).r2.value
    assert found == pytest.approx(share(x, sae(x).detach()), abs=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_an_atom_of_a_foreign_sae_acts_by_its_length(norm: str) -> None:
    """Steered to a strength, and attributed in a linear model, against the model run with x̂(z') in x̂(z)'s place."""
    head = nn.Linear(8, 3, bias=False)
    model = sn.wrap(nn.Sequential(nn.Identity(), head), class_names=["a", "b", "c"])
    sae, x = foreign(norm), rows()[:5]
    z = sae.encode(x).to_dense().detach()
    atom = int(z.sum(dim=0).argmax())
    changed = z.clone()
    changed[:, atom] = 0.7
    gain, _ = uncoded(sae, x)
    expected = x + ((changed - z) @ sae.dictionary) * gain
    with sn.steer(model, "0", sae, atom, by=0.7, mode="set"):
        steered = model(x)
    assert torch.allclose(steered, head(expected.detach()), atol=1e-3)
    found = attribute(model, next(iter(model.batches(x[:1]))), "0", sae, target="b")
    check = found.splice(atom, n_controls=2)
    assert check.exact == pytest.approx(check.first_order, abs=1e-3)
    logits = head(x[0] - by_hand(sae, x[:1])[0])
    missed = float((logits - logits.mean())[1].detach())
    assert float(np.sum(found.error)) == pytest.approx(missed, abs=1e-3)
