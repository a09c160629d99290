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
# # Behaviour: does an atom foresee what the model writes, or cause it?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/22_behaviour.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/22_behaviour.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/22_behaviour.html)
#
# You need 00 and 05; 30 minutes with the exercises, 50 seconds of computing. Afterwards you can say whether an atom
# causes a behaviour, distinguish foreseeing from causing, and count a loop without an SAE.
#
# Which atoms wrote a bad output, what fires while a model goes round in circles, what announces the next sentence, and
# what does a price on atoms do to a fine-tuning? One case first in which an atom does what it is named for. Several
# published uses do **not** come out here; each is compared with a simpler method and a control.

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
import re
from contextlib import nullcontext

import pandas as pd

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, figures, recorded
from sae_nb_lessons.studies import study_penalty
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3
pd.options.display.max_colwidth = 80

# %% [markdown]
# ## 1 · An atom that does it
#
# tiny-gpt continues first sentences of stories. In what share of the texts does something bad happen, with the atom
# “bad story” turned up, taken out, and with random directions of the same size?

# %%
gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
hook_point, examples = "resid_post.3", sn.load_examples("tiny-gpt/resid_post.3")
bad, stories = examples.match("bad story").atom, sn.data.stories(240, seed=1)
sad_words = (
    r"\blost the\b|angry|fell ill|broke|storm|missed|thieves|ran away|very sad|wept|ashamed|"
    r"howled|heavy heart|lonely|bitter|worst|grief|misery|all was lost"
)
firsts = [text.split(".")[0] + "." for text in sn.data.stories(60, seed=9).texts]

# %%
by = 1.45 * float(examples.p99[bad] * sae.dictionary[bad].norm())
edits = {"as it is": nullcontext(), "taken out": sn.ablate(gpt, hook_point, sae, atom=bad)}
edits["turned up"] = sn.steer(gpt, hook_point, sae, atom=bad, by=1.45, unit="p99")
for seed in (0, 1):
    along = sn.random_direction(sae.d_in, seed)
    edits[f"random {seed}"] = sn.steer(gpt, hook_point, direction=along, by=by)

# %%
said = {}
for name, edit in edits.items():
    with edit:
        written = gpt.generate(firsts, 40, 0.7, seed=0, echo=False)
    said[name] = sum(re.search(sad_words, text) is not None for text in written) / len(written)
pd.Series(said, name="share of texts").to_frame().style.format("{:.0%}")

# %% [markdown]
# Turned up, the atom makes something bad happen in nine texts of ten, where it is a third as it is, and up to a half
# along random directions: it causes what it is named for. Taken out, it changes little, since other atoms say the same. So it is
# enough, and not needed. Cases like this one are rarer than one would think.
#
# ## 2 · Who wrote this?
#
# At temperature 0, tiny-gpt goes round in circles:

# %%
prompt = "The list of"
loop = gpt.generate(prompt, max_new_tokens=24)
print(loop)

# %% [markdown]
# `debug` asks which atoms added most to the log-probability of this output, subtracts them at every token,
# and lets the model write again. Both controls change every token by the same length.

# %%
debugged = sn.uses.debug(gpt, sae, prompt, hook_point, max_new_tokens=24)
debugged

# %% [markdown]
# `logp` is that of the bad output, per token: without these atoms it falls further than along random ones.
# Yet look at what is then written. The loop also ends under some random atoms, and for the difference of mean
# activations: a greedy loop is fragile. One text shows that atoms *can* do it, and not that they are the
# cause of loops.
#
# ## 3 · Watch an atom while the model writes
#
# Does a token end four that were written before? That is what a loop is, and it needs no SAE. Write it:

# %%
exercise("22.1")


# %% tags=["exercise"]
def comes_again(tokens, n):
    return ...


exercise("22.1").check(comes_again)

# %% [markdown]
# Which atom rises from the first time that four tokens are written to the last? `floor` is the rise at tokens
# that come again *without* their four.

# %%
risen = sn.uses.repetition(gpt, sae, loop, hook_point)
risen.table.head(5)

# %% [markdown]
# The atom that rises most rises *more* at tokens that come again without their four: being later in a text
# may be enough. So look at both columns. `watch` yields the strengths token by token while the model writes;
# edits may begin and end between two tokens. This atom, and the first that `debug` blamed, as a strip (the
# prompt ends at the dotted line):

# %%
watched = {risen.atom: "rises most", debugged.chosen[0]: "blamed"}
moments = [*sn.uses.watch(gpt, sae, prompt, hook_point, [*watched], max_new_tokens=24)]
figure_widget(figures.watched_figure(moments, watched), height=190)

# %% [markdown]
# The same in the panel: ▶ lets the model write, the strip belongs to the atom that rises most.

# %%
lens = sw.GenerationLens(gpt, sae, prompt=prompt, pinned=[risen.atom])
lens.step(24)
lens

# %%
exercise("22.2")

# %% tags=["exercise"]
explanation = ...
exercise("22.2").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("22.2").score(points)

# %% [markdown]
# And without the atom that rises most?

# %%
output, how = loop[len(prompt) :], {"atoms": risen.atom, "max_new_tokens": 24}
without = sn.uses.debug(gpt, sae, prompt, hook_point, output, **how)
without.table[["without", "logp", "repeated", "text"]]

