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
# # Stable, or just initialised alike?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/14_stability.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/14_stability.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/14_stability.html)
#
# You need 00 or 01; 25 minutes with the exercises, 20 seconds of computing. Afterwards you can measure how far two
# dictionaries agree, train an `sn.Archetypal`, and take the start away before you believe a stability.
#
# Train an SAE twice, and you get two dictionaries. If their atoms differ, which of them are *the* concepts?
# Archetypal SAEs (arXiv 2502.12892) answer by holding every atom in the hull of data points, and report
# dictionaries that repeat. A reply (arXiv 2606.02061) asks whether the hull does it, or that both trainings
# *begin alike*: from the same candidates, with an encoder made from them.

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
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import arms_figure
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · The measure
#
# **Stability** is the mean cosine of atoms of two runs, matched one to one.

# %%
exercise("14.1")

# %% tags=["exercise"]
stability = ...
exercise("14.1").check(stability)

# %%
exercise("14.2")


# %% tags=["exercise"]
def stability_of(first, second):
    return ...


exercise("14.2").check(stability_of)

# %% [markdown]
# ## 2 · An archetypal SAE, twice
#
# Digits, 128 atoms, k = 8. Candidates are centroids that both runs share, and by default (`tied=True`) the encoder
# begins as the dictionary. `delta=1` lets an atom leave the hull a little: RA-SAE.

# %%
digits = sn.data.digits("train").images.flatten(1)
draw = [torch.Generator().manual_seed(seed) for seed in range(8)]
first = sn.Archetypal(64, 128, 8, generator=draw[0])
first.initialise(digits)
points = first.candidates
held = [sn.Archetypal(64, 128, 8, candidates=points, generator=draw[i]) for i in (0, 1)]
free = [sn.TopK(64, 128, 8, generator=draw[i]) for i in (2, 3)]
untied = [
    sn.Archetypal(64, 128, 8, candidates=points, tied=False, generator=draw[i]) for i in (4, 5)
]

# %%
arms = {"RA-SAE, shared start": held, "RA-SAE, encoder at random": untied, "TopK": free}
for pair in arms.values():
    for seed, sae in enumerate(pair):
        sn.train(sae, digits, steps=150, batch_size=256, seed=seed, progress=False)

# %% [markdown]
# One of each, trained where you can watch; the gallery draws their atoms, which are images here:

# %%
watched = {
    "RA-SAE": sn.Archetypal(64, 128, 8, candidates=points, generator=draw[6]),
    "TopK": sn.TopK(64, 128, 8, generator=draw[7]),
}
how = {"steps": 150, "batch_size": 256, "seed": 0}
training = {name: sn.start_training(sae, digits, **how) for name, sae in watched.items()}
monitor = sw.TrainingMonitor(training, picture_shape=(8, 8))
monitor

# %%
results = {name: run.wait() for name, run in training.items()}
monitor.refresh()

# %%
exercise("14.3")

# %% tags=["exercise"]
explanation = ...
exercise("14.3").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("14.3").score(points)

# %%
found = {name: sn.evaluation.stability(pair) for name, pair in arms.items()}
shown = {name: {"stability": one.value, "floor": one.floor} for name, one in found.items()}
pd.DataFrame(shown).T

# %% [markdown]
# The hull is the same in the first two arms; what differs is how alike their encoders begin. Now the missing arm: no
# hull at all, but the same start.

# %%
exercise("14.4")

# %% tags=["exercise"]
guess = ...
exercise("14.4").predict(guess)

# %% tags=["exercise"]
exercise("14.4").reveal()

# %% [markdown]
# ### All arms next to each other
#
# The name of an arm lists what its two runs share: *C* the candidates that span the hull, *E* the encoder's
# first weights. "Own" means fitted by each run to its own 90 % of the data. The dashed line is random
# directions. Five seeds, 500 steps.

