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
# # Probing: is it in the model, or in the probe?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/04_probing.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/04_probing.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/04_probing.html)
#
# You need 00, and to know what a gradient is; 40 minutes with the exercises, 20 seconds of computing. Afterwards you
# can write a logistic probe, compare it with shuffled labels and random dictionaries, and say what five latents have to
# beat.
#
# A probe is a small classifier on activations. If it predicts a label, the label can be read off them. This means less
# than it seems to: a probe on 64 numbers fits most shuffled labels of 60 rows, too, and even among 512 random directions
# there are five that go with a label. So most of this lesson is about controls.

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
from statistics import mean

import pandas as pd
import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import curve_figure
from sae_nb_lessons.studies import even_digits, probe_table, random_latents, tested
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · Ask an activation
#
# The class token of `tiny-vit` after block 6: 64 numbers per image. Is the digit even? The model was not trained to say
# so; it was trained to name the digit.

# %%
x, y = even_digits()
print(f"{len(x)} images, {x.shape[1]} numbers each")
print(f"{y[600:].float().mean():.1%} of the second half show an even digit")

# %%
exercise("04.1")


# %% tags=["exercise"]
def train_probe(x, y, penalty):
    return ...


exercise("04.1").check(train_probe)

# %% [markdown]
# ## 2 · The first control
#
# Shuffle the labels, so that there is nothing to learn. How well does the probe do now, on the rows it was trained on?

# %%
exercise("04.2")

# %% tags=["exercise"]
guess = ...
exercise("04.2").predict(guess)

# %% tags=["exercise"]
exercise("04.2").reveal()

# %% [markdown]
# That is why a probe is tested on rows it has not seen: the second half of the images, of which 54.5 % are right for one
# who always says “even”. With 20 labels the probe has .84 of them right, with 600 .96 (*5 columns* is explained in
# section 3). The control is the mean over six shuffles of the labels. On new images it stays near a half. On the rows that
# it was trained on, it has all of 20 right; of 600, which are many for 64 numbers to fit, fewer than two in three.

# %%
sizes = [20, 60, 200, 600]
tables = {n: probe_table({"activations": x}, y, n).loc["activations"] for n in sizes}
curves = {name: (sizes, [tables[n][name] for n in sizes]) for name in tables[20].index}
titles = {"x_title": "labelled images", "y_title": "share right"}
figure_widget(curve_figure(curves, **titles), height=300)

# %% [markdown]
# So something that predicts parity is in the activations. Is it parity, or is it the digits? Shuffled labels cannot
# decide. Two other controls can: any five digits against the other five (ten draws), and a pair of digits, one even and
# one odd, that the probe was not trained on.

# %%
digit = torch.as_tensor(sn.data.scenes(1200, seed=25, split="test").digit)
first = torch.arange(1200) < 600
draws = torch.Generator().manual_seed(0)
fives = [torch.isin(digit, torch.randperm(10, generator=draws)[:5]) for _ in range(10)]
pairs = [(digit == a) | (digit == b) for a in range(0, 10, 2) for b in range(1, 10, 2)]
any_five = [tested(x, five, first, ~first) for five in fives]
left_out = [tested(x, y, first & ~pair, ~first & pair) for pair in pairs]
print(f"parity {tested(x, y, first, ~first):.2f}, any five digits {mean(any_five):.2f},")
print(f"parity of a pair left out {mean(left_out):.2f} ({len(pairs)} pairs)")

# %% [markdown]
# Any five digits are read as well as the even ones, and on digits that the probe never saw it does worse than guessing.
# The digits are in the model; their parity is put together in the probe.
#
# ## 3 · Few latents
#
# The SAE of this hook point turns each image into 512 columns, nearly all of them 0. Which of them differ most between
# the two classes?

# %%
exercise("04.3")


# %% tags=["exercise"]
def apart(z, y, k):
    return ...


exercise("04.3").check(apart)

# %% [markdown]
# If a concept consists of a few atoms, a probe on five of them does nearly as well as one on all of them. The control
# has the same number of latents and the same [L0](../docs/glossary.md#words-of-the-field), but its directions are random.
# Its five latents are chosen in the same way. It is drawn five times.

# %%
exercise("04.4")

# %% tags=["exercise"]
guess = ...
exercise("04.4").predict(guess)

# %% tags=["exercise"]
exercise("04.4").reveal()

# %%
sae = sn.load_sae("tiny-vit/resid_post.6")
columns = {"activations": x, "SAE": sae.encode(x).to_dense().detach()}
for seed in range(5):
    columns[f"random dictionary {seed}"] = random_latents(sae, x, seed)
table = probe_table(columns, y, 600)
table

