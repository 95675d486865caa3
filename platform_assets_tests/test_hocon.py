"""HOCON: what the specification says of each text, what is refused and where; pyhocon as a second opinion."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyhocon import ConfigFactory, ConfigTree

from platform_assets.configuration.document import Document, parse_document
from platform_assets.configuration.hocon import Period
from platform_assets.errors import SettingsError
from platform_assets_tests.fixtures.properties import examples

ROOT = Path(__file__).parent.parent
Parse = Callable[..., dict[str, Any]]


@pytest.fixture
def parse(tmp_path: Path) -> Parse:
    def parse(text: str, **others: str) -> dict[str, Any]:
        """Parse a text; others are files beside it by name, `parts__x` for parts/x.conf."""
        return parsed(tmp_path, text, **others).content

    return parse


def parsed(folder: Path, text: str, **others: str) -> Document:
    for name, content in {**others, "main": text}.items():
        file = folder / (name.replace("__", "/") + ".conf")
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return parse_document(folder / "main.conf")


def reason(folder: Path, text: str, **others: str) -> str:
    """Parse what is refused; give the message with `main` for the file's path."""
    with pytest.raises(SettingsError) as error:
        parsed(folder, text, **others)
    return str(error.value).replace(f"{folder}/main.conf", "main")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        # The braces of the root, separators, commas.
        ("", {}),
        ("# nothing\n// at all", {}),
        ("{}", {}),
        ('{"a": 1, "b": [true, null]}', {"a": 1, "b": [True, None]}),
        ("a = 1, b : 2\nc { d = 3 }", {"a": 1, "b": 2, "c": {"d": 3}}),
        ("a = [1, 2, 3,]\nb = [1\n2\n\n3\n]\nc = []", {"a": [1, 2, 3], "b": [1, 2, 3], "c": []}),
        ("{ a = 1, }", {"a": 1}),
        ("a = 1\n, b = 2\n,\nc = 3", {"a": 1, "b": 2, "c": 3}),
        ("a\n=\n1\nb\n{\n}\n", {"a": 1, "b": {}}),
        ("a = # why\n  1 // so\nb = 2 # c = 3", {"a": 1, "b": 2}),
        ("a = [ # one\n 1, # two\n // three\n 2 # four\n]", {"a": [1, 2]}),
        ("a = 1\r\nb = x\r\n", {"a": 1, "b": "x"}),
        # Keys.
        ("a.b.c = 1\na.b.d = 2\na { e = 3 }", {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
        ('a."b.c".d = 1, "".x = 2', {"a": {"b.c": {"d": 1}}, "": {"x": 2}}),
        ("a b c = 1", {"a b c": 1}),
        ('foo"10.0" = 1, 10.0foo = 2, 3.14 : 3', {"foo10.0": 1, "10": {"0foo": 2}, "3": {"14": 3}}),
        ("true = 1, null = 2, include = 3", {"true": 1, "null": 2, "include": 3}),
        ('foo include = 1, "include" = 2, a = include, b = [include]',
         {"foo include": 1, "include": 2, "a": "include", "b": ["include"]}),
        ('"""a.b""" = 1', {"a.b": 1}),
        ("a . b = 1", {"a": {"b": 1}}),
        ("größe-1_x/y = 1", {"größe-1_x/y": 1}),
        # Duplicate keys.
        ("a = 1, a = 2", {"a": 2}),
        ("a { x = 42 }, a { y = 43 }", {"a": {"x": 42, "y": 43}}),
        ("a { x = 42 }, a = null, a { y = 43 }", {"a": {"y": 43}}),
        ("a { b { x = 1 } }, a { b { x = 2, y = 3 } }, a.b.z = 4", {"a": {"b": {"x": 2, "y": 3, "z": 4}}}),
        ("a = [1], a = [2]", {"a": [2]}),
        # Unquoted texts, numbers and words.
        ("a = foo bar  baz # no", {"a": "foo bar  baz"}),
        ("a = foo//no\nb = foo/bar", {"a": "foo", "b": "foo/bar"}),
        ("a = truefoo, b = footrue, c = 10.0bar, d = bar10.0, e = true x, f = null y",
         {"a": "truefoo", "b": "footrue", "c": "10.0bar", "d": "bar10.0", "e": "true x", "f": "null y"}),
        ("a = 1, b = -2, c = 1.5, d = 1e3, e = -1.5E-2, f = 1e+2", {"a": 1, "b": -2, "c": 1.5, "d": 1000.0,
                                                                  "e": -0.015, "f": 100.0}),
        ("a = 1 2, b = 1.50 m, c = 1e5 x, d = 2024-01-31, e = 1.2.3, f = -", {
            "a": "1 2", "b": "1.50 m", "c": "1e5 x", "d": "2024-01-31", "e": "1.2.3", "f": "-"}),
        ("a = 'x y'", {"a": "'x y'"}),
        # A colon inside of a word is text, as in addresses and times.
        ("a = s3://b/c // d\nb = 12:30, c = db:5432", {"a": "s3://b/c", "b": "12:30", "c": "db:5432"}),
        # Texts in quotes.
        (r'a = "\" \\ \/ \b\f\n\r\t \u00e9 \ud83d\ude00"', {"a": "\" \\ / \b\f\n\r\t é 😀"}),
        ('a = "x # y // z, {} [] ${b}"', {"a": "x # y // z, {} [] ${b}"}),
        ('a = """x\n "y" \\n"""', {"a": 'x\n "y" \\n'}),
        ('a = """"x""""', {"a": '"x"'}),
        ('a = "", b = """"""', {"a": "", "b": ""}),
        # Values side by side.
        ('a = x "y"  z', {"a": "x y  z"}),
        ("a = {x = 1} {y = 2, x = 3}", {"a": {"x": 3, "y": 2}}),
        ("a = [1] [2, 3]", {"a": [1, 2, 3]}),
        ('a = [x y, 1 2, "p" q]', {"a": ["x y", "1 2", "p q"]}),
        # Substitutions.
        ("a = ${b}, b = 1", {"a": 1, "b": 1}),
        ("a = ${b.c}, b { c = [1, 2] }", {"a": [1, 2], "b": {"c": [1, 2]}}),
        ('a = ${"x.y"}, "x.y" = 1', {"a": 1, "x.y": 1}),
        ("a = ${b}, b = 1, b = 2", {"a": 2, "b": 2}),
        ("a = ${?b}, c = 1", {"c": 1}),
        ("a = 1, a = ${?b}", {"a": 1}),
        ("a = [1, ${?b}, 2]", {"a": [1, 2]}),
        ("a = x${?b}y ${?b} z", {"a": "xy  z"}),
        ("a = ${?b}${?c}, d = ${?b} ${?c}", {}),
        ("a = [1] ${?b} [2], c = { x = 1 } ${?b}", {"a": [1, 2], "c": {"x": 1}}),
        ("v = 1.50, a = ${v}, b = ${v} GB, t = true, c = is ${t}, n = null, d = ${n}",
         {"v": 1.5, "a": 1.5, "b": "1.50 GB", "t": True, "c": "is true", "n": None, "d": None}),
        ("a = ${b} [3], b = [1] ${c}, c = [2]", {"a": [1, 2, 3], "b": [1, 2], "c": [2]}),
        ("g { size = 6 }, e = ${g} { name = east }, f = ${g}, f { size = 7 }",
         {"g": {"size": 6}, "e": {"size": 6, "name": "east"}, "f": {"size": 7}}),
        ("a { b = ${c} }, a { b { y = 2 } }, c { x = 1 }", {"a": {"b": {"x": 1, "y": 2}}, "c": {"x": 1}}),
        ("a = ${x}, a.b = 1, x { c = 2 }", {"a": {"c": 2, "b": 1}, "x": {"c": 2}}),
        ("a = ${x}, a = 5, x { c = 2 }", {"a": 5, "x": {"c": 2}}),
        ("a { x = 1 }, a = ${?none}", {"a": {"x": 1}}),
        ("a = [ { x = ${y} } ], y = 1", {"a": [{"x": 1}], "y": 1}),
        # A key that refers to itself looks at what it was before.
        ('path = "a:b", path = ${path}":c"', {"path": "a:b:c"}),
        ("path = [a], path = ${path} [b], path = [z] ${path}", {"path": ["z", "a", "b"]}),
        ("a = ${?a}foo", {"a": "foo"}),
        ("a = 1, a = ${b}, b = ${a}", {"a": 1, "b": 1}),
        ("bar { foo = 42, baz = ${bar.foo} }", {"bar": {"foo": 42, "baz": 42}}),
        ("bar { foo = 42, baz = ${bar.foo} }, bar { foo = 43 }", {"bar": {"foo": 43, "baz": 43}}),
        ("bar { a = ${foo.d}, b = 1 }, bar.b = 3, foo { c = ${bar.b}, d = 2 }, foo.d = 4",
         {"bar": {"a": 4, "b": 3}, "foo": {"c": 3, "d": 4}}),
        ("foo { a { c = 1 } }, foo = ${foo.a}, foo { a = 2 }", {"foo": {"a": 2, "c": 1}}),
        ("a { x = 1 }, a = ${a} { y = ${a.x} }", {"a": {"x": 1, "y": 1}}),
        # A list grows by +=.
        ("a += 1, a += 2", {"a": [1, 2]}),
        ("a = [1], a += [2], a += ${b}, b = 3", {"a": [1, [2], 3], "b": 3}),
        ("a = ${b}, a += 2, b = [1]", {"a": [1, 2], "b": [1]}),
        ("a.b += x\na.b += y z", {"a": {"b": ["x", "y z"]}}),
    ],
)  # fmt: skip
def test_a_text_means_what_the_specification_says(parse: Parse, text: str, content: dict[str, Any]) -> None:
    assert parse(text) == content
    # 1, 1.0 and True are equal in Python.
    assert json.dumps(parse(text)) == json.dumps(content)


