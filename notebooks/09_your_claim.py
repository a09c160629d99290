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
# # Your claim: a line, a floor, a control, five seeds, a card
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/09_your_claim.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/09_your_claim.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/09_your_claim.html)
#
# You need 01, and an SAE that you understand (02); 45 minutes with the exercises, 30 seconds of computing. Afterwards
# you can turn a sentence into a claim that can fail, measure it with its floor and control, and hand it on as a page.
#
# A claim that was measured for this course has a card: a sentence, a line that was drawn beforehand, the number over
# seeds, a floor, a control, and a verdict. Here you make one of your own.

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
import tempfile
from pathlib import Path

import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, own_claim, recorded
from sae_nb_lessons.figures import arms_figure
from sae_nb_lessons.studies import hidden_rows, on_features, own_sae, scrambled, toy_run
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · A claim by others
#
# Read one first. It is about [SpaDE](../docs/methods/spade.md), the SAE of elective 13, on six clouds of points in a plane,
# three of which no straight line cuts off from the rest. It claims that SpaDE has latents for these three. *Inner F1* is
# the mean F1 of the five latents that fit each of the three best: 1 for a latent that is on at all points of its cloud
# and at no other, near 0 for one that is on at few of them or at many others. Below are the number, what an untrained
# SpaDE reaches, and what other SAEs reach:

# %%
seen = recorded("separability")
rows = {
    "inner F1, SpaDE": "SpaDE, inner F1",
    "floor: untrained": "untrained inner F1",
    "control: best of ReLU and TopK": "others, best inner F1",
}
seen.brief(rows)

# %% [markdown]
# The number is high and the control is low, but the *floor is as high as the number*. An SAE that never learned anything
# would have met a line at .9. So the claim is about the encoder, not about what it learned, and you need all three
# numbers to see that.
#
# ## 2 · The line
#
# Now a claim that you can measure in seconds, on the toy of 02: 32 features in 10 neurons. Its number is the mean cosine
# of features with their atoms. A pilot, on a seed that is not used again:

# %%
pilot = toy_run(5) | {"64 rows of the data": on_features(5, hidden_rows(5)[:64]).mean()}
print(", ".join(f"{name} {value:.3f}" for name, value in pilot.items()))

# %%
exercise("09.1")

# %% tags=["exercise"]
line = ...
exercise("09.1").check(line)

# %% [markdown]
# ## 3 · The run
#
# What is a good control here? Train in the same way on data in which each column was shuffled by itself: every neuron has
# the same values as before, and no feature is left in them.
#
# We made a mistake once: a toy and a dictionary that are drawn from *one* seed begin alike, since both draw the same
# numbers first. The last two numbers below are of random directions, from a seed of their own and from the toy's, which is
# 1000. A floor too high gave the mistake away.

# %%
small = hidden_rows(0)[:2000]
apart = {"rows": small, "scrambled": scrambled(small, seed=0)}
cosines = {name: on_features(0, own_sae(one, 64, 3, 100).D).mean() for name, one in apart.items()}
for seed in (0, 1000):
    drawn = torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))
    cosines[f"random, seed {seed}"] = on_features(0, drawn).mean()
print("mean cosine:", ", ".join(f"{name} {value:.2f}" for name, value in cosines.items()))

# %% [markdown]
# Trained on scrambled rows, atoms are hardly nearer to the features than random directions. (On the rows 100 steps on 2 000
# of them give .91; the pilot, on another toy with 300 steps and ten times the rows, had .999.) And what does R² say? The
# panel trains one SAE on each of the two:

# %%
training = {}
for name, some in apart.items():
    one = sn.TopK(10, 64, 3, generator=torch.Generator().manual_seed(0))
    training[name] = sn.start_training(one, some, steps=200, batch_size=256, seed=0)
monitor = sw.TrainingMonitor(training)
monitor

# %%
results = {name: run.wait() for name, run in training.items()}
monitor.refresh()

# %%
exercise("09.2")

# %% tags=["exercise"]
read_off = ...
exercise("09.2").check(read_off)

# %% [markdown]
# So R² alone says little: more than three quarters of the variance of scrambled rows, which hold no feature, is explained,
# too. By the cosines above the two differ clearly.

# %%
exercise("09.3")


# %% tags=["exercise"]
def run(seed):
    return ...


exercise("09.3").check(run)

# %% [markdown]
# ## 4 · The card

# %%
exercise("09.4")

# %% tags=["exercise"]
card = ...
exercise("09.4").check(card)

# %% [markdown]
# Write `card` into a cell of its own to see yours. With a line at .95 it is headed *Holds*: .999 is above the line, .68
# and .70 are below. Here is another card, of the same runs but for the draw of random directions. Its claim is too weak on
# purpose: the line is at .6.

# %%
weak = own_claim(
    "An SAE finds the features of a toy.",
    "mean cosine of features with their atoms",
    at_least=0.6,
    floor="64 random directions",
    control="trained on scrambled rows",
)
measured = weak.test(toy_run, range(5))
measured

# %% [markdown]
# The number meets its line, and yet the card is headed *Open*: floor and control meet the line as well, so it says nothing.
# To move the line now, after measuring, would not help: that is a description (09.1). The figure shows every seed, and the
# floor as a dashed line:

# %%
parts = {name: [one[name] for one in measured.by_seed.values()] for name in ("claim", "control")}
floor = measured.summaries["floor"].mean
figure_widget(arms_figure(parts, floor=floor, x_title="mean cosine"), height=200)

# %% [markdown]
# Write a card as one page, so that others can check it, and open it. With `card` in place of `measured` it is your own:

# %%
page = measured.to_html(Path(tempfile.mkdtemp()) / "my-claim.html")
print(f"{page}: {page.stat().st_size / 1000:.1f} kB")

# %% [markdown]
# ## 5 · Where it ends

# %%
exercise("09.5")

# %% tags=["exercise"]
explanation = ...
exercise("09.5").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("09.5").score(points)

# %% [markdown]
# Now make a claim of your own: write another `run`, for the model and the SAE that you care about. Three numbers from
# each seed are all that `own_claim` needs.
#
# ## 6 · The checked numbers

# %%
means = {name: one.mean for name, one in measured.summaries.items()}
assert means["claim"] > 0.98 > 0.9 > means["control"]
assert 0.75 < pilot["64 rows of the data"] < 0.88, "raw rows come nearer than random"
assert 0.6 < means["floor"] < 0.75, "random directions that know nothing of the toy"
assert cosines["random, seed 1000"] > cosines["random, seed 0"] + 0.05, "one seed for both"
# The number alone would hold; the card is open, because floor and control meet the line.
assert (measured.verdict, measured.cannot_fail) == ("holds", True)
assert seen.of("untrained inner F1").mean > 0.9
assert cosines["rows"] > cosines["scrambled"] + 0.1
assert abs(cosines["scrambled"] - cosines["random, seed 0"]) < 0.05
assert results["rows"].history[-1].r2 > results["scrambled"].history[-1].r2 > 0.75

# %%
exercise_report("09")

# %% [markdown]
# **To read.** *Troubling Trends in Machine Learning Scholarship* (arXiv 1807.03341): how a claim says more than its
# numbers; *Show Your Work: Improved Reporting of Experimental Results* (arXiv 1909.03004): what one best number
# hides; *Sanity Checks for Saliency Maps* (arXiv 1810.03292): the control that a whole field had left out.
