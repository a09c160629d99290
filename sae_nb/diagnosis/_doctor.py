"""doctor: what this machine can do for the toolkit, and how to fix what it cannot."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sae_nb import findings, plugins
from sae_nb.checks import checked

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

State = Literal["ok", "warn", "cannot"]
TITLES = ("state", "check", "result")


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check."""

    name: str
    state: State
    """"ok", "warn" (works, with a drawback) or "cannot"."""

    what: str
    fix: str = ""
    """One sentence: what to do about it; empty where there is nothing to do."""

    essential: bool = False
    """Whether it is necessary for any useful work."""


Finding = Check
"""Its name until 0.2."""


class Checkup(findings.Finding, eq=True, kw_only=False):
    """All findings, in the order in which they were made; prints as a table.

    Example
    -------
    >>> checkup = Checkup((Check(name="disk", state="warn", what="0.5 GiB free", fix="Delete some."),))
    >>> print(checkup)
    Checkup(usable: 1 warn)
    state  check  result
    warn   disk   0.5 GiB free
                  → Delete some.
    >>> checkup.usable, checkup["disk"].state
    (True, 'warn')
    """

    findings: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        """Whether everything essential works."""
        return not any(f.essential and f.state == "cannot" for f in self.findings)

    def __getitem__(self, name: str) -> Check:
        """Return the finding of that name."""
        found = next((f for f in self.findings if f.name == name), None)
        if found is None:
            names = ", ".join(f.name for f in self.findings)
            raise KeyError(f"`name` must be one of {names}, got {name!r}.")
        return found

    def __iter__(self) -> Iterator[Check]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def to_json(self) -> dict[str, object]:
        """Return the same as plain values, for a bug report."""
        return {"usable": self.usable, "findings": [asdict(f) for f in self.findings]}

    @property
    def headline(self) -> str:
        """Whether the toolkit can be used here, and the number of checks in each state."""
        states = Counter(f.state for f in self.findings)
        counts = ", ".join(f"{n} {state}" for state, n in states.items())
        return f"{'usable' if self.usable else 'not usable'}: {counts}"

    @property
    def table(self) -> DataFrame:
        """A row per check: its name, state, result, fix, and whether it is essential."""
        import pandas as pd

        return pd.DataFrame([asdict(f) for f in self.findings]).set_index("name")

    @property
    def below(self) -> tuple[DataFrame]:
        """State, name and result of each check, and below a result how to mend it."""
        import pandas as pd

        return (pd.DataFrame(self._rows(), columns=TITLES),)

    def __repr__(self) -> str:
        # Written without pandas, which itself may be what does not work here.
        rows = [TITLES, *self._rows()]
        state, name = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = (f"{row[0]:<{state}}  {row[1]:<{name}}  {row[2]}" for row in rows)
        return "\n".join([self._line(), *lines])

    def _rows(self) -> list[tuple[str, str, str]]:
        rows = []
        for f in self.findings:
            rows += [(f.state, f.name, f.what)] + [("", "", f"→ {f.fix}")] * bool(f.fix)
        return rows


# -------------------------------------------------------------------------------------------------
# The machine: Python, packages, torch and its GPU, memory, disk, network.


Result = tuple[State, str, str]
"""State, observation and fix."""

GIB = 2**30
COMFORTABLE_MEMORY = 2.0
"""GiB. The tour peaks at 1.0 (printed by its last line), and a browser needs some too."""

LEAST_MEMORY = 0.75
"""GiB. The demo, with two bundled models, peaks at 0.65."""

COMFORTABLE_DISK = 2.0
"""GiB: a million captured rows of width 384 in fp32 take 1.5."""

ONE_VERSION = (
    "Uninstall until none is left (`python -m pip uninstall sae-nb`), install one, and start Python "
    "where no other sae_nb lies in the folder."
)
REINSTALL = "Install sae-nb again, the way it was installed (`make lab` in a checkout)."
CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container's memory limit and use are written: control groups v2, then v1."""


def python() -> Result:
    """Check the version of Python."""
    version = platform.python_version()
    what = f"{version} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    # pip refuses older ones, but a checkout on the path is not asked.
    if sys.version_info[:2] < (3, 11):  # noqa: UP036
        fix = "Install Python 3.11 or newer and make a new environment with it."
        return "cannot", what, fix
    return "ok", what, ""


