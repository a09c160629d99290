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
# # Directions, or points in hulls?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/08_minkowski.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/08_minkowski.ipynb)
#
# You need 00; 35 minutes with the exercises, 27 seconds of computing. Afterwards you can say why R² alone
# identifies nothing.
#
# SAEs take concepts for **directions**: more of a concept is further along it. "Into the Rabbit Hull"
# (arXiv 2510.08638) proposes another view for vision transformers, the **Minkowski representation
# hypothesis**: a token is a sum of a few points, each a mixture of the archetypes of one small hull (a *tile*),
#
# $$x = \sum_{i \in S} \sum_v \alpha_{iv} A_{iv}, \qquad \alpha_i \ge 0,\ \sum_v \alpha_{iv} = 1 .$$
#
# Attention makes it plausible: a head's output is a mixture of values, so the sum over heads is a sum of points
# in hulls. But that holds of any attention, trained or not, and before residuals and MLPs. Does it say
# something about the states a model ends up with?
#
# No code of the paper's analyses was published. **The estimators here are inferred (ours)**, and each is
# first tried on data whose answer is known.

# %% jupyter={"source_hidden": true} tags=["colab"]
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to set up
    from pathlib import Path
    from subprocess import run
    import torch
    from google.colab import output

    Path("torch.txt").write_text(f"torch=={torch.__version__}")  # the one that is there stays
    package = "sae-nb @ git+https://github.com/sae-nb/sae_nb"
    run([sys.executable, "-m", "pip", "install", "-qc", "torch.txt", package], check=True)
    output.enable_custom_widget_manager()

# %%
import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, figures, recorded
from sae_nb_lessons.reproductions import show_pictures, trained_sae
from sae_nb_lessons.reproductions.experiments import minkowski
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Corners of a sum

# %%
exercise("08.1")

# %% tags=["exercise"]
corners = ...
exercise("08.1").check(corners)

# %% [markdown]
# ## 2 · A statistic that can decide
#
# Three planted data sets: a sum of three tetrahedra, one simplex with twelve corners, a Gaussian without any.
# We fit **block archetypes**, tiles of 4 + 4 + 4, and rivals with the same number of archetypes. First, what
# does R² alone say?

# %%
exercise("08.2")

# %% tags=["exercise"]
guess = ...
exercise("08.2").predict(guess)

# %% tags=["exercise"]
exercise("08.2").reveal()

# %% [markdown]
# So we take a pair: held-out R², and **off-support**, how far the corners of the fitted hull are from any row,
# in units of the rows' own distances.

# %%
planted = recorded("minkowski")
models = ("block", "free AA", "AA of rows")
kinds = ("minkowski", "simplex", "gaussian")
columns = ("r2", "off-support")
scores = {k: {m: [planted.seeds(f"{k} {m} {c}") for c in columns] for m in models} for k in kinds}
nulls = {kind: planted.of(f"{kind} null off-support").mean for kind in kinds}
figure_widget(figures.decision_figure(scores, nulls=nulls), height=320)

# %% [markdown]
# Left is better explained, lower is tighter; the shaded corner is both. Dashed: block archetypes on a
# Gaussian with the same covariance. A free simplex (free AA) explains everything by growing loose; a simplex
# in the hull of rows (AA of rows) is tight and explains little.

# %%
planted.table("accepted on the sum", "refused elsewhere")

# %% [markdown]
# Both **hold**: the pair accepts the sum, and only the sum. The start matters: from independent subspaces the
# planted archetypes are found (cosine 1.00), from random rows they are not (0.72; random archetypes reach
# 0.36). One decision, live at short size:

# %%
live = minkowski.look(seed=0)
live

# %% [markdown]
# ### Write the measure

# %%
exercise("08.3")


# %% tags=["exercise"]
def my_off_support(corners, x):
    return ...


exercise("08.3").check(my_off_support)

# %% [markdown]
# ### Paths
#
# The paper also reports that straight lines between two tokens leave the data, and chains of nearest
# neighbours do not. q is the distance to the data along a path; 1 is as near as rows are to each other.

# %%
planted.table("paths")

