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
# # Lab 10 · Mosaics: why does diffusion make new images?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/lab_10_mosaics.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/lab_10_mosaics.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/lab_10_mosaics.html)
#
# The score that fits its training images perfectly leads back to them: nothing new is ever made. A network
# that sees k × k pixels at a time cannot have that score. Instead it has a way of putting images together
# from patches, and the smaller the patch, the newer the image.
#
# You need attention and a Gaussian; 20 minutes with the exercises, 15 seconds of computing. Afterwards you
# can write the best guess of a denoiser that sees patches, and say where each pixel of a new image comes from.
#
# After Kamb & Ganguli (arXiv 2412.20292): the scores, the noise and the sampler are theirs. Where each pixel
# comes from, the measures and the images are ours. Wavelets are after arXiv 2606.08309, parity after
# 2605.10019, of which we had the abstracts.

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
from sklearn.datasets import load_sample_image

import sae_nb as sn
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import one_at_a_time
from sae_nb_widgets.panel import figure_widget

pd.options.display.precision = 3

# %% [markdown]
# ## 1 · Attention over patches
#
# An image x became $a x + b\,\varepsilon$. The best guess of a clean pixel, by its noisy neighbourhood $x_i$
# alone, asks every patch p of the training images how well it fits:
#
# $$\hat x_i = \sum_p w_p\, p_{\mathrm{centre}} \qquad w = \mathrm{softmax}_p\left(-\frac{\|x_i - a p\|^2}{2 b^2}\right)$$
#
# Query $x_i$, keys p, values their centres, temperature b²: softmax attention over a dictionary of patches, a
# soft version of the step in which matching pursuit takes the nearest atom. Write it.

# %%
exercise("lab_10.1")


# %% tags=["exercise"]
def guess(query, patches, centres, a, b):
    return ...


exercise("lab_10.1").check(guess)

# %% [markdown]
# ## 2 · Four images, and what is made of them
#
# Smooth random fields, black and white, that wrap around. The cost of a sample is known before it is made:

# %%
f = torch.fft.fftfreq(16)
low = torch.exp(-(f[:, None] ** 2 + f**2) / (2 * 0.09**2))
noise = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
images = torch.fft.ifft2(torch.fft.fft2(noise) * low).real.sign()
known = {k: sn.lab.PatchMosaic(k).fit(images) for k in (3, 5, 7, 9, 15)}
print(known[5])
print(sn.lab.PatchMosaic(5).fit(torch.zeros(4, 1, 64, 64)))

# %%
exercise("lab_10.2")

# %% tags=["exercise"]
times = ...
exercise("lab_10.2").check(times)

# %% [markdown]
# Move the patch size k. Above the training images, in a colour each; in the middle samples from the same
# noise; below the samples, every pixel in the colour of the image whose patch weighed most. In black and
# white small patches are the same in many images: the first of them is drawn.

# %%
made = {k: fitted.sample(4) for k, fitted in known.items()}
figure_widget(one_at_a_time({str(k): m.figure() for k, m in made.items()}, "k"), height=760)

# %%
exercise("lab_10.4")

# %% tags=["exercise"]
read_off = ...
exercise("lab_10.4").check(read_off)

# %% [markdown]
# How many images is a sample of, and which share of its patches of 7 × 7 occurs in a training image? A share
# of 1 at 16 × 16 is a copy, shifted or not.

# %%
rows = {k: {"images in one": m.n_sources().float().mean().item()} for k, m in made.items()}
for k, m in made.items():
    shares = {
        f"{size} × {size} found": known[k].found(m.images, size).mean().item() for size in (7, 16)
    }
    rows[k] |= shares
pd.DataFrame(rows).T.rename_axis("k")

# %% [markdown]
# Small patches in black and white are alike by chance. So the same is asked of four fields that were held out:

# %%
exercise("lab_10.3")

# %% tags=["exercise"]
share = ...
exercise("lab_10.3").predict(share)

# %% tags=["exercise"]
exercise("lab_10.3").reveal()

# %% [markdown]
# ## 3 · In wavelets: a threshold that was not set by hand
#
# Haar coefficients of photographs are mostly small and sometimes large. A score of each noisy coefficient y,
# made of y and of gates $y\,e^{-y^2/2\tau^2}$, has weights in closed form (Stein's identity). The remaining
# part of y is a soft threshold, ISTA's, learned from moments; and next to loud neighbours, where there is an
# edge, it lets everything pass.

