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
# # Projecting assumptions: what an SAE can see was decided before it was trained
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/13_projecting_assumptions.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/13_projecting_assumptions.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/13_projecting_assumptions.html)
#
# You need 00 or 01; 30 minutes with the exercises, 15 seconds of computing. Afterwards you can name the assumption
# in an encoder, build a world that breaks it, and hold a trained SAE against the same one untrained.
#
# Every encoder ends in a **projection**: a linear map, then the nearest point of some set.
#
# | SAE | nearest code that | so a latent is on |
# | --- | --- | --- |
# | `ReLU` | has no negative entry | in a half-space |
# | `TopK` | has no negative entry and at most k others than 0 | in pieces of half-spaces, k of them everywhere |
# | `SpaDE` | has no negative entry and sums to 1 | near a place |
#
# The set is an *assumption about concepts*: that a straight cut separates one from the rest; that all need
# equally many atoms. Where it is wrong, no training helps (Hindupur et al. 2025, arXiv 2503.01822). Two
# worlds break one assumption each.

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
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import curve_figure, region_figure
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · The nearest point
#
# ReLU's projection is to cut at zero, each entry by itself. On the simplex entries depend on each other:

# %%
exercise("13.1")

# %% tags=["exercise"]
nearest = [..., ..., ...]
exercise("13.1").check(nearest)

# %% [markdown]
# Now for any vector. This is all that `sn.SpaDE` does after its linear map:

# %%
exercise("13.2")


# %% tags=["exercise"]
def project(v):
    return ...


exercise("13.2").check(project)

# %% [markdown]
# ## 2 · Concepts that no straight line cuts off
#
# Six clouds in a plane. The three outer ones can each be cut off by a line; the inner ones (concepts 1, 3
# and 5) cannot. Guess first.

# %%
exercise("13.3")

# %% tags=["exercise"]
guess = ...
exercise("13.3").predict(guess)

# %% tags=["exercise"]
exercise("13.3").reveal()

# %% [markdown]
# Three SAEs with 128 latents each, and a fourth that is never trained: SpaDE with random points as prototypes.

# %%
clouds, unseen = sn.data.six_gaussians(4000, seed=0), sn.data.six_gaussians(2000, seed=10_000)
torch.manual_seed(0)
saes = {
    "SpaDE": sn.SpaDE(2, 128, sparsity=1e-3),
    "ReLU": sn.ReLU(2, 128, l0=8),
    "TopK": sn.TopK(2, 128, k=8),
}

# %%
how = {"steps": 300, "batch_size": 512, "seed": 0}
runs = {name: sn.start_training(sae, clouds.x, **how) for name, sae in saes.items()}
monitor = sw.TrainingMonitor(runs)
monitor

# %%
results = {name: run.wait() for name, run in runs.items()}
monitor.refresh()

# %%
exercise("13.4")

# %% tags=["exercise"]
read_off = ...
exercise("13.4").check(read_off)

# %%
saes["SpaDE, untrained"] = sn.SpaDE(2, 128)
saes["SpaDE, untrained"].initialise(clouds.x)

# %% [markdown]
# How well does one latent detect concept 1? F1 of "it is on" against "it is concept 1", for every latent; the best is
# drawn.

# %%
inner = unseen.concept == 1
on = {name: sae.encode(unseen.x).to_dense() > 1e-6 for name, sae in saes.items()}
f1 = {name: 2 * a[inner].sum(0) / (a.sum(0) + inner.sum()) for name, a in on.items()}
pd.DataFrame({"best F1 on concept 1": {name: float(one.max()) for name, one in f1.items()}})

# %%
ticks = torch.linspace(-2.2, 2.2, 89)
plane = torch.cartesian_prod(ticks, ticks).flip(1)
maps = {
    f"{name}, F1 {f1[name].max():.2f}": sae.encode(plane).to_dense()[:, f1[name].argmax()]
    for name, sae in saes.items()
}
drawn = {title: z.detach().reshape(89, 89) for title, z in maps.items()}
figure_widget(region_figure(drawn, ticks, unseen.x, unseen.concept), height=300)

# %% [markdown]
# SpaDE's latent is on in a *region*, ReLU's beyond a *line*. Over five seeds, the mean of the five best latents of
# the worst inner concept:

# %%
seen = recorded("separability")
regions = {
    "inner F1, SpaDE": "SpaDE, inner F1",
    "floor: SpaDE, untrained": "untrained inner F1",
    "control: best of ReLU and TopK": "others, best inner F1",
    "codes of two concepts, cosine, SpaDE": "SpaDE, cosine across",
    "the least of the others": "others, least cosine across",
}
seen.brief(regions)

