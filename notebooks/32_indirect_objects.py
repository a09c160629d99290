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
# # Indirect objects
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/32_indirect_objects.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/32_indirect_objects.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/32_indirect_objects.html)
#
# You need 30; 40 minutes with the exercises, 10 seconds of computing (40 on SmolLM2). Afterwards you can follow
# an answer back by path patching, from head to head, and say what a head does next to what it looks like.
#
# “When Paul and Anna went to the house, Anna gave a cake to” wants *Paul*, the name that is not repeated. Which heads of
# SmolLM2 know that, and which later heads hear it? (`sae-nb get smollm2-135m`. Without it `tiny-induction` is asked, on letters.)

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
from sae_nb.figures import heatmaps
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.studies.paths import looks, pair_ends, straight_paths
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.2f}".format
induction = sn.load_model("tiny-induction")
try:
    model, kind = sn.load_model("smollm2-135m"), "indirect_objects"
except FileNotFoundError:
    model, kind = induction, "induction"
    print("SmolLM2-135M was not fetched: tiny-induction is asked, on letters.")
drawn = [sn.data.prompt_pairs(kind, 8, seed=seed, model=model) for seed in range(5)]
pairs = drawn[0]
print("clean    ", pairs.clean[0], "→", pairs.targets[0])
print("corrupted", pairs.corrupted[0], "→", pairs.others[0])

# %% [markdown]
# ## 1 · Straight to the answer
#
# In the corrupted text the other name is repeated, and the other answer is right. First: does the model get it right at
# all? One number measures the answer, the logit of the clean text's answer less that of the corrupted text's.

# %%
trios = [pair for one in drawn for pair in zip(one.clean, one.corrupted, one.answers)]
answers = pd.DataFrame(
    [pair_ends(model, *trio).answers for trio in trios], columns=["clean", "corrupted"]
)
answers.agg(["min", "median", "max"])

# %% [markdown]
# Patching (07) exchanges what a head wrote and lets all that follows hear it. Path patching asks who heard it. Its
# shortest path is from a head straight to the answer, with every other part as in the clean run.

# %%
exercise("32.1")


# %% tags=["exercise"]
def straight(end, clean, corrupted, read, corrupted_answer):
    return ...


exercise("32.1").check(straight)

# %% [markdown]
# All heads, over eight pairs. Right is the control: each head's output moves as far, in a random direction.

# %%
paths = straight_paths(model, pairs)
grids = {by: paths.pivot(index="layer", columns="head", values=by) for by in ("effect", "control")}
hover = "head %{y}.%{x}: %{z:+.2f}"
figure_widget(
    heatmaps(
        {by: grid.to_numpy() for by, grid in grids.items()},
        ends=(-0.5, 0.5),
        hover=hover,
        bar="share",
        signed=True,
    ),
    height=360,
)

# %% [markdown]
# Few heads do nearly all. Are they the same for other names, places and gifts? Those above an eighth, over five draws:

# %%
strong = paths[paths.effect.abs() > 1 / 8]
heads = list(zip(strong.layer, strong["head"]))
tables = [
    paths,
    *[straight_paths(model, one, seed=seed) for seed, one in enumerate(drawn[1:], start=1)],
]
by_seed = {f"draw {i}": t.set_index(["layer", "head"]) for i, t in enumerate(tables)}
over = pd.DataFrame({name: t.effect for name, t in by_seed.items()}).loc[heads]
over.assign(control=pd.DataFrame({n: t.control.abs() for n, t in by_seed.items()}).max(axis=1))

# %% [markdown]
# In SmolLM2, head 23.3 alone brings half of the change, 29.1 a quarter. Heads 29.0 and 24.4 are below 0: they work *against*
# the answer. In `tiny-induction` the four heads of the last layer share the work, and none is against it.
#
# ## 2 · What do they look like?
#
# In GPT-2, Wang et al. found *name movers*: heads that look at the right name and copy it. Does that fit here? Where the last
# token looks, and how often the head's weights raise the letter or word that it looks at (30):

