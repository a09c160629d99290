"""A text that a model writes token by token: codes read on the way, and its alternative continuations.

A fork adds a·d_j / ‖d_j‖ to the activations from one token on, next to nothing and a·u with random
unit vectors u: rows of one batch from one state, which draw with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations._context import Context
from sae_nb.activations.tokens import describe_ids, texts_to_draw
from sae_nb.checks import LARGEST, check_atom, check_count, check_real, check_seed, shown
from sae_nb.generation._continuing import Continuation, shared_beginning
from sae_nb.generation._writing import check_length, check_writer, text_of
from sae_nb.models._generation import Begun, Choice, TokenStream, prompt_row
from sae_nb.models._interventions import Intervention
from sae_nb.models._one_input import placed_in
from sae_nb.models._running import intervening
from sae_nb.monitoring._watching import Watch
from sae_nb.steering import random_direction
from sae_nb.steering._calibration import combined_direction

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel, RunState
    from sae_nb.monitoring import Monitor

MOST_RANDOM = 16
"""Random directions beside an atom; a fork that does not say how many, of files written before, has one."""

_FORK = {"branch", "position", "atom", "by", "seed", "n_random"}
Codes = tuple[Int[np.ndarray, " active"], Float[np.ndarray, " active"]]
"""The atoms that fire at a token and how strongly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Added:
    """The vectors added to the activations of each row, from one position on and up to another."""

    first: int
    last: int | None
    delta: Float[Tensor, "rows 1 d_in"]

    def until(self, position: int) -> Added | None:
        """Return the same for the first row alone, ended before a position; None if nothing is left."""
        if self.first >= position:
            return None
        last = position if self.last is None else min(self.last, position)
        return Added(first=self.first, last=last, delta=self.delta[:1])

    def to(self, x: Tensor, position: Tensor) -> Tensor:
        """Add it to the columns that are at these positions."""
        on = position >= self.first
        if self.last is not None:
            on = on & (position < self.last)
        return torch.where(on[..., None], x + self.delta.to(x), x)


class Reader:
    """Keeps the columns that passed last, as an edit; then adds what is to be added.

    The states are read after the other edits in force, before its own addition.
    """

    everywhere = False

    def __init__(self, sae: SparseAutoencoder, added: Sequence[Added] = ()) -> None:
        self._sae, self._added = sae, tuple(added)
        self._columns = torch.empty(1, 0, sae.d_in)

    def __call__(
        self, x: Float[Tensor, "rows time d_in"], state: RunState
    ) -> Float[Tensor, "rows time d_in"]:
        """Keep what passes, and add."""
        self._columns = x.detach()
        for part in self._added:
            position = state.position
            if position is None:
                columns = torch.arange(state.offset, state.offset + x.shape[1], device=x.device)
                position = columns.expand(x.shape[:2])
            x = part.to(x, position.to(x.device))
        return x

    def codes(self, n: int) -> SparseCodes:
        """Return codes of the last `n` columns, row by row."""
        with torch.no_grad():
            codes: SparseCodes = self._sae.encode(self._columns[:, -n:].to(self._sae.dictionary))
        return codes


