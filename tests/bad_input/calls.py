"""Every public callable with arguments that are right: what a wrong value is put into, one at a time.

The example in its docstring calls it (`examples`). `RECIPES` has what has no example, or a slow one; of the rest
required arguments are taken from `Kit` by their name. What cannot be called so fails the test.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_origin

import numpy as np
import torch
from examples import anew, first_call, has_example
from torch import nn
from values import Maker, wrong_values

import sae_nb as sn
from sae_nb.checks import Rule, rules_of

TOOLS = {f"sae_nb.{room}" for room in ("checks", "figures", "files", "findings", "statistics")}
"""Rooms whose door is for other rooms: what checks, draws, computes intervals and writes files."""

D_IN, N_ATOMS, ROWS, CLASSES = 8, 16, 60, 3


def _draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _mosaic() -> Any:
    return sn.lab.PatchMosaic(3, n_steps=2).fit(_draws(2, 1, 5, 5))


_SHAPES = torch.eye(6, dtype=torch.bool).expand(2, 6, 6).clone()
_LABELS = torch.tensor([0, 1])


def _denoiser() -> Any:
    return sn.lab.LocalDenoiser(3, width=2).fit(_draws(2, 1, 5, 5), steps=1)


def _waves() -> Any:
    settings = sn.lab.WaveNetwork(2, channels=1, n_steps=2)
    return settings.fit(_SHAPES, _LABELS, steps=1, batch_size=2)


def _verified() -> Any:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    return sn.vision.verified_attribution(network, _draws(2, 1, 4, 4), limits=None, grid=(2, 2))


class Kit:
    """Valid values by the name of the argument; what a call may change is made anew."""

    d_in, n_atoms, k, n, seed, atom, layer, by, size = D_IN, N_ATOMS, 2, 5, 0, 1, 1, 1.0, 0.1
    fraction, target_kl, width, n_features, n_hidden, sparsity = 0.5, 0.1, D_IN, 5, 2, 0.9
    n_samples, n_families, family_size, n_archetypes, n_nearest = 12, 3, 4, 3, 2
    n_candidates, delta, n_places, home, most, position = 20, 1.0, 4, 2, 4, 4
    hook_point, hook_points, formula, definition = "0", "0", "overcomplete.r2_score", "fvu_pooled"
    cuts, tile_sizes, lags, windows, grid, atoms = (0, 1, 3), (3,), [1, 2], [2], (2, 2), [0, 1]
    sparsities, strengths, method, target, refusal = [0.9], [1.0, 2.0], "PCA", 1, "busy"
    steps, batch_size = 3, 4

    @cached_property
    def x(self) -> torch.Tensor:
        return _draws(ROWS, D_IN)

    many = cached_property(lambda self: _draws(600, D_IN, seed=2))
    inputs = cached_property(lambda self: _draws(4, D_IN, seed=1))
    source = cached_property(lambda self: -self.inputs)
    dictionary = cached_property(lambda self: nn.functional.normalize(_draws(N_ATOMS, D_IN), dim=1))
    other = cached_property(lambda self: self.dictionary.roll(1, dims=0))
    mean = cached_property(lambda self: torch.zeros(D_IN))
    bias = cached_property(lambda self: torch.zeros(D_IN))
    states = cached_property(lambda self: _draws(10, 4, 3, D_IN))
    sequences = cached_property(lambda self: _draws(6, 12, D_IN))
    on = cached_property(lambda self: torch.arange(ROWS) % 2 == 0)
    place = cached_property(lambda self: torch.arange(ROWS) % 4)
    labels = cached_property(lambda self: torch.arange(10) % 2)
    acts = cached_property(lambda self: sn.capture(self.model, self.x, "0", progress=False))
    data = cached_property(lambda self: self.acts)

    @cached_property
    def model(self) -> Any:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Identity(), nn.Linear(D_IN, CLASSES, bias=False))
        return sn.wrap(layers, class_names=["a", "b", "c"])

    gpt = cached_property(lambda self: sn.load_model("tiny-gpt"))
    vit = cached_property(lambda self: sn.load_model("tiny-vit"))
    texts = cached_property(lambda self: ["The cat sat in the garden.", "Tom walked home."])
    pictures = cached_property(lambda self: sn.data.scenes(2).images)
    merging = cached_property(lambda self: sn.evaluation.merge(self.sae, self.x, n_random=1))
    heads = cached_property(
        lambda self: sn.vision.concept_bottleneck(
            self.vit, sn.data.scenes(12).images, {"even": torch.arange(12) % 2}, "resid_post.2"
        )
    )
    maps = cached_property(lambda self: sn.vision.attribution(self.vit, self.pictures, "gradient"))

    @property
    def sae(self) -> sn.TopK:
        return sn.TopK(D_IN, N_ATOMS, 2, generator=torch.Generator().manual_seed(0)).eval()

    @cached_property
    def graph(self) -> sn.circuits.AttributionGraph:
        saes = {"resid_post.1": self.gpt_sae}
        return sn.circuits.attribution_graph(self.gpt, saes, self.texts[0], max_nodes=0)

    @cached_property
    def doable(self) -> sn.circuits.Task:
        """A task of answers that the model gives."""
        tops = [int(self.gpt(text)[0, -1].argmax()) for text in self.texts * 2]
        return sn.circuits.Task(inputs=self.texts * 2, answers=tops)

    @cached_property
    def circuit(self) -> Any:
        made = _panel("CircuitPanel")(self.graph)
        made.group([2], "two")
        return made

    @property
    def gpt_sae(self) -> sn.TopK:
        width = self.gpt.width("resid_post.1")
        return sn.TopK(width, N_ATOMS, 2, generator=torch.Generator().manual_seed(0)).eval()

    @property
    def vit_sae(self) -> sn.TopK:
        return sn.TopK(64, N_ATOMS, 2, generator=torch.Generator().manual_seed(0)).eval()

    @property
    def temporal(self) -> sn.Temporal:
        return sn.Temporal(D_IN, N_ATOMS, 2, generator=torch.Generator().manual_seed(0)).eval()

    gpt_acts = cached_property(
        lambda self: sn.capture(self.gpt, self.texts, "resid_post.1", progress=False)
    )
    vit_acts = cached_property(
        lambda self: sn.capture(self.vit, self.pictures, "resid_post.6", progress=False)
    )
    lens = cached_property(lambda self: sn.fit_lens(self.gpt, self.texts, "logit", progress=False))
    docs = cached_property(
        lambda self: sn.uses.documents(self.model, self.sae, self.x, "0", progress=False)
    )
    rise = cached_property(
        lambda self: sn.uses.rise(
            self.gpt, self.gpt_sae, ["A cat. It sat. It ran."], "resid_post.1", {"sat": "sat"}
        )
    )
    bench_tasks = cached_property(
        lambda self: sn.uses.BenchTasks(
            inputs=self.many[:48], labels={"third": torch.arange(48) % 3}
        )
    )
    long_texts = cached_property(lambda self: [" ".join(self.texts) * n for n in (6, 7, 8)])
    gpt_docs = cached_property(
        lambda self: sn.uses.documents(
            self.gpt, self.gpt_sae, self.long_texts, "resid_post.1", progress=False
        )
    )
    codes = cached_property(lambda self: self.sae.encode(self.x))
    truth = cached_property(lambda self: self.sae.encode(self.x + 0.1))

    @property
    def folder(self) -> Path:
        return Path("new_folder")

    path = cached_property(lambda self: self.folder)
    saved = cached_property(lambda self: self._saved("sae", self.sae))

    def _saved(self, name: str, thing: Any) -> Path:
        """Where `thing` lies saved: next to the folder of the calls, so that none of them alters it."""
        folder = Path.cwd().parent / "kept" / name
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            thing.save(folder)
        return folder

    def read_only(self, name: str, thing: Any) -> Path:
        """As saved, by a name for its maker."""
        return self._saved(name, thing)

    @property
    def config(self) -> Any:
        return sn.TrainConfig(steps=3, batch_size=32)

    sizes = cached_property(lambda self: sn.dynamics.BlockSizes(d_model=D_IN, n_heads=2, hidden=16))

    @property
    def raptor(self) -> Any:
        return sn.dynamics.Raptor(self.sizes, (0, 1, 3))

    @property
    def raptor_config(self) -> Any:
        return sn.dynamics.RaptorConfig(steps=4, batch_size=2)

    hidden_rules = cached_property(lambda self: sn.data.hidden_rules(12))
    toy = cached_property(lambda self: sn.models.train_bottlenecks([0.9], steps=3, n_restarts=1)[0])
    hull = cached_property(lambda self: sn.minkowski.hull_of_rows(self.x, 3, n_steps=3))
    operator = cached_property(lambda self: sn.architectures.FixedOperator(self.dictionary))
    prox = cached_property(lambda self: sn.architectures.SoftProx(1.0))
    report = cached_property(lambda self: sn.evaluate(self.sae, self.x, n_bootstrap=5))
    planted = cached_property(lambda self: sn.data.planted_manifolds(ROWS))
    examples = cached_property(lambda self: sn.load_examples("tiny-gpt/resid_post.3"))
    catalogue = cached_property(lambda self: sn.atoms.AtomCatalogue(self.sae, self.acts))
    session = cached_property(lambda self: self._session())
    settings = cached_property(lambda self: sn.geometry.LayoutSettings(n_neighbours=5, n_epochs=5))

    def _session(self) -> Path:
        from sae_nb.sessions import save_session

        folder = Path.cwd().parent / "kept" / "session"
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            save_session(folder, self.vit_sae, panels={}, atom=3)
        return folder


SMALL: dict[str, Any] = {
    "progress": False,
    "n_bootstrap": 5,
    "n_controls": 2,
    "n_permutations": 20,
    "n_shuffles": 2,
    "n_nulls": 2,
    "n_restarts": 1,
    "n_starts": 1,
    "draws": 5,
    "n_checked": 2,
    "n_draws": 2,
    "n_splits": 2,
}
"""Optional arguments that only cost time."""

Make = Callable[[Kit], dict[str, Any]]


def _sae_made(**more: Any) -> Make:
    return lambda kit: {"d_in": D_IN, "n_atoms": N_ATOMS, **more}


def _on(**names: str) -> Make:
    """Arguments by the attribute of the kit that they are."""
    return lambda kit: {argument: getattr(kit, name) for argument, name in names.items()}


def _sequences(**more: Any) -> Make:
    return lambda kit: {"x": kit.sequences, **more}


def _signatures(kit: Kit) -> Any:
    """Distances of four artists of one image each."""
    images = sn.data.scenes(4).images
    return sn.lab.Signatures(kit.vit, "embed", n_generators=1).fit(images, [0, 1, 2, 3])


def _jacobian_lens(kit: Kit) -> Any:
    """A Jacobian lens of one layer."""
    return sn.fit_lens(kit.gpt, kit.texts[:1], layers=[2], progress=False)


def _lens_file(kit: Kit) -> Path:
    """Where one lies in the published form."""
    path = _kept("published") / "tiny-gpt_jacobian_lens.pt"
    if not path.exists():
        sn.interop.write_jacobian_lens(_jacobian_lens(kit), path)
    return path


def _written(name: str) -> Make:
    def make(kit: Kit) -> dict[str, Any]:
        folder = Path.cwd().parent / "kept" / name
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            getattr(sn.interop, f"write_{name}")(kit.sae, folder)
        return {"folder": folder}

    return make


RECIPES: dict[str, Make] = {
    "architectures.LearnedAdjoint": lambda kit: {
        "operator": sn.architectures.DenseOperator(D_IN, N_ATOMS)},
    "architectures.ista_step": lambda kit: {
        "x": kit.x, "adjoint": sn.architectures.LearnedAdjoint(sn.architectures.DenseOperator(D_IN, N_ATOMS)),
        "prox": kit.prox, "centre": kit.bias, "scale": torch.tensor(1.0)},
    "circuits.load_graph": lambda kit: {"folder": kit.read_only("graph", kit.graph)},
    "circuits.predict_decisions": lambda kit: {
        "model": sn.load_model("tiny-gpt"), "labelled": kit.hidden_rules[:6], "held_out": kit.hidden_rules[6:],
        "n_pairs": 4, "n_draws": 1},
    "circuits.dissociate": lambda kit: {
        "model": kit.gpt, "task_a": kit.doable, "task_b": kit.doable, "n_random": 1, "n_bootstrap": 20},
    "data.cifar10": lambda kit: {"folder": _kept("cifar10")},
    "data.Paper": lambda kit: {},
    "dynamics.BlockSizes": lambda kit: {"d_model": 8, "n_heads": 2, "hidden": 16},
    "dynamics.raptor_accuracy": lambda kit: {
        "raptor": sn.dynamics.Raptor.from_model(kit.vit, (0, 4, 12)), "model": kit.vit,
        "inputs": kit.pictures, "labels": torch.tensor([1, 2])},
    "dynamics.sizes_of": _on(model="vit"),
    "dynamics.answer_path": _on(model="vit", inputs="pictures"),
    "dynamics.segment_errors": lambda kit: {
        "states": kit.states, "sizes": kit.sizes, "config": kit.raptor_config},
    "evaluation.RandomDictionary": _sae_made(k=2, mean=torch.zeros(D_IN)),
    "evaluation.certificate": lambda kit: {
        "sae": sn.TopK(D_IN, N_ATOMS, 2), "acts": kit.x, "sisters": [sn.TopK(D_IN, N_ATOMS, 2)]},
    "evaluation.changed_image": _on(a="vit", b="vit", image="pictures"),
    "evaluation.changed_text": lambda kit: {"a": kit.gpt, "b": kit.gpt, "text": "A cat sat."},
    "evaluation.check_alike": lambda kit: {"a": kit.gpt, "b": kit.gpt},
    "evaluation.compare_dictionaries": lambda kit: {
        "dictionaries": {"TopK": lambda seed: sn.TopK(D_IN, N_ATOMS, 2)}, "data": kit.x, "config": kit.config,
        "l0": 2.0, "seeds": (0,)},
    "evaluation.stability_trial": lambda kit: {
        "make": lambda seed: sn.TopK(D_IN, N_ATOMS, 2), "data": kit.x, "config": kit.config, "seeds": (0, 1)},
    "evaluation.check_fit": lambda kit: {"model": kit.vit, "sae": sn.load_sae("tiny-vit/resid_post.6"), "splice": False},
    "geometry.start_umap": _on(x="x", settings="settings"),
    "interop.Encoding": lambda kit: {"rule": "topk", "k": 2},
    "interop.Origin": lambda kit: {"library": "sparsify", "architecture": "topk"},
    "interop.read_circuit_tracer": lambda kit: {"path": "layer_0.safetensors"},
    "interop.read_dictionary_learning": _written("dictionary_learning"),
    "interop.read_saelens": _written("saelens"),
    "interop.read_sparsify": _written("sparsify"),
    "interop.read_overcomplete": _written("overcomplete"),
    "interop.read_jacobian_lens": lambda kit: {"path": _lens_file(kit)},
    "interop.write_jacobian_lens": lambda kit: {"lens": _jacobian_lens(kit), "path": "lens.pt"},
    "lenses.fit_lens": lambda kit: {"model": kit.gpt, "inputs": kit.texts, "kind": "logit"},
    "lenses.measured_effects": lambda kit: {
        "model": kit.vit, "inputs": kit.pictures, "hook_point": "resid_post.6", "directions": kit.vit_sae.dictionary[:2]},
    "pretrained.load_lens": lambda kit: {"folder_or_name": kit.read_only("lens", kit.lens)},
    "interop.write_neuronpedia": lambda kit: {
        "sae": sn.load_sae("tiny-gpt/resid_post.3"), "acts": kit.examples.acts, "folder": kit.folder},
    "minkowski.decide": lambda kit: {
        "x": kit.x, "tile_sizes": (3,), "config": sn.minkowski.BlockConfig(n_steps=2), "topk_steps": 2},
    "models.Preprocess": lambda kit: {},
    "pretrained.ClassTrial": lambda kit: {
        "model": kit.vit, "hook_point": "resid_post.6", "pictures": kit.pictures, "labels": torch.tensor([1, 2])},
    "pretrained.SentimentTrial": lambda kit: {
        "model": kit.gpt, "hook_point": "resid_post.3", "prompts": ["The dog"], "seeds": (0,), "max_new_tokens": 2},
    "summaries.contrast": lambda kit: {"sae": kit.sae, "acts_a": kit.x, "acts_b": kit.x + 1},
    "summaries.atom_depths": lambda kit: {"sae": kit.sae, "states": kit.states, "home": 2},
    "summaries.summarise_session": _on(model="model", acts="acts", report="report"),
    "sweeps.sweep": lambda kit: {
        "data": kit.x, "n_atoms": N_ATOMS, "settings": {"k": [2]}, "seeds": (0,), "config": kit.config},
    "training.train": _on(sae="sae", data="x", config="config"),
    "uses.bench": lambda kit: {"sae": kit.sae, "model": kit.model, "rows": ["tpp"], "hook_point": "0", "tasks": kit.bench_tasks},
    "uses.vision_bench": lambda kit: {"sae": kit.sae, "x": torch.ones(12, 4, kit.sae.d_in), "control": False},
    "uses.footprint": _on(docs="docs"),
    "uses.overlap": lambda kit: {"test_sets": {"a": kit.docs, "b": kit.docs}},
    "sae_nb_widgets.dashboard": _on(model="vit", sae="vit_sae", acts="vit_acts"),
    "sae_nb_widgets.open_dashboard": _on(session="session", model="vit", sae="vit_sae", acts="vit_acts"),
}  # fmt: skip
"""Room and name → the arguments of a call that works."""


METHODS: dict[str, tuple[Callable[[Kit], Any], dict[str, Make]]] = {
    "activations.Activations": (
        lambda kit: kit.acts,
        {
            "from_tensor": _on(x="x"), "rows": lambda kit: {"indices": [0, 1]},
            "where": lambda kit: {"row": 1}, "batches": _on(batch_size="batch_size"),
            "split": _on(fraction="fraction"), "subset": lambda kit: {"rows": kit.on},
            "to": lambda kit: {"dtype": torch.float64}, "save": _on(folder="folder"),
        },
    ),
    "circuits.KnownCircuit": (
        lambda kit: sn.circuits.known_circuit(sn.load_model("tiny-induction"), n=2),
        {"auc": lambda kit: {"scores": list(range(8))}},
    ),
    "architectures.TopK": (
        lambda kit: kit.sae,
        {
            "encode": _on(x="x"), "decode": _on(codes="codes"), "forward": _on(x="x"),
            "save": _on(folder="folder"), "load": _on(folder="saved"),
            "initialise": lambda kit: {"x": kit.x, "generator": None},
        },
    ),
    "architectures.BatchTopK": (
        lambda kit: sn.BatchTopK(D_IN, N_ATOMS, 2), {"fit_threshold": _on(x="x"), "encode": _on(x="x")},
    ),
    "architectures.MatchingPursuit": (
        lambda kit: sn.MatchingPursuit(D_IN, N_ATOMS, 2),
        {"encode": _on(x="x"), "initialise": lambda kit: {"x": kit.x, "generator": None}},
    ),
    "architectures.Matryoshka": (
        lambda kit: sn.Matryoshka(D_IN, N_ATOMS, 2),
        {"decode_prefix": lambda kit: {"codes": kit.codes, "n_groups": 1}},
    ),
    "architectures.Temporal": (
        lambda kit: kit.temporal,
        {"encode": _on(x="sequences"), "forward": _on(x="sequences"), "predict": _on(x="sequences"),
         "novel_codes": lambda kit: {"residual": kit.x}},
    ),
    "atoms.AtomCatalogue": (
        lambda kit: kit.catalogue,
        {
            "nearest": _on(atom="atom"), "summary": _on(atom="atom"), "strengths": _on(atom="atom"),
            "coactive": _on(atom="atom"), "near_misses": _on(atom="atom"), "order": lambda kit: {},
            "rows_of_sample": lambda kit: {"sample": 1}, "search": lambda kit: {"query": "a"},
            "sample_strengths": lambda kit: {"atom": 1, "sample": 1, "length": 1},
            "encode_rows": lambda kit: {"rows": torch.arange(3)},
        },
    ),
    "codes.SparseCodes": (
        lambda kit: kit.codes,
        {
            "from_dense": lambda kit: {"z": kit.x}, "strengths": _on(atom="atom"),
            "rows": lambda kit: {"which": [0, 1]}, "save": _on(folder="folder"),
            "only": lambda kit: {"kept": kit.codes.values > 0}, "to": lambda kit: {"device": "cpu"},
            "with_values": lambda kit: {"values": kit.codes.values * 2},
            "concatenate": lambda kit: {"parts": [kit.codes, kit.codes]},
            "load": lambda kit: {"folder": kit.read_only("codes", kit.codes)},
        },
    ),
    "data.PlantedManifolds": (lambda kit: kit.planted, {
        "part": lambda kit: {"i": 1}, "place": lambda kit: {"i": 1},
    }),
    "data.DecisionRule": (lambda kit: kit.hidden_rules.rule, {"decide": lambda kit: {"values": kit.hidden_rules.values}}),
    "data.HiddenRules": (lambda kit: kit.hidden_rules, {"subset": lambda kit: {"rows": [0, 1]}}),
    "data.PlantedShortcuts": (lambda kit: sn.data.planted_shortcuts(6), {
        "bias": lambda kit: {"answers": torch.arange(6) % 2}, "on_grid": lambda kit: {"n": 3}}),
    "data.Sounds": (lambda kit: sn.data.sounds(3), {"subset": lambda kit: {"rows": [0, 1]}}),
    "data.Scenes": (lambda kit: sn.data.scenes(3), {"subset": lambda kit: {"rows": [0, 1]}}),
    "dynamics.Raptor": (
        lambda kit: kit.raptor,
        {
            "from_model": lambda kit: {"model": kit.vit, "cuts": (0, 4, 12)},
            "step": lambda kit: {"x": kit.states[:, 0], "layer": 1},
            "roll_out": lambda kit: {"embeddings": kit.states[:, 0]},
            "save": _on(folder="folder"), "load": lambda kit: {"folder": kit.read_only("raptor", kit.raptor)},
        },
    ),
    "dynamics.States": (
        lambda kit: sn.dynamics.States(kit.states, token_kinds=["cls", "patch", "patch"]),
        {"of_kind": lambda kit: {"kind": "cls"}, "take": lambda kit: {"samples": [0, 1]}},
    ),
    "evaluation.Merging": (lambda kit: kit.merging, {
        "needed": lambda kit: {"share": 0.9}, "simpler": lambda kit: {"share": 0.9},
        "groups": lambda kit: {"n_atoms": int(kit.merging.left[-1])}, "sae": lambda kit: {"n_atoms": int(kit.merging.left[-1])}}),
    "evaluation.RandomDictionary": (
        lambda kit: sn.evaluation.RandomDictionary(D_IN, N_ATOMS, 2, mean=kit.mean),
        {"fit": _on(x="x"), "encode": _on(x="x"), "decode": _on(codes="codes")},
    ),
    "evaluation.Attribution": (
        lambda kit: sn.evaluation.attribute(kit.model, next(kit.model.batches(kit.inputs)), "0", kit.sae),
        {"splice": _on(atom="atom")},
    ),
    "lenses.Lens": (
        lambda kit: kit.lens,
        {
            "read": lambda kit: {"inputs": kit.texts}, "matrix": lambda kit: {"layer": 1},
            "effects": lambda kit: {"sae_or_directions": kit.gpt_sae.dictionary, "layer": 1},
            "direction": lambda kit: {"token": " cat", "layer": 1}, "on": lambda kit: {"model": kit.gpt},
            "check": lambda kit: {"held_out": kit.texts}, "save": _on(folder="folder"),
        },
    ),
    "lenses.LensReading": (lambda kit: kit.lens.read(kit.texts), {"grid": lambda kit: {"sample": 1}}),
    "models.LiveModel": (
        lambda kit: kit.gpt,
        {
            "hook_point": lambda kit: {"name": "resid_post.0"}, "get_module": lambda kit: {"path": kit.gpt.hook_point("resid_post.0").path},
            "width": lambda kit: {"hook_point": "resid_post.0"}, "batches": _on(inputs="texts"),
            "heads": _on(inputs="texts"), "__call__": _on(inputs="texts"),
            "generate": lambda kit: {"prompt": "The cat", "max_new_tokens": 2},
        },
    ),
    "models.Bottleneck": (lambda kit: kit.toy, {
        "hidden": lambda kit: {"x": torch.rand(4, 5)}, "forward": lambda kit: {"x": torch.rand(4, 5)}}),
    "minkowski.BlockArchetypes": (
        lambda kit: kit.hull,
        {"encode": _on(x="x"), "decode": lambda kit: {"codes": kit.hull.encode(kit.x)}, "vertices": lambda kit: {}},
    ),
    "lab.DUNL": (
        lambda kit: sn.lab.DUNL(2, 5, n_steps=2),
        {"fit": lambda kit: {"x": _draws(3, 12), "steps": 1}, "deconvolve": lambda kit: {"x": _draws(3, 12)}},
    ),
    "lab.Deconvolution": (
        lambda kit: sn.lab.DUNL(2, 5, n_steps=2).deconvolve(_draws(3, 12)),
        {"compare": lambda kit: {"kernels": _draws(2, 5), "events": torch.ones(3, 2, 8, dtype=torch.bool)},
         "explain": lambda kit: {"trial": 1}},
    ),
    "lab.GroupAction": (
        lambda kit: sn.lab.GroupNetwork(D_IN, 2, 3).action(),
        {"closure": lambda kit: {"order": 3}, "distance": lambda kit: {"other": torch.eye(D_IN)}},
    ),
    "lab.GroupNetwork": (
        lambda kit: sn.lab.GroupNetwork(D_IN, 2, 3),
        {"action": lambda kit: {"orbit": 1}, "fit": lambda kit: {"x": kit.x, "steps": 2},
         "steps": lambda kit: {"x": kit.x[:2]}},
    ),
    "lab.KDS": (
        lambda kit: sn.lab.KDS(D_IN, N_ATOMS),
        {"fit": lambda kit: {"x": kit.x, "steps": 2}, "steps": lambda kit: {"x": kit.x[:2]}},
    ),
    "lab.KernelSimilarity": (
        lambda kit: sn.lab.KernelSimilarity(4, n_steps=3),
        {"fit": lambda kit: {"x": kit.x}},
    ),
    "lab.LocalMap": (
        lambda kit: sn.lab.local_map(sn.lab.KDS(D_IN, N_ATOMS).fit(kit.x, steps=2), kit.x),
        {"accuracy": lambda kit: {"truth": np.arange(ROWS) % 2}},
    ),
    "lab.MatchedSimilarity": (
        lambda kit: sn.lab.KernelSimilarity(4, n_steps=3).fit(kit.x),
        {"encode": lambda kit: {"x": kit.x[:3]}, "tuning": lambda kit: {"along": kit.x[:, 0]}},
    ),
    "lab.Momentum": (
        lambda kit: sn.lab.Momentum(n_heads=1, d_model=4),
        {"apply": lambda kit: {"x": kit.x}, "response": lambda kit: {"frequencies": kit.x[0]},
         "fit": lambda kit: {"data": "pairs", "steps": 2, "batch_size": 2}},
    ),
    "lab.MomentumModel": (
        lambda kit: sn.lab.Momentum(n_heads=1, d_model=4).fit(steps=2, batch_size=2),
        {"rows": lambda kit: {"n": 2}, "accuracy": lambda kit: {"n": 2}, "scores": lambda kit: {"n": 2},
         "logits": lambda kit: {"ids": torch.ones(2, 5, dtype=torch.long)},
         "patterns": lambda kit: {"ids": torch.ones(2, 5, dtype=torch.long)},
         "figure": lambda kit: {"row": 1}},
    ),
    "lab.LocalDenoiser": (
        lambda kit: sn.lab.LocalDenoiser(3, width=2), {"fit": lambda kit: {"images": _draws(2, 1, 5, 5), "steps": 1}},
    ),
    "lab.DenoiserModel": (
        lambda kit: _denoiser(),
        {"guess": lambda kit: {"x": _draws(2, 1, 5, 5), "time": 0.5}, "sample": lambda kit: {"n": 1, "n_steps": 2},
         "predicted_by": lambda kit: {"machines": {"3": _mosaic()}, "times": (0.5,), "n": 2}},
    ),
    "lab.WaveNetwork": (
        lambda kit: sn.lab.WaveNetwork(2, channels=1, n_steps=2),
        {"fit": lambda kit: {"shapes": _SHAPES, "labels": _LABELS, "steps": 1, "batch_size": 2}},
    ),
    "lab.WaveModel": (
        lambda kit: _waves(),
        {"states": lambda kit: {"shapes": _SHAPES}, "logits": lambda kit: {"shapes": _SHAPES},
         "accuracy": lambda kit: {"shapes": _SHAPES, "labels": _LABELS},
         "figure": lambda kit: {"shapes": _SHAPES, "moments": (0, 1)}},
    ),
    "lab.Mosaics": (lambda kit: _mosaic().sample(2), {"figure": lambda kit: {"n": 1}}),
    "lab.PatchDictionary": (
        lambda kit: _mosaic(),
        {"cost": lambda kit: {"n": 1}, "found": lambda kit: {"images": torch.zeros(1, 1, 5, 5), "size": 3},
         "sample": lambda kit: {"n": 1},
         "score": lambda kit: {"x": torch.zeros(1, 1, 5, 5), "time": 0.5}},
    ),
    "lab.PatchMosaic": (
        lambda kit: sn.lab.PatchMosaic(3, n_steps=2), {"fit": lambda kit: {"images": _draws(2, 1, 5, 5)}},
    ),
    "lab.ParityPosterior": (lambda kit: sn.lab.parity_posterior(_draws(3, 4), 1.0), {"figure": lambda kit: {}}),
    "lab.WaveletScore": (
        lambda kit: sn.lab.wavelet_score(_draws(20, 8, 8), 0.5),
        {"denoise": lambda kit: {"x": _draws(2, 8, 8)}, "figure": lambda kit: {"band": "vertical 1"},
         "score": lambda kit: {"x": _draws(2, 8, 8)}, "shrinkage": lambda kit: {"y": _draws(5)},
         "threshold": lambda kit: {"band": "mean"}},
    ),
    "lab.Ringing": (
        lambda kit: sn.lab.Waves(n_steps=20).run(torch.eye(6, dtype=torch.bool)[None]),
        {"features": lambda kit: {"readout": "last"}, "figure": lambda kit: {"shape": 0},
         "listen": lambda kit: {"shape": 0, "row": 1, "column": 1}},
    ),
    "lab.SparKer": (
        lambda kit: sn.lab.SparKer(2, n_steps=2),
        {"fit": lambda kit: {"reference": kit.x, "data": kit.x[:4] + 1, "n_toys": 19}},
    ),
    "lab.AnomalyTest": (
        lambda kit: sn.lab.SparKer(2, n_steps=2).fit(kit.x, kit.x[:4] + 1, n_toys=19),
        {"figure": lambda kit: {"step": 1}, "nearest": lambda kit: {"n": 2},
         "log_ratio": lambda kit: {"x": kit.x}, "rejects": lambda kit: {"level": 0.05}},
    ),
    "lab.Posterior": (
        lambda kit: sn.lab.SparseBayes(noise=0.1, n_iterations=1).fit(kit.x[:2], kit.x[:4]),
        {"steps": lambda kit: {"row": 0}, "clusters": lambda kit: {},
         "figure": lambda kit: {"row": 0, "truth": torch.zeros(4)}},
    ),
    "lab.SparseBayes": (
        lambda kit: sn.lab.SparseBayes(noise=0.1, n_iterations=1),
        {"fit": lambda kit: {"x": kit.x[:2], "dictionary": kit.x[:4]}},
    ),
    "lab.MantelTest": (lambda kit: _signatures(kit).mantel([0, 0, 1, 1], n_permutations=19), {"figure": lambda kit: {}}),
    "lab.SignatureDistances": (
        lambda kit: _signatures(kit),
        {"mantel": lambda kit: {"other": [0, 0, 1, 1], "n_permutations": 19}, "nearest": lambda kit: {"part": "texture"},
         "figure": lambda kit: {"part": "texture"}},
    ),
    "lab.Signatures": (
        lambda kit: sn.lab.Signatures(kit.vit, "embed", n_generators=1),
        {"fit": lambda kit: {"images": kit.pictures, "artists": [0, 1]}},
    ),
    "lab.Waves": (
        lambda kit: sn.lab.Waves(n_steps=3),
        {"run": lambda kit: {"shapes": torch.eye(6, dtype=torch.bool)[None]}},
    ),
    "pretrained.ExampleStore": (
        lambda kit: kit.examples,
        {"match": lambda kit: {"factor": "thing key"},
         "catalogue": lambda kit: {"sae": sn.load_sae("tiny-gpt/resid_post.3")}},
    ),
    "summaries.Contrast": (
        lambda kit: sn.summaries.contrast(kit.sae, kit.x, kit.x + 1, n_permutations=2),
        {"difference": lambda kit: {"of": "strength"}, "order": lambda kit: {}, "table": lambda kit: {}},
    ),
    "summaries.InputSummary": (
        lambda kit: sn.top_atoms(kit.model, kit.sae, kit.inputs[:1], "0"),
        {
            "strengths": _on(atom="atom"), "at": lambda kit: {"position": 0}, "top": lambda kit: {},
            "order": lambda kit: {}, "table": lambda kit: {}, "name_of": _on(atom="atom"),
            "splice_check": _on(atom="atom"),
        },
    ),
    "summaries.PursuitSteps": (
        lambda kit: sn.summaries.summarise_pursuit(kit.x[0], kit.dictionary, k=2),
        {name: lambda kit: {"step": 1} for name in ("reached", "code_at", "residual_at", "correlations_at", "next_atom")},
    ),
    "temporal.LinearForecast": (lambda kit: sn.temporal.fit_autoregression(kit.sequences), {"predict": _sequences()}),
    "temporal.AverageForecast": (lambda kit: sn.temporal.fit_average(kit.sequences), {"predict": _sequences()}),
    "temporal.Sequences": (lambda kit: sn.temporal.Sequences(kit.sequences), {
        "rows": lambda kit: {"chosen": [0, 1]}, "batches": lambda kit: {"batch_size": 12}}),
    "training.TrainConfig": (lambda kit: kit.config, {"from_json": lambda kit: {"settings": {"steps": 3}}}),
    "training.TrainingRun": (
        lambda kit: sn.start_training(kit.sae, kit.x, kit.config),
        {"wait": lambda kit: {"timeout": 5.0}, "live": lambda kit: {"index": 0}, "snapshot": lambda kit: {"index": 0},
         "add_callback": lambda kit: {"callback": print}},
    ),
    "uses.Rise": (lambda kit: kit.rise, {"atoms_of": lambda kit: {"behaviour": "sat"}, "plot": lambda kit: {"n": 1}}),
    "uses.TextDimension": (
        lambda kit: sn.uses.text_dimension(kit.gpt, kit.long_texts, length=40, progress=False),
        {"atoms": lambda kit: {"docs": kit.gpt_docs, "min_count": 1}},
    ),
    "uses.Documents": (
        lambda kit: kit.docs,
        {"subset": lambda kit: {"rows": [0, 1]}, "top": _on(atom="atom"), "examples": _on(atom="atom")},
    ),
    "vision.VerifiedAttribution": (lambda kit: _verified(), {"plot": lambda kit: {"image": 0}}),
    "vision.Annotations": (
        lambda kit: sn.vision.annotate(kit.pictures, kit.vit, kit.vit_sae, "resid_post.2"),
        {"plot": lambda kit: {"image": 0}}),
    "vision.PixelAttribution": (lambda kit: kit.maps, {
        "on_grid": lambda kit: {"rows": 2, "columns": 2}, "plot": lambda kit: {"image": 0}}),
    "vision.ConceptBottleneck": (lambda kit: kit.heads, {
        "look": lambda kit: {
            "images": kit.pictures, "regions": {"even": sn.data.scenes(2).mask}, "method": "gradient"}}),
    "vision.Blindspots": (
        lambda kit: sn.vision.blindspots(kit.docs, kit.docs, n_permutations=20), {"examples": _on(atom="atom")}),
    "sae_nb_widgets.ConceptMap": (
        lambda kit: _panel("ConceptMap")(kit.sae, kit.acts),
        {
            "select": lambda kit: {"ids": [0, 1]}, "step": lambda kit: {"by": 1},
            "to_html": lambda kit: {"path": "page.html"}, "restore": lambda kit: {"state": {}},
            "to_svg": lambda kit: {"path": "page.svg"}, "press": lambda kit: {"key": "ArrowRight"}, "say": lambda kit: {"text": "done"},
            "wait": lambda kit: {"timeout": 60.0},
        },
    ),
    "sae_nb_widgets.CircuitPanel": (
        lambda kit: kit.circuit,
        {
            "intervene": lambda kit: {"factor": 0.5}, "pin": lambda kit: {"node": 1}, "unpin": lambda kit: {"node": 1},
            "group": lambda kit: {"nodes": [1], "name": "one"}, "ungroup": lambda kit: {"name": "two"},
            "path": lambda kit: {name: int(kit.graph.edges[name].iloc[0]) for name in ("source", "target")},
        },
    ),
    "sae_nb_widgets.ChangesPanel": (
        lambda kit: _panel("ChangesPanel")(kit.gpt, kit.gpt, "A cat sat."), {"step_sample": lambda kit: {"by": 1}}),
    "sae_nb_widgets.CorpusPanel": (
        lambda kit: _panel("CorpusPanel")(kit.docs, kit.docs), {"to_csv": lambda kit: {"path": "atoms.csv"}}),
    "sae_nb_widgets.GenerationLens": (
        lambda kit: _panel("GenerationLens")(kit.gpt, kit.gpt_sae, "resid_post.1", "A cat sat."),
        {"step": lambda kit: {"n": 1}, "go_on": lambda kit: {"n": 1}, "wait": lambda kit: {"timeout": 60.0}},
    ),
    "sae_nb_widgets.AtomBrowser": (
        lambda kit: _panel("AtomBrowser")(kit.sae, kit.acts),
        {"to_png": lambda kit: {"path": "page.png"}, "show": lambda kit: {"beside": True}},
    ),
    "sae_nb_widgets.SteeringPanel": (
        lambda kit: _panel("SteeringPanel")(kit.model, "0", kit.sae, kit.inputs),
        {"dose_response": lambda kit: {"strengths": [1.0]}, "save_recipe": lambda kit: {"path": "recipe.json"},
         "replay": lambda kit: {"recipe": {"hook_point": "0", "atom": 1, "strength": 1.0}}},
    ),
    "sae_nb_widgets.AtomQuiz": (
        lambda kit: _panel("AtomQuiz")(kit.sae, kit.acts), {"take": lambda kit: {"option": 0}}),
    "sae_nb_widgets.Dashboard": (
        lambda kit: _panel("dashboard")(kit.vit, kit.vit_sae, kit.vit_acts),
        {"save": lambda kit: {"path": "session"}, "to_html": lambda kit: {"path": "page.html"},
         "show": lambda kit: {"beside": "sidebar"}},
    ),
}  # fmt: skip
"""Class → an object of it, and the arguments of its methods."""

OUTSIDE: dict[str, str] = {
    "activations.ActivationSource": "a protocol",
    "activations.Alignment": "made by align",
    "architectures.IdentityProx": "takes nothing",
    "architectures.Operator": "a protocol",
    "architectures.SparseAutoencoder": "abstract",
    "architectures.SolverTrace": "what a call returns",
    "architectures.TrainingLoss": "what a call returns",
    "dynamics.LayerSimilarity": "what a call returns",
    "architectures.Penalty": "abstract",
    "architectures.Prox": "a protocol",
    "dynamics.RaptorRun": "made by start_raptor",
    "evaluation.MergedDictionary": "made by Merging.sae",
    "interop.ImportedTemporal": "made by read_temporal",
    "kernels.Backend": "a type",
    "models.LiveModel": "made by load_model and wrap",
    "models.MemoryNeeded": "made by memory_needed",
    "serving.Session": "made by bench_agent",
    "training.History": "a list",
    "training.TrainingRun": "made by start_training",
    "training.workers": "starts a process group",
    "vision.ConceptHead": "made by craft and concept_head",
    "sae_nb_widgets.Dashboard": "made by dashboard",
    "sae_nb_widgets.DrawPad": "a part of panels",
    "sae_nb_widgets.SoundRecorder": "a part of panels",
    "sae_nb_widgets.InputSteering": "made by InputLens",
    "sae_nb_widgets.PairedBars": "a part of panels",
    "sae_nb_widgets.Panel": "what panels inherit",
    "sae_nb_widgets.PictureGrid": "a part of panels",
    "sae_nb_widgets.Sparkbars": "a part of panels",
    "sae_nb_widgets.TokenStrip": "a part of panels",
}
"""What is not called by people, and why."""

NO_VALID_FILES = {
    "data.cifar10", "interop.read_circuit_tracer", "interop.read_gemma_scope", "interop.read_openai", "interop.read_overcomplete", "interop.read_temporal",
    "interop.read_prisma", "interop.read_sae_for_vlm", "interop.read_visaebench",
}  # fmt: skip
"""Readers of files that nothing of ours writes: only what is wrong can be tried."""

MADE_BY_HAND = {
    "architectures.Recipe", "architectures.TrainingDefaults", "codes.SparseCodes", "data.Paper", "dynamics.BlockSizes", "dynamics.RaptorConfig",
    "evaluation.Report", "geometry.LayoutSettings", "interop.Encoding", "interop.Origin", "lab.DUNL", "lab.GroupNetwork", "lab.KDS", "lab.KernelSimilarity", "lab.LocalDenoiser", "lab.Momentum", "lab.PatchMosaic", "lab.Signatures", "lab.SparKer", "lab.SparseBayes", "lab.WLSC", "lab.WaveNetwork", "lab.Waves", "minkowski.BlockConfig",
    "models.Preprocess", "training.TrainConfig",
}  # fmt: skip
"""Data classes that people fill in; the others are what calls return."""


@dataclass(frozen=True)
class Call:
    """A public callable: `function` finds it, `arguments` are right."""

    name: str
    function: Callable[[Kit], Callable[..., Any]]
    arguments: Make
    signature: inspect.Signature
    rules: Mapping[str, tuple[Rule, ...]]

    def wrong(self, argument: str) -> dict[str, Maker]:
        """Makers of wrong values for an argument, by their names."""
        annotation = str(self.signature.parameters[argument].annotation)
        return wrong_values(annotation, self.rules.get(argument, ()))

    def given(self, kit: Kit) -> dict[str, Any]:
        """Arguments of a call that works, small where that costs nothing."""
        small = {name: SMALL[name] for name in self.signature.parameters if name in SMALL}
        return small | self.arguments(kit)


def doors() -> dict[str, Any]:
    """Return room and name → what lies there, each object once, of every public room but the tools."""
    rooms = [f"sae_nb.{room.name}" for room in pkgutil.iter_modules(sn.__path__)]
    rooms += [f"sae_nb_studies.{room.name}" for room in pkgutil.iter_modules(sn.studies.__path__)]
    found: dict[int, tuple[str, Any]] = {}
    for room in (*rooms, "sae_nb_widgets"):
        if room.rsplit(".", 1)[-1].startswith("_") or room in TOOLS:
            continue
        module = import_module(room)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            # A Literal that says which words may come back can be called, to no end.
            if callable(thing) and not inspect.ismodule(thing) and get_origin(thing) is not Literal:
                short = room.removeprefix("sae_nb.").removeprefix("studies.")
                found.setdefault(id(thing), (f"{short}.{name}", thing))
    return dict(sorted(found.values()))


def unlisted() -> list[str]:
    """Return the public callables for which nothing here says how they are called."""
    return [
        name
        for name, thing in doors().items()
        if _wanted(name, thing) and _make(name, thing) is None
    ]


def calls() -> Iterator[Call]:
    """Yield every public callable and the listed methods of public classes."""
    everything = doors()
    for name, thing in everything.items():
        make = _make(name, thing)
        if _wanted(name, thing) and make is not None:
            function, rules = (lambda kit, thing=thing: thing), rules_of(thing)
            yield Call(name, function, make, inspect.signature(thing), rules)
    for owner, (instance, methods) in METHODS.items():
        for method, make in methods.items():
            function = inspect.getattr_static(everything[owner], method, None)
            bound = getattr(everything[owner], method)
            plain = inspect.isfunction(function)
            signature = inspect.signature(bound)
            parameters = list(signature.parameters.values())[1 if plain else 0 :]
            yield Call(
                f"{owner}.{method}",
                lambda kit, instance=instance, method=method: getattr(instance(kit), method),
                make,
                signature.replace(parameters=parameters),
                rules_of(bound),
            )


def _wanted(name: str, thing: Any) -> bool:
    if name in OUTSIDE or (inspect.isclass(thing) and issubclass(thing, BaseException)):
        return False
    if name.startswith("architectures."):
        return True
    return not (inspect.isclass(thing) and is_dataclass(thing)) or name in MADE_BY_HAND


def _make(name: str, thing: Any) -> Make | None:
    if name in RECIPES:
        return RECIPES[name]
    if has_example(thing):
        return lambda _: {argument: anew(value) for argument, value in _shown(thing).items()}
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return None
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if not all(hasattr(Kit, argument) for argument in needed):
        return None
    return lambda kit: {argument: getattr(kit, argument) for argument in needed}


@cache
def _shown(thing: Any) -> dict[str, Any]:
    """What its example hands to it."""
    return first_call(thing, inspect.signature(thing))


def _panel(name: str) -> Any:
    return getattr(import_module("sae_nb_widgets"), name)


def _kept(name: str) -> Path:
    folder = Path.cwd().parent / "kept" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