def packages() -> Result:
    """Compare what is installed with what the package declares."""
    from packaging.requirements import Requirement

    try:
        every = [Requirement(line) for line in metadata.requires("sae-nb") or ()]
    except metadata.PackageNotFoundError:
        return "cannot", "sae-nb itself is not installed in this environment", REINSTALL
    needed_here = [r for r in every if r.marker is None or r.marker.evaluate({"extra": ""})]
    declared = [(one.name, str(one.specifier)) for one in needed_here]
    wrong = {name + asked: text for name, asked in declared if (text := _misfit(name, asked))}
    if wrong:
        needed = " ".join(f'"{requirement}"' for requirement in wrong)
        return "cannot", "; ".join(wrong.values()), f"Run `python -m pip install {needed}`."
    if two := _two_versions():
        return "warn", two, ONE_VERSION
    parts = ("sae-nb-studies", "sae-nb-course")
    others = " and ".join(one for one in parts if any(metadata.distributions(name=one)))
    more = f", with {others}" if others else "; neither sae-nb-studies nor sae-nb-course"
    version = metadata.version("sae-nb")
    return "ok", f"sae-nb {version} and its {len(declared)} dependencies{more}", ""


def _two_versions() -> str:
    """Say which versions of sae-nb are on the path at once; empty where there is only one."""
    found = list(metadata.distributions(name="sae-nb"))
    if len(versions := list(dict.fromkeys(one.version for one in found))) > 1:
        return (
            f"sae-nb {' and '.join(versions)} are both installed; Python finds {versions[0]} first"
        )
    first, code = found[0], Path(__file__).resolve()
    if '"editable": true' in (first.read_text("direct_url.json") or ""):
        return ""  # its code lies in a checkout
    if Path(str(first.locate_file("sae_nb/diagnosis/_doctor.py"))).resolve() == code:
        return ""
    return f"sae-nb {first.version} is installed, but Python found another copy of sae_nb first"


def _misfit(name: str, asked: str) -> str:
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    fits = SpecifierSet(asked).contains(version, prereleases=True)
    return "" if fits else f"{name} {version} is installed, {asked} is needed"


def torch_build() -> Result:
    """Report torch's version, build, number of threads and how they wait for each other."""
    import torch

    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    threads = f"{torch.get_num_threads()} threads, {_waiting()}"
    return "ok", f"{torch.__version__}, {build}, {threads}", ""


def _waiting() -> str:
    """Return how OpenMP's threads wait for each other, by what the environment says."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        if name in os.environ:
            return f"which wait as {name}={os.environ[name]} says"
    return (
        "which wait as OpenMP chooses, because torch was imported before sae_nb: slow where other work "
        "shares the cores"
    )


def gpu() -> Result:
    """Check that there is a GPU, by its driver's report, and that torch's build fits it."""
    import torch

    from sae_nb.checks import hidden_gpus

    driver, built = _driver(), torch.version.cuda
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        more = f" and {n - 1} more" if (n := torch.cuda.device_count()) > 1 else ""
        version = f", driver {driver[1]}" if driver else ""
        return "ok", f"{facts.name}, {facts.total_memory / GIB:.0f} GiB{more}{version}", ""
    if driver and (hidden := hidden_gpus().partition(":")[0]):
        what = f"{driver[0]} with driver {driver[1]}, but {hidden}"
        fix = "Unset it and start Python anew. If that changes nothing, update the driver."
        return "cannot", what, fix
    if driver and built:
        what = f"{driver[0]} with driver {driver[1]}, which torch's CUDA {built} build cannot use"
        fix = "Update the driver, or install a torch build for an older CUDA."
        return "cannot", what, fix
    if driver:
        what = f"{driver[0]} with driver {driver[1]}, but torch is a CPU build"
        fix = "Delete .venv and run `make lab DEVICE=cuda`, with TORCH_INDEX naming CUDA builds."
        return "cannot", what, fix
    if built:
        what = f"no NVIDIA driver answers, and torch is a CUDA {built} build; the CPU is used"
        fix = "Nothing, or DEVICE=cpu for a torch of a tenth of the size."
        return "warn", what, fix
    return "ok", "none; everything bundled runs on the CPU", ""


def _driver() -> tuple[str, str] | None:
    """Return the name of the first GPU and the version of its driver, from nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        # Installed without a working driver is the same as not there.
        return None
    name, _, version = done.stdout.partition("\n")[0].rpartition(",")
    return (name.strip(), version.strip()) if name else None


