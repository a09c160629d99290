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
# # Does depth repeat itself?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/07_block_recurrence.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/07_block_recurrence.ipynb)
#
# You need 00; 30 minutes with the exercises, 72 seconds of computing. Afterwards you can cut depth into phases,
# with nulls, and put a Raptor in the teacher's place.
#
# A vision transformer has twelve blocks with weights of their own. The *block-recurrent hypothesis* (arXiv
# 2512.19941) claims that it needs fewer: k blocks, each applied several times, predict every layer's state.
# Layers then fall into *phases*, and a **Raptor**, a network of k shared blocks, can take the teacher's
# place.
#
# We ask it where the answer is known (`tiny-vit-tied`: three blocks, applied 4 + 4 + 4 times), where it is
# unknown (`tiny-vit`, its free twin), and over seeds on small digit networks. A Raptor is trained here, in
# about a minute.

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
import sae_nb as sn
import sae_nb_widgets as sw
import torch
from sae_nb import dynamics
from sae_nb_lessons import exercise, exercise_report, figures, recorded
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · How alike are two layers?
#
# The state of every token after every block, in one pass. Layer 0 are the embeddings.

# %%
scenes = sn.data.scenes(96, seed=5)
tied, free = sn.load_model("tiny-vit-tied"), sn.load_model("tiny-vit")
networks = {"tied": tied, "free": free}
states = {name: dynamics.capture_states(model, scenes) for name, model in networks.items()}
samples, layers, tokens, width = states["tied"].shape
print(f"{samples} images, {layers} layers, {tokens} tokens of {width} numbers each")

# %% [markdown]
# The authors compare layers by the cosine of their cls tokens and mean patches. States of all images share
# a large mean, so we also take it away (*centred*), and show linear CKA, which ignores rotations.

# %%
similarity = {name: dynamics.layer_similarity(x) for name, x in states.items()}
squares = {
    f"{name}, {reading}": found.readings[reading]
    for name, found in similarity.items()
    for reading in ("raw", "centred")
}
cuts = {title: (0, 4, 8, 12) for title in squares if "tied" in title}
figure_widget(figures.similarities_figure(squares, cuts), height=290)

# %%
exercise("07.1")

# %% tags=["exercise"]
cut_after = ...
exercise("07.1").check(cut_after)

# %% [markdown]
# Networks trained with *residual drop* (a branch is now and then left out) must do with fewer layers. Does
# that make layers alike? Small digit networks with five amounts of drop, three seeds:

# %%
runs = recorded("block_recurrence")
runs.table("drop")

# %% [markdown]
# The more drop, the more alike: neighbours, and all pairs of layers. It **holds**, and has a price: where every
# second branch is left out, accuracy falls from 96 % to 89 %.
#
# ## 2 · Are there phases?
#
# The best cut into k phases leaves least dissimilarity inside them; dynamic programming finds it exactly. It
# *always* finds one. Neighbouring layers are alike in any network, so shuffled layers are too weak a null. The
# better one is a **band**: similarity that depends on the distance of two layers and on nothing else. A phase
# border must be a step: less alike across it than on either side, at equal distance.

# %%
evidence = {
    name: [dynamics.phase_evidence(found, k) for k in (2, 3, 4)]
    for name, found in similarity.items()
}
figure_widget(figures.evidence_figure(evidence), height=290)

# %%
for found in evidence.values():
    print(*found, sep="\n", end="\n\n")

# %% [markdown]
# Pale bars are bands without phases. The gain alone (left) is not informative; the step at the border (right)
# separates the networks. `tiny-vit` has a smooth band, and no phases are claimed for it; that its best three
# phases have equal length tells us nothing: the cost favours equal lengths.
#
# Over three sets of images:

# %%
known = recorded("known_phases")
known.table("found", "none")

# %% [markdown]
# Another way to ask: fit one shared block to each run of layers, and choose the cut whose blocks miss least
# of the layers' updates. The best of many always looks good, so look at *all* of them. Here is every cut into
# two, the mean over three seeds, then where the true cut into three and the cut by similarity rank:

