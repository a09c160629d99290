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
# # Lab 01 · Landmarks: an input is a mixture of what lies around it
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_01_landmarks.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_01_landmarks.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_01_landmarks.html)
#
# You need 13; 20 minutes with the exercises, 35 seconds of computing. Afterwards you can read groups off mixtures
# of neighbours, and say what SpaDE is one step of.
#
# The second part of the course leaves SAEs and keeps what they are made of: an operator, a link, a prox and a
# solver. Here the penalty is not the number of atoms, but how far they are from the input. The result finds
# groups that are not blobs.
#
# After "K-Deep Simplex" (KDS, arXiv 2012.02134). From the paper: the model, its unrolled solver, the two
# moons. Ours: the step (computed, not learned), the momentum of FISTA, and how groups are read off.

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
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · A mixture of neighbours
#
# Landmarks $w_j$ are learned so that every input is a mixture of a few of them, and of near ones:
#
# $$z(x) = \arg\min_{z \ge 0,\ \sum_j z_j = 1} \tfrac12 \Vert x - \textstyle\sum_j z_j w_j \Vert^2 + \lambda \sum_j z_j \Vert x - w_j \Vert^2$$
#
# Codes are found by 15 steps of FISTA, and the gradient of the same objective flows through all of them: an
# encoder with 15 layers that share their weights.

# %%
points, moon = make_moons(1500, noise=0.03, random_state=0)
x = torch.tensor(points, dtype=torch.float32)
kds = sn.lab.KDS(2, 24, generator=torch.Generator().manual_seed(0)).fit(x)
ties = sn.lab.local_map(kds, x, n_clusters=2)
figure_widget(ties.figure(), height=380)

# %% [markdown]
# An orange landmark is tied to those with which it shares inputs, the more the thicker. Between the moons
# ties are few and thin: half-way there is next to nothing that would have to be a mixture of both.
#
# ## 2 · Move λ
#
# With λ = 0 every mixture that adds up is as good as any other, however far it reaches. Move the slider.

# %%
maps = {}
for cost in (0.0, 0.05, 0.2, 0.5, 2.0):
    kds_at = sn.lab.KDS(2, 24, locality=cost, generator=torch.Generator().manual_seed(0))
    maps[cost] = sn.lab.local_map(kds_at.fit(x), x, n_clusters=2)
slider = one_at_a_time({f"{cost:g}": one.figure() for cost, one in maps.items()}, "λ")
figure_widget(slider, height=460)

# %%
exercise("lab_01.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_01.4").check(read_off)

# %% [markdown]
# ## 3 · Groups
#
# The ties are a graph: Σ over inputs of what two landmarks have of each. Write it.

# %%
exercise("lab_01.1")


# %% tags=["exercise"]
def tied(z):
    return ...


exercise("lab_01.1").check(tied)

# %% [markdown]
# Spectral clustering cuts that graph where it is thinnest, and a point goes with its strongest landmark. For
# comparison k-means, which knows distances alone, and mixtures without a cost of distance:

# %%
means = KMeans(2, n_init=10, random_state=0).fit_predict(points)
found = {f"KDS, λ = {cost:g}": one.accuracy(moon) for cost, one in maps.items()}
found["k-means"] = max((means == moon).mean(), (means != moon).mean())
pd.Series(found, name="share in the right moon").to_frame()

# %% [markdown]
# ## 4 · SpaDE is one step of it
#
# Begin at z = 0, take one step of length 1/‖W‖², and project on the simplex. Terms that are the same for all
# landmarks drop out of the projection, so with landmarks of one norm z = sparsemax(−κ‖x − w_j‖²): the encoder
# of SpaDE (notebook 13).

# %%
exercise("lab_01.2")

# %% tags=["exercise"]
sharpness = ...
exercise("lab_01.2").check(sharpness)

# %%
one_step = sn.lab.KDS(2, 24, n_steps=1, generator=torch.Generator().manual_seed(0)).fit(x)
single = sn.lab.local_map(one_step, x, n_clusters=2)
print(f"one step: {single.accuracy(moon):.2f}, landmarks a point {single.l0:.1f}")
print(f"15 steps: {ties.accuracy(moon):.2f}, landmarks a point {ties.l0:.1f}")

# %% [markdown]
# ## 5 · On data that were not planted
#
# Handwritten digits, 64 pixels, 100 landmarks, ten groups. k-means puts about three quarters of them right.

# %%
exercise("lab_01.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_01.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_01.3").reveal()

# %%
claims = recorded("lab_kds")
halves = {
    "moons: in the right one, KDS": "moons",
    "floor: k-means": "moons, k-means",
    "control: without a cost of distance": "moons, λ = 0",
    "digits: in the right group, KDS": "digits",
    "floor: k-means, digits": "digits, k-means",
    "control: SpaDE, digits": "digits, SpaDE",
}
claims.brief(halves)

# %% [markdown]
# SpaDE itself parts the moons, too (.94): it learns how sharp its one step is, where the step above had to take
# what ‖W‖² gave it. On digits fifteen steps are .12 ahead of its one, and .05 ahead of k-means.
#
# The same idea without the constraint that codes sum to one is WLSC: a ReLU with a threshold of its own for
# each input and atom. It was measured on patches of photographs: fewer atoms at the same R².
#
# ## 6 · The checked numbers

# %%
assert found["KDS, λ = 0.5"] > 0.95
assert found["KDS, λ = 0.5"] > found["KDS, λ = 0"] + 0.1
assert found["k-means"] < 0.8
assert ties.l0 < single.l0 < maps[0.0].l0
assert claims.verdict("moons") == "holds"

# %%
exercise_report("lab_01")
