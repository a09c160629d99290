# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What a head looks at
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/30_what_a_head_looks_at.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/30_what_a_head_looks_at.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/30_what_a_head_looks_at.html)
#
# You need 07; 35 minutes with the exercises, 30 seconds of computing. Afterwards you can find an induction head in
# three ways, say what it hears and why it looks where it looks, and distinguish a score from an effect.
#
# An attention head does two things: it chooses where to look, and it writes something about what it saw. Pictures of
# attention show the first and are often taken for the second. Here you measure both, and take heads away.

# %% jupyter={"source_hidden": true} tags=["colab"]
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to set up
    from pathlib import Path
    from subprocess import run
    import torch
    from google.colab import output

    Path("torch.txt").write_text(f"torch=={torch.__version__}")  # the one that is there stays
    where = "git+https://github.com/sae-nb/sae_nb"
    parts = [f"sae-nb @ {where}", f"sae-nb-studies @ {where}#subdirectory=studies"]
    parts.append(f"sae-nb-course @ {where}#subdirectory=notebooks")
    run([sys.executable, "-m", "pip", "install", "-qc", "torch.txt", *parts], check=True)
    output.enable_custom_widget_manager()

# %%
import pandas as pd
import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.exercises import first_block_sae

pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## 1 · A head on a page
#
# `tiny-induction` has two layers of four heads and goes on with letters as they went on before: “q k e f z q k e” ends
# on e, and after the first e came f. The panel opens on the head that this answer needs most. Click another one in
# the grid, or a letter to look from there.

# %%
induction, text = sn.load_model("tiny-induction"), "q k e f z q k e"
panel = sw.HeadsPanel(induction, text)
panel

# %% [markdown]
# ## 2 · The first way: a score
#
# Draw random tokens, repeat them, and see how much each head looks at what followed this token the first time. The
# function is yours:

# %%
exercise("30.1")


# %% tags=["exercise"]
def induction_score(pattern, n):
    # second copies stand at n + 1, …, 2n; where did their successors stand the first time?
    return ...


exercise("30.1").check(induction_score)

# %% [markdown]
# The toolkit scores all heads in two passes, each score next to its control: the same distance in texts that do not
# repeat. All four heads of layer 1 are induction heads. Head 0.2 looks at the token before.

# %%
scores = sn.circuits.head_scores(induction)
scores.table[
    ["layer", "head", "role", "induction", "induction_control", "previous", "previous_control"]
]

# %% [markdown]
# ## 3 · The second way: take it away
#
# Head 0.2 does not look at f at all. Does the answer need it?

# %%
exercise("30.2")

# %% tags=["exercise"]
guess = ...
exercise("30.2").predict(guess)

# %% tags=["exercise"]
exercise("30.2").reveal()

# %% [markdown]
# And the four heads that do look at f? Take each one away by itself: the others do its work.

# %%
f = induction.tokenizer.get_vocab()["f"]
removed = sn.circuits.head_contributions(
    induction, text, target=lambda z: z.softmax(-1)[f], method="ablation"
)
left = pd.DataFrame(removed.answer - removed.values, index=["layer 0", "layer 1"])
left

# %% [markdown]
# ## 4 · The third way: who hears whom
#
# Put head 0.2's output of another text into this one, but let only one input of one later head hear it: its queries,
# its keys or its values. Which of the three carries the answer?

# %%
exercise("30.3")

# %% tags=["exercise"]
heard = ...
exercise("30.3").check(heard)

# %%
paths = sn.circuits.path_patch(induction, text, "q k e f z k e q", ("f", "z"), sender=(0, 2))
paths.table.pivot(index="head", columns="by", values="effect")

# %% [markdown]
# ## 5 · Why does it look there?
#
# A score is a product of what the query asks and what the key offers, and both are sums over atoms of the stream
# between the two layers. So the score is a sum over pairs of atoms, exactly. Train an SAE there and split it:

