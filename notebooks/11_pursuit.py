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
# # Pursuits: finding the few atoms that explain an input
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/11_pursuit.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/11_pursuit.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/11_pursuit.html)
#
# You need dot products and least squares; 40 minutes with the exercises, 25 seconds of computing. Afterwards you
# can write matching pursuit, and say what each pursuit promises and costs.
#
# A dictionary has many more atoms than an input has numbers, so an input can be written in endlessly
# many ways. A **sparse code** uses few atoms. An SAE's encoder guesses which in *one step*: a product,
# a threshold. A **pursuit** takes its time: it picks an atom, looks at what is *left*, and picks again.
#
# You will watch codes come about, step by step; check what pursuits promise; and measure when one step
# is not enough, on data with known answers and on a live model's activations. Nothing is
# downloaded.

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
from sae_nb_lessons.figures import encoder_figure, support_figure
from sae_nb_lessons.studies import measure_pursuits, study_encoders, study_supports
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · A digit, stroke by stroke
#
# First a dictionary to pursue with: 128 atoms for real handwritten digits, learned by an SAE whose
# encoder *is* a pursuit (`MatchingPursuit`, arXiv 2506.03093). Like every SAE it subtracts a bias
# first, here about the mean digit; what is pursued is the rest.

# %%
digits, unseen = sn.data.digits("train"), sn.data.digits("test")
generator = torch.Generator().manual_seed(0)
sae = sn.MatchingPursuit(d_in=64, n_atoms=128, k=8, generator=generator)
sn.train(sae, digits.images.flatten(1), steps=400, batch_size=512, seed=0)
images = unseen.images.flatten(1)
strokes = images - sae.bias.detach()

# %% [markdown]
# Above, the digit is put together; below, each bar is the correlation of one atom with what is left. The
# ringed one is taken next. Press play, or go step by step (← →), and back again.
#
# - Taking an atom removes its bar *and shrinks the bars of every atom that overlaps with it*. The
#   correlations lose one row of the Gram matrix D Dᵀ; the kernels compute it in just this way.
# - **Matching pursuit** (MP) adds one coefficient per step and never corrects it. **Orthogonal** matching
#   pursuit (OMP) refits all of them: watch the ticks, which are the coefficients before the step.
# - Digits appear coarse to fine: the first atoms are whole shapes, the later ones corrections.

# %%
look = {"picture_shape": (8, 8), "bias": sae.bias}
stepper = sw.PursuitStepper(images[:40], sae.dictionary, k=12, **look)
stepper.show_bars = True
stepper

# %%
exercise("11.1")

# %% tags=["exercise"]
read_off = ...
exercise("11.1").check(read_off)

# %% [markdown]
# What is shown is what runs: the panel reads the trace of the same kernels as `sn.matching_pursuit`.

# %%
codes, trace = sn.matching_pursuit(strokes[:1], sae.dictionary, k=12, trace=True)
for atom, left in zip(trace.atoms[0], trace.residual_norms[0], strict=False):
    print(f"atom {int(atom):3d} is chosen; length left {float(left):.2f}")

# %%
exercise("11.2")

# %% tags=["exercise"]
left = ...
exercise("11.2").check(left)

# %% [markdown]
# ## 2 · What pursuits promise, and what they cost
#
# With atoms of length 1, ‖r‖² falls by the square of the correlation, so the residual never grows, and it
# is orthogonal to the atom just taken. OMP's is orthogonal to *all* atoms taken so far. Measured on every
# step of all 397 unseen digits:

# %%
checks = measure_pursuits(strokes, sae.dictionary, k=12)
print(checks)

# %% [markdown]
# On average OMP leaves less. On single inputs it need not: both are greedy, and once they have parted,
# the better step now can be the worse start for the next one.
#
# A pursuit estimates its cost beforehand. Here is the plan for a real size: 4 096 activations of width 768, 8
# 192 atoms, 32 steps.

# %%
rows, atoms = torch.randn(4096, 768), torch.randn(8192, 768)
print(sn.pursuit.explain_plan(rows, atoms, k=32, normalise=True))

# %% [markdown]
# Greed can be fooled by a single atom. (There is more than one answer.)

# %%
exercise("11.3")

# %% tags=["exercise"]
bait = [..., ...]
exercise("11.3").check(bait)

# %% [markdown]
# ## 3 · Not greedy: ISTA and FISTA
#
# Another way to few atoms is a price on them: minimise ½‖x − zD‖² + λ‖z‖₁. ISTA moves *all* coefficients a
# little at every step, then subtracts the price; FISTA does so with momentum. The dotted line is λ. They
# are done when every atom of the code correlates with what is left by exactly λ, and no other by more.

# %%
both = ["omp", "fista"]
priced = sw.PursuitStepper(images[:40], sae.dictionary, algorithms=both, k=12, **look)
priced

