"""What moved to `sae_nb_studies` is found where it was, and the tool brings none of it along."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import sae_nb as sn

STUDIES = ("lab", "minkowski", "uses", "vision")


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_found_where_it_was(study: str) -> None:
    """By `import`, by attribute and by a name at its module, and it is one module, not two."""
    now = import_module(f"sae_nb_studies.{study}")
    assert import_module(f"sae_nb.{study}") is now is getattr(sn, study)
    assert now.__spec__ is not None
    assert now.__spec__.name == f"sae_nb_studies.{study}"


def test_a_folder_that_was_left_behind_does_not_hide_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an update, `sae_nb/vision` may hold nothing but compiled files of before."""
    (tmp_path / "vision" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(sn, "__path__", [*sn.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "sae_nb.vision", raising=False)
    assert import_module("sae_nb.vision") is import_module("sae_nb_studies.vision")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("evaluation.dictionary._canonical.Stitching", "evaluation.Stitching"),
        ("studies.evaluation.dictionary._canonical.Stitching", "evaluation.Stitching"),
        ("studies.data.planted._trees.ConceptTree", "data.ConceptTree"),
        ("studies.circuits._graph.AttributionGraph", "circuits.AttributionGraph"),
        ("studies.uses._generation.Written", "generation.Written"),
        ("studies.evaluation.cross_model._model_diff.ModelDiff", "evaluation.ModelDiff"),
        ("architectures._poly.PolySAE", "PolySAE"),
        ("serving._shelf.Shelf", "serving.Shelf"),
    ],
)
def test_what_moved_is_found_for_old_pickles(before: str, now: str) -> None:
    """What was pickled by its private path of before opens as what is there today."""
    place, _, name = before.rpartition(".")
    opened = pickle.loads(f"csae_nb.{place}\n{name}\n.".encode())
    assert inspect.unwrap(opened) is inspect.unwrap(attrgetter(now)(sn))


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