@pytest.mark.parametrize("text", ["10 seconds", "5m", "1 day", "250ms", "2 weeks", "3 mo", "1y"])
def test_a_number_with_a_unit_of_time_is_a_period_and_text_beside_other_text(parse: Parse, text: str) -> None:
    content = parse(f"a = {text}, b = {text} ago, c = ${{a}}!x".replace("!", " "))
    assert isinstance(content["a"], Period)
    assert (content["b"], content["c"]) == (f"{text} ago", f"{text} x")


@pytest.mark.parametrize("text", ["TRUE", "Null", "007", "+5", ".5", "1.50"])
def test_a_word_or_number_in_another_spelling_keeps_it_beside_text(parse: Parse, text: str) -> None:
    content = parse(f"a = {text}, b = {text} x, c = ${{a}} x")
    assert content["a"] in (True, None, 7, 5, 0.5, 1.5)
    assert content["b"] == content["c"] == f"{text} x"


@pytest.mark.parametrize("text", ["1" * 5000, "9" * 400 + ".0", "1e999"])
def test_a_number_that_no_machine_has_stays_text(parse: Parse, text: str) -> None:
    assert parse(f"a = {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("a {\n b = 1\n", "3:1", "} at the end of the block that starts in line 1"),
        ("a = [1, 2\n", "2:1", "] at the end of the list that starts in line 1"),
        ("a = [1, 2}", "1:10", "] at the end of the list"),
        ("a { b = [1] ]", "1:13", "} at the end of the block"),
        ("{ a = 1", "1:8", "} at the end of the block"),
        ("a = 1 }", "1:7", "the end of the file"),
        ("{ a = 1 } b = 2", "1:11", "the end of the file"),
        ("[1]", "1:1", "found a list at the top level"),
        ("a = 1\nb", "2:2", "= or { after a key"),
        ("a\nb = 1", "1:2", "= or { after a key"),
        ("a = ", "1:5", "a value"),
        ("a = ,", "1:5", "a value"),
        ("a = ]", "1:5", "a value"),
        ("= 1", "1:1", "a key here"),
        ("a..b = 1", "1:1", "a key here"),
        (".a = 1", "1:1", "a key here"),
        ("a. = 1", "1:1", "a key here"),
        ("${a} = 1", "1:1", "a key here"),
        ("a = 1,, b = 2", "1:7", "between two commas"),
        ("a = [1,,2]", "1:8", "between two commas"),
        ("a = [,1]", "1:6", "before this comma"),
        (", a = 1", "1:1", "a key here"),
        ("a = 1 b = 2", "1:9", "a comma or a new line"),
        ("a = {} b = 2", "1:10", "a comma or a new line"),
        ('a = "x\nb = 1', "1:5", "does not end on its line"),
        ('a = """x\nb = 1', "1:5", "does not end"),
        (r'a = "x\d"', "1:7", "after \\ expected one of"),
        (r'a = "\u12"', "1:7", "after \\ expected one of"),
        (r'a = "\ud83d"', "1:5", "half of a pair"),
        ("a = x@y", "1:6", "needs quotes"),
        ("a = *", "1:5", "needs quotes"),
        ("a = x\\y", "1:6", "needs quotes"),
        ("a = $x", "1:5", "needs quotes"),
        ("a = ${x", "1:8", "} at the end of a substitution"),
        ("a = ${x\n}", "1:8", "} at the end of a substitution"),
        ("a = ${}", "1:7", "the name of a key or of an environment variable"),
        ("a = ${b${c}}", "1:8", "} at the end of a substitution"),
        ("a = [1] x", "1:5", "stand side by side"),
        ("a = {} [1]", "1:5", "stand side by side"),
        ("a = ${b} x, b = [1]", "1:5", "stand side by side"),
        ("a = ${b} ${c}, b = [1], c {}", "1:5", "stand side by side"),
        ("a = 5, a += 1", "1:8", "+= adds to a list"),
        ("a = ${b}", "1:5", "${b} cannot be resolved: no key and no environment variable"),
        ("a = ${a}", "1:5", "${a} cannot be resolved: it refers to itself"),
        ("a = ${b}, b = ${c}, c = ${a}", "1:25", "${a} cannot be resolved: it refers to itself"),
        ("a { b = ${a} }", "1:5", "inside itself"),
        ("a = [${a}]", "1:6", "inside itself"),
        ("a = [${b}], b = [${a}]", "1:18", "inside itself"),
        ("include x", "1:10", "= or { after a key"),
        ('include required("x"', "1:21", "a name in quotes"),
        ('include file "x"', "1:17", "= or { after a key"),
        ('include "x" "y"', "1:13", "a comma or a new line"),
        ('include "main.conf"', "1:1", "includes itself"),
        ('a = 1\ninclude "b.conf"', "main2:1", "includes itself"),
    ],
)  # fmt: skip
def test_what_is_no_hocon_is_told_with_line_and_column(
    tmp_path: Path, text: str, place: str, expected: str
) -> None:
    message = reason(tmp_path, text, b='c = 1\ninclude "./main.conf"')
    if place != "main2:1":
        assert message.splitlines()[0].startswith(f"main:{place}: ")
    else:
        assert message.startswith(f"{tmp_path}/b.conf:2:1: ")
    assert expected in message


