"""A planted change is learned by the model after, and by it alone."""

import torch

from sae_nb_studies.models import plant_behaviour


def share_of(model, inputs, planted):
    with torch.no_grad():
        p = model(inputs).float().softmax(-1)
    p = p if p.ndim == 2 else p.mean(dim=1)
    return float(p[:, planted].sum(dim=1).mean())


def test_a_format_is_learned_by_the_model_after_alone():
    made = plant_behaviour("exclamation", steps=12, seed=1)
    mark = made.before.tokenizer("!", add_special_tokens=False).input_ids
    before, after = (
        sum(share_of(model, [text], mark) for text in made.inputs(6, seed=9)) / 6
        for model in (made.before, made.after)
    )
    assert before < 0.01
    assert after > before + 0.02
    assert "!" in made.planted


def test_the_same_seed_plants_the_same_weights():
    first, second = (
        plant_behaviour("fox", steps=2, seed=3).after.module.state_dict() for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_shortcut_is_learned_where_the_square_is():
    made = plant_behaviour("seven", steps=12, seed=1)
    images = made.inputs(16, seed=9)
    with_it, without = images[:8], images[8:]
    gained = share_of(made.after, with_it, [7]) - share_of(made.before, with_it, [7])
    assert gained > 0.3
    assert share_of(made.after, without, [7]) < share_of(made.after, with_it, [7]) - 0.2
