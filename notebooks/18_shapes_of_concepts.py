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
# # Shapes of concepts: an arrow, a cone, a circle?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/18_shapes_of_concepts.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/18_shapes_of_concepts.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/18_shapes_of_concepts.html)
#
# You need 00 and 11; 25 minutes with the exercises, 25 seconds of computing. Afterwards you can measure a shape
# with its floor, and distinguish captured, tiled and diluted.
#
# An atom is a direction. A concept need not be one: it may take several atoms to build (a **cone**), or come
# in degrees or go round (a **manifold**); and activations wind through more directions than they have
# dimensions. Each shape is measured here and compared with random directions, shuffled rows or random atoms.
#
# Three small SAEs are trained on a circle, everything else is bundled.

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
from sae_nb_lessons.figures import curve_figure
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Cones
#
# Is the direction of a digit one atom? Half way up `tiny-vit`: the mean of all tokens of images with a 4,
# less the mean of those without, and so for each digit.

# %%
vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
scenes = sn.data.scenes(150, seed=0, split="test")
acts = sn.capture(vit, scenes.images, "resid_post.6", progress=False)
digit = torch.as_tensor(scenes.digit)[acts.sample]
means = [acts.x[digit == i].mean(0) - acts.x[digit != i].mean(0) for i in range(10)]

# %% [markdown]
# Atoms are added up, never subtracted, one after the other: r(s) is the share of the direction's length that
# the best s of them leave. But 512 atoms in a space of 64 reach a good deal of *any* direction. How much?

# %%
exercise("18.1")

# %% tags=["exercise"]
guess = ...
exercise("18.1").predict(guess)

# %% tags=["exercise"]
exercise("18.1").reveal()

# %%
names = [f"digit {i}" for i in range(10)]
cones = sn.geometry.containment(torch.stack(means), sae.dictionary, names=names)
cones.scores

# %% [markdown]
# Digits are built far better than random directions are, and better than random atoms would build them.
# `alignment` is the cosine with the best single atom: none of the digits *is* one, most are a cone of two to
# four.

# %%
cones.plot()

# %% [markdown]
# On the map of all atoms: lines join those that build the chosen digit, thicker for more weight. Choose
# another under “cone”. Are they neighbours? The map puts similar directions together, and what is similar
# need not be added up.

# %%
examples = sn.load_examples("tiny-vit/resid_post.6")
panel = sw.ConceptMap(sae, examples=examples, cones=cones)
panel

# %%
panel.wait()
panel.cone = "digit 4"

# %%
exercise("18.2")

# %% tags=["exercise"]
explanation = ...
exercise("18.2").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("18.2").score(points)

# %% [markdown]
# Does this hold of whatever one calls the direction of a concept? No: five seeds, with the weights of linear
# heads in the place of differences of means.

# %%
of_heads = recorded("cones")
heads = {
    "left by four atoms, linear heads": "r(4)",
    "floor: random directions": "random directions",
    "control: random atoms": "random atoms",
    "differences of means": "means r(4)",
    "heads built better than 19 of 20 random": "held",
}
of_heads.brief(heads)

# %% [markdown]
# ## 2 · A circle, captured, tiled, diluted
#
# Rows on a planted circle. Nothing about it is an arrow; what does an SAE make of it? Three of them, from few
# atoms to many:

# %%
circle = sn.data.planted_manifolds(3000, shapes=("circle",), n_active=1, d_in=16)
sizes = {"few": (8, 2), "one at a time": (32, 1), "many": (64, 16)}
saes = {}
for name, (n_atoms, k) in sizes.items():
    saes[name] = sn.TopK(16, n_atoms, k, generator=torch.Generator().manual_seed(0))
    sn.train(saes[name], circle.x, steps=300, batch_size=256, progress=False)

# %%
held = {
    name: sn.geometry.manifold_capture(one.encode(circle.x), circle) for name, one in saes.items()
}
shapes = pd.concat([found.table for found in held.values()], keys=list(held)).droplevel(1)
shapes[["regime", "own r2", "shuffled", "support", "width"]]

# %% [markdown]
# All three explain the circle, and an R² would not distinguish them. Few atoms, each with half of it,
# **capture** it: they are its axes. Many that fire one at a time **tile** it: each is a piece. Many that fire
# together **dilute** it: each has much of it, none is needed. How wide is a piece?

# %%
exercise("18.3")


# %% tags=["exercise"]
def width(angles, strengths):
    return ...


exercise("18.3").check(width)

# %%
held["one at a time"].figure("circle")

# %%
held["few"].figure("circle")

# %% [markdown]
# ## 3 · A surface that was not planted
#
# The position of a patch in the image is a coordinate that `tiny-vit` must keep. How do its atoms hold it,
# and what would an SAE do that has learned nothing?

