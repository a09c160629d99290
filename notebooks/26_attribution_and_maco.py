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
# # Pixels and ideal images: where did the answer come from, and what would an atom like to see?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/26_attribution_and_maco.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/26_attribution_and_maco.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/26_attribution_and_maco.html)
#
# You need 00 and 25; 25 minutes with the exercises, 35 seconds of computing. Afterwards you can write occlusion, say
# which baseline an attribution is right for, and hold an optimised image against the best natural one.
#
# Two kinds of image are shown most often of a vision model: a map of the pixels that an answer came from, and an
# image that was optimised until a unit fires. Both look convincing, whatever they show. Here each is compared with what
# knows nothing: random maps, plain contrast, the best natural image.

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

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_studies.reproductions.experiments.verified_patches import trained
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Which pixels did it?
#
# Where did the answer come from? Take one patch away at a time and see what the logit loses: *occlusion*. Write it:

# %%
exercise("26.1")


# %% tags=["exercise"]
def occlusion(f, image, size, fill):
    return ...


exercise("26.1").check(occlusion)

# %% [markdown]
# Next to the image and this map, concepts that CRAFT factorises (25 §1):

# %%
vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
drawn = sn.data.scenes(200, seed=0, split="test")
fours = drawn.images[drawn.digit == 4][:16]
craft = sn.vision.craft(vit, fours, "resid_post.5", n_concepts=8, outcome=4)
seen = sn.vision.attribution(vit, fours[:8], "occlusion", outcome=4)
figure_widget(seen.plot(0, concepts=craft.heatmaps[:8]), height=198)

# %% [markdown]
# ## 2 · Which map is right?
#
# Three more maps of the same images: CRAFT's concepts weighted by their importance, the same of the SAE's
# atoms, and plain contrast. Insertion and deletion replace pixels by something, and that decides who wins:

# %%
importance = sn.vision.sobol(craft.head, craft.codes, n_designs=16)
head = sn.vision.concept_head(vit, sae, fours, "resid_post.6", n_concepts=12, outcome=4)
by_atom = sn.vision.sobol(head, head.codes, n_designs=16)

# %%
weight = torch.as_tensor(importance.total, dtype=torch.float32)
atoms = head.codes @ torch.as_tensor(by_atom.total, dtype=torch.float32)
maps = {"concepts": (craft.codes @ weight).view(-1, 8, 8), "atoms": atoms.view(-1, 8, 8)}
maps["contrast"] = (fours - fours.mean(dim=(2, 3), keepdim=True)).abs().mean(dim=1)
few = {"occlusion": seen.maps} | {name: one[:8] for name, one in maps.items()}
fidelity = sn.vision.pixel_fidelity(vit, fours[:8], few, outcome=4, n_steps=5, n_masks=16)
fidelity.table.pivot(index="map", columns=["metric", "baseline"], values="score").round(2).T

# %% [markdown]
# Higher is better, and `random` is a map of random numbers. Next, the baselines themselves: one far to the
# right makes images that the model never saw, one high up leaves much of the answer where it is.

# %%
figure_widget(fidelity.plot(), height=300)

# %%
print(fidelity)

# %% [markdown]
# The maps of occlusion and of the concepts find what the answer comes from. Yet plain contrast, which knows
# no model, does as well: digits are bright. That of the atoms is *worse* than random numbers: an index
# measures how much an atom matters, and not which way, and one of those that matter fires on a background.
# And with noise in the place of pixels the order is another one. So an attribution is right or wrong only
# together with what "taken away" means, and a map that lies on a bright object proves little.
#
# ## 3 · A map with a proof
#
# Every map so far tried *some* changes of a patch. For a small classifier one can bound what *any* change can
# do (EVA): pixels are 0 to 1, and each patch of 2 × 2 of them may change by .3 at most. Last in
# the row: how far each patch alone could move the answer; blue ones are proven harmless.