def test_all_substitutions_that_cannot_be_resolved_are_told_at_once(tmp_path: Path) -> None:
    lines = reason(tmp_path, 'a = ${x}\nb { c = [${y}] }\ninclude "no.conf"\nd = ${?z}').splitlines()
    assert [line.strip().split(" ")[0] for line in lines] == ["main:3:", "main:1:5:", "main:2:10:"]


SECRET = "hunter2"


@given(
    before=st.text(max_size=8),
    after=st.text(max_size=8),
    form=st.sampled_from(["a = {}", "{}", "a = [{}", '"{}']),
)
@settings(max_examples=examples(150))
def test_no_message_repeats_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, form: str
) -> None:
    folder = tmp_path_factory.mktemp("secret")
    text = form.replace("{}", f"{before} {SECRET} {after}")
    try:
        parsed(folder, text.encode(errors="replace").decode())
    except SettingsError as error:
        # Names of substitutions are told.
        assert SECRET not in str(error) or "${" in text  # noqa: PT017


# Includes.


def test_an_included_file_is_merged_where_it_stands(parse: Parse) -> None:
    assert parse('a { x = 1 }\ninclude "b.conf"\na.z = 3', b="a { x = 0, y = 2, z = 0 }") == {
        "a": {"x": 0, "y": 2, "z": 3}
    }
    assert parse(
        'a { include "b" , x = 1 }\n{}'.replace("\n{}", "").replace('"b"', '"b.conf"'), b="x = 0"
    ) == {"a": {"x": 1}}
    assert parse('{ include "b.conf" }', b="{ x = 0 }") == {"x": 0}


