"""Every public callable with arguments that are right: what a wrong value is put into, one at a time.

Required arguments are taken from `Kit` by their name unless `ARGUMENTS` or `RECIPES` says otherwise. A callable
that is in neither and cannot be called so fails the test: a new one is listed here.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_origin

import numpy as np
import torch
from torch import nn

import sae_nb as sn

TOOLS = {f"sae_nb.{room}" for room in ("checks", "figures", "files", "findings", "statistics")}
"""Rooms whose door is for other rooms: what checks, draws, computes intervals and writes files."""

D_IN, N_ATOMS, ROWS, CLASSES = 8, 16, 60, 3


def _draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _mosaic() -> Any:
    return sn.lab.PatchMosaic(3, n_steps=2).fit(_draws(2, 1, 5, 5))


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
    x_hat = cached_property(lambda self: self.x + 0.1)
    inputs = cached_property(lambda self: _draws(4, D_IN, seed=1))
    base = cached_property(lambda self: self.inputs)
    source = cached_property(lambda self: -self.inputs)
    dictionary = cached_property(lambda self: nn.functional.normalize(_draws(N_ATOMS, D_IN), dim=1))
    other = cached_property(lambda self: self.dictionary.roll(1, dims=0))
    directions = cached_property(lambda self: self.dictionary[:6])
    weight = cached_property(lambda self: _draws(N_ATOMS, D_IN))
    mean = cached_property(lambda self: torch.zeros(D_IN))
    bias = cached_property(lambda self: torch.zeros(D_IN))
    vector = cached_property(lambda self: torch.ones(N_ATOMS))
    S = cached_property(lambda self: torch.block_diag(torch.ones(3, 3), torch.ones(4, 4)))
    states = cached_property(lambda self: _draws(10, 4, 3, D_IN))
    sequences = cached_property(lambda self: _draws(6, 12, D_IN))
    on = cached_property(lambda self: torch.arange(ROWS) % 2 == 0)
    place = cached_property(lambda self: torch.arange(ROWS) % 4)
    labels = cached_property(lambda self: torch.arange(10) % 2)
    xy = cached_property(lambda self: self.x[:, :2].numpy().astype(np.float64))
    acts = cached_property(lambda self: sn.capture(self.model, self.x, "0", progress=False))
    data = cached_property(lambda self: self.acts)

    supervised = cached_property(lambda self: sn.supervised_dictionary(self.x, {"even": self.on}))

    @cached_property
    def task(self) -> dict[str, Any]:
        """What a dictionary is asked about answers: those that the model gives."""
        logits = self.model(self.inputs)
        return {
            "model": self.model, "inputs": self.inputs, "hook_point": "0", "dictionary": self.sae,
            "answers": logits.argmax(1).tolist(), "others": logits.argmin(1).tolist(), "positions": None,
        }  # fmt: skip

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
    vit_states = cached_property(lambda self: sn.dynamics.capture_states(self.vit, self.pictures))

    @property
    def sae(self) -> sn.TopK:
        return sn.TopK(D_IN, N_ATOMS, 2, generator=torch.Generator().manual_seed(0)).eval()

    @property
    def gpt_sae_of_a_place(self) -> sn.TopK:
        sae = self.gpt_sae
        sae.hook_point = "resid_post.1"
        return sae

    @cached_property
    def graph(self) -> sn.circuits.AttributionGraph:
        saes = {"resid_post.1": self.gpt_sae}
        return sn.circuits.attribution_graph(self.gpt, saes, self.texts[0], max_nodes=0)

    signs = cached_property(
        lambda self: sn.circuits.Algorithm(
            inputs=self.x, variables=("sign",), read=lambda x: bool(x[0] > 0), answer=int
        )
    )

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
    prose_acts = cached_property(
        lambda self: sn.capture(
            self.gpt, sn.data.prose().texts[:30], "resid_post.0", progress=False
        )
    )
    vit_acts = cached_property(
        lambda self: sn.capture(self.vit, self.pictures, "resid_post.6", progress=False)
    )
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
    without = cached_property(lambda self: self.codes)

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
    reports = cached_property(lambda self: [self.report])
    itda = cached_property(lambda self: sn.ITDA(D_IN, 2).fit(self.x, progress=False))
    planted = cached_property(lambda self: sn.data.planted_manifolds(ROWS))
    universal = cached_property(lambda self: sn.UniversalSAE([D_IN, D_IN], N_ATOMS, 2))
    examples = cached_property(lambda self: sn.load_examples("tiny-gpt/resid_post.3"))
    mask = cached_property(lambda self: sn.data.scenes(2).mask)
    catalogue = cached_property(lambda self: sn.atoms.AtomCatalogue(self.sae, self.acts))
    atlas = cached_property(lambda self: sn.summaries.ConceptAtlas(self.sae, self.acts))
    factors = cached_property(lambda self: sn.summaries.row_factors(self.x > 0))
    session = cached_property(lambda self: self._session())
    answer = cached_property(lambda self: lambda codes: codes.sum(dim=-1))
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
    "n_permutations": 2,
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


def _frame(**more: Any) -> Make:
    return lambda kit: {"x": kit.x, "dictionary": kit.dictionary, "k": 2, **more}


def _written(name: str) -> Make:
    def make(kit: Kit) -> dict[str, Any]:
        folder = Path.cwd().parent / "kept" / name
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            getattr(sn.interop, f"write_{name}")(kit.sae, folder)
        return {"folder": folder}

    return make


RECIPES: dict[str, Make] = {
    "activations.Activations": lambda kit: {
        "rows": kit.x, "sample": torch.arange(ROWS), "position": torch.zeros(ROWS, dtype=torch.int64)},
    "activations.align": lambda kit: {"acts": [kit.acts, kit.acts]},
    "activations.concatenate": lambda kit: {"parts": [kit.acts, kit.acts]},
    "activations.load_activations": lambda kit: {"folder": kit.read_only("acts", kit.acts)},
    "architectures.Archetypal": _sae_made(k=2),
    "architectures.CosineOperator": lambda kit: {"mask": torch.tensor([True, False, True])},
    "architectures.ConvolutionOperator": lambda kit: {"kernels": _draws(3, 4), "n_samples": 12},
    "architectures.ColumnTopKProx": lambda kit: {"rates": torch.full((N_ATOMS,), 0.25)},
    "architectures.Crosscoder": lambda kit: {"widths": [4, D_IN - 4], "n_atoms": N_ATOMS, "k": 2},
    "architectures.GroupSparse": lambda kit: {"d_image": 4, "d_text": D_IN - 4, "n_atoms": N_ATOMS, "k": 2},
    "architectures.CrossLayerTranscoder": lambda kit: {
        "widths": [4, D_IN - 4], "n_atoms": N_ATOMS, "k": 2},
    "architectures.UniversalSAE": lambda kit: {"widths": [4, D_IN - 4], "n_atoms": N_ATOMS, "k": 2},
    "architectures.NormProx": lambda kit: {"k_max": 2},
    "architectures.GroupProx": lambda kit: {"groups": torch.arange(N_ATOMS) // 4, "weight": 0.5},
    "architectures.HardProx": lambda kit: {"weight": 0.5},
    "architectures.LearnedAdjoint": lambda kit: {
        "operator": sn.architectures.DenseOperator(D_IN, N_ATOMS)},
    "architectures.RidgeProx": lambda kit: {"precision": 1.0},
    "architectures.SoftProx": lambda kit: {"weight": 0.5},
    "architectures.SkipTranscoder": _sae_made(d_out=6, k=2),
    "architectures.Transcoder": _sae_made(d_out=6, k=2),
    "architectures.ThresholdProx": lambda kit: {"thresholds": 0.5},
    "architectures.Recipe": lambda kit: {"learning_rate": 0.001},
    "architectures.cg": lambda kit: {
        "operator": kit.operator, "x": kit.x, "prox": sn.architectures.RidgeProx(1.0)},
    "architectures.ista_step": lambda kit: {
        "x": kit.x, "adjoint": sn.architectures.LearnedAdjoint(sn.architectures.DenseOperator(D_IN, N_ATOMS)),
        "prox": kit.prox, "centre": kit.bias, "scale": torch.tensor(1.0)},
    "architectures.sparse_code": lambda kit: {"x": kit.x, "dictionary": kit.dictionary, "weight": 1.0, "n_steps": 3},
    "architectures.admm": lambda kit: {"operator": kit.operator, "x": kit.x, "prox": kit.prox, "n_steps": 3},
    "capturing.stream": _on(model="model", inputs="x", hook_point="hook_point"),
    "circuits.attribution_graph": lambda kit: {
        "model": kit.gpt, "transcoders": {"resid_post.1": kit.gpt_sae}, "inputs": kit.texts[0], "max_nodes": 2},
    "models.register_modality": lambda kit: {"record": sn.models.Modality(name="numbers")},
    "circuits.load_graph": lambda kit: {"folder": kit.read_only("graph", kit.graph)},
    "circuits.graph_features": lambda kit: {"graphs": [kit.graph]},
    "circuits.predict_correctness": lambda kit: {
        "graphs": [kit.graph] * 4, "correct": [True, False, True, False], "n_folds": 2},
    "circuits.predict_decisions": lambda kit: {
        "model": sn.load_model("tiny-gpt"), "labelled": kit.hidden_rules[:6], "held_out": kit.hidden_rules[6:],
        "n_pairs": 4, "n_draws": 1},
    "circuits.head_contributions": lambda kit: {"model": kit.gpt, "inputs": kit.texts[:1], "target": 5},
    "circuits.neuron_contributions": lambda kit: {
        "model": sn.load_model("tiny-induction"), "inputs": ["q k e f"], "target": 5},
    "circuits.neuron_transcoders": lambda kit: {"model": sn.load_model("tiny-induction")},
    "circuits.observable": lambda kit: {"model": kit.gpt, "first": 5, "second": 6},
    "circuits.patch_atoms": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae_of_a_place, "clean": "One day she went", "corrupted": "One day he went",
        "target": 5, "n": 1, "n_random": 1},
    "circuits.probe_prompts": lambda kit: {
        "model": kit.gpt, "transcoders": {"resid_post.1": kit.gpt_sae},
        "prompts": ["She sat", "He sat", "It sat"], "min_share": 0.5},
    "circuits.interaction_basis": lambda kit: {
        "model": sn.load_model("tiny-modular"), "inputs": ["3 + 5 =", "40 + 20 ="], "hook_points": ["attn_out.0"]},
    "circuits.Task": lambda kit: {"inputs": kit.texts * 2, "answers": [5] * 4, "wrong": [6] * 4},
    "circuits.Algorithm": lambda kit: {
        "inputs": kit.x, "variables": ("sign",), "read": lambda x: bool(x[0] > 0), "answer": int},
    "circuits.align": lambda kit: {
        "model": kit.model, "algorithm": kit.signs, "hook_point": "0", "steps": 2, "n_pairs": 5, "n_bootstrap": 5},
    "circuits.dissociate": lambda kit: {
        "model": kit.gpt, "task_a": kit.doable, "task_b": kit.doable, "n_random": 1, "n_bootstrap": 20},
    "circuits.known_circuit": lambda kit: {"model": sn.load_model("tiny-induction"), "n": 2},
    "circuits.AtomTarget": lambda kit: {"hook_point": "mlp_out.1", "position": 1, "atom": 2},
    "classical.Classical": _sae_made(method="PCA"),
    "classical.ITDA": lambda kit: {"d_in": D_IN, "k": 2},
    "classical.SemiNMF": lambda kit: {"d_in": D_IN, "n_atoms": 4},
    "classical.supervised_dictionary": lambda kit: {
        "acts": kit.x,
        "attributes": {"odd": [i % 2 for i in range(len(kit.x))]},
    },
    "classical.fit_classical": lambda kit: {"data": kit.x, "method": "PCA", "n_atoms": D_IN},
    "codes.SparseCodes": lambda kit: {
        "values": kit.codes.values, "atoms": kit.codes.atoms, "offsets": kit.codes.offsets,
        "n_atoms": N_ATOMS},
    "data.captions": lambda kit: {"scenes": sn.data.scenes(3)},
    "data.cifar10": lambda kit: {"folder": _kept("cifar10")},
    "data.drawn_scene": lambda kit: {"coverage": np.full((32, 32), 200, dtype=np.uint8)},
    "data.pictures": lambda kit: {"folder": _picture_folder()},
    "data.text": lambda kit: {"folder": _text_folder()},
    "data.planted_dictionary": _sae_made(n=5, k=2),
    "data.Paper": lambda kit: {},
    "diagnosis.doctor": lambda kit: {"names": "python"},
    "dynamics.BlockSizes": lambda kit: {"d_model": 8, "n_heads": 2, "hidden": 16},
    "dynamics.States": lambda kit: {"x": kit.states},
    "dynamics.raptor_accuracy": lambda kit: {
        "raptor": sn.dynamics.Raptor.from_model(kit.vit, (0, 4, 12)), "model": kit.vit,
        "inputs": kit.pictures, "labels": torch.tensor([1, 2])},
    "dynamics.capture_states": _on(model="vit", inputs="pictures"),
    "dynamics.pushed_states": lambda kit: {
        "model": kit.vit, "inputs": kit.pictures, "layer": 10, "size": 0.1},
    "dynamics.self_correction": lambda kit: {
        "model": kit.vit, "inputs": kit.pictures, "layer": 10, "size": 0.1},
    "dynamics.swap_layers": lambda kit: {"model": kit.vit, "inputs": kit.pictures, "pairs": [(1, 2)]},
    "dynamics.sizes_of": _on(model="vit"),
    "dynamics.start_from_teacher": lambda kit: {
        "raptor": sn.dynamics.Raptor.from_model(kit.vit, (0, 4, 12)), "model": kit.vit},
    "dynamics.segment_errors": lambda kit: {
        "states": kit.states, "sizes": kit.sizes, "config": kit.raptor_config},
    "dynamics.linearise_phases": lambda kit: {"states": kit.states, "cuts": (0, 1, 3), "rank": 2},
    "dynamics.start_raptor": _on(source="states", cuts="cuts", config="raptor_config"),
    "dynamics.train_raptor": _on(source="states", cuts="cuts", config="raptor_config"),
    "dynamics.phases_at": lambda kit: {"S": kit.S, "cuts": (0, 3, 7)},
    "dynamics.segment_phases": lambda kit: {"S": kit.S, "k": 2},
    "dynamics.phase_evidence": lambda kit: {"S": kit.S, "k": 2},
    "dynamics.RaptorBlock": _on(sizes="sizes"),
    "evaluation.planted_functions": lambda kit: {"acts": kit.prose_acts, "n_each": 1},
    "evaluation.absorption": lambda kit: {
        "sae": kit.sae, "acts": kit.many, "attribute": kit.many[:, 0] > 0},
    "evaluation.as_published": _on(formula="formula", x="x", x_hat="x_hat"),
    "evaluation.atom_stability": lambda kit: {"sae": kit.sae, "others": [kit.sae, kit.dictionary]},
    "evaluation.head_shares": lambda kit: {"sae": kit.sae, "n_heads": 2},
    "evaluation.attribute": lambda kit: {
        "model": kit.model, "batch": next(kit.model.batches(kit.inputs)), "hook_point": "0", "sae": kit.sae},
    "evaluation.babel": lambda kit: {"dictionary": kit.dictionary, "sizes": [1, 2]},
    "evaluation.bridge_score": lambda kit: {"codes": [kit.codes, kit.truth], "dictionary": kit.dictionary},
    "evaluation.compare_firing": lambda kit: {"codes": [kit.codes, kit.truth]},
    "evaluation.compare_itda": _on(first="itda", second="itda", acts="x"),
    "evaluation.critical_sparsity": lambda kit: {},
    "evaluation.identifiability": lambda kit: {"sae": kit.sae, "acts": kit.acts, "truth": kit.x[:, :2] > 0},
    "evaluation.illusion_check": lambda kit: {
        "model": kit.model, "hook_point": "0", "sae": kit.sae, "atom": 1, "base": kit.inputs, "source": -kit.inputs},
    "evaluation.induce_rule": lambda kit: {
        "acts": kit.acts, "codes": kit.codes, "atom": 1, "labels": {"even": kit.on}},
    "evaluation.match_latents": lambda kit: {"codes": kit.codes, "other": kit.truth, "min_firings": 1},
    "evaluation.measure_universality": lambda kit: {"sae": kit.universal, "acts": [kit.acts, kit.acts]},
    "evaluation.merge": lambda kit: {"sae": kit.sae, "acts": kit.x, "n_random": 1},
    "evaluation.meta_dictionary": lambda kit: {"sae": kit.dictionary, "k": 2, "steps": 3},
    "evaluation.probe": lambda kit: {"sae": kit.sae, "acts": kit.x, "labels": kit.on, "ks": (1,)},
    "evaluation.modality_gap": lambda kit: {"embeddings": [kit.x, kit.x]},
    "evaluation.modality_scores": lambda kit: {"codes": [kit.codes, kit.truth]},
    "evaluation.RandomDictionary": _sae_made(k=2, mean=torch.zeros(D_IN)),
    "evaluation.Report": lambda kit: {"measurements": dict(kit.report.items())},
    "evaluation.score_explanations": lambda kit: {
        "sae": sn.load_sae("tiny-gpt/resid_post.3"), "acts": kit.examples.acts, "codes": kit.examples.codes,
        "n_atoms": 1, "n_bootstrap": 0},
    "evaluation.edit_success": lambda kit: {
        "model": kit.model, "inputs": kit.inputs, "hook_point": "0", "dictionary": kit.supervised,
        "attribute": "even", "value": True, "answers": 0, "positions": None},
    "evaluation.necessity": lambda kit: kit.task,
    "evaluation.sparse_control": lambda kit: {
        "model": kit.model, "inputs": kit.inputs, "targets": -kit.inputs, "hook_point": "0",
        "dictionary": kit.sae, "positions": None},
    "evaluation.sufficiency": lambda kit: kit.task,
    "evaluation.stability": lambda kit: {"saes": [kit.sae, kit.dictionary]},
    "evaluation.compare_dictionaries": lambda kit: {
        "dictionaries": {"TopK": lambda seed: sn.TopK(D_IN, N_ATOMS, 2)}, "data": kit.x, "config": kit.config,
        "l0": 2.0, "seeds": (0,)},
    "evaluation.stability_trial": lambda kit: {
        "make": lambda seed: sn.TopK(D_IN, N_ATOMS, 2), "data": kit.x, "config": kit.config, "seeds": (0, 1)},
    "evaluation.stitch": _on(small="sae", large="sae", acts="x"),
    "evaluation.support_recovery": _on(codes="codes", truth="truth"),
    "evaluation.swallowed": lambda kit: {
        "sae": kit.sae, "x": kit.x, "truth": kit.codes, "dictionary": kit.dictionary,
        "parent": torch.tensor([-1] + [0] * (N_ATOMS - 1))},
    "evaluation.token_costs": _on(model="gpt", sae="gpt_sae", acts="gpt_acts", inputs="texts"),
    "evaluation.token_lift": lambda kit: {
        "acts": kit.gpt_acts, "codes": kit.gpt_sae.encode(kit.gpt_acts.x), "min_count": 1,
        "atom": int(kit.gpt_sae.encode(kit.gpt_acts.x).atoms.mode().values)},
    "evaluation.evaluate_saved": _on(folder="saved", acts="x"),
    "evaluation.frozen_decoder": _on(data="x", n_atoms="n_atoms", k="k", config="config"),
    "evaluation.frozen_decoder_cost": _on(data="x", n_atoms="n_atoms", k="k", config="config"),
    "evaluation.which_sae": _on(acts="many"),
    "evaluation.check_fit": lambda kit: {"model": kit.vit, "sae": sn.load_sae("tiny-vit/resid_post.6"), "splice": False},
    "geometry.cluster_points": _on(xy="xy"),
    "lab.DUNL": lambda kit: {"n_kernels": 2, "length": 5},
    "lab.likelihood_gradient": lambda kit: {"x": kit.x[:3], "dictionary": kit.x[3:6], "noise": 0.1, "n_samples": 1},
    "lab.Signatures": lambda kit: {"model": kit.vit, "hook_points": "embed", "n_generators": 1},
    "lab.SparseBayes": lambda kit: {"noise": 0.1, "n_clusters": 2, "n_iterations": 1},
    "lab.GroupNetwork": lambda kit: {"d_in": D_IN, "n_orbits": 2, "order": 3},
    "lab.learn_action": lambda kit: {"x": kit.x, "y": kit.x, "steps": 2},
    "lab.parity_posterior": lambda kit: {"y": _draws(3, 4), "sigma": 1.0},
    "lab.wavelet_score": lambda kit: {"patches": _draws(20, 8, 8), "sigma": 0.5},
    "lab.square_fundamental": lambda kit: {"side": 5},
    "geometry.containment": lambda kit: {"directions": kit.x[:3], "dictionary": kit.x[3:9], "steps": (1, 2)},
    "geometry.mean_cosines": lambda kit: {"x": kit.x, "clusters": np.arange(ROWS) % 3},
    "geometry.class_geometry": lambda kit: {"x": kit.x, "labels": torch.arange(ROWS) % 3},
    "geometry.geometric_stability": lambda kit: {"x": kit.x, "labels": torch.arange(ROWS) % 3, "other": kit.x},
    "geometry.manifold_capture": lambda kit: {"codes": kit.codes, "manifolds": kit.planted, "n_atoms": 4},
    "geometry.UmapProcess": lambda kit: {
        "x": kit.x, "settings": kit.settings, "file": Path("layout")},
    "geometry.umap_layout": lambda kit: {"x": kit.x[:4]},
    "geometry.start_umap": _on(x="x", settings="settings"),
    "interop.Encoding": lambda kit: {"rule": "topk", "k": 2},
    "interop.Imported": _sae_made(
        encoding={"rule": "topk", "k": 2}, origin={"library": "sparsify", "architecture": "topk"}),
    "interop.Origin": lambda kit: {"library": "sparsify", "architecture": "topk"},
    "interop.ImportedCrosscoder": lambda kit: {
        "widths": [4, D_IN - 4], "n_atoms": N_ATOMS, "encoding": {"rule": "relu", "pre_bias": False},
        "origin": {"library": "dictionary_learning", "architecture": "CrossCoder"}},
    "interop.ImportedCrossLayerTranscoder": lambda kit: {
        "widths": [4, D_IN - 4], "n_atoms": N_ATOMS, "encoding": {"rule": "relu", "pre_bias": False},
        "origin": {"library": "circuit-tracer", "architecture": "cross_layer_transcoder"}},
    "interop.read_circuit_tracer": lambda kit: {"path": "layer_0.safetensors"},
    "interop.published": lambda kit: {"part": "gpt2-small-res-jb"},
    "interop.read_dictionary_learning": _written("dictionary_learning"),
    "interop.read_saelens": _written("saelens"),
    "interop.read_sparsify": _written("sparsify"),
    "interop.read_overcomplete": _written("overcomplete"),
    "interop.write_saelens": _on(sae="sae", folder="folder"),
    "interop.write_gemma_scope": lambda kit: {"sae": sn.ReLU(4, 8), "folder": kit.folder},
    "interop.write_openai": lambda kit: {"sae": sn.ReLU(4, 8), "path": f"{kit.folder}.pt"},
    "interop.write_circuit_tracer": lambda kit: {
        "sae": sn.Transcoder(4, 4, 8, base="ReLU"), "path": f"{kit.folder}/layer_0.safetensors"},
    "site.write_site": lambda kit: {"sae": kit.sae, "acts": kit.x, "folder": kit.folder},
    "interop.write_neuronpedia": lambda kit: {"sae": kit.gpt_sae, "acts": kit.gpt_acts, "folder": kit.folder},
    "labelling.AtomLabels": lambda kit: {"entries": {1: sn.labelling.AtomLabel(atom=1, text="a")}},
    "labelling.label": lambda kit: {
        "sae": kit.sae, "acts": kit.many, "attributes": {"even": torch.arange(600) % 2 == 0}, "n_examples": 8,
        "progress": False},
    "labelling.labels": lambda kit: {"file_or_source": {"1": "a"}, "sae": kit.sae},
    "kernels.nested_squared_error": lambda kit: {
        "codes": kit.codes, "dictionary": kit.dictionary, "bias": None, "target": kit.x, "widths": (4, N_ATOMS)},
    "kernels.squared_error": lambda kit: {
        "codes": kit.codes, "dictionary": kit.dictionary, "bias": None, "target": kit.x},
    "kernels.threshold_encode": lambda kit: {"x": kit.x, "weight": kit.weight, "thresholds": 0.5},
    "minkowski.BlockArchetypes": lambda kit: {
        "archetypes": kit.x[:3], "tile_sizes": (3,), "bias": torch.zeros(D_IN)},
    "minkowski.coefficient_blocks": lambda kit: {"z": kit.x},
    "minkowski.decide": lambda kit: {
        "x": kit.x, "tile_sizes": (3,), "config": sn.minkowski.BlockConfig(n_steps=2), "topk_steps": 2},
    "minkowski.fit_block_archetypes": lambda kit: {
        "x": kit.x, "tile_sizes": (3,), "config": sn.minkowski.BlockConfig(n_steps=2)},
    "minkowski.elsewhere_scores": _on(codes="codes", without="truth", on="on"),
    "minkowski.head_mixtures": lambda kit: {"model": kit.vit, "inputs": kit.pictures, "layer": 3},
    "minkowski.linear_probe": lambda kit: {"x": kit.x, "y": torch.arange(ROWS) % 2},
    "minkowski.off_support": lambda kit: {"vertices": kit.x[:3], "x": kit.x},
    "minkowski.path_support": lambda kit: {"x": kit.x, "n_pairs": 3},
    "minkowski.position_subspace": lambda kit: {"x": kit.x, "patch": torch.arange(ROWS) % 4, "grid": (2, 2)},
    "minkowski.recruit": lambda kit: {
        "codes": kit.codes, "dictionary": kit.dictionary, "weight": kit.x[:CLASSES]},
    "minkowski.subspace_coherence": lambda kit: {"dictionary": kit.dictionary, "atoms": torch.arange(4)},
    "models.HookPoint": lambda kit: {"name": "resid_post.0", "path": "blocks.0"},
    "models.load_model": lambda kit: {"name": "tiny-vit"},
    "models.memory_needed": lambda kit: {"name": "tiny-gpt"},
    "models.wrap": lambda kit: {"module_or_nnsight_model": nn.Sequential(nn.Linear(4, 3))},
    "models.train_hidden_rule": lambda kit: {"steps": 1},
    "models.train_bottlenecks": lambda kit: {"sparsities": [0.9], "steps": 3},
    "models.Preprocess": lambda kit: {},
    "pretrained.ClassTrial": lambda kit: {
        "model": kit.vit, "hook_point": "resid_post.6", "pictures": kit.pictures, "labels": torch.tensor([1, 2])},
    "pretrained.SentimentTrial": lambda kit: {
        "model": kit.gpt, "hook_point": "resid_post.3", "prompts": ["The dog"], "seeds": (0,), "max_new_tokens": 2},
    "pretrained.load_examples": lambda kit: {"name": "tiny-gpt/resid_post.3"},
    "pretrained.load_sae": lambda kit: {"folder_or_name": kit.saved},
    "pretrained.story_sentiment": lambda kit: {"text": "The dog came home safe and well."},
    "pursuit.explain_plan": _frame(),
    "pursuit.matching_pursuit": _frame(),
    "pursuit.orthogonal_matching_pursuit": _frame(),
    "pursuit.gradient_pursuit": _frame(),
    "sessions.open_session": lambda kit: {"path": kit.session, "sae": kit.vit_sae},
    "steering.steer": lambda kit: {"model": kit.model, "hook_point": "0", "sae": kit.sae, "atom": 1, "by": 2.0},
    "steering.ablate": lambda kit: {"model": kit.model, "hook_point": "0", "sae": kit.sae, "atom": 1},
    "steering.splice": lambda kit: {"model": kit.model, "hook_point": "0", "edit": torch.zeros_like},
    "steering.best_effect": lambda kit: {
        "model": kit.model, "inputs": kit.inputs, "hook_point": "0", "sae": kit.sae, "by": 1.0, "n_candidates": 2},
    "steering.steering_cost": lambda kit: {
        "model": kit.model, "recipe": sn.steer(kit.model, "0", kit.sae, 1, 2.0).recipe, "texts": kit.inputs,
        "labels": kit.model(kit.inputs).argmax(1), "strengths": [1.0], "n_controls": 1},
    "summaries.contrast": lambda kit: {"sae": kit.sae, "acts_a": kit.x, "acts_b": kit.x + 1},
    "summaries.atom_depths": lambda kit: {"sae": kit.sae, "states": kit.states, "home": 2},
    "summaries.fit_atoms": lambda kit: {"toy": kit.toy, "steps": 3},
    "summaries.row_factors": lambda kit: {"present": kit.x > 0},
    "summaries.summarise_concepts": lambda kit: {"sae": kit.sae, "layout": "pca"},
    "summaries.summarise_pursuit": lambda kit: {"x": kit.x[0], "dictionary": kit.dictionary, "k": 2},
    "summaries.summarise_trace": lambda kit: {
        "x": kit.x, "dictionary": kit.dictionary,
        "trace": sn.architectures.sparse_code(kit.x, kit.dictionary, n_steps=2, trace=True)[1]},
    "summaries.summarise_selectivity": lambda kit: {
        "sae": kit.sae, "acts": kit.x, "factors": kit.factors, "fresh_acts": kit.x, "fresh_factors": kit.factors},
    "summaries.summarise_session": _on(model="model", acts="acts", report="report"),
    "summaries.summarise_steering": lambda kit: {
        "model": kit.model, "inputs": kit.inputs[:1], "sae": kit.sae,
        "recipe": sn.summaries.SteeringRecipe(hook_point="0", atom=1, strength=1.0)},
    "summaries.top_atoms": lambda kit: {"model": kit.model, "sae": kit.sae, "input": kit.inputs[:1], "hook_point": "0"},
    "sweeps.sweep": lambda kit: {
        "data": kit.x, "n_atoms": N_ATOMS, "settings": {"k": [2]}, "seeds": (0,), "config": kit.config},
    "temporal.autocorrelation": _sequences(lags=[1, 2]),
    "temporal.context_projection": _sequences(position=5, windows=[2]),
    "temporal.decompose": _on(sae="temporal", x="sequences"),
    "temporal.dimension_by_position": _sequences(),
    "temporal.event_gap": _sequences(events=torch.arange(12).repeat(6, 1) // 4),
    "temporal.fit_autoregression": _sequences(),
    "temporal.fit_average": _sequences(),
    "temporal.lag_cosine": _sequences(),
    "temporal.path_ratio": _sequences(),
    "temporal.permuted_order": _sequences(seed=0),
    "temporal.unexplained": lambda kit: {"x": kit.sequences, "x_hat": kit.sequences * 0.9},
    "temporal.readout_r2": lambda kit: {
        "codes": kit.x[:30], "target": kit.x[:30, :2], "held_out_codes": kit.x[30:], "held_out_target": kit.x[30:, :2]},
    "temporal.spliced_documents": lambda kit: {
        "documents": [torch.arange(40) + 100 * i for i in range(4)], "n": 2, "piece_tokens": 8},
    "temporal.story_events": lambda kit: {
        "boundary_story": torch.tensor([0]), "boundary": torch.tensor([4]), "token_starts": [[0, 2, 4, 7]]},
    "temporal.Sequences": lambda kit: {"acts": kit.sequences},
    "training.TrainConfig": lambda kit: {},
    "training.train": _on(sae="sae", data="x", config="config"),
    "training.start_training": _on(sae="sae", data="x", config="config"),
    "uses.bench": lambda kit: {"sae": kit.sae, "model": kit.model, "rows": ["tpp"], "hook_point": "0", "tasks": kit.bench_tasks},
    "uses.BenchTasks": lambda kit: {"inputs": kit.many[:48], "labels": {"third": torch.arange(48) % 3}},
    "uses.cluster": lambda kit: {"docs": kit.docs, "n_clusters": 2},
    "uses.cooccurrence": _on(docs="docs"),
    "uses.debug": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "prompt": "The cat", "hook_point": "resid_post.1", "max_new_tokens": 2},
    "uses.diff": _on(docs_a="docs", docs_b="docs"),
    "uses.documents": _on(model="model", sae="sae", texts_or_images="x", hook_point="hook_point"),
    "uses.footprint": _on(docs="docs"),
    "uses.or_rule": _on(docs="docs", labels="on"),
    "uses.or_rule_by_layer": lambda kit: {
        "docs": [kit.docs, replace(kit.docs, hook_point="1")], "labels": kit.on},
    "uses.overlap": lambda kit: {"test_sets": {"a": kit.docs, "b": kit.docs}},
    "uses.penalty": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "atoms": [1, 2], "hook_point": "resid_post.1"},
    "uses.redundancy": _on(docs="docs"),
    "uses.repetition": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "texts": ["a cat a cat a cat a cat"], "hook_point": "resid_post.1"},
    "uses.retrieve": lambda kit: {"docs": kit.docs, "query": 1},
    "uses.rise": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "texts": ["A cat. It sat."], "hook_point": "resid_post.1",
        "rules": {"sat": "sat"}},
    "uses.rise_effect": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "found": kit.rise, "prompts": ["A cat."], "behaviour": "sat",
        "max_new_tokens": 2},
    "uses.select": _on(docs="docs", n="n"),
    "uses.watch": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "prompt": "The cat", "hook_point": "resid_post.1", "atoms": [1]},
    "vision.annotate": lambda kit: {
        "images": kit.pictures, "model": kit.vit, "sae": kit.vit_sae, "hook_point": "resid_post.2"},
    "vision.discover": lambda kit: {
        "images": sn.data.scenes(4).images, "model": kit.vit, "sae": kit.vit_sae, "hook_point": "resid_post.2",
        "factors": {"digit": sn.data.scenes(4).mask}, "methods": ["neurons"]},
    "vision.attribution": lambda kit: {"model": kit.vit, "image": kit.pictures, "method": "gradient"},
    "vision.attribution_stability": lambda kit: {
        "one": kit.maps, "other": kit.maps, "n_shuffles": 1, "n_bootstrap": 1},
    "vision.concept_bottleneck": lambda kit: {
        "model": kit.vit, "images": sn.data.scenes(12).images, "concepts": {"even": torch.arange(12) % 2},
        "hook_point": "resid_post.2", "labels": torch.arange(12) % 3},
    "vision.blindspots": lambda kit: {"docs_a": kit.docs, "docs_b": kit.docs, "n_permutations": 20},
    "uses.spatial_autocorrelation": lambda kit: {
        "docs": kit.docs, "latitude": torch.linspace(-60, 60, len(kit.docs)),
        "longitude": torch.linspace(0, 90, len(kit.docs)), "n_neighbours": 2, "n_permutations": 19,
        "min_count": 1},
    "uses.text_dimension": lambda kit: {"model": kit.gpt, "texts": kit.long_texts, "length": 40},
    "vision.complexity_of": lambda kit: {"layers": [kit.x], "features": kit.x[:, :2].contiguous()},
    "vision.feature_complexity": lambda kit: {
        "model": kit.vit, "sae": kit.vit_sae, "images": sn.data.scenes(6).images, "hook_point": "resid_post.2"},
    "vision.concept_curves": lambda kit: {
        "head": kit.answer, "codes": kit.x.abs(), "importance": torch.ones(D_IN), "n_random": 2},
    "vision.concept_head": lambda kit: {
        "model": kit.vit, "sae": kit.vit_sae, "images": kit.pictures, "hook_point": "resid_post.9", "n_concepts": 2},
    "vision.craft": lambda kit: {
        "model": kit.vit, "images": kit.pictures, "hook_point": "resid_post.9", "n_concepts": 2},
    "vision.corrupt": lambda kit: {"images": kit.pictures, "kind": "blur", "strength": 0.5},
    "vision.robustness": lambda kit: {
        "model": kit.vit, "sae": kit.vit_sae, "images": sn.data.scenes(10).images, "hook_point": "resid_post.2",
        "reference": sn.data.scenes(10).images, "corruptions": ["noise"], "strengths": [0.5], "n_bootstrap": 2},
    "vision.bridge_view": lambda kit: {"codes": [kit.codes, kit.truth], "dictionary": kit.dictionary},
    "vision.maximise": lambda kit: {
        "model": kit.vit, "sae": kit.vit_sae, "atom": 1, "hook_point": "resid_post.0", "images": kit.pictures,
        "n_steps": 1, "n_crops": 1},
    "vision.pixel_fidelity": lambda kit: {
        "model": kit.vit, "images": kit.pictures, "maps": {"bright": kit.pictures.mean(dim=1)},
        "baselines": ["zero"], "n_steps": 1, "n_masks": 3, "n_bootstrap": 1},
    "vision.sobol": lambda kit: {"head": kit.answer, "codes": kit.x.abs(), "n_designs": 4},
    "sae_nb_widgets.AtomBrowser": _on(sae="sae", acts="acts"),
    "sae_nb_widgets.AtomQuiz": _on(sae="sae", acts="acts"),
    "sae_nb_widgets.CircuitPanel": lambda kit: {"graph": kit.graph, "node": -1, "threshold": 0.5},
    "sae_nb_widgets.ConceptMap": _on(sae="sae", acts="acts"),
    "sae_nb_widgets.CorpusPanel": _on(docs_a="docs", docs_b="docs"),
    "sae_nb_widgets.DepthTrajectory": _on(model="vit", inputs="pictures"),
    "sae_nb_widgets.GenerationLens": lambda kit: {
        "model": kit.gpt, "sae": kit.gpt_sae, "hook_point": "resid_post.1", "prompt": "A cat sat."},
    "sae_nb_widgets.InputLens": lambda kit: {"model": kit.vit, "sae": kit.vit_sae, "hook_point": "resid_post.6"},
    "sae_nb_widgets.PursuitStepper": _on(x="x", dictionary="dictionary"),
    "sae_nb_widgets.ReportCard": _on(reports="reports"),
    "sae_nb_widgets.SteeringPanel": _on(model="model", hook_point="hook_point", sae="sae", inputs="inputs"),
    "sae_nb_widgets.SuperpositionToy": lambda kit: {"toys": [kit.toy], "find_atoms": False},
    "sae_nb_widgets.TemporalPanel": lambda kit: {"model": None, "sae": kit.temporal, "given": kit.sequences[0]},
    "sae_nb_widgets.TrainingMonitor": lambda kit: {
        "run": sn.train(kit.sae, kit.x, kit.config, progress=False)},
    "sae_nb_widgets.dashboard": _on(model="vit", sae="vit_sae", acts="vit_acts"),
    "sae_nb_widgets.open_dashboard": _on(session="session", model="vit", sae="vit_sae", acts="vit_acts"),
    "sae_nb_widgets.theme": lambda kit: {},
}  # fmt: skip
"""Room and name → the arguments of a call that works."""


def _texts_and_codes(kit: Kit) -> Any:
    return kit.codes


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
    "training.History": "a list",
    "training.TrainingRun": "made by start_training",
    "training.workers": "starts a process group",
    "vision.ConceptHead": "made by craft and concept_head",
    "sae_nb_widgets.Dashboard": "made by dashboard",
    "sae_nb_widgets.DrawPad": "a part of panels",
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
}  # fmt: skip
"""Readers of files that nothing of ours writes: only what is wrong can be tried."""

MADE_BY_HAND = {
    "architectures.Recipe", "codes.SparseCodes", "data.Paper", "dynamics.BlockSizes", "dynamics.RaptorConfig",
    "evaluation.Report", "geometry.LayoutSettings", "interop.Encoding", "interop.Origin", "lab.DUNL", "lab.GroupNetwork", "lab.KDS", "lab.KernelSimilarity", "lab.Momentum", "lab.PatchMosaic", "lab.Signatures", "lab.SparKer", "lab.SparseBayes", "lab.WLSC", "lab.Waves", "minkowski.BlockConfig",
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

    def given(self, kit: Kit) -> dict[str, Any]:
        """Arguments of a call that works, small where that costs nothing."""
        small = {name: SMALL[name] for name in self.signature.parameters if name in SMALL}
        return small | self.arguments(kit)


def doors() -> dict[str, Any]:
    """Return room and name → what lies there, each object once, of every public room but the tools."""
    rooms = [f"sae_nb.{room.name}" for room in pkgutil.iter_modules(sn.__path__)]
    rooms += [f"sae_nb.studies.{room.name}" for room in pkgutil.iter_modules(sn.studies.__path__)]
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
            yield Call(name, lambda kit, thing=thing: thing, make, inspect.signature(thing))
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
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return None
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if not all(hasattr(Kit, argument) for argument in needed):
        return None
    return lambda kit: {argument: getattr(kit, argument) for argument in needed}


def _panel(name: str) -> Any:
    return getattr(import_module("sae_nb_widgets"), name)


def _kept(name: str) -> Path:
    folder = Path.cwd().parent / "kept" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _text_folder() -> Path:
    folder = _kept("texts")
    (folder / "tale.txt").write_text("Once upon a time.\n\nThe end.\n")
    return folder


def _picture_folder() -> Path:
    from PIL import Image

    folder = _kept("pictures")
    (folder / "cats").mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(folder / "cats" / "tom.png")
    return folder
