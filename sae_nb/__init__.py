"""The public names of the toolkit, each imported from its room on first use.

Nothing heavy is imported here: `import sae_nb` touches neither torch, numba, nnsight nor umap, so it
costs milliseconds. A public function and a submodule never share a name, because the import system
would replace the one by the other.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.activations import Activations, concatenate, load_activations
    from sae_nb.architectures import (
        AbsTopK,
        Archetypal,
        BatchTopK,
        Gated,
        JumpReLU,
        MatchingPursuit,
        Matryoshka,
        OrthogonalMatchingPursuit,
        ReLU,
        SpaDE,
        SparseAutoencoder,
        Temporal,
        TopK,
    )
    from sae_nb.architectures.sparse_coding import sparse_code
    from sae_nb.capturing import capture
    from sae_nb.classical import fit_classical
    from sae_nb.codes import SparseCodes
    from sae_nb.diagnosis import doctor
    from sae_nb.evaluation.fit import check_fit
    from sae_nb.evaluation.report import evaluate
    from sae_nb.exercises.registry import exercise, exercise_report
    from sae_nb.hook_points import HookPoint, HookPointNotFound
    from sae_nb.models import LiveModel, load_model, wrap
    from sae_nb.pursuit import (
        gradient_pursuit,
        matching_pursuit,
        orthogonal_matching_pursuit,
    )
    from sae_nb.ready_made import ExampleStore, load_examples, load_sae, ready_made_names
    from sae_nb.sessions import open_session
    from sae_nb.steering import ablate, random_direction, splice, steer
    from sae_nb.steering_calibration import calibrate_strength
    from sae_nb.steering_effects import best_effect, dose_response
    from sae_nb.streaming import stream
    from sae_nb.summaries.contrast import contrast
    from sae_nb.summaries.input import top_atoms
    from sae_nb.sweeping import sweep
    from sae_nb.training import TrainConfig, TrainingRun, start_training, train
    from sae_nb.which import which_sae

_HOME = {
    "AbsTopK": "sae_nb.architectures",
    "Activations": "sae_nb.activations",
    "Archetypal": "sae_nb.architectures",
    "BatchTopK": "sae_nb.architectures",
    "ExampleStore": "sae_nb.ready_made",
    "Gated": "sae_nb.architectures",
    "HookPoint": "sae_nb.hook_points",
    "HookPointNotFound": "sae_nb.hook_points",
    "JumpReLU": "sae_nb.architectures",
    "LiveModel": "sae_nb.models",
    "MatchingPursuit": "sae_nb.architectures",
    "Matryoshka": "sae_nb.architectures",
    "OrthogonalMatchingPursuit": "sae_nb.architectures",
    "ReLU": "sae_nb.architectures",
    "SpaDE": "sae_nb.architectures",
    "SparseAutoencoder": "sae_nb.architectures",
    "SparseCodes": "sae_nb.codes",
    "Temporal": "sae_nb.architectures",
    "TopK": "sae_nb.architectures",
    "TrainConfig": "sae_nb.training",
    "TrainingRun": "sae_nb.training",
    "ablate": "sae_nb.steering",
    "best_effect": "sae_nb.steering_effects",
    "calibrate_strength": "sae_nb.steering_calibration",
    "capture": "sae_nb.capturing",
    "check_fit": "sae_nb.evaluation.fit",
    "concatenate": "sae_nb.activations",
    "contrast": "sae_nb.summaries.contrast",
    "doctor": "sae_nb.diagnosis",
    "dose_response": "sae_nb.steering_effects",
    "evaluate": "sae_nb.evaluation.report",
    "exercise": "sae_nb.exercises.registry",
    "exercise_report": "sae_nb.exercises.registry",
    "fit_classical": "sae_nb.classical",
    "gradient_pursuit": "sae_nb.pursuit",
    "load_activations": "sae_nb.activations",
    "load_examples": "sae_nb.ready_made",
    "load_model": "sae_nb.models",
    "load_sae": "sae_nb.ready_made",
    "matching_pursuit": "sae_nb.pursuit",
    "open_session": "sae_nb.sessions",
    "orthogonal_matching_pursuit": "sae_nb.pursuit",
    "random_direction": "sae_nb.steering",
    "ready_made_names": "sae_nb.ready_made",
    "sparse_code": "sae_nb.architectures.sparse_coding",
    "splice": "sae_nb.steering",
    "start_training": "sae_nb.training",
    "steer": "sae_nb.steering",
    "stream": "sae_nb.streaming",
    "sweep": "sae_nb.sweeping",
    "top_atoms": "sae_nb.summaries.input",
    "train": "sae_nb.training",
    "which_sae": "sae_nb.which",
    "wrap": "sae_nb.models",
}
_ROOMS = {
    "data",
    "dynamics",
    "evaluation",
    "geometry",
    "golden",
    "interop",
    "minkowski",
    "models",
    "pursuit",
    "ready_made",
    "summaries",
    "temporal",
    "training",
}

__all__ = [
    "AbsTopK",
    "Activations",
    "Archetypal",
    "BatchTopK",
    "ExampleStore",
    "Gated",
    "HookPoint",
    "HookPointNotFound",
    "JumpReLU",
    "LiveModel",
    "MatchingPursuit",
    "Matryoshka",
    "OrthogonalMatchingPursuit",
    "ReLU",
    "SpaDE",
    "SparseAutoencoder",
    "SparseCodes",
    "Temporal",
    "TopK",
    "TrainConfig",
    "TrainingRun",
    "ablate",
    "best_effect",
    "calibrate_strength",
    "capture",
    "check_fit",
    "concatenate",
    "contrast",
    "doctor",
    "dose_response",
    "evaluate",
    "exercise",
    "exercise_report",
    "fit_classical",
    "gradient_pursuit",
    "load_activations",
    "load_examples",
    "load_model",
    "load_sae",
    "matching_pursuit",
    "open_session",
    "orthogonal_matching_pursuit",
    "random_direction",
    "ready_made_names",
    "sparse_code",
    "splice",
    "start_training",
    "steer",
    "stream",
    "sweep",
    "top_atoms",
    "train",
    "which_sae",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("sae-nb")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"sae_nb.{name}")
    raise AttributeError(f"module 'sae_nb' has no attribute {name!r}. Public names: {__all__}.")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__"})
