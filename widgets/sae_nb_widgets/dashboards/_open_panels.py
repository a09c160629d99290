"""`dashboard` and `open_dashboard`: the panels of one SAE in one call, new or as they were left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.checks import checked
from sae_nb.pretrained import needed_examples
from sae_nb.sessions import Annotations, Session, open_session, session_panels
from sae_nb_widgets.dashboards._dashboard import Dashboard
from sae_nb_widgets.dashboards._subject import subject_of

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.atoms import Labels
    from sae_nb.codes import SparseCodes
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel
    from sae_nb.pretrained import ExampleStore


@checked(leave=("acts",))
def dashboard(
    model: LiveModel,
    sae: Any,
    acts: Activations | None = None,
    *,
    inputs: Any = None,
    codes: SparseCodes | None = None,
    labels: Any = None,
    examples: ExampleStore | None = None,
    lens: Lens | None = None,
    atom: int | None = None,
) -> Dashboard:
    """Lay the panels of one SAE out together, linked by the atom they show.

    Parameters
    ----------
    model
        The live model that the SAE reads.
    sae
        Any sparse autoencoder.
    acts
        Activations of its width; None takes the examples of a pretrained SAE.
    inputs
        Inputs that steering shows to the model; None takes the samples behind `acts`.
    codes
        Codes of `acts`, where they have been computed already.
    labels
        Where labels and notes are kept: the SAE's folder, say. See `AtomBrowser`.
    examples
        From `load_examples`, in place of `acts`: nothing is encoded, coordinates are there at once.
    lens
        A lens of the model, for what an atom raises with later blocks taken into account. See `AtomBrowser`.
    atom
        First one shown; the most frequent when None.

    Returns
    -------
    Dashboard
        `.map .browser .steering .depth .time .work`, `.atom`, `.compare(a, b)`, `.save(path)`,
        `.to_html(path)`, `.close()`.
    """
    subject = subject_of(
        model,
        sae,
        acts,
        inputs=inputs,
        codes=codes,
        labels=labels,
        examples=examples,
        lens=lens,
    )
    return Dashboard(subject, atom=atom)


@session_panels.answer
@checked(leave=("model", "acts"))
def open_dashboard(
    session: Session | str | Path,
    model: LiveModel,
    sae: Any = None,
    acts: Activations | None = None,
    *,
    labels: Any = None,
    **choices: Any,
) -> Dashboard:
    """Open live panels as a saved session left them.

    Parameters
    ----------
    session
        From `sn.open_session`, or the folder it was saved to.
    model
        The live model.
    sae
        The session's own SAE; looked for next to the session when None.
    acts
        As for `dashboard`.
    labels
        Place where labels and notes are kept from now on; the session's are added to them. None
        continues in the session.
    choices
        As for `dashboard`.

    Raises
    ------
    ValueError: If the session is damaged or belongs to another SAE.
    FileNotFoundError: If there is no such session, or its SAE is not found.
    """
    found = session if isinstance(session, Session) else open_session(session)
    if sae is None:
        sae = found.load_sae()
    else:
        found.check_sae(sae)
    if acts is None and choices.get("examples") is None:
        choices["examples"] = needed_examples(sae)
    examples = choices.get("examples")
    measured = None if examples is None else examples.labels
    book = Annotations.of(found.path if labels is None else labels, sae, measured)
    _add_missing(book, found.labels)
    made = dashboard(model, sae, acts, labels=book, **choices)
    made.steering.wait()  # until then the unit of its strength is not known
    made.restore(found.panels)
    if found.recipes and not found.panels.get("steering"):
        made.steering.replay(found.recipes[0])
    if found.atom is not None and not made.problem:
        made.atom = found.atom
    if found.tab in made._views:
        made.tab = found.tab
    if not made.problem:
        made.say(_welcome(found, model))
    return made


def _welcome(session: Session, model: LiveModel) -> str:
    if session.model_name not in (None, model.name):
        return (
            f"Session “{session.path.name}” was saved with the model {session.model_name}; this is "
            f"{model.name}, so steering may do something else."
        )
    labelled, starred = len(session.labels), len(session.labels.starred)
    return f"Session “{session.path.name}” opened: {labelled} labelled atoms, {starred} starred."


def _add_missing(book: Labels, kept: Annotations) -> None:
    own = getattr(book, "written", {})
    missing = {atom: words for atom, words in kept.written.items() if atom not in own}
    if missing or kept.starred:
        book.write_all(missing, kept.starred)
