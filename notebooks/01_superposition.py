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
# # Neurons or atoms? A toy whose truth is known
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/01_superposition.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/01_superposition.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/01_superposition.html)
#
# You need dot products, and what a basis is; 35 minutes with the exercises, 35 seconds of computing. Afterwards you
# can say when features share neurons, and hold a claim against random directions.
#
# Many neurons fire for things that have nothing in common. One explanation is **superposition**: the
# network stores more features than it has neurons, as directions between the neurons' axes. Then directions are the
# thing to look at. Which?
#
# We begin with a toy where the answer is known (Elhage et al. 2022, arXiv 2209.10652), let a [sparse
# autoencoder](../docs/glossary.md) (SAE) search, and then ask the same of a small vision transformer.

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
import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.studies import raw_rows_cosine

# %% [markdown]
# ## 1 · Five features, two neurons, one slider
#
# The toy reads five numbers, squeezes them through two neurons, and has to give all five back:
# $\hat x = \mathrm{ReLU}(W^\top W x + b)$. Each feature is 0 with probability $S$, the *sparsity*, and else
# somewhere between 0 and 1; feature 0 matters most, feature 4 least.
#
# The panel trains such a toy at twelve sparsities. **Move the slider to its left end, then slowly to the right**, and
# watch the arrows: one per feature; the two neurons are the axes.

# %%
panel = sw.SuperpositionToy()
panel

# %%
exercise("01.1")

# %% tags=["exercise"]
read_off = ...
exercise("01.1").check(read_off)

# %% [markdown]
# At $S = 0$ the toy keeps the two features that matter most, one per dimension. The rarer the features, the more it
# stores: four in two opposite pairs, then all five. What they cost each other is in $W^\top W$: off the diagonal,
# everything that is not white is *interference*. The ReLU forgives the blue (negative) part, unless both
# features are on.
#
# How much room does a feature get? Its *dimensionality* is
# $D_i = \lVert w_i\rVert^2 \,/\, \sum_j (\hat w_i \cdot w_j)^2$: 1 when it is at right angles to all
# others, ½ when it shares its direction with one opposite as long. The curves at the bottom left show it.

# %%
panel.wait(180)
panel.sparsity = 0.97
panel.wait(180)
record = panel.record
print(f"{len(record.stored)} of 5 features are stored in {record.n_hidden} neurons;")
print(f"together they use {record.dimensionality.sum():.2f} of {record.n_hidden} dimensions")

# %%
assert record.stored == (0, 1, 2, 3, 4), "rare features are all stored"
assert 1.95 < record.dimensionality.sum() < 2.01, "in no more room than there is"
assert record.interference.min() > 0.5, "and each has some with others"

# %%
exercise("01.2")

# %% tags=["exercise"]
share = ...
exercise("01.2").check(share)

# %%
exercise("01.3")

# %% [markdown]
# Any order and any rotation is right.

# %% tags=["exercise"]
directions = ...
exercise("01.3").check(directions)

# %% [markdown]
# ## 2 · When does sharing begin?
#
# The smallest case: two features and one neuron. Either the first feature has the neuron to itself, or
# the two share it as opposites, $W = [1, -1]$. Sharing hurts only when both are on at once.

# %%
exercise("01.4")

# %% tags=["exercise"]
guess = ...
exercise("01.4").predict(guess)

# %% tags=["exercise"]
exercise("01.4").reveal()

# %% [markdown]
# Both losses can be written down, where $r$ = .3 is how much the second feature matters: giving the neuron away costs
# $r$ times that feature's variance, sharing it as $[1, -1]$ costs $(1 + r)(1 - S)^2/6$. They cross at

# %%
print(f"a sparsity of {sn.evaluation.critical_sparsity(0.3):.2f}")

# %% [markdown]
# The trained toy above shares a little earlier: it also tunes its biases and the lengths of both arrows.

# %% [markdown]
# ## 3 · Who finds the directions?
#
# Unfolded, the panel trains an SAE on the two hidden numbers; the rings are its atoms. We measure the cosine of each
# feature with its atom, and the *F1* of its best detector on new inputs: misses and false alarms lower it below 1.

# %%
panel.details = True
panel.wait(180)
print(panel.record.found.headline)

# %% [markdown]
# Atoms win on both. But in a plane random directions are never far from anything.
#
# So leave it: 32 features in 10 neurons, three times. The hard floor is **64 raw rows of data**: where features
# are rare, many rows have a single one on, and *are* its direction. So features here are on one time in ten, about
# three in a row.

