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
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/00_tour.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/00_tour.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/00_tour.html)
#
# You need Python, and that a transformer has layers; 35 minutes with the exercises, 30 seconds of computing.
# Afterwards you can capture and steer a model of yours, and have seen an SAE trained, evaluated and browsed.
#
# **What is a sparse autoencoder?** A neural network turns every word, or every patch of an image, into a list of
# numbers, its *activation*. A **sparse autoencoder** (SAE) finds directions, its *atoms*, such that each activation
# is nearly a weighted sum of a few of them. (Papers say *latents* or *features*, too; here a *feature* is what atoms
# should find.) Adding an atom to the running network can change its behaviour.

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
import time

import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, language_model

started = time.perf_counter()

# %% [markdown]
# ## One activation, taken apart
#
# The image shows a 0. For the patch in the frame, the network holds 64 numbers (the first row of cells). The SAE
# writes them as a sum: a part that all patches share, plus 16 of its 512 atoms; the five strongest are drawn; 3 %
# is left over. Atoms were named afterwards, by what they fire on: three of the five *digit 0*, two *ink on a patch*.
# (The network learned digits; what such names mean, [lesson 01](01_superposition.ipynb) asks.)

# %%
known = sn.load_examples("tiny-vit/resid_post.6")
one_image = sn.data.scenes(40, seed=7, split="test")[39:]
patches = sn.capture(sn.load_model("tiny-vit"), one_image, "resid_post.6", progress=False)
its_sae = sn.load_sae("tiny-vit/resid_post.6")
taken_apart = sn.atoms.sum_of_atoms(its_sae, patches, row=40, labels=known.labels)
taken_apart.plot()

# %% [markdown]
# Write that sum:

# %%
exercise("00.1")


# %% tags=["exercise"]
def rebuilt(values, atoms, dictionary, bias):
    return ...


exercise("00.1").check(rebuilt)

# %% [markdown]
# ## The whole job in ten lines
#
# ```python
# import torch
# import sae_nb as sn
# import sae_nb_widgets as sw
#
# model = sn.load_model("tiny-vit")  # or a Hugging Face model, or sn.wrap(your_module)
# images = sn.data.scenes(300, seed=7, split="test")  # handwritten digits, in colour
# acts = sn.capture(model, images, "resid_post.8")  # what block 8 passes on: a row for every token
# train_acts, test_acts = acts.split(0.8, seed=0)
#
# # 512 atoms, 16 of them on in a row; seeded, so that atom 17 is the same each time
# sae = sn.TopK(acts.d_in, n_atoms=512, k=16, generator=torch.Generator().manual_seed(0))
# sn.train(sae, train_acts, steps=300).plot()
# report = sn.evaluate(sae, test_acts, model=model)  # can it be trusted?
# browser = sw.AtomBrowser(sae, test_acts)  # what makes an atom fire?
#
# with sn.steer(model, "resid_post.8", sae, atom=17, by=4.0):  # and if it were stronger?
#     answers = model(images[:8])
# ```

# %% [markdown]
# ## 1 · A live model
#
# A vision transformer with twelve blocks, which looks at handwritten digits; its 64 numbers for a patch are
# its *residual stream*. Only the next cell names *what* we study. Put a model of yours there and the rest runs
# unchanged:
#
# ```python
# model = sn.load_model("path/to/a/huggingface/checkpoint")
# inputs, labels, hook_point = ["a text", "another text", ...], None, "resid_post.3"
# ```

# %% tags=["material"]
model = sn.load_model("tiny-vit")
inputs = sn.data.scenes(1000, seed=7, split="test")
labels, hook_point = inputs.digit, "resid_post.8"

# %% [markdown]
# ## 2 · Its activations
#
# A *hook point* names a place in the model. `resid_post.8` is the residual stream after block 8: of each image 64
# rows for its patches, and five for tokens that represent no patch: *cls*, which sums up the image, and four
# *registers*. `acts` remembers which row is which.