# %% [markdown]
# **A caution.** A Minkowski sum is convex, so lines stay inside, and the test is not informative where all
# tiles are on. Only if few of many tiles are on do lines leave the data.
#
# ## 3 · A vision transformer
#
# Patches of tiny-vit's last layer: are they a sum of small hulls? From here on, bounds follow the paper's
# statements; since it gives few numbers, they were set after one short pilot run of one seed.

# %%
vit = recorded("minkowski_vit")
vit.table("minkowski", "one image", "by construction")

# %% [markdown]
# - **Not at this scale.** Patches are not accepted as a sum of four tiles: corners are 1.4 times as far from
#   the data as with a Gaussian of the same covariance, a free simplex explains more, lines leave the data no
#   more than in a Gaussian, and coefficients form weaker blocks than there (weights that sum to 1 make blocks
#   by themselves). One shape, 4 × 4, was chosen beforehand; no other was searched for.
# - **Ten archetypes of one image** explain 0.90 of its patches, the SAE 0.88; ten of the same number of patches
#   of many images only 0.74. It **holds**, with five seeds.
# - **By construction** is just that: a head's output is a mixture of its values to 3e-7, in the trained model
#   (20   of 69 values) and in the hardly trained one (42). It is not evidence about training.
#
# ## 4 · What do tasks recruit?
#
# tiny-vit has three linear heads. With x̂ = z D + b, the answer of a head W is a sum over atoms, and $I_{iy}
# = E[z_i]\,(D W^\top)_{iy}$ attributes it exactly. The images are rendered, so we know where the digit is,
# and can take it out.

# %%
seen = show_pictures(seed=9, pictures=240)
sae = trained_sae(seen, steps=300)
codes, gone = (sae.encode(seen.patches(acts)) for acts in (seen.test, seen.blank))
pooled = seen.patches(seen.train).view(-1, 64, 64).mean(dim=1)
weight, bias = sn.minkowski.linear_probe(pooled, seen.trained_on.digit)

# %% [markdown]
# A linear probe reads the digit off the mean patch, so its answers are sums over patches, too. An atom is
# **elsewhere** if it fires away from the object (off-ratio > 0.8) and stops firing when the object is taken out
# (dependence > 0.8): the shaded corner. Large: the ten atoms that matter most to "3".

# %%
rows = (seen.pictures.digit.repeat_interleave(64) == 3).nonzero()[:, 0]
on_digit = seen.pictures.patch_mask.flatten()[rows]
places = sn.minkowski.elsewhere_scores(codes.rows(rows), gone.rows(rows), on_digit)
top = sn.minkowski.recruit(codes.rows(rows), sae.dictionary, weight).top(3, 10)
ratio, needs = places.off_ratio.numpy(), places.dependence.numpy()
figure_widget(figures.elsewhere_figure(ratio, needs, top.numpy()), height=340)

# %%
tasks = recorded("recruitment_vit")
tasks.table("exact", "borders", "elsewhere")

# %%
tasks.table("task subspaces", "registers")

# %% [markdown]
# - Attribution is **exact**, as it must be. 38 atoms share a digit, 41 a texture, 97 the foreground: here it
#   is the segmenting task that recruits widely, not the classifying ones.
# - **Borders: holds**, 0.81 against 0.52 for all atoms. But the same atoms score 0.80 on the digit itself:
#   these strokes are one or two patches wide and have no inside, so border and object cannot be separated
#   here.
# - **Elsewhere: partly.** Two of a digit's ten most important atoms, against one of ten of all atoms; the
#   difference, 0.10 ± 0.04, is not two deviations beyond the line.
# - **Task subspaces and register atoms: not at this scale.** A task's atoms are hardly more alike than random
#   ones (0.137 against 0.118), and no atom fires on registers alone.
#
# One atom that matters to foreground, on one image, with the digit and without:

# %%
head = seen.model.get_module("foreground").weight.detach()
atom = int(sn.minkowski.recruit(codes, sae.dictionary, head).top(0, 1))
of_atom = [z.to_scipy()[:, atom].toarray().reshape(-1, 8, 8) for z in (codes, gone)]
picture = int(of_atom[0].sum(axis=(1, 2)).argmax())
maps = dict(zip((f"atom {atom}", "digit taken out"), (m[picture] for m in of_atom), strict=True))
mask = seen.pictures.patch_mask[picture].view(8, 8).numpy()
figure_widget(figures.maps_figure(maps, mask), height=320)

