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
# # A model of few weights
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/38_a_model_of_few_weights.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/38_a_model_of_few_weights.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/38_a_model_of_few_weights.html)
#
# You need 08; 20 minutes with the exercises, 40 seconds of computing. Afterwards you can train a transformer most of
# whose weights are zero, cut a circuit out of it, and say by held-out rows and a nonsense task what the circuit
# shows.
#
# In an ordinary network everything is joined to everything, and a circuit is a thicket. What if most weights were
# zero from the start? Then few lines would be left to draw. But fewer lines are easier to draw, not truer: a small
# circuit may do the task in a way in which the model does not.

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
import sae_nb_widgets as sw
from sae_nb.figures import Chart, Points, draw_chart
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_studies.reproductions.experiments.few_weights import exchanged
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.3f}".format

# %% [markdown]
# ## 1 · Few weights
#
# After "( ( )" comes "open", after "( ) )" comes "broken". Two small transformers learn it. In `sparse`, after every
# step, each matrix keeps its largest entries and the others become zero.

# %%
sparse = sn.models.train_sparse_transformer("brackets", seed=0)
dense = sn.models.train_sparse_transformer("brackets", density=1.0, seed=0)
for model in (sparse, dense):
    matrices = [p for p in model.module.parameters() if p.ndim == 2]
    left = sum(int((p != 0).sum()) for p in matrices)
    print(f"{model.name}: {left} of {sum(p.numel() for p in matrices)} weights are not zero")

# %% [markdown]
# ## 2 · A circuit
#
# A *node* is a channel at one place of a block: what attention reads, its queries, keys, values, what it writes; what
# the MLP reads, its neurons, what it writes. Nodes that are left out stand at their mean. That can be written into
# the weights:

# %%
exercise("38.1")


# %% tags=["exercise"]
def held(W, b, keep, mean):
    return ...


exercise("38.1").check(held)

# %% [markdown]
# `sn.circuits.prune_circuit` learns which nodes to keep. It aims at a loss of .15 with as few as it can; compare the
# losses it ends at before the numbers of nodes:

# %%
rows = sn.models.task_rows("brackets", 192, held_out=False, seed=0)
held_out = sn.models.task_rows("brackets", 192, seed=0)
circuit = sn.circuits.prune_circuit(sparse, rows.ids, rows.targets)
thicket = sn.circuits.prune_circuit(dense, rows.ids, rows.targets)
print(circuit, thicket, sep="\n")

# %%
circuit.nodes.groupby(["layer", "place"]).size().rename("nodes").to_frame()

# %% [markdown]
# The circuit is a model of its own, and its neurons can be followed as in 08. Which made "broken" of this string?

# %%
graph = circuit.graph("( ) ) (", target="broken")
panel = sw.CircuitPanel(graph)
panel

# %% [markdown]
# ## 3 · Held-out rows
#
# On rows that nothing was chosen by: the circuit *alone*; the model *without* it; and the same with as many random
# nodes at each place.

# %%
measured = circuit.faithfulness(held_out.ids, held_out.targets)
measured

# %% [markdown]
# Enough and needed, then? Five models say:

# %%
claims = recorded("few_weights")
claims.table("fewer weights")

# %%
claims.table("held-out rows")

# %% [markdown]
# ## 4 · Nonsense
#
# Pruning chooses among a thousand nodes by the answers it is asked for, and whatever is held shifts what comes behind
# it. In a model of stories this was enough for a task that the model does not do (Drori, 2026). How much does
# choosing alone do here?

# %%
exercise("38.2")

# %% tags=["exercise"]
guess = ...
exercise("38.2").predict(guess)

# %% tags=["exercise"]
exercise("38.2").reveal()

# %%
nonsense = sn.circuits.prune_circuit(sparse, rows.ids, exchanged(rows.targets), means_of=rows.ids)
series = [
    Points(name, one.k, one.losses) for name, one in {"sparse": circuit, "dense": thicket}.items()
]
series.append(Points("sparse, answers exchanged", nonsense.k, nonsense.losses, control=True))
figure_widget(
    draw_chart(Chart(series=tuple(series), x="nodes", y="loss, nats", xaxis={"type": "log"}))
)

# %%
claims.table("nonsense")

# %% [markdown]
# Here choosing alone does not make nonsense. So the small circuit says something of this model: it is enough on rows
# that it was not chosen by, the model needs it, and the masks we learned make no other task of it. In larger models
# masks did; size alone shows little. And none of these numbers says that the circuit comes to its answer as the whole
# model does: it was asked for the answer, not for the way.

# %% [markdown]
# ## 5 · The checked numbers

# %%
assert circuit.met
assert circuit.n_edges < thicket.n_edges / 4
assert measured.alone < 0.5 < 1 < measured.without
assert measured.random.mean() > 1
assert nonsense.loss > 0.5
assert claims.verdict("fewer weights") == "holds"
assert claims.verdict("nonsense") == "does not hold at this scale"
exercise_report("38")

# %% [markdown]
# ## Read further
#
# - Gao et al., *Weight-sparse transformers have interpretable circuits* (arXiv 2511.13653): such models of code, up to half a billion weights.
# - Drori, *Weight-sparse circuits may be interpretable yet unfaithful* (2026): the nonsense control, on stories.
