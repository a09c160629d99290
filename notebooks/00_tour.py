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
# # The tour: from a live model to a steered one
#
# A vision transformer with twelve blocks looks at pictures of handwritten digits. Its residual stream
# mixes everything it knows about a patch into 64 numbers. A **sparse autoencoder** (SAE) takes those
# numbers apart again: into a few active *atoms* out of many, each of which can be looked at, and added
# back to the living model to see what changes.
#
# You will: load a model → capture its activations → train an SAE while watching → look at its atoms →
# check the numbers → steer. About a minute on two CPU cores; nothing is downloaded.

# %%
import time

import torch

import sae_nb as sn
import sae_nb_widgets as sw

started = time.perf_counter()

# %% [markdown]
# ## 1 · A live model
#
# The next cell is the only one that says *what* we study. Replace it by a model of yours and the rest
# runs unchanged, for example
#
# ```python
# model = sn.load_model("path/to/a/huggingface/checkpoint")
# inputs, labels, hook_point = ["a text", "another text", ...], None, "resid_post.3"
# ```

# %% tags=["material"]
model = sn.load_model("tiny-vit")
inputs = sn.data.scenes(1000, seed=7, split="test")
labels, hook_point = inputs.digit, "resid_post.8"

# %%
model

# %% [markdown]
# ## 2 · Its activations
#
# A *hook point* names a place in the model. `resid_post.8` is the residual stream after block 8: one
# vector per token. Each row of `acts` remembers which picture and which patch (or token) it came from.

# %%
acts = sn.capture(model, inputs, hook_point)
train_acts, test_acts = acts.split(0.8, seed=0)
acts

# %% [markdown]
# ## 3 · A sparse autoencoder, trained in this kernel
#
# `TopK` (Gao et al. 2024, arXiv 2406.04093) keeps the `k` largest of `n_atoms` pre-codes and rebuilds
# the activation from them. Training runs in a thread: the panel is live, and so is the kernel. Pause it,
# or move the learning rate.

# %%
generator = torch.Generator().manual_seed(0)
sae = sn.TopK(d_in=acts.d_in, n_atoms=512, k=16, generator=generator)
run = sn.start_training(sae, train_acts, sn.TrainConfig(steps=500, batch_size=1024, seed=0))
monitor = sw.TrainingMonitor(run)
monitor

# %%
result = run.wait()
result.history[-1]

# %% [markdown]
# ## 4 · Can we trust it?
#
# Each number stands beside its *floor* (what a mean predictor or a zeroed activation gets) and a
# *control* (the same kind of SAE with random atoms). `recovered` rows splice the reconstruction into
# the running model: what matters is whether the model still works on it.

# %%
report = sn.evaluate(sae, test_acts, model=model, labels=labels)
report

# %% [markdown]
# ## 5 · What makes an atom fire?
#
# Step through atoms, sort them, look at weak firings too (*band*): the strongest examples flatter every
# atom.

# %%
browser = sw.AtomBrowser(sae, test_acts, model=model)
browser

# %% [markdown]
# ## 6 · What happens if this were stronger?
#
# Which atom draws other inputs most towards the model's answer to the first one? `best_effect` tries the
# likeliest, at twice each atom's 99th percentile, beside random directions of the same length. Without
# that control every effect looks impressive.

# %%
effect = sn.best_effect(model, inputs[:24], hook_point, sae, by=2.0, unit="p99", acts=train_acts)
browser.atom = effect.atom
effect

# %%
panel = sw.SteeringPanel(model, hook_point, sae, inputs=inputs[1:17], acts=train_acts)
panel.atom, panel.strength = effect.atom, 2.0
panel

# %% [markdown]
# The grey dashed bars are the random direction: it has to be beaten. Try other samples, move the slider
# below zero, press *dose–response*. The panel only calls what you can call:

# %%
before = model(inputs[1:2])
with sn.steer(model, hook_point, sae, atom=effect.atom, by=effect.amount):
    after = model(inputs[1:2])
(after - before).abs().max()

# %% [markdown]
# ## 7 · The checked numbers
#
# The cell below fails if the tour's claims do not hold.

# %%
summary = sn.summaries.summarise_session(model, acts, report, effect, started=started)
assert report["r2"].value > report["r2"].control > report["r2"].floor
assert report["dead_fraction"].value < 0.5
assert abs(effect.effect) > effect.control_p95
assert torch.equal(model(inputs[1:2]), before), "steering must leave no trace"
print(summary)
