"""The reading of an answer from the stream: a difference of logits, traced back to any hook point
without data.

The logits are linear in the last stream but for the norm before them, whose scale is one number. So a
difference of two of them is a direction of the stream, the same at every block as long as nothing but
the stream itself lies between; through the heads' value and output matrices it is a direction of
earlier streams, too. An atom's cosine with it measures how much the atom favours the one over the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.checks import Count, check_atom, checked
from sae_nb.circuits import read_target, written_at
from sae_nb.evaluation import chance_cosine
from sae_nb.models import Frozen, run
from sae_nb.steering import Answers

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import Batch, HookPoint, LiveModel

Paths = Literal["direct", "heads", "all"]
PATHS: tuple[Paths, ...] = ("direct", "heads", "all")
"""The stream alone; besides it the heads' value and output matrices; besides those the MLPs' slopes."""

_OWN_WRITE = {"head_out": "attn_out", "mlp_post": "mlp_out"}
"""Places that reach the stream by a matrix alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observable:
    """A difference of two answers of a model, as a direction at every hook point."""

    model: LiveModel
    name: str
    """Such as “ she” − “ he”."""

    paths: Paths
    _measure: Callable[[Tensor], Tensor] = field(repr=False)
    _batches: tuple[Batch, ...] = field(repr=False)
    """At which the norms' scales, the patterns and the MLPs' slopes are taken."""

    def of(self, answer: Float[Tensor, " outcomes"]) -> Float[Tensor, ""]:
        """Return the difference in an answer: of logits, or of the first above their mean."""
        return self._measure(answer)

    @checked
    def at(self, hook_point: str) -> Float[Tensor, " d"]:
        """Return the direction at a hook point: what one unit written there along it adds to the difference.

        Written at every position, with the norms' scales held, in units of the answer per unit of activation.
        Its length is that at the observable's inputs; its direction is without data for direct paths.

        Raises
        ------
        HookPointNotFound, ValueError: If there is no such place, or no path of this kind leads from it.
        """
        place = self.model.hook_point(hook_point)
        found = [self._slope(place, batch) for batch in self._batches]
        mean = torch.stack(found).mean(dim=0)
        if not bool(mean.abs().sum() > 0):
            raise ValueError(
                f"A path must lead from the hook point to the answer, and with paths={self.paths!r} none "
                f'leads from {str(place)!r} of {self.model.name}. Use a place of the stream, or paths="all".'
            )
        return mean

    @checked
    def rank(self, sae: SparseAutoencoder, n: Count | None = None) -> DataFrame:
        """Return an SAE's atoms by the size of their cosine with the direction where they write.

        Parameters
        ----------
        n
            The first of them; None: all.

        Returns
        -------
        DataFrame
            `atom`; `cosine`, positive for the first of the two answers; `effect`, what one unit of the
            atom's strength adds to the difference, with norms held; `beyond_luck`, whether the cosine is
            larger than the largest among so many random directions is in 19 of 20 draws.

        Raises
        ------
        ValueError: If the SAE's hook point is missing, not the model's, or no path leads from it.
        """
        import pandas as pd

        y = self.at(str(written_at(sae, self.model, may_write=True))).cpu()
        atoms = sae.dictionary.detach().float().cpu()
        effect = atoms @ y
        cosine = normalize(atoms, dim=1) @ normalize(y, dim=0)
        luck = chance_cosine(len(y), 0.95 ** (1 / len(atoms)))
        order = cosine.abs().argsort(descending=True, stable=True)[:n]
        columns = {
            "atom": order.numpy(),
            "cosine": cosine[order].numpy(),
            "effect": effect[order].numpy(),
        }
        return pd.DataFrame(columns).assign(beyond_luck=lambda table: table.cosine.abs() > luck)

    @checked
    def coupling(self, other: Observable, hook_point: str) -> float:
        """Return C = ⟨y₁, y₂⟩ / ‖y₁‖² of this observable's direction and another's at a hook point.

        Return how much a change that moves this difference by one, along its own direction, moves the
        other.

        Raises
        ------
        HookPointNotFound, ValueError: As `at`; if they are of different models.
        """
        if other.model is not self.model:
            raise ValueError(
                f"`other` must be an observable of the same model, {self.model.name}, got one of "
                f"{other.model.name}."
            )
        y, along = self.at(hook_point), other.at(hook_point)
        return float(y @ along / y.square().sum())

    @checked(leave=("inputs",))
    def measure(
        self, sae: SparseAutoencoder, inputs: Any, atoms: Sequence[int], by: float = 1.0
    ) -> DataFrame:
        """Add atoms to the running model, one at a time, and compare the effect with the prediction.

        Parameters
        ----------
        inputs
            Inputs that the model reads meanwhile.
        atoms
            Added at every position but special ones.
        by
            Times the atom, which has length 1 in most dictionaries, in units of activations.

        Returns
        -------
        DataFrame
            `atom`, `foreseen` (by · `effect`), `measured` (mean change of the difference over inputs).

        Raises
        ------
        ValueError, TypeError: If an atom or the inputs do not fit.
        """
        import pandas as pd

        place = str(written_at(sae, self.model, may_write=True))
        chosen = [check_atom(atom, sae.n_atoms, name="atoms") for atom in atoms]
        if not chosen:
            raise ValueError("`atoms` must hold at least one atom, got none.")
        runs = Answers(self.model, inputs, place)
        dictionary = sae.dictionary.detach().float()
        clean = self._of_each(runs.clean)
        moved = [self._of_each(runs.add(dictionary[atom], by)) - clean for atom in chosen]
        foreseen = by * (dictionary[chosen].cpu() @ self.at(place).cpu())
        columns = {"atom": chosen, "foreseen": foreseen.numpy(), "measured": np.mean(moved, axis=1)}
        return pd.DataFrame(columns)

    def _of_each(self, answers: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        return np.array([float(self.of(answer.float())) for answer in answers])

    def _slope(self, place: HookPoint, batch: Batch) -> Float[Tensor, " d"]:
        """Of the difference by what is written at a place, added up over positions."""
        held = [(point, torch.detach) for point in self._cut(place)]
        frozen = Frozen(self.model, attention=self.paths != "direct")
        with torch.enable_grad():
            with frozen:
                ran = run(self.model, batch, read=place, put=held, grad=[place])
            cut = ("attn_out", "mlp_out") if self.paths == "direct" else ("mlp_out",)
            frozen.check(self.model, batch, cut)
            slope = ran.gradients(self.of(ran.answer.one())).get(place)
        if slope is None:
            x = ran.states[place]
            return torch.zeros(x.shape[-1], device=x.device)
        return slope[0].sum(dim=0).float()

    def _cut(self, place: HookPoint) -> Iterator[HookPoint]:
        """Return the parts that are held fixed: the blocks' other ways into the stream."""
        kinds = {"direct": ("attn_out", "mlp_out"), "heads": ("mlp_out",), "all": ()}[self.paths]
        kind, _, layer = str(place).partition(".")
        own = {str(place), f"{_OWN_WRITE.get(kind, kind)}.{layer}"}
        for point in self.model.hook_points():
            if str(point).partition(".")[0] in kinds and str(point) not in own:
                yield point

    def __str__(self) -> str:
        ways = {
            "direct": "along the stream alone",
            "heads": "along the stream and through the heads",
            "all": "along the stream, through heads and MLPs",
        }
        return f"{self.name} in the answer of {self.model.name}, led back {ways[self.paths]}"


@checked(leave=("first", "second", "inputs"))
def observable(
    model: LiveModel,
    first: Any,
    second: Any = None,
    *,
    paths: Paths = "direct",
    inputs: Any = None,
) -> Observable:
    """Make a difference of two answers a direction at every hook point, to rank atoms by without data.

    Along direct paths the direction is a difference of two rows of the unembedding, times the last norm's
    weights: no activation is needed, and every place of the stream has the same one. Through heads, patterns
    and norms' scales are held as `inputs` have them; through MLPs their slopes are taken there.

    Parameters
    ----------
    first, second
        Tokens or classes, by id or name. Without `second`: `first` above the mean of all.
    paths
        "direct": the stream alone; "heads": through the heads' value and output matrices as well; "all":
        through MLPs, too.
    inputs
        At which scales, patterns and slopes are taken, and averaged. None: the text of `first` alone, or a
        grey image. Direct paths hang on it by one positive number only.

    Raises
    ------
    ValueError, TypeError: If an answer is not one token or class of the model, both are the same, or the
        model answers with neither tokens nor classes.

    Source
    ------
    "Observable Propagation", arXiv 2312.16291. There the heads to go through are chosen by hand and norms
    are left out; ours takes the stream, all heads or all of the model, and norms as scales.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> she = observable(gpt, " she", " he")
    >>> print(she)
    “ she” − “ he” in the answer of tiny-gpt, led back along the stream alone
    >>> she.rank(sn.load_sae("tiny-gpt/resid_post.3"), n=5).columns.tolist()
    ['atom', 'cosine', 'effect', 'beyond_luck']
    """
    batches = tuple(batch.to(model.device) for batch in _reference(model, first, inputs))
    first_answer = run(model, batches[0]).answer
    answer, kind = first_answer.one(), first_answer.kind
    if kind == "vector":
        raise ValueError(
            f"`model` must answer with next tokens or classes, and {model.name} answers with "
            f"{len(answer)} numbers. Wrap it with class_names=."
        )
    name, measure = read_target(model, answer, kind, first if second is None else (first, second))
    return Observable(model=model, name=name, paths=paths, _measure=measure, _batches=batches)


def _reference(model: LiveModel, first: Any, inputs: Any) -> Iterator[Batch]:
    """One input a batch: answers of texts of different lengths then need no padding."""
    if inputs is None:
        inputs = _plain_input(model, first)
    return iter(model.batches([inputs] if isinstance(inputs, str) else inputs, batch_size=1))


def _plain_input(model: LiveModel, first: Any) -> Any:
    """The text of a token, or a grey image of the size that the model reads."""
    if model.modality.is_text:
        return first if isinstance(first, str) else [[first]]
    size = model.preprocess and (model.preprocess.required or model.preprocess.output_size)
    if not size:
        raise ValueError(
            f"`inputs` must be given for {model.name}, whose inputs have no known size. Pass some."
        )
    return np.full((1, 3, *size), 0.5, dtype=np.float32)
