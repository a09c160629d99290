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
# # Parts of the weights
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/39_parts_of_the_weights.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/39_parts_of_the_weights.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/39_parts_of_the_weights.html)
#
# You need 01; 10 minutes with the exercises, 30 seconds of computing. Afterwards you can take a network's matrices apart, and say
# why a sum that is right says nothing about its parts.
#
# An SAE takes states apart. *Parameter decomposition* takes the weights apart: each matrix is a sum of rank-one parts, each of
# which reads one direction and writes one, and any input is to need few of them. Does it find what is there?

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

from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_studies.circuits import decompose_weights, random_parts
from sae_nb_studies.reproductions.experiments import parameter_parts as planted
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · A toy whose parts are known
#
# Five features in two neurons, as in 01. The first matrix holds five directions, one for each feature; so there are five true
# parts, each nothing but one row. Two singular vectors cannot be these five.

# %%
toy = planted.trained_toy(0)
network, x = planted.untied(toy), planted.toy_inputs(0)
true = planted.true_parts(toy)
print(network, toy.directions.detach(), sep="\n")

# %% [markdown]
# Twenty parts for each matrix. A small network per part sees what the part reads, and says how much it matters, g from 0 to 1.
# In training each part is multiplied by a number drawn between g and 1. The answers must stay, the sum of all g must be
# small, and the parts must add up.

# %%
found = decompose_weights(network, x, n_components=20, batch_size=96)
found

# %%
figure_widget(found.figure("0"), height=280)

# %% [markdown]
# Part by part, a row is left. On an input with one feature, one part matters (rows: inputs; columns: parts):

# %%
figure_widget(found.importance_figure(0.75 * torch.eye(5), n=8), height=280)

# %%
first, second = (found.match(true[layer], layer) for layer in ("0", "1"))
print(first, second, sep="\n")

# %% [markdown]
# Is it always so? Five toys, three starts each, of which the loss chose one:

# %%
card = recorded("parameter_parts")
card.table("features")

# %% [markdown]
# In one of the five, the second matrix comes apart wrongly in the best of three starts (hence the spread). Its sum is as faithful
# as the others'.
#
# Does the importance say something of the *input*? Weighted by it the parts give the answer; by that of other inputs they do
# not:

# %%
errors = found.check(x[:4000]).set_index("way")
errors

# %% [markdown]
# ## 2 · What would a wrong answer look like?
#
# The paper's measure takes, for each feature, the part whose column points most nearly along its direction. First the floor.

# %%
exercise("39.1")

# %% tags=["exercise"]
guess = ...
exercise("39.1").predict(guess)

# %% tags=["exercise"]
exercise("39.1").reveal()

# %%
drawn = random_parts(true["0"].sum(dim=0), 20, seed=0)
print("adds up:", torch.allclose(drawn.sum(dim=0), true["0"].sum(dim=0), atol=1e-4))
print(f"best column {planted.best_columns(drawn, toy):.3f}, whole parts {first.random:.3f}")

# %% [markdown]
# So here whole parts are compared, each once. And the sum? Five more runs each, with less of what they need:

# %%
exercise("39.2")

# %% tags=["exercise"]
guess = ...
exercise("39.2").predict(guess)

# %% tags=["exercise"]
exercise("39.2").reveal()

# %%
card.table("faithful sums, wrong parts")

# %% [markdown]
# ## 3 · A network that adds
#
# The MLP of `tiny-modular` (33). Its embedding is made of four frequencies. Is each of its parts of one?

# %%
card.table("frequencies")

# %% [markdown]
# The parts do their work and are no purer than random parts of the same sum. Every sum needs all four frequencies, so nothing
# in the loss separates them: parts differ by the inputs that need them, and by nothing else.
#
# ## 4 · The checked numbers

# %%
assert min(first.value, second.value) > 0.95
assert first.n_alive == second.n_alive == 5
assert max(first.random, first.singular) < 0.7
assert errors.error["importance"] < 0.1 * errors.error["of other inputs"]
assert planted.best_columns(drawn, toy) > 0.97
assert card.verdict("features") == "partly"
assert card.verdict("frequencies") == "does not hold at this scale"
exercise_report("39")

# %% [markdown]
# ## Read further
#
# - Bushnaq, Braun and Sharkey, *Stochastic Parameter Decomposition* (arXiv 2506.20790): what was done here.
# - Braun et al., *Interpretability in Parameter Space* (arXiv 2501.14926): by attributions, the elder.
# - Elhage et al., *Toy Models of Superposition* (arXiv 2209.10652): the toy.
