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
# # Sharing what you found: with readers who have no Python
#
# [<kbd>open on Binder</kbd>](https://mybinder.org/v2/gh/sae-nb/sae_nb/main?urlpath=lab/tree/notebooks/24_sharing_what_you_found.ipynb) [<kbd>open in Colab</kbd>](https://colab.research.google.com/github/sae-nb/sae_nb/blob/main/notebooks/24_sharing_what_you_found.ipynb) [<kbd>read it executed</kbd>](https://sae-nb.github.io/sae_nb/lessons/24_sharing_what_you_found.html)
#
# You need 00; 35 minutes with the exercises, 15 seconds of computing. Afterwards you can test a label on images you
# did not pick, and give a site, labels and a recipe to readers with and without Python.

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

# %% [markdown]
# You looked at atoms, gave two of them a name, and want others to see it. First: is the name right? Then: a folder
# that any web server gives out, with every atom, your names, and what was measured of them. Last: what
# arrives at the other end. The model is `tiny-vit`, which is bundled.

# %%
import json
import shutil
from functools import partial
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread

# %%
import numpy as np
import pandas as pd
import torch
from safetensors import safe_open

import sae_nb as sn
import sae_nb_widgets as sw
from sae_nb_lessons import exercise, exercise_report
from sae_nb_lessons.figures import arms_figure
from sae_nb_lessons.studies import QuietPages
from sae_nb_widgets.panel import figure_widget

# %% [markdown]
# ## 1 · A name, and a note
#
# Atom 267 has no label. On four of its six strongest images is a 2, so one writes “digit 2”. Type it in the
# panel or set it here: it is on disk before the panel confirms it, in a file that belongs to this SAE and no
# other.

# %%
vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
examples = sn.load_examples("tiny-vit/resid_post.6")
folder = Path(mkdtemp())
notes = folder / "annotations.json"

# %%
browser = sw.AtomBrowser(
    sae, examples.acts, atom=267, labels=notes, catalogue=examples.catalogue(sae)
)
browser.label = "digit 2"
browser.note = "a 2 on four of the six strongest images"
browser

# %% [markdown]
# Move on with ‹ and ›, or by the band: maxima flatter every atom, so look at those around its median, too.

# %%
browser.band = "50 %"
print(browser.answer)
assert json.loads(notes.read_text())["atoms"]["267"]["label"] == "digit 2"

# %% [markdown]
# ## 2 · Is it so?
#
# A label is a claim: *here* the atom fires. So: 300 new images, which were not used for choosing; windows of
# which half hold a firing; how many does the label alone sort rightly? ½ by chance; the control is labels of
# other atoms on the same windows.

# %%
scenes = sn.data.scenes(300, seed=20, split="test")
acts = sn.capture(vit, scenes, "resid_post.6", progress=False)
known = {f"digit {digit}": (scenes.digit == digit).numpy() for digit in range(10)}
known |= {name: (scenes.texture == i).numpy() for i, name in enumerate(scenes.texture_names)}

# %%
ask = partial(sn.label, sae, attributes=known, atoms=[267, 308], n_examples=80, progress=False)
first = ask(acts, labels={267: "digit 2", 308: "digit 4"})
print(first.table[["label", "detection", "control", "windows"]])
print("atom 267:", first.evidence(267).standing)
assert first.evidence(267).standing == "fails", "on new images twos say nothing about atom 267"

# %% [markdown]
# Two of the twos are on diagonal stripes; the rest is waves and checks, which have slanting edges as well.
# The next try:

# %%
judged = ask(acts, labels={267: "diagonal", 308: "digit 4"})
print(judged.table[["label", "detection", "control", "windows"]])
browser.atom, browser.label = 267, "diagonal"
browser.note = "was “digit 2” first, from six images; on 300 others that failed"
assert judged.evidence(267).standing == "holds"
assert judged.evidence(267).detection > first.evidence(267).detection + 0.2

# %% [markdown]
# Is that bad luck? 45 atoms of this SAE have no label, and of their six strongest images at least four show
# one digit.

# %%
exercise("24.1")

# %% tags=["exercise"]
guess = ...
exercise("24.1").predict(guess)

# %% tags=["exercise"]
exercise("24.1").reveal()

