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
# # Appendix D · Test sets: what they repeat, a classifier without training, and scores that cannot rank
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/appendix_d_test_sets.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/appendix_d_test_sets.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/appendix_d_test_sets.html)
#
# Afterwards you can look up what was measured of atoms as a tool for test sets. You need 03 and 21; 5 minutes to read,
# 20 seconds of computing, no exercises. This is a research log: whole recorded tables.

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
from sae_nb_lessons import recorded

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
# Composed sets of eight kinds, ten seeds. Atoms put them in the order in which they were made; words less
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
# ## 2 · Chosen documents
#
# Documents that cover most atoms hold more than random ones, also on documents that were not used for choosing. But is
# a classifier better that was made from them? On seven seeds of ten a little, on one it is a tenth worse:

# %%
documents.table("chosen documents", "better examples")

# %% [markdown]
# ## 3 · A classifier without training
#
# Find the atoms that fire more often in sad stories, say yes where *any of them* fires. One number to choose: how many.

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
# Each score is compared with a simpler method, an oracle that knows the labels, three broken SAEs and the noise of
# other seeds; a dash is a value that was not recorded.

# %%
result = sn.uses.bench(sae, rows=["scr", "tpp", "ravel"])
result

# %%
references = recorded("bench_references")
references.table("tpp order", "ravel order")

# %% [markdown]
# RAVEL puts the broken ones behind. TPP gives random directions what it gives a trained SAE, and SCR gives an oracle,
# which knows the labels, less than half.
#
# ## 5 · The checked numbers

# %%
values = {name: one.value for name, one in repeated.items()}
assert values["20 stories, 5 ×"] > values["100 stories"] + 0.05
assert documents.verdict("chosen documents") == "holds" != documents.verdict("redundancy")
assert documents.verdict("better examples") == "does not hold at this scale"

# %%
f1 = rule.table.set_index("method")["f1"]
assert f1["activations"] > f1[f1.index.str.startswith("or of")].max() + 0.03
for claim in ("OR rule", "few examples"):
    assert documents.verdict(claim) == "does not hold at this scale"

# %%
scores = result.table.set_index("row")
assert all("rank" in scores.at[row, "warning"] for row in ("scr", "tpp"))
assert scores.at["ravel", "score"] > scores.loc["ravel", ["random", "collapsed", "copied"]].max()
assert references.verdict("tpp order") == "partly"
assert references.verdict("ravel order") == "holds"
