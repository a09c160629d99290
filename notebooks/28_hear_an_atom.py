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
# # Hear an atom: a model of sounds, whose atoms can be listened to
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/28_hear_an_atom.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/28_hear_an_atom.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/28_hear_an_atom.html)
#
# You need 00; 30 minutes with the exercises, 10 seconds of computing. Afterwards you can read an atom off a
# spectrogram and by ear, make a detector of clips of it and test it on new sounds, and say where factors have no atom.
#
# An atom of an image model is looked at; one of a model of sounds is listened to as well. The sounds are made
# here, so that every answer is known: pitch class, timbre, envelope, place in time, noise. The model is
# `tiny-audio`, which is bundled, and so is its SAE.

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
import numpy as np
import pandas as pd
import torch
from IPython.display import Audio

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.figures import arms_figure
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · Sounds with known answers
#
# A second each, 8000 numbers, with one tone. Factors are drawn independently: the pitch does not predict the
# timbre.

# %%
heard = sn.data.sounds(300, seed=21)
print(heard.to_pandas().head(4).T.to_string())
Audio(heard.waveforms[0], rate=heard.sample_rate)

# %% [markdown]
# What does the model hear? It has met no clip of this seed. Chance: one over the number of classes.

# %%
model, factors = sn.load_model("tiny-audio"), ("pitch", "timbre", "envelope", "place", "noise")
heads = model.heads(heard)
right = {f: float((heads[f].argmax(1) == getattr(heard, f)).float().mean()) for f in factors}
chance = {f: 1 / heads[f].shape[1] for f in factors}
heard_right = {f"{f}, chance {chance[f]:.2f}": np.array([right[f]]) for f in factors}
figure_widget(arms_figure(heard_right, floor=max(chance.values()), x_title="right"), height=230)

# %% [markdown]
# ## 2 · An atom, seen and heard
#
# The model reads a spectrogram of 64 bands and 100 columns, cut into 4 × 20 patches. After its fifth block an
# SAE has 512 atoms. Which one detects an A, also on sounds by which it was not chosen?

# %%
name = "tiny-audio/resid_post.4"
sae, examples = sn.load_sae(name), sn.load_examples(name)
found = examples.match("pitch A")
print(f"atom {found.atom}: F1 {found.f1:.2f}; always saying yes {found.floor:.2f}")

# %% [markdown]
# Every example is a spectrogram, low tones below, with the atom's strength over it. ▶ plays it, and so does P
# on the one chosen with the arrow keys.

# %%
browser = sw.AtomBrowser(sae, examples.acts, atom=found.atom, catalogue=examples.catalogue(sae))
browser

# %%
exercise("28.1")

# %% tags=["exercise"]
explanation = ...
exercise("28.1").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("28.1").score(points)

# %% [markdown]
# In both octaves, in all timbres: is the pitch class what they share? Maxima flatter every atom; listen to those
# around its median, too.

# %%
browser.band = "50 %"
print(browser.answer)

# %% [markdown]
# ## 3 · On new sounds, and next to chance
#
# 300 clips, and the threshold that was chosen on others. Two controls: the atom of another pitch class; and the
# best of 512 atoms of dictionaries that were never trained, five of them, matched in the same way (on the card).

# %%
exercise("28.2")


# %% tags=["exercise"]
def says(z, clip, n, threshold):
    return ...


exercise("28.2").check(says)

# %%
exercise("28.3")

# %% tags=["exercise"]
guess = ...
exercise("28.3").predict(guess)

# %% tags=["exercise"]
exercise("28.3").reveal()

# %%
acts = sn.capture(model, heard, "resid_post.4", progress=False)
codes, is_a = sae.encode(acts.x), heard.pitch == heard.pitch_names.index("A")
score = {}
for match in (found, examples.match("pitch D")):
    rows, z = codes.strengths(match.atom)
    strongest = torch.zeros(300).scatter_reduce(0, acts.sample[rows], z, "amax")
    heard_a = strongest > match.threshold
    score[match.factor] = float(2 * (heard_a & is_a).sum() / (heard_a.sum() + is_a.sum()))

# %%
repeats = examples.facts["repeats"]["factors"]
score["best untrained of 512"] = max(repeats["pitch A"]["random"])
print({name: round(value, 2) for name, value in score.items()}, "F1 for an A")

