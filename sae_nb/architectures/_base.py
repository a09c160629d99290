"""The base of every architecture: its preferences in training, and its promises to users, panels and loops."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb._above import above
from sae_nb._hints import ClassOfOtherWords, no_attribute
from sae_nb._hooks import Hook
from sae_nb.activations import Activations
from sae_nb.activations._hook_point_check import other_model, warn_of_place
from sae_nb.activations._sites import acts_of_sites, as_one
from sae_nb.architectures._describing import card, one_line
from sae_nb.architectures._initialisation import (
    Directions,
    Method,
    rows_wanted,
    sample,
    starting_atoms,
)
from sae_nb.architectures._recipe import (
    InputScaling,
    Silence,
    TrainingDefaults,
    TrainingLoss,
    geometric_median,
)
from sae_nb.architectures._revival import AtomRows, Revival, parameters_of, set_anew
from sae_nb.architectures._saving import Provenance, Upload, save_sae
from sae_nb.architectures.parts._operators import DenseOperator, MatrixOperator
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import (
    as_tensor,
    at_least,
    check_count,
    check_devices,
    check_finite,
    check_k,
    check_matrix,
    checked,
    methods_in_own_modes,
    shown,
)
from sae_nb.codes import SparseCodes

_Sae = TypeVar("_Sae", bound="SparseAutoencoder")

Encodable = Activations | Tensor | np.ndarray
"""Data that can be encoded, (…, d_in) in the model's units; a table of numbers too."""

saelens_tensors: Hook[[SparseAutoencoder], dict[str, Tensor]] = Hook("saelens_tensors")
upload: Hook[..., Upload] = Hook("upload")
"""Others' files are known to `interop` alone; users type these two as methods."""

ROWS_AT_ONCE = 8192
"""Rows that are read from disk to be encoded together."""

_COMPUTING = (
    "encode", "decode", "forward", "uncoded", "reconstruction", "write_at", "of_sequences", "dense_codes",
    "_apply",
)  # fmt: skip
"""Methods that people call and that trust their arguments, or check them by hand: the hot path."""


