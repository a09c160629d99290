"""Promises of annotations and discovery: planted squares are found where they are, by the atom that is theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn

N, SIDE = 12, 4


class Channels(nn.Module):
    """Mean of each channel in 4 × 4 patches as tokens, and four logits."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, 4, bias=False)
        with torch.no_grad():
            self.patches.weight.zero_()
            for c in range(3):
                self.patches.weight[c, c] = 1 / 16
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.patches(x))


def _images() -> tuple[Tensor, Tensor]:
    """A square of 2 × 2 patches in red, elsewhere in green in every second image; and where the red one is."""
    generator = torch.Generator().manual_seed(0)
    x, red = 0.02 * torch.rand(N, 3, 16, 16, generator=generator), torch.zeros(N, 4, 4)
    for i in range(N):
        row, column = divmod(i % 9, 3)
        red[i, row : row + 2, column : column + 2] = 1
        if i % 2:
            x[i, 1, 4 * (3 - row) :, :4] += 0.6
    return (x + 0.8 * red.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
            * torch.tensor([1.0, 0, 0])[:, None, None]).clamp(0, 1), red.bool()  # fmt: skip


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    return sn.wrap(Channels(), name="channels", patch_grid=(SIDE, SIDE))


@pytest.fixture(scope="module")
def sae() -> sn.TopK:
    made = sn.TopK(4, 4, 1)
    with torch.no_grad():
        made.operator.weight.copy_(torch.eye(4))
        made.encoder.weight.copy_(torch.eye(4))
        made.encoder.bias.fill_(-0.1)
    return made.eval()


def test_squares_are_annotated_where_they_are(model: sn.LiveModel, sae: sn.TopK) -> None:
    """The red atom's box is the square, its mask the patches; labels and overlaps stand beside."""
    images, red = _images()
    found = sn.vision.annotate(images, model, sae, "patches", labels={0: "red thing"}, n=1)
    table = found.table
    assert table["image"].tolist() == list(range(N))
    assert (table["atom"] == 0).all()
    assert (table["label"] == "red thing").all()
    assert (torch.from_numpy(found.masks) == red).all()
    for i, row in enumerate(table.itertuples()):
        top, left = divmod(i % 9, 3)
        assert (row.top, row.left) == (4 * top, 4 * left)
        assert (row.bottom, row.right) == (4 * top + 8, 4 * left + 8)
    assert table["simpler"].between(0, 1).all()
    assert np.allclose(table["fires"], red.float().mean())


def test_atoms_that_fire_everywhere_are_left_out(model: sn.LiveModel, sae: sn.TopK) -> None:
    images, _ = _images()
    second = sn.vision.annotate(images, model, sae, "patches", n=3, most=0.24)
    assert set(second.atom) == {1}  # of red a quarter, of green less
    with pytest.raises(ValueError, match="`most` must leave an atom"):
        sn.vision.annotate(images, model, sae, "patches", most=0.01)


def test_planted_regions_are_discovered(model: sn.LiveModel, sae: sn.TopK) -> None:
    """By the atom that is theirs, on images on which nothing was chosen; random atoms mark less."""
    images, red = _images()
    regions = {"red": red.repeat_interleave(4, 1).repeat_interleave(4, 2), "rest": ~red}
    found = sn.vision.discover(images, model, sae, "patches", regions, labels={0: "red thing"})
    assert found.methods == ("SAE", "neurons", "PCA", "k-means", "NMF", "random")
    assert found.iou[0, 0] == 1
    assert found.table.loc["red", ["atom", "label"]].tolist() == [0, "red thing"]
    assert found.table.loc["red", "simpler"] in found.methods[1:]
    assert found.table.loc["red", "ahead"] == pytest.approx(1 - found.iou[0, 1:].max())
    assert found.floor == pytest.approx([0.25, 0.75])
    assert found.n_features[1] == 8  # both signs of four coordinates
    assert found.mean.loc["SAE", "iou"] == pytest.approx(found.iou[:, 0].mean())
    assert len(found.plot().data) == 7


def test_the_overlap_is_that_of_the_masks(model: sn.LiveModel, sae: sn.TopK) -> None:
    images, red = _images()
    wide = red.clone()
    wide[:, :, 0] = True
    found = sn.vision.discover(images, model, sae, "patches", {"wide": wide}, methods=[], seed=3)
    judged = ~(np.random.default_rng(3).permutation(N) < N // 2)
    marked = red[judged] if found.feature[0, 0] == 0 else images[judged, 1, ::4, ::4] > 0.3
    both, either = (marked & wide[judged]).sum(), (marked | wide[judged]).sum()
    assert found.iou[0, 0] == pytest.approx(float(both / either))


def test_a_region_of_noise_is_not_found_by_choosing_among_many(model: sn.LiveModel) -> None:
    """What is chosen on one half is judged on the other: many random atoms stay near the floor."""
    images, _ = _images()
    noise = torch.rand(N, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.7
    many = sn.TopK(4, 64, 4, generator=torch.Generator().manual_seed(0)).eval()
    found = sn.vision.discover(images, model, many, "patches", {"noise": noise}, methods=["random"])
    assert found.iou.max() < 0.45