# %% [markdown]
# How much is enough? A label holds where it beats control and chance by two standard errors.

# %%
exercise("24.2")


# %% tags=["exercise"]
def least_that_holds(control, n):
    return ...


exercise("24.2").check(least_that_holds)

# %% [markdown]
# ## 3 · And what does it do?
#
# Where an atom fires is one question, what happens when it is added is another. Atom 308, “digit 4”, did
# poorly above: it fires weakly on many images that are not a 4. Both atoms are added, equally much, and so
# are random directions. On how many of 100 images does the model then see a 4, or diagonal stripes?

# %%
length, images = 3 * float(examples.p99[308]), scenes.images[:100]
random = torch.randn(4, sae.d_in, generator=torch.Generator().manual_seed(0))
directions = {"atom 267": sae.dictionary[267], "atom 308": sae.dictionary[308]}
directions |= {f"random {i}": random[i] / random[i].norm() for i in range(4)}

# %%
heads = {"nothing": vit.heads(images)}
for name, direction in directions.items():
    with sn.steer(vit, "resid_post.6", direction=direction, by=length):
        heads[name] = vit.heads(images)
four = {name: float((z["digit"].argmax(-1) == 4).float().mean()) for name, z in heads.items()}
stripes = {name: float((z["texture"].argmax(-1) == 2).float().mean()) for name, z in heads.items()}
does = pd.DataFrame({"a 4": four, "diagonal": stripes})
fours = {name: np.array([share]) for name, share in four.items()}
figure_widget(arms_figure(fours, floor=four["nothing"], x_title="read as a 4"), height=260)

# %% [markdown]
# So 267 detects where stripes are, and adding it makes none; random directions of that length do, now and
# then, which would have looked like a finding. 308 is a poor detector of fours, and makes them. Both belong
# into the notes: readers take a name for more than was measured.

# %%
by_chance = does["a 4"].filter(like="random").max()
browser.note += (
    f"; added, stripes on {stripes['atom 267']:.0%} of images (before {stripes['nothing']:.0%})"
)
browser.atom, browser.label = 308, "digit 4"
browser.note = f"added, a 4 on {four['atom 308']:.0%} of images (random: at most {by_chance:.0%})"
assert four["atom 308"] > by_chance + 0.3
assert abs(stripes["atom 267"] - stripes["nothing"]) < 0.1

# %%
exercise("24.3")

# %% tags=["exercise"]
explanation = ...
exercise("24.3").write(explanation)

# %% tags=["exercise"]
points = ...
exercise("24.3").score(points)

# %% [markdown]
# ## 4 · The site
#
# A folder of plain files: a card for every atom, search, a map, a link to each. A panel opened after
# `sn.label` knows the evidence, and the site shows what the panel knows. With `live=True` in place of False,
# and the extra `site`, the page also runs the model by itself: draw a digit, move the slider (ten seconds
# more, and 17 MB).

# %%
mine = sw.AtomBrowser(sae, examples.acts, atom=267, labels=notes, catalogue=examples.catalogue(sae))
site = sn.site.write_site(
    folder / "found" / "atoms", sae, examples=examples, model=vit, labels=mine.labels,
    title="Two atoms of tiny-vit, and 510 others", live=False,
)  # fmt: skip

# %% [markdown]
# A reader on a phone waits for the first card and no longer; the other atoms come when they are opened.

# %%
print(f"before the first atom is there: {site.first_paint / 1e3:.0f} kB")
print(f"the largest atom:               {site.largest_chunk / 1e3:.0f} kB")
print(f"everything:                     {site.n_bytes / 1e6:.1f} MB in {site.n_files} files")
assert site.first_paint <= 300_000
assert site.largest_chunk <= 30_000

# %% [markdown]
# Look at it. On your own machine `python -m http.server --directory …` does what these lines do; the link
# opens atom 267, and is what you put into a message. (On Binder and Colab, download the folder: the page
# opens from a disk, too.)

# %%
handler = partial(QuietPages, directory=str(site.folder))
server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}/index.html#atom=267")

# %% [markdown]
# ## 5 · What does the reader receive?
#
# A browser asks for the card of an atom when it is opened. It is one line: a call, with the atom's number and
# its data as JSON.

