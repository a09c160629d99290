"""ImportedTemporal: temporal SAEs that SAELens or their authors saved, for use on sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from sae_nb.architectures import Temporal
from sae_nb.checks import checked
from sae_nb.files._tensors import read_tensors
from sae_nb.interop._foreign import (
    Stated,
    accounted,
    check_holds,
    flat_yaml,
    known_hook_point,
    named_errors,
    stated_k,
    stated_tensors,
)
from sae_nb.interop._imported import FromFile, Origin, usual_positions

CONFIG, WEIGHTS = "conf.yaml", "latest_ckpt.safetensors"
LIBRARY = "Temporal Feature Analysis"
DIVISOR = 4
"""Theirs is λ = 1 / (4 d_in)."""
_NUMBERS: tuple[tuple[str, str, int, str, int], ...] = (
    ("n_heads", "n_heads", 8, "sae.n_heads", 4),
    ("n_layers", "n_attn_layers", 1, "sae.n_attn_layers", 1),
    ("bottleneck_factor", "bottleneck_factor", 64, "sae.bottleneck_factor", 1),
)
"""Our setting; its name and default in SAELens, and in the authors' files."""
UNLIMITED = 2**31 - 1
"""Files do not say on what context they were trained: every token sees all before it."""


class ImportedTemporal(FromFile, Temporal):
    """A temporal SAE read from a file: predicted part by attention over the past, novel part sparse.

    It is an `sn.Temporal` of the published form, only not for training. Atoms are in the model's units and
    need not have unit norm, so codes are as the file's own library has them.

    Parameters
    ----------
    k
        Novel atoms per token; None: all that are positive.
    tied
        Whether the encoder is the dictionary, up to one number.
    """

    unit_atoms = False

    def __new__(cls, *_: object, k: int | None = None, **__: object) -> ImportedTemporal:
        """Return an object whose novel part is encoded as the file specifies."""
        made = super().__new__(cls, novel="ReLU" if k is None else "TopK")
        return cast(ImportedTemporal, made)

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
        origin: Origin | dict[str, Any],
    ) -> None:
        super().__init__(
            d_in,
            n_atoms,
            n_atoms if k is None else k,
            n_heads=n_heads,
            bottleneck_factor=bottleneck_factor,
            n_layers=n_layers,
            novel="ReLU" if k is None else "TopK",
            tied=tied,
            prescale=1.0,
            context=UNLIMITED,
        )
        self.origin = origin if isinstance(origin, Origin) else Origin(**origin)
        self.position_policy = usual_positions(self.origin)

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it."""
        names = ("d_in", "n_atoms", "n_heads", "n_layers", "bottleneck_factor", "tied")
        own = {name: getattr(self, name) for name in names}
        return {**own, "k": getattr(self, "k", None), "origin": asdict(self.origin)}

    def after_optimiser_step(self) -> None:
        """Do nothing: atoms keep the norms they came with."""


def temporal_of_saelens(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: Origin
) -> ImportedTemporal:
    """Put together a temporal SAE that SAELens saved."""
    kind = _kind(config.get("sae_diff_type", "topk"))
    return _assembled(
        tensors["W_dec"],
        tensors["b_dec"],
        None if config.get("tied_weights", True) else tensors["W_enc"].T,
        _attention(tensors),
        k=config.get("kval_topk") if kind == "topk" else None,
        **{ours: int(config.get(name, default)) for ours, name, default, _, _ in _NUMBERS},
        factor=float(config.get("activation_normalization_factor", 1.0)),
        origin=origin,
    )


@torch.no_grad()
def saelens_temporal(sae: Temporal) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and facts in SAELens' terms: the published form, without thresholds per atom, or None.

    There one encoder serves attention and novel codes, λ = 1 / (4 d_in) comes on top, and nothing is
    scaled: attention's own gain moves into the three maps that read its codes.
    """
    if sae.strict or sae.novel not in ("TopK", "ReLU") or bool(sae.encoder.bias.any()):
        return None
    encoder = sae.encoder.weight.float() * DIVISOR * sae.d_in
    gain = sae.prescale * sae.scaling.scale.float()
    read = (".k_ctx.weight", ".q_target.weight", ".v_ctx.weight")
    attention = {
        name: tensor.float() * (gain if name.endswith(read) else 1.0)
        for name, tensor in _attention(sae.state_dict()).items()
    }
    facts = {
        **{name: getattr(sae, ours) for ours, name, _, _, _ in _NUMBERS},
        "sae_diff_type": "topk" if sae.novel == "TopK" else "relu",
        "kval_topk": sae.settings()["k"] if sae.novel == "TopK" else None,
        "tied_weights": False,
        "activation_normalization_factor": 1.0,
    }
    return {"W_enc": encoder.T, **attention}, facts


