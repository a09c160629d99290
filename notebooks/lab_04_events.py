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
# # Lab 04 · Events: what is one recording made of?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_04_events.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_04_events.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_04_events.html)
#
# You need 00 or 01; 20 minutes with the exercises, 20 seconds of computing. Afterwards you can take overlapping
# events apart by kernel, and say what a link changes.
#
# A neuron answers to an event over a while, and the answers of several events overlap. An SAE asks which
# atoms a vector is made of; here an atom is a kernel that may start anywhere, so the question is what started
# when, and how strongly.
#
# After DUNL (Tolooshams, Matias, Wu, Murthy, Masset and Ba; code at btolooshams/dunl-compneuro). Model, links
# and truncated back-propagation are theirs; the step that is computed, kernels moved to the middle of their
# window, and the trials are ours.

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
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · The model
#
# $$\eta(t) = b + \sum_k \sum_\tau z_{k\tau}\, h_k(t - \tau) \qquad x(t) \sim \text{Gaussian}(\eta),\ \text{Poisson}(e^\eta)\ \text{or binomial}$$
#
# Codes are found as in sparse coding: a step along $h \star (x - \mu(\eta))$, the correlation of what is left
# with each kernel, and shrinkage. The link changes the mean $\mu$ alone. Write one step for counts.

# %%
exercise("lab_04.1")


# %% tags=["exercise"]
def step(z, x, h, b, size, weight):
    return ...


exercise("lab_04.1").check(step)

# %% [markdown]
# How long may a step be? As long as 1 over the largest gain of the convolution, and that is a matter of
# frequencies: $L = \max_\omega \sum_k |\hat h_k(\omega)|^2$.

# %%
exercise("lab_04.2")

# %% tags=["exercise"]
length = ...
exercise("lab_04.2").check(length)

# %% [markdown]
# ## 2 · Kernels, when the times are known
#
# Two kinds of event, one followed by a bump and one by a rise and a fall; 48 trials. With known times a code
# is least squares, and the kernels are learned through its steps.

# %%
planted = sn.data.planted_events(48, seed=0)
start = torch.Generator().manual_seed(0)
dunl = sn.lab.DUNL(2, 16, sparsity=0.0, nonnegative=False, generator=start)
dunl.fit(planted.x, planted.events, steps=40)
known = dunl.deconvolve(planted.x, planted.events).compare(planted.kernels, planted.events)
print(known.correlation, known.shift)
figure_widget(dunl.figure(), height=280)

# %% [markdown]
# ## 3 · One trial, taken apart
#
# With the kernels known, the times of events need not be given. At the left the recording and what it is
# explained by; at the right, kernel on kernel, what that is made of. Move λ, the price of an event.

# %%
prices = {}
for weight in (0.03, 0.1, 0.3, 1.0, 3.0):
    dunl.sparsity, dunl.nonnegative, dunl.n_steps = weight, True, 200
    prices[str(weight)] = dunl.deconvolve(planted.x)
figure_widget(one_at_a_time({w: found.explain(0) for w, found in prices.items()}, "λ"), height=420)

# %% [markdown]
# A low price pays for noise, a high one takes from the strengths of true events before it takes events away.

# %%
seen = {w: found.compare(planted.kernels, planted.events) for w, found in prices.items()}
rows = {w: {"hits": s.hit_rate, "precision": s.precision} for w, s in seen.items()}
table = pd.DataFrame(rows).T.rename_axis("λ")
table["events"] = [len(found.events) for found in prices.values()]
table

# %%
exercise("lab_04.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_04.4").check(read_off)

# %% [markdown]
# ## 4 · Kernels and times, both unknown
#
# Then a kernel and its events are found together, and a second start of the same event is an easy way to hide
# what the kernel does not fit. The paper holds the number of events: every ten steps the largest k per kernel
# stay. What happens without?

# %%
exercise("lab_04.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_04.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_04.3").reveal()

# %%
claims = recorded("lab_dunl")
shown = {
    "unknown events: found": "unknown: hits",
    "floor: events of another trial": "hits by luck",
    "control: precision without a limit": "no limit: precision",
    "precision with the limit": "unknown: precision",
    "locust, bits per spike: a kernel at the odour": "DUNL",
    "control: a kernel at random times": "wrong times",
}
claims.brief(shown)

# %% [markdown]
# On recorded spikes of the locust a kernel at the odour is worth more than one at random times, and no more
# than smoothing the trial's other spikes (.10 bits): with half of a neuron's spikes in 15 trials to learn from, and a strength for each trial
# from the few spikes of that trial.
#
# Planted spikes say how much is lost there. Kernels learned without times, and the events that they find next to
# those that the true kernels find:

# %%
spiking = recorded("lab_dunl_counts")
shown = {
    "shares of a bin: kernel": "binomial, kernels",
    "counts: kernel": "poisson, kernels",
    "floor: kernel as drawn": "poisson, random kernels",
    "counts: events found": "poisson, hits",
    "by the true kernels": "poisson, true kernels, hits",
    "floor: events of another trial": "poisson, hits by luck",
}
spiking.brief(shown)

# %% [markdown]
# Shares of a bin give both kernels on every seed, if the likeliest of four starts is taken (one start: on three of
# five). Of counts little more than half of the events are found, even by the true kernels: what is missing is in the
# noise of the spikes more than in the kernels.
#
# ## 5 · Spikes of neurons that share events
#
# Six neurons, of which each answers to seven events in ten. A time costs γ once, however many answer, so a
# weak answer counts where others give one too.

# %%
spikes = sn.data.planted_events(8, n_neurons=6, link="poisson", responding=0.7, seed=1)
model = sn.lab.DUNL(2, 16, link="poisson", sparsity=0.2, group=1.5, n_steps=100, generator=start)
model.fit(spikes.x, spikes.events, steps=20)
shared = model.deconvolve(spikes.x)
model.group = 0.0
alone = model.deconvolve(spikes.x)
figure_widget(shared.figure(), height=360)

# %%
pair = {"each alone": alone, "shared times": shared}
seen = {name: found.compare(planted.kernels, spikes.events) for name, found in pair.items()}
pd.DataFrame({n: {"hits": s.hit_rate, "precision": s.precision} for n, s in seen.items()}).T

# %% [markdown]
# ## 6 · The checked numbers

# %%
assert float(known.correlation.min()) > 0.97
assert known.shift.tolist() == [0, 0]
assert table["precision"].iloc[2] > table["precision"].iloc[0] + 0.1
assert claims.verdict("known events") == claims.verdict("unknown events") == "holds"
assert claims.of("unknown: precision").mean > claims.of("no limit: precision").mean + 0.3
assert claims.verdict("recorded spikes") == "partly"
assert seen["shared times"].precision > seen["each alone"].precision

# %%
exercise_report("lab_04")