# %% [markdown]
# Read the floor: SpaDE *untrained* has an F1 of 0.99. Regions are not something it learned. They are what its
# projection is, and training even gives a little of it away, for reconstruction. The assumption does the work. In a
# plane: with many more dimensions than six clouds have, a straight cut is enough far more often.
#
# ## 3 · Concepts of 6 to 126 dimensions
#
# Five concepts of the same total variance, spread over 6, 14, 30, 62 and 126 directions. The wider ones need
# more atoms. Who gives them more? (Five seeds, mean.)

# %%
sizes, kinds = [6, 14, 30, 62, 126], ("SpaDE 1", "TopK 16", "ReLU 32")
uneven = recorded("heterogeneity")
given = {n: (sizes, [uneven.of(f"{n} l0 m={m}").mean for m in sizes]) for n in kinds}
axes = {"x_title": "dimensions of the concept", "y_title": "atoms per input"}
figure_widget(curve_figure(given, **axes), height=300)

# %%
slopes = {
    "slope of L0 over dimensions, SpaDE": "SpaDE, slope",
    "floor: SpaDE, untrained": "untrained slope",
    "control: TopK, which cannot": "TopK, slope",
    "ReLU at the sparsity of TopK 16": "ReLU 16 slope",
    "ReLU at that of TopK 32": "ReLU 32 slope",
}
uneven.brief(slopes)

# %% [markdown]
# SpaDE gives more to wider concepts, more steeply than untrained. "ReLU is as flat", as published, does not hold here:
# it depends on how sparse it is. And what is it good for? The unexplained part:

# %%
left = {n: (sizes, [uneven.of(f"{n} nmse m={m}").mean for m in sizes]) for n in kinds}
axes = {"x_title": "dimensions of the concept", "y_title": "unexplained variance"}
figure_widget(curve_figure(left, **axes), height=300)

# %% [markdown]
# Do not read the first figure as "SpaDE explains more". TopK leaves *less* unexplained, at every width. Fitting the
# number of atoms to the concept and explaining it are two things. So no projection is the right one. Which assumption
# holds for *your* activations is a question about them: do concepts overlap, do straight cuts suffice, how many
# dimensions do they have?
#
# ## 4 · What sparsity costs
#
# A projection also fixes what a code may *weigh*. An ℓ1 penalty is paid by the length of the code, so codes
# come out short; a gate, a threshold or a selection asks only *whether*. 48 planted concepts in 24 dimensions, five
# seeds. The factor by which the output fits best is 1 without shrinkage:

# %%
paid = recorded("shrinkage")
stretched = {
    "best factor, ReLU with ℓ1": "l1 least stretch",
    "floor: untrained": "untrained stretch",
    "control: TopK": "topk stretch",
    "BatchTopK": "batchtopk stretch",
    "JumpReLU": "jumprelu stretch",
}
paid.brief(stretched)

# %% [markdown]
# Every line and verdict of these three studies is on the page of claims, at SpaDE and ReLU.
#
# ## 5 · The checked numbers

# %%
# Live: regions see what half-spaces cannot, and they are there before training.
best = {name: float(one.max()) for name, one in f1.items()}
assert min(best["SpaDE"], best["SpaDE, untrained"]) > 0.8
assert best["SpaDE"] > max(best["ReLU"], best["TopK"])

# %%
# Recorded: the same over seeds; atoms by dimension; TopK still explains more; ℓ1 shrinks.
assert seen.low("SpaDE, inner F1") > 0.9 > 0.7 > seen.high("others, best inner F1")
assert (seen.seeds("untrained inner F1") > seen.seeds("SpaDE, inner F1")).all()
assert uneven.low("SpaDE, slope") > 0.4 > uneven.high("untrained slope")
assert (torch.tensor(given["SpaDE 1"][1]).diff() > 0).all()
assert uneven.high("TopK, slope") < 0.05
assert all(uneven.high(f"TopK 16 nmse m={m}") < uneven.low(f"SpaDE 1 nmse m={m}") for m in sizes)
assert paid.low("l1 least stretch") > 1.05 > 1.02 > 1 + paid.high("others' largest stretch")

# %%
exercise_report("13")

# %% [markdown]
# **To read.** *Projecting Assumptions: The Duality Between Sparse Autoencoders and Concept Geometry* (arXiv
# 2503.01822): the paper of this lesson, and of SpaDE; *Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU
# Sparse Autoencoders* (arXiv 2407.14435): an encoder that assumes a threshold for each atom; *BatchTopK Sparse
# Autoencoders* (arXiv 2412.06410): an encoder whose k differs from row to row.