# %%
line = HTTPConnection("127.0.0.1", server.server_port)
line.request("GET", "/atoms/267.js")
chunk = line.getresponse().read().decode()
print(chunk[:160], "…")

# %%
exercise("24.4")


# %% tags=["exercise"]
def strongest(chunk):
    return ...


exercise("24.4").check(strongest)

# %% [markdown]
# Does the page show what Python computes, for every atom? The rates, the strongest firings, and the words:

# %%
texts = [(site.folder / "atoms" / f"{atom}.js").read_text("utf-8") for atom in range(site.n_atoms)]
cards = [json.loads(text[text.index(",") + 1 : text.rindex(")")]) for text in texts]
catalogue = mine.catalogue
np.testing.assert_allclose([card["frequency"] for card in cards], catalogue.frequency, rtol=1e-6)
np.testing.assert_allclose([card["max"] for card in cards], catalogue.max_strength, rtol=1e-6)
for atom in (267, 308):
    print(f"{cards[atom]['words']} · {cards[atom]['badge'][0]} · {cards[atom]['note']}")

# %%
assert json.loads(chunk[chunk.index(",") + 1 : chunk.rindex(")")]) == cards[267]
assert cards[267]["words"] == "diagonal", "the name that held"
assert cards[267]["badge"][2] == "holds", "and what was measured of it stands beside"
assert "random" in cards[308]["note"]
server.shutdown()

# %% [markdown]
# No other address is contacted: the page forbids itself every other one.

# %%
policy = (site.folder / "index.html").read_text("utf-8").split("Content-Security-Policy")[1]
print(policy.split(">")[0])
assert "default-src 'none'" in policy

# %% [markdown]
# ## 6 · For readers who have Python
#
# They want to continue from your names, and to try what you did. Labels travel as a table, the steering as a
# file of vectors (notebook 23 explains its content); both lie next to the site, in one archive. A model of
# language also has `sn.interop.write_neuronpedia`, for Neuronpedia's import.

# %%
judged.table.to_csv(folder / "found" / "labels.csv")
with sn.steer(vit, "resid_post.6", sae, atom=308, by=length) as steering:
    steering.recipe.to_vectors(folder / "found" / "atom-308.safetensors")
    here = vit(images)
archive = Path(shutil.make_archive(str(folder / "found"), "zip", folder / "found"))
print(f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# The other side: another person, the same SAE by its name, images of their own. Do your names hold for them,
# too?

# %%
shutil.unpack_archive(archive, folder / "theirs")
theirs = sn.labels(folder / "theirs" / "labels.csv", sae)
new = sn.data.scenes(300, seed=21, split="test")
textures = {name: (new.texture == i).numpy() for i, name in enumerate(new.texture_names)}
their_acts = sn.capture(vit, new, "resid_post.6", progress=False)

# %%
again = sn.label(
    sae, their_acts, labels={267: theirs[267]}, attributes=textures, atoms=[267], n_examples=80,
    file=folder / "theirs" / "judged.json", progress=False,
)  # fmt: skip
print(again.table[["label", "detection", "windows"]])
with safe_open(folder / "theirs" / "atom-308.safetensors", "pt") as file:
    about = json.loads(file.metadata()["steering"])["vectors"]["resid_post.6"]
    vector = file.get_tensor("resid_post.6")

# %%
with sn.steer(vit, "resid_post.6", direction=vector, by=about["constant"]):
    there = vit(images)
print(f"largest difference of logits: {(there - here).abs().max():.1e}")

# %% [markdown]
# ## 7 · The checked numbers

# %%
assert again.evidence(267).detection > 0.75, "on images of other people, too"
assert torch.allclose(there, here, atol=1e-4), "the same edit, without the SAE"
assert (folder / "theirs" / "atoms" / "index.html").is_file()
numbers = pd.DataFrame({"first name": first.table.detection, "second": judged.table.detection})
numbers.round(2)

# %%
exercise_report("24")

# %% [markdown]
# **To read.** *Model Cards for Model Reporting* (arXiv 1810.03993): what to write down about a model that others use;
# *Datasheets for Datasets* (arXiv 1803.09010): the same for data; *Gemma Scope: Open Sparse Autoencoders Everywhere
# All At Once on Gemma 2* (arXiv 2408.05147): how a large set of SAEs was handed on.