class SparseAutoencoder(Provenance, nn.Module, metaclass=ClassOfOtherWords):
    """Codes z of activations x over a dictionary D: x̂ = zD + b, most of z zero.

    A dictionary reads from one or several hook points and writes to one or several; an SAE reads and
    writes the same one. A row of training data holds all of them side by side (`sites`), and `split`
    separates the input from the target. `scaling`, `bias` and atoms are of the target.

    Activations enter, and codes and reconstructions leave, in the model's own units: `dictionary` has
    unit rows, so a code is how far x reaches along its atom. Inside, the bias is learned in scaled
    units (`InputScaling`): b = μ + pre_bias / s.

    fp16, bf16 and fp64 activations are cast to the SAE's own dtype; codes and `decode` are in that
    dtype, `sae(x)` returns the dtype of x.

    A subclass chooses an encoder (`_encode`), a loss (`training_loss`), a `recipe` and its
    `settings`; it is one file and one line in `ARCHITECTURES`.

    Parameters
    ----------
    operator
        Holds the dictionary.
    d_in
        Width of what is read; None: that of an atom.

    Example
    -------
    >>> from sae_nb.architectures import TopK
    >>> sae = TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> isinstance(sae, SparseAutoencoder), sae(torch.ones(3, 4)).shape
    (True, torch.Size([3, 4]))
    """

    live_numbers: ClassVar[tuple[str, ...]] = ()
    """Attributes that may change while the SAE trains."""

    later_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that came after the first files, and what a file without them means; where they say the
    same, files leave them out."""

    unit_atoms: bool = True
    """Whether atoms have unit norm, so that a code is a length in the model's units. Where they have
    not, codes have no unit and atoms carry it."""

    additive: bool = True
    """Whether a reconstruction is the sum of its atoms and the bias, so that an atom writes the same
    whatever its company."""

    writes: tuple[int, ...] | None = None
    """Widths of the hook points it writes; None: those that it reads."""

    reads_sequences: bool = False
    """Whether the axis before the last of `x` is time, so that a row depends on those before it."""

    trains_on_sequences: bool = False
    """Whether its training compares a row with those before it, though a code depends on its own row alone."""

    reads_gradient: bool = False
    """Whether a training row holds both the activation and the gradient of a loss of the model with
    respect to it.
    """

    fixed_codes: ClassVar[bool] = False
    """Whether codes of a training step may hold padding, entries of value 0 that no one chose: then, on a card
    with Triton, a step has one shape, waits for nothing and becomes a CUDA graph. A class from elsewhere says
    so itself: a graph repeats nothing that its Python does."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        methods_in_own_modes(cls, *_COMPUTING)
        if not cls.__module__.startswith("sae_nb.") and "fixed_codes" not in vars(cls):
            cls.fixed_codes = False

    initialised: Tensor
    to_resample: tuple[Tensor, Tensor] | None = None
    """Dead atoms that `after_optimiser_step` replaces, and by which directions; a step's loss decides."""

    resampled: Tensor | None = None
    """Atoms that were resampled in the last step, of which an optimiser forgets what it knew."""

    def __init__(self, operator: MatrixOperator, d_in: int | None = None) -> None:
        super().__init__()
        self.operator = operator
        self.d_out, self.n_atoms = operator.d_in, operator.n_atoms
        self.d_in = self.d_out if d_in is None else d_in
        self.scaling = InputScaling(self.d_out)
        self.pre_bias = nn.Parameter(torch.zeros(self.d_out))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            # As torch looks it up, without a second call; its own error says less, and not why a property
            # failed.
            own = vars(self)
            for kind in ("_parameters", "_buffers", "_modules"):
                if name in own.get(kind, ()):
                    return own[kind][name]
            return no_attribute(self, name)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or convert the SAE in place, as torch's `Module.to` does, and return it.

        Raises
        ------
        ValueError: If the device is not there.
        """
        check_devices(*args, kwargs.get("device"))
        return super().to(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, as torch's modules do; `sn.train(sae, data)` trains."""
        if not isinstance(mode, bool):
            raise TypeError(
                f"`sae.train` sets training mode and needs True or False, got {shown(mode)}. Use "
                "sn.train(sae, data)."
            )
        return super().train(mode)

    def cuda(self, device: int | str | torch.device | None = None) -> Self:
        """Move the SAE to a GPU in place, and return it."""
        return self.to("cuda" if device is None else device)

    def __len__(self) -> int:
        """Return the number of atoms."""
        return self.n_atoms

    # For people

    def encode(self, x: Encodable, k: int | None = None) -> SparseCodes:
        """Find the sparse codes of activations.

        Parameters
        ----------
        x
            Activations in the model's units, (…, d_in): as captured, or a tensor, an array or a table.
            Data that are not a tensor are moved to the SAE's device. Leading axes become rows and are
            kept in `codes.leading_shape`.
        k
            Selections per row, for architectures that have a k; None is the SAE's own.

        Returns
        -------
        SparseCodes
            Strengths in the model's units. They carry a gradient to `x` and to the parameters.

        Raises
        ------
        TypeError: If `x` does not hold floating-point numbers.
        ValueError: If `x` is empty, of the wrong width, not finite or on another device, or `k` does not
            fit.
        """
        k = self._checked_k(k)
        if not isinstance(x, Tensor):
            if isinstance(x, Activations):
                if x.d_in == self.d_in:
                    warn_of_place(self, x.hook_point)
                if x.on_disk:
                    return SparseCodes.concatenate(self._encode(rows, k) for rows in self._read(x))
            x, rows = as_tensor(x), self._rows(x)
        else:
            rows = self._rows(x)
        codes = self._encode(rows, k)
        return codes if x.ndim == 2 else codes.reshape(*x.shape[:-1])

    def decode(self, codes: SparseCodes) -> Float[Tensor, "*batch d_out"]:
        """Add up the atoms of each row, and the bias.

        Raises
        ------
        TypeError, ValueError: If they are not `SparseCodes`, or of another dictionary or device.
        """
        if not isinstance(codes, SparseCodes):
            raise TypeError(
                f"`codes` must be SparseCodes, as `encode` returns them, got {type(codes).__name__}. "
                "Use SparseCodes.from_dense(z)."
            )
        bias = self.bias
        if codes.dtype != bias.dtype:
            codes = codes.with_values(codes.values.to(bias.dtype))
        x_hat, shape = self.operator.synthesise(codes, bias), codes.leading_shape
        return x_hat if len(shape) == 1 else x_hat.reshape(*shape, self.d_out)

    def forward(self, x: Encodable) -> Float[Tensor, "*batch d_out"]:
        """Reconstruct activations, in their own dtype."""
        gain, rest = self.uncoded(x)
        x_hat = self.decode(self.encode(x)) * gain + rest
        return x_hat.to(x.dtype if isinstance(x, Activations) else as_tensor(x).dtype)

    def uncoded(self, x: Encodable) -> tuple[Tensor | float, Tensor | float]:
        """Return the part of `sae(x)` that no code holds: factor and summand of factor · decode(z) + summand.

        1 and 0, but where a linear map or a prediction is added (SkipTranscoder, Temporal), or a norm is undone
        (SAEs of other libraries).
        """
        return 1.0, 0.0

    def reconstruction(self, codes: SparseCodes, x: Encodable) -> Float[Tensor, "*batch d_out"]:
        """Return `sae(x)`, its sites side by side, without a second encoding: `codes` are its own of `x`.

        This is compared with the target; `decode(codes)` lacks the part that no code holds.
        """
        if type(self).forward is not SparseAutoencoder.forward:
            return as_one(self(x))
        gain, rest = self.uncoded(x)
        return self.decode(codes) * gain + rest

    @property
    def reads(self) -> tuple[int, ...]:
        """Widths of the hook points it reads."""
        return (self.d_in,)

    @property
    def by_site(self) -> bool:
        """Whether what it reads comes as a list, one thing per hook point."""
        return len(self.reads) > 1

    @property
    def sites(self) -> tuple[int, ...]:
        """Widths of all hook points that a row of training data holds, side by side."""
        return self.reads + (self.writes or ())

    @property
    def at_sites(self) -> list[Float[Tensor, "n_atoms d_m"]]:
        """Directions of the atoms at each of `sites`, detached.

        Each is the vector that the atom adds there, or its encoder direction where the dictionary only reads.
        """
        return [self.dictionary]

    reads_alone = False
    """Whether `encode(x, reads=m)` finds a code from site m alone."""

    def split(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the input and the target of training rows: for an SAE, both are all of it."""
        if self.writes is None:
            return rows, rows
        n = sum(self.reads)
        return rows[:, :n], rows[:, n:]

    @property
    def dictionary(self) -> Float[Tensor, "n_atoms d_out"]:
        """The effective atoms, detached; rows of unit norm where `unit_atoms`."""
        return self.operator.atoms().detach()

    @property
    def bias(self) -> Float[Tensor, " d_out"]:
        """The reconstruction of an all-zero code, in the model's units."""
        # From where torch keeps them: its look-ups would cost more than the operation.
        scaling: Any = self._modules["scaling"]._buffers  # type: ignore[union-attr]
        learned: Any = self._parameters.get("pre_bias", self._buffers.get("pre_bias"))
        return torch.addcdiv(scaling["mean"], learned, scaling["scale"])

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return self.scaling.mean.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.scaling.mean.device

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild an SAE of this kind and size, JSON-able.

        They are its fields, where an SAE is written as a dataclass.
        """
        if not is_dataclass(self):
            raise TypeError(
                f"An SAE must say what rebuilds it, and {type(self).__name__} does not. Write it as a "
                "dataclass, or give it a method `settings`."
            )
        in_order = sorted(fields(self), key=lambda field: field.kw_only)
        names = [field.name for field in in_order if field.init]
        return {name: getattr(self, name) for name in names if name != "generator"}

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        return card(self)

    @checked
    def save(self, folder: str | Path) -> None:
        """Write the SAE to a folder, replacing an SAE that was saved there before.

        Parameters
        ----------
        folder
            Gets `sae.safetensors`, `config.json` and a manifest; appears only when complete. A folder
            and not one file, because labels and notes are kept next to the weights.

        Raises
        ------
        ValueError: If it has the name of a file, such as "sae.safetensors".
        FileExistsError: If the folder holds something else.
        """
        save_sae(self, folder)

    @checked(leave=("report",))
    def to_saelens(self) -> dict[str, Tensor]:
        """Return the tensors that SAELens' users know, with what is learned in scaled units folded in.

        W_enc (d_in, n_atoms), b_enc (n_atoms,), W_dec (n_atoms, d_in), b_dec (d_in,), fp32, so that
        (x − b_dec) W_enc + b_enc are the pre-activations in the model's own units, and z W_dec + b_dec the
        reconstruction; others where the architecture has them, such as `threshold`. `interop.write_saelens`
        writes them to a folder.

        Raises
        ------
        TypeError: If SAELens has no architecture that computes these codes.

        Example
        -------
        >>> from sae_nb.architectures import TopK
        >>> tensors = TopK(d_in=4, n_atoms=8, k=2).to_saelens()
        >>> {name: tuple(tensor.shape) for name, tensor in sorted(tensors.items())}
        {'W_dec': (8, 4), 'W_enc': (4, 8), 'b_dec': (4,), 'b_enc': (8,)}
        """
        return saelens_tensors(self)

    def push_to_hub(
        self,
        repo: str,
        report: object = None,
        *,
        dry_run: bool = False,
        folder: str | Path | None = None,
        private: bool = False,
        message: str | None = None,
        token: str | None = None,
    ) -> Upload:
        """Send the SAE to the hub with a model card, from where `sn.load_sae("hf:…")` reads it.

        The card describes the SAE, how to load it, and its measurements: all of a report, if one is
        given. The upload is written to a folder first, complete or not at all; what comes back has its
        `.files`, `.card`, `.folder` and `.url`.

        Parameters
        ----------
        repo
            "owner/name", or "owner/name/folder/in/it"; made if it is not there.
        report
            `sn.evaluate(sae, …)`, of this very SAE.
        dry_run
            Write the folder, send nothing and ask the network for nothing.
        folder
            Where it is written and stays; None: a temporary one, which a dry run leaves for you to look at.
        private
            Whether a repository that is made is private.
        message
            Of the commit; None: what the SAE is, in one line.
        token
            Of the hub; None: the one that `hf auth login` keeps.

        Raises
        ------
        ValueError: If `repo` is not such a name, or the report is of another SAE. ConnectionError: If
        the hub is switched off or cannot be reached, or refuses.

        Example
        -------
        >>> import sae_nb as sn
        >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
        >>> sent = sae.push_to_hub("someone/first-try", dry_run=True)
        >>> sent.files["file"].tolist()
        ['README.md', 'config.json', 'manifest.json', 'sae.safetensors']
        >>> sn.load_sae(sent.folder).n_atoms
        8
        """
        return upload(
            self,
            repo,
            report,
            dry_run=dry_run,
            folder=folder,
            private=private,
            message=message,
            token=token,
        )

    @classmethod
    @checked
    def load(cls: type[_Sae], folder: str | Path) -> _Sae:
        """Read an SAE of this class from a folder.

        Raises
        ------
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If a file was cut short or altered, or holds another architecture.
        """
        read: _Sae = above("sae_nb.architectures._catalogue", "load_as")(cls, folder)
        return read

    # For the training loop

    def trained_as(self) -> SparseAutoencoder:
        """Return what a training works on: itself, unless the SAE is of another library."""
        return self

    def take_from(self, trained: SparseAutoencoder) -> None:
        """Take over what a training of `trained_as()` has learned; nothing to do where that is itself."""

    @abstractmethod
    def recipe(self) -> TrainingDefaults:
        """Return defaults for training an SAE of this kind and size."""

    def learning_rate_shares(self) -> dict[nn.Parameter, float]:
        """Return parameters that take a share of the learning rate; the others take all of it."""
        return {}

    @checked(leave=("x",))
    @torch.no_grad()
    def initialise(
        self,
        x: Encodable | Sequence[Any],
        generator: torch.Generator | None = None,
        *,
        method: Method | None = None,
        levels: Annotated[int, at_least(2)] = 2,
        tolerance: Annotated[float, at_least(0)] | None = None,
    ) -> None:
        """Read off the first activations what the SAE needs before its first step.

        `train` does this itself with its first rows, unless it was done before.

        Always the scaling, the bias and, where there are any, thresholds and the encoder's gain. With a
        `method` the dictionary too, in place of random atoms.

        Parameters
        ----------
        x
            Activations, (…, d_in), or whatever `train` takes; 8192 rows are enough. A `method` looks at a
            sample of that size, or four rows per atom where that is more, so memory stays bounded.
        generator
            Draws; the same one gives the same start. None is torch's global generator.
        method
            "spread": atoms far apart, then at the centre of the rows nearest to them. "levels": also,
            level by level, what comes only together with something else. None leaves the dictionary as
            it is.
        levels
            Depth of "levels": 2 finds parents and their children, 3 theirs.
        tolerance
            A rest of at most this norm is noise to "levels". None: the SAE's own tolerance, or 0.

        Raises
        ------
        ValueError: If there are more levels than atoms, or the atoms of this SAE cannot be set.

        Source
        ------
        The starts are ours (docs/methods/matching-pursuit.md): they recover a tree of concepts that
        training from random atoms does not, where parents also occur alone and `bias=False`.

        Example
        -------
        >>> import sae_nb as sn
        >>> tree = sn.data.concept_tree(2000, correlation=0.8)
        >>> sae = sn.MatchingPursuit(20, 20, k=4, tolerance=0.05, bias=False)
        >>> sae.initialise(tree.x, torch.Generator().manual_seed(0), method="levels")
        >>> round(float(sn.evaluation.match_atoms(tree.dictionary, sae.dictionary)[2].min()), 3)
        1.0
        """
        rows = self._first_rows(x, generator)
        if method is not None:
            check_count(levels, name="levels", at_most=max(2, self.n_atoms))
            self._atoms_to_set()
        self._scale(rows, generator)
        if method is not None:
            own = getattr(self, "tolerance", None)
            target = self.split(rows)[1]
            atoms = starting_atoms(
                self.operator.counted(
                    sample(target, rows_wanted(self.n_atoms), generator) - self.bias
                ),
                self.n_atoms,
                levels=levels if method == "levels" else 1,
                tolerance=(own if tolerance is None else tolerance) or 0.0,
                generator=generator,
            )
            self._start_at(atoms)
        self._fit_encoder(rows)
        self.initialised.fill_(True)

    @abstractmethod
    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return loss of one batch; trusts its input.

        Parameters
        ----------
        x
            Training rows in the model's units, in the dtype and on the device of the SAE; see `split`.
        silent_tokens
            Rows since each atom last fired.
        dead_after
            Silent for this many, an atom is dead.
        step_fraction
            Share of the run that is over, for schedules.
        """

    @property
    def has_one_shape(self) -> bool:
        """Whether a training step has one shape here and asks the host nothing: on a card with Triton."""
        return False

    def unit_rows(self) -> list[nn.Parameter]:
        """Return parameters with rows of unit norm, which an optimiser may keep so as it moves them."""
        return [self.operator.weight] if isinstance(self.operator, DenseOperator) else []

    def before_optimiser_step(self) -> None:
        """Project the dictionary's gradient on the sphere."""
        self.operator.project_gradient_()

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Put resampled atoms in place, and all atoms back on the sphere."""
        self.replace_resampled()
        self._project()

    def replace_resampled(self) -> None:
        """Put resampled atoms in place."""
        self.resampled = None
        if self.to_resample is not None:
            set_anew(self._atom_rows(), self.to_resample, self.n_atoms)
            if self._way_back is not None and self._way_back.forgets:
                self.resampled = self.to_resample[0]
            self.to_resample = None

    def atom_parameters(self) -> list[nn.Parameter]:
        """Return parameters with one row per atom that is set by itself: what an optimiser forgets with it."""
        return parameters_of(self._atom_rows())

    # For subclasses

    @property
    def _way_back(self) -> Revival | None:
        """Return the way back of dead atoms; None if there is none."""
        return None

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        """Return the tensors kept per atom, the dictionary first, and the start of a resampled atom in
        each.
        """
        return ()

    def _project(self) -> None:
        """Put atoms back on the sphere."""
        self.operator.project_()

    def _scale(self, rows: Rows, generator: torch.Generator | None) -> None:
        """Read scaling and bias off the first training rows."""
        _, target = self.split(rows)
        self.scaling.fit_(target)
        centred = (target - self.scaling.mean) * self.scaling.scale
        self.pre_bias.copy_(geometric_median(centred))

    def _start_at(self, atoms: Directions) -> None:
        """Set the dictionary."""
        self._atoms_to_set().copy_(atoms)

    def _fit_encoder(self, rows: Rows) -> None:
        """Fit what depends on scaling and dictionary: thresholds, gains."""

    @abstractmethod
    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        """Codes of checked rows."""

    def _checked_k(self, k: int | None) -> int | None:
        own = getattr(self, "k", None)
        if k is None:
            return own
        if own is None:
            raise ValueError(
                f"`k` must be None for {type(self).__name__}, which has no k, got {k}. Leave it out."
            )
        return check_k(k, self.n_atoms)

    def _read(self, acts: Activations, width: int | None = None) -> Iterator[Rows]:
        """Rows from disk, some at a time; `width` of them where that is not `d_in`."""
        for start in range(0, len(acts), ROWS_AT_ONCE):
            rows = acts.rows(range(start, min(start + ROWS_AT_ONCE, len(acts))))
            yield self._rows(rows.to(self.device), width)

    def _first_rows(self, x: Encodable | Sequence[Any], generator: torch.Generator | None) -> Rows:
        """Training rows in memory; of what is on disk a sample."""
        data, width = acts_of_sites(self, x, name="x"), sum(self.sites)
        if isinstance(data, Activations):
            data = data.joined
            if data.on_disk:
                drawn = sample(data, rows_wanted(self.n_atoms), generator)
                return self._rows(drawn.to(self.device), width)
        return self._rows(data, width)

    def _atoms_to_set(self) -> nn.Parameter:
        if not isinstance(self.operator, DenseOperator):
            raise ValueError(
                f"`method` must be None for {type(self).__name__}, whose atoms cannot be set one by one. "
                "Leave it out: they begin at points of the data."
            )
        return self.operator.weight

    def _where(self, x: object = None) -> str:
        """Where to find what it reads, for messages about another width."""
        if foreign := other_model(self, x):
            return foreign
        known = "" if self.hook_point is None else f", {str(self.hook_point)!r}"
        return f"Capture it at `sae.hook_point`{known}."

    def _rows(self, x: Encodable, width: int | None = None) -> Rows:
        def where() -> str:
            return self._where(x)

        rows = check_matrix(x, d_in=width or self.d_in, flatten=True, where=where, finite=False)
        like: Any = self._modules["scaling"]._buffers["mean"]  # type: ignore[union-attr]
        device = like.device
        if not isinstance(x, Tensor):
            rows = rows.to(device)
            if isinstance(x, Activations):
                self.look_at(x)
        if rows.device != device:
            raise ValueError(
                f"`x` must be on the SAE's device {device}, got {rows.device}. Use "
                f"x.to({str(device)!r}) or sae.to({str(rows.device)!r})."
            )
        rows = rows if rows.dtype == like.dtype else rows.to(like.dtype)
        check_finite(rows, name="x", where=where)  # as they are computed with
        return rows


methods_in_own_modes(SparseAutoencoder, *_COMPUTING)


class Untrained:
    """Mixed in before the architecture: asked for a recipe or a loss, it explains what to do instead."""

    no_training: ClassVar[str]
    """The rule and the way out, as the message of the error."""

    def recipe(self) -> TrainingDefaults:
        """Refuse: it is used as it is."""
        raise TypeError(self.no_training)

    def training_loss(self, *_: object, **__: object) -> TrainingLoss:
        """Refuse: it is used as it is."""
        raise TypeError(self.no_training)
