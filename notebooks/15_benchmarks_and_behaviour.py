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
# # Benchmarks and behaviour: what does a test set hold, and what does an atom do while the model writes?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/15_benchmarks_and_behaviour.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/15_benchmarks_and_behaviour.ipynb)
#
# You need 10 and 14; 40 minutes with the exercises, 55 seconds of computing. Afterwards you can see what a test set
# repeats, and distinguish an atom that foresees a behaviour from one that causes it.
#
# Two popular uses, and what each is worth compared with a simpler method and a control.
#
# - *Benchmarks*: how much of a test set repeats itself, which documents to choose from a large pool, whether
#   a few atoms classify, and whether a benchmark of SAEs can put SAEs in order at all.
# - *Behaviour*: which atoms wrote a bad output, what fires while a model goes round in circles, what
#   announces the next sentence, and what a price on atoms does to a fine-tuning.
#
# Several published uses do **not** come out here. The tables say which. A minute, live.

# %% jupyter={"source_hidden": true} tags=["colab"]
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to set up
    from pathlib import Path
    from subprocess import run
    import torch
    from google.colab import output

    Path("torch.txt").write_text(f"torch=={torch.__version__}")  # the one that is there stays
    package = "sae-nb @ git+https://github.com/sae-nb/sae_nb"
    run([sys.executable, "-m", "pip", "install", "-qc", "torch.txt", package], check=True)
    output.enable_custom_widget_manager()

# %%
import pandas as pd

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, figures, recorded
from sae_nb_lessons.studies import study_penalty
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3
pd.options.display.max_colwidth = 80

# %% [markdown]
# ## 1 · What does a test set hold?
#
# Of each document its 32 strongest atoms count. Together they are the *footprint* of a test set. `redundancy`
# asks how much of it a random part already has: about ½ where no two documents share an atom, near 1 where a
# few have all. Two test sets of one size, one of which holds twenty stories five times:

# %%
gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
hook_point, stories = "resid_post.3", sn.data.stories(240, seed=1)
labels = sn.load_examples("tiny-gpt/resid_post.3").labels
docs = sn.uses.documents(gpt, sae, stories.texts, hook_point, labels=labels, progress=False)
sets = {"100 stories": docs.subset(slice(100)), "20 stories, 5 ×": docs.subset([*range(20)] * 5)}
repeated = {name: sn.uses.redundancy(some) for name, some in sets.items()}
pd.concat({name: one.scores for name, one in repeated.items()}).droplevel(1)

# %% [markdown]
# Composed sets of eight kinds, three seeds. Atoms put them in the order in which they were made; words less
# well, since all stories share a few hundred words:

# %%
documents = recorded("documents")
documents.table("redundancy")

# %% [markdown]
# Do two test sets hold the same? Overlap is asymmetric: of the first footprint, the share that lies in the
# second.

# %%
sad = (stories.sentiment == 0).numpy()
manual = sn.uses.documents(gpt, sae, sn.data.prose("test").texts, hook_point, progress=False)
sn.uses.overlap({"sad": docs.subset(sad), "glad": docs.subset(~sad), "manual": manual})

# %% [markdown]
# ## 2 · Which documents to choose?
#
# To label twenty of many documents, take those that cover most atoms:

# %%
exercise("15.2")


# %% tags=["exercise"]
def choose(has, n):
    return ...


exercise("15.2").check(choose)

# %%
chosen = sn.uses.select(docs, 20)
chosen.table.iloc[[0, 4, 9, 19]]

# %% [markdown]
# `random` is what random documents cover on average, `words` what choosing by words does. On documents that
# were not used for choosing, too. But is a classifier better that was made from them? Not clearly:

# %%
documents.table("chosen documents", "better examples")

# %% [markdown]
# ## 3 · A classifier without training
#
# The most tempting use: find the atoms that fire more often in sad stories, say yes where *any of them*
# fires. No training, and one number to choose: how many atoms. First, what could go wrong?

