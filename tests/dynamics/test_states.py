"""States of every layer: the same by both doors, the stream itself, tokens known, bad input refused."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from sae_nb.data import scenes, sounds
from sae_nb.dynamics import States, capture_states, layer_similarity, trajectories
from sae_nb.dynamics.paths._trajectory import class_basins
from sae_nb.models import LiveModel, load_model, wrap


@pytest.fixture(scope="module")
def model() -> LiveModel:
    return load_model("tiny-vit-tied")


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return scenes(3, seed=0).images


@pytest.fixture(scope="module")
def states(model: LiveModel, pictures: torch.Tensor) -> States:
    return capture_states(model, pictures, batch_size=2)


def test_nnsight_and_hooks_give_the_same_states(
    model: LiveModel, pictures: torch.Tensor, states: States
) -> None:
    hooked = capture_states(model, pictures, backend="hooks")
    largest = float((states + 0).abs().max())
    torch.testing.assert_close(hooked + 0, states + 0, atol=1e-5 * largest, rtol=0)


def test_each_state_is_what_the_next_block_gets(
    model: LiveModel, pictures: torch.Tensor, states: States
) -> None:
    """Index 0 are the embeddings; block l takes state l − 1 to state l, the heads read the last."""
    module = model.module
    with torch.no_grad():
        torch.testing.assert_close(states[:, 0], module.embed(pictures), atol=1e-5, rtol=1e-5)
        for layer, block in enumerate(module.blocks):
            after = block(states[:, layer])
            torch.testing.assert_close(after, states[:, layer + 1], atol=1e-5, rtol=1e-5)
        digit = module.heads_of(module.norm(states[:, -1]))["digit"]
    torch.testing.assert_close(digit, model(pictures), atol=1e-4, rtol=1e-4)


def test_tokens_keep_their_kinds(states: States) -> None:
    assert states.token_kinds == ("cls", *["register"] * 4, *["patch"] * 64)
    assert states.patch_grid == (8, 8)
    assert states.of_kind("patch").shape == (3, 13, 64, 64)
    assert torch.equal(states.of_kind("cls")[:, :, 0], states[:, :, 0])
    assert "1 cls, 4 register, 64 patch" in repr(states)


def test_subsets_and_copies_know_their_tokens(states: States) -> None:
    """`take`, deepcopy and pickle keep the kinds; arithmetic gives a plain tensor."""
    for other in (states.take([2, 0]), copy.deepcopy(states), pickle.loads(pickle.dumps(states))):
        assert isinstance(other, States)
        assert other.token_kinds == states.token_kinds
    assert torch.equal(states.take([2, 0])[1] + 0, states[0] + 0)
    assert type(states + 1) is torch.Tensor
    assert type(states[:, 0]) is torch.Tensor


@pytest.mark.slow
def test_half_precision_and_a_store(model: LiveModel, pictures: torch.Tensor, tmp_path) -> None:
    """A store holds the same numbers, in the precision asked for; the second call only reads."""
    first = capture_states(model, pictures, dtype=torch.float16, store=tmp_path / "s")
    again = capture_states(model, pictures, dtype=torch.float16, store=tmp_path / "s")
    assert first.dtype is torch.float16
    assert torch.equal(first + 0, again + 0)


def test_language_models_leave_out_the_attention_sink() -> None:
    """A decoder's first token is dropped by default, and `positions` says so."""
    model = load_model("tiny-gpt")
    ids = torch.arange(24).view(2, 12)
    states = capture_states(model, ids)
    assert states.positions == tuple(range(1, 12))
    assert set(states.token_kinds) == {"token"}
    whole = capture_states(model, ids, drop_first=False)
    torch.testing.assert_close(whole[:, :, 1:], states + 0, atol=1e-5, rtol=1e-5)


