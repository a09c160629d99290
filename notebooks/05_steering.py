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
# # Steering: does adding an atom do what it represents?
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/05_steering.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/05_steering.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/05_steering.html)
#
# You need 00; 40 minutes with the exercises, 25 seconds of computing (40 with SmolLM2). Afterwards you can compare perturbations at
# equal cost, hold an atom against directions that learned nothing, and distinguish reading from writing.
#
# An atom fires on fours. Add it to the activations of a seven, and the model answers four. Is that *the
# atom's* doing? Any direction, added strongly enough, breaks something. And an atom that was **chosen** from many
# because it reads a concept best points towards that concept even if nothing was ever learned.
#
# So this notebook compares the atom with four rivals at **equal cost**,
# [KL](../docs/glossary.md#words-of-the-field)(clean‖steered) in nats: random directions,
# the nearest other atom, the difference of means, and the atom that the same choice finds in an SAE that was **never
# trained**. One short run is made here; five full ones, a seed each, were recorded. Section 6 uses SmolLM2-135M if you
# have fetched it (`sae-nb get smollm2-135m`), and `tiny-gpt` otherwise.

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
from sae_nb_lessons import exercise, exercise_report, figures, language_model, recorded
from sae_nb_studies.reproductions.experiments import steering_science as science
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · The same cost
#
# The model reads a 7. In the panel, strength is measured in multiples of the atom's own 99th percentile. *match effect
# size* finds the strength that moves the answer by a given number of nats. The control, in grey, are random directions of
# the same length.

# %%
vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
examples = sn.load_examples("tiny-vit/resid_post.6")
images = examples.acts.context.pictures
sevens = images[vit(images).argmax(dim=-1) == 7]
four, catalogue = examples.match("digit 4").atom, examples.catalogue(sae)
steering = sw.SteeringPanel(vit, sae.hook_point, sae, sevens[:4], catalogue, atom=four)
steering.wait()
steering.dose_response()
steering

# %%
exercise("05.1")

# %% tags=["exercise"]
strength = ...
exercise("05.1").check(strength)

# %% [markdown]
# Set the slider to 2: the model answers 4. Is that so special? Predict before you look.

# %%
exercise("05.2")

# %% tags=["exercise"]
share = ...
exercise("05.2").predict(share)

# %% tags=["exercise"]
exercise("05.2").reveal()

# %% [markdown]
# None of them does. But at the same length they also cost less: the panel's overall shift (KL) is far larger for the atom.
# A direction that hardly moves the answer is no rival, so sections 2 and 3 compare directions at equal cost (4 and 6 do so
# at equal length, which is easier to beat). Without a panel, for an SAE that is trained here: how much of an atom does it
# take to move the answer by a quarter of a nat?

# %%
seen = science.see_digits(seed=0, pictures=120, steps=120)
test = sn.data.scenes(90, seed=31, split="test")
others = test.images[torch.as_tensor(test.digit) != 4][:8]
fours = test.images[torch.as_tensor(test.digit) == 4][:8]
atom, auc = science.reading_atom(seen, seen.sae, 4)
quarter = sn.calibrate_strength(seen.model, seen.point, seen.sae, others, atom, 0.25)
print(f"atom {atom} tells fours from others (AUC {auc:.2f}); {quarter.by[0]:.0f} times its unit")
print(f"direction costs {quarter.kl:.2f} nats")

# %%
exercise("05.3")

# %% tags=["exercise"]
kl = ...
exercise("05.3").check(kl)

# %% [markdown]
# ## 2 · Success against cost
#
# The figure shows how the [log-odds](../docs/glossary.md#words-of-the-field) of a four, log p / (1 − p), change on eight
# images of other digits, for the atom and its rivals, four random directions among them. At the same place on the
# horizontal axis, all lines cost the same.

# %%
curves = science.curves_of(seen, seen.sae, atom, 4, others, controls=4)
figure_widget(figures.success_figure(curves), height=320)

# %%
success = curves["success"]
print(f"in the mean over the four costs the {curves.measure} moves by {success.value:.1f}")
print(f"(95 %: {success.interval[0]:.1f} to {success.interval[1]:.1f}),")
print(f"with four random directions (their 95th percentile) by {success.control:.1f}")

# %% [markdown]
# The difference of means comes next to the atom, then the choice of the untrained SAE. The nearest other atom does less
# than half as much as the atom. That is one digit of one short run. Here are the five recorded seeds, with four digits
# each and a fresh SAE for every seed. *Random, 95 %* is the 95th percentile of six random directions.

# %%
science_runs = recorded("steering_science")
pushes = {
    "digits: Δ log-odds by an atom": "digits, success",
    "control: random, 95 %": "digits, random 95 %",
    "nearest other atom": "digits, nearest atom",
    "difference of means": "digits, difference of means",
    "units of the atom for ¼ nat": "digits, strength at 0.25",
    "units of a random direction": "digits, random at 0.25",
}
science_runs.brief(pushes)

