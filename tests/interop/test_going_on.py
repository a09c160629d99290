"""Other people's SAEs go on training here: from where they are, and back into their own files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import sae_nb as sn
from sae_nb.interop import (
    Encoding,
    Imported,
    Origin,
    read_dictionary_learning,
    read_overcomplete,
    read_saelens,
    read_sparsify,
    write_saelens,
)
from sae_nb.interop._foreign import read_tensors_only
from sae_nb.interop._imported import assemble, norm_of
from tests.interop.test_written_back import WAYS

D = 16
TRAINED = {
    "saelens": "abstopk batchtopk_trained gated jumprelu matching_pursuit matryoshka_trained standard topk "
    "topk_trained",
    "dictionary_learning": "AutoEncoder AutoEncoderNew AutoEncoderTopK BatchTopKSAE GatedAutoEncoder "
    "JumpReluAutoEncoder MatryoshkaBatchTopKSAE",
    "sparsify": "skip topk",
    "overcomplete": "batchtopk jump mp ra_jump ra_topk relu topk",
}
REFUSED = {
    "saelens/temporal": "without time",
    "sparsify/groupmax": "groupmax",
    "overcomplete/omp": "orthogonal",
}
NAMES = [f"{library}/{name}" for library, names in TRAINED.items() for name in names.split()]


def rows(n: int = 512) -> Tensor:
    """Rows away from the origin, of no particular scale, in fewer directions than they have numbers."""
    drawn = torch.Generator().manual_seed(0)
    mixed = torch.randn(n, 6, generator=drawn) @ torch.randn(6, D, generator=drawn)
    return 1.5 * mixed + torch.randn(D, generator=drawn)


def data(sae: Any, x: Tensor) -> Any:
    return x if sae.writes is None else (x, x.flip(1) + 1)


def trained(sae: Any, x: Tensor, steps: int = 3, **more: Any) -> Any:
    return sn.train(
        sae, data(sae, x), steps=steps, batch_size=len(x), log_every=1, progress=False, **more
    )


def share_left(target: Tensor, x_hat: Tensor) -> float:
    """Unexplained share of the variance of a batch, in double precision."""
    target, x_hat = target.double(), x_hat.detach().double()
    left = (target - x_hat).square().sum()
    return float(left / (target - target.mean(dim=0)).square().sum())


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_the_first_step_is_that_of_the_file(peer_files: Path, name: str) -> None:
    """Nothing is lost on the way into our architecture: 1e-6 of the loss, for every rule that we have."""
    library, _, _ = name.partition("/")
    sae, x = WAYS[library][0](peer_files / name), rows()
    target = data(sae, x)[1] if sae.writes is not None else x
    # In training the rows of a batch compete for the file's k, where it states one.
    before = _cut_by_batch(sae, x) if sae.encoding.batch_k else sae(x)
    first = trained(sae, x, steps=1).history[0]
    assert 1 - first.r2 == pytest.approx(share_left(target, before), rel=1e-6)


def _cut_by_batch(sae: Any, x: Tensor) -> Tensor:
    """What dictionary_learning's BatchTopK reconstructs in training, densely."""
    pre = torch.relu((x - sae.bias) @ sae.encoder.T + sae.encoder_bias)
    least = pre.flatten().topk(int(sae.encoding.batch_k * len(x))).values.min()
    return torch.where(pre >= least, pre, 0) @ sae.dictionary + sae.bias


