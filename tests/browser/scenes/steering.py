"""SteeringPanel: it is held to the grammar; test_demo moves its slider."""

from __future__ import annotations

CELLS = (
    """\
sevens = pictures[vit(pictures).argmax(dim=-1) == 7]
four = vit_examples.match("digit 4").atom
steering = sw.SteeringPanel(vit, vit_sae.hook_point, vit_sae, sevens, vit_catalogue, atom=four)
steering.wait()
steering""",
    """\
telling = sw.SteeringPanel(gpt, gpt_sae.hook_point, gpt_sae, [story], gpt_catalogue, atom=gpt_examples.match("bad story").atom)
telling.max_new_tokens = 12
telling""",
)
