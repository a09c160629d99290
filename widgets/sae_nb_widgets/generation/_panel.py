"""GenerationLens: the atoms that fire while a model writes, and how its text continues with one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import traitlets as t
from torch import Tensor

from sae_nb.activations import where_written
from sae_nb.checks import check_atom, check_count, checked
from sae_nb.corpora import BaseRate, InputSummary
from sae_nb.figures.theme import format_count
from sae_nb.generation import Continuation, Generation, check_writer
from sae_nb.models import is_conversation
from sae_nb.sessions import names_of
from sae_nb_widgets.components._base import lay_out
from sae_nb_widgets.generation import _keeping as keeping, _words as words
from sae_nb_widgets.generation._controls import GenerationControls, Picking
from sae_nb_widgets.generation._keeping import NOTHING_KEPT, Kept
from sae_nb_widgets.generation._margin import Margin
from sae_nb_widgets.generation._meter import MeterStrip, checked_meter
from sae_nb_widgets.generation._queries import Chosen, Measures, Measuring
from sae_nb_widgets.generation._text import Branching, Prompt, WaysRuns, Why, Writing, fitted
from sae_nb_widgets.generation._views import EMPTY, GenerationViews, Now
from sae_nb_widgets.input_lens._controls import Upload, uploaded
from sae_nb_widgets.input_lens._words import answer_words
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import (
    LARGEST_SEED,
    Atom,
    Number,
    Whole,
    Wholes,
    or_trait_error,
    reacts,
)
from sae_nb_widgets.panel._heading import place_words
from sae_nb_widgets.panel._playing import PlayingPanel
from sae_nb_widgets.panel._samples import check_parts, facts_of, one_text, stream_of
from sae_nb_widgets.steering import _words as steering
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.generation import Written
    from sae_nb.models import LiveModel
    from sae_nb.monitoring import Monitor

MOST_NEW, MOST_NAMED, MOST_PINNED, MOST_ADDED = 4096, 12, 12, 10_000
DRAWN_AT = 0.8
"""Temperature at which "again" draws where the likeliest token was taken before. Ours."""

FASTEST = 1000.0
"""Tokens a second at which the player hardly waits."""


@checked
class GenerationLens(HasAtoms, PlayingPanel):
    """Which atoms fire while the model writes?

    Type a prompt and let the model write, or go token by token. Each token comes with the atoms that
    fire at it, strong and rare ones first; `pinned` atoms have strips that fill. A chosen token is
    explained as in `InputLens`: what fired before it, and what mattered for it. With an atom and a
    strength the text continues from there: steered, unsteered, and along three random directions of the
    same size, from the same state and with the same random numbers. Every such branch stays in a list.

    Parameters
    ----------
    model
        A decoder of language, or of texts with images, from `load_model` or `wrap`.
    sae
        Whose atoms; read row by row.
    hook_point
        Hook point of the SAE; None takes the SAE's own.
    prompt
        The model's first input: a text or its token ids, or a list of messages, `{"role": …, "content": …}`,
        which the tokenizer's chat template renders up to where the assistant answers. The last message, if
        the user's, is shown in the box, those before in `messages`. Of a model that reads both also (text,
        image), of which the image is `picture`; it comes first where the text has no place for it.
    acts
        Activations, codes or a catalogue: base rates and 99th percentiles are measured on them. None takes
        those of the pretrained SAE, where this is one.
    frequency
        Base rates, as in `top_atoms`, where they are known already.
    labels
        Names of atoms.
    pinned
        Atoms that have a strip from the start.
    meter
        A monitor of the model (`sn.monitor`): each of its names has a strip under the text.

    Raises
    ------
    TypeError: If the model writes no text: it is one of vision, say.
    ValueError, HookPointNotFound: If model, SAE and hook point do not fit together.

    Examples
    --------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> lens = GenerationLens(model, sae, prompt="The list of", pinned=[25])
    >>> lens.step(5)
    >>> lens.written
    ' the lists of the'
    >>> lens.token, lens.atom, lens.strength = 4, 25, -1.0
    >>> lens.go_on(3)
    >>> lens.branch, len(lens.generation.branches[1].rows)
    (1, 5)
    >>> lens.close()
    """

    question = "Which atoms fire while the model writes?"
    explanation = (
        "Each token comes with the atoms that fire at it: first what is strong (next to its 99th percentile) "
        "and rare (by how often it fires in the examples). Strips show pinned atoms. Choose a token to see "
        "which atoms before it moved its score (gradient × activation; the dashed tick is what random "
        "directions reach). “go on from here” adds the chosen atom from that token on, next to the text "
        "without it and three with random directions of the same size; all draw with the same random "
        "numbers. Strengths are read before anything is added.",
        "An atom that fires at a token need not have caused it; the estimate can be wrong even in sign. That a "
        "steered text differs proves nothing where random directions change it as much. One text is one "
        "text: do not generalise from it.",
        "Contributions: Marks et al., “Sparse Feature Circuits”, arXiv 2403.19647; adding atoms: “Scaling "
        "Monosemanticity” (Anthropic, 2024); the control and the order are ours.",
    )
    stem = "generation"
    kept_traits = (
        "messages", "prompt", "temperature", "seed", "n_new", "n_named", "speed", "pinned", "atom", "strength",
    )  # fmt: skip
    needs_kernel = (
        "Writing on, other tokens and other atoms need a running kernel and were left out; the text, its "
        "strips, the explanation of the chosen token and the list of branches are all here."
    )

    prompt = t.Unicode(
        "", help="What the model reads first; after `messages`, the user's next one."
    )
    messages = t.List(t.Dict(), help="Messages before the prompt: role and content of each.")
    picture = t.Any(
        None, help="The image in the prompt of a model that reads both: uint8 (3, height, width)."
    )
    atom = Atom(help="The atom whose strength shades the text, and which is added.")
    token = Whole(
        -1, 0, lambda panel: panel.n_tokens - 1, none=-1, help="Token explained; -1: the newest."
    )
    pinned = Wholes(help="Atoms that have a strip.")
    strength = Number(1.0, -MOST_ADDED, MOST_ADDED, help="How much is added, in the panel's unit.")
    branch = Whole(
        0, 0, lambda panel: panel.n_branches - 1, help="Which branch is shown; 0 is the first text."
    )
    temperature = Number(0.0, 0.0, 100.0, help="0 takes the likeliest token; above, drawn ones.")
    seed = Whole(0, 0, LARGEST_SEED, help="Of the draws, and of the first random direction.")
    n_new = Whole(40, 1, MOST_NEW, help="Tokens it writes before it pauses by itself.")
    n_named = Whole(3, 1, MOST_NAMED, help="Atoms listed at each token.")
    speed = Number(10.0, 0.1, FASTEST, help="Tokens per second while it writes.")

    def __init__(
        self,
        model: LiveModel,
        sae: SparseAutoencoder,
        hook_point: str | None = None,
        prompt: Inputs = "",
        *,
        acts: Activations | Any = None,
        frequency: Any = None,
        labels: Mapping[int, str] | None = None,
        pinned: Sequence[int] = (),
        meter: Monitor | None = None,
    ) -> None:
        name = where_written(sae, hook_point) if hasattr(sae, "dictionary") else str(hook_point)
        check_parts(model, sae, name)
        check_writer(model, sae, name)
        self.model, self.sae, self.hook_point = model, sae, name
        self.meter = checked_meter(model, meter)
        self.n_atoms = int(sae.n_atoms)
        self._acts, self._frequency = acts, acts if frequency is None else frequency
        self.scale = StrengthScale(talks=True)
        self._base: BaseRate | None = None
        self._generation: Generation | None = None
        self._own = Chosen(self.atom, self.strength)
        self._prompt = Prompt(self)
        self._writing, self._branching, self._why = Writing(self), Branching(self), Why(self)
        self._ways, self.measuring = WaysRuns(self), Measuring()
        super().__init__()
        self.names = names_of(sae, labels=labels)
        self.pinned = list(pinned)
        self.chips = self._facts()
        self._build()
        self._measure()
        picture = None
        if isinstance(prompt, tuple) and len(prompt) == 2 and isinstance(prompt[0], str):
            prompt, picture = prompt
        elif not isinstance(prompt, str) and not is_conversation(prompt):
            prompt = one_text(model, prompt)
        with self.hold_trait_notifications():
            self.picture = picture
            self.messages, self.prompt = keeping.split_prompt(cast(Any, prompt))

    @t.validate("picture")
    def _picture_fits(self, proposal: t.Bunch) -> Tensor | None:
        return fitted(self.model, proposal["value"], self.picture)

    @t.validate("messages")
    def _messages_are_whole(self, proposal: t.Bunch) -> list[dict[str, str]]:
        return [or_trait_error(keeping.whole_message, message) for message in proposal["value"]]

    @t.validate("pinned")
    def _atoms_exist(self, proposal: t.Bunch) -> list[int]:
        atoms = [or_trait_error(check_atom, atom, self.n_atoms) for atom in proposal["value"]]
        if len(set(atoms)) < len(atoms) or len(atoms) > MOST_PINNED:
            raise t.TraitError(
                f"`pinned` must name at most {MOST_PINNED} atoms, each once, got {proposal['value']}."
            )
        return atoms

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        # From the start as high as it will be: nothing is pushed away by what comes.
        lay_out(self._frame.main, min_height="450px")
        self.controls = GenerationControls(self)
        self.margin = Margin(self, self.model, lambda: self.atom)
        meter = MeterStrip(self.meter, lambda token: self.set_trait("token", token))
        self.views = GenerationViews(self.margin, bool(self.model.placeholders), meter)
        self.arrange(
            controls=[*self.controls.first, self.controls.asked],
            primary=self.controls.write_on,
            more=self.controls.more,
            figure=self.views.main,
            detail=self.margin.widgets,
        )
        self.tuck_away(self.views.log)
        Picking(self)
        self.bind_key("ArrowRight", self.right)
        self.bind_key("ArrowLeft", self.back)
        self.bind_key("Escape", lambda: self.set_trait("token", -1))
        self._show_nothing()

    def _facts(self) -> dict[str, str]:
        place = stream_of(self.model, self.hook_point)
        return facts_of(self.model, self.sae, place, self._base)

    def _measure(self) -> None:
        """Find how often and how strongly atoms fire; off the main thread where that is encoding."""
        acts = self.names.catalogue if self._acts is None else self._acts
        work = partial(self.measuring.measure, self.sae, acts, self._frequency)
        if acts is None and not hasattr(self._frequency, "batches"):
            self._take_measures(work())
        else:
            self.loading("Measuring how often and how strongly each atom fires")
            self.run_async(work, self._take_measures, channel="usual")

    def note_measures(self, found: Measures) -> None:
        """Note how often and how strongly atoms fire elsewhere."""
        self._base, found_peaks = found
        self.scale.know(self.sae, found_peaks)

    def _take_measures(self, found: Measures) -> None:
        self.note_measures(found)
        self.chips = self._facts()
        self._offer_strength()
        self.controls.fit(self.scale)
        self._draw()
        self._ask_ways()

    # --- what is there ----------------------------------------------------------------------------

    @property
    def generation(self) -> Generation:
        """The text with its codes and branches; waits until the prompt has been read.

        Raises
        ------
        RuntimeError: If there is none, because there is no prompt or reading it failed.
        """
        if self._generation is None:
            super().wait()
        if self._generation is None:
            raise RuntimeError(f"There is no text yet: {self.status or EMPTY}")
        return self._generation

    @property
    def ready(self) -> bool:
        """Whether the prompt has been read."""
        return self._generation is not None

    @property
    def n_tokens(self) -> int:
        """Tokens of the text that is shown; many before there is one."""
        return 2**31 if self._generation is None else len(self._shown_text.ids)

    @property
    def n_branches(self) -> int:
        """The first text and every branch."""
        return 1 if self._generation is None else len(self._generation.branches)

    @property
    def written(self) -> str:
        """The model's text in the branch that is shown, after the prompt or after the fork."""
        return self.generation.new_text(self.branch)

    @property
    def summary(self) -> InputSummary | None:
        """The explanation of the chosen token, as from `sn.top_atoms`; None without a chosen token."""
        super().wait()
        return self._why.found

    @property
    def _shown_text(self) -> Written:
        return self.generation.branches[self.branch].text

    @property
    def place(self) -> int:
        """The token that is chosen, or the newest."""
        return self.n_tokens - 1 if self.token < 0 else self.token

    # --- the prompt -------------------------------------------------------------------------------

    @reacts(
        "prompt",
        "messages",
        "picture",
        "temperature",
        "seed",
        doing="reading the prompt",
        early=True,
    )
    def _begin(self, kept: Kept = NOTHING_KEPT) -> None:
        """Reread the prompt, and what was kept; the text and every branch are cleared."""
        self.playing = False
        self._show_nothing()
        self._prompt.read(not (self._chosen or kept.branches), kept)

    def take_upload(self, upload: Upload) -> None:
        """Put the image that a FileUpload holds into the prompt."""
        if upload:
            with self.guarded("upload"):
                self.picture = uploaded(upload)[1]

    def without_image(self) -> None:
        """Take the image out of the prompt."""
        self.picture = None

    def refresh(self) -> None:
        """Reread the prompt, for example after the model's weights changed."""
        self._begin()

    def _show_nothing(self) -> None:
        self._generation = None
        self._why.forget()
        self._ways.forget()
        with self.hold_trait_notifications():
            self.branch, self.token = 0, -1
        self._branching.forget()
        self.views.clear("" if self._prompt.asked else EMPTY, self.prompt)
        self.controls.show_undo(False)
        self.controls.offer(False)
        self._draw_title()

    # --- writing ----------------------------------------------------------------------------------

    @property
    def at_end(self) -> bool:
        """Whether it pauses here: so many tokens were written, or the text has ended."""
        if self._generation is None:
            return not self._prompt.asked or self.problem
        return self._writing.left <= 0 or self._generation.ended(self.branch)

    def to_start(self) -> None:
        """Let it write so many tokens more; what was written stays."""
        self._writing.begin(self.n_new)
        if not self._prompt.asked:
            self.say(EMPTY)

    def forth(self) -> None:
        """Write one token more; at the end of the text nothing happens."""
        if self.ready:
            self._writing.forth()

    def back(self) -> None:
        """Choose the token before."""
        if self.ready:
            self.token = max(self._now.place - 1, 0)

    def right(self) -> None:
        """Choose the next token; after the last one, write one more."""
        if self.ready and 0 <= self.token < self.n_tokens - 1:
            self.token += 1
        elif self.ready:
            self.token = -1
            self.step()

    @checked
    def step(self, n: int = 1) -> None:
        """Write `n` tokens more and wait for them; fewer where the text ends.

        Raises
        ------
        RuntimeError: If there is no prompt.
        """
        check_count(n, name="n")
        self.generation  # noqa: B018 - waits until the prompt has been read
        self._writing.step(n)

    def one_more(self) -> None:
        """Write one token more, as the button does."""
        with self.guarded("one token more"):
            self.step()

    def play(self) -> None:
        """Let the model write until `n_new` tokens are there; pressing space does so too."""
        self.playing = True

    def pause(self) -> None:
        """Stop after the token that is being written; everything stays as it is."""
        self.playing = False

    @checked
    def wait(self, timeout: float = 60.0) -> None:
        """Return when no work is running and nothing is being written any more.

        Raises
        ------
        TimeoutError: If that takes longer than `timeout` seconds.
        """
        until = time.monotonic() + timeout
        super().wait(timeout)
        if self._player is not None and self.playing:
            self._player.wait(max(until - time.monotonic(), 0.0))
            if self.playing:
                raise TimeoutError(
                    f"The text must be written within {timeout:g} s, and the model still writes. Call "
                    "wait(timeout=…) with more time, or pause()."
                )
        super().wait(max(until - time.monotonic(), 0.01))

    @reacts("playing", doing="drawing the text")
    def _draw_rest(self) -> None:
        """Draw what was written since the last frame, once it has stopped."""
        self._writing.draw_rest()

    # --- another way ------------------------------------------------------------------------------

    @checked
    def go_on(self, n: int | None = None) -> None:
        """Continue the text from the chosen token with the atom added, without it, and along random
        directions.

        A new branch is shown: rows of one batch, which share the cache of what is before and the random
        numbers.

        Parameters
        ----------
        n
            Tokens to write and wait for; None plays.
        """
        if n is not None:
            check_count(n, name="n")
        with self.guarded("go on from here"):
            self._branching.fork()
            if n is None:
                self.to_start()
                self.playing = True
            else:
                self.step(n)

    def write_on(self) -> None:
        """Keep the text as it continues with the atom as a branch, and let the model write on in it."""
        with self.guarded("write on"):
            ways = self._ways.taken()
            if ways is not None:
                self._branching.adopt(ways)
            elif self.branch == 0 or self.token >= 0:
                self._branching.fork()
            self.to_start()
            self.playing = True

    def again(self) -> None:
        """Write the texts again with other random numbers; they are drawn from now on."""
        with self.guarded("again"), self.hold_trait_notifications():
            if not self.temperature:
                self.temperature = DRAWN_AT
            self.seed = (self.seed + Continuation.N_RANDOM) % LARGEST_SEED

    @reacts("atom", "strength", doing="atom {panel.atom}")
    def _ask_ways(self) -> None:
        """Let the text continue with the atom and without from the token that is chosen, or from the newest."""
        if self._ways.ways is not None:
            self._draw_ways()  # of what was asked before, hence dimmed at once
        self._ways.ask()

    def _draw_ways(self) -> None:
        if self._generation is not None:
            self.views.draw_text(self._now)
            self._conclude()

    def undo(self) -> None:
        """Take the newest branch away."""
        with self.guarded("undo"), self._drawing:
            self._branching.undo()

    def pin(self) -> None:
        """Give the atom shown a strip, or take its strip away."""
        with self.guarded("pin"):
            others = [atom for atom in self.pinned if atom != self.atom]
            self.pinned = others if self.atom in self.pinned else [*others, self.atom]

    # --- drawing ----------------------------------------------------------------------------------

    @property
    def _now(self) -> Now:
        """The state on screen."""
        ways, fresh = self._ways.shown() if self.ready else (None, False)
        return Now(
            ways=ways,
            fresh=fresh,
            coming=self.ready and self._ways.current() is not None,
            generation=self.generation,
            branch=self.branch,
            token=self.token,
            atom=self.atom,
            pinned=self.pinned,
            n_named=self.n_named,
            names=self.names,
            scale=self.scale,
            base=self._base,
            strengths=self._branching.strengths,
        )

    def draw_names(self) -> None:
        """Rewrite names: a label was changed."""
        self._draw_title()
        self.controls.fit(self.scale)
        self._draw()
        self._why.draw()

    @reacts("branch", doing="branch {panel.branch}")
    def _on_branch(self) -> None:
        """Show another branch; a token that it does not have is not chosen any more."""
        if self.token > self.n_tokens - 1:
            self.token = -1
        self._draw()
        self._why.ask()
        self._follow_token()

    def _follow_token(self) -> None:
        """Let the continuations follow a token that is chosen, or the text of a branch that ends elsewhere."""
        if self.token >= 0:
            self._ways.ask()

    @reacts("n_named", doing="drawing the text")
    def _draw(self) -> None:
        """Draw what a new token changes."""
        if self._generation is not None:
            self._writing.drawn()
            self.views.draw(self._now)
            self.controls.show_undo(self.n_branches > 1)
            self._conclude()

    @reacts("atom", "strength", doing="atom {panel.atom}", early=True)
    def _draw_title(self, outcome: str = "…") -> None:
        place = place_words(stream_of(self.model, self.hook_point))
        named, sure, why = "", None, ""
        if self.ready:
            named = steering.headline(self.names, self.atom, self.strength, "add", outcome)
            sure, why = self.names.sureness(self.atom)
        with self.hold_trait_notifications():
            self.where = (self.model.name, place, f"{format_count(self.n_atoms)} atoms")
            self.headline, self.sure, self.sure_words = named, sure, why

    @reacts("atom", doing="atom {panel.atom}")
    def _draw_atom(self) -> None:
        self.views.draw_text(self._now)
        self.views.draw_token(self._now)
        self.margin.draw()

    @reacts("pinned", doing="pinned atoms", early=True)
    def _draw_pins(self) -> None:
        self.controls.fit(self.scale)
        if self.ready:
            self.views.draw_pins(self._now)

    @reacts("token", doing="token {panel.token}")
    def _on_token(self) -> None:
        if self._writing.undrawn:
            self._draw()
        self.views.draw_text(self._now)
        self.views.draw_token(self._now)
        self._conclude()
        self._why.ask()
        self._follow_token()

    def _conclude(self) -> None:
        generation = self._generation
        if generation is None:
            return
        now, why, outcome, said, reasons = self._now, self._why.found, "", "", ""
        numbers = words.numbers_words(
            generation, self.branch, self._writing.seconds, self._writing.n
        )
        rows, before = words.forked_texts(now), "".join(now.tokens[: now.start])
        if any(rows):
            outcome = "…"
            said = "The texts are being written."
            if now.ways is None or now.ways.done:
                outcome, said, reasons = steering.tell_texts(before, rows)
        if self.token >= 0:
            said = "" if why is None else answer_words(why, None, None, self.names)
        self._draw_title(outcome)
        reasons = " ".join(filter(None, (reasons, self.names.foretold(self.atom))))
        self.conclude(said or words.firing(now), numbers, reasons=reasons)

    # --- what the panel chooses itself -----------------------------------------------------------------

    @property
    def _chosen(self) -> bool:
        """Whether atom or strength are others than those that the panel chose."""
        return Chosen(self.atom, self.strength) != self._own

    def _open_on(self, opening: int | None) -> None:
        """Open on an atom, or on the most notable at the newest token, unless one was chosen."""
        if self._chosen:
            return
        found = self._now.notable(self.n_tokens - 1, 1)
        if opening is not None or found:
            self._own = replace(self._own, atom=found[0][0] if opening is None else opening)
            self.atom = self._own.atom
        self._offer_strength()

    @reacts("atom", doing="atom {panel.atom}", early=True)
    def _offer_strength(self) -> None:
        """Let the strength follow the atom: its 99th percentile, else how strongly it fires in the prompt."""
        safe = self.scale.safe(self.atom, "add")
        if safe is not None and self.strength == self._own.strength:
            self._own = replace(self._own, strength=safe)
            self.strength = safe

    @reacts("atom", "strength", doing="atom {panel.atom}", early=True)
    def _fit_controls(self) -> None:
        self.controls.fit(self.scale)

    # --- what a session keeps ---------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what a saved session keeps: settings, and every branch as it was written.

        Returns
        -------
        dict
            The traits named in `kept_traits`; of a model that reads images, `picture` as text; `branches`,
            token ids and forks in plain numbers; `shown`, branch and token.
        """
        state = super().state()
        if self.model.placeholders:
            state["picture"] = keeping.kept_picture(self.picture)
        with self._drawing:
            generation = self._generation
            if generation is not None:
                state["branches"] = keeping.kept_branches(generation, self._branching.strengths)
                state["shown"] = [self.branch, self.token]
        return state

    @checked
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; every branch is written again, token by token, in the background.

        Raises
        ------
        ValueError: If it names something this panel does not keep, or branches are not as they were kept.
        traitlets.TraitError: If a value does not fit this panel (an atom that its SAE does not have).
        """
        kept = Kept.of(state)
        if "picture" in state:
            self.picture = keeping.read_picture(state["picture"])
        own = ("branches", "shown", "picture")
        super().restore({k: v for k, v in state.items() if k not in own})
        if "atom" in state:
            self._own = replace(self._own, atom=-1)  # equal to none: what was kept stays
        if "strength" in state:
            self._own = replace(self._own, strength=float("nan"))
        if kept.branches:
            self._begin(kept)

    def close(self) -> None:
        """Free the panel, and the work that waits for its measures."""
        if hasattr(self, "measuring"):  # a call that was refused made none
            self.measuring.close()
        super().close()

    # --- taking it away ---------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, str] | None:
        """The texts and what is added in each, for the table of exported pages."""
        generation = self._generation
        if generation is None:
            return None
        asked = words.asked_rows(self.messages, self.prompt)
        return asked | words.written_rows(generation, self.names, self._branching.strengths)

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports, and which atom shades the text."""
        return {"atom": self.names.name(self.atom), **self.chips}