# %%
every = recorded("depth_cuts")
after = list(range(2, 11))
curves = {
    name: (after, [every.of(f"{name} R2, cut after {layer}").mean for layer in after])
    for name in networks
}
axes = {"x_title": "cut after layer", "y_title": "share of updates predicted"}
figure_widget(figures.time_curves_figure(curves, **axes), height=260)

# %%
every.table()

# %% [markdown]
# Where layers are shared, the true cut is first of 28 on every seed. Where they are free, no cut is better
# than the others: the cut by similarity is fourth of nine and about fifth of 28, a little better than the
# median cut. Of the cuts into two, any after layers 3 to 7 is nearly as good.

# %% [markdown]
# If a phase is one block, its layers may change places:

# %%
exercise("07.2")

# %% tags=["exercise"]
share_lost = ...
exercise("07.2").predict(share_lost)

# %% tags=["exercise"]
exercise("07.2").reveal()

# %%
few = scenes.images[:32]
swap = dynamics.swap_layers(tied, few, pairs=[(1, 4), (5, 8), (4, 5), (8, 9), (2, 10)])
swapped = swap.within_and_across((0, 4, 8, 12))
print(f"answers lost when two layers change places: {swapped.within:.0%} within a phase,")
print(f"{swapped.across:.0%} across phases")

# %%
known.table("swap")

# %% [markdown]
# Within a true phase nothing is ever lost. Across a border little is lost at this distance, and in the free
# network the *early* layers are the ones that cannot be moved: as a test of phases, swapping is weak here.

# %% [markdown]
# ## 3 · A Raptor in the teacher's place
#
# All blocks learn together, rolled out from the embeddings. In the first quarter of the steps each next block
# reads a mixture of the teacher's state and its own, ever less of the teacher's; from then on it is on its
# own. Gains per step are all that distinguishes one application from the next.

# %%
monitor = sw.TrainingMonitor()
taught = dynamics.capture_states(tied, sn.data.scenes(800, seed=6), dtype=torch.float16)
config = dynamics.RaptorConfig(steps=600, batch_size=8)
fitted = dynamics.train_raptor(
    taught, (0, 4, 8, 12), config, model=tied, callbacks=monitor, progress=False
)
monitor

# %% [markdown]
# The same with all of the recipe, 1 500 steps of 16 images out of 4 000, was trained with three seeds and is
# recorded. Both curves fall when the teacher's states are gone, and then rise on their own:

# %%
longer = recorded("long_raptors")
steps = [150 * i for i in range(1, 11)]
whole = [longer.of(f"tied batch R2, step {step}").mean for step in steps]
here = ([r.step for r in fitted.history[1:]], [r.r2 for r in fitted.history[1:]])
curves = {"here, 600 steps": here, "recorded, 1 500 steps": (steps, whole)}
axes = {"x_title": "step", "y_title": "R² of the batch"}
figure_widget(figures.time_curves_figure(curves, **axes), height=260)

# %%
curves = {"Raptor, 600 steps": fitted.r2}
floors = {"embeddings in every layer's place": fitted.fit.floor}
figure_widget(figures.layers_figure(curves, floors=floors, y_title="R²"), height=290)

# %% [markdown]
# R² is about each layer's mean state, on images not trained on, and always of the Raptor's *own* roll-out.
# The paper reports no error of its states; we do. The whole recipe takes 1 500 steps; the authors take 625
# 000, in two stages (`RaptorConfig(schedule="published")`). Over three seeds:

# %%
longer.table("three blocks", "two blocks")

# %% [markdown]
# Both **hold**: three shared blocks reconstruct the tied network, and two keep nearly all of the free one's
# accuracy. The control has the same number of blocks, parameters and steps, but applies each block *once*:

# %%
longer.table("recurrence")