@pytest.mark.parametrize("name", NAMES)
def test_what_was_trained_is_saved_in_the_form_in_which_it_came(
    peer_files: Path, name: str, tmp_path: Path
) -> None:
    """Their tensors by name, shape and dtype, their configuration; and what is read back is what was trained."""
    library, _, inside = name.partition("/")
    read, write, weights, config = WAYS[library]
    tensors_of = read_tensors_only if weights.endswith(".pt") else load_file
    sae, x = read(peer_files / name), rows()
    before = tensors_of(peer_files / name / weights)
    result = trained(sae, x)
    assert result.sae is sae
    assert not sae.training
    folder = write(sae, tmp_path / inside)
    after = tensors_of(folder / weights)
    assert {n: (t.shape, t.dtype) for n, t in after.items()} == {
        n: (t.shape, t.dtype) for n, t in before.items()
    }
    assert any(not torch.equal(after[n], before[n]) for n in before)
    stated, kept = (json.loads((f / config).read_text()) for f in (folder, peer_files / name))
    learned = {"running_threshold"}
    assert {n: v for n, v in stated.items() if n not in learned} == {
        n: v for n, v in kept.items() if n not in learned
    }
    again = read(folder)
    torch.testing.assert_close(again(x), sae(x), rtol=1e-4, atol=1e-4)
    found, expected = (one.encode(x).to_dense() for one in (again, sae))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["saelens/standard", "sparsify/topk", "overcomplete/jump", "saelens/matching_pursuit"]
)
def test_training_on_learns(peer_files: Path, name: str) -> None:
    """SAEs with random weights explain more and more; atoms keep the lengths that they came with."""
    sae, x = WAYS[name.partition("/")[0]][0](peer_files / name), rows()
    lengths = sae.dictionary.norm(dim=1)
    before = share_left(x, sae(x))
    history = trained(sae, x, steps=60).history
    assert share_left(x, sae(x)) < before / 2
    assert history[-1].r2 > history[0].r2
    torch.testing.assert_close(sae.dictionary.norm(dim=1), lengths, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_rule_without_an_architecture_is_refused(peer_files: Path, name: str) -> None:
    """By name, before anything is touched, and with what to do; the SAE is free for use afterwards."""
    sae, x = WAYS[name.partition("/")[0]][0](peer_files / name), rows()
    for _ in range(2):  # the refusal does not leave it claimed
        with pytest.raises(TypeError, match=rf"must .*{REFUSED[name]}.* Use it as it is, or train"):
            sn.train(sae, x, steps=1, progress=False)


def imported(rule: Any, *, norm: Any = "none", **more: Any) -> Imported:
    """An SAE with atoms of many lengths."""
    drawn = torch.Generator().manual_seed(1)
    lengths = torch.linspace(0.5, 2, 32)[:, None]
    atoms = lengths * torch.nn.functional.normalize(torch.randn(32, D, generator=drawn), dim=1)
    sae = assemble(
        atoms,
        torch.full((D,), 0.3),
        encoding=Encoding(rule=rule, norm=norm, **more),
        origin=Origin(library="x", architecture="y"),
        hook_point=None,
        encoder=atoms + 0.1 * torch.randn(32, D, generator=drawn),
        encoder_bias=0.1 * torch.randn(32, generator=drawn),
        threshold=torch.rand(32, generator=drawn) if rule == "jumprelu" else None,
    )
    return sae


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm", "centre"])
@pytest.mark.parametrize("rule", ["relu", "topk", "jumprelu"])
def test_activations_are_normalised_as_the_file_says(norm: str, rule: str) -> None:
    """The loss of the first step is the file's on normalised activations, and x̂ is the model's again after."""
    sae, x = imported(rule, norm=norm, **({"k": 4} if rule == "topk" else {})), rows()
    centre, scale = norm_of(x, sae.encoding.norm)
    seen = sae.trained_as().split(x)[0]
    first = trained(sae, x, steps=2).history[0]
    expected = imported(rule, norm=norm, **({"k": 4} if rule == "topk" else {}))
    inside = (expected(x) - centre) / scale
    assert 1 - first.r2 == pytest.approx(share_left(seen, inside), rel=1e-5)
    torch.testing.assert_close(sae(x), sae.decode(sae.encode(x)) * scale + centre)


def test_a_factor_that_was_folded_in_is_taken_out_again(peer_files: Path, tmp_path: Path) -> None:
    """A file for scaled activations stays one: its configuration says so, and its numbers are in those units."""
    folder = tmp_path / "theirs"
    shutil.copytree(peer_files / "saelens" / "topk", folder)
    config = json.loads((folder / "cfg.json").read_text())
    config |= {
        "normalize_activations": "expected_average_only_in",
        "rescale_acts_by_decoder_norm": True,
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    sae, x = read_saelens(folder, scale=0.4), rows()
    untouched = load_file(write_saelens(sae, tmp_path / "same") / "sae_weights.safetensors")
    before = load_file(folder / "sae_weights.safetensors")
    assert all(torch.equal(untouched[n], before[n]) for n in before)
    trained(sae, x)
    written = write_saelens(sae, tmp_path / "after")
    assert json.loads((written / "cfg.json").read_text()) == config
    torch.testing.assert_close(read_saelens(written, scale=0.4)(x), sae(x), rtol=1e-4, atol=1e-4)
    norms = [
        load_file(f / "sae_weights.safetensors")["W_dec"].norm(dim=1) for f in (folder, written)
    ]
    torch.testing.assert_close(*norms, rtol=1e-4, atol=1e-5)


def test_half_precision_stays_half_precision(peer_files: Path, tmp_path: Path) -> None:
    """Learned in float32, written in the file's own dtype, read back to its rounding."""
    folder = tmp_path / "theirs"
    shutil.copytree(peer_files / "saelens" / "jumprelu", folder)
    weights = folder / "sae_weights.safetensors"
    save_file({n: t.to(torch.bfloat16) for n, t in load_file(weights).items()}, weights)
    sae, x = read_saelens(folder), rows()
    trained(sae, x)
    written = write_saelens(sae, tmp_path / "after")
    after = load_file(written / "sae_weights.safetensors")
    assert {t.dtype for t in after.values()} == {torch.bfloat16}
    again = read_saelens(written)
    torch.testing.assert_close(again.dictionary, sae.dictionary, rtol=2**-7, atol=2**-9)


def test_a_killed_training_goes_on_to_the_same_bits(peer_files: Path, tmp_path: Path) -> None:
    """From a checkpoint and the file, as for our own: the L0 that it keeps to is in the checkpoint."""
    for name in ("saelens/standard", "saelens/jumprelu", "sparsify/topk", "overcomplete/batchtopk"):
        read, x = WAYS[name.partition("/")[0]][0], rows()
        whole = read(peer_files / name)
        trained(whole, x, steps=6)

        def stop(record: Any) -> None:
            if record.step == 3:
                raise KeyboardInterrupt

        place = tmp_path / name
        settings = {"checkpoint": str(place), "checkpoint_every": 1}
        with pytest.raises(KeyboardInterrupt, match="was interrupted"):
            trained(read(peer_files / name), x, steps=6, callbacks=stop, **settings)
        resumed = read(peer_files / name)
        result = trained(resumed, x, steps=6, **settings)
        assert result.steps == 6
        for key, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[key]), (name, key)


def test_in_a_thread_it_is_seen_between_two_steps(peer_files: Path) -> None:
    """`snapshot` is of the library's own form; what was passed changes when the training ends."""
    sae, x = read_sparsify(peer_files / "sparsify" / "topk"), rows()
    before = sae.dictionary.clone()
    run = sn.start_training(sae, x, steps=10**6, batch_size=len(x))
    while run.step < 3:
        run.pause()
        run.resume()
    run.pause()
    seen = run.snapshot()
    assert isinstance(seen, Imported)
    assert run.sae is sae
    assert torch.equal(sae.dictionary, before)
    assert not torch.equal(seen.dictionary, before)
    run.stop()
    run.wait(60)
    assert not torch.equal(sae.dictionary, before)


def test_frozen_parts_and_those_that_a_file_lacks_stay(peer_files: Path) -> None:
    """An archetypal dictionary is a mixture of points; overcomplete has no bias; a person may freeze more."""
    x = rows()
    held = read_overcomplete(peer_files / "overcomplete" / "ra_topk")
    atoms = held.dictionary.clone()
    trained(held, x)
    torch.testing.assert_close(held.dictionary, atoms, rtol=1e-6, atol=1e-6)
    assert not bool(held.bias.any())
    frozen = read_sparsify(peer_files / "sparsify" / "topk")
    frozen.encoder.requires_grad_(False)
    before = frozen.encoder.clone()
    trained(frozen, x)
    torch.testing.assert_close(frozen.encoder, before, rtol=1e-6, atol=1e-6)


def test_a_pursuit_over_long_atoms_is_refused() -> None:
    """Its steps are not those of ours, which need unit atoms: said before a training begins."""
    sae = imported("matching", k=2, nonnegative=True)
    with pytest.raises(TypeError, match=r"atoms of unit norm.* got norms from 0\.5 to 2"):
        sn.train(sae, rows(), steps=1, progress=False)


def test_an_sae_that_was_only_read_trains_after_a_save_of_ours(
    peer_files: Path, tmp_path: Path
) -> None:
    """`sae.save` and `load_sae` keep what training needs, k of the batches and groups among it."""
    sae = read_dictionary_learning(peer_files / "dictionary_learning" / "MatryoshkaBatchTopKSAE")
    sae.save(tmp_path / "ours")
    again = sn.load_sae(tmp_path / "ours")
    x = rows()
    first, second = (trained(s, x, steps=2).history[-1] for s in (sae, again))
    assert first.loss == second.loss
    assert np.isfinite(first.loss)
