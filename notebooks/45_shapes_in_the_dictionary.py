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
# # Shapes in the dictionary
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/45_shapes_in_the_dictionary.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/45_shapes_in_the_dictionary.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/45_shapes_in_the_dictionary.html)
#
# You need 18; 40 minutes with the exercises, 15 seconds of computing. Afterwards you can find groups of atoms that belong
# together, see what a group draws, and say next to which controls a shape counts.
#
# In 18 you knew the circle and asked what atoms make of it. Here you do not know of any. Which atoms of a trained SAE belong
# together, and is there a ring, a line or a sheet in what they write? (After arXiv 2604.28119.)

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
from sae_nb.geometry import communities, couplings, find_shapes
from sae_nb_lessons import exercise, exercise_report, figures, recorded
from sae_nb_studies.reproductions.experiments.found_shapes import SHAPES, correlations
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## 1 · Who fires with whom
#
# Rows of 32 numbers. Each is the sum of two points on two of ten manifolds: six circles, two segments, two disks, each in its own
# plane or line. The SAE knows nothing of that, and neither will the search.

# %%
train = sn.data.planted_manifolds(30_000, shapes=SHAPES, seed=0)
rows = sn.data.planted_manifolds(16_000, shapes=SHAPES, seed=0, draw=1)
sae = sn.TopK(32, 64, 4, generator=torch.Generator().manual_seed(0))
before = find_shapes(sae.eval(), rows.x)
sn.train(sae, train.x, sn.TrainConfig(steps=1500, batch_size=512, seed=0), progress=False)
codes = sae.encode(rows.x).detach()

# %%
exercise("45.1")


# %% tags=["exercise"]
def lift(fires):
    return ...


exercise("45.1").check(lift)

# %% [markdown]
# Two atoms can fire together because of each other, or because both follow a third. Rain opens umbrellas and wets the street; umbrellas
# wet no street. Hold the rain and look again:

# %%
exercise("45.2")


# %% tags=["exercise"]
def tie(a, b, cause):
    return ...


exercise("45.2").check(tie)

# %%
exercise("45.3")

# %% tags=["exercise"]
because = ...
exercise("45.3").check(because)

# %% [markdown]
# `couplings` holds all other atoms at once. What is tied by couplings falls apart into groups:

# %%
groups = communities(couplings(codes))
pd.DataFrame({"atoms": [", ".join(map(str, group)) for group in groups]})

# %% [markdown]
# ## 2 · What a group draws
#
# A group is a set of directions with strengths. What it adds to a row is a point in the space that its atoms span:

# %%
exercise("45.4")


# %% tags=["exercise"]
def drawn(z, dictionary, group):
    return ...


exercise("45.4").check(drawn)

# %%
exercise("45.5")


# %% tags=["exercise"]
def on_a_ring(y):
    return ...


exercise("45.5").check(on_a_ring)

# %% [markdown]
# Is a large share enough?

# %%
exercise("45.6")

# %% tags=["exercise"]
guess = ...
exercise("45.6").predict(guess)

# %% tags=["exercise"]
exercise("45.6").reveal()

# %% [markdown]
# ## 3 · The search
#
# `find_shapes` does all of this: groups on half of the rows, shapes judged on the other half, next to random groups of as many atoms that
# fire as often.

# %%
found = find_shapes(sae, rows.x)
print(found)
found.table.drop(columns=["coordinate", "order", "order shuffled"])

# %% [markdown]
# What three of these groups add to the rows in which they fire, seen along the two directions in which it varies most; grey: as
# many atoms as the ring has, drawn at random. Random atoms seldom fire together, so most of their points lie on rays, one an atom.

# %%
shown = {
    f"{kind} {i}": found.groups[i]
    for kind in ("ring", "sheet", "line")
    for i in [found.kind.index(kind)]
}
drawn_at_random = torch.randperm(64, generator=torch.Generator().manual_seed(0))[
    : len(found.groups[0])
]
planes = shown | {"control: random atoms": drawn_at_random.tolist()}
figure_widget(figures.drawn_figure(codes, sae.dictionary.detach(), planes), height=250)

# %% [markdown]
# On the map each shape has a colour, and the first ring is selected; a click in the key lights another alone. Atoms of one ring need not
# be near each other: across the ring they point in opposite directions.

# %%
panel = sw.ConceptMap(sae, rows.x, columns={"shape": found.of_atoms})
panel.color_by, panel.atom, panel.selected = (
    "shape",
    int(found.groups[0][0]),
    found.groups[0].tolist(),
)
panel

# %% [markdown]
# Three controls. Random groups are in the table, groups where each atom's firings are permuted in its headline, and this is the SAE before
# training:

# %%
print(before)

# %% [markdown]
# ## 4 · Correlations instead

# %%
exercise("45.7")

# %% tags=["exercise"]
share = ...
exercise("45.7").predict(share)

# %% tags=["exercise"]
exercise("45.7").reveal()

# %%
other = find_shapes(sae, rows.x, groups=communities(correlations(codes)))
print(other)

# %%
record = recorded("found_shapes")
shares = {
    "manifolds whose group is found, by couplings": "groups found",
    "by correlations": "groups found, by correlations",
    "found and named, by couplings": "found",
    "control: before training": "found, before training",
    "floor: random groups": "found, random groups",
}
record.brief(shares)

# %% [markdown]
# ## 5 · Say it

# %%
exercise("45.8")

# %% tags=["exercise"]
claim = ...
exercise("45.8").write(claim)

# %% tags=["exercise"]
points = ...
exercise("45.8").score(points)

# %% [markdown]
# ## 6 · The checked numbers

# %%
kinds = pd.Series(found.kind).value_counts()
assert kinds["ring"] >= 4
assert kinds["line"] >= 1
assert kinds["sheet"] >= 1
assert found.n_permuted == 0
assert sum(kind != "none" for kind in before.kind) <= 2
assert record.low("found") > record.high("groups found, by correlations")
assert record.high("found, random groups") < 0.1

# %%
exercise_report("45")

# %% [markdown]
# **To read.** *Do Sparse Autoencoders Capture Concept Manifolds?* (arXiv 2604.28119): groups of atoms from which of them fire together;
# Ravikumar, Wainwright & Lafferty, *High-dimensional Ising model selection* (2010): couplings by logistic regressions.
