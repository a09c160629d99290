"""The course's commands for a class: `student` writes copies without answers, `collect` gathers what returned
notebooks say, `mark` judges their answers again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sae_nb_lessons.classroom import collect, mark, student_copy


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 2 when it was asked wrongly."""
    parser = argparse.ArgumentParser(prog="python -m sae_nb_lessons", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    copies = commands.add_parser("student", help="write the lessons into a new folder")
    copies.add_argument("folder", type=Path)
    for name, what in (("collect", "read what they say"), ("mark", "judge their answers again")):
        asked = commands.add_parser(name, help=f"returned notebooks: {what}, as a table and a page")
        asked.add_argument("folder", type=Path, help="of nbgrader or Canvas; a zip will do")
        asked.add_argument("--to", type=Path, help="where the table goes; beside the notebooks")
        if name == "mark":
            asked.add_argument(
                "--seconds", type=float, default=300, help="most for one notebook's cells (300)"
            )
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "student":
            print(student_copy(parsed.folder))
        elif parsed.command == "collect":
            print(collect(parsed.folder, to=parsed.to))
        else:
            print(mark(parsed.folder, to=parsed.to, seconds=parsed.seconds))
    except (OSError, ValueError, TypeError) as error:  # ours: rule, given, do
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
