"""The toolkit's own commands: `python -m sae_nb doctor` prints what this machine can do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 1 when something essential does not work."""
    parser = argparse.ArgumentParser(prog="python -m sae_nb", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("doctor", help="what this machine can do, and how to fix the rest")
    asked.add_argument("checks", nargs="*", help="only these; none means all")
    asked.add_argument("--json", action="store_true", help="print plain data, for a bug report")
    parsed = parser.parse_args(arguments)
    return _doctor(parsed.checks, as_json=parsed.json)


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


if __name__ == "__main__":
    sys.exit(main())