# %%
patch = acts.position - vit.prefix_tokens
place = torch.stack([patch // 8, patch % 8], dim=1).float()
place[patch < 0] = torch.nan  # cls and registers are nowhere
untrained = sn.TopK(sae.d_in, sae.n_atoms, sae.k, generator=torch.Generator().manual_seed(0))
codes = {"trained": sae.encode(acts), "untrained": untrained.encode(acts.x)}

# %%
place_held = {
    name: sn.geometry.manifold_capture(one, {"place": place}, acts.x) for name, one in codes.items()
}
surface = pd.concat([found.table for found in place_held.values()], keys=list(codes)).droplevel(1)
surface[["regime", "r2", "shuffled", "components", "support", "width"]]

# %% [markdown]
# A few atoms have pieces of the image of their own; together they do not make a whole, yet eight latents
# explain more of the place than eight principal components. An SAE before training has none.

# %%
place_held["trained"].figure("place")

# %% [markdown]
# ## 4 · How many dimensions?
#
# Two ways to count: over how many directions the variance is spread, and in how many directions a patch can
# move to its nearest neighbours.

# %%
exercise("18.4")

# %% tags=["exercise"]
guess = ...
exercise("18.4").predict(guess)

# %% tags=["exercise"]
exercise("18.4").reveal()

# %%
states = sn.dynamics.capture_states(vit, scenes.images)[:, :, vit.prefix_tokens :]
drawn = torch.randperm(states.shape[0] * 64, generator=torch.Generator().manual_seed(0))[:1500]
layers = {layer: states[:, layer].flatten(0, 1)[drawn] for layer in range(0, 13, 3)}
spread = {layer: sn.geometry.participation_ratio(x) for layer, x in layers.items()}
near = {layer: sn.geometry.two_nn_dimension(x) for layer, x in layers.items()}

# %% [markdown]
# For comparison rows drawn at random with the same covariance: they have no shape but the spread.

# %%
torch.manual_seed(0)
small = 1e-4 * torch.eye(sae.d_in)
even = torch.distributions.MultivariateNormal
clouds = {n: even(x.mean(0), torch.cov(x.T) + small).sample((1500,)) for n, x in layers.items()}
shapeless = {layer: sn.geometry.two_nn_dimension(cloud) for layer, cloud in clouds.items()}
dimensions = pd.DataFrame({"spread": spread, "near": near, "near, no shape": shapeless})
depth = {name: (list(dimensions.index), list(dimensions[name])) for name in dimensions}
axes = {"x_title": "layer", "y_title": "dimensions"}
figure_widget(curve_figure(depth, **axes), height=280)

# %% [markdown]
# With depth the variance spreads over almost three times the directions, and the dimension falls: patches lie
# on something thin that winds through ever more of the space. The same can be asked around each atom, of its
# nearest: the key has what random atoms would show.

# %%
panel.color_by = "local dimension"
panel

# %% [markdown]
# ## 5 · Do classes part?
#
# A class is a cloud. How wide is it compared with the distance to the others, and in how few random
# dimensions does a plane still separate them? Images by digit, after the first block and after the last, with
# shuffled labels as the floor:

# %%
images = states.mean(dim=2)  # over patches: (images, layers, width)
digits = {
    layer: sn.geometry.class_geometry(images[:, layer], scenes.digit, n_draws=5)
    for layer in (1, 12)
}
tables = {layer: found.table.set_index("measure") for layer, found in digits.items()}
pd.concat(tables, axis=1)

# %% [markdown]
# At first digits are as wide as classes drawn at random; at the end they are narrow. Is that the geometry of
# half way up, made clearer, or another one? `drift` is 1 less the rank correlation of the distances between
# the same images here and there (0: the same geometry), `feature split` how well two halves of the
# coordinates agree on them.

# %%
stable = sn.geometry.geometric_stability(
    images[:, 6], scenes.digit, other=images[:, 12], n_splits=10
)
stable.table

# %% [markdown]
# ## 6 · Do codes keep the shape?
#
# Methods that read codes in place of activations (retrieval, clusters, this very map of samples) need what is
# near to stay near.

# %%
kept = sn.evaluation.distances_kept(sae, acts)
print(kept)

# %% [markdown]
# The order of distances survives mostly, with random atoms (`control`) nearly as well: a random projection
# keeps distances, too. Training adds the difference, not the value.
#
# ## 7 · The checked numbers

# %%
scores = cones.scores.iloc[2]  # four atoms
assert cones.held.all(), "every digit is built better than random directions"
assert scores["r"] < 0.7 * min(scores["random directions"], scores["random atoms"])
assert recorded("cones").verdict("inside").startswith("does not hold")
assert list(shapes["regime"]) == ["capture", "tiling", "dilution"]
assert shapes["own r2"].min() > 0.9 > 0.1 > shapes["shuffled"].max()
assert surface["r2"]["trained"] > surface["components"]["trained"] > surface["r2"]["untrained"]

# %%
assert dimensions["spread"].iloc[-1] > 2 * dimensions["spread"].iloc[0]
assert dimensions["near"].iloc[-1] < dimensions["near"].iloc[0]
assert (dimensions["near"] < dimensions["near, no shape"]).iloc[1:].all()
radius = {layer: table.loc["radius"] for layer, table in tables.items()}
assert radius[12]["value"] < 0.5 * radius[12]["shuffled labels"]
assert radius[1]["value"] > 0.8 * radius[1]["shuffled labels"]
assert kept.interval[0] > kept.control > kept.floor + 0.3

# %%
exercise_report("18")

# %% [markdown]
# **To read.** *Not All Language Model Features Are One-Dimensionally Linear* (arXiv 2405.14860): circles of days and
# months in language models; *The Geometry of Categorical and Hierarchical Concepts in Large Language Models* (arXiv
# 2406.01506): concepts as polytopes; *The Linear Representation Hypothesis and the Geometry of Large Language Models*
# (arXiv 2311.03658): the view that a concept is one direction.
