"""Names of `sae_nb_studies` are names of the tool too, which brings none of it along; older paths are answered."""

from __future__ import annotations

import json
import pickle
import runpy
import subprocess
import sys
from importlib import import_module

import pytest

import sae_nb as sn

STUDIES = ("lab", "minkowski", "uses", "vision")


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_a_name_of_the_tool(study: str) -> None:
    """It is one module, not two."""
    assert getattr(sn, study) is import_module(f"sae_nb_studies.{study}")


def test_an_older_path_says_what_to_do() -> None:
    """By `import`, by `python -m` and in a pickle; nothing is looked for elsewhere."""
    with pytest.raises(ModuleNotFoundError, match=r"'sae_nb.studies' in this version.*upgrade"):
        import_module("sae_nb.studies")
    with pytest.raises(ModuleNotFoundError, match=r"A pickle is opened by .*`\.save\(folder\)`"):
        pickle.loads(b"csae_nb.evaluation.dictionary._canonical\nStitching\n.")
    with pytest.raises(ImportError, match=r"'sae_nb.models.recipes' in this version"):
        runpy.run_module("sae_nb.models.recipes.tiny_gpt")
    with pytest.raises(ModuleNotFoundError, match="elsewhere"):
        import_module("sae_nb_elsewhere")


@pytest.mark.parametrize(
    "package",
    [
        "architectures",
        "circuits",
        "data",
        "dynamics",
        "evaluation",
        "geometry",
        "models",
        "steering",
        "temporal",
    ],
)
def test_a_study_goes_on_where_a_room_of_its_name_ends(package: str) -> None:
    """The package has the names of both, in `dir` too."""
    tool, study = getattr(sn, package), getattr(sn.studies, package)
    for name in study.__all__:
        assert getattr(tool, name) is getattr(study, name)
    assert set(study.__all__) < set(dir(tool))
    assert not set(study.__all__) & set(tool.__all__)


@pytest.mark.slow
def test_the_main_job_imports_no_study() -> None:
    """Load, capture, train, evaluate and steer bring no file of a study into memory."""
    code = (
        "import json, sys, sae_nb as sn\n"
        "model, images = sn.load_model('tiny-vit'), sn.data.scenes(16, seed=0).images\n"
        "acts = sn.capture(model, images, 'resid_post.6', progress=False)\n"
        "sae = sn.TopK(acts.d_in, 64, 8)\n"
        "sn.train(sae, acts, steps=3, progress=False)\n"
        "sn.evaluate(sae, acts)\n"
        "with sn.steer(model, 'resid_post.6', sae, atom=1, by=1.0): model(images)\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('sae_nb_studies.')]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