def memory() -> Result:
    """Check the free memory, taking a container's limit into account."""
    free = _free_memory()
    if free is None:
        return "ok", "this system does not say how much is free", ""
    gib = free / GIB
    what = f"{gib:.1f} GiB free"
    if gib < LEAST_MEMORY:
        fix = f"Close other kernels and programs: a bundled model needs {LEAST_MEMORY} GiB."
        return "cannot", what, fix
    if gib < COMFORTABLE_MEMORY:
        fix = "Keep one notebook open at a time, and capture to disk: sn.capture(…, store=folder)."
        return "warn", what, fix
    return "ok", what, ""


def _free_memory() -> int | None:
    from sae_nb.checks import available_memory

    free = [available_memory(), *(_left(*container) for container in CONTAINERS)]
    return min((n for n in free if n is not None), default=None)


def _left(folder: Path, limit: str, use: str) -> int | None:
    """Bytes left under a container's limit, or None where there is no limit."""
    try:
        most = (folder / limit).read_text().strip()
        if not most.isdigit():
            return None
        # Cached file pages are given back before anything is refused.
        lines = (folder / "memory.stat").read_text().splitlines()
        cached = next((int(n) for key, n in map(str.split, lines) if key == "inactive_file"), 0)
        return int(most) - int((folder / use).read_text()) + cached
    except OSError:
        # Another system, or another generation of control groups.
        return None


def disk() -> Result:
    """Check the free space on the disk that notebooks write to."""
    gib = shutil.disk_usage(Path.cwd()).free / GIB
    what = f"{gib:.1f} GiB free in the working folder"
    if gib < COMFORTABLE_DISK:
        fix = "Make room before capturing to disk; the bundled lessons need 0.1 GiB."
        return "warn", what, fix
    return "ok", what, ""


def offline() -> Result:
    """List the bundled models, which work without a network."""
    from sae_nb.models import bundled_names

    names = [name for name in bundled_names() if "@" not in name]
    if not names:
        return "cannot", "the bundled models' weights are missing", REINSTALL
    hub = "; the hub is switched off" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
    return "ok", f"{', '.join(names)} are here; only a hub name you give is downloaded{hub}", ""


# -------------------------------------------------------------------------------------------------
# The compiled parts: Numba, the CPU and GPU kernels against their definition, nnsight.


AGREEMENT = 1e-5
"""Largest difference between a kernel's codes and the definition's, on numbers of order one."""


def numba_compiles() -> Result:
    """Check that Numba compiles."""
    import numba

    numba.njit(_half)(1.0)
    return "ok", numba.__version__, ""


def _half(x: float) -> float:
    return x / 2


def kept_kernels() -> Result:
    """Run the CPU kernels against their definition if they are on disk; compile nothing."""
    from sae_nb.kernels._compiling import NotCompiledError, without_compiling

    try:
        with without_compiling():
            return cpu_kernels()
    except NotCompiledError:
        what = "not compiled yet: the first use of each does it, some 15 s in all"
        return "ok", f"{what} (`sae-nb doctor kernels` does it now, and compares them)", ""


def cpu_kernels() -> Result:
    """Run a pursuit and a TopK encoding on the CPU kernels and on their definition."""
    started = time.perf_counter()
    difference = _difference("cpu", "cpu")
    seconds = time.perf_counter() - started
    if not difference <= AGREEMENT:  # not a number counts as different
        what = f"codes differ from the definition by {difference:.1e}, allowed is {AGREEMENT:.0e}"
        fix = "Use backend='reference', and report this with the lines above."
        return "cannot", what, fix
    what = f"agree with the definition to {difference:.0e}, compiled or loaded in {seconds:.1f} s"
    return "ok", what, ""


def cuda_kernels() -> Result:
    """Run the same on the GPU's kernels."""
    import torch

    if not torch.cuda.is_available():
        return "ok", "not needed without a usable GPU", ""
    try:
        difference = _difference("cuda", "cuda")
    except (ValueError, ImportError, AttributeError) as error:
        # The last is numba-cuda's with a numpy that no longer has what it asks for.
        major = str(torch.version.cuda).partition(".")[0]
        fix = f'Install them: python -m pip install "sae-nb[cuda{major}]".'
        return "cannot", str(error), fix
    if not difference <= AGREEMENT:  # not a number counts as different
        what = f"codes differ from the definition by {difference:.1e}, allowed is {AGREEMENT:.0e}"
        fix = "Use backend='reference' on the GPU, and report this with the lines above."
        return "cannot", what, fix
    return "ok", f"agree with the definition to {difference:.0e}", ""


SAME_ANSWER = 1e-2
"""Allowed difference of logits, in units of their spread: a hundred times the rounding of float32."""


