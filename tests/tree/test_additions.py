"""What a contribution touches: an SAE, a metric, a mode and a unit of steering, a kind of input and a colour.

The places are those that CONTRIBUTING.md names and no others; what the toolkit promises of the whole
family then runs over the newcomer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COPIED = (
    "sae_nb",
    "widgets/sae_nb_widgets",
    "docs/howto",
    "docs/tools",
    "tests/activations",
    "tests/architectures",
    "tests/models",
    "tests/steering",
)
# Compiled loops are cached by the path of their file, and nothing here changes one.
AS_THEY_ARE = ("kernels", "pursuit")
HEAVY = ("weights", "saes", "__pycache__")

SAE = '''"""HalfTopK: TopK whose k grows with the dictionary, so that it has none to choose."""

from __future__ import annotations

from dataclasses import dataclass

from sae_nb.architectures import Prox, TopKProx
from sae_nb.architectures.parts import OneStep
from sae_nb.checks import checked


@checked
@dataclass(eq=False, repr=False)
class HalfTopK(OneStep):
    """z = [TopK_k(u)]₊ with k an eighth of the atoms.

    Parameters
    ----------
    d_in, n_atoms
        Sizes of an activation and of the dictionary.
    aux_k, aux_weight, revival
        How dead atoms return, as in TopK.
    generator
        Draws the first dictionary; None is torch's global generator.
    """

    def _prox(self, k: int | None) -> Prox:
        return TopKProx(max(1, self.n_atoms // 8) if k is None else k)
'''
MODALITY = """

def _squares(row: Tensor) -> Tensor:
    grey = (255 * row[:4].clamp(0, 1)).byte()
    return grey.reshape(1, 2, 2).expand(3, -1, -1).contiguous()


register_modality(
    Modality(
        name="dials",
        sample="dial",
        reads="numbers",
        face=_squares,
        examples=lambda n, seed: torch.rand(n, 8, generator=torch.Generator().manual_seed(seed)),
    )
)
"""


def _insert(file: Path, before: str, text: str) -> None:
    """Put `text` in front of the first `before`, as somebody at an editor does."""
    source = file.read_text(encoding="utf-8")
    assert before in source, f"{file.name} holds {before!r} no longer"
    file.write_text(source.replace(before, f"{text}{before}", 1), encoding="utf-8")


def _add_sae(to: Path) -> None:
    """One file, and one line in the module."""
    package = to / "sae_nb" / "architectures"
    (package / "_half_topk.py").write_text(SAE, encoding="utf-8")
    _insert(
        package / "__init__.py",
        "    from sae_nb.architectures._jump_relu",
        "    from sae_nb.architectures._half_topk import HalfTopK as HalfTopK\n",
    )


def _add_metric(to: Path) -> None:
    """What measures it, and what it means."""
    report = to / "sae_nb" / "evaluation" / "report"
    _insert(
        report / "_sparsity.py",
        '    "dense_fraction": lambda',
        '    "once_fraction": lambda sums: sums.atom_counts == 1,\n',
    )
    _insert(
        report / "definitions.toml",
        "[sparsity.dense_fraction]",
        '[sparsity.once_fraction]\nformula = "share of atoms active in one row"\nbetter = "lower"\n\n',
    )


def _add_mode(to: Path) -> None:
    """Its record, and its row in the documentation."""
    modes = to / "sae_nb" / "steering" / "modes.py"
    _insert(
        modes,
        '    "scale": SteeringMode(',
        '    "twofold": SteeringMode(\n        change=lambda z, by: 2 * by - z,\n'
        '        verb="set to twice",\n        menu="set the latent to twice",\n    ),\n',
    )
    _insert(modes, "], OneOf(MODES)]", ', "twofold"')
    _insert(
        to / "docs" / "howto" / "steer.md",
        '| `steer(…, mode="scale"',
        '| `steer(…, mode="twofold", by=2.0)` | sets the latent to 4 |\n',
    )


def _add_unit(to: Path) -> None:
    """Its record, and its name."""
    modes = to / "sae_nb" / "steering" / "modes.py"
    _insert(
        modes,
        ")\nUNITS: dict",
        '    StrengthUnit(\n        name="strongest",\n'
        "        measure=partial(strength_quantile, share=1.0),\n"
        '        stored="strongest",\n        words="× strongest",\n        many="{}× its strongest",\n'
        '        meaning="the largest of the atom\'s activations",\n'
        '        explained="strongest: as on its strongest input ({size})",\n'
        "        widest=2.0,\n        safe=1.0,\n    ),\n",
    )
    _insert(modes, "], OneOf(UNITS)]", ', "strongest"')


def _add_modality(to: Path) -> None:
    """Its record: numbers, each sample with a face of four grey squares."""
    modalities = to / "sae_nb" / "models" / "_modalities.py"
    source = modalities.read_text(encoding="utf-8")
    modalities.write_text(source + MODALITY, encoding="utf-8")


def _add_colour(to: Path) -> None:
    """One line of the theme."""
    _insert(to / "sae_nb" / "figures" / "theme.py", "\nALARM = ", '\nSKY = "#56B4E9"')


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with all six written into it."""
    to = tmp_path_factory.mktemp("additions")
    ignored = shutil.ignore_patterns(*HEAVY)
    for folder in COPIED:
        shutil.copytree(ROOT / folder, to / folder, ignore=ignored)
    for package in AS_THEY_ARE:
        shutil.rmtree(to / "sae_nb" / package)
    for name in ("pyproject.toml", "mkdocs.yml"):
        shutil.copy(ROOT / name, to / name)
    for helper in (*(ROOT / "tests").glob("*.py"), *(ROOT / "tests").glob("*.txt")):
        shutil.copy(helper, to / "tests")
    (to / "conftest.py").write_text(
        f"import sae_nb\n\nsae_nb.__path__.append({str(ROOT / 'sae_nb')!r})\n", encoding="utf-8"
    )
    for add in (_add_sae, _add_metric, _add_mode, _add_unit, _add_modality, _add_colour):
        add(to)
    return to


