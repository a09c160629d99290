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
# # The lens: what is a model about to answer, and is the lens right?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/06_the_lens.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/06_the_lens.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/06_the_lens.html)
#
# You write the logit lens, set a Jacobian lens next to it, and read from a check, which adds directions to the running
# model, whether the lens foresaw what happens. Do 00 first; 30 minutes, 15 seconds of
# computing. Afterwards you can read a model layer by layer, measure what an atom does, and distinguish a lens that
# helps from one that misleads.

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

pd.options.display.float_format = "{:.2f}".format

# %% [markdown]
# ## 1 · Your own logit lens
#
# States have the same width after every block. So the model's head, the norm and unembedding that make
# [logits](../docs/glossary.md#words-of-the-field) of the last state, can read all of them:

# %%
gpt, text = sn.load_model("tiny-gpt"), "One day Clara and Anna went to the library"
plain = sn.fit_lens(gpt, [text], kind="logit", progress=False)
states = sn.capture(gpt, text, "resid_post.2", drop_first=False, progress=False).x
head = plain.head
print("the model's head:", type(head.norm).__name__, "and", tuple(head.weight.shape))
reading = plain.read(text)
reading

# %% [markdown]
# That is the next token that the toolkit's lens puts first, by block; `agrees` says how often it is the model's own.
# Write your own.

# %%
exercise("06.1")


# %% tags=["exercise"]
def logit_lens(states, gain, unembedding):
    return ...


mine = logit_lens(states, head.norm.weight, head.weight)
if isinstance(mine, torch.Tensor) and mine.ndim == 2:
    same = (mine.argmax(dim=1).numpy() == reading.top[2, :, 0]).mean()
    print(f"top tokens of block 2 that your lens and the toolkit's share: {same:.0%}")
exercise("06.1").check(logit_lens)

# %% [markdown]
# Block 0 names mostly pieces of words. Later blocks will change those states: what if the lens took
# that into account? The **Jacobian lens** multiplies a state by a matrix J before the head reads it. J says how much, on
# average over places and texts, a small change of a state moves the last states at its own and all later positions (of
# an image: the state that the class head reads). With J the identity it is the logit lens. J is fitted on other texts.

# %%
lens = sn.load_lens("tiny-gpt")
panel = sw.LensPanel(gpt, lens, text)
panel.shown = "lens"
panel

# %%
exercise("06.2")

# %% tags=["exercise"]
read_off = ...
exercise("06.2").check(read_off)

# %% [markdown]
# Use the panel: type a text of your own, switch between the lenses, and find a token whose answer the Jacobian lens reads
# at an earlier block than the logit lens does. Here “ to” and “ library” are two of them; at “On” it is the other way
# round. −1 means: not before the last block.

# %%
own, other = lens.read_both(text)
first = pd.DataFrame({"Jacobian": own.settles, "logit": other.settles}, index=own.tokens)
first

# %% [markdown]
# ## 2 · Is it right? A floor and a control
#
# *Floor*: always giving the most frequent answer, or the mean answer. *Control*:
# the lens at a random other place of the same texts. All of it on stories that the lens was not fitted on. `kl` is how
# far all probabilities together are from the model's own (KL, in nats).

# %%
held_out = list(sn.data.stories(24, seed=404).texts)
scored = lens.check(held_out, context_length=48).table
scored[["layer", "agreement", "logit agreement", "control agreement", "floor agreement"]]

# %%
scored[["layer", "kl", "logit kl", "control kl", "floor kl"]]

# %% [markdown]
# Where a lens is further from the answer than the floor is, you would do better to give the mean answer every time.
# Here that happens at no block, with either lens; but at block 0 the Jacobian lens is the worse one in both tables.
#
# ## 3 · Patches of an image have a lens, too
#
# The same can be asked of a classifier: how far is what a place reads from the model's answer? Patches that read the model's own
# answer are shaded, block by block. Beside patches there are `cls`, the token that the head reads in the end, and
# [registers](../docs/glossary.md#words-of-the-field).

# %%
vit, image = sn.load_model("tiny-vit"), sn.data.scenes(2, seed=5, split="test").images
of_vit = sn.load_lens("tiny-vit")
seen = sw.LensPanel(vit, of_vit, image)
seen

# %%
sae, images = sn.load_sae("tiny-vit/resid_post.6"), sn.data.scenes(16, seed=9, split="test").images
found = of_vit.check(images, sae, n_atoms=40)
some = found.table[found.table["layer"].isin([2, 6, 10])]
some[["layer", "place", "kl", "logit kl", "control kl", "floor kl"]]

