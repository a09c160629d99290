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
# # Lab 03 · Waves: how does a point come to know the whole?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_03_waves.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_03_waves.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_03_waves.html)
#
# A postcard, optional: no other lesson needs it. You need 00 or 01; 20 minutes with the exercises, 4 seconds of
# computing. Afterwards you can say what a spectrum over time carries that a window does not.
#
# A point that sees its four neighbours alone cannot say how large the square is that it lies in. Let the
# square ring like a drum, and it can: waves run to the edges and back, and the frequencies at which the point
# swings are those of the whole drum.
#
# After "Travelling waves integrate spatial information" (arXiv 2502.06034). In §1 to §3 the couplings are the wave
# equation, the physics that their title plays on; in §4 they are learned, as theirs are. The readout by spectrum is
# theirs.

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
import math

import numpy as np
import pandas as pd
import torch

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_studies.reproductions.experiments.lab_wave_network import squares
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · A drum
#
# Height h and speed v of each point, held at rest outside of the shape m:
#
# $$v \leftarrow v + \Delta t\, \nabla^2 h \cdot m \qquad h \leftarrow (h + \Delta t\, v) \cdot m$$
#
# where $\nabla^2 h$ is the sum of the four neighbours less four times the point. Write one step.

# %%
exercise("lab_03.1")


# %% tags=["exercise"]
def step(h, v, m, dt):
    return ...


exercise("lab_03.1").check(step)

# %% [markdown]
# Two squares are lifted and let go. The signal that comes in from the edges carries their position:

# %%
shapes = torch.zeros(2, 32, 32, dtype=torch.bool)
shapes[0, 4:9, 4:9] = True
shapes[1, 12:27, 12:27] = True
ringing = sn.lab.Waves(n_steps=100).run(shapes)
figure_widget(ringing.figure(1, moments=(0, 4, 9, 19)), height=240)

# %% [markdown]
# ## 2 · One point, listened to
#
# The middle of each square: its height over time. Move the slider.

# %%
drawn = {"5": ringing.listen(0, 6, 6), "15": ringing.listen(1, 19, 19)}
figure_widget(one_at_a_time(drawn, "side"), height=400)

# %%
exercise("lab_03.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_03.4").check(read_off)

# %% [markdown]
# The slowest swing of a square of side L is known: $\omega_1 = \sqrt 8\, \sin \frac{\pi}{2 (L + 1)}$. A
# larger drum has a lower voice.

# %%
exercise("lab_03.2")

# %% tags=["exercise"]
side = ...
exercise("lab_03.2").check(side)

# %%
heard = ringing.fundamental().tolist()
rows = {L: {"heard": w, "theory": sn.lab.square_fundamental(L)} for L, w in zip((5, 15), heard)}
pd.DataFrame(rows).T.rename_axis("side")

# %% [markdown]
# ## 3 · What can a point say?
#
# 200 images with a square of one of six sizes, and a small network that reads the size off one point: off its
# spectrum over time, its last, mean or largest height, or off a window of 7 × 7 around it, which is what a
# feed-forward network of that reach would see.

# %%
exercise("lab_03.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_03.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_03.3").reveal()

# %%
claims = recorded("lab_waves")
shown = {
    "points that know their square, by spectrum": "spectrum",
    "floor: the most common square": "most common side",
    "control: a window, no waves": "window",
    "the mean height": "mean",
    "the last height": "last",
    "largest distance from theory, as a share": "off theory",
}
claims.brief(shown)

# %% [markdown]
# The mean height comes near the line that was written down for it: it is a readout of the same waves. The
# window sees none, and does no better than naming the most common size.
#
# ## 4 · Waves that are learned
#
# Here the couplings are not given: a network learns how strongly each point pulls its eight neighbours, so that every
# point can name the size of its square. Below is one of its oscillators, after a short training.

# %%
drums, sizes = squares(200, np.random.default_rng(0))
learned = sn.lab.WaveNetwork(4).fit(drums, sizes, steps=60)
figure_widget(learned.figure(drums, moments=(0, 4, 9, 19)), height=240)

# %% [markdown]
# Five networks, 1 200 steps each:

# %%
trained = recorded("lab_wave_network")
shown = {
    "points that name their square, by spectrum": "spectrum",
    "floor: the most common square": "most common side",
    "control: before any time has passed": "no time",
    "control: couplings random at first": "random start",
    "by the last height": "last",
}
trained.brief(shown)

# %% [markdown]
# With time, every point knows its square, on all five seeds; without, points name the most common one. To begin as
# waves saves steps, no more: couplings that began at random know nearly every point by now, too. That a spectrum is
# *needed* does not hold here: once couplings are learned, they bring the answer to a point's last height as well.
#
# ## 5 · The checked numbers

# %%
theory = [sn.lab.square_fundamental(L) for L in (5, 15)]
assert all(math.isclose(a, b, rel_tol=0.03) for a, b in zip(heard, theory))
assert ringing.states[1, :5, 19, 19].eq(1).all(), "the middle has not heard of the edge yet"
assert claims.verdict("heard") == "partly"
assert claims.of("spectrum").mean > 0.95 > claims.of("window").mean + 0.5
assert claims.verdict("theory") == "holds"
assert trained.verdict("learned") == "holds"
assert trained.of("spectrum").mean > 0.95 > trained.of("no time").mean + 0.5

# %%
exercise_report("lab_03")
