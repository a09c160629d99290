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
# # Lab 06 · Error bars: how sure is a code?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_06_error_bars.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_06_error_bars.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_06_error_bars.html)
#
# A postcard, optional: no other lesson needs it. You need 00 or 01; 20 minutes with the exercises, 7 seconds of
# computing. Afterwards you can say what an error bar knows and what it does not, and estimate a diagonal without an
# inverse.
#
# An SAE claims that an atom is active with 1.7. It does not say whether 0.7 would have done as well. Sparse
# Bayesian learning does: each coefficient comes with a standard deviation, and is zero where the data do not
# need it.
#
# Its EM is from "Covariance-free sparse Bayesian learning", its clusters from arXiv 2310.00420, by the
# authors' code. The bounds on a variance and the preconditioner are ours.

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
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · A prior for every coefficient
#
# $$x = A z + \varepsilon, \qquad \varepsilon \sim N(0, \sigma^2), \qquad z_j \sim N(0, 1 / \alpha_j)$$
#
# Once x is seen, z is Gaussian again, with precision $\Lambda = A^\top A / \sigma^2 + \mathrm{diag}\, \alpha$
# and mean $\mu = \Lambda^{-1} A^\top x / \sigma^2$. The error bar of a coefficient is the root of its entry
# on the diagonal of $\Lambda^{-1}$.

# %%
exercise("lab_06.1")

# %% tags=["exercise"]
error_bar = ...
exercise("lab_06.1").check(error_bar)

# %% [markdown]
# EM learns the precisions: $\alpha_j \leftarrow 1 / (\mu_j^2 + s_j)$ with $s = \mathrm{diag}\, \Lambda^{-1}$.
# Where data do not need a coefficient, its precision grows without end. Nothing else makes the code sparse:
# no λ, no k.
#
# ## 2 · A signal of which little is seen
#
# Twelve of 256 cosines, and some samples of their sum, with noise.

# %%
generator = torch.Generator().manual_seed(0)
z = torch.zeros(1, 256)
z[0, torch.randperm(256, generator=generator)[:12]] = torch.randn(12, generator=generator)
order = torch.randperm(256, generator=generator)
noise = 0.02 * torch.randn(1, 256, generator=generator)
model, found = sn.lab.SparseBayes(noise=0.02), {}

# %%
for kept in (128, 64, 51, 38, 25):
    mask = torch.zeros(256, dtype=torch.bool).index_fill(0, order[:kept], True)
    operator = sn.architectures.CosineOperator(mask)
    found[kept] = model.fit(operator.forward(z) + noise[:, mask], operator)

# %% [markdown]
# Crosses are the truth. Move the slider: with fewer samples the error bars grow first, and then the code
# falls apart.

# %%
drawn = {f"{n / 256:.0%}": known.figure(truth=z[0]) for n, known in found.items()}
figure_widget(one_at_a_time(drawn, "samples seen"), height=420)

# %%
used, rows = z[0] != 0, {}
for n, known in found.items():
    off, sd = (known.mean - z)[0].abs(), known.sd[0]
    rows[n] = {
        "error": float(off.norm() / z.norm()),
        "mean sd of the twelve": float(sd[used].mean()),
        "of them within 2 sd": float((off < 2 * sd)[used].float().mean()),
    }
pd.DataFrame(rows).T.rename_axis("samples")

# %%
exercise("lab_06.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_06.4").check(read_off)

# %% [markdown]
# With 25 samples the error bars are ten times as long as with 128, and yet half of the twelve lie outside of
# two of them. They are right about the model with these precisions, and do not know that the precisions were
# learned from the same few samples.
#
# ## 3 · Without the inverse
#
# $\Lambda$ has an entry for every pair of coefficients. Conjugate gradients solve $\Lambda u = b$ by applying
# it alone, and random signs p make the diagonal of its inverse out of solutions: $\mathrm{E}[p \circ
# \Lambda^{-1} p]$.

# %%
exercise("lab_06.2")


# %% tags=["exercise"]
def diagonal(solve, signs):
    return ...


exercise("lab_06.2").check(diagonal)

# %% [markdown]
# The mean and ten probes are eleven systems, solved at once; each curve is one. And the mean step by step,
# with its correlations:

# %%
figure_widget(found[64].convergence(), height=340)

# %%
half = found[64]
stepper = sw.PursuitStepper(half.x, half.operator.atoms(), trace=half.steps())
stepper

# %% [markdown]
# ## 4 · Signals that share
#
# Eight signals on two supports. With two clusters EM learns two sets of precisions, and which signal has which.

# %%
signals = torch.zeros(8, 256)
signals[0::2, order[:8]] = torch.randn(4, 8, generator=generator)
signals[1::2, order[8:16]] = torch.randn(4, 8, generator=generator)
seen = found[64].operator.forward(signals)
shared = sn.lab.SparseBayes(noise=0.02, n_clusters=2).fit(seen, found[64].operator)
figure_widget(shared.clusters(), height=340)

# %%
exercise("lab_06.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_06.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_06.3").reveal()

# %%
claims = recorded("lab_sparse_bayes")
shown = {
    "error without a covariance": "error, cg",
    "floor: solution of smallest norm": "error, smallest norm",
    "control: with the covariance": "error, exact",
    "error with two clusters": "error, clustered",
    "floor: all as one": "error, joint",
    "control: each by itself": "error, separate",
}
claims.brief(shown)

# %% [markdown]
# Times were measured in one run, side by side. They are of a design whose atoms are applied by FFT: for
# random atoms, a plain matrix, conjugate gradients need three times the steps, and inverting is as fast. A
# third claim is about learning atoms by likelihood, `sn.lab.likelihood_gradient`.
#
# ## 5 · The checked numbers

# %%
assert rows[128]["error"] < 0.1 < 0.5 < rows[25]["error"]
assert rows[25]["mean sd of the twelve"] > 5 * rows[128]["mean sd of the twelve"]
assert shared.assignment[0::2].unique() != shared.assignment[1::2].unique()
assert claims.verdict("without a covariance") == claims.verdict("clusters") == "holds"
assert claims.of("time, exact / cg").mean > 3
assert claims.of("error, clustered, 12 % seen").mean > claims.of("error, separate, 12 % seen").mean

# %%
exercise_report("lab_06")
