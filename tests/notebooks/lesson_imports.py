"""All that lessons import, at once: for the process that their kernels are forked from."""

import importlib

import sae_nb_lessons
import sae_nb_widgets

import sae_nb

for name in (
    "ipykernel.kernelapp",
    "nnsight",
    "pandas",
    "plotly.graph_objects",
    "scipy.stats",
    "sklearn.decomposition",
    "torch._dynamo",
    "transformers.modeling_utils",
    "sae_nb_lessons.exercises",
):
    importlib.import_module(name)
for package in (sae_nb, sae_nb_widgets, sae_nb_lessons):
    for name in dir(package):
        getattr(package, name)  # loaded on first use