# %%
exercise("15.1")

# %% tags=["exercise"]
share = ...
exercise("15.1").check(share)

# %%
rule = sn.uses.or_rule(docs, sad)
rule.table

# %% [markdown]
# Judged on stories that nothing was chosen on. The row "activations" is logistic regression on the mean
# activation, "words" on words. Both are ahead. The rule is praised for needing few documents. Its learning
# curve:

# %%
rule.curve

# %%
documents.table("OR rule", "few examples")

# %% [markdown]
# **Neither claim holds here.** An "or" keeps every atom's mistakes, and an SAE row answers yes or no where a
# probe uses strengths. The rule does give a reason that can be read: these atoms, with these labels.

# %%
rule.atoms.head(4)

# %% [markdown]
# ## 4 · Which benchmark can rank SAEs?
#
# SAEBench asks eight questions of an SAE. One of them, TPP, takes out the atoms of one class and asks whether
# its probe alone suffers. An SAE that was trained gets about a quarter. And one that was not?

# %%
exercise("15.3")

# %% tags=["exercise"]
guess = ...
exercise("15.3").predict(guess)

# %% tags=["exercise"]
exercise("15.3").reveal()

# %% [markdown]
# `bench` asks them on bundled tasks whose answers are known, any rows by name. Each score is compared with a
# simpler method, an oracle that knows the labels, three broken SAEs and the noise of other seeds; a dash is a
# value that was not recorded.

# %%
result = sn.uses.bench(sae, rows=["scr", "tpp", "ravel"])
result

# %%
figure_widget(result.plot(), height=300)

# %% [markdown]
# RAVEL puts the broken ones behind. TPP gives random directions what it gives a trained SAE, and SCR gives an
# oracle, which knows the labels, less than half. One such score without broken SAEs does not show that an SAE
# is better.

# %%
references = recorded("bench_references")
references.table("tpp order", "ravel order")

# %% [markdown]
# ## 5 · Who wrote this?
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
# ## 6 · Watch an atom while the model writes
#
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
# And without the atom that rises most?

# %%
output, how = loop[len(prompt) :], {"atoms": risen.atom, "max_new_tokens": 24}
without = sn.uses.debug(gpt, sae, prompt, hook_point, output, **how)
without.table[["without", "logp", "repeated", "text"]]

# %% [markdown]
# The loop continues. One text is not evidence either way. Over many, and three seeds:

# %%
behaviour = recorded("behaviour")
behaviour.table("repetition, predicted", "repetition, suppressed")

# %% [markdown]
# **Neither holds here.** Rising with a loop is not causing it, and that four tokens came again one can also
# count: the count predicts loops, the atom does not.
#
# ## 7 · What announces the next sentence?
#
# At a full stop the model has read everything and decides what comes next. Texts are cut there into steps, a
# rule decides which steps are sad, and an atom belongs to the behaviour whose steps have its largest mean.

# %%
sad_words = (
    r"\blost the\b|angry|fell ill|broke|storm|missed|thieves|ran away|very sad|wept|ashamed|"
    r"howled|heavy heart|lonely|bitter|worst|grief|misery|all was lost"
)
steps = sn.uses.rise(gpt, sae, stories.texts, hook_point, {"sad": sad_words})
print(steps)
steps.atoms[steps.atoms["behaviour"] == "sad"].head(4)

# %% [markdown]
# Turned up at full stops, do sad sentences become more frequent? And along random atoms, or the difference of
# means?

# %%
firsts = [text.split(".")[0] + "." for text in sn.data.stories(60, seed=9).texts]
how = {"n": 5, "max_new_tokens": 30, "n_controls": 1}
effects = {by: sn.uses.rise_effect(gpt, sae, steps, firsts, "sad", by=by, **how) for by in (4, -4)}
pd.concat({f"{by:+} ×": effect.table for by, effect in effects.items()}).droplevel(1)

