"""check_fit: does an SAE belong to this model, at this place, in these units? And if not, why?

The SAE is tried as its file states, then under each common mistake: another layer, another scale, with
or without the begin-of-text token, centred or normalised activations. The variant that explains the
activations much better than the stated use is the cause.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.evaluation.report._reconstruction import explained_variance
from sae_nb.evaluation.report._report import RECOVERED, evaluate
from sae_nb.findings import Finding
from sae_nb.models._fetching import known_as

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


Cause = Literal[
    "none",
    "layer",
    "scale",
    "begin-of-text",
    "centring",
    "normalisation",
    "another revision",
    "another model",
]

CLEARLY = 0.9
"""A mistake is named when undoing it leaves less than this share of the unexplained variance. Ours: for
TopK SAEs of tiny-gpt (120–300 steps, two seeds, four layers), undoing a planted mistake of layer, scale,
centring or normalisation left .001–.72, of the begin-of-text token .81–.99 (a mistake that small does no
harm), and no other use of an SAE that fits left less than 1.009."""

POOR = 0.5
"""R² below which an SAE does not fit, whatever the reason. Ours."""

FALLEN = 2.0
"""An unexplained share this many times what was measured is doubted. Ours: for an SAE of SmolLM2-135M (R² .81
on 630 tokens of WikiText), noise of a tenth of each matrix's standard deviation left .74, of a fifth .52 and of
two fifths .23."""

MOST_ROWS = 4096
_PRINTED = 4
SCALES = tuple(2.0**power for power in range(-10, 11) if power != 0)

ADVICE: dict[Cause, str] = {
    "none": "It fits as stated.",
    "layer": "It was trained at another place: set sae.hook_point to the one named.",
    "scale": "Its activations were scaled: multiply by the factor named, or read it with scale=…",
    "begin-of-text": "Capture with add_bos as named, or drop the first token.",
    "centring": "Its activations had their mean taken off; subtract it before encoding.",
    "normalisation": "Its activations were normalised one by one; do so before encoding.",
    "another revision": (
        "No scale, place or centring makes it fit, and the model has the name that it states: likely are "
        "another revision or precision of the weights (tuned further, quantised, of another source), or a "
        "damaged file. Load the weights that it was made on."
    ),
    "another model": (
        "No scale, place or centring makes it fit: it is of another model or checkpoint (a chat model "
        "instead of its base?), or its file is damaged."
    ),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way to use the SAE, and how well it then explains the activations."""

    cause: Cause  # the mistake this undoes; "none" is the use as stated
    use: str  # in words
    r2: float  # explained share of the variance, on the rows tried
    l0: float  # mean atoms per row


