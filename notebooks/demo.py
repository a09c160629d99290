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
# # Demo: draw a digit, turn an atom up
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/demo.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/demo.ipynb)
#
# Two small networks, each with a **sparse autoencoder** (SAE) that decomposes its activations into *atoms*
# (papers also say *features* or *latents*: **atom = feature = latent**). Everything is trained already.

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

# %% [markdown]
# ## 1 · Draw a digit. Which atoms does the network use?
#
# **Draw on the canvas**, or choose an example. Each row is an atom: how active it is, and how much the answer
# depends on it. Here the network reads a 9; an atom for fours is active on the loop, and speaks against a 9.

# %%
import sys
import sae_nb as sn
import sae_nb_widgets as sw

vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
examples = sn.load_examples("tiny-vit/resid_post.6")
lens = sw.InputLens(vit, sae, examples=examples)
lens.draw([[(20, 16), (12, 17), (11, 13), (14, 7), (19, 7), (20, 16), (18, 26)]])
lens.sort = "attribution"
lens

# %% [markdown]
# ## 2 · Turn an atom up
#
# The same image, with that atom made stronger half-way through the network: **the 9 becomes a 4**. Pull the
# slider down to 0 and up again. The dashed grey bars are a random direction of the same length: an effect
# counts when it beats that. Draw something else or click another atom above, and this panel follows.

# %%
lens.wait()  # its answer first
lens.atom = four = examples.match("digit 4").atom
steering = sw.InputSteering(lens, examples.catalogue(sae), atom=four, strength=3.0)
steering

# %% [markdown]
# ## 3 · Steer what a language model writes
#
# A language model of 0.9 million parameters has read small stories, in which either good things happen or bad
# ones. **Type the beginning of one.** Here something bad has happened, and an atom for stories that go badly is
# active where the model must decide what comes next.

# %%
gpt, gpt_sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
stories = sn.load_examples("tiny-gpt/resid_post.3")
words = sw.InputLens(gpt, gpt_sae, examples=stories)
words.text = (
    "Tom and Lucy walked to the castle with a fox. The fox ran away and did not come back. They"
)
words.sort = "attribution"
words.atom = bad = stories.match("bad story").atom
words

# %% [markdown]
# Below, that atom is turned down below zero at every word, and **the story ends well**: before, after, and
# under a random direction of the same length. Move the slider, and press *continue the text*. One story can tip
# for any reason: the tour counts over many.

# %%
words.wait()
story_panel = sw.InputSteering(words, stories.catalogue(gpt_sae), atom=bad, strength=-2.0)
story_panel.max_new_tokens = 32
story_panel.continue_text()
story_panel

# %% [markdown]
# ## 4 · The same without panels
#
# The panels only call what you can call. The second cell fails if the text above does not hold.

# %%
images, by = examples.acts.context.pictures[:40], 3.0 * float(examples.p99[four])
before = (vit(images).argmax(dim=1) == 4).float().mean()
with sn.steer(vit, "resid_post.6", sae, atom=four, by=by):
    after = (vit(images).argmax(dim=1) == 4).float().mean()
print(f"read as a 4: {before:.0%} of 40 images, {after:.0%} with the atom turned up")

# %%
assert after > 0.9 > 0.5 > before
assert [steering.summary.before.argmax(), steering.summary.after.argmax()] == [9, 4]
told = story_panel.continuation
assert ["joy" in "".join(story) for story in (told.before, told.after)] == [False, True]
assert lens.summary.place(four) is not None, "the atom must be active in what is drawn"
assert words.summary.place(bad) is not None, "and in what is typed"
assert not {"sklearn", "umap"} & set(sys.modules), "a demo opens at once"

# %% [markdown]
# Continue with [the tour](00_tour.ipynb), which trains an SAE while you watch; or look around among the atoms:

# %%
sw.AtomBrowser(
    sae, examples.acts, atom=four, labels=examples.labels, catalogue=examples.catalogue(sae)
)
