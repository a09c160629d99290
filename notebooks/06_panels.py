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
# # The panels, on real activations
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/06_panels.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/06_panels.ipynb)
#
# You need 00; 35 minutes with the exercises, 20 seconds of computing. Afterwards you can find, judge, steer and
# keep an atom.
#
# Each panel answers one question, which is its title; `?` under it explains what it shows, what it cannot
# show, and which paper it is based on. Everything a mouse can do is a *trait*: read it, set it, link it.
#
# A vision model and a language model, each with an SAE that is trained already. Nothing is downloaded.

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
import time

import torch
import traitlets

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report

torch.set_num_threads(1)
started = time.perf_counter()

# %%
vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
examples = sn.load_examples("tiny-vit/resid_post.6")
catalogue = examples.catalogue(sae)
images = examples.acts.context.pictures
sevens = images[vit(images).argmax(dim=-1) == 7]

# %% [markdown]
# ## 1 · Which atoms are alike?
#
# Every point is an atom. Zoom with the wheel; hold Shift, draw around a cluster and read what its atoms
# have in common; search a label.

# %%
concepts = sw.ConceptMap(sae, examples=examples)
concepts

# %% [markdown]
# ## 2 · What makes this atom fire?
#
# Weak and random examples are shown next to the strongest ones, because maxima flatter every atom. The two
# panels are linked, so a click on the map opens the atom here. That is all it takes:

# %%
four = examples.match("digit 4").atom
browser = sw.AtomBrowser(sae, examples.acts, atom=four, labels=examples.labels, catalogue=catalogue)
link = traitlets.link((browser, "atom"), (concepts, "atom"))
browser

# %% [markdown]
# ## 3 · What if this were stronger?
#
# The model reads a 7. Strength is in multiples of the atom's own 99th percentile; *match effect size* finds
# the strength that moves the answer by so many nats instead, so that atoms are compared at the same cost.
# *Combine* keeps an atom while you choose another one. The grey dashed control has to be beaten.

# %%
steering = sw.SteeringPanel(vit, sae.hook_point, sae, sevens[:4], catalogue, atom=four)
steering.wait()
steering.target_kl = 0.5
steering.wait()
steering.dose_response()
steering

# %% tags=["exercise"]
strength = ...
exercise("06.1").check(strength)

# %% [markdown]
# A recipe is plain JSON. Another SAE's recipe is refused by name.

# %%
recipe = steering.recipe()
steering.keep_recipe()
for name in ("hook_point", "atom", "unit", "mode"):
    print(f"{name}: {recipe[name]}")

# %% [markdown]
# Twice its percentile makes the 7 a 4. Is that so special? Predict before you look.

# %% tags=["exercise"]
share = ...
exercise("06.2").predict(share)

# %% tags=["exercise"]
exercise("06.2").reveal()

# %% tags=["exercise"]
two_atoms = ...
exercise("06.3").check(two_atoms)

# %% [markdown]
# ## 4 · Which atoms does this use?
#
# Draw on the canvas. Each row is an atom: how active it is, and how much the answer depends on it.

# %%
lens = sw.InputLens(vit, sae, examples=examples)
lens.draw([[(9, 8), (22, 8), (14, 24)]])
lens

# %% [markdown]
# ## 5 · Is it learning, and what?
#
# Three SAEs learn handwritten digits in threads of this kernel. R² against L0 shows which of them no other
# one beats; the map shows every atom, gaps are dead ones; and the gallery redraws 24 atoms, which are
# images here because the inputs are pixels.

# %%
digits = torch.as_tensor(sn.data.digits().images).flatten(1).float() / 255
runs = {}
for k in (2, 4, 8):
    learner = sn.TopK(64, n_atoms=96, k=k, generator=torch.Generator().manual_seed(k))
    config = sn.TrainConfig(steps=300, batch_size=256, seed=0)
    runs[f"k = {k}"] = sn.start_training(learner, digits, config)
monitor = sw.TrainingMonitor(runs, picture_shape=(8, 8))
monitor

# %%
results = {name: run.wait() for name, run in runs.items()}
monitor.refresh()

# %% [markdown]
# ## 6 · How is this input built from atoms, step by step?
#
# Matching pursuit next to its orthogonal variant, step by step, on one state of the vision model.

# %%
rows = examples.acts.x[:8] - sae.bias.detach()
stepper = sw.PursuitStepper(rows, sae.dictionary, k=12, labels=dict(examples.labels))
stepper

# %% [markdown]
# ## 7 · The same with words
#
# Markup in a text is only text. Steering continues it before, after, and under a random direction.

# %%
gpt, word_sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
stories = sn.load_examples("tiny-gpt/resid_post.3")
words = sw.InputLens(gpt, word_sae, examples=stories)
words.text = "Tom and Lucy walked to the castle. They carried a lamp."
words

# %%
bad = stories.match("bad story").atom
story_panel = sw.InputSteering(words, stories.catalogue(word_sae), atom=bad, strength=1.5)
story_panel.max_new_tokens = 16
story_panel.wait()
story_panel.continue_text()
story_panel

# %% [markdown]
# ## 8 · All together, and taken away
#
# `sw.dashboard` lays the panels of one SAE out in one call; its tabs are built when they are opened, and
# `.save(path)` keeps selection, filters, notes and recipes. `to_html` writes what is on screen as a page
# that needs no kernel; a folder of pages shares one copy of the plotting script.

# %%
together = sw.dashboard(vit, sae, inputs=sevens[:4], examples=examples, atom=four)
together

# %% [markdown]
# ## 9 · The checked numbers

# %% tags=["closing"]
story_panel.wait()
summary = steering.summary
assert abs(summary.kl - 0.5) < 0.03, "the strength was found for that divergence"
assert summary.kl > 5 * summary.kl_random, "the same length, a random direction"
assert steering.recipes == [recipe]
assert browser.atom == concepts.atom == four
assert results["k = 8"].history[-1].r2 > results["k = 2"].history[-1].r2
assert story_panel.continuation.before != story_panel.continuation.after
print(f"found in units of p99: {steering.strength:.2f}, KL {summary.kl:.2f} nats")
print(f"the whole notebook:    {time.perf_counter() - started:.0f} s")

# %%
exercise_report("06")
