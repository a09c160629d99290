"""Answers over applications of blocks: when they change, when they settle, and what an exit gate says meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.dynamics import capture_states
from sae_nb_studies.dynamics import AnswerPath, answer_path


def test_tokens_are_read_by_the_models_own_head() -> None:
    """The last layer is the model's answer; layer l is norm and unembedding of block l's output."""
    gpt, texts = sn.load_model("tiny-gpt"), ["Once upon a time.", "The file is closed."]
    found = answer_path(gpt, texts)
    logits = gpt(texts)
    rows = [logits[s, p].argmax().item() for s, p in zip(found.sample, found.position, strict=True)]
    assert found.own.tolist() == rows
    assert found.answers.shape == (gpt.n_layers + 1, len(rows))
    states = sn.capture(gpt, texts, "resid_post.1", drop_first=False, progress=False).x
    module = gpt.module
    with torch.no_grad():
        seen = module.lm_head(gpt.get_module(gpt.hook_point("final_norm").path)(states))
    assert found.answers[2].tolist() == seen.argmax(-1).tolist()
    at = seen.softmax(-1).gather(1, torch.as_tensor(found.own)[:, None])[:, 0]
    np.testing.assert_allclose(found.probability[2], at, atol=1e-5)


def test_flips_and_settling_are_counted() -> None:
    answers = np.array([[1, 1, 2], [0, 1, 2], [1, 2, 2], [1, 1, 2]])
    found = AnswerPath(
        model_name="m", modules=("b", "b", "b"), loops=(0, 1, 2), sample=np.arange(3),
        position=np.zeros(3, int), own=np.array([1, 1, 2]), answers=answers,
        probability=np.full((4, 3), 0.5), gate=np.ones((3, 3)),
    )  # fmt: skip
    assert found.flips.tolist() == [2, 2, 0]
    assert found.settles.tolist() == [2, 3, 0]
    assert found.table["loop"].tolist() == [-1, 0, 1, 2]
    assert found.table["settled"].sum() == pytest.approx(1)
    assert "settle after 1.7" in repr(found)
    assert len(found.plot().data) == 3


@pytest.mark.slow
def test_a_truly_tied_network_is_the_one_with_twelve_modules() -> None:
    """States, phases, a Raptor from it and its answers: three blocks run 4 + 4 + 4 times."""
    twelve = sn.load_model("tiny-vit-tied")
    three = sn.wrap(twelve.module.looped())
    pictures = sn.data.scenes(4, seed=0)
    assert len(list(three.module.blocks)) == 3
    assert three.hook_points() == twelve.hook_points()
    points = [str(point) for point in three.hook_points()]
    for backend in ("nnsight", "hooks"):
        ours, named = (
            sn.capture(m, pictures, points, backend=backend, progress=False)
            for m in (three, twelve)
        )
        for point in points:
            torch.testing.assert_close(ours[point].x, named[point].x, atol=1e-6, rtol=0)
    states = capture_states(three, pictures)
    assert states.blocks == tuple((f"blocks.{i // 4}", i % 4) for i in range(12))
    assert "12) layers of 3 shared blocks" in repr(states)
    assert states.take([0, 1]).layers["loop"].tolist() == [-1, *[0, 1, 2, 3] * 3]
    similarity = sn.dynamics.layer_similarity(states)
    assert sn.dynamics.segment_phases(similarity, 3).cuts == (0, 4, 8, 12)
    raptor = sn.dynamics.start_from_teacher(
        sn.dynamics.Raptor.from_model(three, (0, 4, 8, 12)), three
    )
    torch.testing.assert_close(raptor.roll_out(states[:, 0]), states[:], atol=1e-5, rtol=0)
    with raptor.replacing(three):
        torch.testing.assert_close(
            three(pictures).logits, twelve(pictures).logits, atol=1e-5, rtol=0
        )
    pushed = [sn.dynamics.self_correction(m, pictures, layer=5, size=0.2) for m in (three, twelve)]
    torch.testing.assert_close(pushed[0].angles, pushed[1].angles, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="run each of its blocks once"):
        sn.dynamics.swap_layers(three, pictures)
    with pytest.raises(ValueError, match="blocks that are shared"):
        sn.load_model("tiny-vit").module.looped()
