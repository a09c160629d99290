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
# # Patching: which places decide an answer?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/07_patching.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/07_patching.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/07_patching.html)
#
# You need a loop and a forward hook of torch; 35 minutes with the exercises, 15 seconds of computing. Afterwards
# you can write activation patching from nothing, read an effect against its control, and name a place that an
# estimate misses. The model is `tiny-induction`, whose circuit is known; the end asks SmolLM2 where you have it.

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

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · Two texts that differ in one thing
#
# `tiny-induction` has two blocks of four heads. It continues a text of letters: after a letter that occurred
# before, it answers with what followed it then. In the corrupted text two letters have changed places, so that
# another successor is right.

# %%
induction = sn.load_model("tiny-induction")
pairs = sn.data.prompt_pairs("induction", 8, seed=0, model=induction)
print("clean    ", pairs.clean[0], "→", pairs.targets[0])
print("corrupted", pairs.corrupted[0], "→", pairs.others[0])

# %% [markdown]
# The answer is measured by one number: the logit of the clean text's answer less that of the corrupted one's.

# %%
given = induction, list(pairs.clean), list(pairs.corrupted), pairs.answers
states = sn.circuits.patch(*given, sites="resid", progress=False)
print(f"clean {states.clean:+.1f}, corrupted {states.corrupted:+.1f}")

# %% [markdown]
# ## 2 · Put a state of one run into the other
#
# Run the clean text and keep its states. Run the corrupted text again and again, each time with one clean state at
# one place. Where the answer comes back, the difference passes. The loop is yours:

# %%
exercise("07.1")


# %% tags=["exercise"]
def patch_map(module, blocks, clean, corrupted, measure):
    # clean run: a hook on each block keeps its state
    # corrupted run, for each block and position: a hook puts the clean state there
    return ...


exercise("07.1").check(patch_map)

# %% [markdown]
# The toolkit's map, on eight pairs. Its rows are states *before* a block, so that its row 1 is your row 0, what block
# 0 returns. A cell is the share that comes back: 1 is all. Before block 0 the difference lies where the letters
# changed places; before block 1, one position further.

# %%
states.plot()

# %% [markdown]
# ## 3 · Which head moves it?
#
# Exchange what one head writes, at all positions together.

# %%
heads = sn.circuits.patch(*given, sites="heads", progress=False)
heads.table[["layer", "head", "effect"]]

# %% [markdown]
# Head 0.2 alone is enough. Each head of block 1 brings a fifth: they do the same, side by side.
#
# ## 4 · The control
#
# Is 1.0 much? Every state that is put there disturbs the run. Put states of *another* pair there: a clean text as
# well, with other letters. How much of the difference comes back?

# %%
exercise("07.2")

# %% tags=["exercise"]
guess = ...
exercise("07.2").predict(guess)

# %% tags=["exercise"]
exercise("07.2").reveal()

# %%
heads.plot()

# %% [markdown]
# ## 5 · Enough, or needed?
#
# So far clean states went into the corrupted run: places that are *enough*. The other way round, corrupted states
# go into the clean run, and show what is *needed*. Heads that replace each other are enough and not needed.

# %%
noised = sn.circuits.patch(*given, sites="heads", direction="noise", progress=False)
both = {"enough": heads.effect.ravel(), "needed": noised.effect.ravel()}
pd.DataFrame(both, index=[f"{layer}.{head}" for layer in range(2) for head in range(4)]).T

# %% [markdown]
# ## 6 · One backward pass for all
#
# An exact map runs the model once for each place. The slope of the answer by every state costs one backward pass:
# state difference times slope is an estimate for all places at once. What does it say of head 0.2?

# %%
exercise("07.3")

# %% tags=["exercise"]
guess = ...
exercise("07.3").predict(guess)

# %% tags=["exercise"]
exercise("07.3").reveal()

# %%
print(f"correlation of exact effects and estimates: {heads.agreement:.2f}")
heads.table[["layer", "head", "effect", "estimated"]]

# %% [markdown]
# ## 7 · Where does it act?
#
# The panel does all of this: choose *heads by position* in `exchange`. A click on a cell gives its exact effect, its
# estimate and its control.

# %%
panel = sw.PatchingPanel(induction)
panel.n_pairs = 8
panel

# %%
exercise("07.4")

# %% tags=["exercise"]
positions = ...
exercise("07.4").check(positions)

# %% [markdown]
# ## 8 · A real model
#
# `sae-nb get smollm2-135m` in a terminal fetches one (93 MB, once). Without it the same is asked of `tiny-induction`
# once more.

# %%
try:
    model, kind = sn.load_model("smollm2-135m"), "agreement"
except FileNotFoundError:
    model, kind = induction, "induction"
pair = sn.data.prompt_pairs(kind, 1, seed=2, model=model)
print(model.name, "clean:", pair.clean[0], "→", pair.targets[0])
print("corrupted:", pair.corrupted[0], "→", pair.others[0])

# %%
asked = model, pair.clean[0], pair.corrupted[0], pair.answers[0]
found = sn.circuits.patch(*asked, sites="heads", progress=False)
print("measured on", model.name, "·", found)

# %% [markdown]
# On SmolLM2 heads 26.0 and 27.8 carry the number of a noun to its verb, and the estimate is good: it correlates with
# the exact effects at 0.96 to 1.00 over three pairs. Late heads are far from saturated.

# %%
found.plot()

# %% [markdown]
# ## 9 · The checked numbers

# %%
panel.sites = "heads_by_position"
panel.wait()
first = panel.found.table.head(2)
assert states.clean > 10 > -10 > states.corrupted
assert heads.table.iloc[0][["layer", "head"]].tolist() == [0, 2]
assert min(heads.effect[0, 2], noised.effect[0, 2]) > 0.9
assert (heads.effect[1] > 0.1).all(), "all of block 1 take part"
assert 0.3 < heads.control[0, 2] < 0.6, "breaking alone gives about a half"
assert abs(heads.estimated[0, 2]) < 0.15, "the slope misses it"
assert {*zip(first["head"], first.position, strict=True)} == {(2, 3), (2, 7)}

# %%
assert abs(found.effect).max() > abs(found.control).max()
exercise_report("07")

# %% [markdown]
# **To read.** *Towards Best Practices of Activation Patching in Language Models* (arXiv 2309.16042): how corruption
# and metric change what is found; *How to Use and Interpret Activation Patching* (arXiv 2404.15255): what denoising
# and noising each show; *AtP** (arXiv 2403.00745): where the slope misses a place, and repairs.