def accelerator() -> Result:
    """Run a bundled model on each accelerator and on the CPU, and compare its answers."""
    places = _accelerators()
    if not places:
        return "ok", "none; models run on the CPU", ""
    expected = _answer("cpu")
    bad: list[str] = []
    good: list[str] = []
    for place in places:
        try:
            off = _distance(_answer(place), expected)
        except (RuntimeError, NotImplementedError) as error:
            bad.append(f"{place} cannot run a model ({str(error).partition(chr(10))[0]})")
            continue
        line = f"{place} answers as the CPU does to {off:.0e} of the logits' spread"
        differs = f"{place} differs from the CPU by {off:.0e} of the logits' spread"
        (good if off <= SAME_ANSWER else bad).append(line if off <= SAME_ANSWER else differs)
    if bad:
        unusable = " and ".join(text.partition(" ")[0] for text in bad)
        fix = f"Do not use {unusable}: sn.load_model(…, device='cpu'). Or try another version of torch."
        return "cannot", "; ".join((*bad, *good)), fix
    return "ok", f"{'; '.join(good)}: use it", ""


def _accelerators() -> list[str]:
    """Return devices of this machine other than the CPU."""
    import torch

    mps = torch.backends.mps.is_available()
    return ["cuda"] * torch.cuda.is_available() + ["mps"] * mps


def _answer(device: str) -> Tensor:
    """Logits of the bundled language model on a sentence, from one forward pass on a device."""
    import torch

    from sae_nb.models import load_model

    model = load_model("tiny-gpt", device="cpu")
    ids = torch.arange(8, 72)[None]
    with torch.inference_mode():
        logits = model.module.to(device)(ids.to(device)).logits
    answer: Tensor = logits.float().cpu()
    return answer


def _distance(a: Tensor, b: Tensor) -> float:
    """The largest difference in units of the spread; infinite where one is not finite."""
    off = float((a - b).abs().max() / b.std())
    return off if math.isfinite(off) else math.inf


def _difference(backend: str, device: str) -> float:
    import torch

    from sae_nb.kernels import topk_encode
    from sae_nb.pursuit import matching_pursuit

    # Sixteen inputs and 64 unit atoms of width 16, always the same.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 16, generator=generator).to(device)
    dictionary = torch.randn(64, 16, generator=generator)
    dictionary = torch.nn.functional.normalize(dictionary, dim=1).to(device)
    pairs = [
        (
            matching_pursuit(x, dictionary, 4, backend=backend),
            matching_pursuit(x, dictionary, 4, backend="reference"),
        ),
        (
            topk_encode(x, dictionary, k=4, backend=backend),  # type: ignore[arg-type]
            topk_encode(x, dictionary, k=4, backend="reference"),
        ),
    ]
    return max(float((a.to_dense() - b.to_dense()).abs().max()) for a, b in pairs)


