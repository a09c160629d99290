"""AtomQuiz: can you tell from an atom's examples where else it fires? A person's score, with chance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t

from sae_nb.atoms import AtomCatalogue, QuizQuestion, ask_about, askable_atoms
from sae_nb.checks import check_count, checked, refuse_direction
from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import escape, format_count
from sae_nb.pretrained import needed_examples
from sae_nb.sessions import names_of
from sae_nb_widgets.components import PictureGrid
from sae_nb_widgets.components._base import HTML, Button
from sae_nb_widgets.components._chips import DOTS
from sae_nb_widgets.components._picture_grid import outlined
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Atom, Whole, reacts
from sae_nb_widgets.panel._examples import examples_view
from sae_nb_widgets.quiz._options import OptionCards
from sae_nb_widgets.quiz._page import playable
from sae_nb_widgets.quiz._score import QuizScore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomNames


MOST_ON_PAGE = 5
"""Questions of a page that is played without Python: that about the atom shown, and atoms with sure names."""

MOST_TRIED = 24
"""Atoms with the surest names. Of those whose examples are all outlined the strongest is asked about first."""

LARGEST_PART = 0.4
"""Of an image, up to which an outline shows where an atom fires. Ours."""


@checked
class AtomQuiz(HasAtoms):
    """Examples of an atom, and other samples in one of which it fires: guess which, and keep score.

    Each image or text is the button that answers. Keys: 1, 2, … answer, → moves to the next atom.

    Parameters
    ----------
    sae
        Whose atoms.
    acts
        Pictures or texts with their activations. None: the examples of a pretrained SAE.
    catalogue
        The same, where it is made already.
    atoms
        Asked about, in an order of chance; None: all that fire in enough samples and are silent in
        enough.
    n_examples
        Shown before the question.
    n_options
        To choose from: guessing reaches 1 / n_options.
    seed
        Of the questions.

    Raises
    ------
    ValueError: If rows are plain vectors, or no atom can be asked about.

    Examples
    --------
    >>> import sae_nb as sn
    >>> examples = sn.load_examples("tiny-vit/resid_post.6")
    >>> sae = sn.load_sae("tiny-vit/resid_post.6")
    >>> quiz = AtomQuiz(catalogue=examples.catalogue(sae))
    >>> quiz.take(quiz.asked.answer)
    >>> quiz.score.n_right
    1
    >>> quiz.close()
    """

    question = "Where else does this atom fire?"
    explanation = (
        "First some samples in which the atom fires, shaded by how strongly. Then others without "
        "shading: it fires in exactly one of them. Your score is the share of right answers with its "
        "95 % interval, next to what guessing gives.",
        "A good score shows that a person can predict where the atom fires. It does not show that the "
        "model uses the atom that way, nor that your reason is the right one.",
        "After the intruder and detection tasks of Paulo et al., arXiv 2410.13928, asked of people.",
    )
    stem = "quiz"
    needs_kernel = "More questions need a running kernel."
    kept_traits = ("atom", "answers")

    atom = Atom(help="The atom asked about.")
    taken = Whole(
        -1,
        0,
        lambda panel: panel._n_options - 1,
        none=-1,
        help="The option taken; -1 before one is.",
    )
    answers = t.List(help="Atoms answered and whether rightly: [atom, right].")

    def __init__(
        self,
        sae: SparseAutoencoder | None = None,
        acts: Activations | None = None,
        *,
        catalogue: AtomCatalogue | None = None,
        atoms: Sequence[int] | None = None,
        n_examples: int = 4,
        n_options: int = 5,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        refuse_direction(sae, "Look at it in an AtomBrowser(direction, acts).")
        check_count(n_options, name="n_options", at_least=2)
        self._catalogue = _catalogue(sae, acts, catalogue)
        self.n_atoms = self._catalogue.n_atoms
        self._sizes = {"n_examples": n_examples, "n_options": n_options}
        self._order = _order(self._catalogue, atoms, self._sizes, seed)
        self._seed = seed
        self._asked: QuizQuestion | None = None
        self._n_options = n_options
        super().__init__(**kwargs)
        self.names = names_of(self._catalogue.sae, self._catalogue)
        self.atom = int(self._order[0])
        if atoms is None:
            self.atom = _telling(self.names, self._order, self._shows)
        self._build()
        with self.guarded("asking"):
            self._ask()
        self._score()

    def _shows(self, atom: int) -> tuple[bool, float]:
        """Return of the examples of an atom's first question whether each shows a part where it fires, and how
        strong they are, as a share of its maximum.
        """
        asked = ask_about(self._catalogue, atom, seed=self._seed, **self._sizes)
        heat = [one.heat for one in asked.examples if one.heat is not None]
        shown = all(0 < outlined(one).mean() <= LARGEST_PART for one in heat)
        return shown, float(np.mean([abs(one.strength) for one in asked.examples])) / asked.maximum

    # --- state ------------------------------------------------------------------------------------

    @property
    def asked(self) -> QuizQuestion | None:
        """The question on screen; None where the atom cannot be asked about."""
        return self._asked

    @property
    def score(self) -> QuizScore:
        """Answers so far."""
        return QuizScore(
            n_right=sum(int(right) for _, right in self.answers),
            n_answered=len(self.answers),
            chance=1 / self._n_options,
        )

    @property
    def record(self) -> dict[str, Any]:
        """The score, as numbers."""
        score = self.score
        low, high = score.interval
        return {
            "right": score.n_right,
            "answered": score.n_answered,
            "share": score.share,
            "low": low,
            "high": high,
            "guessing": score.chance,
            "atoms": [int(atom) for atom, _ in self.answers],
        }

    # --- widgets ----------------------------------------------------------------------------------

    def _build(self) -> None:
        context = self._catalogue.acts.context
        self.examples = examples_view(context)
        self.examples.component.description = "examples"
        self.cards = OptionCards(context, self.take)
        self._next = Button(description="next atom", tooltip="Another atom (key →)")
        self._next.on_click(lambda _: self.go_on())
        self._prompt = HTML()
        self.score_card = HTML()
        title = HTML(
            f'<div class="sae-nb-cardtitle">It fires in these {context.sample_word}s</div>'
        )
        # Over the whole width, so that the options stand in one row.
        asked = [title, self.examples.widget, self._prompt, self.cards.widget]
        self.arrange(controls=[self._next], figure=[*asked, self.score_card])
        for number in range(min(self._n_options, 9)):
            self.bind_key(str(number + 1), partial(self.take, number))
        self.bind_key("ArrowRight", self.go_on)
        word = f"{context.sample_word}s"
        self.chips = {
            "atoms to ask about": format_count(len(self._order)),
            word: format_count(len(np.unique(self._catalogue.samples))),
        }

    @checked
    def take(self, option: int) -> None:
        """Answer the question; a second answer to it is not counted.

        Parameters
        ----------
        option
            Number of the option, from 0.
        """
        if self._asked is not None and self.taken < 0:
            self.taken = option

    def go_on(self) -> None:
        """Ask about the next atom."""
        place = np.flatnonzero(self._order == self.atom)
        following = int(self._order[(int(place[0]) + 1) % len(self._order)]) if len(place) else None
        following = int(self._order[0]) if following is None else following
        if following == self.atom:
            self._seed += 1
            with self.guarded("asking"):
                self._ask()
        else:
            self.atom = following

    def static_main(self) -> str:
        """Return the quiz as HTML that can be played without Python; once it was begun, as it stands."""
        if self.answers or self._asked is None:
            return super().static_main()
        following = [atom for atom in self._order.tolist() if atom != self.atom]
        sure = [atom for atom in following if self.names.sureness(atom)[0] == DOTS]
        # Those that fire at the class token alone, or nearly everywhere, have nothing to be seen.
        more = sorted(sure[:MOST_TRIED], key=lambda one: not self._shows(one)[0])[
            : MOST_ON_PAGE - 1
        ]
        others = [ask_about(self._catalogue, one, seed=self._seed, **self._sizes) for one in more]
        asked = [self._asked, *others]
        named = [(one, self.names.in_text(one.atom)) for one in asked]
        return playable(self._catalogue.acts.context, named)

    # --- drawing ----------------------------------------------------------------------------------

    def _rescale(self) -> None:
        if self._asked is not None:
            self.examples.show(self._asked.examples, self._asked.maximum)
            if isinstance(self.cards.widget, PictureGrid):
                self.cards.widget.thumbnail = theme().thumbnail_px

    @reacts("atom", doing="asking")
    def _ask(self) -> None:
        self._asked, self.taken = None, -1
        seed = self._seed + len(self.answers)
        try:
            asked = ask_about(self._catalogue, self.atom, seed=seed, **self._sizes)
        except ValueError:
            # An atom linked from elsewhere may fire too rarely: a fact about it, and no failure.
            name = self.names.in_text(self.atom)
            why = (
                f"There is no question about {name}: it fires in too few samples, or in nearly all."
            )
            self.examples.show((), 1.0, why)
            self.cards.ask(())
            self._prompt.value = ""
            self.say(f"{why} Press “next atom”.")
            return
        self._asked = asked
        self.examples.show(asked.examples, asked.maximum)
        self.cards.ask(asked.options)
        word = self._catalogue.acts.context.sample_word
        title = escape(f"It also fires in one of these {word}s. In which?")
        self._prompt.value = f'<div class="sae-nb-cardtitle">{title}</div>'
        # Without its name, which would be the answer.
        self.say(f"Choose one of {self._n_options}.")

    @reacts("taken", doing="answering")
    def _answered(self) -> None:
        asked = self._asked
        if asked is None or self.taken < 0:
            return
        right = self.taken == asked.answer
        self.answers = [*self.answers, [asked.atom, int(right)]]
        self.cards.tell(asked.options, asked.answer, self.taken, asked.maximum)
        verdict = "Right, it is" if right else "No, it was"
        name = self.names.in_text(asked.atom)
        self.say(f"{verdict} option {asked.answer + 1} (highlighted). You saw {name}.")

    @reacts("answers", doing="counting")
    def _score(self) -> None:
        score = self.score
        word = self._catalogue.acts.context.sample_word
        task = (
            f"One atom fires in every {word} of the first row. In which of the {self._n_options} "
            f"below does it fire, too? Guessing is right in {score.chance:.0%} of cases."
        ).replace("%", "\u2009%")
        self.conclude(score.words if score.n_answered else task, score.numbers)
        self.score_card.value = _score_html(score)


def _score_html(score: QuizScore) -> str:
    """The score between 0 and 100 %, with its interval and what guessing gives; nothing before an answer."""
    if not score.n_answered:
        return ""
    low, high = score.interval
    marks = (
        f'<div class="sae-nb-interval" style="left:{low:.1%};width:{high - low:.1%}"></div>'
        f'<div class="sae-nb-control" style="left:{score.chance:.1%}"></div>'
        f'<div class="sae-nb-before" style="left:{score.share:.1%}"></div>'
    )
    keys = (
        ("before", f"you: {score.n_right} of {score.n_answered}"),
        ("control", f"guessing: 1 of {round(1 / score.chance)}"),
        ("interval", "where your share may lie after more answers (95 %)"),
    )
    key = "".join(
        f'<span class="sae-nb-keypart"><span class="sae-nb-keymark sae-nb-key-{mark}"></span>'
        f"{escape(words)}</span>"
        for mark, words in keys
    )
    return (
        '<div class="sae-nb-card sae-nb-score"><div class="sae-nb-cardtitle">Your share of right answers'
        f'</div><div class="sae-nb-scale"><span>0 %</span><div class="sae-nb-track" role="img" '
        f'aria-label="{escape(score.words)}">{marks}</div><span>100 %</span></div>'
        f'<div class="sae-nb-key">{key}</div></div>'
    )


def _catalogue(
    sae: SparseAutoencoder | None, acts: Activations | None, catalogue: AtomCatalogue | None
) -> AtomCatalogue:
    if catalogue is not None:
        return catalogue
    if sae is None:
        raise ValueError(
            "`sae` or a `catalogue` must be given, got neither. Use AtomQuiz(sae, acts)."
        )
    return needed_examples(sae).catalogue(sae) if acts is None else AtomCatalogue(sae, acts)


def _telling(
    names: AtomNames, order: np.ndarray, shows: Callable[[int], tuple[bool, float]]
) -> int:
    """Return the atom to ask about first: its name holds, its examples show where it fires and are strong."""
    held = set(names.surest())
    named = [atom for atom in order.tolist() if atom in held or atom in names.labels]
    sure = [atom for atom in named if names.sureness(atom)[0] == DOTS][:MOST_TRIED]
    known = [atom for atom in named if atom in held]
    return int(max(sure, key=shows) if sure else (known or order.tolist())[0])


def _order(
    catalogue: AtomCatalogue, atoms: Sequence[int] | None, sizes: dict[str, int], seed: int
) -> np.ndarray:
    possible = askable_atoms(catalogue, **sizes)
    chosen = possible if atoms is None else possible[np.isin(possible, list(atoms))]
    if len(chosen) == 0:
        raise ValueError(
            f"`atoms` must have one that fires in at least {sizes['n_examples'] + 1} samples and is "
            f"silent in {sizes['n_options'] - 1}, got none of "
            f"{catalogue.n_atoms if atoms is None else len(atoms)}. Show more samples."
        )
    return np.random.default_rng(seed).permutation(chosen)
