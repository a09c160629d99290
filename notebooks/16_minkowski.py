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
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/16_minkowski.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/16_minkowski.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/16_minkowski.html)
#
# You need 00; 20 minutes with the exercises, 15 seconds of computing. Afterwards you can write off-support, decide
# with two numbers whether rows are a sum of hulls, and say why R² alone identifies nothing.
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
    where = "git+https://github.com/sae-nb/sae_nb"
    parts = [f"sae-nb @ {where}", f"sae-nb-studies @ {where}#subdirectory=studies"]
    parts.append(f"sae-nb-course @ {where}#subdirectory=notebooks")
    run([sys.executable, "-m", "pip", "install", "-qc", "torch.txt", *parts], check=True)
    output.enable_custom_widget_manager()

# %%
import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, figures, recorded
from sae_nb_studies.reproductions.experiments import minkowski
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Corners of a sum

# %%
exercise("16.1")

# %% tags=["exercise"]
corners = ...
exercise("16.1").check(corners)

# %% [markdown]
# ## 2 · A statistic that can decide
#
# Three planted data sets: a sum of three tetrahedra, one simplex with twelve corners, a Gaussian without any.
# We fit **block archetypes**, tiles of 4 + 4 + 4, and rivals with the same number of archetypes. First, what
# does R² alone say?

# %%
exercise("16.2")

# %% tags=["exercise"]
guess = ...
exercise("16.2").predict(guess)

# %% tags=["exercise"]
exercise("16.2").reveal()

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

# %% [markdown]
# The pair accepts the sum, and only the sum, on every seed. The start matters: from independent subspaces the planted
# archetypes are found (cosine 1.00), from random rows they are not (0.72; random archetypes reach 0.36). One
# decision, live at short size:

# %%
live = minkowski.look(seed=0)
live

# %% [markdown]
# ### Write the measure

# %%
exercise("16.3")


# %% tags=["exercise"]
def my_off_support(corners, x):
    return ...


exercise("16.3").check(my_off_support)

# %% [markdown]
# ## 3 · Directions, in a panel
#
# The rival view: an atom is a direction. The map puts atoms that are alike near each other; its headline
# names the nearest of the chosen atom, with their cosines. Two random directions of 64 dimensions are as near as 0.32 in one
# pair of a hundred.

# %%
sae, examples = sn.load_sae("tiny-vit/resid_post.6"), sn.load_examples("tiny-vit/resid_post.6")
concepts = sw.ConceptMap(sae, examples=examples, atom=examples.match("digit 4").atom)
concepts

# %%
exercise("16.4")

# %% tags=["exercise"]
read_off = ...
exercise("16.4").check(read_off)

# %% [markdown]
# ## 4 · A vision transformer
#
# Patches of tiny-vit's last layer: are they a sum of small hulls? Bounds follow the paper's statements; since it
# gives few numbers, they were set after one short pilot run of one seed.

# %%
vit = recorded("minkowski_vit")
decided = {
    "off-support of four tiles": "hull block off-support",
    "floor: a Gaussian of the same covariance": "null off-support",
    "control: a free simplex": "hull free AA off-support",
    "R² of four tiles": "hull block r2",
    "R² of a free simplex": "hull free AA r2",
    "R² of TopK": "hull TopK r2",
}
vit.brief(decided)

# %% [markdown]
# **Not at this scale.** Corners are 1.4 times as far from the data as with a Gaussian of the same covariance, and a
# free simplex explains more. One shape, 4 × 4, was chosen beforehand; no other was searched for. And "a head's output
# is a mixture of its values" holds exactly, in the trained model and in the hardly trained one: it is not evidence
# about training.
#
# [An appendix](appendix_c_hulls.ipynb) shows what tasks recruit, the geometry of atoms, paths, and manifolds; the page
# of the [Minkowski view](../docs/methods/minkowski.md) has every line.
#
# ## 5 · The checked numbers

# %%
# The pair accepts the planted sum and refuses simplex and Gaussian.
assert planted.low("minkowski block r2") > 0.99
assert planted.high("minkowski block off-support") < 2.5 < planted.low("gaussian block off-support")
assert planted.high("accepted elsewhere") == 0 < planted.low("minkowski accepted")
assert planted.low("archetypes found") > 0.95 > planted.high("archetypes found, start from rows")

# %%
# The transformer's states are not accepted.
assert vit.verdict("minkowski") == "does not hold at this scale"
assert vit.low("off-support / null") > 1

# %%
# The run here agrees.
assert live.accepted
assert live.scores["block"].off_support < 2.5 < live.null_off_support

# %%
exercise_report("16")

# %% [markdown]
# **To read.** *Into the Rabbit Hull: From Task-Relevant Concepts in DINO to Minkowski Geometry* (arXiv 2510.08638):
# the claim that this lesson tests; *Archetypal SAE: Adaptive and Stable Dictionary Learning for Concept Extraction in
# Large Vision Models* (arXiv 2502.12892): atoms that lie in the hull of the data; *Vision Transformers Need
# Registers* (arXiv 2309.16588): what the tokens that are not patches hold.
