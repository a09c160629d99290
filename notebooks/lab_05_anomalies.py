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
# # Lab 05 · Anomalies: where do these rows differ from those?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_05_anomalies.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_05_anomalies.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_05_anomalies.html)
#
# You need 00 or 01; 20 minutes with the exercises, 20 seconds of computing. Afterwards you can find what a
# reference lacks, in points and in codes, and say how many toys a p needs.
#
# A thousand points look like those of a reference, and 40 of them do not belong. It is unknown which
# rows these are, and whether there are any. A few kernels that begin wide and sharpen go to where there are more points than
# there should be, and a p-value measures whether chance does that too.
#
# After "Sparse, self-organizing ensembles of local kernels detect rare statistical anomalies" (arXiv
# 2511.03095), of which we had abstract and summaries. Loss, statistic, kernels that compete and a width that
# falls are theirs; how they compete, the schedule and toys by redistributing rows are ours.

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
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · A ratio that is learned
#
# How many times more rows are there in the data than in the reference, at x? Call it $e^{f(x)}$. Then f is
# what minimises
#
# $$L[f] = w \sum_{\text{reference}} (e^{f(x)} - 1) - \sum_{\text{data}} f(x)$$
#
# where w is the number of rows expected in the data for each row of the reference. Write L.

# %%
exercise("lab_05.1")


# %% tags=["exercise"]
def loss(f_reference, f_data, w):
    return ...


exercise("lab_05.1").check(loss)

# %% [markdown]
# f is a sum of a few Gaussian kernels, $f(x) = \sum_m a_m k_m(x)\, c_m(x)$ with $k_m = e^{-\|x - \mu_m\|^2 /
# 2\sigma^2}$. They compete for every row: $c_m$ is the softmax of $-\|x - \mu_m\|^2 / 2\sigma^2$ over the
# kernels. Centres and amplitudes follow the gradient of L.

# %%
draw = torch.Generator().manual_seed(0)
reference, data = torch.randn(3000, 2, generator=draw), torch.randn(1000, 2, generator=draw)
clump = torch.tensor([1.6, -1.2])
data[:40] = 0.12 * data[:40] + clump  # do not belong
kernels = sn.lab.SparKer(8, widths=(1.5, 0.25), n_steps=150)
found = kernels.fit(reference, data, n_toys=30)
print(found)

# %% [markdown]
# ## 2 · From wide to narrow
#
# σ falls on the way. Move the slider: circles have radius σ, thick ones are the strong kernels, dotted ones
# have fewer rows than expected.

# %%
moments = (0, 10, 30, 60, 100, 149)
figure_widget(
    one_at_a_time({str(step): found.figure(step) for step in moments}, "step"), height=520
)

# %%
exercise("lab_05.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_05.4").check(read_off)

# %%
found.table.round(2)

# %% [markdown]
# The strongest kernel has many more rows within reach than the reference expects there. Now the same kernels,
# narrow from the start; in the recorded trials four of them look for the clump.

# %%
exercise("lab_05.2")

# %% tags=["exercise"]
guess = ...
exercise("lab_05.2").predict(guess)

# %% tags=["exercise"]
exercise("lab_05.2").reveal()

# %%
narrow = sn.lab.SparKer(8, widths=(1.5, 0.25), n_steps=150, anneal=False)
stuck = narrow.fit(reference, data, n_toys=0)
figure_widget(stuck.figure(), height=420)

# %% [markdown]
# ## 3 · Would chance do that too?
#
# Kernels that are free to move always find something. So they are fitted again where there is nothing to
# find: the rows of both sides are redistributed at random, thirty times. The statistic is −2 L, and p the
# share of fits that reach it, itself counted.

# %%
figure_widget(found.null_figure(), height=300)

# %%
exercise("lab_05.3")

# %% tags=["exercise"]
n_toys = ...
exercise("lab_05.3").check(n_toys)

# %% [markdown]
# ## 4 · A digit that was not there before
#
# Rows may be anything. Here they are SAE codes of tiny-vit's class token; the reference lacks the seven, and
# of the data a tenth are sevens.

# %%
model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
scenes = sn.data.scenes(800, seed=5, split="test")
acts = sn.capture(model, scenes.images, "resid_post.6", progress=False)
codes = sae.encode(acts.x[:: len(acts.x) // 800]).to_dense().detach()
seven, rest = (scenes.digit == 7).nonzero()[:20, 0], (scenes.digit != 7).nonzero()[:, 0]

# %%
rows = torch.cat([seven, rest[:180]])
shift = sn.lab.SparKer(4, n_steps=100).fit(codes[rest[180:]], codes[rows], n_toys=19)
print(shift)
nearest = rows[shift.nearest(8)[0]]
print("nearest to the strongest kernel:", scenes.digit[nearest].tolist())

# %%
figure_widget(shift.figure(), height=420)

# %% [markdown]
# The recorded experiment, five seeds of ten trials each. Where nothing differs, p was uniform, in points and in
# codes. Look at the last row: the largest difference of a single atom finds almost the same number of digits.

# %%
claims = recorded("lab_sparker")
shown = {
    "trials that find the clump": "hits",
    "floor: a random row of the data": "hits of a row of the data",
    "control: not annealed": "hits, not annealed",
    "digits found": "power, SparKer",
    "control: a classifier": "power, classifier",
    "largest difference of an atom": "power, atom",
}
claims.brief(shown)

# %% [markdown]
# ## 5 · The checked numbers

# %%
assert found.p_value == 1 / 31
assert (found.centres[found.amplitudes.argmax()] - clump).norm() < 0.3
assert shift.rejects(0.05)
assert (scenes.digit[nearest] == 7).all()
assert claims.of("hits").mean > claims.of("hits, not annealed").mean + 0.3

# %%
exercise_report("lab_05")
