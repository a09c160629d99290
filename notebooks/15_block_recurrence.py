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
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/15_block_recurrence.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/15_block_recurrence.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/15_block_recurrence.html)
#
# You need 00; 30 minutes with the exercises, 65 seconds of computing. Afterwards you can cut depth into phases, hold
# them against a null, and put a Raptor in the teacher's place.
#
# A vision transformer has twelve blocks with weights of their own. The *block-recurrent hypothesis* (arXiv
# 2512.19941) claims that it needs fewer: k blocks, each applied several times, predict every layer's state.
# Layers then fall into *phases*, and a **Raptor**, a network of k shared blocks, can take the teacher's
# place.
#
# We ask it where the answer is known (`tiny-vit-tied`: three blocks, applied 4 + 4 + 4 times) and where it is unknown
# (`tiny-vit`, its free twin). One Raptor is trained here. Swapped layers, every cut, the parts of the recipe and
# digit networks are in [an appendix](appendix_b_depth.ipynb).

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
exercise("15.1")

# %% tags=["exercise"]
cut_after = ...
exercise("15.1").check(cut_after)

# %% [markdown]
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

# %% [markdown]
# If a phase is one block, its layers may change places:

# %%
exercise("15.2")

# %% tags=["exercise"]
share_lost = ...
exercise("15.2").predict(share_lost)

# %% tags=["exercise"]
exercise("15.2").reveal()

# %% [markdown]
# Within a true phase nothing is ever lost; across a border little is lost at this distance. As a test of phases,
# swapping is weak (appendix).
#
# ## 3 · A Raptor in the teacher's place
#
# All blocks learn together, rolled out from the embeddings. In the first quarter of the steps each next block
# reads a mixture of the teacher's state and its own, ever less of the teacher's; from then on it is on its
# own. Gains per step are all that distinguishes one application from the next.

# %%
monitor = sw.TrainingMonitor()
monitor

# %%
taught = dynamics.capture_states(tied, sn.data.scenes(800, seed=6), dtype=torch.float16)
config = dynamics.RaptorConfig(steps=600, batch_size=8)
fitted = dynamics.train_raptor(
    taught, (0, 4, 8, 12), config, model=tied, callbacks=monitor, progress=False
)

# %%
curves = {"Raptor, 600 steps": fitted.r2}
floors = {"embeddings in every layer's place": fitted.fit.floor}
figure_widget(figures.layers_figure(curves, floors=floors, y_title="R²"), height=290)

# %% [markdown]
# R² is about each layer's mean state, on images not trained on, and always of the Raptor's *own* roll-out. The whole
# recipe takes 1 500 steps on 4 000 images; five seeds of it. The control has the same blocks, parameters and steps,
# but applies each block *once*:

# %%
longer = recorded("long_raptors")
raptors = {
    "accuracy kept, tied, three blocks": "tied kept",
    "control: each block once": "tied shallow kept",
    "accuracy kept, free, two blocks": "free kept",
    "control: each block once, free": "free shallow kept",
    "R² of states, tied": "tied R2",
    "floor: embeddings in every layer's place": "tied floor",
}
longer.brief(raptors)

# %% [markdown]
# Three shared blocks reconstruct the tied network, two keep nearly all of the free one's accuracy, and applying a
# block again is what carries it. Every line and verdict is on the page of [Raptor](../docs/methods/raptor.md).
#
# The teacher's embedding and heads stay, so a Raptor can answer in its place:

# %%
few = scenes.images[:32]
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

# %%
exercise("15.3")

# %% tags=["exercise"]
explanation = ...
exercise("15.3").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("15.3").score(points)

# %% [markdown]
# ## 5 · Write the cut

# %%
exercise("15.4")


# %% tags=["exercise"]
def best_cut(S):
    return ...


exercise("15.4").check(best_cut)

# %% [markdown]
# ## 6 · The checked numbers

# %%
# Recorded: the blocks reach both targets; recurrence is what carries the answer.
assert longer.verdict("three blocks") == longer.verdict("two blocks") == "holds"
assert longer.verdict("recurrence") == "holds"
assert longer.low("tied kept") > longer.high("tied shallow kept")

# %%
# The run here agrees.
assert evidence["tied"][1].phases.cuts == (0, 4, 8, 12)
assert evidence["tied"][1].supported
assert not any(found.supported for found in evidence["free"])
assert fitted.fit.mean_r2 > 0.8

# %%
exercise_report("15")

# %% [markdown]
# **To read.** *Block-Recurrent Dynamics in Vision Transformers* (arXiv 2512.19941): the claim that this lesson tests;
# *Universal Transformers* (arXiv 1807.03819): a transformer that repeats one block by design; *The Unreasonable
# Ineffectiveness of the Deeper Layers* (arXiv 2403.17887): what is lost when blocks are left out.