# %%
scores = sn.circuits.head_scores(model)
copies = scores.table.set_index(["layer", "head"]).loc[heads, ["copying", "copying_control"]]
look = looks(model, pairs, heads)
pd.concat([look, copies.set_axis(look.index)], axis=1)

# %% [markdown]
# In SmolLM2 only 23.0 fits: it looks at the right name and copies. The strongest, 23.3, looks at the *repeated* name, and
# copies nothing. Head 24.4 looks at the right name and acts against it, as the heads that McDougall et al. call copy
# suppression. On letters, all four look at the right letter; there the other letter comes once, so two columns are alike.
#
# Look for yourself. Which heads look at the right name and do not show in §1?

# %%
panel = sw.HeadsPanel(model, pairs.clean[0], scores=scores)
panel

# %%
panel.wait(120)
panel.choose(*map(int, heads[0]))
panel.wait(120)

# %% [markdown]
# ## 3 · Needed, and on no straight path
#
# A head that talks to other heads does not show on the straight paths. How much of it can that be?

# %%
exercise("32.3")

# %% tags=["exercise"]
guess = ...
exercise("32.3").predict(guess)

# %% tags=["exercise"]
exercise("32.3").reveal()

# %% [markdown]
# ## 4 · Into one input of another head
#
# A longer path has one more stop: a head writes, a later head hears it by its queries, its keys or its values, and what
# that head then writes goes on freely.

# %%
exercise("32.2")


# %% tags=["exercise"]
def heard(x, change, W_Q, W_K, W_V, by):
    return ...


exercise("32.2").check(heard)

# %% [markdown]
# From the strongest head into the strong ones behind it, on one pair; on letters, from head 0.2:

# %%
sender = heads[0] if kind == "indirect_objects" else (0, 2)
later = [one for one in heads if one[0] > sender[0]]
through = sn.circuits.path_patch(
    model, pairs.clean[0], pairs.corrupted[0], pairs.answers[0], sender=sender, receivers=later
)
print(through.headline)
through.table.pivot(index=["layer", "head"], columns="by", values="effect")

# %% [markdown]
# So 23.3 is no end of the line: the values of 29.1 hear it, and so do the queries of 24.4, which then push the other way. On
# letters, the keys of all four hear head 0.2, and look where it wrote.
#
# ## 5 · Say it

# %%
exercise("32.4")

# %% tags=["exercise"]
found = ...
exercise("32.4").write(found)

# %% tags=["exercise"]
points = ...
exercise("32.4").score(points)

# %% [markdown]
# ## 6 · The checked numbers

# %%
top = over.loc[heads[0]]
control = max(t.control.abs().max() for t in tables)
carried = through.table.loc[through.table.effect.abs().idxmax()]
assert (answers.clean > 0).all()
assert (answers.corrupted < 0).all()
assert top.min() > 2 * control
assert abs(carried.effect) > 3 * through.table.control.abs().max()
if kind == "indirect_objects":
    assert heads[0] == (23, 3)
    assert (over.loc[[(29, 0), (24, 4)]] < -0.1).all(axis=None)
    assert look.loc["23.3", "other, last"] > 0.5 > 0.1 > look.loc["23.3", "right answer"]
    assert look.loc["24.4", "right answer"] > 0.4
    assert look.loc["23.0", "right answer"] > 0.5
else:
    assert set(heads) == {(1, head) for head in range(4)}
    assert (over > 0.1).all(axis=None)
    assert look["right answer"].min() > 0.5
    assert carried.by == "keys"

# %%
assert not panel.problem
panel.close()
exercise_report("32")

# %% [markdown]
# **To read.** *Interpretability in the Wild* (arXiv 2211.00593): this sentence in GPT-2, with name movers and heads against
# them; *Localizing Model Behavior with Path Patching* (arXiv 2304.05969): paths as claims that can be refuted; *Copy
# Suppression* (arXiv 2310.04625): one head against the answer, read in full.