# %%
runs = recorded("archetypal_stability")
numbers = [n for n in runs.numbers if n.endswith(" stability") and "random directions" not in n]
bars = {n.removesuffix(" stability"): runs.seeds(n) for n in numbers}
floor = runs.of("random directions stability").mean
figure_widget(arms_figure(bars, floor=floor, x_title="stability"), height=370)

# %%
gains = {
    "stability gained by the hull alone": "gain of the constraint alone",
    "floor: random directions, stability": "random directions stability",
    "control: gained by a shared start alone": "gain of a shared start alone",
    "centroids of two subsets, no SAE, stability": "raw centroids of subsets stability",
}
runs.brief(gains)

# %% [markdown]
# - **What begins alike ends alike**, with the hull (0.93) and without it (0.92). k-means centroids of two
#   subsets, with no SAE at all, reach 0.88.
# - **The hull alone gives little**: with nothing shared, 0.08 over a free TopK. A shared start alone gives 0.34.
#
# The scale is small: digits, 128 atoms, 500 steps. The order of the arms is what to take away, not its numbers.
#
# ## 3 · What the hull does give
#
# Atoms that look like data. The OOD score measures how far atoms are from anything in the data.

# %%
near = {
    "OOD, A-SAE": "A-SAE shared C, random E ood",
    "control: TopK, which is free": "TopK ood",
    "control: TopK, shared start": "TopK shared start ood",
    "R², A-SAE": "A-SAE shared C, random E r2",
    "R², RA-SAE": "RA-SAE shared C, random E r2",
    "R², TopK": "TopK r2",
}
runs.brief(near)

# %% [markdown]
# Atoms stay in the hull, and nearer to data than free ones. But read the control: TopK that *starts* at the centroids
# is as near. The hull costs 0.008 of R², and the relaxed form (RA-SAE) wins it back. Every line and verdict is on the
# page of claims, at Archetypal.
#
# ## 4 · Which atoms repeat
#
# Those that fire often. Here TopK is trained twice on embeddings of images and of their captions, by the two
# bundled towers, with nothing shared. Atoms are matched one to one, and the quarter that fires most often is
# compared with the quarter that fires least (after "Interpreting the linear structure of vision-language model
# embedding spaces", arXiv 2504.11695).

# %%
towers = recorded("common_atoms")
kinds = {
    "cosine, the commonest quarter": "trained, common",
    "cosine, the rarest quarter": "trained, rare",
    "floor: random directions": "random directions",
    "control: common − rare, as training begins": "untrained, common − rare",
}
towers.brief(kinds)

# %% [markdown]
# A rare atom is mostly another one in the next training. Train twice before you give it a name.
#
# ## 5 · The checked numbers

# %%
# Live, one short pair each: a shared start is what repeats.
live = {name: one.value for name, one in found.items()}
assert live["RA-SAE, shared start"] > 0.85 > max(live["TopK"], live["RA-SAE, encoder at random"])

# %%
# Over seeds: alike at the start, alike at the end, with the hull or without; otherwise not.
assert runs.high("TopK stability") < 0.75 < 0.85 < runs.low("TopK shared start stability")
assert runs.low("RA-SAE shared C, E from C stability") > 0.85
assert runs.low("gain of a shared start alone") > 2 * runs.high("gain of the constraint alone")
assert runs.high("random directions stability") < 0.35
assert runs.verdict("alike") == "holds"
assert runs.high("off the hull") < 1e-4
assert runs.low("ood saved by the hull") > 0
assert runs.low("r2 gained by delta") > 0
assert towers.verdict("rare atoms change") == "holds"

# %%
exercise_report("14")

# %% [markdown]
# **To read.** *Archetypal SAE: Adaptive and Stable Dictionary Learning for Concept Extraction in Large Vision Models*
# (arXiv 2502.12892): the claim that this lesson tests; *Sparse Autoencoders Trained on the Same Data Learn Different
# Features* (arXiv 2501.16615): how much differs between seeds in language models; *Scaling and Evaluating Sparse
# Autoencoders* (arXiv 2406.04093): the SAE whose stability is measured.
