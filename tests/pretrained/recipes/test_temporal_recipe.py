"""The recipe of temporal SAEs, on a small model: windows, activations, both forms with their curves."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sae_nb as sn
from sae_nb_studies.recipes.saes import _temporal as recipe, _temporal_names as names

NAME = "tiny-gpt/resid_post.3"
STEPS = 50


def test_shares_are_of_the_activation_and_the_error_counts() -> None:
    """In the published form prediction and residual are orthogonal; what atoms miss is no part's share."""
    x = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0)) + 1
    sae = sn.Temporal(4, 8, 1, generator=torch.Generator().manual_seed(1)).eval()
    found = recipe.measured(sae, x)
    centred = (x - sae.bias.detach()).double()
    with torch.no_grad():
        left = sae.predict(x).residual
        novel = sae.decode(sae.novel_codes(left.flatten(0, 1))) - sae.bias
    total = float(centred.square().sum())
    explained = 1 - float(left.square().sum()) / total
    assert found["share"] == pytest.approx(explained, rel=1e-3)  # lengths are guarded from zero
    error = left.flatten(0, 1) - novel
    assert found["novel share"] == pytest.approx(float(novel.square().sum()) / total, rel=1e-5)
    assert found["error share"] == pytest.approx(float(error.square().sum()) / total, rel=1e-5)
    assert found["error share"] > 0.05
    spread = float((x - x.mean(dim=(0, 1))).square().sum())
    assert found["predicted FVU"] == pytest.approx(float(left.square().sum()) / spread, rel=1e-5)
    assert found["share"] != pytest.approx(found["shuffled share"], rel=1e-3)
    before, now = centred[:, :-1], centred[:, 1:]
    along = (before * now).sum(dim=-1).square() / before.square().sum(dim=-1)
    assert found["previous token share"] == pytest.approx(float(along.sum()) / total, rel=1e-5)
    assert 0 < found["running mean share"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("form", recipe.FORMS)
def test_a_run_that_ended_midway_becomes_what_it_would_have_been(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, weights and curve; the steps after the last checkpoint are taken again."""
    x = torch.randn(20, 8, 6, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    plan = recipe.TemporalPlan(
        n_atoms=16, k=2, bottleneck_factor=2, context=8, steps=150, batch_size=32, judged=2, checkpoint_every=40
    )  # fmt: skip

    def run(name: str) -> tuple[sn.Temporal, list[dict[str, float]]]:
        return recipe.trained(form, 0, x[:16], x[16:], plan, tmp_path / name)

    (tmp_path / "whole").mkdir()
    whole, curve = run("whole")
    (tmp_path / "parts").mkdir()

    def leave(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(recipe, "measured", leave)  # at step 100, 20 after a checkpoint
        with pytest.raises(SystemExit):
            run("parts")
    steps = [folder.name for folder in (tmp_path / "parts" / "checkpoints").glob("step-*")]
    assert steps == ["step-00000080"]
    again, continued = run("parts")
    for name, one in again.state_dict().items():
        assert torch.equal(one, whole.state_dict()[name]), name
    for points in (curve, continued):
        for point in points:
            point.pop("seconds")
    assert [point["step"] for point in curve] == [100, 150]
    assert continued == curve


@pytest.mark.slow
def test_a_stopped_run_continues_and_other_seeds_share_its_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A window with a beginning in it is left out; what is there is not captured or trained again."""
    draw = np.random.default_rng(0)
    ids = torch.from_numpy(draw.integers(3, 1000, (14, 17)).astype(np.int32))
    begin = sn.load_model("tiny-gpt").tokenizer.bos_token_id
    ids[2, 5] = begin
    save_file({"train": ids[:10], "held-out": ids[10:]}, tmp_path / "windows.safetensors")
    (tmp_path / "documents.json").write_text(json.dumps({"sources": "numbers"}))
    call = [NAME, "--work", str(tmp_path), "--out", str(tmp_path / "out"), "--n-atoms", "32"]
    call += ["--k", "2", "--context", "16", "--steps", str(STEPS), "--batch-size", "32"]
    call += ["--bottleneck-factor", "2", "--judged", "2", "--forms"]
    recipe.main([*call, "published", "strict", "--seeds", "0"])
    assert len(load_file(tmp_path / "train.safetensors")["x"]) == 9

    for form in recipe.FORMS:
        folder = tmp_path / "out" / f"{form}-0"
        sae, record = sn.load_sae(folder), json.loads((folder / "record.json").read_text("utf-8"))
        assert isinstance(sae, sn.Temporal)
        assert (sae.strict, sae.model_name, sae.hook_point) == (form == "strict", *NAME.split("/"))
        assert sae.position_policy is not None
        assert sae.position_policy.drop_first
        assert [point["step"] for point in record["curve"]] == recipe.points(STEPS) == [STEPS]
        fresh = load_file(tmp_path / "held-out.safetensors")["x"].float()
        assert record["held-out"] == pytest.approx(recipe.measured(sae, fresh), rel=1e-4, abs=1e-6)
        assert record["windows"] == {"train": 9, "held-out": 4}
        card = (folder / "README.md").read_text()
        found = record["held-out"]
        assert f"| {found['share']:.3f} | {found['shuffled share']:.3f} |" in card
        assert f"| {STEPS} | {record['curve'][0]['share']:.3f} |" in card

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(recipe, "load_model", never)
    before = json.loads((tmp_path / "out" / "published-0" / "record.json").read_text("utf-8"))
    with caplog.at_level(logging.INFO):
        recipe.main([*call, "published", "--seeds", "0", "1"])
    told = [line for line in caplog.messages if "step" in line]
    assert all(line.startswith("published 1") for line in told)
    after = json.loads((tmp_path / "out" / "published-0" / "record.json").read_text("utf-8"))
    assert (after["curve"], after["held-out"]) == (before["curve"], before["held-out"])


def test_words_of_atoms_cover_most_of_their_strong_firings() -> None:
    """Atom 0 fires at two words, weak firings apart; atom 1 at a different one each time, atom 2 seldom."""
    words = [" The"] * 20 + ["the"] * 5 + [" no"] * 10 + [f" w{chr(97 + i)}x" for i in range(5)]
    codes = torch.zeros(80, 3)
    codes[:40, 0], codes[40:, 0] = 1.0, 0.2
    codes[40:, 1] = 1.0
    codes[:20, 2] = 1.0
    tokens = words + [f" o{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]
    found = names.words_of_atoms(sn.SparseCodes.from_dense(codes), tokens, torch.ones(3))
    assert found == {0: ("the", "no")}
