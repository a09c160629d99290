"""Makes calls with one wrong argument each, in a process that may hang, abort or run out of memory.

Run as `python worker.py FOLDER`: a case's name comes in as a line, what came of it goes out as a line of JSON.
"""

from __future__ import annotations

import contextlib
import dis
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

OURS = ("sae_nb", "sae_nb_widgets", "sae_nb_studies")
SECONDS = 30.0
"""Of processor time that a call may take: on a busy machine a clock would blame the neighbours."""

MEMORY_BYTES = 24 * 2**30
"""Of address space: a request that is not refused ends in an error here, and not in the whole machine."""

NONE, VALID = "no argument", "valid"
"""Names of the case in which nothing is wrong."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: `works`, `named`, `silent` (on which argument), `raw`, `late`, `died` or `not shown`."""

    case: str
    kind: str
    error: str = ""
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind:7} {self.case}: {self.error} {self.where}".rstrip()


class Late(BaseException):
    """The call's processor time is up."""


def _too_late(*_: object) -> None:
    raise Late


@cache
def _calls() -> dict[str, Any]:
    from calls import calls

    return {call.name: call for call in calls()}


def cases() -> list[str]:
    """Return the name of every case: callable, argument, wrong value."""
    names = []
    for name, call in _calls().items():
        names.append(f"{name} | {NONE} | {VALID}")
        for argument, parameter in call.signature.parameters.items():
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if argument != "self" and not several:
                names += [f"{name} | {argument} | {value}" for value in call.wrong(argument)]
    return names


def outcome(case: str) -> Outcome:
    """Make the call of one case and judge what it raised."""
    name, argument, value = case.split(" | ")
    call = _calls()[name]
    given = call.given()
    if not given:
        return Outcome(case, "not shown")
    if argument != NONE:
        valid = given.get(argument, call.signature.parameters[argument].default)
        given[argument] = call.wrong(argument)[value](valid)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        _run(call.function, call.signature, given)
    except Late:
        return Outcome(case, "late")
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is counted
        signal.setitimer(signal.ITIMER_PROF, 0)
        return _judged(case, argument, given.get(argument), error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return Outcome(case, "works")


def _run(function: Any, signature: Any, given: dict[str, Any]) -> None:
    """Call, and use what comes: what is lazy is entered, drawn from, waited for."""
    positional = [
        given.pop(name)
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.POSITIONAL_ONLY and name in given
    ]
    several = [n for n, p in signature.parameters.items() if p.kind is p.VAR_POSITIONAL]
    for name in several:
        if name in given:
            positional.append(given.pop(name))
    made = function(*positional, **given)
    if isinstance(made, Iterator):
        next(made, None)
    elif hasattr(made, "batches") and hasattr(made, "d_in") and not hasattr(made, "x"):
        next(made.batches(4, seed=0))
    elif hasattr(made, "stop") and not hasattr(made, "close"):
        made.stop()
        made.wait(SECONDS)
    elif hasattr(made, "recipe") and hasattr(made, "__enter__"):
        with made:
            pass
    if hasattr(made, "close") and type(made).__module__.startswith(OURS):
        made.close()


def _judged(case: str, argument: str, value: Any, error: BaseException) -> Outcome:
    """An error is named if our own `raise` made it, and it says of which argument it speaks."""
    frames = list(_frames(error.__traceback__))
    frame, instruction = frames[-1]
    package = frame.f_globals.get("__name__", "").split(".")[0]
    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    message = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    raised = dis.opname[frame.f_code.co_code[instruction]] in ("RAISE_VARARGS", "RERAISE")
    if package not in OURS or not raised:
        return Outcome(case, "raw", message, where)
    return Outcome(
        case, "named" if _mentions(str(error), argument, value) else "silent", message, where
    )


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lasti
        traceback = traceback.tb_next


def _mentions(message: str, argument: str, value: Any) -> bool:
    """Whether the argument is spoken of: by its name, in words, or by what was given."""
    words = [argument, argument.replace("_", " "), argument.rstrip("s")]
    if any(re.search(rf"\b{re.escape(word)}", message) for word in words if word):
        return True
    shown = [repr(value)[:40], str(value)[:40]] if value is not None else ["None"]
    return any(len(text) > 1 and text in message for text in shown)


@contextlib.contextmanager
def _clean_folder(folder: Path) -> Iterator[None]:
    """An empty folder to be in, with a file and a folder in it; nothing is written to the terminal."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "a_file").write_text("not a folder")
    (folder / "a_folder").mkdir()
    (folder / "a_folder" / "note.txt").write_text("something of yours")
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def main(folder: Path) -> None:
    """Judge the cases whose names come in, until none comes."""
    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _too_late)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        case = line.rstrip("\n")
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the generator that a call falls back on
        random.seed(0)
        began = time.process_time()
        with _clean_folder(folder / "here"):
            try:
                found = outcome(case)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is counted
                found = Outcome(
                    case, "raw", f"no valid call: {type(error).__name__}: {error}"[:200]
                )
        taken = {"seconds": round(time.process_time() - began, 3)}
        print(json.dumps(asdict(found) | taken), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
