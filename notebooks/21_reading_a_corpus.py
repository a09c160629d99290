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
# # Reading a corpus: what is in these texts, and how do they differ from those?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/21_reading_a_corpus.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/21_reading_a_corpus.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/21_reading_a_corpus.html)
#
# You need 00, on language; 40 minutes with the exercises, 20 seconds of computing. Afterwards you can compare, group
# and find texts by atoms, choose the few worth labelling, and say where counting words would have done.
#
# Reading ten thousand texts is too much work. An SAE makes of each one sparse row: which atoms fired in it,
# how strongly, and where. Rows can be compared, grouped, searched and counted.
#
# Every answer here is compared with that of a **simpler method**: counting words, or the mean activation without an
# SAE. Often the two agree, and then the words are the better answer. The texts are stories of a small grammar, so that
# the right answers are known, and at the end the reference manual of Python, where they are not.

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

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import arms_figure
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3
pd.options.display.max_colwidth = 80

# %% [markdown]
# ## 1 · A text is a sparse row
#
# `documents` reads the texts batch by batch, keeps of every atom the strongest place in each text, and drops
# the activations.

# %%
gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
hook_point, stories = "resid_post.3", sn.data.stories(400, seed=0)
labels = sn.load_examples("tiny-gpt/resid_post.3").labels
docs = sn.uses.documents(gpt, sae, stories.texts, hook_point, labels=labels, progress=False)
print(docs)

# %% [markdown]
# Half of the atoms fire *somewhere* in a story. So it matters little which atoms are in a row, and more where
# they are strongest. The labels come with the SAE: they were found by comparing atoms with what the grammar
# knows. Here is one that fires in stories that go badly, with the word at which it peaks:

# %%
bad = docs.find("bad")
for row in docs.top(bad[0], n=3).itertuples():
    print(f"{row.word} {row.value:.1f}: {row.text}\n")

# %% [markdown]
# ## 2 · What differs between two corpora?
#
# In half of the stories bad things happen. Which atoms fire in more of these than of the others? Before
# looking: how many would, if there were *nothing* to find?

# %%
exercise("21.1")

# %% tags=["exercise"]
expected = ...
exercise("21.1").check(expected)

# %%
exercise("21.2")


# %% tags=["exercise"]
def corrected(p):
    return ...


exercise("21.2").check(corrected)

# %% [markdown]
# `diff` compares the shares of stories in which each atom fires: an exact test of each, and q for looking at
# all of them.

# %%
sad = (stories.sentiment == 0).numpy()
found = sn.uses.diff(docs.subset(sad), docs.subset(~sad))
columns = ["atom", "label", "a", "b", "low", "high", "q", "word", "word_difference"]
found.table[columns].head(8)

# %% [markdown]
# `a` is the share of sad stories, `b` of glad ones; `low` and `high` hold the difference. The last two
# columns are those of a simpler method: the word at which the atom peaks, and how much the share of stories
# with *that word* differs. And the control, two halves of one corpus:

# %%
halves = sn.uses.diff(docs.subset(slice(0, None, 2)), docs.subset(slice(1, None, 2)))
print(f"sad and glad: {found}")
print(f"two halves:   {halves}")

# %% [markdown]
# In the panel each atom is a point: how much the shares differ across, how sure that is up. Click one, or
# step with ← →, and read the stories of both sides. Try *search*: a label, or a word at which atoms peak.

# %%
panel = sw.CorpusPanel(docs.subset(sad), docs.subset(~sad), ("sad", "glad"))
panel.shown = "all"
panel

# %%
exercise("21.3")

# %% tags=["exercise"]
read_off = ...
exercise("21.3").check(read_off)

# %% [markdown]
# **Would words have done?** Here, yes. Some words are in stories of one side alone:

# %%
found.simpler.head(6)

# %% [markdown]
# An atom adds something in the rows of the first table where `word_difference` is small and the atom's is not: it
# fires on *this* "winter", in stories that continue well, and a count of the word cannot know that.
#
# With smaller shifts both become unsure together. With 70 % sad stories against 30 % both were found in every draw; the
# share of draws with 60 and with 55 %:

