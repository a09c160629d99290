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
# # Time in activations: what did the past already say?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/17_time.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/17_time.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/17_time.html)
#
# An SAE reads every token by itself, as if a text were a bag of words. Yet most of what a model knows of a
# token it knew before: who is spoken of, which topic, which mood. `sn.Temporal` (arXiv 2511.01836) splits
# each activation in two. Attention over the *past* suggests the **predicted** part; a sparse code holds what
# is **novel**:
#
# $$\hat x_t = \underbrace{a_t\,u_t D}_{\text{predicted, from codes before } t} + \underbrace{z_t D}_{\text{novel, } k \text{ atoms}} + b$$
#
# Is the predicted part really the slow one? We ask where the answer is planted, and on a live language model,
# with what did *not* reproduce.
#
# You need 00, on language; 35 minutes with the exercises, 25 seconds of computing. Afterwards you can split an
# activation into predicted and novel, spot a leak of the present into the past, and measure what order is worth.

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
import sae_nb_widgets as sw
from sae_nb.temporal import EXAMPLES, garden_path_surprise
from sae_nb_lessons import exercise, exercise_report, recorded
from sae_nb_lessons.figures import bands_figure, moments_figure, time_curves_figure
from sae_nb_studies.reproductions.experiments import temporal, temporal_planted
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · Two forms, and a leak
#
# In the **published** form the question that attention asks comes from token t itself, and so does the length
# $a_t$: the token is *projected* on a direction chosen by its past.

# %%
exercise("17.1")

# %% tags=["exercise"]
length = ...
exercise("17.1").check(length)

# %% [markdown]
# So the predicted part of the published form has seen the token. In the **strict** form (ours) the question
# comes from token t − 1 and $a_t$ is fixed: a forecast, as its gradient shows. Which tokens reach the
# prediction of token 5?

# %%
leaf = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
reached = {}
for strict in (False, True):
    sae = sn.Temporal(32, 64, 4, strict, generator=torch.Generator().manual_seed(0))
    sae.predict(leaf).codes[0, 5].square().sum().backward()
    reached["strict" if strict else "published"] = (leaf.grad[0].norm(dim=1) > 0).int().tolist()
    leaf.grad = None
for form, tokens in reached.items():
    print(f"{form}: tokens {', '.join(str(i) for i, hit in enumerate(tokens) if hit)}")

# %% [markdown]
# ## 2 · Slow and fast, planted
#
# A world whose answer we know: a state *s* that stays while an **event** lasts (12 tokens on average), and
# three atoms of noise, new at every token. A strict `Temporal` trains on it for some seconds. Dotted lines
# are where events begin.

# %%
data, parts, planted_sae = temporal_planted.look(seed=0)
starts = (data.events[0].diff() > 0).nonzero().flatten() + 1
bands = bands_figure(parts.energy[0], borders=starts.tolist(), y_title="‖part‖²")
figure_widget(bands, height=250)

# %% [markdown]
# Where an event begins, its state is news; after a token or two it is foreseen. Which codes hold the state?

# %%
planted = recorded("temporal_planted")
slow = {
    "R² of the state, predicted codes": "planted strict predicted slow R²",
    "floor: tokens in random order": "planted strict permuted slow R²",
    "control: novel codes": "planted strict novel slow R²",
    "published form, 2 400 steps": "planted 2400 steps predicted slow R²",
    "published form, 600 steps": "planted 600 steps predicted slow R²",
    "published form, 600 steps, k grown": "planted k grown predicted slow R²",
}
planted.brief(slow)

# %% [markdown]
# In random order what is left to foresee is what all tokens of one sequence share. **The published form needs
# longer**: its two parts compete for what is slow, and on two seeds of five the predicted part has not won all of
# it back after 2 400 steps. With few novel atoms at first (`grow_k=True`) 600 steps are enough on every seed.
#
# ## 3 · A live model
#
# The last block of `tiny-gpt` on English prose. TopK and both forms of Temporal, same dictionary size, same k,
# same tokens. How alike are codes that are w tokens apart?

# %%
material, saes = temporal.look(seed=0)
lags = [1, 2, 3, 5, 8, 13, 21]
test = sn.temporal.decompose(saes["temporal"], material.test)
with torch.no_grad():
    topk = saes["topk"].encode(material.test).to_dense()
sets = {part: temporal.dense_codes(test, part) for part in ("predicted", "novel")}
sets["TopK"] = topk

# %%
curves = {
    name: (lags, list(sn.temporal.autocorrelation(z, lags).values())) for name, z in sets.items()
}
axes = {"x_title": "tokens apart", "y_title": "mean cosine of codes"}
figure_widget(time_curves_figure(curves, **axes), height=260)

# %%
exercise("17.2")


# %% tags=["exercise"]
def lag_one_cosine(x):
    return ...


