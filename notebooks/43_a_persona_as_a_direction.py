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
# # A persona as a direction
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/43_a_persona_as_a_direction.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/43_a_persona_as_a_direction.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/43_a_persona_as_a_direction.html)
#
# You need 35; 45 minutes with the exercises, 20 seconds of computing (60 on SmolLM2). Afterwards you can watch a manner of
# speaking token by token, push, cap and gate it, and say what that costs texts that have nothing of it, next to random
# directions that are pushed as far.
#
# A model that talks has a manner, and people want to change it: more formal, less flattering. Chen et al. call such a
# direction a persona vector, and watch and push it. Here the manner is informal English against formal. You found such a
# direction in 35; the question now is who pays. (SmolLM2-135M-Instruct, `sae-nb get smollm2-135m`. Without it `tiny-gpt`
# is asked, on glad and sad stories, and the record shows SmolLM2.)

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

from sae_nb.figures import draw_chart
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.studies import moods
from sae_nb_lessons.studies.persona import edited, persona, written
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.3f}".format
pd.options.display.max_colwidth = 110

# %% [markdown]
# ## 1 · Say it
#
# Eight beginnings in each of two manners. On SmolLM2 a pair says the same twice: what it is about stands on both sides, so
# the difference of the means has little of it.

# %%
one = persona()
print(one.model.name, "at", one.hook_point)
pd.DataFrame(dict(zip(one.groups, one.texts)))

# %%
d = moods.said(one)
print(d)
d.table

# %% [markdown]
# As in 35, the best of a hundred random directions comes close. And a formal text is longer: how often the longer one of
# two texts is the formal one needs no model at all. So to separate texts is not what makes the direction worth anything.
# Five draws of SmolLM2, each fitted on eight pairs and tried on eight others:

# %%
record = recorded("persona")
apart = {
    "AUC on other contents": "AUC on other contents",
    "fitted texts, left out in turn": "held-out AUC",
    "floor: best of 20 random directions": "held-out AUC, best of 20 random",
    "floor: length of the text": "AUC of lengths",
}
record.brief(apart)

# %% [markdown]
# ## 2 · Watch it
#
# How much of the direction is in a token, and is that unusual? Ordinary prose says what is usual:

# %%
exercise("43.1")


# %% tags=["exercise"]
def readings(x, v, neutral):
    return ...


exercise("43.1").check(readings)

# %% [markdown]
# So a monitor reads it while the model reads one beginning of each manner, which the direction was not fitted on, and writes on.
# The line at ±1 is the end of the usual range. Next to it a random direction.

# %%
meter = moods.monitor(one, d)
seen = moods.watched(one, meter, n_new=12)
figure_widget(draw_chart(moods.watch_chart(seen, one.trait)), height=340)

# %%
means = moods.where_read(one, seen)
means

# %% [markdown]
# ## 3 · Change it
#
# Three edits can take a manner away: a *push* along the direction at every token; a *cap*, which takes off what is above the
# median of prose (you wrote it in 35); a push behind a *gate*. What they move is read off the next word:

# %%
exercise("43.2")


# %% tags=["exercise"]
def log_odds(logits, up, down):
    return ...


exercise("43.2").check(log_odds)

# %% [markdown]
# The gate opens where the direction is above the median of prose, where also the cap stands:

# %%
exercise("43.3")


# %% tags=["exercise"]
def gated(x, v, by, over):
    return ...


exercise("43.3").check(gated)

# %% [markdown]
# And what they cost is read off texts in which nothing was to be changed:

# %%
exercise("43.4")


# %% tags=["exercise"]
def cost(clean, edited):
    return ...


exercise("43.4").check(cost)

# %% [markdown]
# On the model at hand. Both pushes are made as strong as it takes to move the answer as far as the cap does. A floor pushes random
# directions by the same length, at the same tokens.

# %%
table = edited(one, d)
table

# %% [markdown]
# This is what the model writes after a beginning of the first manner. It is one text: look, and believe the table.

# %%
written(one, d, table)

# %% [markdown]
# Now SmolLM2, in the mean of five draws of the pairs and of the prose. Say first what the floor costs:

# %%
exercise("43.5")

# %% tags=["exercise"]
guess = ...
exercise("43.5").predict(guess)

# %% tags=["exercise"]
exercise("43.5").reveal()

# %%
moved = {
    "moved by the cap": "moved of capping",
    "moved by the push": "moved of adding",
    "floor: by random directions, as far": "moved of random adding",
    "floor: by the best of three": "most of random adding",
}
record.brief(moved)

# %%
paid = {
    "cost of the cap": "cost of capping",
    "cost of the push": "cost of adding",
    "floor: random directions, as far": "cost of random adding",
    "cost of the gated push": "cost of gating",
    "floor: random directions behind the gate": "cost of random gating",
}
record.brief(paid)

# %%
exercise("43.6")

# %% tags=["exercise"]
because = ...
exercise("43.6").check(because)

# %% [markdown]
# ## 4 · Say it
# %%
exercise("43.7")

# %% tags=["exercise"]
found = ...
exercise("43.7").write(found)

# %% tags=["exercise"]
points = ...
exercise("43.7").score(points)

# %% [markdown]
# ## 5 · The checked numbers

# %%
gap = means.loc[one.groups[0]] - means.loc[one.groups[1]]
assert d.agrees
assert gap[one.trait] > 1.5 * abs(gap["random"])
assert (table.moved[["push", "gated push"]] / table.moved["cap"]).between(0.9, 1.1).all()
assert table.moved["floor: random push"] < 0.5 * table.moved["push"]
assert table.cost["cap"] < table.cost["push"]
assert table.cost["gated push"] < table.cost["push"]
assert record.low("moved of adding") > record.high("most of random adding")
assert record.high("cost of capping as a share of adding's") < 0.5

# %%
exercise_report("43")

# %% [markdown]
# **To read.** *Persona Vectors* (arXiv 2507.21509): traits of a chat model found from instructions, watched and steered; Lu et al.
# (arXiv 2601.10387): capping along a persona direction; *Steering Language Models With Activation Engineering* (arXiv 2308.10248): a
# direction from one pair of prompts.
