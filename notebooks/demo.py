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
# # Demo: turn an atom up
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/demo.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/demo.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/demo.html)
#
# A **sparse autoencoder** (SAE) decomposes the activations of a network into *atoms* (papers also say
# *latents*, or *features*). Here a language model and one of images, all trained.

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

# %% [markdown]
# ## 1 · Type anything. What if one atom were stronger?
#
# **Type a beginning**: each token names the atoms that fire at it. Choose an atom and a strength, and let the model
# continue: with more of it, without, and along three random directions of the same size. [The tour](00_tour.ipynb)
# counts over sixteen texts. The model is SmolLM2-135M-Instruct, in four bits, where `sae-nb get smollm2-135m` was typed in a terminal
# (93 MB, once), else tiny-gpt, which comes with sae_nb and knows nothing but small stories; `demo.writing(name)` and
# `demo.looking(name)` open another that was fetched and has an SAE in the package.

# %% jupyter={"source_hidden": true}
import sae_nb_widgets as sw
from sae_nb_lessons import demo

writing = sw.Deferred(demo.writing, "Loading the language model and its SAE")
writing

# %% [markdown]
# ## 2 · Draw a digit. Which atoms does the network use?
#
# **Draw on the canvas**, or choose an example. Each row is an atom: how active it is, and how much the answer
# depends on it. Here the network reads a 9; an atom for fours is active on the loop, and speaks against a 9.

# %% jupyter={"source_hidden": true}
drawing = sw.Deferred(demo.drawing, "Loading the vision model and its SAE")
drawing

# %% [markdown]
# ## 3 · Turn an atom of the image up
#
# The same image, with that atom made stronger half-way through the network: **the 9 becomes a 4**. Pull the
# slider down to 0 and up again. The dashed grey bars are a random direction of the same length: an effect
# counts when it beats that. Draw something else or click another atom above, and this panel follows.

# %% jupyter={"source_hidden": true}
steering = sw.Deferred(lambda: demo.turned_up(drawing.wait()), "Waiting for the panel above")
steering

# %% [markdown]
# ## 4 · Look around
#
# The atoms of the language model, one by one. [The tour](00_tour.ipynb) trains an SAE while you watch.

# %% jupyter={"source_hidden": true}
sw.Deferred(demo.looking, "Loading the atoms of the language model")

# %% [markdown]
# ## 5 · The same without panels
#
# The panels only call what you can call. The second cell fails if the text above does not hold.

# %%
import sae_nb as sn

steering.wait()  # it runs the same model
vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
examples = sn.load_examples("tiny-vit/resid_post.6")
four = examples.match("digit 4").atom
images, by = examples.acts.context.pictures[:40], 3.0 * float(examples.p99[four])
before = (vit(images).argmax(dim=1) == 4).float().mean()
with sn.steer(vit, "resid_post.6", sae, atom=four, by=by):
    after = (vit(images).argmax(dim=1) == 4).float().mean()
print(f"read as a 4: {before:.0%} of 40 images, {after:.0%} with the atom turned up")

# %%
assert after > 0.9 > 0.5 > before
assert not {"sklearn", "umap"} & set(sys.modules), "a demo opens at once"
