"""Texts that a set lacks: atoms that hardly fire on it, and what the model writes when steered with them.

An atom fires in earnest where it is as strong as its median on a wide set. A text counts for it if it does so
when the model reads that text again, without any edit. Source: Qwen-Scope, arXiv 2605.11887, which writes texts
for safety atoms that a set does not reach, keeps those on which the atom fires, and gives the share of atoms
reached; ours sets random directions and unsteered texts beside it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.checks import Count, Inputs, Seed, at_least, checked
from sae_nb.findings import Finding
from sae_nb.generation import check_writer
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel
    from sae_nb.steering.edits import Change

LEAST = 5
"""Tokens of the wide set on which an atom must fire to be missed in the other. Ours."""

WAYS = ("atoms", "random directions", "unsteered")


class Synthesis(Finding):
    """Texts written for atoms that a set lacks, and how many of these they reach; made by `fill_gaps`."""

    HEADLINE = (
        "{n_lacking} atoms that the texts lack; of {atoms.len}, texts written with them reach {covered:.2f} "
        "(random directions {random:.2f}, unsteered {unsteered:.2f})"
    )

    atoms: Int[np.ndarray, " n"]
    """Atoms that the texts lack and that texts were written for."""

    n_lacking: int
    """All that the texts lack."""

    table: pd.DataFrame
    """A row per way of writing: way, texts, covered (share of `atoms` that fire on some of its texts), own
    (share of texts on which the atom fires that they were written for)."""

    texts: pd.DataFrame
    """A row per text: way, atom (that it was written for), text, fires (whether that atom fires on it)."""

    @property
    def covered(self) -> float:
        """Share of the atoms that fire on texts written with them."""
        return self._of("atoms")

    @property
    def random(self) -> float:
        """The same of as many texts written with random directions of the same length."""
        return self._of("random directions")

    @property
    def unsteered(self) -> float:
        """The same of as many texts written without an edit."""
        return self._of("unsteered")

    def kept(self) -> list[str]:
        """Return the texts on which the atom fires that they were written for."""
        own = self.texts[(self.texts.way == "atoms") & self.texts.fires]
        return [str(text) for text in own.text]

    def figure(self) -> Any:
        """Draw the share of the lacking atoms that each way of writing reaches."""
        from sae_nb.figures import framed, theme

        colours = [theme.PALETTE[0], theme.CONTROL, theme.CONTROL]
        figure = framed([], y="share of lacking atoms reached", height=320).add_bar(
            x=self.table.way, y=self.table.covered, marker_color=colours, showlegend=False
        )
        return figure.update_yaxes(range=[0, 1])

    def _of(self, way: str) -> float:
        return float(self.table.set_index("way").covered[way])


@checked
def fill_gaps(
    model: LiveModel,
    sae: SparseAutoencoder,
    texts: Inputs,
    wide: Inputs,
    hook_point: str,
    *,
    n_atoms: Count = 24,
    n_each: Count = 3,
    length: Annotated[float, at_least(0)] = 0.5,
    max_new_tokens: Count = 24,
    prompt_tokens: Count = 6,
    seed: Seed = 0,
) -> Synthesis:
    """Write texts for atoms that a set of texts never fires, by steering the model with each of them.

    Every text goes on from the beginning of one of the set's own. What is counted is what the unedited model's
    atoms do on what was written.

    Parameters
    ----------
    texts
        The set that lacks atoms.
    wide
        Texts in which atoms fire that could be missed: five tokens or more make one so.
    n_atoms
        Atoms to write for, drawn among those that are lacking.
    n_each
        Texts for each; the two controls write as many.
    length
        Of what is added, as a share of the mean length of a state.
    prompt_tokens
        Tokens of the beginnings.

    Raises
    ------
    TypeError: If the model writes no text.
    ValueError: If the texts lack no atom, or none is long enough to begin with.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> stories, prose = sn.data.stories(40, seed=0).texts, sn.data.prose("test").texts[:20]
    >>> made = fill_gaps(gpt, sae, stories, prose, "resid_post.3", n_atoms=4, n_each=1)
    >>> made.table.way.tolist(), len(made.atoms)
    (['atoms', 'random directions', 'unsteered'], 4)
    """
    check_writer(model, sae, hook_point)
    there, around = (capture(model, x, hook_point, progress=False) for x in (texts, wide))
    usual = usual_strengths(sae.encode(around.x))
    strongest = sae.encode(there.x).detach().to_scipy().max(axis=0).toarray()[0]
    lacking = np.flatnonzero(np.isfinite(usual) & (strongest < usual))
    if not len(lacking):
        raise ValueError(
            "`texts` must lack an atom that `wide` has, and lack none. Pass a wider set, or fewer texts."
        )
    rng = np.random.default_rng(seed)
    atoms = np.sort(rng.choice(lacking, min(n_atoms, len(lacking)), replace=False))
    starts = _beginnings(model, texts, prompt_tokens, rng, len(atoms) * n_each)
    size = length * float(there.x.norm(dim=1).mean())
    own = torch.nn.functional.normalize(sae.dictionary[atoms].detach(), dim=1)
    random = torch.nn.functional.normalize(
        torch.randn(own.shape, generator=torch.Generator().manual_seed(seed)), dim=1
    ).to(own)
    rows = []
    for way, directions in zip(WAYS, (own, random, torch.zeros_like(own)), strict=True):
        shift = (size * directions).repeat_interleave(n_each, dim=0)[:, None]
        with splice(model, hook_point, _moved(shift), "not_first", backend="hooks"):
            written = model.generate(starts, max_new_tokens, 1.0, seed, return_ids=True, echo=False)
        fires = strengths(model, sae, hook_point, starts, written)[:, atoms] >= usual[atoms]
        rows.append((way, written, fires))
    return _counted(model, atoms, len(lacking), n_each, rows)


def _moved(shift: Float[Tensor, "texts 1 d_in"]) -> Change:
    return lambda x: x + shift.to(x)


def usual_strengths(codes: SparseCodes) -> Float[np.ndarray, " n_atoms"]:
    """Median of each atom's latents where it fires; infinite where it fires at fewer than five tokens."""
    seen = codes.detach().to_scipy().tocsc()
    each = (seen.data[a:b] for a, b in pairwise(seen.indptr))
    return np.array([np.median(z) if len(z) >= LEAST else np.inf for z in each])