# %%
classifier, held, _ = trained(0, steps=150)
budget = {"radius": 0.3, "grid": (4, 4)}
proven = sn.vision.verified_attribution(classifier, held[:6], **budget)
changed = sn.vision.attacked(classifier, held[:6], **budget) > 0
print(
    f"proven safe: {proven.safe.double().mean():.0%} of the patches; changed by an attack: "
    f"{changed.double().mean():.0%}"
)
figure_widget(proven.plot(4), height=198)

# %%
verified = recorded("verified_patches")
shown = {
    "changes of the answer that 256 random changes miss": "missed by samples",
    "control: that the bound misses": "crown, missed",
    "order of patches, against attacks: the bound's": "rank, bound",
    "control: occlusion's": "rank, occlusion",
    "floor: random": "rank, random",
}
verified.brief(shown)

# %% [markdown]
# Trying is not proving: of the few patches that can change an answer, random changes miss some (how many differs
# much between seeds). The bound misses none, and its price is the network: convolutions, linear layers and ReLU in
# a row, and small radii.
#
# ## 4 · Atoms of one image, in a panel
#
# Draw on the canvas. Each row is an atom: how active it is, and how much the answer depends on it.

# %%
examples = sn.load_examples("tiny-vit/resid_post.6")
lens = sw.InputLens(vit, sae, examples=examples)
lens.draw([[(9, 8), (22, 8), (14, 24)]])
lens

# %%
exercise("26.2")

# %% tags=["exercise"]
read_off = ...
exercise("26.2").check(read_off)

# %% [markdown]
# ## 5 · What would an atom like to see?
#
# MACO optimises the phases of an image's spectrum until an atom fires as strongly as it can. The best natural
# image costs nothing and is a real image. So both are always shown:

# %%
many = sn.data.scenes(300, seed=1, split="test")
liked = [examples.match(factor).atom for factor in ("digit 4", "texture vertical")]
best = sn.vision.maximise(
    vit, sae, liked, "resid_post.6", images=many.images, n_steps=48, n_crops=4
)
figure_widget(best.plot(), height=340)

# %%
best.table

# %% [markdown]
# `percentile` is the share of natural images that the maximised one beats, `unusual` the share that lies less
# far from other images, for the model. An image that beats all and is more unusual than all shows what the
# atom's direction is sensitive to, and not what it means. Does it show what the atom is about?

# %%
exercise("26.3")

# %% tags=["exercise"]
guess = ...
exercise("26.3").predict(guess)

# %% tags=["exercise"]
exercise("26.3").reveal()

# %%
maximised = recorded("vision_maximise")
shown = {
    "shows its digit, maximised": "digit, maximised",
    "floor: random atoms": "digit, random atoms",
    "control: the best natural image": "digit, natural",
    "shows its texture, maximised": "texture, maximised",
    "floor: random atoms, texture": "texture, random atoms",
    "control: the best natural image, texture": "texture, natural",
}
maximised.brief(shown)

# %% [markdown]
# To the model a digit's image shows the digit, a texture's does not show the texture.
#
# ## 6 · The checked numbers

# %%
# Images that maximise: compared with the best natural one; maps of pixels: compared with the random one.
assert maximised.verdict("stronger than natural images") == "partly"
assert maximised.verdict("shows its factor") == "partly"
assert (best.table["maximised"] > best.table["random"]).all()
scores = fidelity.table.groupby("map")["score"].mean()
assert scores[["concepts", "occlusion"]].min() > scores["random"] + 0.3
assert scores["contrast"] > scores["occlusion"]
assert scores["random"] > scores["atoms"] + 0.3
assert not (proven.safe & changed).any(), "what is proven cannot be attacked"

# %%
exercise_report("26")

# %% [markdown]
# **To read.** *Axiomatic Attribution for Deep Networks* (arXiv 1703.01365): integrated gradients; *Sanity Checks for
# Saliency Maps* (arXiv 1810.03292): the control for a map of pixels; *Unlocking Feature Visualization for Deeper
# Networks with MAgnitude Constrained Optimization* (arXiv 2306.06805): MACO, the ideal images of this lesson.
