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
# # Attention by hand
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/31_attention_by_hand.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/31_attention_by_hand.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/31_attention_by_hand.html)
#
# You need 30; 35 minutes with the exercises, 15 seconds of computing. Afterwards you can calculate a head from its weights,
# and read off two matrices over letters what it looks for and what it writes.
#
# In 30 you measured what heads do. Here you read it off the weights, without a text: a head is one product that says where
# to look and another that says what to write, and two heads in a row are a product too.

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
import pandas as pd
import torch

import sae_nb as sn
from sae_nb.figures import heatmaps
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.exercises import copying_score
from sae_nb_lessons.studies import by_hand
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.2f}".format
induction = sn.load_model("tiny-induction")

# %% [markdown]
# ## 1 · One head, two formulas
#
# A head reads the stream *x* after a norm. It asks with W_Q, offers with W_K, hands on W_V, and puts that into the stream
# with W_O. `head_weights` cuts one head out of the joint matrices and folds the norm's gain into them:

# %%
w = by_hand.head_weights(induction, 1, 3)
print(", ".join(f"{name} {tuple(value.shape)}" for name, value in w._asdict().items()))

# %%
exercise("31.1")


# %% tags=["exercise"]
def attention(x, W_Q, b_Q, W_K, b_K):
    return ...


exercise("31.1").check(attention)

# %%
exercise("31.2")


# %% tags=["exercise"]
def written(x, pattern, W_V, b_V, W_O):
    return ...


exercise("31.2").check(written)

# %% [markdown]
# ## 2 · Looking: two heads in a row
#
# Head 1.3 is an induction head: at the last letter, it looks behind the earlier copy of it. It cannot find that place by
# itself, since it looks at what stands *after* the copy. Head 0.2 has written there which letter stood before. So head
# 1.3's score is a product of six matrices, from the letter that asks to the letter that stood before the key:

# %%
exercise("31.3")


# %% tags=["exercise"]
def qk_circuit(letters, W_V, W_O, W_Q, W_K):
    return ...


exercise("31.3").check(qk_circuit)

# %% [markdown]
# Left: head 0.2 writes the message. Middle: head 0.0 does. Right: a random matrix as large as that of head 0.2. Rows are the
# letter that asks, columns the letter that stood before the key.

# %%
through = {
    "through head 0.2": by_hand.asked_through(induction, 3, 2),
    "through head 0.0": by_hand.asked_through(induction, 3, 0),
    "through a random matrix": by_hand.asked_through(induction, 3, 2, seed=0),
}
scores = {name: m.numpy() for name, m in through.items()}
hover = "row %{y}, column %{x}: %{z:.1f}"
figure_widget(heatmaps(scores, ends=(-20, 20), hover=hover, bar="score", signed=True), height=300)

# %%
exercise("31.4")

# %% tags=["exercise"]
guess = ...
exercise("31.4").predict(guess)

# %% tags=["exercise"]
exercise("31.4").reveal()

# %%
senders = {f"0.{head}": by_hand.asked_through(induction, 3, head) for head in range(4)}
for seed in range(5):
    senders[f"random {seed}"] = by_hand.asked_through(induction, 3, 2, seed=seed)
found = pd.Series({name: by_hand.own_largest(m) for name, m in senders.items()})
found.to_frame("letters that find their own")

# %% [markdown]
# ## 3 · Writing: does it copy?
#
# What a look at a letter adds to the logit of each letter is the other product, W_V W_O between embedding and unembedding.

# %%
exercise("31.5")


# %% tags=["exercise"]
def copying(matrix):
    return ...


exercise("31.5").check(copying)

# %%
drawn = torch.randn(26, 26, generator=torch.Generator().manual_seed(0))
heads = [(layer, head) for layer in (0, 1) for head in range(4)]
copies = {f"{layer}.{head}": by_hand.copied(induction, layer, head) for layer, head in heads}
score = pd.Series({name: copying_score(m) for name, m in [*copies.items(), ("random", drawn)]})
score.to_frame("copying")

# %% [markdown]
# All four heads of layer 1 copy. Head 0.2 has a high score too, and copies nothing to the answer: what it writes is
# read by the keys of layer 1 (30 §4). A score of weights says what a head could do, not what is made of it.
#
# ## 4 · The model from two matrices
#
# Take the two matrices alone: no MLP, no positions, no other head. Look where the first says, copy what the second says.
# How many of 64 texts get the model's right letter?

# %%
pairs = sn.data.prompt_pairs("induction", 64, seed=0, model=induction)
wanted = [target.strip() for target in pairs.targets]


answers = {
    name: by_hand.answers_by_hand(pairs.clean, m, copies["1.3"]) for name, m in senders.items()
}
by_two = pd.DataFrame(answers).eq(wanted, axis=0).mean()
by_two.to_frame("right answers")

# %% [markdown]
# ## 5 · The checked numbers

# %%
control = [f"random {seed}" for seed in range(5)]
assert found["0.2"] == 1
assert found.drop("0.2").max() < 0.35
assert score[["1.0", "1.1", "1.2", "1.3"]].min() > 0.99
assert abs(score["random"]) < 0.2
assert by_two["0.2"] == 1
assert by_two[control].max() < 0.15 < by_two["0.0"] < 0.5
exercise_report("31")

# %% [markdown]
# ## Read further
#
# - Olsson et al., *In-context Learning and Induction Heads* (arXiv 2209.11895): eigenvalues as a score of copying.
# - Dar et al., *Analyzing Transformers in Embedding Space* (arXiv 2209.02535): weights as matrices over tokens.
# - McDougall et al., *Copy Suppression* (arXiv 2310.04625): a head whose OV matrix takes its own token down.
