"""GenerationLens of a model that reads images, too: an image in the prompt, its patches, branches after it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image

import sae_nb as sn
from tests.small_llava import IMAGE, pairs, small_llava

PLACE, TEXT = "resid_post.1", "what is this <image> a red door ?"
FIRST, AFTER = 3, 19  # the patches in that text: 4 × 4


@pytest.fixture(scope="module")
def sae() -> sn.TopK:
    acts = sn.capture(small_llava(), pairs(), PLACE, progress=False)
    made = sn.TopK(d_in=32, n_atoms=32, k=4, generator=torch.Generator().manual_seed(0))
    made.initialise(acts.x)
    made.hook_point = PLACE
    return made


@pytest.fixture
def image() -> Image.Image:
    return Image.new("RGB", (40, 48), (200, 30, 90))


@pytest.fixture
def lens(sae: sn.TopK, image: Image.Image) -> sw.GenerationLens:
    made = sw.GenerationLens(small_llava(), sae, prompt=(TEXT, image))
    made.speed = 1000.0
    made.wait()
    assert not made.problem, made.status
    return made


def written_by_hand(image: Image.Image, n: int) -> list[int]:
    model = small_llava()
    given = model.preprocess(text=[TEXT], images=[[image]], return_tensors="pt")
    ids = model.module.generate(**given, max_new_tokens=n, do_sample=False)[0]
    return ids[given["input_ids"].shape[1] :].tolist()


def test_it_writes_what_transformers_writes(lens: sw.GenerationLens, image: Image.Image) -> None:
    """With every row's codes those of a capture, patches included."""
    lens.step(5)
    text = lens.generation.branches[0].text
    n_prompt = lens.generation.n_prompt
    wanted = written_by_hand(image, 5)
    assert text.ids[n_prompt:] == wanted[: len(text.ids) - n_prompt]
    assert len(text.ids) > n_prompt
    acts = sn.capture(small_llava(), [(TEXT, image)], PLACE, drop_first=False, progress=False)
    codes = lens.sae.encode(acts).to_dense().detach().numpy()
    for place in range(1, n_prompt):
        atoms, values = text.codes[place]
        np.testing.assert_allclose(values, codes[place, atoms], atol=1e-4)
    lens.close()


def test_patches_are_on_their_image_and_the_image_in_the_text_is_one_token(
    lens: sw.GenerationLens, tmp_path: Path
) -> None:
    """A click on either chooses a token; the page has the image."""
    grid, strip = lens.views.images, lens.views.text
    tokens = strip.prompt
    assert tokens[FIRST] == "[image]"
    assert set(tokens[FIRST + 1 : AFTER]) == {"\u2060"}
    assert grid.heat_shape == (4, 4)
    strengths = lens.generation.branches[0].text.strengths(lens.atom)[FIRST:AFTER]
    shown = lens._now.share(lens.atom, strengths)
    np.testing.assert_allclose(np.ravel(grid.heat_maps[0]), shown, rtol=1e-5)
    grid.selected = (0, 6)
    lens.wait()
    assert lens.token == FIRST + 6
    assert "patch 1,2" in lens.views.here.description
    assert tuple(strip.selected) == (0, FIRST)
    lens.token = AFTER + 2
    lens.wait()
    assert lens.summary is not None
    assert lens.summary.images is not None
    assert tuple(grid.selected) == (-1, -1)
    lens.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "[image]" in page
    assert "data:image/png" in page
    lens.close()


def test_a_branch_goes_on_after_the_image(lens: sw.GenerationLens) -> None:
    """Unsteered as the text itself; a push moves the steered row; from a patch there is no other way."""
    lens.step(4)
    generation = lens.generation
    text = list(generation.branches[0].text.ids)
    made = generation.fork(generation.n_prompt - 1, 3, 0.0)
    while len(generation.branches[made].rows[1].ids) < len(text) and generation.step(made):
        pass
    assert generation.branches[made].rows[1].ids == text
    for place in (0, FIRST, AFTER - 1):
        with pytest.raises(ValueError, match="must be after the image"):
            generation.fork(place, 3, 1.0)
    lens.close()


def test_the_image_can_be_changed_taken_away_and_uploaded(
    lens: sw.GenerationLens, image: Image.Image
) -> None:
    """Each reads the prompt again; a text without a place for it has it in front."""
    lens.without_image()
    lens.wait()
    assert lens.problem  # the text has a place for an image, and none is there
    lens.prompt = "a red door"
    lens.wait()
    assert not lens.problem, lens.status
    assert lens.generation.images is None
    file = io.BytesIO()
    image.save(file, "PNG")
    lens.take_upload(({"name": "red.png", "content": file.getvalue()},))
    lens.wait()
    assert not lens.problem, lens.status
    assert lens.generation.branches[0].text.ids[:16] == [IMAGE] * 16
    lens.messages = [{"role": "user", "content": "hello"}]
    lens.wait()
    assert lens.problem
    assert "messages" in lens.status
    lens.close()


def test_a_session_keeps_the_image(lens: sw.GenerationLens, sae: sn.TopK) -> None:
    lens.step(2)
    state = json.loads(json.dumps(lens.state()))
    again = sw.GenerationLens(small_llava(), sae)
    again.restore(state)
    again.wait()
    assert not again.problem, again.status
    assert torch.equal(again.picture, lens.picture)
    assert again.generation.branches[0].text.ids == lens.generation.branches[0].text.ids
    again.close()
    lens.close()