# %%
grey = torch.tensor(load_sample_image("china.jpg")).float().mean(dim=2)
grey = (grey - grey.mean()) / grey.std()
patches = grey.unfold(0, 16, 4).unfold(1, 16, 4).flatten(0, 1)
score = sn.lab.wavelet_score(patches, sigma=0.1)
print(score.moments)
figure_widget(score.figure(), height=380)

# %% [markdown]
# ## 4 · A rule that noise hides
#
# Bits of ±1 with an even number of −1. The information of the others about a bit is the product of
# $\tanh(y_j/\sigma^2)$, every factor below 1. Move from two bits to eight: with eight the best denoiser there
# can be does not see the rule at this noise.

# %%
bits = torch.randint(0, 2, (400, 8), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
groups = {
    n: torch.cat([bits[:, 1:n], bits[:, 1:n].prod(dim=1, keepdim=True)], dim=1) for n in (2, 4, 8)
}
errors = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
found = {n: sn.lab.parity_posterior(x + errors[:, :n], sigma=1.0) for n, x in groups.items()}
figure_widget(one_at_a_time({str(n): p.figure() for n, p in found.items()}, "bits"), height=460)

# %% [markdown]
# ## 5 · A network that is trained
#
# Nothing was trained so far. Here is a network that sees 3 × 3 pixels; it learns to guess the clean images, and
# knows nothing of patches. How much of its guesses do the scores of §2 explain? Time 1 is noise; near 0 every score
# finds what is there in the noisy image already.

# %%
network = sn.lab.LocalDenoiser(3, width=16).fit(images, steps=300, batch_size=16)
scores = {"3 × 3": known[3], "5 × 5": known[5], "whole": sn.lab.PatchMosaic(None).fit(images)}
prediction = network.predicted_by(scores, n=4)
figure_widget(prediction.plot(), height=300)

# %% [markdown]
# `samples` is how alike the images are that the network and a score make from the same noise; `other noise` is the
# same from different noise, the floor.

# %%
prediction.table

# %% [markdown]
# That was one short training. Five networks that see 5 × 5 pixels, 600 steps each:

# %%
trained = recorded("lab_trained_denoiser")
shown = {
    "R² of guesses near noise, scores of 5 × 5": "trained, R² by patches of 5 at 0.8",
    "control: scores of whole images": "trained, R² by whole images at 0.8",
    "samples alike, scores of 5 × 5": "trained, samples by patches of 5",
    "control: scores of whole images ": "trained, samples by whole images",
    "floor: other noise": "trained, other noise",
}
trained.brief(shown)

# %% [markdown]
# A trained network guesses as the score of its own patches does. Its samples are mostly the same too, less surely:
# the interval of .83 reaches below .8, where the line was set.
#
# A layer of attention lets every pixel read all others. On eight images of stripes, each of one direction:

# %%
shown = {
    "R² of guesses by the score of patches, no attention": "alone, R² by patches",
    "with attention": "attention, R² by patches",
    "one direction, images made with attention": "attention, one direction",
    "control: without": "alone, one direction",
    "floor: white noise": "noise, one direction",
    "the images trained on": "stripes, one direction",
}
trained.brief(shown)

# %% [markdown]
# With attention the network is no longer the score of its patches, and its images agree more on one direction, though
# far less than the images trained on. On the random fields above attention changed nothing (one pilot): they have
# nothing that a whole image agrees on.
#
# ## 6 · The checked numbers

# %%
claims = recorded("lab_patch_mosaic")
shown = {
    "7 × 7 patches found in an image, patches of 5": "7 × 7 of 5",
    "control: held-out images": "7 × 7 of held out",
    "whole images": "7 × 7 of ideal",
    "copies, patches of 5": "copies of 5",
    "copies, whole images": "copies of ideal",
}
claims.brief(shown)

# %% [markdown]
# Five seeds: samples by patches are never training images, samples by whole images always are. These are score
# machines; how well they predict *trained* networks, the paper's claim, is in §5.

# %%
assert claims.verdict("mosaics") == "holds"
assert trained.of("trained, R² by patches of 5").mean > 0.9
assert trained.of("attention, R² by patches").mean < trained.of("alone, R² by patches").mean
assert claims.of("copies of ideal").mean == 1 > claims.of("copies of 5").mean
assert claims.of("7 × 7 of 3").mean < claims.of("7 × 7 of 9").mean < 1
assert known[15].found(made[15].images, 16).mean() > known[3].found(made[3].images, 16).mean()
assert claims.of("photos, gated / linear").mean < claims.of("random phases, gated / linear").mean
assert score.moments["kurtosis"].iloc[0] > 8
assert found[8].product.abs().mean() < found[2].product.abs().mean() / 3

# %%
exercise_report("lab_10")