# %% [markdown]
# Which of the five parts of the recipe matters? Each undone, for two blocks of the free network in 200 steps:

# %%
parts = recorded("raptor_training")
parts.table()

# %% [markdown]
# Muon adds most, then errors as shares of each layer's variance and training all blocks together. Mixing
# states, not losses, and having 4 000 images, not 800, change next to nothing within so few steps.

# %% [markdown]
# Digit networks, over three seeds:

# %%
runs.table("drop helps", "two blocks", "more blocks")

# %%
runs.table("own roll-out", "which cut")

# %% [markdown]
# Own roll-outs matter on every seed, but by half of the bound: trained together, the blocks keep 93 % of the
# accuracy on the teacher's states alone. The cut by similarity beats the mean of four others; the best of these
# beats it. And on an easy task accuracy separates blocks less well than R² does: one block keeps 98 %.

# %% [markdown]
# Photographs: tiny-vit's recipe on CIFAR-10, shortly trained (42 % right), gives a smooth band without
# phases, too, and two blocks reconstruct it with R² .72 (`benchmarks/cifar_depth.py`, one seed).
#
# The teacher's embedding and heads stay, so a Raptor can answer in its place:

# %%
with fitted.raptor.replacing(tied):
    answers = tied(few).argmax(dim=1)
agreement = float((answers == tied(few).argmax(dim=1)).double().mean())
print(f"{agreement:.0%} of answers as the teacher's, after {fitted.steps} steps")

# %% [markdown]
# ## 4 · Walk through it
#
# Paths of tokens through depth, the phases, a perturbation at a layer and how it fades, and the Raptor over the
# teacher's path.

# %%
panel = sw.DepthTrajectory(tied, few, labels=scenes.digit[:32], raptor=fitted.raptor)
panel

# %% [markdown]
# ## 5 · Write the cut

# %%
exercise("07.3")


# %% tags=["exercise"]
def best_cut(S):
    return ...


exercise("07.3").check(best_cut)

# %% [markdown]
# ## 6 · The checked numbers
#
# `low` and `high` are the mean of three seeds less, or plus, two standard deviations.

# %%
# Drop makes layers alike and two blocks enough; more blocks predict more.
assert runs.verdict("drop") == runs.verdict("drop helps") == "holds"
assert runs.low("similarity per tenth") > 0
assert runs.low("p=.3 k=2 kept") > 0.9
assert runs.low("R2 k=2 - k=1") > 0
assert runs.low("R2 k=3 - k=2") > 0

# %%
# Own roll-outs help, by less than was asked; which cut is taken matters little.
assert runs.low("kept own - forced") > 0
assert runs.verdict("own roll-out") == "too few seeds"
assert runs.verdict("which cut") == "holds"

# %%
# Known phases are found by similarity; none are claimed where layers are free.
assert known.verdict("found") == known.verdict("none") == "holds"
assert known.high("free claims") == 0
assert known.verdict("swap") == "partly"

# %%
# Of all cuts of the tied network the true one predicts most of the layers' updates.
assert every.verdict("true cut") == "holds" != every.verdict("similarity among all")

# %%
# Trained together, the blocks reach both targets; recurrence is what carries the answer.
assert longer.verdict("three blocks") == longer.verdict("two blocks") == "holds"
assert longer.verdict("recurrence") == "holds"

# %%
# The joint schedule learns more in the same steps, by three of its five parts.
assert parts.verdict("joint") == "holds"
assert parts.low("AdamW R2 lost") > 0.1
assert min(parts.low(f"{part} R2 lost") for part in ("two stages", "plain squares")) > 0

# %%
# The run here agrees.
assert evidence["tied"][1].phases.cuts == (0, 4, 8, 12)
assert evidence["tied"][1].supported
assert not any(found.supported for found in evidence["free"])
assert swap.drop[0, 3] == swap.drop[4, 7] == 0
assert fitted.fit.mean_r2 > 0.8

# %%
exercise_report("07")
