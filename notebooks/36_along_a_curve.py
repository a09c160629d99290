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
# # Along a curve
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/36_along_a_curve.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/36_along_a_curve.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/36_along_a_curve.html)
#
# You need 33; 35 minutes with the exercises, 10 seconds of computing (20 on SmolLM2). Afterwards you can fit a curve through the
# states of an ordered concept, move states along it, and say whether the curve is the network's or your own.
#
# A direction is a straight line. Sums modulo 53, days and months come round again: pushed on and on along a line, a
# state leaves what the model knows. Papers that steer along curves show walks from Monday to Sunday. When is such a curve
# more than a line through known points?

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
import numpy as np
import pandas as pd
import torch

import sae_nb as sn
from sae_nb.figures import draw_chart
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.studies import curves
from sae_nb_studies.reproductions.experiments import curve_modular, curve_words
from sae_nb_widgets.panel import figure_widget

# %%
pd.options.display.float_format = "{:.2f}".format
adder = sn.load_model("tiny-modular")
means = curve_modular.states(adder)
order = np.random.default_rng(0).permutation(53)
known, left = np.sort(order[:27]), np.sort(order[27:])
print("known   ", *known)
print("left out", *left)

# %% [markdown]
# ## 1 · A curve through half of the sums
#
# `tiny-modular` adds modulo 53 (33). At "=", after its first block, its state depends on the sum: `means` holds the mean
# state of each of the 53. You get 27 of them. What are the other 26?

# %%
exercise("36.1")


# %% tags=["exercise"]
def fitted(means, values, frequencies, period, at):
    return ...


exercise("36.1").check(fitted)

# %% [markdown]
# `sn.geometry.curve` does this, and chooses the frequencies by what foretells values that are left out:

# %%
c = sn.geometry.curve(means[known], known, closed=True, period=53)
print(c)

# %% [markdown]
# Its frequencies are those of the embedding in 33. Here is the plane of the fastest. Sum 25 was left out, 24 and 26 are
# known: see how far the path goes around, and where the middle of the straight line is.

# %%
figure_widget(draw_chart(curves.path_chart(c, means, 25, frequency=max(c.order))), height=420)

# %% [markdown]
# ## 2 · Read by the rest of the network
#
# A curve that is near the states proves little by itself. So each left-out state is put where the state was, and the rest of the
# model answers.

# %%
exercise("36.2")

# %% tags=["exercise"]
guess = ...
exercise("36.2").predict(guess)

# %% tags=["exercise"]
exercise("36.2").reveal()

# %% [markdown]
# Of 26, in three draws of the sums that are left out. *As far as the curve* is the middle of the chord, moved as far from
# the centre as the curve is: the same length, straight. *Shuffled*: curves through the same states in a wrong order.

# %%
right = curves.read_right(3)
right

# %% [markdown]
# The curve reads as well as the states themselves, and no control does. One frequency is not enough: its circle is
# there, and 53 places on it are too near each other. On models that were trained again (`curve_modular`):

# %%
recorded("curve_modular").table("along the curve")

# %% [markdown]
# ## 3 · Steering along it
#
# A push has one direction for all states. On a curve each state has its own.

# %%
exercise("36.3")


# %% tags=["exercise"]
def moved(x, points, steps):
    return ...


exercise("36.3").check(moved)

# %% [markdown]
# Steps along the curve, in sums; the model's answers. After 52 comes 0.

# %%
walk = curves.walked(c, ["3 + 4 =", "20 + 30 =", "50 + 2 ="], steps=[-1, 0, 1, 2, 10])
walk

# %% [markdown]
# ## 4 · Days, months, numbers
#
# Words of a real model: the mean state of each day of the week, over some sentences. SmolLM2 then reads a word that was left
# out ("The word is …. I repeat, the word is").
# (`sae-nb get smollm2-135m`. Without it the recorded numbers of five draws stand alone.)

# %%
words = recorded("curve_words")
try:
    found = curve_words.run(100, lists=("days", "animals"), n_frames=3, n_drawn=2)
    kept = {name: found[name] for name in found if name.startswith(("days: right", "days: R²"))}
    print(pd.Series(kept).to_string())
except FileNotFoundError:
    print("SmolLM2-135M was not fetched: see the recorded numbers.")

# %%
words.table("along the curve")

# %% [markdown]
# No left-out word is read right, on the curve as little as on the chord. R² below 0 says: the mean of the others
# would have been nearer. Is the order not there at all?

# %%
words.table("the order is there")

# %% [markdown]
# It is: neighbours in the list are neighbours in the model, and animals in an order by lot are not. But where a word lies
# next to its neighbours is its own affair, and no curve foretells it. And the walks that one sees?

# %%
exercise("36.4")

# %% tags=["exercise"]
guess = ...
exercise("36.4").predict(guess)

# %% tags=["exercise"]
exercise("36.4").reveal()

# %%
words.table("a path through all words")

# %% [markdown]
# ## 5 · An angle
#
# Between these two: stripes behind a digit, at an angle, in `tiny-vit`. A curve through six of 24 angles. On a plain circle, a chord
# that is moved out as far as the curve is nearly on it; only a straight push misses.

# %%
angles = recorded("curve_angles")
angles.table()

# %% [markdown]
# ## 6 · Say it

# %%
exercise("36.5")

# %% tags=["exercise"]
found = ...
exercise("36.5").write(found)

# %% tags=["exercise"]
points = ...
exercise("36.5").score(points)

# %% [markdown]
# ## 7 · The checked numbers

# %%
assert sorted(c.order) == [5, 10, 15, 21]
assert right.loc[["means", "curve"]].min(axis=None) >= 25
assert right.loc[["chord", "chord, as far as the curve", "shuffled"]].max(axis=None) <= 2
assert right.loc["one frequency"].max() <= 5
assert list(walk.loc["50 + 2 ="]) == ["51", "52", "0", "1", "9"]
assert words.verdict("along the curve") == "does not hold at this scale"
assert words.verdict("the order is there") == "holds"
assert angles.verdict("an angle along the curve") == "holds"
exercise_report("36")

# %% [markdown]
# ## Read further
#
# - Wurgaft et al., *Manifold steering* (arXiv 2605.05115): along curves, in large models.
# - Engels et al., *Not All Language Model Features Are One-Dimensionally Linear* (arXiv 2405.14860): circles of days and months.
# - Nanda et al., *Progress Measures for Grokking via Mechanistic Interpretability* (arXiv 2301.05217): why sums lie on circles.
