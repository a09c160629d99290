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
# # Lab 07 · Momentum: can one layer look back two steps?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_07_momentum.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_07_momentum.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_07_momentum.html)
#
# "After *k* came *e*; here is *k* again, so *e* comes." Attention needs two layers for this: a head of the
# first writes the letter before into each place, a head of the second looks for the place that holds *k*. Let
# queries and keys know how they changed, and one layer is enough.
#
# You need attention and 07; 15 minutes with the exercises, 10 seconds of computing. Afterwards you can say why
# induction takes two layers, and what a change in queries and keys makes of one.
#
# After "Momentum Attention" (arXiv 2602.04902): the change, its filter and the claim are theirs. Ours:
# positions are learned and added, where theirs are rotations; letters and training are those of the bundled
# tiny-induction.

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

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · The change
#
# Queries and keys get γ times what they changed since the last position:
#
# $$\hat q_t = q_t + \gamma\,(q_t - q_{t-1}) \qquad \hat k_t = k_t + \gamma\,(k_t - k_{t-1})$$
#
# so that $\hat q_t \cdot \hat k_s$ holds $-\gamma(1 + \gamma)\, q_t \cdot k_{s-1}$: my letter, against the
# letter before yours.

# %%
exercise("lab_07.1")


# %% tags=["exercise"]
def changed(x, gamma):
    return ...


exercise("lab_07.1").check(changed)

# %% [markdown]
# ## 2 · A filter
#
# Read along time, this passes what stays as it is and what alternates louder: $H(\omega) = 1 + \gamma(1 -
# e^{-i\omega})$. Move γ.

# %%
gammas = (0.1, 0.3, 1, 3)
drawn = {f"{gamma:g}": sn.lab.Momentum(gamma).figure() for gamma in gammas}
figure_widget(one_at_a_time(drawn, "γ"), height=400)

# %%
exercise("lab_07.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_07.4").check(read_off)

# %%
exercise("lab_07.2")

# %% tags=["exercise"]
gain = ...
exercise("lab_07.2").check(gain)

# %% [markdown]
# ## 3 · One layer that looks back
#
# Letters in stretches that come again, a row at a time; the target is how the second stretch continues. A
# hundred steps of training, with and without:

# %%
momentum = sn.lab.Momentum(gamma=1).fit(steps=120)
plain = sn.lab.Momentum(gamma=0).fit(steps=120)
print(f"with: {momentum.accuracy(300):.2f}, without: {plain.accuracy(300):.2f}")

# %% [markdown]
# Where does each head look? A row of the map is a position that asks, the open circle is the position of its
# answer:

# %%
figure_widget(momentum.figure(1), height=460)

# %%
figure_widget(plain.figure(1), height=460)

# %% [markdown]
# ## 4 · How much can a layer without momentum do?

# %%
exercise("lab_07.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_07.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_07.3").reveal()

# %%
stretches = recorded("lab_momentum")
stretches.brief(
    {"γ = 1": "one layer, momentum", "γ = 0": "one layer", "by distance": "by distance"}
)

# %% [markdown]
# A layer without momentum reaches more than a fixed distance does: every letter that is asked for has come
# exactly once, so all that came twice can be excluded, without looking at the letter before. That is a
# property of the letters, not of attention. In pairs of letters that are drawn again and again this hint is
# gone, and even twice the training does not help the layer without:

# %%
claims = recorded("lab_momentum_pairs")
shown = {
    "right letters, γ = 1": "momentum",
    "floor: the best fixed distance": "by distance",
    "control: γ = 0, twice the steps": "plain",
}
claims.brief(shown)

# %% [markdown]
# Two layers without momentum can do it in stretches. On pairs they had not learned it after 6 000 steps
# (one seed), fifteen times what the layer with momentum takes.
#
# ## 5 · The checked numbers

# %%
ends = sn.lab.Momentum(gamma=2).response(torch.tensor([0.0, torch.pi])).abs()
assert torch.allclose(ends, torch.tensor([1.0, 5.0]), atol=1e-4)
assert momentum.accuracy(300) > 0.8 > plain.accuracy(300) + 0.3
assert claims.verdict("one layer") == "holds"
assert claims.low("momentum") > 0.98 > claims.high("plain") + 0.5
assert stretches.of("two layers").mean > 0.98 > stretches.of("one layer").mean + 0.5

# %%
exercise_report("lab_07")
