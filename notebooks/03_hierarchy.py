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
# # From flat to hierarchical: who keeps a parent and its children apart?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/03_hierarchy.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/03_hierarchy.ipynb)
#
# Concepts come in hierarchies: a *poodle* is a *dog*, always. For an encoder that may use few atoms this is a
# temptation. One atom for "poodle and dog" costs one atom where two would be honest. The parent is then
# **absorbed**: its own atom is off on poodles, and a search for dogs misses them.
#
# Four SAEs meet a small world whose hierarchy we know. One of them, `MatchingPursuit` (MP, arXiv
# 2506.03093), takes an atom, subtracts it, and looks again. Does it resist? And what do its steps buy on real
# digits? Half a minute on two CPU cores for one short seed, live; next to it are the full runs over three
# seeds, with the results that did *not* reproduce.

# %% jupyter={"source_hidden": true} tags=["colab"]
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to set up
    from pathlib import Path
    from subprocess import run
    import torch
    from google.colab import output

    Path("torch.txt").write_text(f"torch=={torch.__version__}")  # the one that is there stays
    package = "sae-nb @ git+https://github.com/sae-nb/sae_nb"
    run([sys.executable, "-m", "pip", "install", "-qc", "torch.txt", package], check=True)
    output.enable_custom_widget_manager()

# %%
import pandas as pd
import torch

from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import curve_figure, likeness_figure
from sae_nb_lessons.reproductions.experiments import concept_starts, hierarchy, monotone
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · A world of twenty concepts
#
# Three parents with three children each, and eight leaves. Every vector has one concept of the top level,
# and a parent comes with one of its children or alone: 1.36 concepts at a time. The world is made so that
#
# - atoms of one level are a little alike (cosine ρ = 0.1): `PP` should come out as 0.1;
# - a child is orthogonal to its parent: `PC` should come out as 0.

# %%
exercise("03.1")

# %% tags=["exercise"]
cosine = ...
exercise("03.1").check(cosine)

# %% [markdown]
# ## 2 · Four SAEs, one world
#
# Each learns 20 atoms, put here in the place of the concept they match best. Look at the squares on the
# diagonal, parents (0, 4, 8) and their children: orange where a child's atom holds its parent.

# %%
tree, found = hierarchy.look(seed=0)
names = {"mp": "MP", "relu": "ReLU, ℓ1", "batch_topk": "BatchTopK", "matryoshka": "Matryoshka"}
squares = {title: found[name].atoms for name, title in names.items()}
figure_widget(likeness_figure({"the truth": tree.dictionary, **squares}), height=230)

# %%
for name, one in found.items():
    print(f"{names[name]}: {one.numbers['PC']:.0%} of the parent in its children")

# %% [markdown]
# That was one seed and a third of the steps. The full runs, three seeds; a claim *holds* only if each
# line is met with two standard deviations to spare:

# %%
world = recorded("hierarchy")
world.table("hierarchy and correlation", "absorption", "Matryoshka")

# %% [markdown]
# - **MP finds every concept**, on every seed. The control shows that it is not only the encoder: with its
#   codes held constant in the gradient it finds few. Learning has to go *through* the steps.
# - **ReLU with ℓ1 absorbs**, clearly. **BatchTopK absorbs in the mean** (0.33), but one of our lines was
#   0.3 with two deviations to spare, and 0.264 is not: *partly*.
# - **Matryoshka keeps levels apart**, and pays: atoms of one level, truly alike by 0.1, come out as if
#   they repelled each other, and it explains less.
#
# Is it the hierarchy that does this?

# %%
exercise("03.2")

# %% tags=["exercise"]
guess = ...
exercise("03.2").predict(guess)

# %% tags=["exercise"]
exercise("03.2").reveal()

# %% [markdown]
# ## 3 · Where it ends
#
# The paper reports the same for concepts of one level that are more alike. **With the defaults it does not
# hold here**: at ρ = 0.5 levels stay apart, but not every concept is found, and at 0.8 few are. An atom
# becomes what a concept has *beyond* its neighbour; two steps are then as exact as one, R² is 1, and nothing
# corrects it. More steps at inference reveal nothing: only L0, too high, gives it away.

# %%
world.table("strong correlation", "limit")

# %% [markdown]
# ### Which dictionary can be known at all?
#
# Is training at fault, or do the data not determine the dictionary? Three dictionaries of the same world, ρ = 0.8, and
# the share of ‖x‖² that is left after one, two and four steps:

# %%
left = concept_starts.look(seed=0)
pd.DataFrame(left).T.style.format("{:.1%}")

# %% [markdown]
# After **one** step the truth is not even good: an atom "parent + child" explains a child's rows at once.
# After **two** the truth is exact, and alone so. After **four** the learned dictionary comes close too, with
# the wrong atoms: four steps can mend almost anything, and what they mend no loss can see. *A concept is
# identified at the fewest steps that reach it*: what occurs alone at one, a child, which comes with its
# parent only, at two.
#
# So look level by level **before** training, and train slowly from there (`sae.initialise(x,
# method="levels")`). On seeds that nothing was tuned on:

# %%
starts = recorded("concept_starts")
starts.table("levels")

# %% [markdown]
# Exact, at every ρ. This is a result of ours, with limits: the recipe knows that there are levels, parents must
# also occur alone (in 5 % of their rows or more), and b must be 0.
#
# Training can follow the same thought from **random** atoms: let k grow, 1 → 2 → 4, and end an input where it
# takes an atom again, as the authors' script does (`grow_k=True`, `reselect="stop"`):

# %%
grid = recorded("concept_grid")
grid.table("growing", "parts")

# %% [markdown]
# The best of these ways, without a bias, on trees that it was not chosen on:

