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
# # Lab 09 · Signatures: which textures are near each other?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_09_signatures.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_09_signatures.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_09_signatures.html)
#
# A postcard, optional: no other lesson needs it. You need 00 or 01; 20 minutes with the exercises, 9 seconds of
# computing. Afterwards you can compare spaces by their angles, and test distances by permuting who they are of.
#
# Two hands can be alike in two ways: the same features go together in what they draw, or the same movements
# leave it as it is. One distance holds both, and a permutation test checks whether it goes with anything.
#
# After "Artistic signatures" (arXiv 2412.04441), of which we had the abstract and reports: Gram matrices, Lie
# generators, Grassmann distance and Mantel's test are theirs. Its paintings and VGG-19 are not at hand:
# backgrounds of `scenes` take their place, and a network that learned on digits. So this is about textures,
# not about art. The scales of both parts and the movements by small steps are ours.

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
from dataclasses import replace

import pandas as pd
import torch

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · Nine hands, three textures
#
# Level, upright and slanting stripes behind digits of any kind, colour and place; three hands of each, who
# share no image.

# %%
drawn = sn.data.scenes(300, seed=0)
order = drawn.texture.argsort(stable=True)
order = order[drawn.texture[order] < 3]
images, textures = drawn.images[order], drawn.texture[order].tolist()
hands = [f"{drawn.texture_names[t]} {i % 3}" for i, t in enumerate(textures)]
print(len(images), sorted(set(hands)))

# %% [markdown]
# Features f of a network at every patch. Texture is which of them go together, the Gram matrix $G =
# \frac{1}{N} \sum f f^\top$:
#
# $$d_\text{texture} = \frac{\lVert G_a - G_b \rVert}{\lVert G_a \rVert + \lVert G_b \rVert}$$
#
# Symmetry is which small movements h of the plane change the features least: eigenvectors of $M_{hk} = \sum
# \langle \partial_h f, \partial_k f \rangle$ with the smallest eigenvalues. Six movements, each of one size
# in pixels:

# %%
signatures = sn.lab.Signatures(sn.load_model("tiny-vit"), ["resid_post.4", "resid_post.1"])
found = signatures.fit(images, hands)
movements = ["right", "down", "stretch x", "shear x", "shear y", "stretch y"]
quietest = pd.DataFrame(found.generators[:, 0] ** 2, found.names, movements)
print(quietest.round(2))

# %% [markdown]
# Level stripes may be moved sideways, upright ones up and down. "Shear x" moves each row sideways, the
# further the lower it is.
#
# ## 2 · Two spaces
#
# Each hand has a space of three quiet movements. The distance of two spaces is a matter of their principal
# angles:

# %%
exercise("lab_09.1")


# %% tags=["exercise"]
def apart(a, b):
    return ...


exercise("lab_09.1").check(apart)

# %% [markdown]
# ## 3 · One distance of both
#
# $$D = (1 - \lambda)\, d_\text{texture} + \lambda\, d_\text{symmetry}$$
#
# Families are the dark squares along the diagonal.

# %%
figure_widget(found.figure(), height=440)

# %% [markdown]
# Pairs are not independent: each hand is in eight of them. Mantel's test therefore permutes hands, and asks
# how often a correlation with the families comes out as high. Move λ, from texture alone to symmetry alone:

# %%
families = [name.split()[0] for name in found.names]
tests = {
    str(share): replace(found, mixing=share).mantel(families, n_permutations=499)
    for share in (0.0, 0.2, 0.5, 0.8, 1.0)
}
figure_widget(one_at_a_time({share: t.figure() for share, t in tests.items()}, "λ"), height=400)

# %%
exercise("lab_09.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_09.4").check(read_off)

# %%
exercise("lab_09.2")

# %% tags=["exercise"]
p = ...
exercise("lab_09.2").check(p)

# %% [markdown]
# ## 4 · Ten families
#
# All eight textures and two photographs, three hands of each (of a photograph its left, middle and right
# third), on five seeds.

# %%
exercise("lab_09.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_09.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_09.3").reveal()

# %%
claims = recorded("lab_signatures")
shown = {
    "correlation of distance and family": "tiny-vit: distance",
    "floor: one permutation in twenty": "tiny-vit: distance, floor",
    "control: colours of pixels": "pixels",
    "nearest is of the family": "tiny-vit: distance, nearest",
    "the same, texture alone": "tiny-vit: texture, nearest",
    "control: colours of pixels, nearest": "pixels, nearest",
}
claims.brief(shown)

# %% [markdown]
# The correlation with the families is far above its floor and above that of colours alone; nearest neighbours
# miss their line, since symmetry spreads wider than texture and decides, though it knows less. The paper's λ
# and scales are not in what we had.
#
# ## 5 · The checked numbers

# %%
sideways = (found.generators[:, 0, [0, 2, 3]] ** 2).sum(axis=1)
of = dict(zip(found.names, sideways))
assert of["horizontal 0"] > 0.9 > 0.1 > of["vertical 0"]
assert all(test.p < 0.05 for test in tests.values())
assert claims.verdict("families") == "partly"
assert claims.of("tiny-vit: texture, nearest").mean > claims.of("tiny-vit: distance, nearest").mean
assert claims.of("above the floor").mean > 0.2
assert claims.verdict("two measures") == "holds"

# %%
exercise_report("lab_09")
