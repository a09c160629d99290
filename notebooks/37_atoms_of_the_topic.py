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
# # Atoms of the topic
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/37_atoms_of_the_topic.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/37_atoms_of_the_topic.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/37_atoms_of_the_topic.html)
#
# You need 17; 25 minutes with the exercises, 30 seconds of computing. Afterwards you can ask of a smooth code whether it holds
# the topic of a text, or only few atoms.
#
# Many atoms of a language model's SAE are about one word. What a text is about changes slowly, and neighbouring tokens
# share it. T-SAE makes a loss of that: a fifth of its atoms, the high-level ones, should be alike at neighbouring tokens, and
# unlike at all others. Does that give atoms of the topic?

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

from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.studies.neighbours import along_a_text
from sae_nb_studies.reproductions.experiments import t_sae
from sae_nb_studies.temporal import lag_cosine
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Find your neighbour
#
# Each token's high-level code is compared with the codes of all tokens that come before some token of the batch. One of them
# is that of its own neighbour.

# %%
exercise("37.1")


# %% tags=["exercise"]
def contrast(later, earlier, temperature):
    return ...


exercise("37.1").check(contrast)

# %% [markdown]
# `sn.TSAE` adds this term, with a small weight, to any one-step SAE, and a second reconstruction, from the high-level atoms
# alone. Here it is on `tiny-gpt`, reading the documentation of Python, beside a plain BatchTopK on the same rows.

# %%
material, pair = t_sae.look(0)
print(pair.t_sae)
print(pair.t_sae.n_high, "high-level atoms")

# %% [markdown]
# ## 2 · Along a text that changes its subject
#
# Two held-out passages, one after the other; the dashed line is where the second begins. A row is an atom, ordered by where it
# fires. Look for rows that are on for one half.

# %%
figure_widget(along_a_text(pair, material), height=320)

# %%
x = material.x["test"]
with torch.no_grad():
    codes = {name: getattr(pair, name).encode(x).to_dense() for name in ("plain", "t_sae")}
n_high = pair.t_sae.n_high
parts = {"plain": codes["plain"], "high": codes["t_sae"][..., :n_high]}
parts["low"] = codes["t_sae"][..., n_high:]
smooth = {name: lag_cosine(z) for name, z in parts.items()}
pd.Series(smooth).round(2)

# %% [markdown]
# Mean cosine of a token's code and of the one before it (17). High-level codes are the smoothest. By the neighbours?

# %%
exercise("37.2")

# %% tags=["exercise"]
guess = ...
exercise("37.2").predict(guess)

# %% tags=["exercise"]
exercise("37.2").reveal()

# %% [markdown]
# ## 3 · Smooth, or few?
#
# On five draws of texts and SAEs. *Smoothest*: the fifth of the plain SAE's atoms that is smoothest, chosen afterwards.
# Few atoms that are always on would be smooth, too; so see how many are in use, and what R² says.

# %%
found = recorded("t_sae")
found.table("smooth")

# %% [markdown]
# ## 4 · Do they hold the topic?
#
# A probe reads ten atoms for each of six topics, at single tokens of held-out text.

# %%
found.table("topics read")

# %% [markdown]
# More than a plain SAE's, and as much as the codes that Temporal predicts from the past (17).
#
# And the other way: the atom that goes most with a topic, pushed until the next token has moved by half a nat. How much more
# probable does that make the topic's words?

# %%
found.table("topics written")

# %% [markdown]
# Ahead, but not by enough to be sure. The plain difference of two means writes the topic better than any single atom.
#
# On SmolLM2, with four sources of text as topics, the lines were the same: smoother on every seed, but by less than they ask.

# %%
larger = recorded("t_sae_smollm2")
larger.table("sources read")

# %% [markdown]
# ## 5 · Say it

# %%
exercise("37.3")

# %% tags=["exercise"]
said = ...
exercise("37.3").write(said)

# %% tags=["exercise"]
points = ...
exercise("37.3").score(points)

# %% [markdown]
# ## 6 · The checked numbers

# %%
assert smooth["high"] > smooth["plain"] + 0.1
assert smooth["high"] > smooth["low"] + 0.1
assert found.verdict("smooth") == "holds"
assert found.verdict("topics read") == found.verdict("topics written") == "partly"
assert larger.verdict("smooth") == "partly"
assert larger.verdict("sources read") == "holds"
exercise_report("37")

# %% [markdown]
# ## Read further
#
# - Bhalla, Oesterling et al., *Temporal Sparse Autoencoders* (arXiv 2511.05541): the term, and steering with it.
# - van den Oord et al., *Representation Learning with Contrastive Predictive Coding* (arXiv 1807.03748): InfoNCE.
# - Lubana et al., *Priors in Time* (arXiv 2511.01836): the other temporal SAE (17), which reads the past.