# %%
winner = recorded("concept_winner")
winner.table("fresh", "closer")

# %% [markdown]
# At ρ = 0.1 that finds every concept exactly on all five trees, at ρ = 0.5 on four of them: on the fifth the
# published training finds all, so luck remains. Without the rule it is worse; with all steps from the
# beginning a concept is lost on two of five. At ρ = 0.8 and 0.9 it is not enough, and only the start by
# levels is.

# %% [markdown]
# ## 4 · Every step helps
#
# Real handwritten digits, 256 atoms, both trained with k = 5 (dotted). Now let each use more, or fewer.

# %%
digits = monotone.look(seed=0)
curves = {name: (one.ks, one.r2) for name, one in digits.items()}
axes = {"x_title": "atoms per digit at inference", "y_title": "R²"}
figure_widget(curve_figure(curves, **axes, trained_at=5), height=300)

# %% [markdown]
# MP was never trained to stop at another k, and still every step helps: what is left can only shrink. TopK
# learned one support of five, and the sixth atom is a guess. The full runs say how far this goes:

# %%
steps = recorded("monotone")
steps.table("monotone", "expressive", "extensible")

# %% [markdown]
# "More steps harm TopK" is **not** so at every k: trained with 10, it gains about 0.01 from 20. Trained
# with 2, it is ruined by 64.
#
# ## 5 · Alike, but not together
#
# How alike are the atoms? The **Babel function** μ₁(r) asks how much of one atom r others can cover.

# %%
exercise("03.3")


# %% tags=["exercise"]
def babel_function(dictionary, r):
    return ...


exercise("03.3").check(babel_function)

# %%
curves = {name: (one.sizes, one.babel) for name, one in digits.items()}
axes = {"x_title": "r", "y_title": "μ₁(r), live atoms"}
figure_widget(curve_figure(curves, **axes), height=300)

# %%
for name, one in digits.items():
    print(f"{name}: {one.coactive:.2f} among atoms used together")

# %%
steps.table("coherent globally, orthogonal locally")

# %% [markdown]
# MP's atoms are *more* alike over the whole dictionary and *less* alike where they are used together. So a
# dictionary's coherence alone is weak evidence about an SAE: a step that subtracts can afford similar atoms,
# since it never takes two of them for the same thing.
#
# This does not show that MP finds more of what is there in general. In data with many more concepts than
# dimensions it explains more and finds the true atoms *less* well (the case made against it in arXiv
# 2602.14687):

# %%
crowd = recorded("superposition_noise")
crowd.table()

# %% [markdown]
# Its reading: where concepts overlap, each step also fits the noise that the overlap makes, and atoms are
# pulled there. R² measures how well inputs are rebuilt, not whether concepts were found.
#
# ## 6 · The checked numbers
#
# `low` and `high` are the mean of three seeds less, or plus, two standard deviations.

# %%
# MP finds every concept at ρ = 0.1; through the steps, not without; its R² does not show it at 0.5.
assert world.low("mp least cosine at 0.1") > 0.98 > 0.5 > world.high("constant codes least cosine")
assert world.high("mp |PC| at 0.1") < 0.05
assert 0.07 < world.low("mp PP at 0.1") < world.high("mp PP at 0.1") < 0.13
assert world.of("mp least cosine at 0.5").mean < 0.98 < world.low("mp R² at 0.5")
assert world.verdict("strong correlation") == "too few seeds"

# %%
# Started level by level, every concept is found where it ends; from random atoms not.
assert (
    starts.low("levels least cosine at 0.8")
    > 0.999
    > 0.9
    > starts.high("published least cosine at 0.8")
)
assert starts.verdict("levels") == "holds"
truth, _, learned = left.values()
assert truth["left by k 2"] < 1e-6 < 0.01 < learned["left by k 2"]

# %%
# From random atoms too, where concepts are less alike and inputs end at an atom taken again.
assert grid.low("whole least cosine at 0.5") > grid.high("going on least cosine at 0.5")
assert winner.verdict("fresh") == "partly"
assert winner.high("best |PP − ρ| at 0.1") < 1e-3

# %%
# ReLU absorbs, BatchTopK in the mean; without a hierarchy it does not. Matryoshka loses likeness.
assert world.low("relu PC at 0.1") > 0.3
assert world.of("batch_topk PC at 0.1").mean > 0.3 > world.low("batch_topk PC at 0.1") > 0.2
assert world.high("batch_topk PC, no hierarchy") < 0.1
assert world.high("matryoshka |PC| at 0.1") < 0.2
assert world.high("matryoshka PP at 0.1") < 0.02
assert world.verdict("absorption") == "too few seeds"

# %%
# Steps: the residual never grows, MP gains, TopK does not always lose; alike but not together.
assert steps.high("grew, trained") == steps.high("grew, random") == 0
assert steps.low("r2 ahead of TopK") > 0.03
assert steps.low("mp smallest gain") > 0
assert steps.verdict("extensible") == "partly"
assert steps.high("co-active ratio") < 0.9 < 1.0 < steps.low("global ratio")

# %%
# In a crowd it explains more and finds less.
assert crowd.low("R² ahead crowded") > 0 > crowd.high("MCC ahead crowded")

# %%
# The short seed that ran here agrees.
pc = {name: one.numbers["PC"] for name, one in found.items()}
assert abs(pc["mp"]) < 0.05 < 0.2 < min(pc["relu"], pc["batch_topk"])
assert abs(pc["matryoshka"]) < 0.25
mp, topk = torch.tensor(digits["MP"].r2), torch.tensor(digits["TopK"].r2)
assert (mp.diff() > 0).all()
assert (mp > topk).all()
assert digits["MP"].coactive < digits["TopK"].coactive

# %%
exercise_report("03")
