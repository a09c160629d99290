"""label: a label for every atom, and for every label its evidence. Finished labels survive a killed run."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for
from sae_nb.atoms import LabelEvidence
from sae_nb.checks import Count, Seed, at_least, check_atom, check_path, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import SecondCode, match_atoms
from sae_nb.evaluation.explanations._detection import (
    ExplanationTrials,
    Window,
    balanced,
    kept_codes,
)
from sae_nb.evaluation.explanations._rules import RowFacts
from sae_nb.evaluation.report._row_pass import codes_of
from sae_nb.files import SaeIdentity
from sae_nb.files._exchange import place
from sae_nb.files._fingerprints import identity_of
from sae_nb.interrupts import ending_with
from sae_nb.labelling._judging import AskedJudge, NoAnswerError, judge_of, reader_of, terms_of
from sae_nb.labelling._keeping import FILE, Kept, carry, read_kept, write_kept
from sae_nb.labelling._records import AtomLabel, AtomLabels, clean, to_json
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

SAME = 0.7
"""Cosine from which an atom of another training is the same one, as in `stability`."""

FEWEST_WINDOWS = 8
IN_A_ROW = 10
"""Windows a score needs at least; atoms without an answer after which a judge is no longer asked."""

OTHERS = 4
"""Labels of other atoms behind a control; 1 with a judge, who costs."""

PAUSE = 0.5
SHARE_OF_WRITING = 0.05
"""Seconds between two writes of the file at least; share of the time that they may take."""

RARE = (
    "It fires too rarely in these activations to be explained on some samples and judged on others."
)


@checked(leave=("judge", "acts"))
def label(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    judge: Any = None,
    *,
    labels: Mapping[int, str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    sisters: Sequence[SparseAutoencoder] = (),
    codes: SparseCodes | None = None,
    atoms: Sequence[int] | None = None,
    second: SecondCode | None = None,
    file: str | Path | None = None,
    n_examples: Annotated[int, at_least(FEWEST_WINDOWS)] = 40,
    n_tries: Count = 3,
    seed: Seed = 0,
    replace_file: bool = False,
    progress: bool = True,
) -> AtomLabels:
    """Label the atoms of an SAE, and measure for every label whether it describes where its atom fires.

    Labels are written from one half of the samples and judged on the other: a window is shown, does the
    atom fire in it? The score is a balanced accuracy (½ by chance), compared with that of other atoms'
    labels on the same windows. Without a judge a label is a small rule ("the token before is …"); labels
    that are given are read as the attribute of that name, or by their words.

    They are written next to the SAE if it has a folder (`labels.json`) as they come, and show in panels
    opened afterwards, after labels of your own. The same call continues a killed run.

    Parameters
    ----------
    acts, codes
        Rows with the samples behind them; their codes, where computed already.
    judge
        A language model, as `sn.load_model` gives it or a function from prompt to answer, which writes and
        reads labels in about 1 + 2 · n_examples calls an atom. Where it fails, an atom stays unlabelled.
    labels
        Labels to judge, such as `sn.labels(…)` returns: they are kept, and the other atoms labelled.
    attributes
        Further known facts that rules may speak of: booleans by name, one per sample or per row.
    sisters
        SAEs of the same shape trained from other seeds: in how many does the atom return (cosine ≥ 0.7)?
    atoms, file
        Atoms to label, None: all; a JSON file or a folder for the labels, None: the SAE's folder.
    second
        What `sn.second_code` found in the same rows: labels are judged on firings that its first solver keeps.
    n_examples, n_tries
        Windows per label, half of them firing; times that a judge is asked for a label at most.
    replace_file
        Start over if the file holds labels made from other data, by another judge or otherwise.

    Raises
    ------
    ValueError: If no atom fires often enough, or the file holds labels of another SAE or another making.

    Source
    ------
    Detection: Paulo et al., "Automatically interpreting millions of features in large language models",
    arXiv 2410.13928; balanced here, with silent windows checked. Control and return rate are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> examples = sn.load_examples("tiny-gpt/resid_post.3")
    >>> sae = sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = label(sae, examples.acts, codes=examples.codes, atoms=[9, 10], progress=False)
    >>> found[9], found.evidence(9).detection > found.evidence(9).control
    ('the token is “ It”', True)
    """
    if isinstance(acts, int):
        raise TypeError(
            f"`acts` must be the activations from which labels are found, got {acts}. A label of your own is "
            f'written as sn.labels({{{acts}: "…"}}, sae), or in AtomBrowser.'
        )
    acts = acts_for(sae, acts)
    codes = codes_of(sae, acts, codes)
    asked, who = judge_of(judge)
    if asked is not None and not acts.context.modality.is_text:
        raise ValueError(
            f"`judge` reads text, and these are samples of kind {acts.context.kind!r}. Leave it out, and pass "
            "attributes=."
        )
    given = _given(labels, sae.n_atoms)
    check_sisters(sae, sisters)
    facts = RowFacts.of(acts, attributes)
    kept = None if second is None else kept_codes(second, codes)
    trials = ExplanationTrials(acts, codes, facts, None, n_examples // 2, 3, seed, kept)
    asked_for = range(sae.n_atoms) if atoms is None else atoms
    every = sorted({check_atom(atom, sae.n_atoms) for atom in asked_for})
    enough = set(trials.choose(every, len(every))[0])
    made = {
        "acts": _digest(acts, codes), "judge": who, "given": _digest_of(given), "seed": seed,
        "n_examples": n_examples, "attributes": sorted(facts.labels),
    }  # fmt: skip
    if kept is not None:
        made["kept"] = _digest(acts, kept)
    saved = SavedLabels(_path_of(sae, file), identity_of(sae), made, sae.n_atoms)
    saved.start(labels, replace_file=replace_file)
    counted = None if asked is None else AskedJudge(asked, saved.counts)
    labeller = Labeller(trials, facts, counted, enough, given, saved, n_tries)
    with ending_with(saved.so_far):
        try:
            labeller.go_through(every, progress=progress)
            _count_returns(saved, sae, sisters, every, seed)
        except Exception:  # what was done before is done
            saved.keep(now=True)
            raise
    saved.keep(now=True)
    carry(sae, saved.kept)
    return saved.labels


@checked(leave=("acts",))
def judge_labels(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    labels: Mapping[int, str],
    *,
    codes: SparseCodes | None = None,
    n_examples: Annotated[int, at_least(FEWEST_WINDOWS)] = 40,
    single_tokens: bool = False,
    seed: Seed = 0,
) -> AtomLabels:
    """Measure what labels are worth that were written from other samples: all of these may judge them.

    As `label` does it without a judge: by a label's rule, else by its words. Nothing is written.

    Parameters
    ----------
    acts, codes, n_examples
        As for `label`.
    single_tokens
        Windows are one token: for labels that say something of the token itself, not of its neighbours.

    Raises
    ------
    ValueError: If none of the atoms fires often enough.

    Example
    -------
    >>> import sae_nb as sn
    >>> examples = sn.load_examples("tiny-gpt/resid_post.3")
    >>> sae = sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = judge_labels(sae, examples.acts, {9: "it", 10: "fox"}, codes=examples.codes)
    >>> found.evidence(10).by, found.evidence(10).n
    ('words', 40)
    """
    acts = acts_for(sae, acts)
    given = _given(labels, sae.n_atoms)
    facts = RowFacts.of(acts)
    trials = ExplanationTrials(
        acts, codes_of(sae, acts, codes), facts, None, n_examples // 2, 1, seed
    )
    enough = set(trials.choose(sorted(given), len(given))[0])
    trials.first = np.zeros_like(trials.first)
    if single_tokens:
        trials.reach = 0
    saved = SavedLabels(None, identity_of(sae), {}, sae.n_atoms)
    Labeller(trials, facts, None, enough, given, saved, 1).go_through(sorted(given), progress=False)
    return saved.labels


# --- what is asked for ----------------------------------------------------------------------------


def _given(labels: Mapping[int, str] | None, n_atoms: int) -> dict[int, AtomLabel]:
    """Labels that are kept as they are, by atom."""
    found: dict[int, AtomLabel] = {}
    for atom in labels or {}:
        number = check_atom(atom, n_atoms, name="a key of labels")
        entry = labels.entries[atom] if isinstance(labels, AtomLabels) else None
        text = clean((labels or {})[atom])
        if text:
            found[number] = (
                replace(entry, evidence=None)
                if entry is not None
                else AtomLabel(atom=number, text=text, source="given")
            )
    return found


def check_sisters(sae: SparseAutoencoder, sisters: Sequence[SparseAutoencoder]) -> None:
    """Refuse SAEs that are of another space, or the SAE itself."""
    own = identity_of(sae)
    for i, sister in enumerate(sisters):
        if sister.d_in != sae.d_in:
            raise ValueError(
                f"`sisters[{i}]` must read activations of width {sae.d_in}, got {sister.d_in}. Train it on "
                "the same activations, from another seed."
            )
        if identity_of(sister).is_same(own):
            raise ValueError(
                f"`sisters[{i}]` must be another training, got the SAE itself. Train it from another seed."
            )


def _path_of(sae: SparseAutoencoder, file: str | Path | None) -> Path | None:
    if file is None:
        folder = getattr(sae, "folder", None)
        return None if folder is None else Path(folder) / FILE
    path = place(check_path(file, name="file"))
    return path if path.suffix == ".json" else path / FILE


def _digest(acts: Activations, codes: SparseCodes) -> str:
    """Return a digest of these rows, from some of them and from the atoms that fire in all."""
    some = np.unique(np.linspace(0, len(acts) - 1, 64).astype(np.int64))
    digest = hashlib.sha256(f"{len(acts)} {codes.n_atoms} {len(codes.values)}".encode())
    digest.update(acts.rows(torch.from_numpy(some)).float().cpu().numpy().tobytes())
    digest.update(codes.atoms[:: max(1, len(codes.atoms) // 4096)].long().numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest_of(given: Mapping[int, AtomLabel]) -> str:
    text = repr([(atom, to_json(entry)) for atom, entry in sorted(given.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16] if given else ""


# --- the file, while the work goes on -------------------------------------------------------------


@dataclass(eq=False)
class SavedLabels:
    """Labels made so far, and the file in which they are kept."""

    path: Path | None
    identity: SaeIdentity
    made: dict[str, Any]
    n_atoms: int
    entries: dict[int, AtomLabel] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    floor: float = math.nan
    model: str = ""
    place: str = ""
    _changed: bool = False
    _next: float = 0.0

    def start(self, given: Mapping[int, str] | None, *, replace_file: bool) -> None:
        """Continue the file, or begin it; refuse one of another SAE or of other settings."""
        if isinstance(given, AtomLabels):
            self.model, self.place = given.model, given.place
        if self.path is None or not self.path.exists():
            return
        kept = read_kept(self.path)
        owner = SaeIdentity.from_json(dict(kept.sae))
        if not owner.is_same(self.identity):
            raise ValueError(
                f"{str(self.path)!r} must hold labels of this SAE, {self.identity}, and holds those of another "
                f"one: {owner}. Pass file=."
            )
        if replace_file:
            return
        if dict(kept.made) != self.made:
            names = {*kept.made, *self.made}
            other = sorted(name for name in names if kept.made.get(name) != self.made.get(name))
            raise ValueError(
                f"{str(self.path)!r} holds labels that were made otherwise (another {', '.join(other)}). Pass "
                "replace_file=True to make them again, or file= to keep both."
            )
        self.entries, self.floor = dict(kept.labels.entries), kept.labels.floor
        self.counts.update(kept.labels.counts)

    def put(self, entry: AtomLabel) -> None:
        """Take an entry."""
        if self.entries.get(entry.atom) != entry:
            self.entries[entry.atom] = entry
            self._changed = True

    def keep(self, *, now: bool = False) -> None:
        """Write the file where something is new, and not all the time."""
        start = time.monotonic()
        if self.path is None or not (now or (self._changed and start >= self._next)):
            return
        write_kept(self.path, self.kept)
        took = time.monotonic() - start
        self._changed, self._next = False, start + took + max(PAUSE, took / SHARE_OF_WRITING)

    def so_far(self) -> tuple[str, AtomLabels]:
        """Keep the labels of an interrupted call, and tell how to continue."""
        done = sum(bool(entry.text) for entry in self.entries.values())
        text = f"Labelling was interrupted: {done} of {self.n_atoms} atoms have a label. "
        if self.path is None:
            text += "Pass file=, and the same call goes on from there next time."
            return text + " `sn.interrupted()` returns the labels so far.", self.labels
        try:
            self.keep(now=True)
        except OSError as error:
            text += f"The newest could not be saved: {error} "
        text += f"The same call goes on from {str(self.path)!r}; `sn.interrupted()` returns the labels so far."
        return text, self.labels

    @property
    def kept(self) -> Kept:
        """Content of the file."""
        return Kept(labels=self.labels, sae=self.identity.to_json(), made=self.made)

    @property
    def labels(self) -> AtomLabels:
        """The labels so far."""
        return AtomLabels(
            entries=dict(sorted(self.entries.items())),
            n_atoms=self.n_atoms,
            model=self.model,
            place=self.place,
            path="" if self.path is None else str(self.path),
            floor=self.floor,
            counts=dict(self.counts),
        )


# --- one atom -------------------------------------------------------------------------------------


@dataclass(eq=False)
class Labeller:
    """The namer of an atom, and the judge of its label."""

    trials: ExplanationTrials
    facts: RowFacts
    judge: AskedJudge | None
    enough: set[int]
    given: dict[int, AtomLabel]
    saved: SavedLabels
    n_tries: int
    _silent: int = 0  # atoms in a row without an answer

    def go_through(self, atoms: Sequence[int], *, progress: bool) -> None:
        """Name every atom, then judge every label, and keep what is new on the way."""
        with progress_bar(2 * len(atoms), "labels", "atom", enabled=progress) as bar:
            for step in (self.name_atom, self.judge_label):
                for atom in atoms:
                    step(atom)
                    self.saved.keep()
                    bar.update()

    def name_atom(self, atom: int) -> None:
        """Give an atom its label, unless it has one."""
        known = self.saved.entries.get(atom)
        if known is not None and known.text:
            return
        if atom in self.given:
            self.saved.put(self.given[atom])
        elif atom not in self.enough:
            self.saved.put(AtomLabel(atom=atom, text="", why=RARE))
        elif self.judge is None:
            rule = self.trials.rule(atom)
            self.saved.put(
                AtomLabel(
                    atom=atom, text=clean(rule.text), source="rule", rule=terms_of(rule.terms)
                )
            )
        else:
            self._ask(atom, self.judge)

    def _ask(self, atom: int, judge: AskedJudge) -> None:
        text, why = "", ""
        for _ in range(self.n_tries):
            if self._silent >= IN_A_ROW:
                why = f"The judge was not asked: it had no answer for {IN_A_ROW} atoms in a row."
                break
            try:
                text = judge.label(self.trials.written(atom, judge))
                break
            except NoAnswerError as error:
                why = str(error)
        self._silent = 0 if text else self._silent + 1
        self.saved.put(AtomLabel(atom=atom, text=text, source="judge", why="" if text else why))

    def judge_label(self, atom: int) -> None:
        """Measure what an atom's label is worth, unless that was done."""
        entry = self.saved.entries[atom]
        done = entry.evidence is not None and math.isfinite(entry.evidence.detection)
        if entry.text and not done:
            before = entry.evidence or LabelEvidence()
            found = self._measured(entry)
            kept = replace(found, returns=before.returns, n_sisters=before.n_sisters)
            self.saved.put(replace(entry, evidence=kept))

    def _measured(self, entry: AtomLabel) -> LabelEvidence:
        if entry.atom not in self.enough:
            return LabelEvidence(why=RARE)
        if self.judge is not None and self._silent >= IN_A_ROW:
            return LabelEvidence(by="judge", why="The judge was not asked: it no longer answers.")
        firing, silent = self.trials.examples(entry.atom)
        windows = [*firing, *silent]
        reader = reader_of(entry, self.facts, self.judge)
        if isinstance(reader, str) or len(windows) < FEWEST_WINDOWS:
            return LabelEvidence(why=reader if isinstance(reader, str) else RARE)
        try:
            answers = reader[1](windows)
            control = self._control(entry, firing, windows)
        except NoAnswerError as error:
            self._silent += 1
            return LabelEvidence(by="judge", why=str(error))
        self._silent = 0
        score = balanced(answers[: len(firing)], answers[len(firing) :])
        why = "" if math.isfinite(score) else RARE
        return LabelEvidence(
            by=reader[0], detection=score, control=control, n=len(windows), why=why
        )

    def _control(self, entry: AtomLabel, firing: list[Window], windows: list[Window]) -> float:
        """Score of other atoms' labels on the windows of this one."""
        others = [
            other
            for atom, other in sorted(self.saved.entries.items())
            if atom != entry.atom and other.text and other.text != entry.text
        ]
        generator = np.random.default_rng((self.trials.seed, entry.atom, 2))
        n = OTHERS if self.judge is None else 1
        scores = []
        for place_ in generator.permutation(len(others))[:n]:
            reader = reader_of(others[int(place_)], self.facts, self.judge)
            if not isinstance(reader, str):
                answers = reader[1](windows)
                scores.append(balanced(answers[: len(firing)], answers[len(firing) :]))
        return float(np.mean(scores)) if scores else math.nan


def _count_returns(
    saved: SavedLabels,
    sae: SparseAutoencoder,
    sisters: Sequence[SparseAutoencoder],
    atoms: Sequence[int],
    seed: int,
) -> None:
    """In how many trainings from other seeds each labelled atom is found again, and random directions are."""
    if not sisters:
        return
    own, generator = sae.dictionary.detach(), torch.Generator().manual_seed(seed)
    returns, chance = np.zeros(len(own), dtype=int), []
    for sister in sisters:
        rows, _, cosines = match_atoms(own, sister.dictionary.detach())
        returns[rows[cosines >= SAME]] += 1
        first, second = (
            torch.randn(d.shape, generator=generator, dtype=torch.float32)
            for d in (own, sister.dictionary)
        )
        chance.append(float((match_atoms(first, second)[2] >= SAME).mean()))
    saved.floor = float(np.mean(chance))
    for atom in atoms:
        entry = saved.entries[atom]
        if entry.text:
            found = replace(
                entry.evidence or LabelEvidence(),
                returns=int(returns[atom]),
                n_sisters=len(sisters),
            )
            saved.put(replace(entry, evidence=found))
