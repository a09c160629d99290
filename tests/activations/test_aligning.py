"""The same tokens of two models: paired by where they end in the text, or lie in the image; the rest counted."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Context, Ragged


def of_texts(texts: list[list[str]], width: int = 3, seed: int = 0) -> sn.Activations:
    names = list(dict.fromkeys(token for text in texts for token in text))
    ids = torch.tensor([names.index(token) for text in texts for token in text])
    lengths = torch.tensor([len(text) for text in texts])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    sample = torch.arange(len(texts)).repeat_interleave(lengths)
    context = Context(
        kind="language",
        n_samples=len(texts),
        token_ids=Ragged(ids, offsets),
        vocabulary=dict(enumerate(names)),
    )
    return sn.Activations(
        torch.randn(len(ids), width, generator=torch.Generator().manual_seed(seed)),
        sample=sample,
        position=torch.arange(len(ids)) - offsets[sample],
        context=context,
    )


def of_images(n: int, grid: tuple[int, int], prefix: int, width: int = 3) -> sn.Activations:
    per_image = prefix + grid[0] * grid[1]
    rows = torch.arange(n * per_image)
    return sn.Activations(
        rows[:, None].expand(-1, width).float(),
        sample=rows // per_image,
        position=rows % per_image,
        context=Context(kind="vision", n_samples=n, patch_grid=grid, prefix_tokens=prefix),
    )


def test_tokens_are_paired_where_they_end() -> None:
    """By hand: other cuts, other spaces, capitals and special tokens; what has no partner is counted."""
    one = of_texts([["<s>", "The", " cat", " sat", " down"], ["A", " dog"]])
    other = of_texts(
        [["[CLS]", "the", "ca", "##t", "sat", "##down", "[SEP]"], ["a", "d", "##og"]], 5
    )
    pair = sn.align([one, other])
    assert [part.tokens[:] for part in pair] == [
        ["The", " cat", " sat", " down", "A", " dog"],
        ["the", "##t", "sat", "##down", "a", "##og"],
    ]
    assert pair.left_out == (1, 4)
    assert repr(pair) == (
        "Alignment(6 rows of 2 models; left out: 1 of 7 of model 0, 4 of 10 of model 1)"
    )


def test_texts_that_part_ways_are_not_paired_after() -> None:
    """Equal lengths are not enough; a text cut short pairs as far as it goes."""
    one = of_texts([["red", " cat", " sat"], ["one", " two", " six"]])
    other = of_texts([["red", " dog", " sat"], ["one", " two"]])
    pair = sn.align([one, other])
    assert [part.tokens[:] for part in pair] == [["red", "one", " two"]] * 2
    assert pair.left_out == (3, 2)


@pytest.mark.slow
def test_what_is_aligned_trains_and_what_is_not_is_refused() -> None:
    """Rows of two tokenizers are taken where they end together, and nowhere else."""
    one = of_texts([["a", "b", "c", "d"]] * 20)
    other = of_texts([["ab", "c", "d"]] * 20, seed=1)
    u = sn.UniversalSAE([3, 3], 8, 2)
    pair = sn.align([one, other])
    assert sn.train(u, pair, steps=2, batch_size=16, progress=False).steps == 2
    assert sn.evaluation.measure_universality(u, pair, n_bootstrap=0).r2.shape == (2, 2)
    for wrong in ([one, other], [one[:60], other]):
        with pytest.raises(ValueError, match=r"sn\.align\(\[x, y\]\)"):
            sn.train(u, wrong, steps=1, progress=False)


def test_patches_are_paired_by_place() -> None:
    """The same grid behind other registers; cls with cls; registers have no partner."""
    one, other = of_images(2, (2, 2), prefix=5), of_images(2, (2, 2), prefix=1)
    pair = sn.align([one, other])
    assert pair[0].position.tolist() == [0, 5, 6, 7, 8] * 2
    assert pair[1].position.tolist() == [0, 1, 2, 3, 4] * 2
    assert pair.left_out == (8, 0)
    sn.train(sn.Crosscoder([3, 3], 8, 2), pair, steps=1, progress=False)


def test_a_finer_grid_repeats_patches_of_the_coarser() -> None:
    """By hand: 4 × 4 in 2 × 2, and 3 × 3, whose middle has its centre in the last cell it touches."""
    pair = sn.align([of_images(1, (2, 2), prefix=0), of_images(1, (4, 4), prefix=0)])
    assert pair[0].position.tolist() == [0, 0, 1, 1] * 2 + [2, 2, 3, 3] * 2
    assert pair[1].position.tolist() == list(range(16))
    assert pair.left_out == (0, 0)
    odd = sn.align([of_images(1, (2, 2), prefix=0), of_images(1, (3, 3), prefix=0)])
    assert odd[0].position.tolist() == [0, 1, 1, 2, 3, 3, 2, 3, 3]


def test_two_live_models_are_aligned() -> None:
    """Of the bundled twins everything but the registers, which each model uses as it likes."""
    images = sn.data.scenes(3, seed=0)
    acts = [
        sn.capture(sn.load_model(name), images, "resid_post.6", progress=False)
        for name in ("tiny-vit", "tiny-vit-plain")
    ]
    pair = sn.align(acts)
    assert len(pair[0]) == 3 * 65
    assert pair.left_out == (12, 12)
    assert "12 of 207 of tiny-vit-plain" in repr(pair)