# %%
acts = sn.capture(model, inputs, hook_point)
train_acts, test_acts = acts.split(0.8, seed=0)
print(f"{len(acts):,} rows of {acts.d_in} numbers, from {acts.context.n_samples:,} inputs")

# %%
acts[::500].to_pandas()

# %% [markdown]
# ## 3 · A sparse autoencoder, trained in this kernel
#
# `TopK` (Gao et al. 2024) keeps the `k` largest of `n_atoms` *pre-codes*, what the encoder gives
# for each atom before anything is chosen, and rebuilds the activation from them (see the
# [glossary](../docs/glossary.md)). **R²** is the share of the variance that this explains, **L0** how many atoms are
# on in a row. The panel is live while it trains: pause it, or move the learning rate under *more*. Its bold curve is
# of images not trained on.

# %%
generator = torch.Generator().manual_seed(0)
sae = sn.TopK(d_in=acts.d_in, n_atoms=512, k=16, generator=generator)
run = sn.start_training(sae, train_acts, held_out=test_acts, steps=500, batch_size=1024, seed=0)
monitor = sw.TrainingMonitor(run)
monitor

# %%
result = run.wait()
last = result.history[-1]
print(f"R² after {result.steps} steps: {last.r2:.3f} on the last batch, which it was trained on")

# %%
exercise("00.2")

# %% tags=["exercise"]
read_off = ...
exercise("00.2").check(read_off)

# %% [markdown]
# ## 4 · Can we trust it?
#
# In each row, the full dot is this SAE, the tick its *floor* (a trivial answer), and the ring its *control* (as many
# random atoms). For the second row the model runs on with the reconstruction in place of its activations.

# %%
report = sn.evaluate(sae, test_acts, model=model, labels=labels)
card = sw.ReportCard([report], saes=[sae], acts=test_acts)
card

# %% [markdown]
# So, can we? It rebuilds what it reads: R² is far above its control. That the model answers alike is no evidence for
# these atoms: with random ones it does too. Some atoms never fire in these rows; random ones all do. (Fewer were
# *dead* in the training panel, which looks at more: its last 20 batches.)

# %% [markdown]
# ## 5 · What makes an atom fire?
#
# Where the panel found a name, its title says it; some atoms have none. Step through them, sort them, and look at
# *weak* firings too.

# %%
browser = sw.AtomBrowser(sae, test_acts, model=model)
browser

# %% [markdown]
# ## 6 · What if this were stronger?
#
# In the first of 24 images the model sees a 4. Which atom, added to all, changes the probability of a 4 most?
# `best_effect` tries the sixteen whose gradient promises most, at twice each atom's 99th percentile (one in a hundred
# of its firings is stronger), and eight random directions as long as the winner's push. That the atom is chosen
# favours it.

# %%
effect = sn.best_effect(model, hook_point, sae, inputs[:24], by=2.0, unit="p99", acts=train_acts)
browser.atom = effect.atom
print(f"{browser.names.in_text(effect.atom)}, turned up: {effect.measure}")
print(f"{effect.clean:.2f} → {effect.clean + effect.effect:.2f} on average over the inputs;")
print(f"{len(effect.control)} random directions: by at most {abs(effect.control).max():.2f}.")

# %%
panel = sw.SteeringPanel(model, hook_point, sae, inputs=inputs[1:17], acts=train_acts)
panel.atom, panel.strength = effect.atom, 2.0
panel

# %% [markdown]
# The push is about twice the atom's strongest firing in the browser: no natural state. The grey bars are random
# directions of that length: a change inside them says nothing about the atom. Move the slider below zero. The same
# push in two lines:

# %%
panel.wait()  # it runs the same model
before = model(inputs[1:2])
with sn.steer(model, hook_point, sae, atom=effect.atom, by=effect.amount):
    after = model(inputs[1:2])
print(f"the largest change of one of the answer's numbers: {(after - before).abs().max():.1f}")

# %% [markdown]
# ## 7 · Yours, and the checked numbers

# %%
exercise("00.3")


# %% tags=["exercise"]
def pushed(model, hook_point, sae, inputs, atom):
    return ...