# %% [markdown]
# The atom hardly errs. But look at the control: where a network has pitch ready in one token, the best of many
# random directions detects it, too. A high F1 is not evidence that training found something. By kind of factor,
# means over five trainings, against the best that any of five untrained dictionaries reaches:

# %%
best = {
    name: {"trained": sum(of["f1"]) / 5, "untrained": max(of["random"]), "floor": of["floor"]}
    for name, of in repeats.items()
}
table = pd.DataFrame(best).T
where = ["at a patch" if name.endswith("at a patch") else "" for name in table.index]
by_kind = table.groupby(table.index.str.split().str[0] + " " + where).mean()
by_kind

# %% [markdown]
# Envelopes, places and noises have atoms that chance does not give. Pitch at single patches has none: there
# untrained atoms do better. That the SAE lacks it is a finding as well.

# %% [markdown]
# And when does it fire? A patch is a band and a time. Try it:

# %%
exercise("28.4")


# %% tags=["exercise"]
def moment(z, columns, step):
    return ...


exercise("28.4").check(moment)

# %% [markdown]
# `acts.seconds` knows the time of every row. Do atoms fire while the tone is heard? The pitch atom, and the one
# that detects best whether a tone is at a patch:

# %%
while_it_sounds = {"by chance": float(heard.sounding.float().mean())}
for match in (found, examples.match("tone at a patch")):
    rows, _ = codes.strengths(match.atom)
    rows = rows[~acts.seconds[rows].isnan()]  # cls is of no time
    column = (acts.seconds[rows] / 0.05).round().long()
    sounds_then = heard.sounding[acts.sample[rows], column]
    while_it_sounds[match.factor] = float(sounds_then.float().mean())
print({name: f"{value:.0%}" for name, value in while_it_sounds.items()})

# %% [markdown]
# The pitch is not kept where it sounds: by block 5 the network has spread its answer over patches of
# silence. Seen on a spectrogram alone, that looks like a mistake of the atom.

# %% [markdown]
# ## 4 · And what does it do?
#
# Detecting an A and making one are two things. Atoms were added to the running network on other sounds, one per
# pitch class; which pitch class does the model then hear in clips of another? Random directions of the same
# length are the control.

# %%
steered = next(one for one in examples.steered if one.label == "pitch A")
others = heard.waveforms[~is_a][:100]
directions = {"atom": sae.dictionary[steered.atom]}
directions |= {f"random {i}": sn.random_direction(sae.d_in, i) for i in range(4)}
share = {"nothing": float((model(others).argmax(-1) == 9).float().mean())}

# %%
for words, direction in directions.items():
    with sn.steer(model, "resid_post.4", direction=direction, by=steered.by):
        share[words] = float((model(others).argmax(-1) == 9).float().mean())
print("hears an A in", {words: f"{value:.0%}" for words, value in share.items()})

# %% [markdown]
# ## 5 · What the SAE does not have
#
# Factors without an atom of their own are a finding, too: they are on the card.

# %%
print("found:", ", ".join(match.factor for match in examples.matches))
print("missed:", ", ".join(examples.missed))

# %% [markdown]
# Take it with you: a page with the sounds in it, which plays without a kernel.

# %%
page = browser.to_html("an-a.html")
print(page.name, f"{page.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## 6 · The checked numbers

# %%
assert all(right[f] > 0.95 for f in factors)
assert found.f1 > found.floor + 0.5
assert score["pitch A"] > score["pitch D"] + 0.4, "another class's atom does not detect an A"
assert by_kind.trained["envelope "] > by_kind.untrained["envelope "] + 0.2
assert by_kind.trained["pitch at a patch"] < by_kind.untrained["pitch at a patch"]
assert while_it_sounds["tone at a patch"] > while_it_sounds["by chance"] + 0.15
assert while_it_sounds["pitch A"] < while_it_sounds["by chance"] + 0.1
assert share["atom"] > max(value for words, value in share.items() if words != "atom") + 0.3
assert page.read_text("utf-8").count("<audio") > 0
page.unlink()

# %%
exercise_report("28")

# %% [markdown]
# **To read.** *wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations* (arXiv 2006.11477):
# features of sound learned without labels; *AST: Audio Spectrogram Transformer* (arXiv 2104.01778): a transformer
# that reads a spectrogram in patches; *Robust Speech Recognition via Large-Scale Weak Supervision* (arXiv
# 2212.04356): Whisper, a model of speech to try next.