def nnsight() -> Result:
    """Capture from a toy module through nnsight and through a plain hook, and compare."""
    import torch

    from sae_nb.models import wrap
    from sae_nb.models._running import run

    model = wrap(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    batch = next(iter(model.batches(torch.eye(3), batch_size=3)))
    point = [model.hook_point("0")]
    traced, hooked = (
        run(model, batch, read=point, answer=False, backend=backend).seen[point[0]]
        for backend in ("nnsight", "hooks")
    )
    version = metadata.version("nnsight")
    if not torch.allclose(traced, hooked, atol=1e-6):
        what = f"{version} captures something else than a plain forward hook"
        fix = f"{REINSTALL} It pins a version that is known to agree."
        return "cannot", what, fix
    return "ok", f"{version}, agrees with a plain forward hook", ""


# -------------------------------------------------------------------------------------------------
# What panels need: widget packages, JupyterLab's extensions for them, a Chromium for the tests.


WIDGET_PACKAGES = ("ipywidgets", "anywidget", "plotly")
EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "anywidget")
"""Extensions that JupyterLab, Notebook 7 and Voila load in the browser; pip installs them."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def widgets() -> Result:
    """Check that the packages that panels are made of are installed, without importing them."""
    missing = [name for name in WIDGET_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        what = f"{', '.join(missing)} missing: panels cannot be drawn, everything else works"
        return "cannot", what, REINSTALL
    return "ok", ", ".join(f"{name} {metadata.version(name)}" for name in WIDGET_PACKAGES), ""


def lab() -> Result:
    """Look for JupyterLab and the extensions that draw widgets in the browser."""
    if importlib.util.find_spec("jupyterlab") is None:
        what = "JupyterLab is not in this environment; a kernel used from another one is fine"
        fix = "Install it with `python -m pip install jupyterlab`, or install ipywidgets and anywidget there."
        return "warn", what, fix
    found = {name: _extension(name) for name in EXTENSIONS}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        what = f"JupyterLab has no extension {', '.join(missing)}: panels show as text"
        fix = "Run `python -m pip install --force-reinstall --no-deps ipywidgets jupyterlab_widgets anywidget`."
        return "cannot", what, fix
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return "ok", f"{metadata.version('jupyterlab')} with {versions}", ""


def _extension(name: str) -> str | None:
    """Version of a browser extension, or None where it is not installed."""
    for folder in _extension_folders():
        facts = folder / name / "package.json"
        if facts.is_file():
            return str(json.loads(facts.read_text(encoding="utf-8")).get("version", "?"))
    return None


def _extension_folders() -> list[Path]:
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return [Path(sys.prefix) / "share" / "jupyter" / "labextensions"]
    return [Path(folder) for folder in jupyter_path("labextensions")]


def other_packages() -> Result:
    """Load what other installed packages bring: architectures, readers, kinds of input, faces."""
    found = plugins.parts()
    if not found:
        return "ok", "none; no other package brings parts", ""
    parts = [
        f"{one.name} ({one.kind}) of {one.package}{one.problem and ': ' + one.problem}"
        for one in found
    ]
    if any(one.problem for one in found):
        fix = "Update or uninstall that package; what does not load is left out, all else works."
        return "warn", "; ".join(parts), fix
    return "ok", "; ".join(parts), ""


def chromium() -> Result:
    """Look for a browser that tests can drive; only tests need one."""
    if find_chromium() is not None:
        return "ok", "here, for the browser tests", ""
    what = "none; only the browser tests need it, and they skip"
    fix = "Install chromium, or name one in SAE_NB_CHROMIUM, to run them."
    return "warn", what, fix


def find_chromium() -> str | None:
    """Return the command of a Chromium that can be driven, or None."""
    names = (os.environ.get("SAE_NB_CHROMIUM"), *BROWSERS)
    return next((found for name in names if name and (found := shutil.which(name))), None)


# -------------------------------------------------------------------------------------------------
# All checks, and those that were asked for.


CHECKS = {
    "python": python,
    "packages": packages,
    "torch": torch_build,
    "gpu": gpu,
    "numba": numba_compiles,
    "kernels": kept_kernels,
    "cuda kernels": cuda_kernels,
    "accelerator": accelerator,
    "nnsight": nnsight,
    "widgets": widgets,
    "jupyterlab": lab,
    "memory": memory,
    "disk": disk,
    "offline": offline,
    "plugins": other_packages,
    "chromium": chromium,
}
"""Every check by name; each imports what it needs when it is asked."""

ASKED_FOR = {"kernels": cpu_kernels}
"""Checks that do more, and take longer, if they are asked for by name."""

ESSENTIAL = frozenset(
    {"python", "packages", "torch", "numba", "kernels", "nnsight", "memory", "offline"}
)
"""Without these nothing useful works."""


@checked
def doctor(*names: str) -> Checkup:
    """Check what this machine can do, and suggest how to fix what it cannot.

    Runs all checks (a few seconds), or those named, each on its own: one that breaks becomes a finding.
    Kernels are compiled only by `doctor("kernels")`; otherwise those on disk are compared. Nothing is
    downloaded and no connection is made; of the machine, only versions, sizes and the GPU's name are reported.

    Raises
    ------
    ValueError: If there is no check of that name.

    Example
    -------
    >>> import sae_nb as sn
    >>> sn.doctor("python")["python"].state
    'ok'
    """
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ValueError(
            f"`names` must be checks, got {unknown[0]!r}. They are: {', '.join(CHECKS)}."
        )
    checks = CHECKS | ASKED_FOR if names else CHECKS
    return Checkup(tuple(_examine(name, checks[name]) for name in names or CHECKS))


def _examine(name: str, check: Callable[[], Result]) -> Check:
    essential = name in ESSENTIAL
    try:
        state, what, fix = check()
    except Exception as error:  # noqa: BLE001 - a check that breaks is what was asked for
        state = "cannot"
        what = " ".join(f"{type(error).__name__}: {error}".split())
        fix = "Run `make clean` and `make lab` in a fresh checkout; if it stays, report this line."
        if isinstance(error, ModuleNotFoundError):
            fix = f"Install it: python -m pip install {(error.name or 'it').partition('.')[0]}."
        # A system that does not say how much memory it has may have enough.
        essential = essential and name != "memory"
    return Check(name=name, state=state, what=what, fix=fix, essential=essential)