# %%
documents = recorded("documents")
shifts = {
    "an atom is found, 60 against 40 %": "60 against 40 %: atoms",
    "floor: halves of one corpus": "halves: atoms",
    "control: a word is found": "60 against 40 %: words",
    "an atom, 55 against 45 %": "55 against 45 %: atoms",
    "control: a word, 55 against 45 %": "55 against 45 %: words",
}
documents.brief(shifts)

# %% [markdown]
# ## 3 · Which atoms go together?
#
# Pairs that share documents although nothing shows that they are alike: their directions are not, their
# labels are not, and they peak at different words. `npmi` is 1 where they only occur together, 0 where they
# do not mind each other; `word_npmi` is the same of the two words.

# %%
pairs = sn.uses.cooccurrence(docs, n=8)
pairs.table[["atom", "word", "other", "other_word", "npmi", "word_npmi", "together", "cosine"]]

# %% [markdown]
# Stories of this grammar are made of sentences, and the surest pairs are two places of one sentence. Where
# `word_npmi` is low, look at the words: the atom fires only on the "and" of this one sentence.
#
# ## 4 · Groups, about what you ask for
#
# Stories about six characters whose names have atoms. Can they be put into six groups by who they are about?

# %%
people = {label.split()[1] for label in labels.values() if label.startswith("person ")}
heroes = [stories.entities[i] for i in stories.person]
rows = [i for i, hero in enumerate(heroes) if hero in people and not stories.plural[i]]
about, hero = docs.subset(rows), [heroes[i] for i in rows]
print(f"{len(about)} stories about {', '.join(sorted(people))}")

# %%
exercise("21.4")

# %% tags=["exercise"]
guess = ...
exercise("21.4").predict(guess)

# %% tags=["exercise"]
exercise("21.4").reveal()

# %% [markdown]
# Groups follow what differs most. Say what they should be about: `atoms="person"` takes the atoms with this
# word in their label.

# %%
everything = sn.uses.cluster(about, len(people), attribute=hero)
by_person = sn.uses.cluster(about, len(people), atoms="person", attribute=hero)
named = {"all atoms": everything, "atoms of persons": by_person}
pd.concat({name: groups.scores for name, groups in named.items()}).droplevel(1)

# %% [markdown]
# `ari` is the agreement with the person; the rows "words" and "activations" are the simpler methods, which cannot be
# asked for a subject. Over ten seeds, characters yes, things less:

# %%
chosen_atoms = {
    "person, ARI of chosen atoms": "person: targeted",
    "floor: random atoms": "person: random atoms",
    "control: activations": "person: activations",
    "words": "person: words",
    "thing, ARI of chosen atoms": "thing: targeted",
    "words, thing": "thing: words",
}

# %%
scores = {words: documents.seeds(name) for words, name in chosen_atoms.items()}
floor = documents.of("person: random atoms").mean
figure_widget(arms_figure(scores, floor=floor, x_title="ARI"), height=250)

# %% [markdown]
# ## 5 · Find texts by what they are like
#
# "Stories that go badly" is not a word of any story. A query is an atom, several, or words that labels hold:

# %%
answer = sn.uses.retrieve(docs, "bad", relevant=sad)
for i in answer.order[:2]:
    print(docs.text(int(i)), end="\n\n")
answer.table

# %% [markdown]
# `map` is 1 where all sad stories come first, and about ½ for a random order. No story contains the *word* "bad".
# Fairer is a search for the words at which the atoms peak: pass the atoms themselves.

# %%
by_atoms = sn.uses.retrieve(docs, bad, relevant=sad)
print("words asked for:", ", ".join(by_atoms.words))
by_atoms.table

# %%
searched = {
    "MAP of atoms": "concept: MAP of atoms",
    "floor: random order": "concept: share wanted",
    "control: random atoms": "concept: MAP of random atoms",
    "cosine of activations": "concept: MAP of activations",
    "words": "concept: MAP of words",
}

