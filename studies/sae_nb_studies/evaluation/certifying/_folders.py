"""A certificate of an SAE on disk: its activations found or captured, its page written next to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.activations import Activations, load_activations
from sae_nb.atoms import KeptFirings
from sae_nb.capturing import capture
from sae_nb.files import remove_folder, write_bytes
from sae_nb.models import LiveModel, load_model
from sae_nb.sessions import keep_verdicts
from sae_nb_studies.evaluation.certifying._certificate import Certificate, certificate

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

N_IMAGES, N_TEXTS = 400, 400
"""Inputs of ours that are captured where no activations are given. Ours: 25 000 rows or so."""

FOLDER, PAGE, WORK = "certificate", "certificate.html", ".certificate-work"


def certify_folder(
    sae: SparseAutoencoder, acts: str | None, model: str | None, budget: str, *, where: Path
) -> Certificate:
    """Write the certificate of an SAE and its page; a call that was killed continues."""
    name = model or getattr(sae, "model_name", None)
    live = None if name is None else load_model(name)
    rows: Any = _captured(sae, live) if acts is None else load_activations(acts)
    work = where / WORK
    found = certificate(sae, rows, live, budget=budget, folder=work)
    found.save(where / FOLDER)
    keep_verdicts(sae, found.table["verdict"].tolist(), where)
    if (second := KeptFirings.of(sae)) is not None:
        second.keep(sae, where)
    write_bytes(where / PAGE, page(found).encode())
    if work.is_dir():
        remove_folder(work)
    return found


def _captured(sae: SparseAutoencoder, model: LiveModel | None) -> Activations:
    """Capture inputs of ours where the SAE reads."""
    place = getattr(sae, "hook_point", None)
    if model is None or place is None:
        raise ValueError(
            "`--acts` must be given for an SAE that does not name its model and hook point. Capture "
            "activations with sn.capture(…, store=folder), and pass the folder."
        )
    return capture(model, bundled_inputs(model), str(place))


def bundled_inputs(model: LiveModel) -> Any:
    """Return inputs of ours that a model takes: prose and stories, sounds, or scenes."""
    from sae_nb.data import prose, scenes, sounds, stories

    if model.modality.is_text:
        return [*prose("train").texts[:N_TEXTS], *stories(N_TEXTS, seed=0).texts]
    if model.kind == "audio":
        return sounds(N_IMAGES, seed=0).waveforms
    return scenes(N_IMAGES, seed=0).images


def page(found: Certificate) -> str:
    """Return a certificate as a page of its own."""
    from html import escape

    from sae_nb.figures import to_svg
    from sae_nb.figures.theme import html_page

    tables = (
        ("What the numbers are", "", found.numbers[["number", "meaning"]]),
        ("Facts", "", _facts(found)),
        ("Every atom", found.meanings()["table"].replace("`", ""), found.table),
    )
    rest = "".join(
        f"<h2>{title}</h2><p>{escape(said)}</p>"
        f"{table.to_html(index=False, border=0, float_format='{:.3g}'.format, na_rep='')}"
        for title, said, table in tables
    )
    chart = f'<div style="overflow-x: auto">{to_svg(found.plot())}</div>'
    return html_page("Which atoms are real?", f"{chart}{found._repr_html_()}{rest}")


def _facts(found: Certificate) -> Any:
    import pandas as pd

    return pd.DataFrame([(k, str(v)) for k, v in found.facts.items()], columns=["fact", "value"])