@pytest.mark.parametrize(
    "include",
    ['"parts/x.conf"', 'file("parts/x.conf")', 'required("parts/x.conf")', 'required( file("parts/x.conf" ))',
     '\n # here\n "parts/x.conf"', '"parts/[x].conf"'],
)  # fmt: skip
def test_a_name_starts_from_the_folder_of_the_file(parse: Parse, include: str) -> None:
    others = {
        "parts__x": 'x = 1, include "y.conf"',
        "parts__[x]": "x = 1, y = 2",
        "parts__y": "y = 2",
        "y": "y = 0",
    }
    assert parse(f"include {include}", **others) == {"x": 1, "y": 2}


def test_a_pattern_includes_files_in_the_order_of_their_names(parse: Parse) -> None:
    others = {
        "parts__b": "x = b, b = 1",
        "parts__a": "x = a, a = 1",
        "parts__c": "x = c",
        "parts__d": "x = d",
    }
    assert parse('include "parts/[ab]*.conf"', **others)["x"] == "b"
    assert parse('include "**/?.conf", y = 1', **others) == {"x": "d", "a": 1, "b": 1, "y": 1}


def test_names_of_an_included_file_are_its_own_first_and_then_those_around_it(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Z_IN_TEST", "env")
    text = 'a { include "b.conf" }, x = 0, y = 1'
    assert parse(text, b="x = 10, p = ${x}, q = ${y}, r = ${Z_IN_TEST}")["a"] == {
        "x": 10, "p": 10, "q": 1, "r": "env",
    }  # fmt: skip
    assert parse('a { include "b.conf" }, a { x = 42 }', b="x = 10, p = ${x}")["a"] == {"x": 42, "p": 42}
    deep = parse(
        'a { include "b.conf" }, v = 1, w = 1', b='c { include "c.conf" }, w = 2', c="p = ${v}, q = ${w}"
    )
    assert deep["a"]["c"] == {"p": 1, "q": 2}


def test_a_block_in_a_list_includes_too(parse: Parse) -> None:
    text = 'l = [ { include "b.conf" }, { include "b.conf", x = 2 } ], y = 3'
    assert parse(text, b="x = 1, p = ${x}, q = ${y}") == {
        "l": [{"x": 1, "p": 1, "q": 3}, {"x": 2, "p": 2, "q": 3}], "y": 3,
    }  # fmt: skip


def test_defaults_in_an_included_file_stay_where_the_environment_has_nothing(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    included = "port = 5432, port = ${?PORT_IN_TEST}, c { port = 1, port = ${?PORT_IN_TEST} }"
    text = 'include "b.conf", c.x = 1, c { include "b.conf" }'
    assert parse(text, b=included)["port"] == 5432
    assert parse(text, b=included)["c"] == {"port": 5432, "x": 1, "c": {"port": 1}}
    monkeypatch.setenv("PORT_IN_TEST", "7")
    assert parse(text, b=included)["c"]["c"] == {"port": "7"}


@pytest.mark.parametrize(
    ("include", "told"),
    [
        ('"no.conf"', "/no.conf (No such file or directory)"),
        ('required(file("no.conf"))', "/no.conf (No such file or directory)"),
        ('"."', " (Is a directory)"),
        ('"latin.conf"', "/latin.conf (it is not UTF-8 text)"),
        ('"*.txt"', "/*.txt (no file matches)"),
        ('url("https://me:hunter2@x.org/a.conf")', "https://***@x.org/a.conf (only files can be included)"),
        ('"https://x.org/a.conf"', "https://x.org/a.conf (only files can be included)"),
        ('package("pkg:a.conf")', "pkg:a.conf (only files can be included)"),
        ('classpath("a.conf")', "a.conf (only files can be included)"),
    ],
)
def test_an_include_that_cannot_be_read_is_a_mistake_beside_the_rest(
    tmp_path: Path, include: str, told: str
) -> None:
    (tmp_path / "latin.conf").write_bytes(b"x = \xe9")
    document = parsed(tmp_path, f"a = 1\nb {{\n include {include}\n c = 2 }}")
    assert document.content == {"a": 1, "b": {"c": 2}}
    (line,) = map(str, document.unread)
    assert line.startswith(f"{tmp_path}/main.conf:3: b: found an include of ")
    assert f"{told}; expected " in line
    assert "hunter2" not in line


def test_an_included_file_must_be_one_of_keys_and_hocon(tmp_path: Path) -> None:
    assert "b.conf:1:1: found a list at the top level" in reason(tmp_path, 'include "b.conf"', b="[1]")
    assert "b.conf:2:1: this is not HOCON" in reason(tmp_path, 'include "b.conf"', b="a {\n")


# Places and variables.


def test_every_value_knows_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT_IN_TEST", raising=False)
    text = """
        port = 1
        port = ${?PORT_IN_TEST}
        tasks = [
          { id = a }, ${?NOTHING_IN_TEST}
          { id = b
            args { script = x } }
        ]
        copy = ${tasks}
        part { include "part.conf" }
        part.z = ${?NOTHING_IN_TEST}
        more = ${part} {
          k = 1
        }
    """
    document = parsed(tmp_path, text, part="x = 1\ny { z = 2 }")
    main, part = tmp_path / "main.conf", tmp_path / "part.conf"
    assert document.content["part"] == {"x": 1, "y": {"z": 2}}
    for key, place in {
        (): (main, None),
        ("nothing", "x"): (main, None),
        ("port",): (main, 2),
        ("tasks",): (main, 4),
        ("tasks", 0): (main, 5),
        ("tasks", 1): (main, 6),
        ("tasks", 1, "args", "script"): (main, 7),
        ("tasks", 1, "absent"): (main, 6),
        ("tasks", 2): (main, 4),
        ("copy",): (main, 9),
        ("copy", 1, "args", "script"): (main, 7),
        ("part", "x"): (part, 1),
        ("part", "y", "z"): (part, 2),
        ("part", "z"): (main, 11),
        ("part", "absent"): (main, 10),
        ("more", "k"): (main, 13),
        ("more", "y", "z"): (part, 2),
    }.items():
        assert document.place(key) == place, key
    monkeypatch.setenv("PORT_IN_TEST", "2")
    assert parsed(tmp_path, text).place(("port",)) == (main, 3)


def test_the_variables_that_a_value_refers_to_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B_IN_TEST", "x")
    text = (
        'a { b = 1, b = ${?A_IN_TEST}, b = ${?B_IN_TEST}"!" }, l = [ ${?A_IN_TEST}, ${?B_IN_TEST} ], c = ${a}'
    )
    document = parsed(tmp_path, text)
    assert document.variables(("a", "b")) == ("A_IN_TEST", "B_IN_TEST")
    assert document.variables_set(("a", "b")) == ["B_IN_TEST"]
    assert document.variables(("l", 0)) == ("B_IN_TEST",)
    assert document.variables(("a", "absent")) == document.variables(("a",)) == ()
    assert document.all_variables() == {("a", "b"): ("A_IN_TEST", "B_IN_TEST"), ("c",): ("a",)}


def test_a_name_that_is_given_is_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TODAY_IN_TEST", "no")
    (tmp_path / "main.conf").write_text("a = ${TODAY_IN_TEST}")
    document = parse_document(tmp_path / "main.conf", {"TODAY_IN_TEST": "2040-01-01"})
    assert document.content == {"a": "2040-01-01"}
    assert document.variables(("a",)) == ()


def test_null_hides_a_variable(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDEN_IN_TEST", "x")
    assert parse("HIDDEN_IN_TEST = null, a = ${HIDDEN_IN_TEST}")["a"] is None
    assert parse("HIDDEN_IN_TEST = ${?HIDDEN_IN_TEST}y") == {"HIDDEN_IN_TEST": "xy"}


# Bounds.


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{ x = " * 100_000,
        "a." * 5000 + "b = 1",
        ("a." * 60 + "b { ") * 3,
        "\n".join(f"a{n} = ${{a{n + 1}}}" for n in range(5000)) + "\na5000 = 1",
        "\n".join(f"a{n} {{ x = ${{a{n + 1}}} }}" for n in range(5000)) + "\na5000 = 1",
        "a = 1\n" + "a = ${a} x\n" * 5000,
        "a0 = xxxxxxxxxx\n" + "\n".join(f"a{n + 1} = ${{a{n}}}${{a{n}}}" for n in range(40)),
        "a0 = [x]\n" + "\n".join(f"a{n + 1} = [${{a{n}}}, ${{a{n}}}]" for n in range(40)),
        "a0 { x = 1 }\n" + "\n".join(f"a{n + 1} {{ x = ${{a{n}}}, y = ${{a{n}}} }}" for n in range(40)),
        "\n".join(f"a{n} = ${{?a{(n + 1) % 40}}}${{?a{(n + 7) % 40}}}x" for n in range(40)),
    ],
)
def test_a_document_without_bounds_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as error:
        parsed(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/main.conf:")


def test_files_that_include_without_bounds_are_refused(tmp_path: Path) -> None:
    twice = {f"f{n}": f'include "f{n + 1}.conf", a {{ include "f{n + 1}.conf" }}' for n in range(19)}
    assert "more than 1000 files" in reason(tmp_path, 'include "f0.conf"', **twice, f19="x = 1")
    chain = {f"f{n}": f'include "f{n + 1}.conf"' for n in range(100)}
    assert "includes itself" in reason(tmp_path, 'include "f0.conf"', **chain)
    (tmp_path / "main.conf").write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    with pytest.raises(SettingsError, match="larger than 16 MiB"):
        parse_document(tmp_path / "main.conf")


def test_what_only_grows_long_is_read(parse: Parse) -> None:
    assert parse("a += x\n" * 5000) == {"a": ["x"] * 5000}
    assert len(parse("\n".join(f"a.k{n} = ${{b}}" for n in range(5000)) + "\nb = 1")["a"]) == 5000
    nested = "{ x = " * 90 + "1" + " }" * 90
    assert json.dumps(parse(f"a = {nested}, b = ${{a}}")["b"]).count("x") == 90


SAMPLE = r"""
# A sample of everything.
a { b.c = [1, 2.5, -3e2, true, null, x y, "q\n\u00e9", "two\\"] } // and more
"key with . and #" : ${a.b.c} [ ${?HOME}, { d = ${a.b.c} } ]
e = foo ${?f} bar, e = ${e}${?g}
e2 += 1
text = "multi "line" text" include = 5
m = {"json": {"x": [{}, []]}}, n = s3://bucket/key
""".replace('"multi "line" text" include', '"""multi "line"\n text"""\ninclude')


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_each_beginning_of_a_file_is_read_or_refused(tmp_path: Path, line_end: str) -> None:
    text = SAMPLE.replace("\n", line_end)
    outcomes = set()
    for length in range(len(text) + 1):
        try:
            parsed(tmp_path, text[:length])
            outcomes.add("read")
        except SettingsError as error:
            assert str(error).startswith(f"{tmp_path}/main.conf:")  # noqa: PT017
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
    assert parsed(tmp_path, text).content["text"] == 'multi "line"\n text'


@given(text=st.text(st.sampled_from('ab1.{}[]=:,+"\n# ${?}\\/e-u*'), max_size=40))
@settings(max_examples=examples(2000))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        parsed(folder, text)
    except SettingsError as error:
        assert str(error).startswith(f"{folder}/main.conf:")  # noqa: PT017


# JSON, and pyhocon.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(), JSON), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
@settings(max_examples=examples(200))
def test_json_means_the_same(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parsed(tmp_path_factory.getbasetemp(), text).content == json.loads(text)


NAMES = ["a", "b", "c", "dd"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(".".join)
SCALARS = st.sampled_from(
    ["1", "-2", "1.5", "true", "null", "x", "x y", '"q"', '"q # , }"', '"""m "n" """', "0.25", "x/y", "x-1"]
)


SEPARATORS = st.sampled_from(["\n", ", ", " # c\n"])


def first_name(member: tuple[str, str]) -> str:
    return member[0].partition(".")[0]


def block(members: list[tuple[str, str]], separator: str = ", ") -> str:
    return separator.join(f"{path} = {value}" for path, value in members)


def blocks(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(PATHS, values), max_size=3, unique_by=first_name)
    return members.map(lambda chosen: f"{{ {block(chosen)} }}")


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]") | blocks(inner),
    max_leaves=6,
)
FLAT = st.lists(st.tuples(st.sampled_from(NAMES), SCALARS), max_size=3)
# Each key refers to what is set once and after it: pyhocon resolves that well.
REFERRING = st.sampled_from(["${z}", "${?none}", "x ${z}", "${z} x", "${y.k}", "${y}", "${l}"])


def of_pyhocon(text: str) -> Any:
    return plain(ConfigFactory.parse_string(text))


def plain(value: Any) -> Any:
    if isinstance(value, ConfigTree):
        return {key.strip('"'): plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return None if type(value).__name__ == "NoneValue" else value


@given(members=st.lists(st.tuples(PATHS, VALUES), max_size=5, unique_by=first_name), separator=SEPARATORS)
@settings(max_examples=examples(150))
def test_what_pyhocon_reads_well_means_the_same(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, str]], separator: str
) -> None:
    text = block(members, separator)
    assert parsed(tmp_path_factory.getbasetemp(), text).content == of_pyhocon(text)


@given(several=st.lists(st.tuples(st.sampled_from(NAMES), FLAT), max_size=5), separator=SEPARATORS)
@settings(max_examples=examples(200))
def test_blocks_are_merged_as_pyhocon_merges_them(
    tmp_path_factory: pytest.TempPathFactory, several: list[tuple[str, list[tuple[str, str]]]], separator: str
) -> None:
    text = block([(name, f"{{ {block(members)} }}") for name, members in several], separator)
    assert parsed(tmp_path_factory.getbasetemp(), text).content == of_pyhocon(text)


@given(values=st.lists(REFERRING, min_size=1, max_size=4))
@settings(max_examples=examples(200))
def test_substitutions_that_pyhocon_resolves_well_mean_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    text = "\n".join(f"{name} = {value}" for name, value in zip(NAMES, values, strict=False))
    text += "\nz = zed\ny { k = 5, m { n = true } }\nl = [1, two]\n"
    assert parsed(tmp_path_factory.getbasetemp(), text).content == of_pyhocon(text)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r'a = "\u00e9\/"', {"a": "é/"}),  # escapes that pyhocon leaves as they are
        ("a = 1.50, b = ${a} m", {"a": 1.5, "b": "1.50 m"}),  # a number is not as it was written
        ("a = true x", {"a": "true x"}),  # "True" in front of text
        ("a = ${?none} b", {"a": " b"}),  # white space is lost with what is missing
        ("a += x, a += y", {"a": ["x", "y"]}),  # joined to a text
        ("a = 10 days ago", {"a": "10 days ago"}),  # the period's representation
        ("a = b//c", {"a": "b"}),  # no comment without a space
    ],
)
def test_where_pyhocon_differs_from_the_specification_the_specification_wins(
    parse: Parse, text: str, content: dict[str, Any]
) -> None:
    assert parse(text) == content
    try:
        theirs = of_pyhocon(text)
    except Exception:  # noqa: BLE001 - it fails in many ways
        theirs = None
    assert theirs != content


def test_the_shipped_configuration_means_the_same_to_pyhocon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        monkeypatch.delenv(name)
    for file in [ROOT / "config" / "platform.conf", ROOT / "config" / "sources" / "shop.conf.example"]:
        theirs = plain(ConfigFactory.parse_string(file.read_text(encoding="utf-8"), basedir=str(file.parent)))
        assert parse_document(file).content == theirs
        assert not math.isnan(len(theirs))
