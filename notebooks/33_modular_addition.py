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
# # How a model adds
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/33_modular_addition.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/33_modular_addition.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/33_modular_addition.html)
#
# You need 07; 30 minutes with the exercises, 15 seconds of computing. Afterwards you can read an algorithm off a model's
# weights: find a basis in which few numbers matter, take the rest away, and say what an answer is made of.
#
# `tiny-modular` adds two numbers from 0 to 52, modulo 53. It was trained on a part of all sums and is right on all 2809.
# Nothing in it was made for adding. What did it find?

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

from sae_nb.figures import Chart, Points, draw_chart
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.studies import modular
from sae_nb_widgets.panel import figure_widget

pd.options.display.float_format = "{:.3f}".format
E = modular.number_embedding()
print(f"embedding {tuple(E.shape)}, right answers {modular.right_answers():.0%}")

# %% [markdown]
# ## 1 · A basis that was not learned
#
# A number modulo 53 is a place on a circle. If the model uses circles, then its embedding, read over the numbers 0 to 52,
# is made of waves that go around 1, 2, …, 26 times. How much of it has each frequency?

# %%
exercise("33.1")


# %% tags=["exercise"]
def frequency_shares(E):
    return ...


exercise("33.1").check(frequency_shares)

# %% [markdown]
# The floor: the same rows in a random order, which have the same numbers and no waves.

# %%
f = [*range(1, modular.N_FREQUENCIES + 1)]
bars = {"embedding": modular.shares(E), "rows shuffled": modular.shares(modular.shuffled(E, 0))}
series = [Points(name=n, x=f, y=y, control=n != "embedding") for n, y in bars.items()]
figure_widget(draw_chart(Chart(series=tuple(series), x="frequency", y="share")), height=300)

# %%
key = modular.key_frequencies(E)
print(f"above 20 shuffles: {key}, together {bars['embedding'][[one - 1 for one in key]].sum():.0%}")

# %% [markdown]
# ## 2 · Keep some, drop the rest
#
# Four frequencies have nearly everything. Does the model need anything else?

# %%
exercise("33.2")


# %% tags=["exercise"]
def keep(E, frequencies):
    return ...


exercise("33.2").check(keep)

# %%
exercise("33.3")

# %% tags=["exercise"]
guess = ...
exercise("33.3").predict(guess)

# %% tags=["exercise"]
exercise("33.3").reveal()

# %% [markdown]
# The control: as many frequencies, drawn at random from the other 22. Kept alone they leave chance, and taken out they leave
# every answer.

# %%
drawn = [modular.drawn_frequencies(key, len(key), seed) for seed in range(5)]
kept = {"the four": key} | {f"drawn {seed}": one for seed, one in enumerate(drawn)}
left = pd.DataFrame(
    {
        "only these": [modular.right_answers(modular.only(E, one)) for one in kept.values()],
        "without these": [modular.right_answers(modular.without(E, one)) for one in kept.values()],
    },
    index=list(kept),
)
left

# %% [markdown]
# ## 3 · What the logits are made of
#
# With circles, adding is turning: by angle 2πwa/53, then by 2πwb/53. An answer c gets cos(2πw (a + b − c) / 53), which is
# largest where c = a + b. If that is what happens, then a logit depends on a, b and c by a + b − c alone.

# %%
exercise("33.4")


# %% tags=["exercise"]
def by_difference(logits):
    return ...


exercise("33.4").check(by_difference)

# %% [markdown]
# Here are the logits over a + b − c, and the frequencies of this curve next to those of the embedding.

# %%
logits = modular.all_logits()
curve = modular.over_differences(modular.centred(logits))
figure_widget(
    draw_chart(
        Chart(
            series=(Points(name="logit", x=[*range(53)], y=curve),),
            x="(a + b − c) mod 53",
            y="mean logit",
        )
    ),
    height=260,
)

# %%
of_logits = modular.shares(curve[:, None])
both = (Points(name="embedding", x=f, y=bars["embedding"]), Points(name="logits", x=f, y=of_logits))
figure_widget(draw_chart(Chart(series=both, x="frequency", y="share")), height=300)

# %%
exercise("33.5")

# %% tags=["exercise"]
missing = ...
exercise("33.5").check(missing)

# %%
rows = {"all frequencies": E} | {f"without {one}": modular.without(E, [one]) for one in key}
table = pd.DataFrame(
    [modular.wave_sizes(modular.all_logits(each), key) for each in rows.values()],
    index=list(rows),
    columns=[f"wave {one}" for one in key],
)
table["right"] = [modular.right_answers(each) for each in rows.values()]
table

# %% [markdown]
# One model, trained once, is what you took apart. Others of its kind choose other frequencies, and some add differently:
# see the papers.
#
# ## 4 · The checked numbers

# %%
assert key == [5, 10, 15, 21]
assert modular.right_answers() == 1
assert left.loc["the four", "only these"] > 0.99
assert left.loc["the four", "without these"] < 0.05
assert left.iloc[1:]["only these"].max() < 0.05
assert left.iloc[1:]["without these"].min() > 0.99
assert of_logits[[9, 14, 20]].sum() > 0.99
assert of_logits[4] < 0.01
assert table.right["all frequencies"] == 1
assert table.right.drop("all frequencies").max() < 0.95
exercise_report("33")

# %% [markdown]
# ## Read further
#
# - Nanda et al., *Progress Measures for Grokking via Mechanistic Interpretability* (arXiv 2301.05217): this algorithm, found.
# - Zhong et al., *The Clock and the Pizza* (arXiv 2306.17844): two ways to add that look alike.
# - Chughtai et al., *A Toy Model of Universality* (arXiv 2302.03025): which parts are the same in every model.
