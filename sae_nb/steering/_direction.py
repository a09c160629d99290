"""A direction between two groups of inputs, and what makes it believable.

x⁺, x⁻: one row per input, the mean of its chosen positions. Every method is fitted in coordinates of the
span of these rows, where it is exact and small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.activations._named_positions import NamedPositions
from sae_nb.atoms._effects import AtomEffects, effects_of
from sae_nb.capturing import capture
from sae_nb.checks import Count, OneOf, Seed, check_place, checked
from sae_nb.findings import Finding
from sae_nb.statistics import auroc, logistic_probe
from sae_nb.steering import _direction_files as files
from sae_nb.steering._nearest import NearestAtoms, nearest_atoms

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import AbsTopK, SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel

Rows = Float[np.ndarray, "n r"]
Truth = Bool[np.ndarray, " n"]
Fit = Callable[[Rows, Truth], np.ndarray]

N_FOLDS = 5


def _mean(x: Rows, y: Truth) -> np.ndarray:
    return x[y].mean(axis=0) - x[~y].mean(axis=0)


def _whitened(x: Rows, y: Truth) -> np.ndarray:
    from sklearn.covariance import ledoit_wolf

    centred = np.concatenate([x[y] - x[y].mean(axis=0), x[~y] - x[~y].mean(axis=0)])
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    return np.linalg.solve(covariance, _mean(x, y))


def _principal(x: Rows, y: Truth) -> np.ndarray:
    n = len(x) // 2  # rows i and n + i are a pair, which may have been exchanged
    differences = (x[:n] - x[n:]) * np.where(y[:n], 1.0, -1.0)[:, None]
    v = np.linalg.svd(differences, full_matrices=False)[2][0]
    return v if v @ differences.mean(axis=0) >= 0 else -v


def _probe(x: Rows, y: Truth) -> np.ndarray:
    size = float(
        np.sqrt(x.var(axis=0).sum())
    )  # of a row: so that the penalty means the same everywhere
    return logistic_probe(x, y, scale=size, quiet=True).weight[0]


METHODS: dict[str, Fit] = {
    "mean": _mean,
    "whitened": _whitened,
    "principal": _principal,
    "probe": _probe,
}
LEAST = {"mean": 2, "whitened": 4, "principal": 4, "probe": 4}
"""Inputs of each group: two halves must be fitted."""

Method = Annotated[Literal["mean", "whitened", "principal", "probe"], OneOf(METHODS)]


class Direction(Finding):
    """A direction of a live model, with its reliability, its separation and their controls.

    It is taken wherever `direction=` is, at its own hook point: `sn.steer(model, d.hook_point, direction=d,
    by=d.scale)` moves an input of the second group as far as the first lies. It also stands wherever an SAE
    does, as one of a single atom, 0, whose latent is `projections`: the lens, graphs, dose–response, recipes,
    panels. A model or a hook point that it was not read at refuses it.
    """

    hook_point: str
    model_name: str
    """Where it was read."""

    method: str
    positions: str
    """Of each input, the mean of these is its row."""

    vector: Float[Tensor, " d_in"]
    """Of length 1, from the second group of inputs to the first."""

    scale: float
    """Distance of the two groups' means along it, in model units: the usual size of what it says."""

    middle: float
    """⟨x, vector⟩ half-way between the two means, in model units."""

    reliability: float
    """Mean cosine of the directions of two halves of the inputs, over `n_splits` splits."""

    reliability_shuffled: float
    """The same where inputs are dealt to the groups at random, its 95th percentile."""

    separation: float
    """AUC on inputs that the direction was not fitted on, by cross-validation."""

    separation_random: float
    """Largest AUC of `n_random` random directions on the same inputs."""

    separation_shuffled: float
    """Largest held-out AUC among `n_random` shufflings of the labels ("principal": pairs of one group), each
    fitted anew."""

    n_positive: int
    n_negative: int
    n_splits: int
    n_random: int
    name: str = ""
    """What it is called in panels, tables and files; empty: by its number, atom 0."""

    @property
    def agrees(self) -> bool:
        """Whether two halves of the inputs agree on it better than shuffled inputs do by chance."""
        return self.reliability > self.reliability_shuffled

    @property
    def headline(self) -> str:
        """What can be relied on, first."""
        doubt = "" if self.agrees else "two halves of the inputs agree no better than by chance; "
        name = self.name and f"{self.name}: "
        return (
            f"{name}{doubt}{self.method} of {self.n_positive} against {self.n_negative} inputs at "
            f"{self.hook_point}; halves agree to {self.reliability:.2f} (shuffled "
            f"{self.reliability_shuffled:.2f}), held-out AUC {self.separation:.2f} (best of "
            f"{self.n_random} random {self.separation_random:.2f}, shuffled {self.separation_shuffled:.2f})"
        )

    @property
    def table(self) -> pd.DataFrame:
        """Each measure with its controls."""
        import pandas as pd

        rows = [
            ("cosine of two halves", self.reliability, np.nan, self.reliability_shuffled),
            ("held-out AUC", self.separation, self.separation_random, self.separation_shuffled),
        ]
        return pd.DataFrame(rows, columns=["measure", "value", "random", "shuffled"])

    def projections(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch"]:
        """Return ⟨x, vector⟩ − middle: above zero on the first group's side, in model units."""
        return x.float() @ self.vector.to(x.device) - self.middle

    def as_sae(self) -> AbsTopK:
        """Return the SAE of one atom, 0, that it is; its latent is `projections`. The same at every call, and
        its `direction` is this one.
        """
        return self._sae

    @cached_property
    def _sae(self) -> AbsTopK:
        from sae_nb.architectures import AbsTopK

        sae = AbsTopK(len(self.vector), 1, 1)
        row, middle = self.vector[None], self.middle * self.vector
        weights = {"operator.weight": row, "encoder.weight": row, "encoder.bias": torch.zeros(1)}
        sae.load_state_dict(weights | {"pre_bias": middle}, strict=False)
        sae.hook_point, sae.model_name = self.hook_point, self.model_name
        vars(sae)["given_names"] = {0: self.name} if self.name else {}
        vars(sae)["direction"] = self
        return sae

    @checked
    def nearest(
        self, sae: SparseAutoencoder, n: Count = 10, *, n_random: Count = 100, seed: Seed = 0
    ) -> NearestAtoms:
        """Return the atoms of an SAE that point most as it does or against it, with names, cosines and chance.

        Raises
        ------
        ValueError: If the SAE is of another model, hook point or width.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
        >>> dogs, girls = ["The dog ran.", "A dog sat."], ["The girl ran.", "A girl sat."]
        >>> d = sn.direction(gpt, "resid_post.3", dogs, girls, positions="all")
        >>> len(d.nearest(sae).table)
        10
        """
        check_place(self, sae.model_name, sae.hook_point)
        if sae.d_in != len(self.vector):
            raise ValueError(
                f"`sae` must have the direction's width, {len(self.vector)}, got {sae.d_in}."
            )
        return nearest_atoms(self.vector, sae, n, n_random, seed)

    @checked
    def raises(self, model: LiveModel, lens: Lens | None = None, n: Count = 8) -> AtomEffects:
        """Return the outputs that it raises and lowers most: by the lens, else along the direct path.

        Raises
        ------
        ValueError: If it is a direction of another model.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt = sn.load_model("tiny-gpt")
        >>> dogs, girls = ["The dog ran.", "A dog sat."], ["The girl ran.", "A girl sat."]
        >>> len(sn.direction(gpt, "resid_post.3", dogs, girls, positions="all").raises(gpt, n=3).up)
        3
        """
        check_place(self, model, self.hook_point)
        return effects_of(model, self.vector, lens=lens, hook_point=self.hook_point, n=n)

    def save(self, folder: str | Path) -> None:
        """Write it to a folder; or, of a name that ends in ".safetensors", to one file that others read.

        The file has the vector under the hook point's name, what `recipe.to_vectors` writes in the header
        entry "steering", with its usual size, and all other fields as JSON in the entry "direction".
        """
        if str(folder).endswith(files.ENDING):
            files.write(self, folder)
        else:
            super().save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Direction:
        """Read the folder or file that `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError: If it is not there, damaged, or something else.
        """
        return (
            files.read(cls, folder) if str(folder).endswith(files.ENDING) else super().load(folder)
        )


@checked
def direction(
    model: LiveModel,
    hook_point: str,
    positive: Inputs,
    negative: Inputs,
    method: Method = "mean",
    positions: NamedPositions | None = None,
    *,
    n_splits: Count = 20,
    n_random: Count = 100,
    name: str = "",
    seed: Seed = 0,
    batch_size: int | None = None,
) -> Direction:
    """Return the direction from some inputs of a live model to others, with what makes it believable.

    Parameters
    ----------
    positive, negative
        Two groups of texts, conversations, images or sounds; pairs in order for "principal".
    method
        "mean": x̄⁺ − x̄⁻. "whitened": Σ⁻¹(x̄⁺ − x̄⁻), Σ the pooled covariance within groups, shrunk
        (Ledoit–Wolf). "principal": first principal component of x⁺ᵢ − x⁻ᵢ. "probe": weight of logistic
        regression.
    positions
        As in `capture`; of several the mean. None: "last" of texts, "all" of anything else.
    name
        What it is called in panels, tables and files.
    n_splits, n_random
        Splits into halves; random directions and shufflings of the labels.

    Raises
    ------
    ValueError: If a group is too small, both are equal or give the same rows, or "principal" gets groups
        of other lengths.

    Source
    ------
    Difference of means: Marks & Tegmark, arXiv 2310.06824. Principal component of pairs: Zou et al.,
    arXiv 2310.01405, who take the sign from the labels too. Controls and splits are ours.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> rows = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    >>> d = sn.direction(model, "0", rows[:8] + torch.tensor([5.0, 0, 0, 0]), rows[8:], positions="all")
    >>> d.agrees, d.separation, round(float(d.vector.norm()), 6)
    (True, 1.0, 1.0)
    """
    if positions is None:
        positions = "last" if model.kind == "language" else "all"
    first, second = listed(model, positive, "positive"), listed(model, negative, "negative")
    _check_groups(first, second, method)
    rows = [_rows(model, hook_point, one, positions, batch_size) for one in (first, second)]
    x = np.concatenate(rows)
    y = np.arange(len(x)) < len(rows[0])
    basis, small = _span(x)
    if not np.abs(_mean(small, y)).max() > 1e-6 * np.abs(small).max():
        raise ValueError(
            f"`positive` and `negative` must give other activations, got the same mean at {hook_point} "
            f"(positions={positions!r}). Use other inputs, positions or a later hook point."
        )
    rng = np.random.default_rng(seed)
    fit = METHODS[method]
    vector = fit(small, y) @ basis
    vector = vector / np.linalg.norm(vector)
    means = [float((one @ vector).mean()) for one in rows]
    chance = [_chance(small, y, method, rng) for _ in range(n_random)]
    halves = [_halves(*one, fit, rng, 1) for one in chance]
    return Direction(
        hook_point=str(model.hook_point(hook_point)),
        model_name=model.name,
        method=method,
        positions=positions,
        vector=torch.from_numpy(vector).float(),
        scale=means[0] - means[1],
        middle=sum(means) / 2,
        reliability=_halves(small, y, fit, rng, n_splits),
        reliability_shuffled=float(np.quantile(halves, 0.95)),
        separation=_held_out(small, y, fit),
        separation_random=_best_random(x - x.mean(axis=0), y, n_random, rng),
        separation_shuffled=max(_held_out(*one, fit) for one in chance),
        n_positive=len(rows[0]),
        n_negative=len(rows[1]),
        n_splits=n_splits,
        n_random=n_random,
        name=name,
    )


def listed(model: LiveModel, inputs: Inputs, name: str) -> Any:
    """Return inputs as several that can be counted and cut into parts; one that is no list is refused."""
    if isinstance(inputs, Mapping):  # what a tokenizer or a processor returned
        return [batch.as_inputs(model) for batch in model.batches(inputs, batch_size=1)]
    cut = hasattr(inputs, "shape") or isinstance(inputs, Sequence)
    given: Any = inputs if cut else list(cast("Iterable[Any]", inputs))
    if isinstance(given, str) or (len(given) > 1 and model.batches(given).n_samples == 1):
        raise TypeError(
            f"`{name}` must be several inputs, got one {type(given).__name__}. Pass a list."
        )
    return given


def _check_groups(positive: Any, negative: Any, method: str) -> None:
    least = LEAST[method]
    for name, group in (("positive", positive), ("negative", negative)):
        if len(group) < least:
            raise ValueError(
                f'`{name}` must hold at least {least} inputs for method="{method}", so that two halves can be '
                f"compared, got {len(group)}. Add inputs."
            )
    same = positive is negative or (
        isinstance(positive, list) and isinstance(negative, list) and _equal(positive, negative)
    )
    if same:
        raise ValueError("`positive` and `negative` must differ, got the same inputs twice.")
    if method == "principal" and len(positive) != len(negative):
        raise ValueError(
            '`positive` and `negative` must be pairs for method="principal", got '
            f'{len(positive)} and {len(negative)} inputs. Pair them, or use method="mean".'
        )


def _equal(a: list[Any], b: list[Any]) -> bool:
    return all(isinstance(one, str | dict | list) for one in (*a, *b)) and a == b


def _rows(
    model: LiveModel,
    hook_point: str,
    inputs: Any,
    positions: NamedPositions,
    batch_size: int | None,
) -> Float[np.ndarray, "n d_in"]:
    """One row per input: the mean of its chosen positions, without attention sinks."""
    massive: Literal["auto", False] = False if positions == "last" else "auto"
    acts = capture(
        model,
        inputs,
        hook_point,
        positions=positions,
        drop_massive=massive,
        batch_size=batch_size,
        progress=False,
    )
    x = acts.x.double().cpu()
    sample = torch.as_tensor(acts.sample).cpu().long()
    counts = torch.bincount(sample, minlength=len(inputs))
    sums = torch.zeros(len(counts), x.shape[1], dtype=x.dtype).index_add(0, sample, x)
    if not bool((counts > 0).all()):
        raise ValueError(
            f"Each input must have positions {positions!r}, got none in input "
            f"{int((counts == 0).nonzero()[0, 0])}. Choose other positions; of a text of one token, which is "
            "an attention sink, a longer one."
        )
    return (sums / counts[:, None]).numpy()


def _span(x: Float[np.ndarray, "n d_in"]) -> tuple[Float[np.ndarray, "r d_in"], Rows]:
    """Return an orthonormal basis of the centred rows, and their coordinates in it."""
    u, s, basis = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    kept = s > 1e-10 * max(s[0], 1e-300)
    return basis[kept], u[:, kept] * s[kept]


def _parts(y: Truth, n: int, rng: np.random.Generator | None) -> np.ndarray:
    """Number of the part, 0 … n − 1, of each row: every part has about its share of each group.

    Groups of one size may be pairs, whose common content cancels: row i of one stays with row i of the other.
    """
    m = len(y) // 2
    if y.sum() == m and len(y) == 2 * m:
        return np.tile((np.arange(m) if rng is None else rng.permutation(m)) % n, 2)
    part = np.empty(len(y), dtype=int)
    for group in (np.flatnonzero(y), np.flatnonzero(~y)):
        part[group if rng is None else rng.permutation(group)] = np.arange(len(group)) % n
    return part


def _halves(x: Rows, y: Truth, fit: Fit, rng: np.random.Generator, n: int) -> float:
    """Mean cosine of the directions of two halves."""
    cosines = []
    for _ in range(n):
        half = _parts(y, 2, rng) == 0
        a, b = fit(x[half], y[half]), fit(x[~half], y[~half])
        cosines.append(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300))
    return float(np.mean(cosines))


