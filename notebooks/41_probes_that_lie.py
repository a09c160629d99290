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
# # Linear probes, and when they lie
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/41_probes_that_lie.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/41_probes_that_lie.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/41_probes_that_lie.html)
#
# You need 04; 30 minutes with the exercises, 15 seconds of computing. Afterwards you can compute the floor that a confound
# sets, find out what a probe reads by texts that differ in one thing, and say why a detector of lies may detect something
# else.
#
# In 04 a probe was held against shuffled labels and random directions. Both can be passed by a probe that reads the wrong
# thing. Here a wrong thing is planted, so that you know it is there. Then a probe of truth is asked what it reads.

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

from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.studies import lies
from sae_nb_studies.reproductions.experiments import lying_probes

pd.options.display.float_format = "{:.2f}".format
pd.options.display.max_colwidth = 90

# %% [markdown]
# ## 1 · Two writers
#
# Something good happens or something bad, and a probe reads from the state at the last token which it was. There are two
# writers. The first begins with “The next day”, the second with “A week later”, and each reports both:

# %%
told = lying_probes.happenings(0)
lies.said(told)

# %% [markdown]
# Now suppose you were only given what the first writes of bad things, and what the second writes of good ones. This is
# how labels are often come by: lies from one source, truths from another. What could be had without reading what happened?

# %%
exercise("41.1")


# %% tags=["exercise"]
def floor(y, c):
    return ...


exercise("41.1").check(floor)

# %% [markdown]
# Here your floor is 1: the writer says it all. A probe was trained on half of the kinds of happenings and tried on the other
# half, five times, at each block of `tiny-gpt`. The control shuffles the labels of the training texts, 20 times a split.

# %%
blocks = lies.by_block()
blocks[["same writers", "control: shuffled labels"]]

# %% [markdown]
# Every block is far above the control, on happenings that the probe has never seen. It looks like a finding. But the last row
# has no model in it: it counts words.
#
# ## 2 · Texts that differ in one thing
#
# Shuffled labels do not see this: they take away what the writer says along with the rest. What sees it is a text in which
# writer and label disagree. The same probes, where both writers write both:

# %%
exercise("41.2")

# %% tags=["exercise"]
guess = ...
exercise("41.2").predict(guess)

# %% tags=["exercise"]
exercise("41.2").reveal()

# %%
blocks[["same writers", "writers mixed", "trained on mixed"]]

# %% [markdown]
# Blocks 0 to 2 fall to a half: these probes read the writer. Block 3 does not: its probe, trained on the same texts, reads
# what happened. And the last column says that the others had nothing better to read: trained on mixed texts, too, blocks 0
# to 2 stay near the floor.
#
# ## 3 · Without new texts
#
# Often label and source only *mostly* agree, and no more texts can be had. Then the few rows that disagree must count as much as
# the many that agree:

# %%
exercise("41.3")


# %% tags=["exercise"]
def over_cells(right, y, c):
    return ...


exercise("41.3").check(over_cells)

# %% [markdown]
# ## 4 · A probe of truth
#
# Can a lie be read off a model? Whether a model means to deceive cannot be checked here. Whether a statement is true can:
# SmolLM2-135M prefers the right capital to another one for nearly all of 48 countries. Each city and each country stands in
# as many true as false statements, so that no single word gives it away. Again two writers: “Rome is the capital of Italy.” and “The capital of Italy is Rome.”

# %%
truth = recorded("lying_probes")
writers = {
    "trained and tried on the same two writers": "same writers",
    "floor: counts of words": "same writers, words",
    "floor: counts of neighbouring words": "same writers, pairs of words",
    "control: shuffled labels": "same writers, shuffled",
    "the same probe, writers mixed": "writers mixed",
}
truth.brief(writers)

# %% [markdown]
# Perfect, and at chance as soon as writers are mixed. Note the two floors. Both writers use the same words, in another order:
# counting words sees nothing, counting neighbours sees all. **A floor only rules out what it can see.** And now a probe
# that was trained on mixed statements:

# %%
mixed = {
    "trained and tried on mixed statements": "trained on mixed",
    "floor: counts of words": "trained on mixed, words",
    "control: shuffled labels": "trained on mixed, shuffled",
    "the model prefers the right capital": "capitals known",
}
truth.brief(mixed)

# %% [markdown]
# This is no writer and no word: the probe reads something that the model computed. Is it truth? Here is one more thing to
# change.

# %%
exercise("41.4")

# %% tags=["exercise"]
guess = ...
exercise("41.4").predict(guess)

# %% tags=["exercise"]
exercise("41.4").reveal()

# %%
truth.brief({"plain statements": "trained on mixed", "with “is not”": "denied"})

# %%
exercise("41.5")

# %% tags=["exercise"]
read = ...
exercise("41.5").check(read)

# %% [markdown]
# ## 5 · Say it

# %%
exercise("41.6")

# %% tags=["exercise"]
found = ...
exercise("41.6").write(found)

# %% tags=["exercise"]
points = ...
exercise("41.6").score(points)

# %% [markdown]
# ## 6 · The checked numbers

# %%
deceived, whole = blocks.loc["block 2"], blocks.loc["block 3"]
assert (told.label[told.tied] == told.writer[told.tied]).all()
assert blocks["same writers"].min() > 0.7
assert deceived["writers mixed"] < 0.6
assert whole["writers mixed"] > 0.9
assert blocks.loc["floor: counts of words", "same writers"] == 1
assert truth.high("denied") < 0.5 < 0.75 < truth.low("trained on mixed")

# %%
exercise_report("41")

# %% [markdown]
# **To read.** *The Geometry of Truth* (arXiv 2310.06824): probes of truth that hold across many sets of statements, in larger
# models; *Still No Lie Detector for Language Models* (arXiv 2307.00175): the same asked of denials; *Designing and Interpreting
# Probes with Control Tasks* (arXiv 1909.03368): another control.