# %% [markdown]
# ## 5 · Geometry, with floors
#
# The angles between atoms say little without those of random directions, and what vectors spread out as far as
# possible do. The Archetypal SAE is there since its constraint alone changes the geometry.

# %%
held = trained_sae(seen, "Archetypal", steps=150)
shapes = {
    "TopK": sae,
    "Archetypal": held,
    "pretrained, layer 6": sn.load_sae("tiny-vit/resid_post.6"),
}
geometry = {name: sn.minkowski.dictionary_geometry(s.dictionary) for name, s in shapes.items()}
geometry |= sn.minkowski.geometry_floors(256, 64)
figure_widget(figures.cosines_figure(geometry), height=340)

# %%
vit.table("tails", "co-activation", "position")

# %% [markdown]
# - **Tails: holds.** Learned atoms come closer to each other than random ones (99th percentile 0.40 against
#   0.32), and use 46 of 64 directions. The hull adds 0.03 of that by itself: judge Archetypal dictionaries
#   against it. Hoyer is that of random directions, so no alignment with the axes.
# - **Co-activation: holds**, 0.35 against 0.00 for permuted atoms (the paper: 0.28).
# - **Position: not at this scale.** Mean states per position use 4.6 directions after the last layer, more than
#   after the first block (3.9), and row and column are read less well (R² 0.46 against 0.84).
#
# ## 6 · Manifolds
#
# A direction is not the only alternative to a point. On planted circles and segments (arXiv 2604.28119), what
# does a TopK do as k grows?

# %%
recorded("manifold_capture").table()

# %% [markdown]
# - **It peaks**: eight latents explain 0.998 of a manifold at k = 4, and 0.94 at k = 16, where it is diluted.
# - **Tiles**: receptive fields are narrowest at k = 2, 0.08 of a manifold, against 0.21 at k = 16.
# - **Support: not here.** The number of atoms per manifold is 4.4, 3.8, 4.7 and 4.9: it does not rise at every
#   step.
#
# ## 7 · The checked numbers
#
# `low` and `high` are the mean over seeds less, or plus, two standard deviations.

# %%
# The pair accepts the planted sum and refuses simplex and Gaussian; lines leave gated sums only.
assert planted.low("minkowski block r2") > 0.99
assert planted.high("minkowski block off-support") < 2.5 < planted.low("gaussian block off-support")
assert planted.high("accepted elsewhere") == 0 < planted.low("minkowski accepted")
assert planted.low("archetypes found") > 0.95 > planted.high("archetypes found, start from rows")
assert planted.low("one tile line − neighbours") > 0.1 > planted.high("all tiles line − neighbours")

# %%
# Exact attribution and borders hold; task subspaces and registers do not at this scale.
assert max(tasks.high(f"{name} inexact") for name in ("TopK", "Archetypal")) < 1e-4
assert tasks.low("border beyond all") > 0.1
assert tasks.verdict("task subspaces") == tasks.verdict("registers")
assert tasks.verdict("registers") == "does not hold at this scale"

# %%
# The transformer's states are not accepted; geometry is beyond its floors.
assert vit.verdict("minkowski") == vit.verdict("position") == "does not hold at this scale"
assert vit.low("off-support / null") > 1
assert vit.low("heavier tails") > 0.05
assert vit.low("TopK co-activation beyond permuted") > 0.1
assert vit.high("heads rest, step 250") < 1e-4

# %%
# Manifolds are tiled at small k and diluted at large k.
manifolds = recorded("manifold_capture")
assert manifolds.low("peak inside") == 1
assert manifolds.low("spread at largest k − smallest k") > 0.1

# %%
# The run here agrees.
assert live.accepted
assert live.scores["block"].off_support < 2.5 < live.null_off_support
found = geometry["TopK"]
assert found.percentile_99 > geometry["random"].percentile_99 > found.welch

# %%
exercise_report("08")
