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
# # Say it, push it, watch it
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/35_say_it_push_it_watch_it.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/35_say_it_push_it_watch_it.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/35_say_it_push_it_watch_it.html)
#
# You need 05; 30 minutes with the exercises, 10 seconds of computing (40 on SmolLM2). Afterwards you can make a direction from two
# lists of texts, say whether to believe it, push it at a known cost, and watch it while the model writes.
#
# No SAE is needed for the commonest question: "give me the direction of *this*". Two lists of texts say what you mean. But
# any two lists give a direction. Which of them are worth pushing?
#
# The model is SmolLM2-135M where `sae-nb get smollm2-135m` fetched it, else `tiny-gpt`, which knows small stories.

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
from sae_nb_widgets.panel import figure_widget

# %%
one = moods.moods()
print(one.model.name, "at", one.hook_point)
pd.DataFrame({"glad": one.texts[0], "sad": one.texts[1]})

# %% [markdown]
# ## 1 · Say it
#
# Eight glad texts, eight sad ones. Their states at one hook point have two means; the direction is the difference. With so
# few texts the difference may be about anything. What would show that it is about the mood?

# %%
exercise("35.1")


# %% tags=["exercise"]
def agreement(x, y, half):
    return ...


exercise("35.1").check(agreement)

# %%
d = moods.said(one)
print(d)
d.table

# %% [markdown]
# The first row is yours, over 20 splits; *shuffled* deals the texts to the groups at random (95th percentile). The second row
# asks whether the direction separates texts that it was not fitted on. How high is the bar there?

# %%
exercise("35.2")

# %% tags=["exercise"]
guess = ...
exercise("35.2").predict(guess)

# %% tags=["exercise"]
exercise("35.2").reveal()

# %% [markdown]
# And texts with other happenings, or other words, that no part of it has seen? Zero is half-way between the two means.

# %%
along = moods.along_others(one, d)
along

# %% [markdown]
# ## 2 · Push it
#
# A push adds the direction to every state, glad or not. A cap acts where there is too much of it.

# %%
exercise("35.3")


# %% tags=["exercise"]
def capped(x, v, most):
    return ...


exercise("35.3").check(capped)

# %% [markdown]
# A fair comparison: the cap at what neutral texts have at their median, and a push, and a push behind a gate, each as strong
# as it takes to move the answers to glad texts equally far. What do the three do to neutral texts? *Moved*: log-odds of sad next
# words against glad ones. *Cost*: KL on neutral texts, nats a token.

# %%
costs = moods.costs(one, d, n=4)
costs.style.format("{:.3f}")

# %%
exercise("35.4")

# %% tags=["exercise"]
guess = ...
exercise("35.4").predict(guess)

# %% tags=["exercise"]
exercise("35.4").reveal()

# %%
recorded("capping").table()

# %% [markdown]
# ## 3 · Watch it
#
# A monitor reads the direction at each token while the model reads and writes. A value means nothing alone: neutral texts give
# the usual range, from the 5th to the 95th percentile of their tokens. Next to it a random direction.

# %%
meter = moods.monitor(one, d)
seen = moods.watched(one, meter)
figure_widget(draw_chart(moods.watch_chart(seen)), height=340)

# %%
means = moods.where_read(one, seen)
means.style.format("{:+.2f}")

# %% [markdown]
# The line at ±1 is the end of the usual range; the table has the values where the direction was read. On `tiny-gpt` that is one
# place, "was very", and there it leaves the range, up and down; at other tokens it is a direction like any other. On SmolLM2 it
# was read at all tokens, and their mean is above or below while the model writes on.
#
# Is it a good detector of texts? That is another question, and one direction of eight texts is a weak one: 34, and
# `meter.report` (how-to "A direction from examples").
#
# ## 4 · Say what you found

# %%
exercise("35.5")

# %% tags=["exercise"]
found = ...
exercise("35.5").write(found)

# %% tags=["exercise"]
points = ...
exercise("35.5").score(points)

# %% [markdown]
# ## 5 · The checked numbers

# %%
gap = means.loc["glad"] - means.loc["sad"]
assert d.agrees
assert d.separation > 0.9
assert along.glad.min() > along.sad.max()
assert (costs.moved[["adding", "the gate"]] / costs.moved["cap"]).between(0.9, 1.1).all()
assert costs.cost["cap"] < 0.8 * costs.cost["adding"]
assert costs.cost["the gate"] < 0.8 * costs.cost["adding"]
assert abs(costs.moved["a random cap"]) < 0.1 * costs.moved["cap"]
assert gap["mood"] > 1.5 * abs(gap["random"])
exercise_report("35")

# %% [markdown]
# ## Read further
#
# - Marks and Tegmark, *The Geometry of Truth* (arXiv 2310.06824): directions as differences of means.
# - Zou et al., *Representation Engineering* (arXiv 2310.01405): reading and pushing from pairs of prompts.
# - Lu et al. (arXiv 2601.10387): capping a direction instead of pushing it.
