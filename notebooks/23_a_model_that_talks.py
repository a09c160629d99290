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
# # A model that talks: watch it, steer it, take the steering with you
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/23_a_model_that_talks.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/23_a_model_that_talks.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/23_a_model_that_talks.html)
#
# You need 00 and 05; 40 minutes with the exercises, 25 seconds of computing. Afterwards you can say what a label
# and a steered text prove, write a recipe by hand, and take it to plain Hugging Face code.
#
# Press play and see which atoms fire at each word; turn one up in the middle of a sentence; ask what its
# label is worth; and leave with a file that plain Hugging Face code reads. Sections 1 and 2 read SmolLM2-135M
# where `sae-nb get smollm2-135m` fetched it, else `tiny-gpt`; the rest is about `tiny-gpt`, whose stories are
# known.

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
import json
from pathlib import Path
from tempfile import mkdtemp

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, language_model

# %% [markdown]
# ## 1 · Press play
#
# ▶ lets the model write, → writes one token. Under the text are the newest tokens, each with the atoms that
# fire at it: first the strong and rare ones, for an atom that fires everywhere is not news. The strip belongs
# to the atom that is turned up below.

# %%
lm = language_model()
print(lm)
lens = sw.GenerationLens(lm.model, lm.sae, prompt=lm.plan.beginning, pinned=[lm.atom])
lens.temperature = lm.plan.temperature
lens.step(12)
lens

# %% [markdown]
# The panel reads and does not touch: the text is the one that the model writes by itself.

# %%
print(lens.written)
alone = lm.model.generate(lm.plan.beginning, 12, lm.plan.temperature, seed=0, echo=False)
assert lens.written == alone

# %% [markdown]
# A click on a token asks why it was written. An atom that fires *at* a token may have nothing to do with it;
# the bars show atoms before it that moved its score, each with what random directions reach.

# %%
lens.token = lens.n_tokens - 1
print(lens.summary)

# %% [markdown]
# ## 2 · Continue from here, with more of one atom
#
# From the end of the prompt on, the direction of one atom is added, at about one and a half times its
# 99th percentile. For comparison, from the same state: nothing, and three random directions of the same size.

# %%
lens.token = lens.generation.n_prompt - 1
lens.atom, lens.strength = lm.atom, lm.plan.strength
lens.go_on(20)
print(f"the atom of “{lm.concept}”")
for row in ("steered", "untouched", "random 1", "random 2", "random 3"):
    print(f"{row:>12} | {lens.record[f'branch 1, {row}']}")

# %% [markdown]
# The text differs. Is that the atom's doing?

# %%
exercise("23.1")

# %% tags=["exercise"]
guess = ...
exercise("23.1").predict(guess)

# %% tags=["exercise"]
exercise("23.1").reveal()

# %% [markdown]
# So the question is *how* it differs. Sixteen beginnings are continued as they are, with the atom, and along two
# random directions of the same size: what share of the texts has a word that belongs to the atom's name? The words
# (`lm.plan.words`) are those one would expect; atom and first beginning were chosen with the model at hand.

# %%
counted = lm.count()
counted.style.format({"share": "{:.0%}"})

# %% [markdown]
# Counting words sees no grammar, so read the texts too. Now move the strength, and continue again (or set it here):

# %%
lens.strength = 0.5
lens.branch = 0
lens

# %% [markdown]
# ## 3 · What is a label worth?
#
# A label is a claim: *this* is where the atom fires. Without a judge `sn.label` writes small rules from one
# half of the samples, offline, and asks on the other half: from the label alone, does the atom fire in this
# window of text? The score is compared with that of other atoms' labels on the same windows. From here on
# the model is `tiny-gpt`.

# %%
gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
examples = sn.load_examples("tiny-gpt/resid_post.3")
rules = sn.label(sae, examples.acts, codes=examples.codes, atoms=range(8, 20), progress=False)
rules.table[["label", "detection", "control", "windows"]]

# %% [markdown]
# The score is a balanced accuracy. Why not plain accuracy?

# %%
exercise("23.2")


# %% tags=["exercise"]
def detection(said, fires):
    return ...


exercise("23.2").check(detection)

# %% [markdown]
# Labels from elsewhere are judged like our own. Here is a table of two labels, of which one is right:

# %%
folder = Path(mkdtemp())
(folder / "labels.csv").write_text("atom,label\n12,good\n13,forest\n")
theirs = sn.label(
    sae, examples.acts, codes=examples.codes, labels=sn.labels(folder / "labels.csv", sae),
    atoms=[12, 13], progress=False,
)  # fmt: skip
theirs.table[["label", "source", "by", "detection", "control"]]

# %% [markdown]
# In a panel the evidence is a badge next to the label: hover over atom 12. A published label gets the same one.

# %%
judged = sw.GenerationLens(gpt, sae, prompt="The fox had a", labels=theirs, pinned=[12, 13])
judged.step(8)
judged

# %% [markdown]
# ## 4 · Take it with you
#
# Steering that only works in a notebook is a demonstration. The recipe leaves as ordinary torch hooks for any
# module of that class; here a checkpoint in a folder, opened by transformers, which knows nothing of this
# library. The atom is the one of the label “bad story”.

# %%
bad = examples.match("bad story").atom
story = "Tom and Lucy walked to the castle. They carried"
with sn.steer(gpt, "resid_post.3", sae, atom=bad, by=1.45, unit="p99") as steering:
    recipe = steering.recipe
    here = gpt([story])
    text = gpt.generate(story, 12)