# %%
sae = first_block_sae(induction)
why = sn.circuits.qk(induction, sae, text, layer=1, head=3)
print(
    f"score above the mean over keys {why.difference:.2f}, sum of all parts {why.values.sum():.2f}"
)
why.table.head(5)

# %%
exercise("30.4")

# %% tags=["exercise"]
guess = ...
exercise("30.4").predict(guess)

# %% tags=["exercise"]
exercise("30.4").reveal()

# %% [markdown]
# The control: two other atoms that fire at the same two places.

# %%
why.removals

# %% [markdown]
# ## 6 · A score is not an effect
#
# SmolLM2 has 270 heads (`sae-nb get smollm2-135m`; without it `tiny-induction` is asked again). “When Mary and John
# went to the store, John gave a drink to” wants *Mary*: a head that looks back at her and writes her name is a *name
# mover*. What each head itself adds to the answer, straight along the stream, is its direct effect.

# %%
try:
    model, kind = sn.load_model("smollm2-135m"), "indirect_objects"
except FileNotFoundError:
    model, kind = induction, "induction"
pairs = sn.data.prompt_pairs(kind, 8, seed=0, model=model)
direct = sn.circuits.direct_effects(model, list(pairs.clean), pairs.answers)
print(pairs.clean[0], "→", pairs.targets[0])
direct.table.head(5)

# %%
every = sn.circuits.head_scores(model)
best = direct.table.head(3)[["layer", "head"]]
best.merge(every.table, on=["layer", "head"])[
    ["layer", "head", "role", "induction", "copying", "copying_control"]
]

# %% [markdown]
# The panel on one of these sentences: where the strongest head looks, and what the model says without it, next to
# three heads drawn at random.

# %%
on_names = sw.HeadsPanel(model, pairs.clean[0], scores=every)
on_names

# %% [markdown]
# ## 7 · Patches
#
# A vision model's heads look from patch to patch. `tiny-vit` must read a digit on a textured ground. How much of each
# head's attention lies on patches that the digit crosses, and how much would if it looked at all patches alike?

# %%
vit, scenes = sn.load_model("tiny-vit"), sn.data.scenes(16, seed=0)
on_digit = sn.circuits.head_scores(vit, scenes.images, places=scenes.patch_mask)
strokes = on_digit.table.sort_values("places", ascending=False)
strokes[["layer", "head", "places", "places_control"]].head(5)

# %% [markdown]
# Head 2.1 follows the stroke in every image, by the second layer. In the panel: choose it, and click a patch.

# %%
seen = sw.HeadsPanel(vit, scenes.images[:4])
seen

# %%
seen.wait()
seen.choose(2, 1)

# %% [markdown]
# ## 8 · The checked numbers

# %%
named = scores.table[scores.table.role == "induction"]
through = paths.table.groupby("by").effect.sum()
assert named.layer.tolist() == [1] * 4, "four induction heads, all in layer 1"
assert (named.induction > 3 * named.induction_control).all()
assert left.iloc[0, 2] < 0.05 < 0.9 < left.iloc[1].min(), "0.2 is needed, each of the four is not"
assert through["keys"] > 0.5 > 0.05 > abs(through["queries"]) + abs(through["values"])
assert abs(why.values.sum() - why.difference) < 1e-3
assert why.without < 0.2 < 0.7 < why.random.mean()
assert strokes.iloc[0].places > 4 * strokes.iloc[0].places_control

# %%
panel.wait()
assert (panel.layer, panel.head) == (0, 2), "it opens on the head that the answer needs"
on_names.wait(120)
for one in (panel, on_names, seen):
    assert not one.problem
    one.close()
exercise_report("30")

# %% [markdown]
# ## Read further
#
# - Elhage et al., *A Mathematical Framework for Transformer Circuits* (2021): what a head reads and writes.
# - Olsson et al., *In-context Learning and Induction Heads* (arXiv 2209.11895): the score, and when such heads appear.
# - Wang et al., *Interpretability in the Wild* (arXiv 2211.00593): name movers, found by path patching in GPT-2.