# %% [markdown]
# Read the table by columns. *All columns*: trained or random, all latents predict parity about as well as the activations
# they were made from. *Five columns*: five atoms have .89, all of them .98. One random dictionary comes nearer (.92 and
# .97), so nearness shows nothing by itself. Five atoms do better than the other four random dictionaries, and no better
# than five columns of the activations. So for parity five atoms are not a finding.
#
# Which five are they? **Use the panel**: do they represent digits, or parity?

# %%
acts = sn.capture(
    sn.load_model("tiny-vit"), sn.data.scenes(200, seed=26), sae.hook_point, progress=False
)
latents, even = columns["SAE"][:600], y[:600]
five = (latents[even].mean(dim=0) - latents[~even].mean(dim=0)).abs().topk(5).indices
browser = sw.AtomBrowser(sae, acts)
browser.atom = int(five[0])
print("atoms:", five.tolist())
browser

# %%
exercise("04.5")

# %% tags=["exercise"]
explanation = ...
exercise("04.5").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("04.5").score(points)

# %% [markdown]
# How strong is each of the five on the class token, in the mean over images of a digit? The means say what the examples
# show: four atoms of one digit each, and 495, of 0, 6 and 8.

# %%
strengths = {d: latents[digit[:600] == d][:, five].mean(dim=0).round().int() for d in range(10)}
pd.DataFrame(strengths, index=five.tolist())

# %% [markdown]
# ## 4 · Do SAEs help to probe?
#
# One label on one model decides little. Here are digit and texture of images for `tiny-vit`, sentiment and plural of
# stories for `tiny-gpt` and MiniLM, which turns sentences into vectors (arXiv 2502.16681). How much higher is the
# [AUROC](../docs/glossary.md#words-of-the-field) (how often a row with the label scores above one without) of the best
# probe on an SAE than that of the best probe without one? The control puts a random dictionary in the SAE's place; *all
# channels* is the AUROC of a probe on the activations.

# %%
probing = recorded("probing")
models = ["minilm", "tiny-vit", "tiny-gpt"]
probing.brief({f"all channels, {name}": f"{name} plenty all channels" for name in models})

# %%
kinds = {"gain": "gain", "control: random dictionary": "random gain"}
probing.brief({f"{one}, {name}": f"{name} plenty {kinds[one]}" for name in models for one in kinds})

# %% [markdown]
# These probes had all labels. With 64:

# %%
probing.brief({f"{one}, {name}": f"{name} few {kinds[one]}" for name in models for one in kinds})

# %% [markdown]
# And where a probe has all labels, but may have five columns only? Here the other side is the best of five columns of the
# activations, five principal components and five random atoms.

# %%
probing.brief({f"gain, five latents, {name}": f"{name} plenty gain 5" for name in models})

# %% [markdown]
# So an SAE gives no better classifier here. On MiniLM and `tiny-gpt` a probe with all labels is at .998 or above without
# one, so nothing is left to gain. On `tiny-vit`, where there is room, the SAE loses .017. With 64 labels each gain is
# smaller than its spread over seeds. With five columns the SAE is ahead on `tiny-vit` (for digit and texture; for parity,
# above, it was not) and `tiny-gpt`, and on MiniLM by less than the spread. `probing.table()` also has wrong labels and
# shifted ones.
#
# ## 5 · The checked numbers

# %%
assert table.loc["activations", "all columns"] > 0.85
assert abs(mean(any_five) - table.loc["activations", "all columns"]) < 0.03
assert mean(left_out) < 0.4
assert (table["control: shuffled labels"] - 0.5).abs().max() < 0.2
random = table.filter(like="random", axis=0)
assert (table["all columns"] > 0.9).all()
assert random["5 columns"].mean() < table.loc["SAE", "5 columns"] < random["5 columns"].max()
assert curves["all columns"][1][-1] > curves["all columns"][1][0]
levels = {name: probing.of(f"{name} plenty all channels").mean for name in models}
assert min(levels["minilm"], levels["tiny-gpt"]) > 0.998
assert probing.of("minilm plenty gain").mean < 0.01 > probing.high("tiny-vit plenty gain")
assert min(probing.low(f"{name} plenty gain 5") for name in models[1:]) > 0
few = [probing.of(f"{name} few gain") for name in models]
assert all(abs(one.mean) < one.sd for one in few), "64 labels"

# %%
exercise_report("04")

# %% [markdown]
# **To read.** *Understanding Intermediate Layers Using Linear Classifier Probes* (arXiv 1610.01644): the probe;
# *Designing and Interpreting Probes with Control Tasks* (arXiv 1909.03368): the control; *Are Sparse Autoencoders
# Useful? A Case Study in Sparse Probing* (arXiv 2502.16681): strong baselines for five latents.
