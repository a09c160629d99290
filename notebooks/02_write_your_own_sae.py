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
# # Write your own SAE: about forty lines of torch
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/02_write_your_own_sae.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/02_write_your_own_sae.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/02_write_your_own_sae.html)
#
# You need tensors and gradients of torch, and 01; 85 minutes with the exercises, 40 seconds of computing.
# Afterwards you can write every part of a sparse autoencoder, train it and say how good it is next to a control,
# and recognise in a figure which part is missing.
#
# Nothing of the toolkit is used to build it. The encoder is compared with `sn.TopK` to 1e-6.

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
import torch

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.figures import curve_figure
from sae_nb_lessons.studies import hidden_rows, on_features, own_sae
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · Four tensors
#
# A row $x$ is the state of a network at one place, a token or a patch: $d$ numbers. A sparse autoencoder writes each
# row as a few of $n$ atoms:
#
# $$u = (x - b)\,E^\top + a,\qquad z = \text{the } k \text{ largest positive of } u,\qquad \hat x = z D + b.$$
#
# | tensor | shape | what it is |
# | --- | --- | --- |
# | $E$ | $(n, d)$ | encoder: what each atom is looked for by |
# | $a$ | $(n,)$ | its offset: how easily it fires |
# | $D$ | $(n, d)$ | dictionary: what each atom writes |
# | $b$ | $(d,)$ | bias: what is added to every row |
#
# $u$ are the *pre-codes*, $z$ the *codes*: most of a row's are 0. First the encoder. Each blank is `...`: replace it,
# run the cell, and the check answers.

# %%
exercise("02.1")


# %% tags=["exercise"]
def encode(x, E, a, b, k):
    return ...


exercise("02.1").check(encode)

# %% [markdown]
# The decoder is `z @ D + b`. How good is it? A squared error alone has the unit of the model; a share has none.

# %%
exercise("02.2")


# %% tags=["exercise"]
def loss_of(x, x_hat):
    return ...


exercise("02.2").check(loss_of)

# %% [markdown]
# ## 2 · Two repairs
#
# Gradient descent on this loss leaves two things open. The first is how long an atom is:

# %%
exercise("02.3")


# %% tags=["exercise"]
def unit_rows(D):
    return ...


exercise("02.3").check(unit_rows)

# %% [markdown]
# The second is atoms that have lost: of $n$ pre-codes at most $k$ are kept, and only these pass a gradient on.

# %%
exercise("02.4")


# %% tags=["exercise"]
def replacements(x, x_hat, n):
    return ...


exercise("02.4").check(replacements)

# %% [markdown]
# ## 3 · The loop
#
# Now put them together. The check runs your loop on small data again and again, and looks at what came out: lengths,
# what moved, whether the seed decides, who was replaced, whether the atoms lie where they should.

# %%
exercise("02.5")


# %% tags=["exercise"]
def fit(x, n_atoms, k, steps, seed):
    # one generator for all that is drawn: torch.Generator().manual_seed(seed)
    # D, E, a, b with requires_grad_(); Adam; for each step: rows, encode, rebuild, loss, step, unit_rows
    # every hundred steps: replacements for atoms that have not fired
    return ...


exercise("02.5").check(fit)

# %% [markdown]
# ## 4 · Features that we know
#
# Toys like those of 01, with more on at once: of 32 features in 10 neurons each is on in 12 % of the rows, nearly four
# in a row. Your SAE sees the ten numbers, never the features.

# %%
hidden = [hidden_rows(seed) for seed in range(3)]
print("rows of each toy:", ", ".join(str(len(rows)) for rows in hidden))

# %%
exercise("02.6")

# %% tags=["exercise"]
dictionaries = ...
exercise("02.6").check(dictionaries)

# %% [markdown]
# Two floors, with nothing trained: 64 random directions, and 64 rows of the data just as they are. Rows come nearer, and
# stay below .9.

# %%
blind = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
floors = {
    f"toy {seed}": {
        "random directions": on_features(seed, blind).mean(),
        "rows of data": on_features(seed, hidden[seed][:64]).mean(),
    }
    for seed in range(3)
}
pd.DataFrame(floors)

# %% [markdown]
# ## 5 · A real, if small, model
#
# Rows of `tiny-vit`, halfway through: the class token, [registers](../docs/glossary.md#words-of-the-field) (tokens that
# represent no patch) and patches of a thousand images.

# %%
model = sn.load_model("tiny-vit")
acts = sn.capture(model, sn.data.scenes(1000, seed=0), "resid_post.6", progress=False)
x = acts.x
print(f"{len(x)} rows of {acts.d_in} numbers")

# %%
exercise("02.7")

# %% tags=["exercise"]
mine = ...
exercise("02.7").check(mine)

# %% [markdown]
# The toolkit's, with the same number of atoms and steps, on images that neither saw. The control: random directions,
# the 20 nearest to each row, at one fitted scale.

# %%
held_out = sn.capture(
    model, sn.data.scenes(120, seed=77, split="test"), "resid_post.6", progress=False
)
theirs = sn.TopK(64, 512, 20, generator=torch.Generator().manual_seed(0))
training = sn.start_training(theirs, acts, steps=800, batch_size=512, seed=0)
monitor = sw.TrainingMonitor(training)
monitor