exercise("17.2").check(lag_one_cosine)

# %% [markdown]
# That was one short training of a small model. SmolLM2-135M, after block 15 of 30, five seeds of 4 800 steps:

# %%
text, long = recorded("temporal"), recorded("language_temporal")
smooth = {
    "lag-1 cosine, predicted − novel": "4800 steps, lag-1 lead",
    "floor: codes in random order": "4800 steps, order lost lag-1 lead",
    "path of predicted, as a share of novel": "4800 steps, path share",
    "control: codes in random order": "4800 steps, order lost path share",
    "unexplained": "4800 steps, FVU",
    "control: TopK, unexplained": "TopK FVU",
}
long.brief(smooth)

# %% [markdown]
# Attention adds more than twice the parameters that TopK has, and the predicted code is dense: the fair reading is
# "nothing is lost", not "better". It takes training: after 300 steps the lead is .01. Windows with a massive token
# are left out, as a few such tokens have nearly all the variance.
#
# A temporal SAE of SmolLM2 comes along, `sn.load_sae("smollm2-135m/temporal.16")`. What does it find in texts that it
# has not read? One training, five draws of texts:

# %%
uses = recorded("temporal_uses")
lasting = {
    "lag-1 cosine, predicted": "lag-1, predicted",
    "floor: TopK": "lag-1, TopK",
    "control: codes in random order": "lag-1, order lost",
    "joins of documents found (AUROC)": "joins, predicted",
    "control: the activations": "joins, activations",
}
uses.brief(lasting)

# %% [markdown]
# The predicted part **lasts**, and only in order. It does **not** find where one document ends and the next begins:
# the activations themselves do it better, as they do for the turns of a dialogue. Nor is its share of the energy a
# sign of memory: tokens in random order have nearly the same ([all lines](../docs/methods/temporal.md)). Try texts of
# your own: [split your own text](../docs/howto/split-your-own-text.md).
#
# Does it need the *order* of tokens?

# %%
exercise("17.3")

# %% tags=["exercise"]
guess = ...
exercise("17.3").predict(guess)

# %% tags=["exercise"]
exercise("17.3").reveal()

# %% [markdown]
# In tiny-gpt the smooth path is nearly gone, but half of the lag-1 lead stays (in SmolLM2 a third), more than our line
# allows: it is what all tokens of one text share. Take each text's own mean off, and order is all there is:

# %%
within = {}
for name, z in {"predicted": sets["predicted"], "novel": sets["novel"]}.items():
    own = z - z.mean(dim=1, keepdim=True)
    orders = {"as read": own, "order lost": sn.temporal.permuted_order(own, seed=0)}
    within[name] = {how: round(sn.temporal.lag_cosine(x), 2) for how, x in orders.items()}
    print(name, *(f"· {how} {cosine:.2f}" for how, cosine in within[name].items()))

# %% [markdown]
# ## 4 · Where documents meet
#
# Texts put together of three documents, 32 tokens each. The cosine of each token's codes with each other's:
# a block would be an event.

# %%
spliced = {
    name: sn.temporal.decompose(saes[name], material.spliced) for name in ("temporal", "strict")
}
chosen = {
    "predicted, strict": temporal.dense_codes(spliced["strict"], "predicted"),
    "predicted": temporal.dense_codes(spliced["temporal"], "predicted"),
    "novel": temporal.dense_codes(spliced["temporal"], "novel"),
}

# %%
squares = {}
for title, codes in chosen.items():
    units = torch.nn.functional.normalize(codes - codes.mean(dim=(0, 1)), dim=-1)[3]
    squares[title] = units @ units.T
figure_widget(moments_figure(squares, borders=[32, 64]), height=280)

# %% [markdown]
# **Does not hold**, as we now ask it: at equal distance. Tokens of one event are also *near* each other, and near
# tokens are alike anyway. Predicted codes follow how far the text has come, rather than which document it is. In a
# **story** the same characters continue, and only time passes (*"That same night …"*); the null lends every story the
# borders of another one:

# %%
stories = recorded("temporal_stories")
borders = {
    "gap of the same event, published form": "temporal predicted event gap",
    "floor: borders of another story": "temporal predicted borders lent event gap",
    "the same at equal distance": "temporal predicted matched event gap",
    "gap of the same event, strict form": "strict predicted event gap",
    "floor: borders of another story, strict": "strict predicted borders lent event gap",
    "control: TopK": "topk event gap",
}
stories.brief(borders)

# %% [markdown]
# The strict forecast's gap is as large with borders of another story: it follows position. The predicted part of the
# published form has seen the token, and notices the border, also at equal distance, on average over five seeds. Every
# line is on the page of [Temporal](../docs/methods/temporal.md).
#
# ## 5 · Does context open new directions?
#
# Before any SAE: does a later token use more dimensions than an earlier one? The statistic finds planted
# growth, and loses it with the order.