# %% [markdown]
# FISTA's coefficients are too small by design (the price), and it keeps more atoms than OMP needs. Its gain
# is that no early choice is final.
#
# ## 4 · When is one step not enough?
#
# An SAE's encoder has one step. On data with a planted dictionary we know which atoms made each input, so we
# can count how many of them an encoder *names*. The similarity of the atoms is what varies. Predict before
# you look.

# %%
exercise("11.4")

# %% tags=["exercise"]
guess = ...
exercise("11.4").predict(guess)

# %% tags=["exercise"]
exercise("11.4").reveal()

# %%
families = study_supports("families")
leaning = study_supports("common direction")
figure_widget(support_figure([families, leaning]), height=340)

# %%
families.table

# %% [markdown]
# Left, atoms come in families of eight siblings. One step takes the siblings of a strong atom for atoms of
# their own, and fails first; pursuits subtract the strong atom, and its siblings sink with it. Even the best
# linear encoder there is, *fitted to the true codes*, names fewer than eight in ten. The part that only
# iterating finds is the **amortisation gap**.
#
# Right, all atoms lean one way, and the verdict turns: a common direction lifts all correlations alike
# and leaves their order as it was, so one step does not even notice; but MP takes far too much with its
# first atom and never gives it back. OMP refits, FISTA holds best. *Coherent* is not one thing.
#
# Points are three seeds; the dashed line is random atoms.
#
# ## 5 · A live model
#
# The pretrained SAE of `tiny-vit` has a TopK encoder, trained with k = 16. We keep its dictionary and let
# pursuits encode activations of images it has never seen, with the same number of atoms.

# %%
vit = sn.load_model("tiny-vit")
topk = sn.load_sae("tiny-vit/resid_post.6")
acts = sn.capture(vit, sn.data.scenes(40, seed=11, split="test"), "resid_post.6")
encoders = study_encoders(topk, acts.x)
figure_widget(encoder_figure(encoders), height=340)

# %%
encoders.table

# %% [markdown]
# The learned encoder is good near the k it was trained for and leaves a little on the table; beyond it,
# the gap opens, since it never learnt which atom comes seventeenth. The *tied* one step, which
# keeps the k largest correlations with the dictionary itself, overshoots: correlated atoms explain the
# same thing again and again. (Its R² below zero is outside the plot; see the table.)
#
# The same activations, one at a time:

# %%
examples = sn.load_examples("tiny-vit/resid_post.6")
also = {"bias": topk.bias, "labels": examples.labels}
lens = sw.PursuitStepper(acts, topk.dictionary, k=16, **also)
lens.row = 33
lens

# %% [markdown]
# Now write your own.

# %%
exercise("11.5")


# %% tags=["exercise"]
def pursue(x, dictionary, k):
    # begin with n coefficients of 0, and with all of x left
    # k times: correlate what is left with all atoms, take the best, subtract its part
    return ...


exercise("11.5").check(pursue)

# %%
exercise_report("11")

# %% [markdown]
# ## 6 · The checked numbers
#
# The cells below fail if the claims of this notebook do not hold.

# %%
# The panel shows what the kernels did; residuals never grow and are orthogonal to what was taken.
stepper.wait()
shown = stepper.steps[0]
assert torch.equal(torch.from_numpy(shown.chosen), trace.atoms[0, : shown.n_steps].long())
assert checks.mp_growth <= 0
assert checks.omp_growth <= 1e-6
assert checks.last_atom < 1e-5
assert checks.whole_support < 1e-4
assert checks.omp_left < checks.mp_left

# %%
# Families break one step first, on every seed; a common direction breaks matching pursuit first.
one, mp = families.of("one step"), families.of("matching pursuit")
assert (one[0] - one[-1]).min() > 0.3 > 0.25 > (mp[0] - mp[-1]).max()
assert families.gap.min() > 0.15
one, mp = leaning.of("one step"), leaning.of("matching pursuit")
assert abs(one[0] - one[-1]).max() < 0.02
assert (mp[0] - mp[-1]).min() > 0.5
assert max(families.floor.max(), leaning.floor.max()) < 0.04

# %%
# On the model: pursuits beat the learned encoder at every k, and OMP beats MP in the mean.
assert (encoders.of("orthogonal matching pursuit") >= encoders.of("matching pursuit") - 1e-6).all()
assert encoders.gap.min() > 0
assert encoders.omp_worse.max() < 0.05
at_16 = encoders.ks.index(16)
assert encoders.gap[-1] > encoders.gap[at_16]
assert encoders.of("one step, tied")[at_16] < 0
print(f"amortisation gap in R²: {encoders.gap[at_16]:.3f} at k = 16, {encoders.gap[-1]:.3f} at 32")

# %% [markdown]
# **To read.** *From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit* (arXiv
# 2506.03093): matching pursuit as the encoder of an SAE; *Scaling and Evaluating Sparse Autoencoders* (arXiv
# 2406.04093): TopK, the encoder of one step that pursuits are compared with here; *Sparse Autoencoders Find Highly
# Interpretable Features in Language Models* (arXiv 2309.08600): the ℓ1 encoder, the other way to few atoms.