def _beginnings(
    model: LiveModel, texts: Any, n_tokens: int, rng: np.random.Generator, n: int
) -> list[Int[Tensor, " n_tokens"]]:
    """First tokens of texts of the set, drawn again where there are too few."""
    ids = [torch.tensor(model.tokens(text)["id"].to_numpy()[:n_tokens]) for text in texts]
    long = [row for row in ids if len(row) == n_tokens]
    if not long:
        raise ValueError(
            f"`texts` must have one of {n_tokens} tokens or more, and have none. Pass fewer `prompt_tokens`."
        )
    return [long[i] for i in rng.integers(len(long), size=n)]


def strengths(
    model: LiveModel, sae: SparseAutoencoder, hook_point: str, starts: Any, written: Any
) -> Float[np.ndarray, "texts n_atoms"]:
    """Largest latent of each atom on what was written, when it is read without an edit."""
    whole = [torch.cat([a, torch.as_tensor(b).to(a)]) for a, b in zip(starts, written, strict=True)]
    acts = capture(model, whole, hook_point, progress=False)
    codes = sae.encode(acts.x).detach().to_scipy()
    new = np.asarray(acts.position) >= len(starts[0])
    rows = (codes[new & (np.asarray(acts.sample) == i)] for i in range(len(whole)))
    return np.stack(
        [r.max(axis=0).toarray()[0] if r.shape[0] else np.zeros(r.shape[1]) for r in rows]
    )


def _counted(
    model: LiveModel, atoms: Int[np.ndarray, " n"], n_lacking: int, n_each: int, rows: Any
) -> Synthesis:
    made_for = np.repeat(np.arange(len(atoms)), n_each)
    each = np.arange(len(made_for))
    table = pd.DataFrame(
        [
            (
                way,
                len(written),
                float(fires.any(axis=0).mean()),
                float(fires[each, made_for].mean()),
            )
            for way, written, fires in rows
        ],
        columns=["way", "texts", "covered", "own"],
    )
    texts = pd.concat(
        [
            pd.DataFrame(
                {
                    "way": way,
                    "atom": atoms[made_for],
                    "text": [model.tokenizer.decode(ids.tolist()) for ids in written],
                    "fires": fires[each, made_for],
                }
            )
            for way, written, fires in rows
        ],
        ignore_index=True,
    )
    return Synthesis(atoms=atoms, n_lacking=n_lacking, table=table, texts=texts)