gpt.module.save_pretrained(folder / "checkpoint")
plain = AutoModelForCausalLM.from_pretrained(folder / "checkpoint").eval()

# %%
ids = torch.tensor([gpt.tokenizer(story)["input_ids"]])
with recipe.to_hooks(plain), torch.no_grad():
    there = plain(ids).logits
    new = plain.generate(ids, max_new_tokens=12, do_sample=False)[0]
print(gpt.tokenizer.decode(new))
assert torch.equal(here, there), "the same logits, to the bit"

# %% [markdown]
# For a server there is a file of vectors with a header that states where and how much, and for lm_eval's
# `steered` model a file of its own.

# %%
recipe.to_vectors(folder / "bad-story.safetensors")
recipe.to_lm_eval(folder / "bad-story.pt")
with safe_open(folder / "bad-story.safetensors", "pt") as file:
    about = json.loads(file.metadata()["steering"])["vectors"]["resid_post.3"]
    vector = file.get_tensor("resid_post.3")
print({name: about[name] for name in ("module", "side", "mode", "gain", "constant")})

# %% [markdown]
# Every mode is one formula. What must the server compute?

# %%
exercise("23.3")


# %% tags=["exercise"]
def edited(x, v, gain, constant):
    return ...


exercise("23.3").check(edited)

# %%
with sn.steer(gpt, "resid_post.3", direction=vector, by=about["constant"]):
    again = gpt([story])
print(f"largest difference of logits: {(again - here).abs().max():.1e}")

# %% [markdown]
# A recipe is plain JSON, so it can be written by hand as well. The panel keeps one of an image that is read as a 7:

# %%
vit, digits_sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
known = sn.load_examples("tiny-vit/resid_post.6")
images, four = known.acts.context.pictures, known.match("digit 4").atom
seven, named = images[vit(images).argmax(dim=-1) == 7][:1], known.catalogue(digits_sae)
panel = sw.SteeringPanel(vit, digits_sae.hook_point, digits_sae, seven, named, atom=four)
panel

# %%
exercise("23.4")

# %% tags=["exercise"]
two_atoms = ...
exercise("23.4").check(two_atoms)

# %% [markdown]
# ## 5 · What does it cost?
#
# Before it leaves: what else does it do to the model? `effect` is the change of the token that the recipe
# raises most, `loss` what it adds to the loss of the next token. Both controls are added until the
# predictions have moved as far (the same KL).

# %%
texts = [text[:200] for text in sn.data.stories(6, seed=1).texts]
cost = sn.steering_cost(gpt, recipe, texts, strengths=[0.5, 1.45], n_controls=2)
print(cost)
cost.plot()

# %%
full = cost.table[cost.table.strength == 1.45].groupby("edit")[["kl", "effect", "loss"]].mean()
full.round(3)

# %% [markdown]
# At an equal KL the atom does more than random directions. The difference of mean activations, which needs no
# SAE, is the control that an atom has to beat to have been needed: here the two are close.
#
# ## 6 · Well-known models and SAEs
#
# `sn.load_model("gpt2")`, or a folder, or with `bits=4` and `device_map="auto"` one that is larger than the
# memory; and an SAE by its published name. The table ships with the library, so it can be looked at without a
# network:

# %%
known = sn.published("gpt2-small-res-jb")
known[["name", "hook_point", "width", "l0", "readable", "neuronpedia"]].head(3)

# %%
every = sn.published()
every.groupby("format")["readable"].agg(SAEs="size", readable="mean").sort_values("SAEs")

# %% [markdown]
# With a network, or where the hub's cache has it, the cells above are then, word for word:
#
# ```python
# gpt, sae = sn.load_model("gpt2"), sn.load_sae("gpt2-small-res-jb/blocks.8.hook_resid_pre")
# labels = sn.labels("gpt2-small/8-res-jb", sae)  # Neuronpedia's; sn.label(…, labels=labels) judges them
# sw.GenerationLens(gpt, sae, prompt="When Mary and John went to the store,", labels=labels)
# ```
#
# ## 7 · The checked numbers

# %%
assert counted.share["turned up"] > counted.share.drop("turned up").max() + 0.2
scores = rules.table
assert scores.detection.mean() > scores.control.mean() + 0.15
assert abs(scores.control.mean() - 0.5) < 0.1
assert theirs.evidence(12).standing == "holds", "“good” says where atom 12 fires"
assert theirs.evidence(13).standing != "holds", "“forest” does not say where atom 13 does"

# %%
assert gpt.tokenizer.decode(new, skip_special_tokens=True).endswith(text)
assert torch.allclose(again, here, atol=1e-4)
assert full.effect["recipe"] > full.effect["random direction"]
assert (every["format"].isin(every["format"][every.readable])).mean() > 0.9

# %%
exercise_report("23")

# %% [markdown]
# **To read.** *Steering Language Models with Activation Engineering* (arXiv 2308.10248): steering by a vector from
# two texts; *Persona Vectors: Monitoring and Controlling Character Traits in Language Models* (arXiv 2507.21509):
# watching and steering a model that talks; *AxBench: Steering LLMs? Even Simple Baselines Outperform Sparse
# Autoencoders* (arXiv 2501.17148): SAEs next to simple ways of steering.
