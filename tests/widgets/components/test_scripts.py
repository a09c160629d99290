"""The modules of the components: whole on their own, without what they do not use, and the same program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components._scripts import (
    _TEXTS,
    _shared_parts,
    _whole,
    _without_blanks,
    script,
)
from sae_nb_widgets.components._shortening import short_names

STATIC = Path(sw.__file__).parent / "static"
MODULES = sorted(
    path.stem
    for path in STATIC.glob("*.js")
    if "export default" in path.read_text(encoding="utf-8") and path.stem != "row_of_controls"
)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("const a = b + +c;  // why\n", "const a=b + +c;\n"),
        ('const a = "x // {  y }";\n', 'const a="x // {  y }";\n'),
        (
            "const a = `${b ? `${c} · ` : 1} : ${ d }`;\n",
            "const a=`${b ? `${c} · ` : 1} : ${ d }`;\n",
        ),
        ("x = y && / ?\\(a, b\\)$/.test(z);\n", "x=y&&/ ?\\(a, b\\)$/.test(z);\n"),
        ("x = a / b / c;\n", "x=a / b / c;\n"),
        ("if (a) {\n  // no\n  b();\n}\nc();\n", "if(a){\nb();}c();\n"),
        ("/* two\n   lines */\na(b,\n  c);\n", "a(b,c);\n"),
        ("return a\n  .b();\n", "return a\n.b();\n"),
    ],
)
def test_blanks_and_comments_go_and_texts_stay(given: str, left: str) -> None:
    """Texts, templates, one inside another, and patterns are as they were; numbers keep their signs."""
    assert _without_blanks(given) == left


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_what_it_uses_and_no_more(name: str) -> None:
    """Of the shared functions each that is called is there, once, and none that is not."""
    text = _whole(name)
    own = (STATIC / f"{name}.js").read_text(encoding="utf-8")
    for shared in _shared_parts():
        written = re.findall(rf"(?:function|const) {shared}\b", text)
        called = re.findall(rf"(?<!function )(?<!const )(?<![.\w]){shared}\b(?!\(\{{)", text)
        assert len(written) == bool(called), shared
    assert len(text) < len(own) + 6_500
    assert "\n//" not in text


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("const one=1;f(one,one.one);\n", "const one=1;f(one,one.one);\n"),
        ("const one=1;f(one);\n", "const a=1;f(a);\n"),
        ("const {one,two}=x;f(one,two);\n", "const {one,two}=x;f(one,two);\n"),
        ("const f2=(one,two)=>[one,...two];\n", "const c=(a,b)=>[a,...b];\n"),
        ("const one=1;f({one:2},'one');\n", "const one=1;f({one:2},'one');\n"),
        ("const one=1;f(`one ${one}`);\n", "const a=1;f(`one ${a}`);\n"),
        ("const one=1;f(`${`${one} ${'one'}`}`);\n", "const a=1;f(`${`${a} ${'one'}`}`);\n"),
        ("function one(){}return {one(){}};\n", "function one(){}return {one(){}};\n"),
        ("const a=1,[two,three]=b;f(two);\n", "const a=1,[two,three]=b;f(two);\n"),
    ],
)
def test_names_are_short_where_they_can_be_nothing_but_variables(given: str, left: str) -> None:
    """Properties, keys, words in braces and texts keep theirs; a new name is one that stands nowhere."""
    assert short_names(given, _TEXTS) == left


@pytest.mark.parametrize("name", MODULES)
def test_shorter_names_leave_the_program(name: str) -> None:
    """One new name for each old one, everywhere, and none for two; texts and properties are as they were."""
    before, after = _whole(name), script(name)
    assert len(after) < 0.97 * len(before)
    words = re.compile(r"\w+|[^\w\s]")
    old, new = words.findall(before), words.findall(after)
    assert len(old) == len(new)
    renamed = {(a, b) for a, b in zip(old, new) if a != b}
    assert len({a for a, _ in renamed}) == len(renamed) == len({b for _, b in renamed})
    assert not {b for _, b in renamed} & set(words.findall(_TEXTS.sub("", before)))
    assert [p for p in _TEXTS.findall(before) if p[0] in "\"'"] == [
        p for p in _TEXTS.findall(after) if p[0] in "\"'"
    ]
    assert re.findall(r"(?<!\.)\.\w+", re.sub(_TEXTS, "", before)) == re.findall(
        r"(?<!\.)\.\w+", re.sub(_TEXTS, "", after)
    )