# %% [markdown]
# It takes about one and a half times as much of a random direction to cost as much. The nearest other atom, which did
# little above, goes beyond random directions here: an effect need not be one atom's alone.

# %%
exercise("05.4")

# %% tags=["exercise"]
guess = ...
exercise("05.4").predict(guess)

# %% tags=["exercise"]
exercise("05.4").reveal()

# %%
pushes = {
    "digits: Δ log-odds by an atom": "digits, success",
    "floor: an untrained SAE's choice": "digits, untrained",
    "share of cases beyond random": "digits, beyond random",
    "share beyond the untrained SAE's": "digits, beyond untrained",
}
science_runs.brief(pushes)

# %% [markdown]
# In .95 of the cases the atom beats random directions: its mean is above their 95th percentile. Many would stop here.
# **But the atom that the same choice finds in an untrained SAE (2.2) is beyond that percentile (1.8), too.** The trained one
# is ahead of it in all five seeds, by .36 in the mean, and clearly (its whole 95 % interval) in .20 of the cases. Without
# this floor we should have credited training with all of it.
#
# ## 3 · Reading is not writing
#
# Now `tiny-gpt`, and stories that take a good or a bad turn. The atom that reads bad stories best is added to beginnings
# such as "… Anna was very"; the target is the next word, *sad*. Fluency has two sides, both in nats per token, where more
# is worse: how unlikely the unsteered model finds what is *written*, and how badly the steered model predicts neutral text
# that it *reads*.

# %%
stories = science.see_stories(seed=0, texts=80, steps=80)
text = science.sentiment_curves(stories, 0, 6, 3, 0, write=10)
figure_widget(figures.success_figure(text), height=300)

# %%
figure_widget(figures.fluency_figure(text), height=300)

# %%
pushes = {
    "AUC of reading": "sentiments, AUC of reading",
    "sentiments: Δ log-odds by an atom": "sentiments, success",
    "floor: an untrained SAE's choice": "sentiments, untrained",
    "control: random, 95 %": "sentiments, random 95 %",
    "difference of means": "sentiments, difference of means",
    "share of cases beyond random": "sentiments, beyond random",
}
science_runs.brief(pushes)

# %%
fluency = {
    "nats written at KL 0.5": "sentiments, nats written",
    "floor: clean": "sentiments, nats written, clean",
    "control: a random direction": "sentiments, nats written, random",
}
science_runs.brief(fluency)

# %% [markdown]
# In the short run above, the atom that reads bad stories makes *sad* less likely, and so do the untrained SAE's choice and most
# of the random directions. The full runs are no surer: over five seeds and both sentiments, atoms that read nearly without
# error have a mean (.56) below the random 95th percentile (.67), and it spreads from seed to seed by more than its size. The
# difference of means, which needs no SAE, goes further here; for digits it does not. What is written seems to suffer
# (1.34 ± 1.0, clean .48: not sure over five seeds), less than from a random direction at the same cost (4.03). What is read
# hardly suffers in the short run: its line for the atom is flat.
#
# ## 4 · How fragile is the explanation?
#
# Here is the perturbation of section 2 with the image shifted, noisy, darker or grey, with the atom added at the class
# token alone or at the patches alone, and with half and twice the strength. It *holds* on an image where it goes beyond
# the 95th percentile of four random directions of the same length.

# %%
by = float(curves.arms["atom"].strengths[2])
settings = {"other_positions": ["cls", "patches"], "n_controls": 4}
battery = sn.evaluation.fragility_battery(
    seen.model, seen.point, seen.sae, others, atom, by, 4, **settings
)
figure_widget(figures.fragility_figure(battery), height=330)

# %%
print(f"holds in {battery['robustness'].value:.0%} of {battery.effects.size} cells;")
print(f"the sign flips in {battery['sign flips'].value:.0%}")
battery.table[["effect", "random 95 %", "holds"]].round(2)

# %% [markdown]
# Changing the image does little to the effect. Adding the atom at the class token alone gives nearly all of it, at the
# patches alone next to nothing, and half the strength less than a third.

# %% [markdown]
# ## 5 · Or is it an illusion?
#
# Patching gives one image the part along a direction that another image has there; it is the subject of 07. It can make
# an effect out of two parts that have none: one that varies but is not read, and one that is read but never varies. So
# the direction is cut in two, into what the rest of the model *reads* there and what it does not, and each part is patched
# alone. If one matrix reads, its rows span what is read; 05.5 asks for that. For a whole model the check takes its
# Jacobian, the slopes of its outputs, and of it the leading directions with 99 % of its energy.

# %%
exercise("05.5")


# %% tags=["exercise"]
def read_share(v, reader):
    return ...


exercise("05.5").check(read_share)

# %%
check = sn.evaluation.illusion_check(
    seen.model, seen.point, seen.sae, atom, others[: len(fours)], fours[: len(others)]
)
figure_widget(figures.illusion_figure([check], ["atom of fours"]), height=280)

# %%
read, d_in = check.space.rank, seen.sae.d_in
print(f"{read} of {d_in} directions are read: {read / d_in:.0%} of a random one")
print(f"{check.light}: {check.verdict}")

