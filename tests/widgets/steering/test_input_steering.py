"""InputSteering: what the lens shows is what is steered, also after the picture changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import traitlets as t
from sae_nb_widgets.steering import InputSteering

import sae_nb as sn


class Lens(t.HasTraits):
    picture = t.Any(None)
    text = t.Unicode("")
    atom = t.Int(0)

    def __init__(self, model: Any, sae: Any, *, chosen: bool = True, **state: Any) -> None:
        super().__init__(**state)
        self.atom_chosen = chosen
        self.model, self.sae, self.hook_point = model, sae, "resid_post.6"


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any, torch.Tensor]:
    model = sn.load_model("tiny-vit")
    sae, examples = sn.load_sae("tiny-vit/resid_post.6"), sn.load_examples("tiny-vit/resid_post.6")
    pictures = examples.acts.context.pictures[:30]
    answers = model(pictures).argmax(dim=-1)
    return model, sae, torch.stack([pictures[answers == 7][0], pictures[answers == 0][0]])


@pytest.fixture
def joined(parts: tuple[Any, Any, torch.Tensor]) -> tuple[Lens, InputSteering]:
    model, sae, pictures = parts
    lens = Lens(model, sae, picture=pictures[0], atom=3)
    panel = InputSteering(lens, strength=20.0)
    panel.wait()
    return lens, panel


def test_the_lens_picture_is_what_the_model_reads(
    joined: tuple[Lens, InputSteering], parts: tuple[Any, Any, torch.Tensor]
) -> None:
    """The answer before steering is the model's answer to the picture in the lens, twice over."""
    (lens, panel), (model, _, pictures) = joined, parts
    for picture, digit in ((pictures[0], 7), (pictures[1], 0), (pictures[0], 7)):
        lens.picture = picture
        before = np.asarray(panel.summary.before)
        assert int(before.argmax()) == digit
        expected = model(picture[None]).softmax(dim=-1)[0].numpy()
        assert np.allclose(before, expected, atol=1e-5)


@pytest.mark.slow
def test_one_atom_for_both(joined: tuple[Lens, InputSteering]) -> None:
    """Choosing in the lens steers; choosing in the panel moves the lens."""
    lens, panel = joined
    lens.atom = 17
    assert panel.summary.recipe.atom == 17
    panel.atom = 5
    assert lens.atom == 5


@pytest.mark.slow
def test_clearing_the_lens_clears_the_answer(
    joined: tuple[Lens, InputSteering], parts: tuple[Any, Any, torch.Tensor]
) -> None:
    """Neither sentence, bars nor numbers of an image that is gone; the next one brings them back."""
    (lens, panel), (_, _, pictures) = joined, parts
    panel.wait()
    assert panel.answer
    lens.picture = None
    panel.wait()
    assert (panel.answer, panel.numbers) == ("", "")
    assert not any(len(trace.x) for trace in panel.current_figure().data[:4])
    with pytest.raises(RuntimeError):
        _ = panel.summary
    lens.picture = pictures[1]
    assert int(np.asarray(panel.summary.before).argmax()) == 0


@pytest.mark.slow
def test_a_closed_panel_lets_go(joined: tuple[Lens, InputSteering]) -> None:
    lens, panel = joined
    panel.close()
    lens.atom = 9
    assert panel.atom != 9