@checked
@named_errors
def read_temporal(folder: str | Path) -> ImportedTemporal:
    """Read a temporal SAE as its authors publish them.

    Parameters
    ----------
    folder
        Holds `conf.yaml` and `latest_ckpt.safetensors`.

    Raises
    ------
    FileNotFoundError: If a file is missing.
    ValueError: If a number or tensor is missing, or a file is damaged.

    Source
    ------
    Lubana et al., "Priors in Time", arXiv 2511.01836; layout as in eslubana/TemporalFeatureAnalysis.
    """
    folder = Path(folder)
    facts = Stated(flat_yaml(folder / CONFIG))
    tensors = stated_tensors(read_tensors(folder / WEIGHTS))
    check_holds(tensors, ("D", "b"), folder / WEIGHTS, "Is it of that library?")
    tied = facts.get("sae.tied_weights", "true").lower() == "true"
    kind = _kind(facts.get("sae.sae_diff_type", "topk"))
    known = facts.get("sae.kval_topk") if kind != "relu" else None
    sae = _assembled(
        tensors["D"],
        tensors["b"],
        None if tied else tensors["E"].T,
        _attention(tensors),
        k=None if known is None else stated_k(float(known), folder / CONFIG, "sae.kval_topk"),
        **{ours: int(facts.get(name, default)) for ours, _, _, name, default in _NUMBERS},
        factor=float(facts.get("sae.scaling_factor", 1.0)),
        origin=Origin(library=LIBRARY, architecture=kind, model_name=facts.get("llm.model_name")),
    )
    return accounted(sae, tensors, facts)


def _attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in tensors if name.startswith("attn_layers.")}


def _kind(value: object) -> str:
    """Return how the novel part is chosen, of the two rules that there are."""
    if value not in ("topk", "relu"):
        raise ValueError(
            f"`sae_diff_type` in the configuration must be 'topk' or 'relu', got {value!r}: such an SAE is not "
            "read."
        )
    return str(value)


def _assembled(
    dictionary: Tensor,
    bias: Tensor,
    encoder: Tensor | None,
    attention: dict[str, Tensor],
    *,
    factor: float,
    **settings: Any,
) -> ImportedTemporal:
    """The file's x ↦ x·factor and λ = 1 / (4 d_in) are folded into atoms, bias and encoder."""
    n_atoms, d_in = dictionary.shape
    sae = ImportedTemporal(d_in, n_atoms, tied=encoder is None, **settings)
    state = {"operator.weight": dictionary / factor, "pre_bias": bias / factor, **attention}
    if encoder is None:
        state["encoder.gain"] = torch.full((n_atoms,), factor**2 / (DIVISOR * d_in))
    else:
        state["encoder.weight"] = encoder * factor / (DIVISOR * d_in)
    kept_state = dict(sae.state_dict()) | {"initialised": torch.tensor(data=True)}
    try:
        sae.load_state_dict(kept_state | {n: t.to(torch.float32) for n, t in state.items()})
    except RuntimeError as error:
        raise ValueError(
            f"The tensors in the file must fit its settings {settings}, and do not ({error}). It may be "
            "damaged, or of another version."
        ) from error
    sae.hook_point = known_hook_point(sae.origin.hook_name)
    sae.model_name = sae.origin.model_name
    return sae.eval()