# %% [markdown]
# `low` and `high` are the interval of a share. Those of "atoms" and "random atoms" overlap, so nothing was
# shown. With more sentences and three seeds it **does not hold**, either: an atom that foresees the next
# sentence need not choose it.

# %%
behaviour.table("steps")

# %% [markdown]
# ## 8 · A price on atoms
#
# If a model is to be fine-tuned anyway, a term of the loss can hold atoms down while it learns. Four versions
# of tiny-gpt: as it is, and after 20 steps on the same stories with no price, with one on the atoms labelled
# "bad story", and with one on random atoms.

# %%
study = study_penalty(sae, docs.find("bad"), sad_words)
study.table

# %% [markdown]
# `sad` is the share of sad sentences that are then written, `excess` what the price is on, in sad stories
# that were not trained on; the losses are nats per token. With the price on "bad story" fewer sad sentences
# are written; with one on random atoms about the same share as before. It is not free: glad stories lose what
# the training would have given them.

# %%
for name in ("no price", "chosen atoms"):
    print(f"{name}:", *study.texts[name][:4], sep="\n  ", end="\n\n")

# %% [markdown]
# `seed=1` and `seed=2` say the same, but no line was set before this was seen. Where one was set, with other
# atoms (those of the largest mean difference) and three times the steps, the atoms did **no better than
# random ones**:

# %%
behaviour.table("penalty")

# %% [markdown]
# Which atoms cost matters, and it takes a line, controls and seeds to say so.
#
# ## 9 · The checked numbers

# %%
# Copies are seen by atoms, and chosen documents cover more than random ones.
values = {name: one.value for name, one in repeated.items()}
assert values["20 stories, 5 ×"] > values["100 stories"] + 0.05
last = chosen.table.iloc[-1]
assert last["coverage"] > last["random"] + 0.1
assert documents.verdict("chosen documents") == "holds" != documents.verdict("redundancy")
assert documents.verdict("better examples") == "too few seeds"

# %%
# The rule of "or" is behind logistic regression, here and over seeds.
f1 = rule.table.set_index("method")["f1"]
assert f1["activations"] > f1[f1.index.str.startswith("or of")].max() + 0.03
assert documents.high("or − activations") < -0.05
for claim in ("OR rule", "few examples"):
    assert documents.verdict(claim) == "does not hold at this scale"

# %%
# RAVEL puts broken SAEs behind; TPP does not, as its warning states.
scores = result.table.set_index("row")
assert all("rank" in scores.at[row, "warning"] for row in ("scr", "tpp"))
assert scores.at["ravel", "score"] > scores.loc["ravel", ["random", "collapsed", "copied"]].max()
assert abs(references.of("tiny-gpt tpp ahead").mean) < 0.05
assert references.verdict("tpp order") == "too few seeds"
assert references.verdict("ravel order") == "holds"

# %%
# The blamed atoms count for this output more than random ones; what rises most has a higher floor.
logp = debugged.table.groupby("without")["logp"].mean()
assert logp["atoms"] < logp["random atoms"] - 0.1 < logp["as it was"]
assert risen.table["rise"].iloc[0] < risen.table["floor"].iloc[0]

# %%
# Turning steps up showed nothing here, and three seeds decide nothing; a price lowers what it is on.
up = effects[4].table.groupby("added")[["low", "high"]].mean()
assert up.at["atoms", "low"] < up.at["random atoms", "high"]  # nothing was shown
others = min(study.of(atoms, "excess") for atoms in ("no price", "random atoms"))
assert study.of("chosen atoms", "excess") < 0.9 * others
assert study.of("chosen atoms", "sad") < study.of("random atoms", "sad")
for claim in ("repetition, predicted", "repetition, suppressed"):
    assert behaviour.verdict(claim) == "does not hold at this scale"
assert behaviour.verdict("steps") == behaviour.verdict("penalty") == "too few seeds"
assert not gpt.interventions

# %%
exercise_report("15")
