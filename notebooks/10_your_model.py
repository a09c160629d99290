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
# # Your model: from a name to an SAE that was judged
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/10_your_model.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/10_your_model.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/10_your_model.html)
#
# You need 00, a forward hook, and what a cross-entropy is; 45 minutes with the exercises, 25 seconds of computing.
# Afterwards you can capture the rows of any torch model by yourself, say beforehand what an SAE of it costs, and
# judge it by what the model loses.
#
# The model comes from Hugging Face, by its name. Here it is SmolLM2-135M if you have fetched it (`sae-nb get
# smollm2-135m` in a terminal, once, 93 MB), and the bundled tiny-gpt otherwise. With a connection to the internet, you
# can write any other name.

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
import tempfile
from pathlib import Path

import pandas as pd
import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.figures import curve_figure
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 2

# %% [markdown]
# ## 1 · The name
#
# Give a name on the hub ("gpt2") or a folder with a checkpoint, and texts or images to go with it.

# %%
wanted, hook_point = "smollm2-135m", "resid_post.16"
texts = list(sn.data.prose("train").texts[:120])
try:
    model = sn.load_model(wanted)
except FileNotFoundError:
    model, hook_point = sn.load_model("tiny-gpt"), "resid_post.2"
    texts = list(sn.data.stories(120, seed=28).texts)
print("the model here:", model)

# %% [markdown]
# The middle of a network is a good place to begin: early blocks see words, and the last ones see the answer. For another
# kind of model, change these entries and nothing else:
#
# | model | `wanted` | `hook_point` | reads |
# | --- | --- | --- | --- |
# | GPT-2 | `"gpt2"` | `"resid_post.6"` | texts |
# | SmolLM2 | `"HuggingFaceTB/SmolLM2-135M"` | `"resid_post.16"` | texts |
# | DINOv2 | `"facebook/dinov2-small"` | `"resid_post.8"` | images: `sn.data.pictures("folder")` |

# %%
model.tokens(texts[0]).head(6)

# %% [markdown]
# ## 2 · Rows, by a hook of your own
#
# At its heart, `sn.capture` is a forward hook. Write that hook:

# %%
exercise("10.1")


# %% tags=["exercise"]
def rows_of(model, block, ids):
    return ...


exercise("10.1").check(rows_of)

# %% [markdown]
# The toolkit does the same on all texts. The last texts are kept for testing, because an SAE is judged on texts that it
# has not seen.

# %%
settings = {"context_length": 48, "progress": False}
acts = sn.capture(model, texts[:100], hook_point, **settings)
held_out = sn.capture(model, texts[100:], hook_point, **settings)
print(f"{len(acts.x)} rows of {acts.d_in} numbers; {len(held_out.x)} for testing")

# %% [markdown]
# Why is the first token left out? See for yourself, in the first text:

# %%
whole = sn.capture(model, texts[0], hook_point, drop_first=False, drop_massive=False, **settings)
norms = whole.x.norm(dim=1)
figure_widget(
    curve_figure(
        {"length of the row": (whole.position.tolist(), norms.tolist())},
        x_title="token",
        y_title="length",
    ),
    height=260,
)

# %% [markdown]
# ## 3 · What will it cost?

# %%
exercise("10.2")


# %% tags=["exercise"]
def gigabytes(tokens, width, atoms):
    return ...


exercise("10.2").check(gigabytes)

# %% [markdown]
# Rows soon take up most of the memory. From a few gigabytes on, keep them in a folder (`sn.capture(…, store="acts")`),
# or make them while you train (`sn.stream`).

# %%
from sae_nb_lessons.studies import budget

widths = {"tiny-gpt": 128, "DINOv2-small": 384, "SmolLM2-135M": 576, "GPT-2": 768}
counts = {"1 M tokens": 10**6, "100 M tokens": 10**8}
cost = {
    name: {words: budget(n, width, 16 * width) for words, n in counts.items()}
    | {"of that the SAE": budget(0, width, 16 * width)}
    for name, width in widths.items()
}
pd.DataFrame(cost).T

# %% [markdown]
# ## 4 · Train, with more and more rows
#
# How many rows are enough? Here is one SAE for each number of rows, with all else alike, and its R² on the texts that
# were kept for testing. The control has the same number of random directions, used as well as they can be.

# %%
saes, r2, control = {}, [], []
sizes = [300, 1200, len(acts.x)]
for n in sizes:
    sae = sn.TopK(acts.d_in, 512, 16, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts[:n], steps=200, batch_size=256, seed=0, progress=False)
    saes[n] = sae
    report = sn.evaluate(sae, held_out)
    r2.append(report.r2.value)
    control.append(report.r2.control)

# %%
curves = {"R², held out": (sizes, r2), "control: random directions": (sizes, control)}
figure_widget(curve_figure(curves, x_title="rows trained on", y_title="R²"), height=280)

# %% [markdown]
# Where the curve still rises, more texts help more than more steps.
#
# ## 5 · What the model loses
#
# R² does not know which part of a row matters to the model. So put the reconstruction in the rows' place, and let the
# model continue.

# %%
exercise("10.3")


# %% tags=["exercise"]
def kept(clean, spliced, zero):
    return ...


exercise("10.3").check(kept)

# %%
exercise("10.4")

# %% tags=["exercise"]
guess = ...
exercise("10.4").predict(guess)

# %% tags=["exercise"]
exercise("10.4").reveal()

# %% [markdown]
# Now for your model: three numbers for one SAE, next to each other.

# %%
sae = saes[sizes[-1]]
judged = sn.evaluate(sae, held_out, model, texts[100:], model_rows=300)
of = {"r2": "R²", "ce_recovered": "share of the loss kept", "kl": "KL to the model's answer, nats"}
table = pd.DataFrame(
    {
        words: {"SAE": judged[name].value, "control": judged[name].control}
        for name, words in of.items()
    }
).T
table

# %% [markdown]
# ## 6 · Look at it
#
# **Use the panel**: read five atoms by their strongest and by their weakest firings (`band`). How many have one
# meaning that holds in both? Write the number down before you look at a second model.

# %%
browser = sw.AtomBrowser(sae, held_out)
browser

# %%
exercise("10.5")

# %% tags=["exercise"]
explanation = ...
exercise("10.5").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("10.5").score(points)

# %% [markdown]
# ## 7 · Keep it
#
# The folder holds the weights and a note of the model and the place that they fit. Later, or elsewhere, `sn.check_fit`
# tests whether they still do: it catches another layer, another scale, another precision.

# %%
with tempfile.TemporaryDirectory() as folder:
    saved = Path(folder) / "my-sae"
    sae.save(saved)
    again = sn.load_sae(saved)
    fit = sn.check_fit(model, again, texts[100:])
print(fit)

# %% [markdown]
# ## 8 · The checked numbers

# %%
assert r2[-1] > r2[0], "more rows, better on new texts"
assert r2[-1] > control[-1] + 0.2
assert table.loc["share of the loss kept", "SAE"] > table.loc["share of the loss kept", "control"]
assert judged["kl"].value < judged["kl"].control
assert torch.equal(again.encode(held_out.x).to_dense(), sae.encode(held_out.x).to_dense())

# %%
exercise_report("10")

# %% [markdown]
# **To read.** *Gemma Scope* (arXiv 2408.05147): what a release of SAEs states about each; *Llama Scope* (arXiv
# 2410.20526): the same for another model, at every layer; *Scaling and Evaluating Sparse Autoencoders* (arXiv
# 2406.04093): how many atoms, and at which k.