# %% [markdown]
# In all nine rows the logit lens is at least as near to the answer as the Jacobian lens, which is beyond the floor at the
# patches of all three blocks, at `cls` of block 2, and at the registers of blocks 2 and 10. There the mean answer would be
# the better guess: as a reading of the answer it misleads.
#
# ## 4 · What does an atom do to the answer?
#
# An atom's card lists what the atom raises. The simplest card takes the *direct path*: the atom's direction straight
# through the head, as if no block came in between. Is that right in the middle of a network?

# %%
exercise("06.3")

# %% tags=["exercise"]
guess = ...
exercise("06.3").predict(guess)

# %% tags=["exercise"]
exercise("06.3").reveal()

# %% [markdown]
# Cards show the outputs raised most, so count those, too.

# %%
exercise("06.4")


# %% tags=["exercise"]
def hits(foreseen, measured, k):
    return ...


exercise("06.4").check(hits)

# %%
found.atoms_by_kind[["correlation", "logit correlation", "hits", "logit hits"]]

# %% [markdown]
# A direction is added at every place after block 6. `logit` is the direct path, `hits` what you wrote, with three of ten
# classes (chance: .30). The lens that misled at patches foresees effects
# better than the direct path does. The control is random directions of the same sizes: it foresees them just as well
# as atoms. So being foreseen does not make an atom good. Here are the rank correlations over five seeds of training,
# and for the bundled language model:

# %%
measured = recorded("lens_effects")
rows = {
    "tiny-vit, Jacobian lens": "tiny-vit, lens",
    "floor: the direct path": "tiny-vit, direct path",
    "control: random directions": "tiny-vit, lens, random",
    "tiny-gpt, Jacobian lens": "tiny-gpt, lens",
    "floor: the direct path, tiny-gpt": "tiny-gpt, direct path",
    "control: random directions, tiny-gpt": "tiny-gpt, lens, random",
}
measured.brief(rows)

# %% [markdown]
# On SmolLM2-135M, after block 4 of 30 and after block 22:

# %%
real = recorded("lens_effects_language")
rows = {}
for depth in ("early", "late"):
    rows[f"{depth}, Jacobian lens"] = f"{depth}, lens"
    rows[f"floor: the direct path, {depth}"] = f"{depth}, direct path"
    rows[f"control: random directions, {depth}"] = f"{depth}, lens, random"
real.brief(rows)

# %% [markdown]
# At both depths the Jacobian lens foresees more: by .65 after block 4, by .52 after block 22. Random directions are foreseen about as well as atoms here, too.
#
# ## 5 · A real model, if it is there
#
# `sae-nb get smollm2-135m` in a terminal fetches one (93 MB, once). Without it, tiny-gpt reads another text.

# %%
try:
    model, question = sn.load_model("smollm2-135m"), "The opposite of hot is"
    few = [one[:60] for one in sn.data.prose("train").texts[:1]]
    fitted = sn.fit_lens(model, few, context_length=8)
except FileNotFoundError:
    model, question, fitted = gpt, "Anna lost her hat. She was very", lens
answer, plain = fitted.read_both(question)
print(f"read with {model.name}; texts that the lens was fitted on: {fitted.n_done}")
print(
    f"last token, the model's answer: “{answer.names[int(answer.answer[-1])]}”; first block that reads it:"
)
print(f"{answer.settles[-1]} by the Jacobian lens, {plain.settles[-1]} by the logit lens")
answer.grid().iloc[:8]

# %% [markdown]
# −1 is again: not before the last block. One question is no finding: which lens is earlier changes from token to token,
# as in section 1.

# %% [markdown]
# ## 6 · The checked numbers

# %%
means = found.atoms_by_kind
assert means.loc["atom", "correlation"] > means.loc["atom", "logit correlation"] + 0.1
assert abs(means.loc["atom", "correlation"] - means.loc["random", "correlation"]) < 0.15
assert (scored["agreement"] > scored["control agreement"]).all()
assert (scored[["kl", "logit kl"]].max(axis=1) < scored["floor kl"]).all()
assert scored["kl"][0] > scored["logit kl"][0]
patches = some[some["place"] == "patches"]
assert (some["logit kl"] <= some["kl"] + 1e-3).all()
assert (patches["kl"] > patches[["logit kl", "floor kl"]].max(axis=1)).all()
assert measured.of("tiny-vit, gained").mean > 0.15
assert answer.agreement[-1] > 0.3

# %%
exercise_report("06")

# %% [markdown]
# **To read.** *Verbalizable Representations Form a Global Workspace in Language Models* (Gurnee et al., 2026): the Jacobian
# lens; *Eliciting Latent Predictions from Transformers with the Tuned Lens* (arXiv 2303.08112): where the
# logit lens fails, and a lens that is trained; *Transformer Feed-Forward Layers Build Predictions by Promoting
# Concepts in the Vocabulary Space* (arXiv 2203.14680): updates read as words; *Future Lens* (arXiv 2311.04897): how
# much of later tokens one state holds.