class Written:
    """One text as far as it has been read: its tokens, and the codes of each."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.codes: list[Codes] = []
        self.metered: list[Float[np.ndarray, " channels"]] = []
        """Of each token, what a monitor read, if there is one."""

        # What was asked for already, by atom: a strip that fills asks for the newest token alone.
        self._strengths: dict[int, list[float]] = {}

    def until(self, n: int) -> Written:
        """Return a copy of the first `n` tokens."""
        made = Written()
        made.ids, made.codes, made.metered = self.ids[:n], self.codes[:n], self.metered[:n]
        return made

    def add(self, token_id: int, atoms: np.ndarray, values: np.ndarray) -> None:
        """Append a token."""
        # The first token is an attention sink that no SAE has learned.
        first = not self.ids
        self.ids.append(token_id)
        self.codes.append((atoms[:0], values[:0]) if first else (atoms, values))

    def strengths(self, atom: int) -> Float[np.ndarray, " tokens"]:
        """Return how strongly an atom fires at every token; NaN at the first one."""
        known = self._strengths.setdefault(atom, [float("nan")] if self.ids else [])
        for atoms, values in self.codes[len(known) :]:
            known.append(float(values[atoms == atom].sum()))
        return np.array(known[: len(self.ids)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Fork:
    """Where a branch leaves another, and what is added from there on."""

    branch: int
    """The one it leaves."""

    position: int
    """The last token they share; what is added is added from its state on."""

    atom: int
    by: float
    """Length of what is added along the atom, negative to subtract."""

    seed: int
    """Of the first random direction; the next ones have the next seeds."""

    n_random: int = 1


class Branch:
    """A text, or after a fork several side by side: steered, unsteered, along random directions."""

    STEERED: ClassVar[int] = 0
    UNSTEERED: ClassVar[int] = 1
    RANDOM: ClassVar[int] = 2
    """The rows after a fork, random ones from the last on; the first branch has one row, the text itself."""

    def __init__(
        self,
        stream: TokenStream,
        rows: Sequence[Written],
        fork: Fork | None = None,
        added: Sequence[Added] = (),
    ) -> None:
        self.stream, self.rows, self.fork, self.added = stream, tuple(rows), fork, tuple(added)

    @property
    def text(self) -> Written:
        """The text itself: where it was forked, the steered one."""
        return self.rows[self.STEERED]

    @property
    def n_tokens(self) -> int:
        """Tokens read of the longest row."""
        return max(len(row.ids) for row in self.rows)


class Generation:
    """A text that a model writes token by token, and the branches in which it continues another way.

    A token is there once it has been read: `step` reads the token that was chosen before and chooses the next.
    So what a branch holds is always whole; a step that is interrupted has not happened.

    Parameters
    ----------
    prompt
        One text, list of messages, or token ids; of a model that reads both, [(text, image)]. Read at once.
    temperature, seed
        As in `model.generate`, which writes the same text.
    meter
        A monitor of the model, which reads along.

    Raises
    ------
    TypeError: If the model writes no text.
    ValueError: If the prompt does not fit in the context, the SAE cannot be read row by row, or the model runs
        remotely.
    HookPointNotFound: If there is no such hook point.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> generation = Generation(model, sae, "The list of", "resid_post.3")
    >>> all(generation.step() for _ in range(5)), generation.new_text()
    (True, ' the lists of the')
    >>> branch = generation.fork(4, 25, by=-60.0)
    >>> all(generation.step(branch) for _ in range(3)), len(generation.branches[branch].rows)
    (True, 5)
    """

    def __init__(
        self,
        model: LiveModel,
        sae: SparseAutoencoder,
        prompt: Inputs,
        hook_point: str,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        meter: Monitor | None = None,
    ) -> None:
        check_writer(model, sae, hook_point)
        if model.remote:
            raise ValueError(
                f"A text is read token by token here, and {model.name!r} runs remotely. Load it on this "
                "machine."
            )
        if not 0 <= check_real(temperature, name="temperature") < float("inf"):
            raise ValueError(f"`temperature` must be at least 0, got {temperature}.")
        row = prompt_row(model, prompt)
        check_length(model, len(row.ids) + 1, "Prompt and a new token")
        self.model, self.sae, self.n_prompt, self.meter = model, sae, len(row.ids), meter
        self._point = model.hook_point(hook_point)
        self._names: dict[int, str] = {}
        self._source = row.source if isinstance(row, Begun) else None
        self.images = None if self._source is None else placed_in(self._source)
        placed = [i for i, token in enumerate(row.ids.tolist()) if token in model.placeholders]
        self.of_images = range(placed[0], placed[-1] + 1) if placed else range(0)
        stream = TokenStream(model, [row], Choice(temperature, check_seed(seed)))
        root = Branch(stream, [Written()])
        self._read(root)
        self.branches = [root]

    # --- writing ----------------------------------------------------------------------------------

    def step(self, branch: int = 0) -> bool:
        """Write one token more in every row of a branch that has not ended; False where there is none."""
        return self.write(self.branches[branch])

    def ended(self, branch: int = 0) -> bool:
        """Return whether every row of a branch has ended, or the model can read no more."""
        return self._has_ended(self.branches[branch])

    def _has_ended(self, one: Branch) -> bool:
        limit = self.model.context_length
        full = limit is not None and one.stream.ids.shape[1] > limit
        return full or not bool(one.stream.alive.any())

    def _read(self, branch: Branch) -> None:
        """Let the model read what was chosen last, keep its codes, and choose the next."""
        stream, reader = branch.stream, Reader(self.sae, branch.added)
        alive, ids = stream.alive.tolist(), stream.ids
        n = ids.shape[1] - branch.n_tokens
        watch = None if self.meter is None else Watch(self.model, self.meter.channels)
        along = [] if watch is None else watch.edits
        with intervening(self.model, [Intervention(self._point, reader), *along]):
            stream.step()
        metered = None if watch is None else watch.newest(n)
        codes = reader.codes(n)
        offsets = codes.offsets.tolist()
        atoms, values = codes.atoms.cpu().numpy(), codes.values.float().cpu().numpy()
        new = ids[:, -n:].tolist()
        for number, row in enumerate(branch.rows):
            for column in range(n if alive[number] else 0):
                start, end = offsets[number * n + column : number * n + column + 2]
                row.add(new[number][column], atoms[start:end], values[start:end])
                if metered is not None:
                    row.metered.append(metered[number, column])

    # --- other ways -------------------------------------------------------------------------------

    def fork(
        self,
        position: int,
        atom: int,
        by: float,
        *,
        branch: int = 0,
        seed: int = 0,
        n_random: int = Continuation.N_RANDOM,
    ) -> int:
        """Continue from a token of a branch with an atom added; return the number of the new branch.

        Parameters
        ----------
        position
            The last token that is kept, of the prompt or written; the atom is added from its state on.
        by
            Length of what is added, in the model's units; negative subtracts.
        seed
            Of the first random direction; the next ones have the next seeds.
        n_random
            Random directions, at least one: a row each.

        Raises
        ------
        IndexError: If there is no such branch, token or atom.
        ValueError: If the token is not after the image in the prompt.
        """
        made = self.branched(position, atom, by, branch=branch, seed=seed, n_random=n_random)
        self._read(made)
        return self.adopt(made)

    def branched(
        self,
        position: int,
        atom: int,
        by: float,
        *,
        branch: int = 0,
        seed: int = 0,
        n_random: int = Continuation.N_RANDOM,
    ) -> Branch:
        """Return what `fork` would add, before anything of it is read; it is not among `branches`.

        Another thread may write in it (`write`) while texts of `branches` are written on.
        """
        check_count(branch, name="branch", at_least=0, at_most=len(self.branches) - 1)
        parent = self.branches[branch]
        check_count(position, name="position", at_least=0, at_most=len(parent.text.ids) - 1)
        if position < self.of_images.stop:
            raise ValueError(
                f"`position` must be after the image, whose last patch is token {self.of_images.stop - 1}, got "
                f"{position}. Choose a later token."
            )
        atom, by = check_atom(atom, self.sae.n_atoms), check_real(by, name="by")
        n = check_count(n_random, name="n_random", at_least=1, at_most=MOST_RANDOM)
        seeds = range(seed, check_seed(seed + n - 1) + 1)
        along = combined_direction(self.sae, [atom], [1.0])
        random = [by * random_direction(self.sae.d_in, one).to(along) for one in seeds]
        delta = torch.stack([by * along, torch.zeros_like(along), *random])[:, None]
        before = [part for one in parent.added if (part := one.until(position)) is not None]
        with self.model.lock:  # no cache is copied while a pass fills it
            stream = parent.stream.forked(position + 1, Branch.STEERED, len(delta))
        return Branch(
            stream,
            [parent.text.until(position) for _ in delta],
            Fork(branch=branch, position=position, atom=atom, by=by, seed=seed, n_random=n),
            [*before, Added(first=position, last=None, delta=delta)],
        )

    def parts_at(self, branch: int) -> int:
        """Return the last token that all rows of a branch share: they part after it."""
        one = self.branches[branch]
        if one.fork is None:
            return len(one.text.ids) - 1
        start = one.fork.position + 1
        rows = [self.names_of(row.ids)[start:] for row in one.rows]
        return one.fork.position + shared_beginning(rows)

    def adopt(self, made: Branch) -> int:
        """Put a branch from `branched` among `branches`; return its number."""
        self.branches.append(made)
        return len(self.branches) - 1

    def write(self, made: Branch) -> bool:
        """Write one token more in every row of a branch, also of one that is not adopted; False at its end."""
        with self.model.lock:  # a token is written whole, whichever threads write in this branch
            if self._has_ended(made):
                return False
            self._read(made)
        return True

    def undo(self) -> bool:
        """Take the newest branch away; False where only the text itself is left."""
        if len(self.branches) == 1:
            return False
        self.branches.pop()
        return True

    def saved(self) -> list[dict[str, Any]]:
        """Return every branch in plain numbers: ids written in each row, and where it leaves another."""
        found = []
        for one in self.branches:
            start = self.n_prompt if one.fork is None else one.fork.position + 1
            fork = None if one.fork is None else asdict(one.fork)
            found.append({"rows": [row.ids[start:] for row in one.rows], "fork": fork})
        return found

    def resume(self, saved: Sequence[Mapping[str, Any]]) -> Generation:
        """Write again what `saved` gave, token by token, after the prompt; return itself.

        Ids are those that were saved, also if this machine's numbers would choose others; codes are
        reread. Each branch then continues as it would have.

        Raises
        ------
        ValueError: If that is not what `saved` gives, or does not fit the model.
        IndexError: If a branch leaves one, or is steered by an atom, that is not there.
        """
        for number, one in enumerate(saved):
            rows, fork = _checked_branch(self.model, one, number)
            if fork is not None:
                self.fork(**fork)
            made, n = self.branches[number], max(map(len, rows))
            check_length(self.model, made.n_tokens + n, "Texts that were kept")
            for column in range(n):
                ids = [row[column] if column < len(row) else -1 for row in rows]
                made.stream.instead(torch.tensor(ids))
                self._read(made)
        return self

    @contextmanager
    def steered(self, branch: int) -> Iterator[None]:
        """Run the model as it ran for the text of a branch, for passes over that text alone."""
        added = [
            Added(first=part.first, last=part.last, delta=part.delta[:1])
            for part in self.branches[branch].added
        ]
        edits = [Intervention(self._point, Reader(self.sae, added))] if added else []
        with intervening(self.model, edits):
            yield

    def before(self, place: int, branch: int = 0) -> Tensor | dict[str, Tensor]:
        """Return the tokens of a branch before one, as the model reads them: ids, with the image among them.

        Raises
        ------
        ValueError: If that is a part of the image.
        """
        ids = torch.tensor(self.branches[branch].text.ids[:place])
        if self._source is None or place <= self.of_images.start:
            return ids
        if place < self.of_images.stop:
            raise ValueError(
                f"A token before or after the image is explained, got {place}, a part of it. Choose another."
            )
        read, shape = self._source.kwargs, getattr(self._source.token_ids, "shape", None)
        tensors = {name: value for name, value in read.items() if isinstance(value, Tensor)}
        pixels = {name: value for name, value in tensors.items() if value.shape != shape}
        return {**pixels, "input_ids": ids[None]}

    # --- what was written -------------------------------------------------------------------------

    def tokens(self, branch: int = 0, row: int = Branch.STEERED) -> list[str]:
        """Return every token of a row by its text, or by its number where there is not a tokenizer."""
        return self.names_of(self.branches[branch].rows[row].ids)

    def names_of(self, ids: Sequence[int]) -> list[str]:
        """Return tokens that begin with the prompt by their texts."""
        if self.model.tokenizer is None:
            return self._with_patches([str(i) for i in ids])
        if new := set(ids) - self._names.keys():
            self._names |= describe_ids(self.model.tokenizer, new)
        return self._with_patches(texts_to_draw([self._names[i] for i in ids]))

    def _with_patches(self, names: list[str]) -> list[str]:
        """Return names of tokens in which patches of images are named by their places."""
        if self.images is None:
            return names
        context = Context(kind=self.model.kind, n_samples=1, images=self.images)
        for image in self.images.of_sample(0):
            for position in self.images.patches(image):
                names[position] = context.patch_of_image(image, position)
        return names

    def new_text(self, branch: int = 0, row: int = Branch.STEERED) -> str:
        """Return what was written after the prompt, or after the token at which a branch leaves another."""
        one = self.branches[branch]
        start = self.n_prompt if one.fork is None else one.fork.position + 1
        ids = one.rows[row].ids
        before, whole = (text_of(self.model, torch.tensor(some)) for some in (ids[:start], ids))
        return whole[len(before) :] if whole.startswith(before) else whole


def _checked_branch(
    model: LiveModel, one: object, number: int
) -> tuple[list[list[int]], dict[str, Any] | None]:
    """Rows of ids, and what `fork` takes, of a branch that was saved; the first has no fork, and one row.

    A fork that was saved without `n_random` has one random direction.
    """
    rows, fork = (one.get(name) if isinstance(one, Mapping) else None for name in ("rows", "fork"))
    listed = rows if isinstance(rows, list | tuple) else []
    several = all(isinstance(row, list | tuple) for row in listed)
    kept = {"n_random": 1, **fork} if isinstance(fork, Mapping) else {}
    forks, n_rows = fork is None, 1
    if number:
        forks = kept.keys() == _FORK
        n_rows = Branch.RANDOM + check_count(kept.get("n_random", 1), name="n_random")
    if not several or not forks or len(listed) != n_rows:
        raise ValueError(
            "Branches must be as they were kept, first the text itself, then each with its fork and its "
            f"rows, got {shown(one)} for branch {number}. Take them from the state of a panel."
        )
    n = model.vocabulary_size or LARGEST
    ids = [
        [check_count(i, name="a token id", at_least=0, at_most=n - 1) for i in row]
        for row in listed
    ]
    return ids, kept or None
