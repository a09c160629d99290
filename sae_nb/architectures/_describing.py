"""An SAE in one line, and as a small card in a notebook: what it was made with, and what is known of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sae_nb.activations._positions import PositionPolicy
    from sae_nb.architectures._base import SparseAutoencoder


def one_line(sae: SparseAutoencoder) -> str:
    """Return the call that makes such an SAE, where it belongs, and what it reaches."""
    return " · ".join(filter(None, (_call(sae), _home(sae), ", ".join(measured_words(sae)))))


def card(sae: SparseAutoencoder) -> str:
    """Return the same as HTML, without colours of its own: it is legible on light and dark pages."""
    n = sum(parameter.numel() for parameter in sae.parameters())
    rows = {
        "made by": _call(sae),
        "reads": _home(sae) or "activations of any hook point: it was not trained yet",
        "for": "" if sae.position_policy is None else _positions(sae.position_policy),
        "reached": ", ".join(measured_words(sae)),
        "weights": f"{n} parameters, {str(sae.dtype).removeprefix('torch.')} on {sae.device}",
        "folder": "" if sae.folder is None else str(sae.folder),
        **_origin(sae),
    }
    body = "".join(
        f'<tr><th style="text-align:left">{name}</th>'
        f'<td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows.items()
        if text
    )
    title = f"{escape(type(sae).__name__)}: {sae.d_in} → {sae.n_atoms} atoms"
    return f'<table><caption style="text-align:left"><b>{title}</b></caption>{body}</table>'


def _call(sae: SparseAutoencoder) -> str:
    shown = ", ".join(f"{name}={value!r}" for name, value in _chosen(sae).items())
    return f"{type(sae).__name__}({shown})"


CHOICES = ("k", "base", "novel")
"""Settings with a default that others depend on."""


def _chosen(sae: SparseAutoencoder) -> dict[str, Any]:
    """Settings that say something: those without a default, and those that another choice was made for."""
    sizes: dict[str, Any] = {"d_in": sae.d_in, "n_atoms": sae.n_atoms}
    try:
        settings = sae.settings()
        sizes = {n: settings[n] for n in ("widths", *sizes) if n in settings}
        defaults = {n: p.default for n, p in inspect.signature(type(sae)).parameters.items()}
        empty = inspect.Parameter.empty
        given = {
            name: value
            for name, value in settings.items()
            if name in defaults and (defaults[name] is empty or name in CHOICES)
        }
        with torch.device("meta"):  # nothing is drawn
            usual = {**type(sae)(**given).settings(), **{n: defaults[n] for n in given}}
    except (TypeError, ValueError):  # it cannot be made anew, but it can be looked at
        return sizes
    chosen = {name: value for name, value in settings.items() if usual.get(name, empty) != value}
    return sizes | {n: v for n, v in chosen.items() if isinstance(v, str | int | float)}


def _home(sae: SparseAutoencoder) -> str:
    places = [str(place) for place in (sae.hook_point, sae.model_name) if place is not None]
    return " of ".join(places)


def _positions(policy: PositionPolicy) -> str:
    what = policy.left_out()
    return f"{f'positions but {what}' if what else 'all positions'} (stated by {policy.source})"


def _origin(sae: SparseAutoencoder) -> dict[str, str]:
    """Where an SAE of another library is from, and what its use needs."""
    origin = getattr(sae, "origin", None)
    if origin is None:
        return {}
    return {
        "from": ", ".join(filter(None, (origin.release, origin.library, origin.neuronpedia))),
        "note": " ".join(origin.notes),
        "not read": f"{n} fields of its file: sae.origin.unread"
        if (n := len(origin.unread))
        else "",
    }


HELD_OUT = "held_out"
"""Of what was measured: that it is of held-out rows, not of the last batches of a training."""


def measured_words(sae: SparseAutoencoder) -> list[str]:
    """Return R², L0 and dead atoms as last measured, in words, and whether its training was cut short."""
    known = {} if sae.measured is None else sae.measured
    on = "held-out rows" if HELD_OUT in known else "its last training batch"
    words: dict[str, Callable[[float], str]] = {
        "r2": lambda r2: f"R² {r2:.3f} on {on}".replace(" 0.", " ."),
        "l0": lambda l0: f"L0 {l0:.1f}",
        "dead_fraction": lambda share: f"{round(share * sae.n_atoms)} dead",
    }
    said = [say(known[n]) for n, say in words.items() if math.isfinite(known.get(n, math.nan))]
    if "of_steps" in known:
        said.append(f"cut short after {known['steps']:.0f} of {known['of_steps']:.0f} steps")
    return said