def _held_out(x: Rows, y: Truth, fit: Fit) -> float:
    """AUC of projections, each row's on a direction fitted without it, in distances from the middle."""
    n = min(N_FOLDS, int(y.sum()), int((~y).sum()))
    part = _parts(y, n, None)
    scores = np.empty(len(y))
    for k in range(n):
        rest = part != k
        v = fit(x[rest], y[rest])
        up, down = (float((x[rest & one] @ v).mean()) for one in (y, ~y))
        scores[~rest] = (x[~rest] @ v - (up + down) / 2) / (abs(up - down) or 1.0)
    return float(auroc(scores, y)[0])


def _best_random(
    x: Float[np.ndarray, "n d_in"], y: Truth, n: int, rng: np.random.Generator
) -> float:
    """Largest AUC of random directions, of either sign."""
    scores = x @ rng.standard_normal((x.shape[1], n))
    found = [float(auroc(scores[:, i], y)[0]) for i in range(n)]
    return max(max(one, 1 - one) for one in found)


def _chance(x: Rows, y: Truth, method: str, rng: np.random.Generator) -> tuple[Rows, Truth]:
    """Rows whose labels say nothing: dealt at random, or exchanged within pairs of groups of one size.

    The principal component of differences does not depend on their signs: there, pairs are of one group.
    """
    m = len(y) // 2
    if method == "principal":
        a, b = rng.permutation(x[:m]), rng.permutation(x[m:])
        half = m // 2
        x = np.concatenate([a[:half], b[:half], a[half : 2 * half], b[half : 2 * half]])
        m = 2 * half
    elif y.sum() != m or len(y) != 2 * m:
        return x, rng.permutation(y)
    flip = rng.random(m) < 0.5
    return x, np.concatenate([~flip, flip])