# %% [markdown]
# The loop continues. One text is not evidence either way. Over many texts: how well does the atom that rises most
# distinguish texts that loop from the others?

# %%
exercise("22.3")

# %% tags=["exercise"]
guess = ...
exercise("22.3").predict(guess)

# %% tags=["exercise"]
exercise("22.3").reveal()

# %%
behaviour = recorded("behaviour")
loops = {
    "AUROC of the atom that rises most": "auroc atom",
    "floor: a random atom": "auroc random",
    "control: counting four tokens": "auroc n-grams",
    "loops shortened without the atom": "atom shortens",
    "control: without a random atom": "random shortens",
}
behaviour.brief(loops)

# %% [markdown]
# **Neither holds here.** Rising with a loop is not causing it, and that four tokens came again one can also
# count: the count predicts loops, the atom does not.
#
# ## 4 · What announces the next sentence?
#
# At a full stop the model has read everything and decides what comes next. Texts are cut there into steps, a
# rule decides which steps are sad, and an atom belongs to the behaviour whose steps have its largest mean.

# %%
steps = sn.uses.rise(gpt, sae, stories.texts, hook_point, {"sad": sad_words})
print(steps)
steps.atoms[steps.atoms["behaviour"] == "sad"].head(4)

# %% [markdown]
# Turned up at full stops, do sad sentences become more frequent? And along random atoms, or the difference of
# means?

# %%
how = {"n": 5, "max_new_tokens": 30, "n_controls": 1}
effects = {by: sn.uses.rise_effect(gpt, sae, steps, firsts, "sad", by=by, **how) for by in (4, -4)}
pd.concat({f"{by:+} ×": effect.table for by, effect in effects.items()}).droplevel(1)

# %% [markdown]
# `low` and `high` are the interval of a share. Those of "atoms" and "random atoms" overlap, so nothing was
# shown. With more sentences and five seeds it **does not hold**, either: an atom that foresees the next
# sentence need not choose it.

# %%
turned = {
    "sad sentences gained, atoms at full stops": "steps atoms",
    "control: random atoms": "steps random",
    "difference of means": "steps mean",
    "sad sentences as it is": "sad steps",
}
behaviour.brief(turned)

# %% [markdown]
# ## 5 · A price on atoms
#
# If a model is to be fine-tuned anyway, a term of the loss can hold atoms down while it learns. Four versions
# of tiny-gpt: as it is, and after 20 steps on the same stories with no price, with one on the atoms labelled
# "bad story", and with one on random atoms.

# %%
named = [atom for atom, label in examples.labels.items() if "bad" in label]
study = study_penalty(sae, named, sad_words)
study.table

# %% [markdown]
# `sad` is the share of sad sentences that are then written, `excess` what the price is on, in sad stories
# that were not trained on; the losses are nats per token. With the price on "bad story" fewer sad sentences
# are written; with one on random atoms about the same share as before. It is not free: glad stories lose what
# the training would have given them.

# %% [markdown]
# `seed=1` and `seed=2` say the same, but no line was set before this was seen. Where one was set, with other
# atoms (those of the largest mean difference) and three times the steps, the atoms did **no better than
# random ones**:

# %%
priced = {
    "sad sentences, price on chosen atoms": "penalty sad",
    "floor: no price": "plain sad",
    "control: price on random atoms": "random sad",
    "loss on glad stories, chosen": "penalty loss",
    "loss on glad stories, no price": "plain loss",
}
behaviour.brief(priced)

# %% [markdown]
# Which atoms cost matters, and it takes a line, controls and seeds to say so.
#
# ## 6 · The checked numbers

# %%
# The anchor: turned up, far beyond random directions.
assert said["turned up"] > max(said["as it is"], said["random 0"], said["random 1"]) + 0.2

# %%
# The blamed atoms count for this output more than random ones; what rises most has a higher floor.
logp = debugged.table.groupby("without")["logp"].mean()
assert logp["atoms"] < logp["random atoms"] - 0.1 < logp["as it was"]
assert risen.table["rise"].iloc[0] < risen.table["floor"].iloc[0]

# %%
# Turning steps up shows nothing, here and on five seeds; a price lowers what it is on.
up = effects[4].table.groupby("added")[["low", "high"]].mean()
assert up.at["atoms", "low"] < up.at["random atoms", "high"]  # nothing was shown
others = min(study.of(atoms, "excess") for atoms in ("no price", "random atoms"))
assert study.of("chosen atoms", "excess") < 0.9 * others
assert study.of("chosen atoms", "sad") < study.of("random atoms", "sad")
for claim in ("repetition, predicted", "repetition, suppressed", "steps"):
    assert behaviour.verdict(claim) == "does not hold at this scale"
assert behaviour.verdict("penalty") == "partly"

# %%
exercise_report("22")

# %% [markdown]
# **To read.** *Are Sparse Autoencoders Useful? A Case Study in Sparse Probing* (arXiv 2502.16681): atoms next to
# simple probes; *Refusal in Language Models Is Mediated by a Single Direction* (arXiv 2406.11717): a behaviour that
# one direction causes; *Representation Engineering: A Top-Down Approach to AI Transparency* (arXiv 2310.01405):
# directions that read a behaviour and change it.
