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
# # Lab 02 · Similarity: what can be learned without seeing an input
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_02_similarity.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_02_similarity.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_02_similarity.html)
#
# A network that sees only how alike its inputs are, never the inputs: can it find their atoms? It can, and
# the atoms it finds are stored nowhere. They are mixtures of the inputs, computed only when you ask what a
# code would generate.
#
# A postcard, optional: no other lesson needs it. You need 01 and a least-squares solution; 15 minutes with the
# exercises, 6 seconds of computing. Afterwards you can derive similarity matching from sparse coding, and distinguish
# too few units from too little sparsity.
#
# After "Kernel similarity matching" (arXiv 2503.00655), of which we had the abstract: similarity matching, an
# implicit generative map, ADMM are its; the derivation from sparse coding below and the updates are ours.

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
import math

import pandas as pd
import torch

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · Putting the best dictionary in
#
# Sparse coding of features $\Phi$, with a price $\omega$ on the length of atoms:
#
# $$\min_{D,\ Z \ge 0}\ \tfrac12 \Vert \Phi - DZ \Vert^2 + \tfrac{\omega}{2} \Vert D \Vert^2 + \lambda \textstyle\sum Z$$
#
# For given codes the best dictionary is a least-squares solution, $D = \Phi P^\top$ with $P = (ZZ^\top +
# \omega I)^{-1} Z$: each atom is a mixture of inputs. Write P; all that follows needs nothing else.

# %%
exercise("lab_02.1")


# %% tags=["exercise"]
def top_down(z, ridge):
    return ...


exercise("lab_02.1").check(top_down)

# %% [markdown]
# With that dictionary put in, the features are gone from the objective; what is left of them is their
# similarities $K = \Phi^\top\Phi$:
#
# $$F(Z) = \tfrac12\, \mathrm{tr}\, K (I + Z^\top Z / \omega)^{-1} + \lambda \textstyle\sum Z$$
#
# F is small where codes are alike exactly where inputs are.

# %%
exercise("lab_02.2")

# %% tags=["exercise"]
at_zero = ...
exercise("lab_02.2").check(at_zero)

# %% [markdown]
# ## 2 · Atoms that it was not shown
#
# 500 inputs, each of two of 16 atoms. The solver is given the table of their inner products, and nothing else.

# %%
atoms = torch.nn.functional.normalize(
    torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
)
chosen = torch.stack(
    [torch.randperm(16, generator=torch.Generator().manual_seed(i))[:2] for i in range(500)]
)
x = torch.zeros(500, 16).scatter(1, chosen, 1.5) @ atoms

# %%
found = sn.lab.KernelSimilarity(16, kernel="precomputed").fit(x @ x.T)
mixed = torch.nn.functional.normalize(found.top_down @ x.double())
cosines = (atoms.double() @ mixed.T).amax(dim=1)
print(f"{found}; cosine of the worst-found atom {cosines.min():.3f}")

# %%
figure_widget(found.figure(), height=340)

# %% [markdown]
# ## 3 · Units that tile a ring
#
# With a radial kernel two points of a circle are alike if they are near each other, and there is no hint that
# there is a circle. Units follow the ring if codes are sparse enough: with a price of 0.2 each fires in one
# piece. Move the slider: how many units does it take until little of the kernel is left?

# %%
angle = torch.linspace(0, 2 * math.pi, 401)[:-1]
ring = torch.stack([angle.cos(), angle.sin()], dim=1)
settings = {"kernel": "rbf", "width": 0.5, "sparsity": 0.2, "ridge": 0.1}
tilings = {n: sn.lab.KernelSimilarity(n, **settings).fit(ring) for n in (4, 8, 12, 16)}
drawn = {str(n): one.tuning(angle) for n, one in tilings.items()}
figure_widget(one_at_a_time(drawn, "units"), height=420)

# %%
rows = {
    n: {"left of the kernel": one.residual, "atoms a point": float(one.codes.l0.double().mean())}
    for n, one in tilings.items()
}
pd.DataFrame(rows).T.rename_axis("units")

# %%
exercise("lab_02.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_02.4").check(read_off)

# %%
exercise("lab_02.3")

# %% tags=["exercise"]
guess = ...
exercise("lab_02.3").predict(guess)

# %% tags=["exercise"]
exercise("lab_02.3").reveal()

# %% [markdown]
# With a tenth of the price (0.02) each unit also fires faintly at two other places. If codes below 5 % of the
# largest count as silent, there is one piece there, too; a claim must not depend on such a threshold:

# %%
faint = sn.lab.KernelSimilarity(12, **settings | {"sparsity": 0.02}).fit(ring)
pieces = {}
for price, one in ((0.2, tilings[12]), (0.02, faint)):
    on = one.z > 0
    pieces[price] = (on & ~on.roll(1, dims=1)).sum(dim=1).tolist()
print("pieces of the ring where a unit is on:", pieces)

# %% [markdown]
# Over ten seeds, with what random mixtures and points in random order would give:

# %%
claims = recorded("lab_similarity")
shown = {
    "cosine of the worst-found atom": "worst atom",
    "floor: random mixtures of the inputs": "worst atom, random mixtures",
    "units of one piece, sparsity .2": "one piece, twelve",
    "floor: points in random order": "one piece, shuffled",
    "control: sparsity .02": "one piece, little sparsity",
}
claims.brief(shown)

# %% [markdown]
# ## 4 · The checked numbers

# %%
assert cosines.min() > 0.95
assert (found.objective.diff() <= 1e-9 * found.objective[0]).all()
assert tilings[12].residual < 0.05 < tilings[8].residual
assert set(pieces[0.2]) == {1} != set(pieces[0.02])
assert claims.verdict("from similarities") == "holds"
assert claims.verdict("a ring") == "holds"

# %%
exercise_report("lab_02")
