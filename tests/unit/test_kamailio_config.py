"""Mistakes that Kamailio takes without a word, looked for in its configuration."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipstack.paths import ROOT

FILES = sorted((ROOT / "files/kamailio/etc").rglob("*.cfg"))
# A call of a module's function, and no pseudo-variable, transformation or statement.
_CALL = re.compile(r"(?<![\w$.@{])(?!(?:if|while|switch|return|route)\b)([a-z_]\w*)\(")
_COMPARED = re.compile(r"\s*(?:[<>]=?|[=!]=)\s*-?\s*\d")
_COMPARES = re.compile(r"-?\d\s*(?:[<>]=?|[=!]=)\s*$")


def compared(text: str) -> Iterator[tuple[int, str]]:
    """Where the value of a function is compared with a number: line and name."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: "x" * len(found[0]), text)
    text = re.sub(r"#.*", "", text)
    for call in _CALL.finditer(text):
        depth, end = 1, call.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        if _COMPARED.match(text, end) or _COMPARES.search(text, 0, call.start()):
            yield text.count("\n", 0, call.start()) + 1, call[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_function_is_compared_with_a_number(path: Path) -> None:
    """Inside an expression a function that fails is 0, whatever it returns: only `$var(x) = function();` keeps that."""
    assert list(compared(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('if (sql_query("db", "$var(query)") < 0) return;', ["sql_query"]),
        ('if ($x && lookup("location", "(") == -1) {', ["lookup"]),
        ("while (0 > f(g(1))) {", ["f"]),
        ("if (-1 == save()) exit;", ["save"]),
        ("$var(written) = sql_query(); if ($var(written) < 0) return;", []),
        ("if ($shtinc(rate=>x) <= 10 && $(var(id){s.int}) == 1) exit;", []),
        ("if (!lookup(x) || f() && $var(i) < 0) exit; # if (f() < 0)", []),
        ("if ($TS < $(sel(cfg_get.config.hold_until){s.int})) exit;", []),
    ],
)
def test_what_is_taken_for_that(line: str, found: list[str]) -> None:
    assert [name for _, name in compared(line)] == found


SILENT = {
    # Nothing is put into an expression that stands in quotes: it is compiled at the start.
    "a variable in an expression": re.compile(r'=~\s*"[^"\n]*\$\w+\('),
    "a variable in a string that is compared": re.compile(
        r'"[^"\n]*\$[a-z][^"\n]*"\s*[=!]=|[=!]=\s*"[^"\n]*\$[a-z]',
    ),
    # A $var is never null: it is 0 once null was given to it. $vn and tables can be.
    "a variable compared with null": re.compile(r"\$var\(\w+\)\s*[=!]=\s*\$null"),
}


@pytest.mark.parametrize("mistake", SILENT)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_configuration_has_none_of_them(path: Path, mistake: str) -> None:
    assert not SILENT[mistake].search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("mistake", "wrong", "right"),
    [
        (
            "a variable in an expression",
            'if ($var(left) =~ " $var(ruid) ") exit;',
            'if ($var(left) =~ "a$" && $var(x) =~ $var(y)) exit;',
        ),
        (
            "a variable in a string that is compared",
            'if ("sip:$rd:$rp" == $vn(other)) exit;',
            'if ($x == "a" && $y == "" || f("$var(x)", "$du") || $z == "b") exit;',
        ),
        (
            "a variable compared with null",
            "if ($var(owner) == $null) exit;",
            "if ($vn(owner) == $null || $sht(peers=>$var(x)) != $null) $var(x) = $null;",
        ),
    ],
)
def test_they_are_told_apart(mistake: str, wrong: str, right: str) -> None:
    assert SILENT[mistake].search(wrong)
    assert not SILENT[mistake].search(right)
