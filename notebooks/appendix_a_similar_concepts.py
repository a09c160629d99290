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
# # Appendix A · Concepts that are alike: what matching pursuit needs
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/appendix_a_similar_concepts.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/appendix_a_similar_concepts.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/appendix_a_similar_concepts.html)
#
# Afterwards you can look up what was tried before the settings of [12](12_hierarchy.ipynb) §3 were found. You need 12;
# 5 minutes to read, 10 seconds of computing, no exercises. This is a research log: whole recorded tables, in the order
# in which the questions came up.

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

from sae_nb_lessons import recorded
from sae_nb_studies.reproductions.experiments import concept_starts

# %% [markdown]
# ## 1 · Where it ends
#
# The paper reports the same for concepts of one level that are more alike. **With the defaults it does not
# hold here**: at ρ = 0.5 levels stay apart, but not every concept is found, and at 0.8 few are. An atom
# becomes what a concept has *beyond* its neighbour; two steps are then as exact as one, R² is 1, and nothing
# corrects it. More steps at inference reveal nothing: only L0, too high, gives it away.

# %%
world = recorded("hierarchy")
world.table("strong correlation", "limit")

# %% [markdown]
# ## 2 · Which dictionary can be known at all?
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
# ## 3 · From random atoms
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
# ## 4 · The checked numbers

# %%
assert world.of("mp least cosine at 0.5").mean < 0.98 < world.low("mp R² at 0.5")

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
