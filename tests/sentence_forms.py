"""Print every sentence form of the panels beside its condition, read from their code.

    python -m tests.sentence_forms [PANEL ...]

Read are the functions of `_words.py` and its like in the folders of `sae_nb_widgets` that return text. A condition is
that of the branches that lead to the form; what an earlier branch returned on is "not" so.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PANELS = Path(__file__).parents[1] / "widgets" / "sae_nb_widgets"
WHERE = ("_words.py", "_verdicts.py", "_views.py", "_gallery.py", "_score.py", "_detail.py")
"""Files of a panel's folder in which sentences stand."""

FEWEST_WORDS = 2
"""Words of its own from which a text counts as a sentence."""


_ENDS = (ast.Return, ast.Raise, ast.Continue)


@dataclass(frozen=True)
class Form:
    """One way in which a panel puts something."""

    panel: str
    function: str
    conditions: tuple[str, ...]
    text: str
    """As in the code: what is filled in stands in braces."""


def forms_of(code: str, panel: str = "") -> list[Form]:
    """Return the forms in some code.

    >>> for form in forms_of("def f(n: int) -> str:\\n    if n:\\n        return f'There are {n} left'\\n"
    ...                      "    return 'There are none left'"):
    ...     print(form.conditions, form.text)
    ('n',) There are {n} left
    ('not n',) There are none left
    """
    found = []
    for function in ast.walk(ast.parse(code)):
        if not isinstance(function, ast.FunctionDef) or function.returns is None:
            continue
        if "str" not in ast.unparse(function.returns):
            continue
        for conditions, text in _said(function.body, ()):
            if len([word for word in _plain(text).split() if word.isalpha()]) >= FEWEST_WORDS:
                found.append(Form(panel, function.name, conditions, text))
    return found


def all_forms() -> list[Form]:
    """Return the forms of every panel, panel by panel."""
    files = sorted(file for file in PANELS.glob("*/*.py") if file.name in WHERE)
    return [
        form
        for file in files
        for form in forms_of(file.read_text(encoding="utf-8"), file.parent.name)
    ]


def _said(
    body: list[ast.stmt], conditions: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what statements put into words, with the conditions under which each is reached."""
    for one in body:
        if isinstance(one, ast.If):
            test, otherwise = ast.unparse(one.test), _negated(one.test)
            yield from _said(one.body, (*conditions, test))
            yield from _said(one.orelse, (*conditions, otherwise))
            if isinstance(one.body[-1], _ENDS):
                conditions = (*conditions, otherwise)
            elif one.orelse and isinstance(one.orelse[-1], _ENDS):
                conditions = (*conditions, test)
        elif isinstance(one, ast.For | ast.While | ast.With):
            yield from _said(one.body, conditions)
        elif isinstance(one, ast.Return | ast.Assign | ast.AugAssign | ast.AnnAssign):
            yield from () if one.value is None else _texts(one.value, conditions)


def _texts(value: ast.expr, conditions: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, ast.IfExp):
        yield from _texts(value.body, (*conditions, ast.unparse(value.test)))
        yield from _texts(value.orelse, (*conditions, _negated(value.test)))
    elif isinstance(value, ast.JoinedStr):
        yield conditions, _template(value)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield conditions, value.value
    else:
        for child in ast.iter_child_nodes(value):
            if isinstance(child, ast.expr):
                yield from _texts(child, conditions)


def _template(text: ast.JoinedStr) -> str:
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
        for part in text.values
        if isinstance(part, ast.Constant | ast.FormattedValue)
    )


def _negated(test: ast.expr) -> str:
    """Return the contrary of a condition, without two "not".

    >>> _negated(ast.parse("not n", mode="eval").body), _negated(ast.parse("a or b", mode="eval").body)
    ('n', 'not (a or b)')
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return ast.unparse(test.operand)
    simple = isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
    return f"not {ast.unparse(test)}" if simple else f"not ({ast.unparse(test)})"


def _plain(text: str) -> str:
    """Return a template without what is filled in."""
    plain, depth = "", 0
    for sign in text:
        depth += (sign == "{") - (sign == "}")
        plain += "" if depth or sign == "}" else sign
    return plain


def main(names: list[str]) -> int:
    """Print the table as Markdown."""
    forms = [form for form in all_forms() if not names or form.panel in names]
    print(f"{len(forms)} forms\n\n| panel | form | said where |\n| --- | --- | --- |")
    for form in forms:
        where = "; ".join(form.conditions) or "always"
        cells = (f"{form.panel}: {form.function}", form.text, where)
        print(
            "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