# %% [markdown]
# The atom is read to 91 %, a random direction to 81 %, and patching the atom's unread part does nothing: no sign of an
# illusion, by a weak test. The last bar patches along the atom's part in the eight leading principal components, along
# which activations vary most. It brings three times as much as the atom, so the atom is not the best direction.
#
# How much does an answer depend on each atom? Gradient × activation is an estimate; taking each atom out is the exact
# number. Do both rank atoms alike? The error of the SAE counts as one more atom.

# %%
fidelity = sn.evaluation.attribution_fidelity(seen.model, seen.point, seen.sae, fours[:3])
agreement = fidelity["agreement"]
print(
    f"rank agreement with taking atoms out {agreement.value:.2f} (chance {agreement.control:.2f});"
)
print(f"the SAE's error carries {fidelity.error_share:.0%}")

# %%
parts = {
    "patched along the atom": "illusion, v",
    "along the part that is read": "illusion, v_row",
    "control: random, 95 %": "illusion, random",
    "rank agreement with taking out": "attribution agreement",
    "floor: random order": "attribution agreement, chance",
}
science_runs.brief(parts)

# %% [markdown]
# Over five seeds, too, the part that is read keeps the effect. But the effect is small: a tenth of the difference between
# a digit and another, while patching everything gives all of it. One atom is not *the* four. And the estimate ranks
# atoms nearly as taking them out does.
#
# Here is the short run on one card. *Specificity* is success per nat, *effect spread* the deviation over the variants of
# section 4 as a share of the mean. The floor of *success* is the untrained SAE's choice: the atom is beyond it for this
# digit, and not for *sad*. Digits and text are two tasks, so which of them is “best” says nothing.

# %%
card = sw.ReportCard([{**curves, **battery}, {**text}], ["digits", "text"])
card

# %% [markdown]
# ## 6 · Does it write what it is named for?
#
# Now for a model that writes. Sixteen beginnings are continued three ways: as they are, with one named atom added, and
# with two random directions of the same size added. What share of the texts contains a word that belongs to the name? The
# words, printed below, were chosen by hand for these texts. The table shows two of the sixteen.

# %%
lm = language_model()
print(lm)
print("words counted:", ", ".join(lm.plan.words))
counted = lm.count()
counted.style.format({"share": "{:.0%}"})

# %%
texts = counted.share
print(f"“{lm.concept}”: {texts['as it is']:.0%} → {texts['turned up']:.0%};")
print(f"random directions: at most {texts.iloc[2:].max():.0%}")

# %% [markdown]
# With this atom such words are far more frequent, and with random directions they are not. It was chosen because it is a
# clear case; section 3 shows some that are less clear. A count of words sees neither grammar nor sense, so read. The first
# text of `tiny-gpt`, turned towards a bad story, is the one of sixteen without such a word, and it is cheerful.
#
# ## 7 · The checked numbers

# %%
# Beyond random directions on nearly every digit; beyond an untrained SAE's choice on few.
assert science_runs.of("digits, beyond random").mean > 0.9
assert science_runs.low("digits, success") > 1
assert science_runs.of("digits, beyond untrained").mean < 0.75
assert (science_runs.seeds("digits, success") > science_runs.seeds("digits, untrained")).all()
assert science_runs.low("digits, untrained") > 1
assert science_runs.of("digits, nearest atom").mean > science_runs.of("digits, random 95 %").mean
assert science_runs.low("digits, random at 0.25") > science_runs.high("digits, strength at 0.25")
assert science_runs.verdict("atoms steer") == "partly"
assert science_runs.verdict("training helps to steer") != "holds"

# %%
# Reading is near perfect, writing is not sure; effects spread; no illusions.
assert science_runs.low("sentiments, AUC of reading") > 0.9
assert science_runs.of("sentiments, success").sd > 0.2
assert science_runs.low("digits, effect spread") > 0.3
assert science_runs.low("illusion, not red") == 1
assert science_runs.high("illusion, v_null") < 0.05
assert science_runs.low("attribution faithfulness") > 0.9

# %%
# The short seed that ran here.
assert curves["success"].value > 2 * curves.arms["nearest atom"].area.mean()
assert text["success"].value < 0, "the wrong way"
assert abs(curves.arms["atom"].kl[-1] - 0.5) < 0.03
assert check.light != "red"
assert abs(check["v_null"].value) < 0.05
assert check["pca"].value > 2 * check["v"].value
assert check.read_share > read / d_in
assert texts["turned up"] > texts.drop("turned up").max() + 0.2

# %%
exercise_report("05")

# %% [markdown]
# **To read.** *Steering Language Models with Activation Engineering* (arXiv 2308.10248): a vector added from two
# texts; *Steering Llama 2 via Contrastive Activation Addition* (arXiv 2312.06681): difference of means, this lesson's
# strongest rival; *AxBench* (arXiv 2501.17148): steering by SAEs next to simple baselines.