def _run(copy: Path, *arguments: str) -> str:
    paths = [copy, copy / "widgets", ROOT / "notebooks"]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_promises_of_the_family_hold_for_the_newcomers(copy: Path) -> None:
    """Of SAEs, modes and units of steering, and kinds of input."""
    said = _run(
        copy,
        *("-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"),
        *("tests/architectures/test_contract.py", "tests/steering/test_modes.py"),
        *("tests/activations/test_modalities.py", "-k"),
        "HalfTopK or twofold or strongest or row_in_the_docs or dials",
    )
    assert int(said.split(" passed")[0].split()[-1]) > 30, said


METRIC = """
import conftest, torch, sae_nb as sn
from sae_nb.evaluation import define
from sae_nb.figures import theme

x = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
row = sn.evaluate(sn.architectures.HalfTopK(12, 40), x)["once_fraction"]
assert 0 <= row.value <= 1 and row.control is not None and row.interval[0] <= row.interval[1]
assert define(row.definition).better == "lower" and row.unit == "atoms"
assert theme.SKY == "#56B4E9"

model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
sae = sn.TopK(12, 40, k=4)
with sn.steer(model, "0", sae, atom=3, by=2.0, mode="set", unit="strongest", acts=x) as steering:
    assert abs(steering.amount[0] - 2 * float(sae.encode(x).to_dense()[:, 3].max())) < 1e-4
"""


FACES = """
import conftest, torch, sae_nb as sn, sae_nb_widgets as sw
from sae_nb.models import register_modality

module = torch.nn.Sequential(torch.nn.Linear(8, 6))
module.modality = "dials"
model = sn.wrap(module)
rows = model.modality.examples(30, 0)
acts = sn.capture(model, rows, "0", progress=False)
browser = sw.AtomBrowser(sn.TopK(6, 12, k=2), acts, model)
assert type(browser.examples).__name__ == "PictureExamples" and "30 dials" in repr(acts.context)
assert acts.context.pictures[3, 0, 0, 1] == int(255 * rows[3, 1])
"""


def test_the_new_kind_of_input_is_shown_by_its_face(copy: Path) -> None:
    """In the browser of atoms, which knows nothing of it."""
    _run(copy, "-c", FACES)


def test_the_report_has_the_new_number(copy: Path) -> None:
    """With its definition, its control and its interval; nothing else knows of it."""
    _run(copy, "-c", METRIC)