exercise("00.3").check(pushed)

# %% [markdown]
# The cell below fails if the tour's claims do not hold. In its table, *recovered* is 1 where the model's loss is as
# with its own activations, 0 where as with zeros. Random atoms come near 1 too.

# %% tags=["closing"]
summary = sn.sessions.summarise_session(model, acts, report, effect, started=started)
assert taken_apart.left < 0.1, "the atoms must add up to the activation"
assert report.r2.value > report.r2.control > report.r2.floor
assert abs(effect.effect) > effect.control_p95
assert torch.equal(model(inputs[1:2]), before), "steering must leave no trace"
print(summary)

# %% [markdown] tags=["words"]
# ## 8 · The same with words
#
# A language model: SmolLM2-135M-Instruct where it was fetched, else a bundled one that writes small stories.

# %% tags=["words"]
lm = language_model()
print(lm)
named = list(lm.examples.labels.items())
print(f"{len(named)} of its {lm.sae.n_atoms:,} atoms have a name, for example")
print(", ".join(f"“{label}” ({atom})" for atom, label in named[:: len(named) // 8 + 1]))

# %% tags=["words"]
catalogue = lm.examples.catalogue(lm.sae)
reader = sw.AtomBrowser(lm.sae, lm.examples.acts, model=lm.model, catalogue=catalogue)
reader.atom = lm.atom
reader

# %% [markdown] tags=["words"]
# How well the name foretells where the atom fires, *how sure?* says (chance: 50 %).
# What does it *do*? Add it at every position, and let the same beginning continue:

# %% tags=["words"]
beginning, how = lm.plan.beginning, {"max_new_tokens": 24, "temperature": 0.7, "seed": 0}
print("as it is:", lm.model.generate(beginning, **how))
with sn.steer(lm.model, lm.sae.hook_point, lm.sae, atom=lm.atom, by=lm.by):
    print("steered: ", lm.model.generate(beginning, **how))

# %% tags=["words"]
story_panel = sw.SteeringPanel(lm.model, lm.sae.hook_point, lm.sae, lm.beginnings, catalogue)
story_panel.atom, story_panel.strength = lm.atom, lm.plan.strength
story_panel.continue_text()
story_panel

# %% [markdown] tags=["words"]
# One text proves nothing: sixteen beginnings are continued as they are, with the atom, and along each of two random
# directions as long. What share of the texts has a word that belongs to the atom's name? (We chose the words,
# `lm.plan.words`, the atom and the first beginning with the model in front of us; two texts are printed.)

# %% tags=["words"]
counted = lm.count()
counted.style.format({"share": "{:.0%}"})

# %% [markdown] tags=["words"]
# More than along either random direction; as they are, the share is not 0.

# %% tags=["words", "closing"]
share = counted.share
assert share["turned up"] > share.drop("turned up").max() + 0.2, (
    "the atom must do what it is named for"
)
with lm.model.lock:  # between the passes that a panel makes
    assert not lm.model.interventions, "steering must leave no trace"
print(f"texts with a word of “{lm.concept}”  {share['as it is']:.0%} → {share['turned up']:.0%}")
print(f"the same, random directions    at most {share.iloc[2:].max():.0%}")
print(f"language model                 {lm.model.name}")
print(f"seconds for the whole tour     {time.perf_counter() - started:.0f}")
print(f"peak memory (GB)               {(sn.sessions.peak_memory() or float('nan')) / 1e9:.2f}")

# %% tags=["words"]
exercise_report("00")

# %% [markdown] tags=["words"]
# Continue with [superposition](01_superposition.ipynb), or with [a model that talks](23_a_model_that_talks.ipynb).
#
# **To read.** *Sparse Autoencoders Find Highly Interpretable Features in Language Models* (arXiv 2309.08600): SAEs of
# language models; *Scaling and Evaluating Sparse Autoencoders* (arXiv 2406.04093): TopK; *Gemma
# Scope* (arXiv 2408.05147): hundreds of SAEs to load.
