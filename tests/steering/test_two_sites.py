"""A transcoder in the place of its MLP: what the model then computes, by both backends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sae_nb as sn

TEXTS = ["One day Tom went to the forest.", "The cat sat in the garden."]


@pytest.fixture(scope="module")
def captured(gpt: sn.LiveModel) -> dict[str, sn.Activations]:
    return sn.capture(gpt, TEXTS, ["mlp_in.1", "mlp_out.1"], drop_first=False, progress=False)


@pytest.fixture(scope="module")
def transcoder(captured: dict[str, sn.Activations]) -> sn.SkipTranscoder:
    t = sn.SkipTranscoder(128, 128, 64, 4, generator=torch.Generator().manual_seed(0))
    sn.train(t, tuple(captured.values()), steps=5, progress=False)
    return t


def test_both_sites_are_captured_aligned_in_one_pass(
    gpt: sn.LiveModel, captured: dict[str, sn.Activations]
) -> None:
    """The MLP of what enters is what it adds, row by row."""
    x, y = captured.values()
    mlp = gpt.get_module("model.layers.1.mlp")
    torch.testing.assert_close(mlp(x.x).detach(), y.x, rtol=1e-4, atol=1e-5)
    assert torch.equal(x.position, y.position)
    assert x.tokens[3] == y.tokens[3]


def test_a_stream_of_two_hook_points_gives_them_side_by_side(gpt: sn.LiveModel) -> None:
    """Each row is one token at both, however they are shuffled."""
    source = sn.stream(gpt, TEXTS, ["mlp_in.1", "mlp_out.1"], buffer=8)
    rows = next(source.batches(6, seed=0))
    assert (source.sites, source.d_in) == ((128, 128), 256)
    mlp = gpt.get_module("model.layers.1.mlp")
    torch.testing.assert_close(mlp(rows[:, :128]).detach(), rows[:, 128:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_it_takes_the_place_of_its_mlp(
    gpt: sn.LiveModel, captured: dict[str, sn.Activations], transcoder: Any, backend: Any
) -> None:
    """What the layer writes is what the transcoder makes of what the layer reads."""
    with sn.splice(gpt, "mlp_out.1", transcoder, backend=backend) as splicing:
        seen = sn.capture(gpt, TEXTS, "mlp_out.1", drop_first=False, progress=False)
        gpt(TEXTS[0])
    torch.testing.assert_close(seen.x, transcoder(captured["mlp_in.1"].x), rtol=1e-4, atol=1e-4)
    assert splicing.n_touched > 0


@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_with_its_error_kept_the_answer_stays(
    gpt: sn.LiveModel, transcoder: Any, backend: Any
) -> None:
    plain = gpt(TEXTS[0])
    with sn.splice(gpt, "mlp_out.1", transcoder, keep_error=True, backend=backend):
        kept = gpt(TEXTS[0])
    with sn.splice(gpt, "mlp_out.1", transcoder, backend=backend):
        dropped = gpt(TEXTS[0])
    torch.testing.assert_close(kept, plain, rtol=1e-4, atol=1e-3)
    assert float((dropped - plain).abs().max()) > 1e-2


def test_an_atom_is_read_where_it_reads_and_moved_where_it_writes(
    gpt: sn.LiveModel, captured: dict[str, sn.Activations], transcoder: Any
) -> None:
    """Ablated: y − z_j d_j at every token; also while new tokens are generated."""
    x, y = (part.x for part in captured.values())
    codes = transcoder.encode(x).to_dense()
    atom = int(codes.sum(dim=0).argmax())
    with sn.ablate(gpt, "mlp_out.1", transcoder, atom):
        seen = sn.capture(gpt, TEXTS, "mlp_out.1", drop_first=False, progress=False)
        gpt.generate(TEXTS[0], max_new_tokens=3)
    by_hand = y - codes[:, [atom]] * transcoder.dictionary[atom]
    torch.testing.assert_close(seen.x, by_hand.detach(), rtol=1e-4, atol=1e-4)


def test_a_report_says_what_the_model_loses(
    gpt: sn.LiveModel, captured: dict[str, sn.Activations], transcoder: Any
) -> None:
    """CE recovered of the model whose MLP is replaced, measured where it writes."""
    report = sn.evaluate(transcoder, tuple(captured.values()), gpt, n_bootstrap=0)
    assert report.provenance["hook_point"] == "mlp_out.1"
    assert report.ce_recovered.value > report.ce_recovered.floor


def test_a_place_before_the_one_it_reads_is_refused(gpt: sn.LiveModel, transcoder: Any) -> None:
    with (
        sn.splice(gpt, "mlp_out.0", transcoder),
        pytest.raises(ValueError, match=r'"mlp_in\.1" must be reached before'),
    ):
        gpt(TEXTS[0])


@pytest.fixture(scope="module")
def all_layers(gpt: sn.LiveModel) -> sn.CrossLayerTranscoder:
    names = [f"{side}.{i}" for side in ("mlp_in", "mlp_out") for i in range(4)]
    acts = list(sn.capture(gpt, TEXTS, names, drop_first=False, progress=False).values())
    c = sn.CrossLayerTranscoder([128] * 4, 32, 4, generator=torch.Generator().manual_seed(0))
    sn.train(c, (acts[:4], acts[4:]), steps=3, progress=False)
    return c


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["nnsight", "hooks"])
def test_all_mlps_are_replaced_at_once(gpt: sn.LiveModel, all_layers: Any, backend: Any) -> None:
    """Each layer writes what the dictionary makes of what then entered this and all before it."""
    names = [f"{side}.{i}" for side in ("mlp_in", "mlp_out") for i in range(4)]
    with sn.splice(gpt, all_layers.target_hook_point, all_layers, backend=backend) as splicing:
        seen = sn.capture(gpt, TEXTS, names, drop_first=False, progress=False)
        gpt.generate(TEXTS[0], max_new_tokens=2)
    parts = [one.x for one in seen.values()]
    for made, expected in zip(parts[4:], all_layers(parts[:4]), strict=True):
        torch.testing.assert_close(made, expected.detach(), rtol=1e-3, atol=1e-3)
    assert splicing.n_touched > 0


def test_with_every_error_kept_the_answer_stays(gpt: sn.LiveModel, all_layers: Any) -> None:
    """And without it, it changes; an edit that is no dictionary gets all sites side by side."""
    plain, names = gpt(TEXTS[0]), [f"mlp_out.{i}" for i in range(4)]
    with sn.splice(gpt, names, all_layers, keep_error=True):
        torch.testing.assert_close(gpt(TEXTS[0]), plain, rtol=1e-4, atol=1e-3)
    with sn.splice(gpt, names, all_layers):
        assert float((gpt(TEXTS[0]) - plain).abs().max()) > 1e-2
    with sn.splice(gpt, names, lambda x: x):
        torch.testing.assert_close(gpt(TEXTS[0]), plain)