class FitCheck(Finding, eq=True):
    """Whether an SAE fits a model, and the likely cause where it does not."""

    cause: Cause
    """The likely cause; "none" where it fits."""

    trials: tuple[Trial, ...]
    """The use as stated first, the others from best to worst."""

    recovered: float | None
    """Loss recovered by splicing it in as stated (zero ablation); None where it was not measured."""

    stated: dict[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    """Figures its file states; what else does not agree, such as the model's name."""

    @property
    def fits(self) -> bool:
        """Whether it can be used as stated."""
        return self.cause == "none"

    @property
    def best(self) -> Trial:
        """The use that explains most."""
        return max(self.trials, key=lambda trial: trial.r2)

    @property
    def advice(self) -> str:
        """Advice."""
        text = ADVICE[self.cause]
        is_undone = self.cause == self.best.cause != "none"
        return f"{text} ({self.best.use})" if is_undone else text

    @property
    def headline(self) -> str:
        """Whether it fits, and what to do where it does not."""
        return "fits as stated" if self.fits else f"does not fit: {self.cause}. {self.advice}"

    @property
    def table(self) -> pd.DataFrame:
        """A row per trial: its use, the mistake it undoes, R² and mean atoms per row."""
        import pandas as pd

        rows = [(one.use, one.cause, one.r2, one.l0) for one in self.trials]
        return pd.DataFrame(rows, columns=["use", "undoes", "R²", "L0"]).set_index("use")

    @property
    def below(self) -> tuple[str | pd.DataFrame, ...]:
        """The use as stated and the three best others, other figures of it, and doubts."""
        spliced = {} if self.recovered is None else {"Loss recovered": f"{self.recovered:.3f}"}
        figures = ", ".join(f"{name} {value:g}" for name, value in self.stated.items())
        facts = spliced | ({"Its file states": figures} if figures else {})
        notes = (f"{name}: {text}." for name, text in facts.items())
        return (self.table[["R²", "L0"]].head(_PRINTED), *notes, *self.doubts)


@checked
def check_fit(
    model: LiveModel,
    sae: SparseAutoencoder,
    inputs: Inputs | None = None,
    *,
    hook_point: str | None = None,
    splice: bool = True,
) -> FitCheck:
    """Try an SAE on a live model as stated, and under the usual mistakes.

    Parameters
    ----------
    inputs
        Anything `capture` takes, like what it was trained on; a few dozen are enough. None: bundled
        prose for language models, bundled scenes for vision models.
    hook_point, splice
        Where it should belong, None: what it states itself; whether to measure the loss recovered, too.

    Raises
    ------
    ValueError: If the place is not known, or its width is not the SAE's at any layer.

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-vit")
    >>> sae = sn.load_sae("tiny-vit/resid_post.6")
    >>> sn.check_fit(model, sae, splice=False).fits
    True
    """
    stated = str(hook_point or sae.hook_point or "")
    if not stated:
        raise ValueError(
            "`hook_point` must be given for an SAE that does not state one. Use "
            f"check_fit(model, sae, hook_point=…); {model.name} has {model.hook_points()[:4]} …"
        )
    if inputs is None:
        if model.modality.examples is None:
            raise ValueError(
                f"`inputs` must be given for {model.name}, which is neither language nor vision."
            )
        inputs = model.modality.examples(64, 1)
    elif isinstance(inputs, Iterator):  # they are read more than once
        inputs = list(inputs)
    sae.on_first_use = None  # this is the look
    origin = getattr(sae, "origin", None)
    adds = getattr(origin, "prepend_bos", None) if model.modality.is_text else None
    bos: bool | Literal["auto"] = "auto" if adds is None else adds
    rows = _captured(model, inputs, _places(model, sae, stated), bos)
    sae.look_at(rows[stated])  # whether its model's norms take off means
    # A wrong scale would be beyond the numbers of half precision.
    tried = copy.deepcopy(sae).float()
    trials = list(_trials(model, tried, inputs, rows, stated, bos))
    first, rest = trials[0], sorted(trials[1:], key=lambda trial: -trial.r2)
    enough = CLEARLY * (1 - first.r2)
    undone = (t.cause for t in rest if t.r2 >= POOR and 1 - t.r2 < enough)
    recovered = None
    if splice:
        report = evaluate(sae, rows[stated], model, inputs, hook_point=stated, n_bootstrap=0)
        recovered = next((report[name].value for name in RECOVERED if name in report), None)
    same_name = sae.model_name is not None and known_as(sae.model_name) == known_as(model.name)
    unknown: Cause = "another revision" if same_name else "another model"
    return FitCheck(
        cause=next(undone, "none" if first.r2 >= POOR else unknown),
        trials=(first, *rest),
        recovered=recovered,
        stated=dict(getattr(origin, "stated", {})),
        doubts=(*_doubts(model, sae, first.r2, same_name=same_name), *getattr(origin, "notes", ())),
    )


def _doubts(
    model: LiveModel, sae: SparseAutoencoder, r2: float, *, same_name: bool
) -> Iterator[str]:
    if sae.model_name and not same_name:
        yield f"It names {sae.model_name!r} as its model, and this is {model.name!r}."
        return
    known = (sae.measured or {}).get("r2")
    if known is not None and 1 - r2 > FALLEN * (1 - known):
        yield (
            f"R² is {r2:.2f} here and was {known:.2f} where it was measured: other inputs than it was trained "
            "on, or another revision or precision of the model's weights."
        )


def _trials(
    model: LiveModel,
    sae: SparseAutoencoder,
    inputs: Inputs,
    rows: dict[str, Activations],
    stated: str,
    bos: bool | Literal["auto"],
) -> Iterator[Trial]:
    x = rows[stated].x
    yield _tried(sae, x, "none", f"at {stated}, as stated")
    for place, acts in rows.items():
        if place != stated:
            yield _tried(sae, acts.x, "layer", f"at {place}")
    usual = float(x.shape[1] ** 0.5 / x.norm(dim=1).mean())  # gives a mean norm of √d_in
    for factor in (*SCALES, usual, 1 / usual):
        yield _tried(sae, factor * x, "scale", f"activations × {factor:.3g}")
    yield _tried(sae, x - x.mean(dim=0), "centring", "mean activation taken off")
    yield _tried(sae, x - x.mean(dim=1, keepdim=True), "centring", "mean of each row taken off")
    standard = (x - x.mean(dim=1, keepdim=True)) / (x.std(dim=1, keepdim=True) + 1e-5)
    yield _tried(sae, standard, "normalisation", "each row to mean 0 and standard deviation 1")
    lengths = x.norm(dim=1, keepdim=True) / x.shape[1] ** 0.5
    yield _tried(sae, x / lengths, "normalisation", "each row to norm √d_in")
    if model.modality.is_text and model.beginning_of_text is not None:
        tokenizer_adds = bool(model.tokenizer("a")["input_ids"][0] == model.beginning_of_text)
        added = tokenizer_adds if bos == "auto" else bool(bos)
        other = _captured(model, inputs, [stated], not added)[stated].x
        use = f"{'without' if added else 'with'} begin-of-text token, add_bos={not added}"
        yield _tried(sae, other, "begin-of-text", use)


@torch.no_grad()
def _tried(sae: SparseAutoencoder, x: Float[Tensor, "n d_in"], cause: Cause, use: str) -> Trial:
    codes = sae.encode(x)
    r2 = float(explained_variance(x, sae(x)))
    return Trial(cause=cause, use=use, r2=r2, l0=float(codes.l0.float().mean()))


def _places(model: LiveModel, sae: SparseAutoencoder, stated: str) -> list[str]:
    point = model.hook_point(stated)
    same = [p for p in model.hook_points() if p.kind in (point.kind, "embed")]
    fitting = [str(p) for p in same if model.width(p) in (None, sae.d_in)]
    width = model.width(point)
    if width is not None and width != sae.d_in:
        alike = [str(p) for p in model.hook_points() if model.width(p) == sae.d_in]
        which = f"{alike[0]} … {alike[-1]} have" if alike else "none here has"
        raise ValueError(
            f"`sae` must have the width of {model.name} at {stated!r}, {width}, got d_in={sae.d_in}. It "
            f"is of another model, or of another place: {which} that width."
        )
    return [stated, *(place for place in fitting if place != stated)]


def _captured(
    model: LiveModel, inputs: Inputs, places: list[str], bos: bool | Literal["auto"]
) -> dict[str, Activations]:
    from sae_nb.capturing import capture

    return capture(model, inputs, places, add_bos=bos, max_rows=MOST_ROWS, progress=False)
