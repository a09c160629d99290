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
# You need loops and torch's forward hooks; 35 minutes with the exercises, 15 seconds of computing. Afterwards
# you can write activation patching in plain torch, read an effect against its control, and spot a place that an
# estimate misses. The model is `tiny-induction`, whose circuit is known; section 8 asks SmolLM2, if you have it.

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

pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## 1 · Two texts that differ in one thing
#
# `tiny-induction` has two blocks of four heads. It continues a row of letters: when a letter comes up again, it
# answers with whatever followed it the first time. In the corrupted text two letters have swapped places, so a
# different answer is right.

# %%
induction = sn.load_model("tiny-induction")
pairs = sn.data.prompt_pairs("induction", 8, seed=0, model=induction)
print("clean    ", pairs.clean[0], "→", pairs.targets[0])
print("corrupted", pairs.corrupted[0], "→", pairs.others[0])

# %% [markdown]
# One number measures the answer: the [logit](../docs/glossary.md#words-of-the-field) of the clean text's answer minus
# that of the corrupted text's, here in the mean over eight pairs.

# %%
given = induction, list(pairs.clean), list(pairs.corrupted), pairs.answers
states = sn.circuits.patch(*given, sites="resid", progress=False)
print(f"clean {states.clean:+.1f}, corrupted {states.corrupted:+.1f}")

# %% [markdown]
# ## 2 · Put a state of one run into the other
#
# Run the clean text and keep its states. Then run the corrupted text again and again, each time with one clean
# state put in one place, and see how much of the answer comes back. `measured` puts hooks on and takes them off; you
# write the hooks and the loop:

# %%
exercise("07.1")


# %% tags=["exercise"]
def patch_map(module, blocks, clean, corrupted, measure):
    def measured(ids, hooks):  # {block: hook}
        handles = [block.register_forward_hook(hook) for block, hook in hooks.items()]
        number = measure(module(ids))
        for handle in handles:
            handle.remove()
        return number

    # clean run: a hook on each block keeps its state
    # corrupted run, for each block and position: a hook puts the clean state there
    return ...


exercise("07.1").check(patch_map)

# %% [markdown]
# This is the toolkit's map, averaged over eight pairs. Its rows are states *before* a block, so its row 1 is your row
# 0: what block 0 returns. Each cell is the share that comes back; 1 is all of it. On the left (the right comes in
# section 4) it comes back, before block 0, where the letters were swapped, at positions 2 and 6 (the start token is 0),
# and before block 1 one position on, at 3 and 7: about half of it at each place.

# %%
states.plot()

# %% [markdown]
# ## 3 · Which head moves it?
#
# An [attention head](../docs/glossary.md#words-of-the-field) looks from one position at others and writes what it finds
# there. Head 0.2 is head 2 of block 0. Now exchange what one head writes, at all positions together.

# %%
heads = sn.circuits.patch(*given, sites="heads", progress=False)
heads.table[["layer", "head", "effect"]]

# %% [markdown]
# Head 0.2 is enough on its own. Each head of block 1 brings back about a fifth (controls: section 5). In the known circuit (section 6 of 08) head
# 0.2 writes at each letter which one came before, and by that the heads of block 1 choose where to look.
#
# ## 4 · The control
#
# Is 1.0 a lot? Any state you put there disturbs the run. So put in the states of *another* pair: a clean text too,
# but with other letters. How much of the difference comes back?

# %%
exercise("07.2")

# %% tags=["exercise"]
guess = ...
exercise("07.2").predict(guess)

# %% tags=["exercise"]
exercise("07.2").reveal()

# %%
print(f"head 0.2: {heads.effect[0, 2]:.2f}, control {heads.control[0, 2]:.2f}")
for at in (3, 7):
    effect, control = states.effect[1, at], states.control[1, at]
    print(f"state before block 1 at {at}: {effect:.2f}, control {control:.2f}")
heads.plot()

# %% [markdown]
# So what comes back can be mere damage. At 7 stands the corrupted text's answer: there another text's state brings back
# as much as the clean one, by taking that answer away. At 3 stands the clean text's answer: there only the clean state
# brings much back.
#
# ## 5 · Enough, or needed?
#
# So far clean states went into the corrupted run, which shows the places that are *enough*. The other way round,
# corrupted states go into the clean run and show what is *needed*. Mere damage looks like *needed*, too, so read each
# row against its control. Here the two agree: head 0.2 is both, with about twice the effect of its controls, and the
# heads of block 1 are neither on their own.

# %%
noised = sn.circuits.patch(*given, sites="heads", direction="noise", progress=False)
both = {"enough": heads.effect, "its control": heads.control}
both |= {"needed": noised.effect, "control of needed": noised.control}
names = [f"{layer}.{head}" for layer in range(2) for head in range(4)]
pd.DataFrame({row: values.ravel() for row, values in both.items()}, index=names).T

# %% [markdown]
# ## 6 · One backward pass for all
#
# An exact map runs the model once for each place. *Attribution* runs it backward once, which gives the slope of the
# answer for every state; slope times difference of states estimates all places at once. What does it say about head
# 0.2?

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
# Over these eight heads the correlation is negative: by the estimate you would look at block 1 and pass head 0.2 over.
#
# ## 7 · Where does it act?
#
# The panel makes such maps: choose *heads by position* in `exchange`. Click a cell to see its exact effect, its
# estimate and its control, here the least and the most of 19 draws of other pairs. Over all 96 places the correlation is
# .30, and head 0.2 is missed all the same: 50 % measured, 0 % estimated.

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
# `sae-nb get smollm2-135m` in a terminal fetches one (93 MB, once). Without it, `tiny-induction` is asked again. With
# one pair there is no other pair to take states from, so the control changes: each state is moved as far as the clean
# one is, in a *random direction*. That rarely breaks the wrong answer, so expect a lower control than in §4.

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
print("control:", found.control_source, "· above it was:", heads.control_source)
found.table.head(4)

# %% [markdown]
# In tiny-induction head 0.2 brings the answer back again, far above random directions (at most .10; in section 4 another
# text's states had .45), and the estimate misses it again. With SmolLM2 we found two heads that stand out, 26.0 and 27.8,
# and a correlation above .9; what they carry this does not show. So before you trust a slope, hold it against some exact
# effects of the same model.

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
assert states.control[1, 3] < 0.1 < 0.4 < states.control[1, 7]
assert abs(heads.estimated[0, 2]) < 0.15, "the slope misses it"
assert {*zip(first["head"], first.position, strict=True)} == {(2, 3), (2, 7)}

# %%
two = {*zip(found.table["layer"][:2], found.table["head"][:2], strict=True)}
assert model is induction or two == {(26, 0), (27, 8)}
assert abs(noised.control[0, 2] - 0.5) < 0.1, "damage alone is half of needed"
assert abs(found.effect).max() > 3 * abs(found.control).max()
assert (found.agreement > 0.9) == (model is not induction)
exercise_report("07")

# %% [markdown]
# **To read.** *Towards Best Practices of Activation Patching in Language Models* (arXiv 2309.16042): how corruption
# and metric change what is found; *How to Use and Interpret Activation Patching* (arXiv 2404.15255): what denoising
# and noising each show; *AtP** (arXiv 2403.00745): where the slope misses a place, and repairs.
