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
# # Attention in atoms
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/40_attention_in_atoms.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/40_attention_in_atoms.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/40_attention_in_atoms.html)
#
# You need 19 and 30; 10 minutes with the exercises, 20 seconds of computing. Afterwards you can write an attention layer as
# heads of one direction each, say where each of them looks, and test whether what they look for was found or given.
#
# A transcoder replaces an MLP by atoms: each reads one direction and writes one. It sees one token, and attention is about
# the others. Lorsa gives each atom a look: it reads its direction *there*, and writes *here*.

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
import numpy as np
import pandas as pd
import torch

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_studies.circuits import draw_lorsa_heads, lorsa_head_scores
from sae_nb_studies.reproductions.experiments.lorsa_heads import letters, with_random_looks
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## 1 · One direction in, one out
#
# A head of a model hands on a vector. Make it as thin as can be: it reads one direction at each token that it looks at.

# %%
exercise("40.1")


# %% tags=["exercise"]
def strength(pattern, x, read):
    return ...


exercise("40.1").check(strength)

# %% [markdown]
# A Lorsa has hundreds of them. They share patterns in groups, of each token the k strongest write, and all of it is trained
# to write what the layer writes. Here it begins as layer 1 of `tiny-induction`: the same queries and keys, directions by lot.

# %%
model, texts = sn.load_model("tiny-induction"), letters(400, seed=0)
begun = sn.Lorsa.of_layer(model, 1, texts[:32], n_atoms=128, k=8)
acts = sn.capture(model, texts, list(begun.places), drop_first=False, progress=False)
x, y = acts.values()
begun

# %% [markdown]
# ## 2 · Found, or given?
#
# The four heads of this layer do induction (30), so a Lorsa that begins with their queries and keys does it from the
# start. That would prove nothing. So draw queries and keys at random, and let training find where to look.

# %%
exercise("40.2")

# %% tags=["exercise"]
guess = ...
exercise("40.2").predict(guess)

# %% tags=["exercise"]
exercise("40.2").reveal()

# %%
trained, r2, best = {}, {}, {}
for looks in ("learned", "left as drawn"):
    lorsa = trained[looks] = with_random_looks(begun, 0, learned=looks == "learned")
    sn.train(lorsa, (x, y), steps=150, batch_size=1024, seed=0, progress=False)
    r2[looks] = float(sn.evaluation.explained_variance(y.x, lorsa(x).detach()))
    scores = np.nan_to_num(lorsa_head_scores(model, lorsa).score("induction"))
    best[looks] = np.sort(scores)[-8]
pd.DataFrame({"R² of the layer": r2, "induction, eighth best head": best})

# %% [markdown]
# Both have the same atoms to learn. What differs is whether they may learn where to look.
#
# ## 3 · Look at them
#
# On the left a head of the model, beside it the two heads of the Lorsa that are strongest on the last letters. A row is
# where one letter looks; rows at which a head of the Lorsa is not active are empty.

# %%
text = "q k e f z q k e f z"
found = trained["learned"]
strengths = found.encode(sn.capture(model, [text], x.hook_point, drop_first=False, progress=False))
strongest = strengths.to_dense()[-4:].sum(dim=0).topk(2).indices.tolist()
figure_widget(draw_lorsa_heads(model, found, text, strongest, heads=[3]), height=320)

# %% [markdown]
# The model's head looks for every letter. A head of one direction looks for some letters: it is active where what stands
# there is what it reads.
#
# ## 4 · A layer of a model of stories
#
# `tiny-gpt`, layer 2, on stories that it was not trained on; five seeds. *Token alone* is a transcoder of as many atoms.

# %%
stories = recorded("lorsa_heads")
stories.table("as the layer")

# %% [markdown]
# Are its heads of one plain kind (previous token, same token, induction)? Yes, and so are random directions of what the
# model's own heads write:

# %%
stories.table("one kind each")

# %% [markdown]
# A pattern that was clean before stays clean in every direction that is read through it. That a Lorsa's heads look tidy
# says little until you know what directions by lot look like.
#
# ## 5 · The checked numbers

# %%
assert r2["learned"] > r2["left as drawn"] + 0.3
assert best["learned"] > 0.8 > 0.4 > best["left as drawn"]
assert stories.verdict("as the layer") == "holds"
assert stories.verdict("one kind each") != "holds"
exercise_report("40")

# %% [markdown]
# ## Read further
#
# - He et al., *Towards Understanding the Nature of Attention with Low-Rank Sparse Decomposition* (arXiv 2504.20938): Lorsa, in
#   models of billions of parameters.
# - Olsson et al., *In-context Learning and Induction Heads* (arXiv 2209.11895).
