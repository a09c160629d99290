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
# # A safety case: would a monitor have seen it?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/34_a_safety_case.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/34_a_safety_case.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/34_a_safety_case.html)
#
# You need 29; 45 minutes with the exercises, 30 seconds of computing. Afterwards you can set a threshold at a rate of
# false alarms, try a monitor on a model that it was not built on, and write a safety case: a claim, its argument, its
# evidence, and what would refute it.
#
# In 29 you had the model before and after, and found what was taught. Who runs a model has only the model, and
# wants to know when to stop it. So you build an alarm from a change that you planted yourself, and ask how much it is
# worth against one that you did not.

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
from sae_nb.figures import draw_chart
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.studies import alarms, monitor_chart
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · How often may it cry wolf?
#
# A monitor gives every text a score, and an alarm is a score above a threshold. The threshold is a decision: low, and
# people learn to ignore it; high, and it sees nothing. The usual way is to fix the rate of false alarms first, on texts
# that are known to be harmless.

# %%
exercise("34.1")


# %% tags=["exercise"]
def threshold(scores, rate):
    return ...


exercise("34.1").check(threshold)

# %% [markdown]
# ## 2 · What does it watch?
#
# In 29 the mean difference of states, taught minus before, came close to the best direction that any method found. Here
# it becomes the monitor: how far do the states of a text lie along it?

# %%
exercise("34.2")


# %% tags=["exercise"]
def scores(states, text, direction):
    return ...


exercise("34.2").check(scores)

# %% [markdown]
# ## 3 · On the copy you built it on, and on one you did not
#
# The change is the phrase of 29: "So it was." after every sentence. Each copy of the model writes on from 60 beginnings
# of stories, and each text is a point. The dashed line is the threshold: of 180 texts of a copy that read plain stories,
# 5 % lie above it.

# %%
figure_widget(draw_chart(monitor_chart("phrase")), height=320)

# %% [markdown]
# The rows matter more than the points. *Taught* is the copy in which the direction was found: of course it is seen.
# *Taught again* learned the same phrase from other stories, and the monitor has never met it: that is the test.
# *Plain, trained again* are three more copies that read plain stories: they show whether the rate of false alarms holds
# for a model that is harmless and new.
#
# Next to the monitor stand a floor and a control. The floor counts words: it knows which words the taught copy writes more
# often, and sees no state at all. The control is a random direction (the mean of five), with a threshold of its own.

# %%
phrase = alarms("phrase")
phrase.style.format("{:.0%}")

# %% [markdown]
# Every text of the new copy is caught, and the harmless copies keep close to their 5 %. Counting words catches as many.
# So the monitor works, and you did not need to look inside.
#
# Would it work for a change that no single word gives away?

# %%
exercise("34.3")

# %% tags=["exercise"]
guess = ...
exercise("34.3").predict(guess)

# %% tags=["exercise"]
exercise("34.3").reveal()

# %%
mood = alarms("sad")
mood.style.format("{:.0%}")

# %% [markdown]
# Had you tried it only on the copy that you trained, you would have reported a nearly perfect monitor. It recognises that
# copy. And the harmless copies, which were trained again too, raise more false alarms than 5 %: a threshold holds for the
# model that it was set on.
#
# A third change: every animal is a fox.

# %%
animals = alarms("fox")
animals.style.format("{:.0%}")

# %% [markdown]
# Here the floor wins. The word is in the text for everybody to read, and a mean over all states of a text hardly moves.
#
# ## 4 · None was missed. What does that show?

# %%
exercise("34.4")


# %% tags=["exercise"]
def at_most(n):
    return ...


exercise("34.4").check(at_most)

# %% [markdown]
# ## 5 · The safety case
#
# A safety case is written for readers who have reason to doubt you. Its form is always the same:
#
# | part | the question it answers |
# | --- | --- |
# | claim | what will not happen, under which conditions, how often? |
# | argument | why should that be so in a model that was never tried? |
# | evidence | which numbers, each with its floor and its control? |
# | refutation | what would you have to see to withdraw the claim? |

# %%
exercise("34.5")

# %% tags=["exercise"]
case = ...
exercise("34.5").write(case)

# %% tags=["exercise"]
points = ...
exercise("34.5").score(points)

# %% [markdown]
# None of these changes was meant to hide. One that is trained against the monitor is a harder test, and no number here
# says anything about it.
#
# ## 6 · The checked numbers

# %%
new, harmless, found = "taught again", "plain, trained again", "mean difference"
assert phrase.loc[new, found] > 0.95
assert phrase.loc[new, "counting words"] > 0.95
assert phrase.loc[harmless, found] < 0.1
assert mood.loc["taught", found] > 0.9
assert mood.loc[new, found] < mood.loc[harmless, found] + 0.1 < 0.5
assert animals.loc[new, found] < 0.3 < 0.6 < animals.loc[new, "counting words"]

# %%
exercise_report("34")

# %% [markdown]
# **To read.** *Safety Cases: How to Justify the Safety of Advanced AI Systems* (arXiv 2403.10462): how to argue one;
# *AI Control: Improving Safety Despite Intentional Subversion* (arXiv 2312.06942): monitors for a model that is not
# trusted; *Detecting Strategic Deception Using Linear Probes* (arXiv 2502.03407): probes as alarms, with rates of false
# alarms.
