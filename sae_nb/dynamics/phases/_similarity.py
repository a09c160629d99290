"""Similarity of two layers: cosine of states as the authors take it, centred cosine, linear CKA.

S[i, j] = mean over samples b and features s of cos(F[b, i, s], F[b, j, s]), F the states after block i:
for images the cls token and the mean patch, for texts every token that a sample has. The centred cosine
subtracts each layer's and feature's mean over samples first: what all samples share is not informative
about what the layers do with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.dynamics.paths._states import TokenKind, check_states

MAX_CKA_ROWS = 4096
"""Rows that CKA looks at: it costs rows · d² per pair of layers. Ours."""


class LayerSimilarity(Tensor):
    """Similarity of block outputs 1 … L, (L, L): the raw cosine, with the other readings.

    Example
    -------
    >>> states = torch.randn(8, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    >>> similarity = layer_similarity(states)
    >>> similarity.shape, torch.equal(similarity + 0, similarity.raw), similarity.features
    (torch.Size([3, 3]), True, ('token',))
    """

    raw: Float[Tensor, "layers layers"]
    """Mean cosine."""
    centred: Float[Tensor, "layers layers"]
    """Mean cosine after each layer's mean was taken away."""
    cka: Float[Tensor, "layers layers"]
    """Linear CKA over samples, mean over features."""
    features: tuple[str, ...]
    """The compared features: "cls", "patch mean", "token"."""
    skipped: tuple[TokenKind, ...]
    """Kinds of token that took no part."""
    debiased: bool
    """Whether CKA is the debiased one, taken with fewer than 10 rows per channel."""
    by_sample: dict[str, Float[Tensor, "n layers layers"]]
    """"raw" and "centred" of every sample: what a bootstrap draws from."""
    model_name: str | None

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def readings(self) -> dict[str, Float[Tensor, "layers layers"]]:
        """All three by name, to be shown side by side."""
        return {"raw": self.raw, "centred": self.centred, "cka": self.cka}

    @property
    def means(self) -> dict[str, float]:
        """Mean similarity of two different layers, by each reading."""
        different = ~torch.eye(len(self), dtype=torch.bool)
        return {name: float(s[different].mean()) for name, s in self.readings.items()}

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        """Return the compared features, and the mean similarity of different layers by each reading."""
        means = ", ".join(f"{name} {mean:.3f}" for name, mean in self.means.items())
        return f"LayerSimilarity({len(self)} layers by {' and '.join(self.features)}: mean {means})"


@checked(leave=("states",))
def layer_similarity(
    states: Float[Tensor, "n layers tokens d"],
    *,
    token_kinds: Sequence[str] | None = None,
) -> LayerSimilarity:
    """Compare the outputs of all pairs of blocks, by three readings.

    The result is (L, L), row 0 is block 1; the tensor itself is the raw cosine.

    Source
    ------
    Raw: KempnerInstitute/raptor, raptor/max_cut_dinov2_base.ipynb (cls and mean patch, registers left
    out). CKA: Kornblith et al., arXiv 1905.00414, debiased as in arXiv 2010.15327. Centred: ours.

    Example
    -------
    >>> states = torch.ones(4, 3, 2, 6) * torch.arange(1.0, 4)[None, :, None, None]
    >>> bool((layer_similarity(states).raw > 0.9999).all())  # growth is no change of direction
    True
    """
    x, kinds = check_states(states, token_kinds, masked=True)
    features, names, skipped = layer_features(x, kinds)
    by_sample = {"raw": _cosines(features), "centred": _cosines(_centred(features))}
    cka, debiased = _cka(features)
    raw = by_sample["raw"].mean(dim=0)
    similarity = torch.Tensor._make_subclass(LayerSimilarity, raw.clone())
    similarity.raw, similarity.centred, similarity.cka = raw, by_sample["centred"].mean(dim=0), cka
    similarity.features, similarity.skipped, similarity.debiased = names, skipped, debiased
    similarity.by_sample, similarity.model_name = by_sample, getattr(states, "model_name", None)
    return similarity


def layer_features(
    x: Float[Tensor, "n layers tokens d"], kinds: Sequence[TokenKind]
) -> tuple[Float[Tensor, "n depth features d"], tuple[str, ...], tuple[TokenKind, ...]]:
    """Return what similarity compares of block outputs 1 … L, its names, and the kinds left out."""
    parts, names = [], []
    outputs = x[:, 1:].float()
    cls, patches = ([k == kind for k in kinds] for kind in ("cls", "patch"))
    if any(cls):
        parts.append(outputs[:, :, cls])
        names.append("cls")
    if any(patches):
        parts.append(outputs[:, :, patches].nanmean(dim=2, keepdim=True))
        names.append("patch mean")
    if not parts:
        return outputs, ("token",), ()
    used = {"cls", "patch"}
    skipped = tuple(kind for kind in dict.fromkeys(kinds) if kind not in used)
    return torch.cat(parts, dim=2), tuple(names), skipped


def _centred(features: Tensor) -> Tensor:
    """Take the mean over samples away; what one sample alone has, of many, has no other to differ from."""
    centred = features - features.nanmean(dim=0, keepdim=True)
    known = torch.isfinite(features)
    alone = (known.sum(dim=0, keepdim=True) == 1) & ~known.all(dim=0, keepdim=True)
    return centred.masked_fill(alone, torch.nan)


def _cosines(features: Tensor) -> Tensor:
    """Cosine of every pair of layers, per sample, mean over features."""
    unit = torch.nn.functional.normalize(features, dim=-1)
    n, layers, n_features, _ = unit.shape
    joined = unit.transpose(1, 2).reshape(n * n_features, layers, -1)
    cosines = torch.bmm(joined, joined.transpose(1, 2)).view(n, n_features, layers, layers)
    return cosines.nanmean(dim=1).clamp(-1, 1)


def _cka(features: Tensor) -> tuple[Tensor, bool]:
    """Linear CKA of every pair of layers; tokens of texts are rows like samples."""
    n, layers, n_features, d = features.shape
    known = torch.isfinite(features).all(dim=(1, 3))
    if n_features > 2 or not bool(known.all()):  # every token is a feature: samples of one thing
        rows = features.transpose(1, 2)[known][:, :, None]
        features = rows[:: max(1, len(rows) // MAX_CKA_ROWS)][:MAX_CKA_ROWS]
    n = len(features)
    debiased = 4 <= n < 10 * d
    centred = _centred(features.double())
    parts = [
        _hsic([part[:, layer] for layer in range(layers)], debiased) for part in centred.unbind(2)
    ]
    scaled = []
    for hsic in parts:
        own = hsic.diagonal().clamp_min(1e-30).sqrt()
        scaled.append(hsic / torch.outer(own, own))
    return torch.stack(scaled).mean(dim=0).float(), debiased


def _hsic(xs: list[Tensor], debiased: bool) -> Tensor:
    """HSIC of all pairs with linear kernels, up to one factor; debiased without the kernels' diagonals."""
    n, layers = len(xs[0]), len(xs)
    hsic = torch.zeros(layers, layers, dtype=torch.float64)
    diagonals = [x.square().sum(dim=1) for x in xs]
    for i in range(layers):
        for j in range(i, layers):
            value = (xs[i].T @ xs[j]).square().sum()
            if debiased:
                # Song et al. 2012, eq. 5, for K = XXᵀ, L = YYᵀ without their diagonals; 1ᵀX = 0
                # after centring, so K̃1 = −diag(K) and 1ᵀK̃1 = −tr K.
                a, b = diagonals[i], diagonals[j]
                cross = value - (a * b).sum()
                traces = a.sum() * b.sum() / ((n - 1) * (n - 2))
                value = cross + traces - 2 / (n - 2) * (a * b).sum()
            hsic[i, j] = hsic[j, i] = value
    return hsic