# %%
result = training.wait()
report = sn.evaluate(theirs, held_out)
print(f"sn.TopK: R² {report.r2.value:.3f} (random directions {report.r2.control:.2f})")

# %%
exercise("02.8")

# %% tags=["exercise"]
read_off = ...
exercise("02.8").check(read_off)

# %% [markdown]
# ## 6 · Break it
#
# An SAE like yours, whose learning rate falls at the end, and then with one part changed (in the last row two), on the
# first toy, with one seed. First a bet.

# %%
exercise("02.9")

# %% tags=["exercise"]
guess = ...
exercise("02.9").predict(guess)

# %% tags=["exercise"]
exercise("02.9").reveal()

# %%
toy, whole = hidden[0], {"n_atoms": 64, "k": 3}
kinds = {
    "whole": own_sae(toy, **whole),
    "constant learning rate": own_sae(toy, **whole, cooled=False),
    "free norm": own_sae(toy, **whole, unit_norm=False),
    "ℓ1, unit norm": own_sae(toy, **whole, l1=0.01),
    "ℓ1, free norm": own_sae(toy, **whole, l1=0.01, unit_norm=False),
}
pd.DataFrame({name: {"R²": one.r2(toy), "Σz": one.strength(toy)} for name, one in kinds.items()}).T

# %% [markdown]
# R² stays at .88 although atoms lie on the features; one reason: nearly four are on in a row, and k allows three. Where
# lengths are fixed, the penalty (ℓ1) changes next to nothing. Free lengths alone take Σz from 1.53 to 1.28; with the
# penalty as well it falls by another third, to .83, and R² is within .01 of the whole's: atoms have grown, and codes
# shrunk. Lengths, the longest first:

# %%
norms = {name: kinds[name].sorted_norms() for name in ("whole", "free norm", "ℓ1, free norm")}
titles = {"x_title": "atom, by length", "y_title": "length"}
figure_widget(curve_figure(norms, **titles), height=280)

# %% [markdown]
# The second break: no bias, on tiny-vit, one seed. Which atoms write the mean row then?

# %%
small = {"n_atoms": 512, "k": 20, "steps": 300}
vit = {"with b": own_sae(x, **small), "without b": own_sae(x, **small, bias=False)}
rows, mean = held_out.x, held_out.x.mean(dim=0)
shares = {
    name: float(one.most_frequent(rows, 8) @ mean / mean.square().sum())
    for name, one in vit.items()
}
table = {name: {"R²": vit[name].r2(rows), "of the mean, by 8 atoms": shares[name]} for name in vit}
pd.DataFrame(table).T

# %% [markdown]
# Without $b$ the eight most frequent atoms write most of the mean row, and fire far more often than with it:

# %%
rates = {name: one.sorted_rates(rows) for name, one in vit.items()}
titles = {"x_title": "atom, by how often it fires", "y_title": "share of rows"}
figure_widget(curve_figure(rates, **titles), height=280)

# %% [markdown]
# The third break: 56 of 64 atoms begin asleep, with an offset so low that they never fire. With the return of dead atoms
# some of them wake, without it none.

# %%
woken = {
    name: own_sae(toy, **whole, asleep=56, revived=back)
    for name, back in (("with their return", True), ("without", False))
}
firing = {name: int((one.encode(toy) > 0).any(dim=0).sum()) for name, one in woken.items()}
pd.DataFrame({"R²": {name: one.r2(toy) for name, one in woken.items()}, "atoms that fire": firing})

# %%
exercise("02.10")

# %% tags=["exercise"]
explanation = ...
exercise("02.10").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("02.10").score(points)

# %% [markdown]
# ## 7 · The checked numbers

# %%
held, free = kinds["ℓ1, unit norm"], kinds["ℓ1, free norm"]
assert report.r2.value > 0.94 > 0.75 > report.r2.control
assert pd.DataFrame(floors).max(axis=None) < 0.9
assert free.strength(toy) < 0.7 * kinds["free norm"].strength(toy), "the penalty is dodged"
assert abs(held.strength(toy) / kinds["whole"].strength(toy) - 1) < 0.05, (
    "and not where norms are 1"
)
assert 0 < held.r2(toy) - free.r2(toy) < 0.01
assert max(norms["ℓ1, free norm"][1]) > 1.7 > 1.5 > max(norms["free norm"][1])

# %%
assert kinds["constant learning rate"].r2(toy) < kinds["whole"].r2(toy)
assert 0 < vit["with b"].r2(rows) - vit["without b"].r2(rows) < 0.03
assert shares["without b"] > 0.5 > 0.2 > shares["with b"]
assert firing["without"] == 8 < firing["with their return"]

# %%
exercise_report("02")

# %% [markdown]
# **To read.** *Sparse Autoencoders Find Highly Interpretable Features in Language Models* (arXiv 2309.08600): an ℓ1
# loss; *Scaling and Evaluating Sparse Autoencoders* (arXiv 2406.04093): TopK, and repairs for dead atoms;
# *Improving Dictionary Learning with Gated Sparse Autoencoders* (arXiv 2404.16014): why ℓ1 shrinks codes, and a cure.
