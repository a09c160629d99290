"""ImportedTemporal: temporal SAEs that SAELens or their authors saved, for use on sequences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.architectures.base import SparseAutoencoder, TrainingLoss
from sae_nb.architectures.operators import DenseOperator
from sae_nb.architectures.recipe import Recipe
from sae_nb.codes import SparseCodes
from sae_nb.files import read_tensors
from sae_nb.interop.imported import NO_TRAINING, Origin
from sae_nb.interop.selections import kept, largest
from sae_nb.temporal.attention import CodeAttention
from sae_nb.temporal.prediction import Prediction, predict

CONFIG, WEIGHTS = "conf.yaml", "latest_ckpt.safetensors"
LIBRARY = "Temporal Feature Analysis"


class ImportedTemporal(SparseAutoencoder):
    """A temporal SAE read from a file: predicted part by attention over the past, novel part sparse.

    `encode` gives the novel codes, `sae(x)` predicted and novel parts together. Activations are
    sequences, (batch, time, d_in) or one (time, d_in): order matters. Atoms need not have unit norm.

    Parameters
    ----------
    d_in, n_atoms
        Sizes.
    k
        Novel atoms per token; None: all that are positive.
    n_heads, n_layers, bottleneck_factor
        Shape of the attention.
    tied
        Whether the encoder is the dictionary.
    factor
        Activations are multiplied by it first.
    origin
        Where it comes from.
    """

    unit_atoms = False

    encoder: Tensor

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        *,
        k: int | None,
        n_heads: int,
        n_layers: int,
        bottleneck_factor: int,
        tied: bool,
        factor: float,
        origin: Origin | dict[str, Any],
    ) -> None:
        super().__init__(DenseOperator(d_in, n_atoms))
        self.k, self.tied, self.factor = k, tied, factor
        self.shape = {
            "n_heads": n_heads,
            "n_layers": n_layers,
            "bottleneck_factor": bottleneck_factor,
        }
        self.origin = origin if isinstance(origin, Origin) else Origin(**origin)
        if not tied:
            self.register_parameter("encoder", nn.Parameter(torch.zeros(n_atoms, d_in)))
        self.attn_layers = nn.ModuleList(
            CodeAttention(n_atoms, n_heads, bottleneck_factor) for _ in range(n_layers)
        )

    def settings(self) -> dict[str, Any]:
        """Constructor arguments that rebuild it."""
        sizes = {"d_in": self.d_in, "n_atoms": self.n_atoms, "k": self.k, **self.shape}
        return {**sizes, "tied": self.tied, "factor": self.factor, "origin": asdict(self.origin)}

    def encode(self, x: Float[Tensor, "*batch time d_in"], k: int | None = None) -> SparseCodes:
        """Find the novel codes of sequences.

        Parameters
        ----------
        x
            Activations in order of time.
        k
            Novel atoms per token; None is the SAE's own.

        Raises
        ------
        ValueError
            If `x` is not one sequence or a batch of them, of this width and finite.
        """
        prediction = self.predict(x)
        return self._novel(prediction, self.k if k is None else k).reshape(*x.shape[:-1])

    def forward(self, x: Float[Tensor, "*batch time d_in"]) -> Float[Tensor, "*batch time d_in"]:
        """Reconstruct sequences: predicted part, novel part and bias.

        Parameters
        ----------
        x
            Activations in order of time.
        """
        prediction = self.predict(x)
        novel = self.decode(self._novel(prediction, self.k))
        predicted = prediction.codes.flatten(0, 1) @ self.dictionary
        return ((predicted + novel) / self.factor).reshape(x.shape).to(x.dtype)

    def predict(self, x: Float[Tensor, "*batch time d_in"]) -> Prediction:
        """What the past says of sequences.

        Parameters
        ----------
        x
            Activations in order of time.
        """
        if x.ndim not in (2, 3):
            raise ValueError(
                "`x` must be one sequence (time, d_in) or a batch of them (batch, time, d_in), got "
                f"shape {tuple(x.shape)}."
            )
        rows = self._rows(x) * self.factor - self.bias
        sequences = rows.reshape(-1, x.shape[-2], self.d_in)
        layers = [layer for layer in self.attn_layers if isinstance(layer, CodeAttention)]
        atoms = self.dictionary
        return predict(sequences, self._encoder_rows(), atoms, layers, gain=self._gain)

    def recipe(self) -> Recipe:
        """Refuse: imported SAEs are not trained."""
        raise TypeError(NO_TRAINING)

    def training_loss(
        self,
        x: Float[Tensor, "rows d_in"],  # noqa: ARG002
        silent_tokens: Int[Tensor, " n_atoms"],  # noqa: ARG002
        dead_after: int,  # noqa: ARG002
        step_fraction: float,  # noqa: ARG002
    ) -> TrainingLoss:
        """Refuse: imported SAEs are not trained.

        Parameters
        ----------
        x, silent_tokens, dead_after, step_fraction
            Not used.
        """
        raise TypeError(NO_TRAINING)

    @property
    def _gain(self) -> float:
        return 1 / (4 * self.d_in)

    def _encoder_rows(self) -> Tensor:
        return self.dictionary if self.tied else self.encoder

    def _novel(self, prediction: Prediction, k: int | None) -> SparseCodes:
        rows = prediction.residual.flatten(0, 1)
        z = torch.relu((rows * self._gain) @ self._encoder_rows().T)
        return kept(z, torch.ones_like(z, dtype=torch.bool) if k is None else largest(z, k))

    def _encode(self, x: Float[Tensor, "rows d_in"], k: int | None) -> SparseCodes:
        return self._novel(self.predict(x), k)


def temporal_of_saelens(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: Origin
) -> ImportedTemporal:
    """Put together a temporal SAE that SAELens saved.

    Parameters
    ----------
    config, tensors
        Contents of its two files.
    origin
        What the file states.
    """
    kind = config.get("sae_diff_type", "topk")
    return _assembled(
        tensors["W_dec"],
        tensors["b_dec"],
        None if config.get("tied_weights", True) else tensors["W_enc"].T,
        {name: value for name, value in tensors.items() if name.startswith("attn_layers.")},
        k=config.get("kval_topk") if kind == "topk" else None,
        n_heads=int(config.get("n_heads", 8)),
        n_layers=int(config.get("n_attn_layers", 1)),
        bottleneck_factor=int(config.get("bottleneck_factor", 64)),
        factor=float(config.get("activation_normalization_factor", 1.0)),
        origin=origin,
    )


def read_temporal(folder: str | Path) -> ImportedTemporal:
    """Read a temporal SAE as its authors publish them.

    Parameters
    ----------
    folder
        Holds `conf.yaml` and `latest_ckpt.safetensors`.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a number or tensor is missing, or a file is damaged.

    Source
    ------
    Lubana et al., "Priors in Time", arXiv 2511.01836; layout as in eslubana/TemporalFeatureAnalysis.
    """
    folder = Path(folder)
    facts = _flat_yaml(folder / CONFIG)
    tensors = read_tensors(folder / WEIGHTS)
    missing = {"D", "b"} - set(tensors)
    if missing:
        raise ValueError(
            f"{str(folder / WEIGHTS)!r} must hold 'D' and 'b', and {sorted(missing)[0]!r} is missing."
        )
    tied = facts.get("sae.tied_weights", "true").lower() == "true"
    kind = facts.get("sae.sae_diff_type", "topk")
    return _assembled(
        tensors["D"],
        tensors["b"],
        None if tied else tensors["E"].T,
        {name: value for name, value in tensors.items() if name.startswith("attn_layers.")},
        k=int(facts["sae.kval_topk"]) if kind != "relu" and "sae.kval_topk" in facts else None,
        n_heads=int(facts.get("sae.n_heads", 4)),
        n_layers=int(facts.get("sae.n_attn_layers", 1)),
        bottleneck_factor=int(facts.get("sae.bottleneck_factor", 1)),
        factor=float(facts.get("sae.scaling_factor", 1.0)),
        origin=Origin(library=LIBRARY, architecture=kind, model_name=facts.get("llm.model_name")),
    )


def _assembled(
    dictionary: Tensor,
    bias: Tensor,
    encoder: Tensor | None,
    attention: dict[str, Tensor],
    **settings: Any,
) -> ImportedTemporal:
    n_atoms, d_in = dictionary.shape
    sae = ImportedTemporal(d_in, n_atoms, tied=encoder is None, **settings)
    state = {"operator.weight": dictionary, "pre_bias": bias, **attention}
    if encoder is not None:
        state["encoder"] = encoder
    kept_state = dict(sae.state_dict()) | {"initialised": torch.tensor(data=True)}
    try:
        sae.load_state_dict(kept_state | {n: t.to(torch.float32) for n, t in state.items()})
    except RuntimeError as error:
        raise ValueError(
            f"The tensors in the file must fit its settings {settings}, and do not ({error}). It may be "
            "damaged, or of another version."
        ) from error
    from sae_nb.interop.hook_names import known_hook_point

    sae.hook_point = known_hook_point(sae.origin.hook_name)
    sae.model_name = sae.origin.model_name
    return sae.eval()


_LINE = re.compile(r"^(?P<indent>\s*)(?P<name>[\w.-]+)\s*:\s*(?P<value>[^#]*)")


def _flat_yaml(path: Path) -> dict[str, str]:
    """Two levels of plain `name: value` lines, which is all these files use."""
    if not path.is_file():
        raise FileNotFoundError(f"No file {str(path)!r}. Check the folder's name and contents.")
    facts: dict[str, str] = {}
    section = ""
    for line in path.read_text("utf-8").splitlines():
        if match := _LINE.match(line):
            value = match["value"].strip().strip("'\"")
            if not match["indent"]:
                section = match["name"]
            if value:
                facts[f"{section}.{match['name']}" if match["indent"] else section] = value
    return facts
