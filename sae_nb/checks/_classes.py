"""Classes of ours that public calls take, by name: the checks are below all of them."""

from __future__ import annotations

CLASSES = {
    "LiveModel": "a live model. Use sae_nb.load_model(name) or sae_nb.wrap(module).",
    "SparseAutoencoder": "a sparse autoencoder. Use sn.load_sae, or make one such as sn.TopK(…).",
    "SparseCodes": "SparseCodes. Use what sae.encode(x) returns.",
    "Activations": "Activations. Use what sn.capture returns, or Activations.from_tensor(x).",
    "TrainConfig": "a TrainConfig. Use sn.TrainConfig(…).",
    "RaptorConfig": "a RaptorConfig. Use sn.dynamics.RaptorConfig(…).",
    "BlockConfig": "a BlockConfig. Use sn.minkowski.BlockConfig(…).",
    "BlockSizes": "BlockSizes. Use sn.dynamics.sizes_of(model).",
    "LayoutSettings": "LayoutSettings. Use sn.geometry.LayoutSettings(…).",
    "Raptor": "a Raptor. Use what sn.dynamics.train_raptor returns as `.raptor`.",
    "Bottleneck": "a Bottleneck. Use what sn.models.train_bottlenecks returns.",
    "BlockArchetypes": "BlockArchetypes. Use what sn.minkowski.fit_block_archetypes returns.",
    "TileCodes": "TileCodes. Use what the archetypes' encode returns.",
    "AtomCatalogue": "an AtomCatalogue. Use sn.atoms.AtomCatalogue(sae, acts).",
    "ExampleStore": "examples. Use sn.load_examples(…).",
    "SupervisedDictionary": (
        "a SupervisedDictionary. Make one with sn.supervised_dictionary(acts, attributes)."
    ),
    "ITDA": "an ITDA. Make one with sn.ITDA(d_in, k).fit(acts).",
    "UniversalSAE": "a UniversalSAE. Make one with sn.UniversalSAE([d_1, d_2], …).",
    "HiddenRules": "stories with a hidden rule. Use sn.data.hidden_rules(…).",
    "SteeringRecipe": "a SteeringRecipe. Use sn.steering.SteeringRecipe(…).",
    "Operator": "an operator. Use one such as sn.architectures.FixedOperator(dictionary).",
    "Encoding": "an Encoding. Use sn.interop.Encoding(…).",
    "Origin": "an Origin. Use sn.interop.Origin(…).",
    "Paper": "a Paper. Use sn.data.Paper(…).",
    "Batch": "a batch. Use next(model.batches(inputs)).",
    "SolverTrace": "a SolverTrace. Use the second of what sparse_code(…, trace=True) returns.",
    "Penalty": "a penalty. Use one such as sn.architectures.SoftProx(0.1).",
    "Factor": "a factor. Use what sn.evaluation.row_factors returns.",
    "RowFacts": "RowFacts. Leave it out: they are made from the activations.",
    "Reading": "a reading of the model. Leave it out: then it is made.",
    "Report": "a report. Use what sn.evaluate returns.",
    "Lens": "a lens. Use what sn.fit_lens or sn.load_lens returns.",
    "LensCheck": "the score of a lens. Use what lens.check(held_out, sae) returns.",
    "Curve": "a curve. Use what sn.geometry.curve returns.",
    "BestEffect": "a best effect. Use what sn.best_effect returns.",
    "LearnedAdjoint": "a learned adjoint. Use sn.architectures.LearnedAdjoint(operator).",
    "Prox": "a penalty. Use one such as sn.architectures.SoftProx(0.1).",
    "TopK": "a TopK SAE. Use sn.TopK(…).",
    "Documents": "documents. Use what sn.uses.documents returns.",
    "PixelAttribution": "maps. Use what sn.vision.attribution returns.",
    "AttributionGraph": "a graph. Use what sn.circuits.attribution_graph returns.",
    "Algorithm": "an algorithm. Use sn.circuits.Algorithm(inputs=…, variables=…, read=…, answer=…).",
    "Task": "a task. Use sn.circuits.Task(inputs=…, answers=…).",
    "MatrixOperator": "an operator. Use one such as sn.architectures.DenseOperator(…).",
}
"""Classes of ours that public calls take: what a message calls them, and where one gets them."""

LIKE = {
    "Operator": ("adjoint",),
    "LiveModel": ("hook_points",),
    "SparseAutoencoder": ("dictionary",),
    "Activations": ("batches",),
    "Prox": ("of_affine",),
    "TopK": ("dictionary",),
}
"""Objects that are accepted in their place: an object of one's own with one of these."""
