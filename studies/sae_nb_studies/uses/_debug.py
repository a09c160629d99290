"""Debug a bad output: which atoms wrote it, and what the model writes when they are taken away.

Rank: a_j = Σ_t z_tj ⟨d_j, ∂ log p(output) / ∂x_t⟩, what atom j adds to the log-probability of the output, to
first order; or the difference of mean strengths on a bad and a good output. Source: Qwen-Scope, arXiv
2605.11887, which ranks by strength on the bad output or by the contrast and subtracts; gradient × strength is
that of arXiv 2403.19647, eq. 2. The controls are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import written_codes
from sae_nb.capturing import capture
from sae_nb.checks import Count, Seed, answered, check_atom, check_real, checked
from sae_nb.corpora import check_labels
from sae_nb.findings import Finding
from sae_nb.generation import check_length, check_writer, prompt_ids, text_of
from sae_nb_studies.evaluation.causal._target_odds import repeated_share, surprise
from sae_nb_studies.uses._writing import Along, other_atoms, output_ids, subtracting, token_names

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

AS_IT_WAS, WITHOUT, RANDOM, SIMPLER = "as it was", "atoms", "random atoms", "mean activation"


class Debugged(Finding):
    """The atoms behind a bad output, and the text without them; made by `debug`."""

    atoms: DataFrame
    """Atoms that fired on prompt or output, the most suspected first: atom, label, attribution (nats of the
    output's log-probability), strength (mean over its tokens), contrast (NaN without a good output), chosen."""

    table: DataFrame
    """Removed parts, a row each ("as it was", "atoms", "random atoms" once per draw, "mean
    activation"), and the model's output then: logp (of the bad output, nats per token), fluency (−log p
    per new token, by the model as it was), repeated (share of 4-grams of the new text that were there
    before), score, text.
    """

    strengths: Float[np.ndarray, "chosen tokens"]
    """Of the chosen atoms, along the output."""

    tokens: tuple[str, ...]
    """Of the output."""

    prompt: str
    output: str
    strength: float
    """Removed share of each atom: 1, all of it."""

    @property
    def chosen(self) -> tuple[int, ...]:
        """The atoms that were subtracted."""
        return tuple(self.atoms["atom"][self.atoms["chosen"]].tolist())

    def plot(self) -> Any:
        """Draw where along the output the chosen atoms were active."""
        from sae_nb.figures import heatmaps, named_ticks, visible_token

        top = float(np.abs(self.strengths).max(initial=0.0)) or 1.0
        figure = heatmaps(
            {"token of the output": self.strengths},
            ends=(-top if (self.strengths < 0).any() else 0.0, top),
            signed=bool((self.strengths < 0).any()),
            hover="%{z:.3g}",
            bar="strength",
            height=120 + 26 * len(self.strengths),
        )
        figure.update_xaxes(named_ticks(map(visible_token, self.tokens), tickangle=-60))
        return figure.update_yaxes(named_ticks(f"atom {atom}" for atom in self.chosen))

    @property
    def headline(self) -> str:
        """Log-probability of the output, without the atoms, and along random ones."""
        before, without, *_ = self.table["logp"]
        random = self.table["logp"][self.table["without"] == RANDOM].mean()
        return (
            f"without {', '.join(map(str, self.chosen))}, the output has {without:.2f} nats per "
            f"token instead of {before:.2f}; along random atoms {random:.2f}"
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.table)
        body = "".join(
            "<tr>" + "".join(f"<td{_WRAP}>{_cell(value)}</td>" for value in row) + "</tr>"
            for row in self.table.itertuples(index=False)
        )
        intro = f"<p{_WRAP}>{escape(self.prompt)} → <b>{escape(self.output)}</b></p>"
        return f"{intro}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_WRAP = ' style="text-align:left;white-space:pre-wrap"'


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else escape(str(value))


@checked(leave=("prompt", "output", "good", "labels"))
def debug(
    model: LiveModel,
    sae: SparseAutoencoder,
    prompt: Any,
    hook_point: str,
    output: Any = None,
    *,
    good: Any = None,
    by: Literal["attribution", "contrast", "strength"] = "attribution",
    atoms: int | Sequence[int] | None = None,
    n: Count = 3,
    strength: float = 1.0,
    max_new_tokens: Count = 40,
    temperature: float = 0.0,
    seed: Seed = 0,
    n_controls: Count = 3,
    score: Callable[[str], float] | None = None,
    labels: Mapping[int, str] | None = None,
) -> Debugged:
    """Find the atoms behind a bad output, remove them, and let the model write again.

    The chosen atoms' part Σ_j z_tj d_j is subtracted at every position but the first, `strength` times, from
    the prompt on. Two controls change every position by the same length: the parts of random atoms that are
    alive there, and the simpler method, the difference of mean activations of output and good output (without
    one: of output and prompt).

    Parameters
    ----------
    prompt, output, good
        One text each, or token ids. The output is what was written after the prompt; None: what the model now
        writes. A good output of the same prompt is what `by="contrast"` compares with.
    by
        "attribution": by what an atom adds to the output's log-probability. "contrast": by its mean strength
        on the output minus that on the good one. "strength": by its mean strength on the output.
    atoms, n
        The atoms to take away; None: the first `n` by rank.
    strength
        1 takes an atom away, 2 turns it around, 0 leaves everything.
    max_new_tokens, temperature, seed
        As in `model.generate`; the seed also draws the random atoms, `n_controls` times.
    score
        A number for a text, such as the share of words that should not be there; a column of the table.
    labels
        Names of atoms.

    Raises
    ------
    TypeError: If the model writes no text.
    ValueError: If the output is empty or too long, `by="contrast"` has no good output, or no atom fires.
    HookPointNotFound, IndexError: If there is no such hook point or atom.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = debug(model, sae, "The list of", "resid_post.3", max_new_tokens=8, n_controls=1)
    >>> found.table["without"].tolist()
    ['as it was', 'atoms', 'random atoms', 'mean activation']
    >>> bool(found.table["logp"][1] < found.table["logp"][0])  # the output is less likely without them
    True
    """
    check_writer(model, sae, hook_point)
    if by == "contrast" and good is None:
        raise ValueError(
            '`by="contrast"` needs a good output to compare with, got none. Pass good=.'
        )
    given = [atoms] if isinstance(atoms, int) else atoms
    wanted = None if given is None else [check_atom(atom, sae.n_atoms) for atom in given]
    if wanted is not None and (not wanted or len(set(wanted)) < len(wanted)):
        raise ValueError(f"`atoms` must name at least one atom, and each once, got {wanted}.")
    names = check_labels(labels, sae.n_atoms)
    before = prompt_ids(model, prompt)
    writing = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    check_length(model, len(before) + max_new_tokens, "Prompt and new tokens")
    bad = (
        _written(model, before, writing)
        if output is None
        else output_ids(model, output, name="output")
    )
    other = None if good is None else output_ids(model, good, name="good")
    for part, what in ((bad, "output"), (other, "good output")):
        check_length(model, len(before) + (0 if part is None else len(part)), f"Prompt and {what}")
    scene = _Scene(model, sae, hook_point, before, bad, other)
    ranked = scene.ranked(by, wanted, n, names)
    return _again(scene, ranked, strength, writing, n_controls, score)


def _written(
    model: LiveModel, ids: Int[Tensor, " n"], settings: Mapping[str, Any]
) -> Int[Tensor, " m"]:
    new = model.generate(ids, return_ids=True, echo=False, **settings)
    return torch.as_tensor(new)


class _Scene:
    """A prompt and what was written after it, as the SAE reads both."""

    def __init__(
        self,
        model: LiveModel,
        sae: SparseAutoencoder,
        hook_point: str,
        before: Int[Tensor, " n"],
        bad: Int[Tensor, " m"],
        good: Int[Tensor, " g"] | None,
    ) -> None:
        self.model, self.sae, self.hook_point = model, sae, hook_point
        self.before, self.bad = before, bad
        self.acts = self._read(bad, gradient=True)
        self._x = self.acts.x.to(sae.dictionary)
        with torch.no_grad():
            self.codes = sae.encode(self._x)
        self.good = None if good is None else self._read(good)

    def _read(self, after: Int[Tensor, " m"], *, gradient: bool = False) -> Activations:
        """Activations of prompt and output, with the gradient of the output's log-probability."""
        n = len(self.before)

        def log_p(logits: Float[Tensor, "1 time vocabulary"]) -> Tensor:
            own = logits[0, n - 1 : n - 1 + len(after)].float().log_softmax(dim=-1)
            return own.gather(1, after.to(own.device)[:, None]).sum()

        whole = torch.cat((self.before, after))
        of = log_p if gradient else None
        return capture(self.model, [whole], self.hook_point, gradient_of=of, progress=False)

    def is_output(self, acts: Activations) -> Tensor:
        """Return a mask of the rows of the output."""
        return torch.as_tensor(acts.position) >= len(self.before)

    def _means(self, acts: Activations) -> Float[np.ndarray, " n_atoms"]:
        """Mean strength of every atom over the tokens of an output."""
        rows = acts.x[self.is_output(acts)].to(self.sae.dictionary)
        with torch.no_grad():
            codes = self.sae.encode(rows)
        sums = np.bincount(codes.atoms.cpu(), codes.values.cpu().double(), self.sae.n_atoms)
        return sums / max(len(rows), 1)

    def attribution(self) -> Float[np.ndarray, " n_atoms"]:
        """Return nats that each atom adds to the output's log-probability, to first order."""
        values = self.codes.values.detach().requires_grad_(True)
        with torch.enable_grad():
            # ∂⟨x̂, g⟩/∂z_tj = ⟨d_j, g_t⟩ by the SAE's own decoder, which stays sparse.
            made = written_codes(self.sae, self.codes.with_values(values), self._x)
            x_hat = self.sae.decode(made)
            gradient = torch.as_tensor(self.acts.gradient).to(x_hat)
            (slope,) = torch.autograd.grad((x_hat * gradient).sum(), values)
        effect = (values.detach() * slope).double().cpu()
        return np.bincount(self.codes.atoms.cpu(), effect, self.sae.n_atoms)

    def ranked(
        self, by: str, wanted: list[int] | None, n: int, labels: Mapping[int, str]
    ) -> DataFrame:
        """Return a table of the atoms that fired, the first of which are chosen."""
        import pandas as pd

        strength = self._means(self.acts)
        contrast = np.full(len(strength), np.nan)
        if self.good is not None:
            contrast = strength - self._means(self.good)
        columns = {"attribution": self.attribution(), "strength": strength, "contrast": contrast}
        fired = np.union1d(self.codes.atoms.cpu().numpy(), wanted or []).astype(int)
        if not len(fired):
            raise ValueError("No atom fires on this prompt and output. Was the SAE trained here?")
        order = fired[np.argsort(-columns[by][fired], kind="stable")]
        chosen = set(order[:n].tolist() if wanted is None else wanted)
        table = {"atom": order, "label": [str(labels.get(int(j), "")) for j in order]}
        table |= {name: values[order] for name, values in columns.items()}
        return pd.DataFrame(table | {"chosen": [int(j) in chosen for j in order]})

    def simple(self) -> Float[Tensor, " d_in"]:
        """Return the difference of mean activations: output against good output, or against the prompt."""
        is_output = self.is_output(self.acts)
        bad = self.acts.x[is_output] if bool(is_output.any()) else self.acts.x
        if self.good is not None:
            rest = self.good.x[self.is_output(self.good)]
        else:
            rest = self.acts.x[~is_output]
        base = rest.mean(dim=0) if len(rest) else torch.zeros_like(bad[0])
        return bad.mean(dim=0) - base


def _again(
    scene: _Scene,
    ranked: DataFrame,
    strength: float,
    writing: Mapping[str, Any],
    n_controls: int,
    score: Callable[[str], float] | None,
) -> Debugged:
    """Let the model write without the atoms, and under each control."""
    import pandas as pd

    model, sae = scene.model, scene.sae
    atoms = ranked["atom"][ranked["chosen"]].tolist()
    alive = ranked["atom"].to_numpy()
    changes: list[tuple[str, Any]] = [(AS_IT_WAS, None), (WITHOUT, Along(sae, atoms, strength))]
    for drawn in other_atoms(sae.n_atoms, atoms, n_controls, writing["seed"], alive):
        others = sae.dictionary[drawn].detach()
        changes.append((RANDOM, Along(sae, atoms, strength, others)))
    changes.append((SIMPLER, Along(sae, atoms, strength, scene.simple())))
    rows = [_row(scene, name, change, writing, score) for name, change in changes]
    is_output = scene.is_output(scene.acts).to(scene.codes.values.device)
    return Debugged(
        atoms=ranked,
        table=pd.DataFrame(rows),
        strengths=scene.codes.of_atoms(atoms)[is_output].T.float().cpu().numpy(),
        tokens=token_names(model, scene.bad),
        prompt=text_of(model, scene.before),
        output=text_of(model, scene.bad),
        strength=strength,
    )


def _row(
    scene: _Scene,
    name: str,
    change: Along | None,
    writing: Mapping[str, Any],
    score: Callable[[str], float] | None,
) -> dict[str, Any]:
    model = scene.model
    edit: AbstractContextManager[Any] = nullcontext()
    if change is not None:
        edit = subtracting(model, scene.hook_point, change)
    with model.lock, edit:
        new = _written(model, scene.before, writing)
        logp = -surprise(model, [scene.before], [scene.bad])[0]
    text = text_of(model, new)
    row = {"without": name, "logp": logp, "fluency": surprise(model, [scene.before], [new])[0]}
    row["repeated"] = repeated_share(new.tolist())
    if score is not None:
        row["score"] = check_real(answered(score, text, name="score"), name="score(text)")
    return row | {"text": text}