# %%
grown = sn.data.growing_rank(400, seed=0)
mixed = sn.temporal.permuted_order(grown, seed=0)
dimension = {
    "planted": sn.temporal.dimension_by_position(grown),
    "planted, order lost": sn.temporal.dimension_by_position(mixed),
    "tiny-gpt": sn.temporal.dimension_by_position(material.train, list(range(0, 96, 8))),
}
curves = {name: (list(found), list(found.values())) for name, found in dimension.items()}
axes = {"x_title": "position", "y_title": "effective dimension"}
figure_widget(time_curves_figure(curves, **axes), height=260)

# %%
exercise("17.4")

# %% tags=["exercise"]
correlation = ...
exercise("17.4").predict(correlation)

# %% tags=["exercise"]
exercise("17.4").reveal()

# %% [markdown]
# **Not reproduced**: in a model of four blocks and a past of 96 tokens, dimension rises over the first few
# tokens and then stays; its rank correlation with position is no more than a random order may give.
#
# ## 6 · Garden paths
#
# *"While the man hunted the deer ran…"* misleads until *ran*; a comma prevents it early. How much more
# surprised is a model there than in the control, and how much more does the token add?

# %%
model = sn.load_model("tiny-gpt")
surprise = garden_path_surprise(model, saes["temporal"], EXAMPLES)
for what, words in (("nats", "surprise in nats"), ("novel_energy", "novel energy")):
    print("{}: {:+.2f} ± {:.2f}".format(words, *surprise.effect(what)))

# %% [markdown]
# Six sentences and a model that never read such: expect no effect beyond its error. SmolLM2-135M is 3.5 to 6.6 nats
# more surprised, while *novel energy* is not moved. Here is one pair in lock-step:
# click a token to see where in its past it was read, and which atoms it adds.

# %%
pair = EXAMPLES[0]
panel = sw.TemporalPanel(model, saes["temporal"], pair.garden, second_text=pair.control)
panel

# %%
exercise("17.5")

# %% tags=["exercise"]
explanation = ...
exercise("17.5").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("17.5").score(points)

# %% [markdown]
# ## 7 · The checked numbers

# %%
# Planted: slow and fast come apart, and not without order; growth is found where it is planted.
assert planted.verdict("slow and fast") == "holds"
assert planted.low("planted strict slow R² lead") > 0.2
assert planted.verdict("slow and fast, published form") == "partly"
assert planted.of("planted 600 steps slow R² lead").sd > 0.2
assert planted.verdict("slow and fast, k grown") == "holds"
assert planted.high("planted strict permuted slow R²") < planted.low(
    "planted strict predicted slow R²"
)
assert recorded("growing_dimension").verdict("planted growth") == "holds"

# %%
# Text: smooth, at no cost in fit; strict forecasts follow position, not documents; no growth with position.
assert text.high("temporal FVU over TopK") < 1.05
assert text.high("temporal path share") < 0.7
assert long.low("4800 steps, lag-1 lead") > long.high("4800 steps, order lost lag-1 lead")
assert uses.verdict("lasts") == "holds"
assert uses.high("joins, lead") < 0
assert text.low("strict event gap lead") > 0 > text.of("strict predicted matched event gap").mean

# %%
# Order: the path needs it; strict forecasts follow position, not documents.
assert text.of("temporal order lost path share").mean > 0.7
assert text.verdict("events") == "does not hold at this scale"
assert stories.verdict("stories") == "does not hold at this scale"
assert stories.verdict("borders") == "holds"
assert stories.of("strict predicted matched over lent").mean < 0
assert 0.1 < text.of("temporal order lost lag-1 lead").mean < text.low("temporal lag-1 lead")
assert text.verdict("growth on text") != "holds"

# %%
# The short seed that ran here agrees.
live = {name: sn.temporal.lag_cosine(z) for name, z in sets.items()}
assert live["predicted"] > live["novel"] + 0.1
assert within["predicted"]["as read"] > 0.1 > within["predicted"]["order lost"]
assert reached["strict"] == [1, 1, 1, 1, 1, 0, 0, 0, 0]
news = parts.novel.norm(dim=-1)
begins = data.events[:100].diff(dim=1, prepend=data.events[:100, :1]) > 0
assert news[begins].mean() > 1.2 * news[~begins].mean()

# %%
exercise_report("17")

# %% [markdown]
# **To read.** *Priors in Time: Missing Inductive Biases for Language Model Interpretability* (arXiv 2511.01836): the
# claim that this lesson tests; *ICLR: In-Context Learning of Representations* (arXiv 2501.00070): activations that
# the context rearranges; *Future Lens: Anticipating Subsequent Tokens from a Single Hidden State* (arXiv 2311.04897):
# what one state says of the tokens to come.
