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
# # Which knob is clean?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/44_which_knob_is_clean.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/44_which_knob_is_clean.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/44_which_knob_is_clean.html)
#
# You need 05; 30 minutes with the exercises, 9 seconds of computing. Afterwards you can measure whether an atom does the same to
# every text and over how many words it spreads, and judge a forecast of both by atoms it has not seen, next to single columns and
# shuffles.
#
# An atom is a knob that someone will turn. Will it do the same to every text, or something else to each? After a push one can
# look. A paper (arXiv 2606.08365) says that this can be predicted, from where an atom lies and how it fires. Can it?

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

from sae_nb.figures import draw_chart
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.studies.knobs import knobs, length_chart, told
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.3f}".format

# %% [markdown]
# ## 1 · Push it
#
# Eight texts, one atom, added at every token. What does it do to the next word? First: does it do the same in all eight?

# %%
one = knobs()
print(one.model.name, "and", one.sae)

# %%
exercise("44.1")


# %% tags=["exercise"]
def stability(change):
    return ...


exercise("44.1").check(stability)

# %% [markdown]
# Second: over how many words does it spread?

# %%
exercise("44.2")


# %% tags=["exercise"]
def spread(clean, pushed):
    return ...


exercise("44.2").check(spread)

# %% [markdown]
# ## 2 · How far?
#
# As strong as it is where it fires strongly, its own p99: so people push it. But one atom then moves the answers much further than
# another, and spread depends on the length of a push. So it is compared at equal KL:

# %%
exercise("44.3")


# %% tags=["exercise"]
def amount(kl_at, target):
    return ...


exercise("44.3").check(amount)

# %% [markdown]
# `sn.forecast` pushes a hundred atoms drawn at random both ways. `came_stability` is read at p99, `came_spread` at a KL of .1; `kl` is how
# far p99 moved the answers, in nats, and `push` how much of the atom made .1.

# %%
found = told()
came = found.table.dropna(subset="came_stability")
came[["came_stability", "kl", "p99", "came_spread", "push"]].describe().loc[["min", "50%", "max"]]

# %% [markdown]
# Their mean, and that of random directions, as long as the median p99 or at the same KL:

# %%
found.fits[["mean", "random"]]

# %% [markdown]
# On this model atoms are, in the mean, no steadier than random directions (dashed). An atom's p99, the strength that one in a hundred of
# its firings exceeds, is the length of its push. Are long pushes less steady?

# %%
figure_widget(draw_chart(length_chart(found)), height=340)

# %% [markdown]
# ## 3 · Predict it
#
# Nine numbers are known of every atom before any push: neighbours, how often and how strongly it fires, with whom, and its direct
# effect on the words. A regression on those of the atoms that were pushed foretells others. It counts only on atoms that it has not
# seen:

# %%
exercise("44.4")


# %% tags=["exercise"]
def held_out(fit, x, y, fold):
    return ...


exercise("44.4").check(held_out)

# %% [markdown]
# And only beyond what shuffled numbers reach:

# %%
exercise("44.5")


# %% tags=["exercise"]
def beyond(foretell, rank, y, orders):
    return ...


exercise("44.5").check(beyond)

# %%
found.fits[["rank", "by density", "by p99", "shuffled", "foretold"]]

# %%
exercise("44.6")

# %% tags=["exercise"]
because = ...
exercise("44.6").check(because)

# %% [markdown]
# ## 4 · A model of the real kind
#
# SmolLM2-135M after block 16, five draws of a hundred atoms and eight texts. Say first:

# %%
exercise("44.7")

# %% tags=["exercise"]
guess = ...
exercise("44.7").predict(guess)

# %% tags=["exercise"]
exercise("44.7").reveal()

# %%
record = recorded("clean_pushes")
alike = {
    "stability at p99, held out": "stability, rank",
    "floor: by density alone": "stability, by density",
    "floor: by p99 alone": "stability, by p99",
    "control: largest of 20 shuffles": "stability, shuffled",
    "neighbours of cosine > .2 alone, no fit": "stability, by neighbours",
    "spread at equal KL, held out": "spread, rank",
}
record.brief(alike)

# %%
steady = {
    "stability of atoms": "stability, mean",
    "floor: of random directions": "stability, random",
    "third foretold highest": "stability, upper",
    "third foretold lowest": "stability, lower",
}
record.brief(steady)

# %% [markdown]
# As on tiny-gpt, one column does what all nine do; here it is density. Unlike there, atoms are in the mean steadier than random
# directions, in every draw.
#
# Elsewhere in the same model, after blocks 9 and 23:

# %%
elsewhere = recorded("clean_pushes_blocks")
columns = {
    "stability, held out": "stability, rank",
    "floor: by density alone": "stability, by density",
    "control: largest of 20 shuffles": "stability, shuffled",
    "neighbours alone, no fit": "stability, by neighbours",
}
elsewhere.brief({f"block 9, {said}": f"block 9, {name}" for said, name in columns.items()})

# %%
elsewhere.brief({f"block 23, {said}": f"block 23, {name}" for said, name in columns.items()})

# %% [markdown]
# In the mean density alone predicts less there than the largest shuffle. The number of near neighbours predicts something, and after
# block 23 the other way round: which column does, and in which direction, has to be fitted again at each place.

# %% [markdown]
# ## 5 · Say it

# %%
exercise("44.8")

# %% tags=["exercise"]
found_out = ...
exercise("44.8").write(found_out)

# %% tags=["exercise"]
points = ...
exercise("44.8").score(points)

# %% [markdown]
# ## 6 · The checked numbers

# %%
row = found.fits.loc["stability"]
assert row["rank"] > row["shuffled"] + 0.1
assert row["by p99"] > row["rank"] - 0.1
assert row["by density"] < 0.1
assert row["mean"] < row["random"] + 0.02
by_density = record.of("stability, by density").mean
assert record.of("stability, shuffled").mean + 0.1 < record.of("stability, rank").mean
assert record.of("stability, rank").mean < by_density + 0.1
assert record.of("spread, rank").mean < record.of("spread, shuffled").mean
assert (record.seeds("stability, mean") > record.seeds("stability, random")).all()
for block in (9, 23):
    by_shuffle = elsewhere.of(f"block {block}, stability, shuffled").mean
    assert elsewhere.of(f"block {block}, stability, by density").mean < by_shuffle
    assert elsewhere.of(f"block {block}, stability, rank").mean > 0.25
assert (elsewhere.seeds("block 9, stability, by neighbours") > 0).all()
assert (elsewhere.seeds("block 23, stability, by neighbours") < 0).all()

# %%
exercise_report("44")

# %% [markdown]
# **To read.** *Pre-Intervention Prediction of Sparse Autoencoder Steering Side Effects* (arXiv 2606.08365): which numbers foretell how
# stable an atom's effect is and how far it spreads. [Which atoms push cleanly?](../docs/howto/which-atoms-push-cleanly.md)
# is the page of `sn.forecast`.