# %%
seeds, equal = range(3), torch.ones(32)
shape = {"n_features": 32, "n_hidden": 10, "importance": equal, "n_restarts": 1, "steps": 400}
toys = [sn.models.train_bottlenecks([0.9], **shape, seed=seed)[0] for seed in seeds]
saes = [sn.evaluation.fit_atoms(toys[s], k=4, steps=300, n_starts=1, seed=s) for s in seeds]
runs = [sn.evaluation.summarise_superposition(toys[s], saes[s], seed=s) for s in seeds]
raw = [raw_rows_cosine(toys[s], 64, seed=s) for s in seeds]
for run, floor in zip(runs, raw, strict=True):
    print(f"{len(run.stored)} of 32 features in {run.n_hidden} neurons: {run.found.headline};")
    print(f"   64 raw rows have cosine {floor:.3f}")

# %% [markdown]
# In all three, atoms lie on the features; raw rows, random directions and neurons do not. A cosine of .8
# would have proved nothing: raw rows reach it. As detectors, atoms reach about .7 (random .5; raw rows were not
# tried): the directions are right, but with three features on in ten neurons the code is often wrong.

# %%
for run, floor in zip(runs, raw, strict=True):
    found = run.found
    assert floor < 0.9, "raw rows do not"
    assert len(run.stored) == 32, "32 features in 10 neurons"
    assert found.cosine > 0.99, "atoms lie on the features"
    assert max(found.cosine_floor, found.cosine_neurons) < 0.70, (
        "random directions and neurons do not"
    )
    assert found.atom_f1.mean() > 0.63 > 0.53 > max(found.neuron_f1.mean(), found.random_f1.mean())

# %% [markdown]
# ## 4 · The same question, asked of a real model
#
# `tiny-vit` looks at handwritten digits. At `resid_post.6` its class token, which sums up the image,
# is 64 numbers, here called neurons. A pretrained SAE takes them apart into 512 atoms. Which neuron, atom, or one of
# 512 random directions detects each digit best? Detector and threshold are chosen on 500 images and judged on 500
# others, three times.

# %%
model = sn.load_model("tiny-vit")
sae = sn.load_sae("tiny-vit/resid_post.6")
sae

# %%
names, draws = [f"digit {d}" for d in range(10)], []
for seed in (10, 11, 12):
    scenes = sn.data.scenes(1000, seed=seed, split="test")
    acts = sn.capture(model, scenes, sae.hook_point, progress=False)
    cls, digit = acts.x[acts.position == 0], scenes.digit[:, None] == torch.arange(10)
    some, fresh = (sn.evaluation.row_factors(half, names) for half in digit.split(500))
    digits = sn.evaluation.summarise_selectivity(sae, cls[:500], some, cls[500:], fresh, seed=seed)
    draws.append(digits)
    print(digits.headline)
digits.table

# %% [markdown]
# (Table: the last draw.) In the mean over digits, atoms (512 to choose from) beat neurons (64) in
# every draw, though not for each digit: see 7. But so do 512 *random directions*, once better than the atoms: "better
# than a neuron" is no evidence for an SAE.
#
# Atoms differ in rebuilding: R² is the share of the variance that 16 of them explain. Controls: 16 of 512 random
# directions; each row's 16 largest of 64 neurons, the mean removed.

# %%
rows = acts.split(0.15, seed=0)[0]
r2 = sn.evaluate(sae, rows)["r2"]
squares = (rows.x - rows.x.mean(dim=0)) ** 2
neurons = squares.topk(16, dim=1).values.sum() / squares.sum()
print(f"R² {r2.value:.2f}; with random directions {r2.control:.2f}, with neurons {neurons:.2f}")

# %% [markdown]
# Where is the best atom for 0 on? Its strongest firings are all in images of a 0, at tokens for no patch:

# %%
browser = sw.AtomBrowser(sae, acts, model=model)
browser.atom = digits.match("digit 0").atom
browser

# %%
for draw in draws:
    assert draw.atoms.mean() - draw.neurons.mean() > 0.06, "in the mean atoms beat neurons"
    assert draw.random.mean() - draw.neurons.mean() > 0.05, "but so do random directions"
assert r2.value > 0.95 > 0.8 > max(r2.control, neurons), "few neurons or directions rebuild less"

# %% [markdown]
# Neurons or atoms, then? In the toy, atoms. In the real model they rebuild more than as many neurons or random
# directions, which is what they were trained for, and detect about as well as random ones. Not shown: that they are
# the model's own parts, or all of them.
#
# ## 5 · Write the measure

# %%
exercise("01.5")


# %% tags=["exercise"]
def dimensionality(directions):
    return ...


exercise("01.5").check(dimensionality)

# %%
exercise_report("01")

# %% [markdown]
# **To read.** *Toy Models of Superposition* (arXiv 2209.10652): this toy; *Linear Algebraic Structure of Word Senses*
# (arXiv 1601.03764): sparse sums before SAEs; *The Linear Representation Hypothesis and the Geometry of Large Language
# Models* (arXiv 2311.03658): what “a concept is a direction” can mean.