# %%
scores = {words: documents.seeds(name) for words, name in searched.items()}
floor = documents.of("concept: share wanted").mean
figure_widget(arms_figure(scores, floor=floor, x_title="MAP"), height=230)

# %% [markdown]
# Better than words, hardly better than a cosine with the atoms' directions, which one has to know. With names of
# characters and things it is the other way round. So the claim holds *partly*.
#
# ## 6 · Which texts to label?
#
# To label twenty of many documents, take those that cover most atoms:

# %%
exercise("21.5")


# %% tags=["exercise"]
def choose(has, n):
    return ...


exercise("21.5").check(choose)

# %%
chosen = sn.uses.select(docs, 20)
chosen.table.iloc[[0, 4, 9, 19]]

# %% [markdown]
# `random` is what random documents cover on average, `words` what choosing by words does. With few labels it is
# tempting to say yes where *any of* some atoms fires. What could go wrong?

# %%
exercise("21.6")

# %% tags=["exercise"]
share = ...
exercise("21.6").check(share)

# %% [markdown]
# Measured, an "or" is behind logistic regression on activations ([appendix](appendix_d_test_sets.ipynb)).
#
# ## 7 · Texts without labels
#
# The reference manual of Python, in paragraphs: what do those about `compound` statements have that those
# about `types` have not? No atom has a label here, and no answer is known.

# %%
prose, asked = sn.data.prose(), ("compound", "types")
topics = [[p for p, t in zip(prose.texts, prose.topic) if t == name] for name in asked]
compound, types = (sn.uses.documents(gpt, sae, some, hook_point, progress=False) for some in topics)
compared = sn.uses.diff(compound, types)
compared.table[["atom", "a", "b", "q", "word", "word_difference"]].head(4).round(3)

# %%
compared.simpler[["word", "a", "b", "q"]].head(4)

# %% [markdown]
# Both find a difference, the atoms in more places. But the words say at once what the two topics are about; of an
# atom without a label one has to read where it fires. The calls are the same with a larger model and your own texts
# ([how-to](../docs/howto/read-a-corpus.md)); so is the question: what would a count of words have shown?
#
# ## 8 · The checked numbers

# %%
# A difference is found where there is one, and not between halves.
assert found.table["q"].iloc[0] < 1e-6
assert (halves.table["q"] < 0.05).sum() == 0
sides = found.table[found.table["q"] < 1e-6].query("label in ['good story', 'bad story']")
assert ((sides["difference"] > 0) == (sides["label"] == "bad story")).all()
assert found.simpler["q"].iloc[0] < 1e-6  # words find it, too
assert ((found.table["q"] < 1e-6) & (found.table["word_difference"].abs() < 0.1)).any()
assert documents.verdict("planted shift") == "partly"

# %%
# Groups by what was asked for; a query by atoms ahead of words, not of the cosine.
assert by_person.ari > everything.ari + 0.15
assert abs(documents.of("person: all atoms").mean) < 0.05
assert documents.verdict("targeted clusters") == "holds"
maps = by_atoms.table.set_index("method")["map"]
assert maps["atoms"] > 0.95 > maps["words"] + 0.02
assert documents.verdict("retrieval") == "partly"

# %%
# The manual: found by both.
assert compared.table["q"].iloc[0] < 1e-3 > compared.simpler["q"].iloc[0]
assert chosen.table.iloc[-1]["coverage"] > chosen.table.iloc[-1]["random"] + 0.1

# %%
exercise_report("21")

# %% [markdown]
# **To read.** *Sparse Autoencoders for Hypothesis Generation* (arXiv 2502.04382): atoms that say how two sets of
# texts differ; *Disentangling Dense Embeddings with Sparse Autoencoders* (arXiv 2408.00657): search in abstracts by
# atoms; *Automatically Interpreting Millions of Features in Large Language Models* (arXiv 2410.13928): names for
# atoms, and how to score them.