def test_samples_of_different_length_are_masked() -> None:
    """Each has the states that it has alone; what it lacks is NaN, never a state of padding."""
    model = load_model("tiny-gpt")
    texts = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7, 8]]
    states = capture_states(model, texts)
    assert states.keep.tolist() == [[True] * 4 + [False] * 3, [True] * 7]
    assert "of samples 4 to 7, the rest NaN" in repr(states)
    for i, text in enumerate(texts):
        alone = capture_states(model, [text])
        n = len(text) - 1
        torch.testing.assert_close(states[i, :, :n], alone[0], atol=1e-5, rtol=1e-5)
        assert bool(states[i, :, n:].isnan().all())
    assert states.take([1, 1]).keep is None
    common = states.common()
    assert (common.shape[2], common.positions, common.keep) == (4, (1, 2, 3, 4), None)


def test_what_is_masked_takes_part_in_nothing() -> None:
    """Similarity and trajectories of masked states: of the tokens that are there, and of those alone."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, 5, 8, generator=generator)
    keep = torch.ones(6, 5, dtype=torch.bool)
    keep[:3, 3:] = False
    x[:, :, 3:][:3] = torch.nan
    states = States(x, keep=keep)
    rows = x[:, 1:].transpose(1, 2)[keep]
    unit = torch.nn.functional.normalize(rows, dim=-1)
    by_row = unit @ unit.transpose(1, 2)
    sample = keep.nonzero()[:, 0]
    wanted = torch.stack([by_row[sample == i].mean(dim=0) for i in range(6)]).mean(dim=0)
    found = layer_similarity(states)
    torch.testing.assert_close(found.raw, wanted)
    assert bool(torch.isfinite(found.centred).all() and torch.isfinite(found.cka).all())
    path = trajectories(states, [0, 1, 0, 1, 0, 1])
    assert bool(path.speed[:3, :, 3:].isnan().all())
    ones = trajectories(States(x[:3, :, :3]), [0, 1, 0])
    torch.testing.assert_close(path.coherence[:3], ones.coherence)
    assert bool(torch.isfinite(path.mean("convergence", "token")).all())
    with pytest.raises(ValueError, match="one that all samples have, got 4"):
        class_basins(states, [0, 1, 0, 1, 0, 1], token=4)
    with pytest.raises(ValueError, match="must be finite"):
        States(x)
    with pytest.raises(ValueError, match="`keep` must be a mask of shape"):
        States(x, keep=keep[:2])


def test_clips_of_different_length_are_masked_and_patches_are_known() -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        conv_dim=(16, 16), conv_kernel=(10, 4), conv_stride=(5, 4), num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, feat_extract_norm="layer",
    )  # fmt: skip
    model = wrap(transformers.HubertModel(config).eval())
    clips = [torch.randn(800), torch.randn(500)]
    states = capture_states(model, clips)
    assert states.keep.sum(dim=1).tolist() == [39, 24]
    alone = capture_states(model, clips[1:])
    torch.testing.assert_close(states[1, :, :24], alone[0], atol=1e-5, rtol=1e-5)
    heard = capture_states(load_model("tiny-audio"), sounds(2, seed=0))
    assert heard.token_kinds[:3] == ("cls", "patch", "patch")


@pytest.mark.parametrize("drop_first", ["auto", False])
def test_packed_windows_have_the_states_of_their_tokens(drop_first: str | bool) -> None:
    """Texts of any lengths become windows of one, each read as it stands, ends of text included."""
    model = load_model("tiny-gpt")
    texts = [[5, 6, 7, 8, 9], [10, 11], list(range(12, 23)), [30]]
    states = capture_states(model, texts, context_length=8, pack=True, drop_first=drop_first)
    end = model.end_of_text
    joined = [token for ids in texts for token in (*ids, end)]
    windows = torch.tensor(joined[: len(joined) // 8 * 8]).view(-1, 8)
    whole = capture_states(model, windows, drop_first=False)
    first = 1 if drop_first == "auto" else 0
    assert states.positions == tuple(range(first, 8))
    torch.testing.assert_close(states + 0, whole[:, :, first:], atol=1e-5, rtol=1e-5)
