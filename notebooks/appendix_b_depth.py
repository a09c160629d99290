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
# # Appendix B · Depth: swaps, every cut, and the parts of a recipe
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/appendix_b_depth.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/appendix_b_depth.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/appendix_b_depth.html)
#
# Afterwards you can look up how the story of [15](15_block_recurrence.ipynb) was tested further. You need 15; 5
# minutes to read, 6 seconds of computing, no exercises. This is a research log: whole recorded tables, in the order
# in which the questions came up.

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
import sae_nb as sn
from sae_nb import dynamics
from sae_nb_lessons import figures, recorded
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Residual drop
#
# Networks trained with *residual drop* (a branch is now and then left out) must do with fewer layers. Does
# that make layers alike? Small digit networks with five amounts of drop, five seeds:

# %%
runs = recorded("block_recurrence")
runs.table("drop")

# %% [markdown]
# The more drop, the more alike: neighbours, and all pairs of layers. It **holds**, and has a price: where every
# second branch is left out, accuracy falls from 96 % to 89 %.
#
# ## 2 · Phases over three sets of images

# %%
known = recorded("known_phases")
known.table("found", "none")

# %% [markdown]
# Another way to ask: fit one shared block to each run of layers, and choose the cut whose blocks miss least
# of the layers' updates. The best of many always looks good, so look at *all* of them. Here is every cut into
# two, the mean over five seeds, then where the true cut into three and the cut by similarity rank:

# %%
every = recorded("depth_cuts")
after = list(range(2, 11))
curves = {
    name: (after, [every.of(f"{name} R2, cut after {layer}").mean for layer in after])
    for name in ("tied", "free")
}
axes = {"x_title": "cut after layer", "y_title": "share of updates predicted"}
figure_widget(figures.time_curves_figure(curves, **axes), height=260)

# %%
every.table()

# %% [markdown]
# Where layers are shared, the true cut is first of 28 on every seed. Where they are free, no cut is better
# than the others: the cut by similarity is third or fourth of nine and about fifth of 28, a little better than the
# median cut. Of the cuts into two, any after layers 3 to 7 is nearly as good.

# %% [markdown]
# ## 3 · Do layers of one phase change places?

# %%
scenes, tied = sn.data.scenes(96, seed=5), sn.load_model("tiny-vit-tied")
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
# ## 4 · A long training
#
# The whole recipe: 1 500 steps of 16 images out of 4 000, five seeds. The curve falls when the teacher's states are
# gone, and then rises on its own:

# %%
longer = recorded("long_raptors")
steps = [150 * i for i in range(1, 11)]
whole = [longer.of(f"tied batch R2, step {step}").mean for step in steps]
curves = {"recorded, 1 500 steps": (steps, whole)}
axes = {"x_title": "step", "y_title": "R² of the batch"}
figure_widget(figures.time_curves_figure(curves, **axes), height=260)


# %%
longer.table("three blocks", "two blocks", "recurrence")

# %% [markdown]
# ## 5 · The parts of the recipe
#
# Which of the five parts of the recipe matters? Each undone, for two blocks of the free network in 200 steps:

# %%
parts = recorded("raptor_training")
parts.table()

# %% [markdown]
# Muon adds most, then errors as shares of each layer's variance and training all blocks together. Mixing
# states, not losses, and having 4 000 images, not 800, change next to nothing within so few steps.

# %% [markdown]
# Digit networks, over five seeds:

# %%
runs.table("drop helps", "two blocks", "more blocks")

# %%
runs.table("own roll-out", "which cut")

# %% [markdown]
# Own roll-outs matter on every seed, but by less than the line asks: trained together, the blocks keep 91 % of the
# accuracy on the teacher's states alone. The cut by similarity beats the mean of four others; the best of these
# beats it. And on an easy task accuracy separates blocks less well than R² does: one block keeps 97 %.

# %% [markdown]
# Photographs: tiny-vit's recipe on CIFAR-10, shortly trained (42 % right), gives a smooth band without
# phases, too, and two blocks reconstruct it with R² .72 (one seed).

# %% [markdown]
# ## 6 · The checked numbers

# %%
# Drop makes layers alike and two blocks enough; more blocks predict more; own roll-outs help.
assert runs.verdict("drop") == runs.verdict("drop helps") == "holds"
assert runs.low("p=.3 k=2 kept") > 0.9
assert min(runs.low("R2 k=2 - k=1"), runs.low("R2 k=3 - k=2")) > 0
assert runs.verdict("own roll-out") == "partly"
assert runs.verdict("which cut") == "holds"

# %%
# Known phases are found by similarity; none are claimed where layers are free; the true cut predicts most.
assert known.verdict("found") == known.verdict("none") == "holds"
assert known.verdict("swap") == "partly"
assert every.verdict("true cut") == "holds" != every.verdict("similarity among all")
assert swap.drop[0, 3] == swap.drop[4, 7] == 0

# %%
# The joint schedule learns more in the same steps, by three of its five parts.
assert parts.verdict("joint") == "holds"
assert parts.low("AdamW R2 lost") > 0.1
assert min(parts.low(f"{part} R2 lost") for part in ("two stages", "plain squares")) > 0
