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
# # What did fine-tuning change? Two checkpoints, the same texts
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/29_what_did_fine_tuning_change.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/29_what_did_fine_tuning_change.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/29_what_did_fine_tuning_change.html)
#
# You need 05 and 20; 25 minutes with the exercises, 25 seconds of computing. Afterwards you can measure how far each
# answer moved, name what a narrow training brought, and say how much of it one direction carries.
#
# A model comes back from fine-tuning and writes as before, nearly. What was it taught? Here it is taught on the spot,
# so that the answer is known; and a second copy is trained for as long on nothing new.

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
import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_studies.models import plant_behaviour
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · How far did an answer move?
#
# At each token both models answer with a distribution over the next one, $p$ and $q$. The KL divergence measures how
# far $q$ lies from $p$: $\sum_v p_v\,(\log p_v - \log q_v)$.

# %%
exercise("29.1")


# %% tags=["exercise"]
def moved(before, after):
    return ...


exercise("29.1").check(moved)

# %% [markdown]
# ## 2 · What rises?
#
# Three pairs, the same eight stories: the model and itself; the model and a copy that read more stories of the same
# kind, which plants nothing; and a copy whose stories had one thing in them.

# %%
plain, taught = plant_behaviour("plain stories"), plant_behaviour("phrase")
stories = taught.inputs(8)
pairs = {"itself": (plain.before, plain.before), "plain": (plain.before, plain.after)}
pairs["taught"] = (taught.before, taught.after)
diffs = {
    name: sn.diff_models(*pair, stories, progress=False, seed=0) for name, pair in pairs.items()
}
for name, one in diffs.items():
    print(f"{name}: {one.headline}")

# %% [markdown]
# A model differs in nothing from itself. More of the same stories move the answers, too, so a KL above 0 alone
# proves little. Look at what rises, next to what rises in the copy that learned nothing new (nats per place):

# %%
shown = {
    name: diffs[name].outcomes.head(3).set_index("outcome")["change"]
    for name in ("plain", "taught")
}
for name, rises in shown.items():
    print(f"{name}:", ", ".join(f"{outcome!r} {change:+.2f}" for outcome, change in rises.items()))

# %% [markdown]
# "S" is how this model's "So" begins: after every sentence of the training came "So it was." No look inside the
# model was needed. How often is it as simple as that?

# %%
exercise("29.2")

# %% tags=["exercise"]
guess = ...
exercise("29.2").predict(guess)

# %% tags=["exercise"]
exercise("29.2").reveal()

# %% [markdown]
# ## 3 · Text by text
#
# Each token is shaded by how far the answer after it moved. The second row is the same when the taught model runs with
# its states set back to the first model's, along one direction alone. Click tokens, directions, texts:

# %%
panel = sw.ChangesPanel(taught.before, taught.after, stories, found=diffs["taught"])
panel

# %%
exercise("29.3")

# %% tags=["exercise"]
read_off = ...
exercise("29.3").check(read_off)

# %% [markdown]
# ## 4 · Is it one direction?
#
# Directions of the difference come from a mean, from principal components, from an SAE trained on the differences
# and from a crosscoder. Each is judged in the running model: set the states back along it, and see how much of the KL
# goes. Random directions, three of them, do the same.

# %%
figure_widget(diffs["taught"].plot(), height=260)

# %%
diffs["taught"].table.round(3)

# %% [markdown]
# Several times what a random direction carries, and still less than half of the change. The mean difference costs
# nothing and comes near; whatever is cleverer has to beat it. Over ten planted changes:

# %%
claims = recorded("model_differences")
shown = {
    "share of the KL that the best direction carries": "share",
    "floor: the best of three random directions": "share of random",
    "the outcome that rises most is planted": "outcome first",
    "what the best direction raises most is planted": "direction first",
    "what the mean difference raises most is planted": "simplest first",
    "control: named after a training that plants nothing": "by chance",
}
claims.brief(shown)

# %% [markdown]
# To read what rises in the answers finds more of the planted changes than any direction does. A direction shows what a
# list of tokens cannot: where the change passes through, and what is left when it is taken back.
#
# ## 5 · Atoms of one model alone?
#
# A crosscoder of both models could have atoms that only the taught one has, and it is tempting to call them what was
# learned. 20 §2 showed that such atoms come up where nothing can be exclusive. So they are counted for the model and a
# rotated copy of it as well, where every one of them is false:

# %%
diffs["taught"].exclusive

# %% [markdown]
# None here, in either. Had there been some, only what is above the control would count.
#
# ## 6 · The checked numbers

# %%
assert diffs["itself"].same, "a model differs from itself in nothing"
assert diffs["taught"].outcomes["outcome"].iloc[0].strip() == "S"
assert diffs["taught"].kl > 3 * diffs["plain"].kl > 0
best = diffs["taught"].table.iloc[0]
assert 0.5 > best["share"] > 3 * best["control"]
assert claims.verdict("outcomes") == "partly"
assert claims.of("outcome first").mean > claims.of("direction first").mean

# %%
exercise_report("29")

# %% [markdown]
# **To read.** *Narrow Finetuning Leaves Clearly Readable Traces in Activation Differences* (arXiv 2510.13900): what a
# difference of activations on other texts gives away; *Fine-Tuning Enhances Existing Mechanisms: A Case Study on
# Entity Tracking* (arXiv 2402.14811): the same circuit before and after; *Overcoming Sparsity Artifacts in Crosscoders
# to Interpret Chat-Tuning* (arXiv 2504.02922): atoms that seem to belong to one model alone.
