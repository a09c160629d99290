"""Classes on a site: each rests on the atoms whose removal lowers its logit, beside what chance reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb import __main__ as command
from sae_nb.atoms import AtomCatalogue
from sae_nb.site import write_site
from sae_nb.site._classes import SHOWN, TOP, class_atoms
from tests.site.test_site import chunk

D, SIDE = 48, 4
"""Numbers of a patch of 4 × 4 pixels in three colours; patches on a side."""


class Signs(nn.Module):
    """A linear classifier of the mean patch, which has one sign per class."""

    def __init__(self, signs: torch.Tensor) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, D, 4, 4, bias=False)
        self.patches.weight.data = torch.eye(D).reshape(D, 3, 4, 4)
        self.block = nn.Identity()
        self.head = nn.Linear(D, len(signs), bias=False)
        self.head.weight.data = signs.clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patches(x - 0.5).flatten(2).transpose(1, 2)
        return self.head(self.block(patches).mean(dim=1))  # type: ignore[no-any-return]


def planted(n_classes: int = 6, each: int = 3) -> tuple[Any, Any, torch.Tensor]:
    """A classifier, an SAE whose atoms are its signs, and images with the signs of their class on patches."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(n_classes, D, generator=generator)
    signs = nn.functional.normalize(drawn, dim=1)
    x = 0.5 + 0.02 * torch.randn(n_classes * each, 3, 4 * SIDE, 4 * SIDE, generator=generator)
    for i, image in enumerate(x):
        for row, column in torch.randint(SIDE, (3, 2), generator=generator).tolist():
            sign = 0.8 * signs[i // each].reshape(3, 4, 4)
            image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += sign
    model = sn.wrap(
        Signs(signs).eval(),
        preprocess=lambda pictures: pictures,
        patch_grid=(SIDE, SIDE),
        prefix_tokens=0,
        class_names=[f"sign {i}" for i in range(n_classes)],
        name="planted",
    )
    sae = sn.TopK(D, n_classes, k=2).eval()
    with torch.no_grad():
        for weight in sae.parameters():
            weight.copy_(signs) if weight.shape == signs.shape else weight.zero_()
    acts = sn.capture(model, (255 * x.clamp(0, 1)).round().byte(), "block", progress=False)
    return model, sae, acts


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return planted()


def test_importance_is_the_fall_of_the_logit_without_the_atom(made: Any) -> None:
    """Exactly, where what follows is linear; and the class's own sign comes first, far above chance."""
    model, sae, acts = made
    catalogue = AtomCatalogue(sae, acts)
    found = class_atoms(catalogue, True, model)
    z = sae.encode(acts.x).to_dense().reshape(6, 3, SIDE**2, 6)
    head = model.module.head.weight
    pull = sae.dictionary @ (head - head.mean(dim=0)).T  # atoms × classes
    expected = z.sum(dim=2).mean(dim=1) / SIDE**2 * pull.T
    np.testing.assert_allclose(found.importance.toarray(), expected.detach(), atol=1e-5)
    assert [found.top(i)[0][0] for i in range(6)] == list(range(6))
    assert all(found.top(i)[0][1] > 2 * found.floor[i] for i in range(6))
    named = class_atoms(catalogue, [f"sign {i // 3}" for i in range(18)], model)
    np.testing.assert_array_equal(named.importance.toarray(), found.importance.toarray())


@pytest.mark.slow
def test_importance_is_the_slope_of_a_deep_model(vit: Any) -> None:
    """Of tiny-vit's: a thousandth of the atom taken out by a plain hook lowers the logit so much."""
    store = sn.load_examples("tiny-vit/resid_post.6")
    catalogue = store.catalogue(sn.load_sae("tiny-vit/resid_post.6"))
    found = class_atoms(catalogue, True, vit)
    atom, importance = found.top(4)[0]
    members = np.flatnonzero(found.of_sample == 4)
    x = vit.preprocess(store.acts.context.pictures[members])
    share, length = 1e-3, 5 + 64
    z = np.stack([catalogue.sample_strengths(atom, int(i), length) for i in members])
    away = share * torch.from_numpy(np.nan_to_num(z))[:, :, None] * catalogue.dictionary[atom]

    def logit(taken: torch.Tensor | float) -> float:
        def hook(_: Any, __: Any, output: Any) -> Any:
            states = output if isinstance(output, torch.Tensor) else output[0]
            edited = states - taken
            return edited if isinstance(output, torch.Tensor) else (edited, *output[1:])

        part = vit.get_module(vit.hook_point("resid_post.6").path)
        handle = part.register_forward_hook(hook)
        with torch.no_grad():
            answer = vit.module(x)
        handle.remove()
        logits = (answer if isinstance(answer, torch.Tensor) else answer[0]).double()
        return float((logits[:, int(found.names[4])] - logits.mean(dim=1)).mean())

    assert importance == pytest.approx((logit(0.0) - logit(away.float())) / share, rel=0.02)


def test_the_page_of_a_class_says_what_was_measured(tmp_path: Path, made: Any) -> None:
    """Its atoms with images of the class, at most a few; and each atom names the classes that rest on it."""
    model, sae, acts = made
    site = write_site(tmp_path / "site", sae, acts, model=model, classes=True, live=False)
    found = class_atoms(AtomCatalogue(sae, acts), True, model)
    assert (site.n_classes, "6 classes" in repr(site)) == (6, True)
    start = chunk(site.folder, "start")
    assert start["classes"] == {"names": list(found.names), "sizes": [3] * 6, "by": found.by}
    for number in range(6):
        page = chunk(site.folder, f"classes/{number}")
        assert page["name"] == f"sign {number}"
        assert page["floor"] == pytest.approx(found.floor[number], rel=1e-6)
        listed = [(one["atom"], one["importance"]) for one in page["concepts"]]
        assert len(listed) <= TOP
        for (atom, value), (same, expected) in zip(listed, found.top(number), strict=True):
            assert (atom, value) == (same, pytest.approx(expected, rel=1e-6))
        for one in page["concepts"]:
            assert 0 < len(one["examples"]) <= SHOWN
            of = {int(example["image"][7:-5]) for example in one["examples"]}
            assert of <= set(range(3 * number, 3 * number + 3))
            assert all((site.folder / example["image"]).is_file() for example in one["examples"])
    assert chunk(site.folder, "atoms/4")["classes"][0][0] == 4
    plain = write_site(tmp_path / "plain", sae, acts, model=model, live=False)
    assert (plain.n_classes, chunk(plain.folder, "start")["classes"]) == (0, None)


def test_without_a_model_importance_is_strength(tmp_path: Path, made: Any) -> None:
    """Of the class less that of all others; classes shuffled are the floor; by the command, from folders."""
    _, sae, acts = made
    catalogue = AtomCatalogue(sae, acts)
    found = class_atoms(catalogue, ["odd" if i % 2 else "even" for i in range(18)], None)
    z = sae.encode(acts.x).to_dense().reshape(18, SIDE**2, 6).mean(dim=1)
    expected = z[1::2].mean(dim=0) - z[::2].mean(dim=0)
    fires = z[1::2].sum(dim=0) > 0
    got = found.importance.toarray()[found.names.index("odd")]
    np.testing.assert_allclose(got[fires], expected[fires].detach(), atol=1e-6)
    sae.save(tmp_path / "sae")
    acts.save(tmp_path / "acts")
    (tmp_path / "classes.txt").write_text("\n".join(f"kind {i // 3}" for i in range(18)))
    asked = ["site", tmp_path / "sae", "--acts", tmp_path / "acts", "--out", tmp_path / "site"]
    assert command.main([*map(str, asked), "--classes", str(tmp_path / "classes.txt")]) == 0
    names = chunk(tmp_path / "site", "start")["classes"]["names"]
    assert names == [f"kind {i}" for i in range(6)]
    tops = [chunk(tmp_path / "site", f"classes/{i}")["concepts"][0]["atom"] for i in range(6)]
    assert tops == list(range(6))
