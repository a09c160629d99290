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
# # A published circuit, in another model
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/42_a_published_circuit.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/42_a_published_circuit.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/42_a_published_circuit.html)
#
# You need 32; 35 minutes with the exercises, 10 seconds of computing (20 on SmolLM2). Afterwards you can find heads by where
# they look, exchange a whole kind of them, say what such an exchange cannot see, and hold a published story against
# another model.
#
# In 32 you went from the answer back, head by head. Here you begin with a story: Wang et al. found in GPT-2 small 26 heads
# of seven kinds that complete “When Mary and John went to the shop, John gave a drink to” with *Mary*. Does the story hold in
# SmolLM2-135M? (`sae-nb get smollm2-135m`. Without it `tiny-induction` is asked, on letters, and the records show SmolLM2.)

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
from sae_nb_lessons.studies.story import exchanged as bring, story

pd.options.display.float_format = "{:.2f}".format
pd.options.display.max_colwidth = 90

# %% [markdown]
# ## 1 · The story
#
# Two names, and one of them comes again. *Duplicate-token heads* look from the second mention to the first and note “it was
# here”. *Induction heads* do the same one place further on; they need *previous-token heads*, which say at each token what stood
# before it. *S-inhibition heads* carry this to the end: “not that one”. There *name movers* look at the name that is left, and
# write it. Each kind is known by where it looks:

# %%
exercise("42.1")


# %% tags=["exercise"]
def looks(patterns, place, source):
    return ...


exercise("42.1").check(looks)

# %% [markdown]
# The heads whose look, in the mean over six pairs of texts, holds at least .4 of their attention. On letters the second mention
# is the end, so that two kinds are left.

# %%
one = story()
print(one.model.name)
one.table

# %% [markdown]
# ## 2 · Does the answer need them?
#
# In the corrupted text the other name comes again, so that the other answer is right. Let all heads of one kind write what they
# write there, in the run on the clean text. A share of 1: the answer is now that of the corrupted text.

# %%
exercise("42.2")


# %% tags=["exercise"]
def exchanged(clean, corrupted, heads, n_heads):
    return ...


exercise("42.2").check(exchanged)

# %% [markdown]
# Name movers first. Say what you expect of SmolLM2:

# %%
exercise("42.3")

# %% tags=["exercise"]
guess = ...
exercise("42.3").predict(guess)

# %% tags=["exercise"]
exercise("42.3").reveal()

# %% [markdown]
# All kinds, on the model at hand. The control exchanges as many *others* of the same layers, three times (*most*: the largest
# share of the three); where a layer has no others, there is none.

# %%
found = bring(one)
found

# %% [markdown]
# ## 3 · Five draws
#
# The same on SmolLM2, with five draws of names, places and gifts:

# %%
heads = recorded("name_heads")
shares = {
    "name movers": "movers",
    "control: others of their layers": "movers, random",
    "S-inhibition": "inhibition",
    "control: others of those layers": "inhibition, random",
    "induction": "induction",
    "duplicate tokens": "duplicate",
}
heads.brief(shares)

# %% [markdown]
# The roles differ. In GPT-2 the name movers do the last step; here they bring next to nothing, less than others of their
# layers. The heads that look at the *repeated* name bring it all, induction heads a part of it, duplicate-token heads nothing.
#
# And one kind brings nothing at all:

# %%
exercise("42.4")

# %% tags=["exercise"]
because = ...
exercise("42.4").check(because)

# %% [markdown]
# ## 4 · Are they enough?
#
# Needed is one question, enough is another (07).

# %%
exercise("42.5")

# %% tags=["exercise"]
guess = ...
exercise("42.5").predict(guess)

# %% tags=["exercise"]
exercise("42.5").reveal()

# %%
whole = {
    "heads of all kinds": "needed, heads",
    "needed: exchanged in the clean run": "needed",
    "control: others of their layers": "needed, random",
    "enough: put into the corrupted run": "enough",
    "control: others of their layers, put in": "enough, random",
    "previous-token heads alone": "previous",
}
heads.brief(whole)

# %% [markdown]
# ## 5 · Say it

# %%
exercise("42.6")

# %% tags=["exercise"]
said = ...
exercise("42.6").write(said)

# %% tags=["exercise"]
points = ...
exercise("42.6").score(points)

# %% [markdown]
# ## 6 · The checked numbers

# %%
together, into = found.iloc[-2], found.iloc[-1]
assert together.share > together.most + 0.5
assert into.share > into.most + 0.5
assert heads.low("inhibition") > heads.high("movers")
assert heads.high("duplicate") < 0.1
if one.model.name == "tiny-induction":
    assert one.kinds == {"movers": [(1, head) for head in range(4)], "previous": [(0, 2)]}

# %%
exercise_report("42")

# %% [markdown]
# **To read.** *Interpretability in the Wild* (arXiv 2211.00593): the story; *Circuit Component Reuse Across Tasks* (arXiv
# 2310.08744): its heads in another task; *Towards Best Practices of Activation Patching* (arXiv 2309.16042): what a corrupted text
# lets you see.
