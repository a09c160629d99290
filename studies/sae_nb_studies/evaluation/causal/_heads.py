"""The attention head an atom belongs to, and the tokens the head took it from.

An SAE at `head_out.L` reads the outputs of a layer's heads side by side, x_t = [x_t¹ … x_tᴴ] with
x_tʰ = Σ_s A_tsʰ v_sʰ. With the pattern A held as it is, what an atom reads off x_t is a sum over heads and
source tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.checks import between, check_atom, checked
from sae_nb.findings import Finding
from sae_nb.models import read_attention
from sae_nb.steering import policy_for
from sae_nb.steering.edits import Positions

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel


class HeadSources(Finding):
    """The input of an atom at one position, split over heads and source positions."""

    atom: int
    position: int
    """Of the input, where the atom is read."""

    tokens: tuple[str, ...]
    """Names of the input's positions."""

    contributions: Float[np.ndarray, "heads source"]
    """A_tsʰ ⟨v_sʰ, e_jʰ⟩: they add up to ⟨x_t, e_j⟩. In the units of activations."""

    strength: float
    """The atom's code there; 0 where it is silent."""

    @property
    def headline(self) -> str:
        """The head that brings most, and where from."""
        head, source = np.unravel_index(self.contributions.argmax(), self.contributions.shape)
        return (
            f"atom {self.atom} at {self.position} “{self.tokens[self.position]}”: most comes from head {head}, "
            f"which takes it from {source} “{self.tokens[source]}”"
        )

    @property
    def table(self) -> DataFrame:
        """Heads and sources by the size of their contribution: `head`, `source`, `token`, `contribution`.

        Sources that a head cannot see (later tokens of a causal model) are left out.
        """
        import pandas as pd

        head, source = np.nonzero(self.contributions)
        value = self.contributions[head, source]
        order = np.argsort(-np.abs(value), kind="stable")
        columns = {"head": head, "source": source, "token": [self.tokens[s] for s in source]}
        table = pd.DataFrame(columns | {"contribution": value}).iloc[order]
        return table.reset_index(drop=True)

    @property
    def by_head(self) -> Float[np.ndarray, " heads"]:
        """Contribution of each head, over all sources."""
        return self.contributions.sum(axis=1)

    @property
    def by_source(self) -> Float[np.ndarray, " source"]:
        """Contribution of each position, over all heads."""
        return self.contributions.sum(axis=0)


@checked
def head_sources(
    model: LiveModel,
    sae: SparseAutoencoder,
    inputs: Any,
    atom: int,
    *,
    hook_point: str | None = None,
    position: int | None = None,
) -> HeadSources:
    """Split what an atom reads at one position over attention heads and the tokens they read.

    The atom's row e_j of the encoder (of the dictionary, where there is no encoder) reads
    ⟨x_t, e_j⟩ = Σ_h Σ_s A_tsʰ ⟨v_sʰ, e_jʰ⟩. The pattern is held as it is: why a head looks at a token is not
    asked.

    Parameters
    ----------
    model
        One whose attention torch's `scaled_dot_product_attention` computes, grouped queries included.
    sae
        Trained on `head_out.L`.
    inputs
        One text, picture or row of token ids.
    hook_point
        Of the SAE; None: `sae.hook_point`.
    position
        In the input; None: where the atom is strongest, of the positions that the SAE is for.

    Raises
    ------
    ValueError: If the hook point is not a `head_out`.

    Source
    ------
    Kissane et al., arXiv 2406.17759, §4.1 (direct feature attribution by source position).

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> acts = sn.capture(gpt, ["The dog ran home. The dog slept."], "head_out.2", progress=False)
    >>> sae = sn.TopK(d_in=acts.d_in, n_atoms=16, k=2)
    >>> sae.initialise(acts.x)
    >>> found = head_sources(gpt, sae, "The dog ran home.", 3, hook_point="head_out.2")
    >>> found.contributions.shape
    (4, 6)
    """
    point, layer = _head_out(model, sae, hook_point)
    atom = check_atom(atom, sae.n_atoms)
    (batch,) = model.batches(inputs if isinstance(inputs, Tensor) else [inputs])
    if batch.n != 1:
        raise ValueError(f"`inputs` must be one input, got {batch.n}. Pass one of them.")
    rows = capture(model, inputs if isinstance(inputs, Tensor) else [inputs], str(point),
                   drop_first=False, keep_special=True, progress=False)  # fmt: skip
    codes = np.asarray(sae.encode(rows.x))[:, atom]
    # Not where the SAE was never trained: an attention sink has the strongest code of many atoms.
    policy = policy_for(model, sae)
    kept = Positions(policy).mask(rows.x[None], batch.to("cpu").state())
    kept = (kept & ~policy.massive(rows.x[None], kept, point))[0]
    among = np.where(kept if bool(kept.any()) else True, np.abs(codes), -1.0)
    t = int(among.argmax()) if position is None else position
    between(t, 0, len(rows) - 1, name="position")
    attention = read_attention(model, batch, layer)
    direction = _reading(sae, atom).reshape(len(attention.values), -1)
    seen = torch.einsum("hsd,hd->hs", attention.values.cpu(), direction)
    return HeadSources(
        atom=atom,
        position=t,
        tokens=tuple(rows.tokens or map(str, range(len(rows)))),
        contributions=(attention.pattern[:, t].cpu() * seen).numpy(),
        strength=float(codes[t]),
    )


def _head_out(
    model: LiveModel, sae: SparseAutoencoder, hook_point: str | None
) -> tuple[HookPoint, int]:
    """The hook point of an SAE and its layer, if it is where heads are side by side."""
    given = sae.hook_point if hook_point is None else hook_point
    point = None if given is None else model.hook_point(given)
    if point is None or point.layer is None or point.kind != "head_out":
        raise ValueError(
            f'`hook_point` must be where a layer\'s heads lie side by side, such as "head_out.2", got '
            f"{given!r}. Train an SAE on one of `head_out.L`."
        )
    return point, point.layer


def _reading(sae: SparseAutoencoder, atom: int) -> Float[Tensor, " d_in"]:
    """The direction along which an atom is read."""
    encoder = getattr(sae, "encoder", None)
    rows = sae.dictionary if encoder is None else encoder.weight
    return rows[atom].detach().float().cpu()
