"""Accepted findings of `dlp scan`: a baseline, comments, .dlpignore, and the hook before a commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from platform_assets.dlp.accepted import IgnoreFiles
from platform_assets.dlp.command import app as dlp_app

ROOT = Path(__file__).parents[2]
MAIL = "gwen.harper@company-mail.com"
OTHER = "owen.fletcher@company-mail.com"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contacts.py").write_text(f'customer = "{MAIL}"\n')
    (tmp_path / "clean.txt").write_text("nothing to see here\n")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(dlp_app, ["scan", *arguments])


def found(*arguments: str) -> dict[str, dict[str, int]]:
    done = run(*arguments, "--format", "json")
    assert done.exit_code in (0, 1), done.output
    results = json.loads(done.stdout)["results"]
    counts = {one["name"]: {name: tally["count"] for name, tally in one["counts"].items()} for one in results}
    assert {name for name, tallies in counts.items() if tallies} == {
        one["name"] for one in results if one["findings"]
    }
    return {name: tallies for name, tallies in counts.items() if tallies}


def test_what_a_baseline_accepts_is_not_found_and_anything_new_is(here: Path) -> None:
    done = run(".", "--baseline", "accepted.json", "--accept")
    assert (done.exit_code, "1 finding accepted." in done.output) == (0, True)
    assert run(".", "--baseline", "accepted.json").exit_code == 0
    # Lines move, and values are repeated: the finding stays the accepted one.
    (here / "contacts.py").write_text(f'import this\n\ncustomer = "{MAIL}"\nowner = "{MAIL}"\n')
    assert run(".", "--baseline", "accepted.json").exit_code == 0
    (here / "contacts.py").write_text(f'customer = "{MAIL}"\nowner = "{OTHER}"\n')
    assert found(".", "--baseline", "accepted.json") == {"contacts.py": {"EMAIL_ADDRESS": 1}}
    # The same value in another file is another finding.
    shutil.copy(here / "contacts.py", here / "copy.py")
    assert found(".", "--baseline", "accepted.json")["copy.py"] == {"EMAIL_ADDRESS": 2}


def test_a_baseline_is_about_files_from_its_own_folder_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "inner").mkdir()
    (here / "inner" / "more.py").write_text(f'owner = "{OTHER}"\n')
    run(".", "--baseline", "accepted.json", "--accept")
    assert set(json.loads((here / "accepted.json").read_text())["accepted"]) == {
        "contacts.py",
        "inner/more.py",
    }
    monkeypatch.chdir(here / "inner")
    assert run("more.py", "--baseline", "../accepted.json").exit_code == 0
    assert run(str(here / "contacts.py"), "--baseline", "../accepted.json").exit_code == 0


def test_accepting_again_keeps_the_key_and_drops_what_is_gone(here: Path) -> None:
    (here / "more.py").write_text(f'owner = "{OTHER}"\n')
    run(".", "--baseline", "accepted.json", "--accept")
    first = json.loads((here / "accepted.json").read_text())
    (here / "contacts.py").write_text("author = None\n")
    assert run("contacts.py", "--baseline", "accepted.json", "--accept").exit_code == 0
    second = json.loads((here / "accepted.json").read_text())
    assert second["key"] == first["key"]
    # Of the files that were not inspected this time, everything stays.
    assert second["accepted"] == {"more.py": first["accepted"]["more.py"]}


def test_no_value_is_in_a_baseline_and_the_baseline_itself_is_not_inspected(here: Path) -> None:
    run(".", "--baseline", "accepted.json", "--accept")
    text = (here / "accepted.json").read_text()
    assert MAIL not in text
    assert "gwen" not in text
    done = run(".", "--baseline", "accepted.json")
    assert "2 objects inspected; 0 with findings." in done.output
    # Two baselines have different fingerprints of one value: none helps to look for it elsewhere.
    run(".", "--baseline", "second.json", "--accept")
    accepted = [json.loads((here / name).read_text()) for name in ("accepted.json", "second.json")]
    assert accepted[0]["accepted"]["contacts.py"] != accepted[1]["accepted"]["contacts.py"]


def test_columns_of_tables_can_be_accepted(here: Path) -> None:
    rows = "".join(
        f"{number},{name}@company-mail.com\n" for number, name in enumerate(("ann", "bob", "cleo"))
    )
    (here / "people.csv").write_text("id,email\n" + rows)
    run("people.csv", "--baseline", "accepted.json", "--accept")
    assert run("people.csv", "--baseline", "accepted.json").exit_code == 0
    with (here / "people.csv").open("a") as file:
        file.write("3,dora@company-mail.com\n")
    assert found("people.csv", "--baseline", "accepted.json") == {"people.csv": {"EMAIL_ADDRESS": 1}}


@pytest.mark.parametrize(
    ("arguments", "content", "expected"),
    [
        (("--baseline", "none.json"), None, "none.json does not exist. Write it with --accept"),
        (("--baseline", "accepted.json"), "[]", "accepted.json is no baseline of dlp scan"),
        (("--baseline", "accepted.json"), '{"version": 9, "key": "00", "accepted": {}}', "the format 9"),
        (("--accept",), None, "it needs --baseline FILE"),
    ],
)
def test_a_baseline_that_cannot_be_used_is_said_and_exits_with_2(
    here: Path, arguments: tuple[str, ...], content: str | None, expected: str
) -> None:
    if content is not None:
        (here / "accepted.json").write_text(content)
    done = run(".", *arguments)
    assert done.exit_code == 2
    assert expected in " ".join(done.output.split())


def test_a_comment_allows_what_is_in_its_line(here: Path) -> None:
    (here / "contacts.py").write_text(
        f'a = "{MAIL}"  # dlp:allow\n'
        f'b = "{MAIL}"  # dlp: allow[EMAIL_ADDRESS] an example of ours\n'
        f'c = "{MAIL}"  # dlp:allow[PASSWORD, email_address]\n'
        f'd = "{MAIL}"  # dlp:allow[PASSWORD]\n'
        f'e = "{MAIL}"  # dlp:allowed, no\n'
        f'# dlp:allow\nf = "{OTHER}"\n'
    )
    assert found("contacts.py") == {"contacts.py": {"EMAIL_ADDRESS": 3}}
    done = run("contacts.py", "--format", "json")
    lines = [one["line"] for one in json.loads(done.stdout)["results"][0]["findings"]]
    assert lines == [4, 5, 7]
    assert found("contacts.py", "--no-exceptions") == {"contacts.py": {"EMAIL_ADDRESS": 6}}


def test_a_comment_in_one_long_line_allows_only_what_is_near(here: Path) -> None:
    (here / "contacts.py").write_text(f'a="{MAIL}";' + "x=1;" * 3_000 + "# dlp:allow")
    assert found("contacts.py") == {"contacts.py": {"EMAIL_ADDRESS": 1}}


def test_what_dlpignore_names_is_skipped_also_if_it_is_named(here: Path) -> None:
    for name in ("tests/data/a.py", "tests/b.py", "build/c.py", "src/build/d.py", "keep.py"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / "contacts.py", here / name)
    (here / ".dlpignore").write_text("# examples\n/build/\ntests/**\n!keep.py\ncontacts.*\n")
    (here / "src" / ".dlpignore").write_text("d.py\n")
    assert found(".") == {"keep.py": {"EMAIL_ADDRESS": 1}}
    done = run("contacts.py", "tests/data/a.py", "src/build/d.py", "build")
    assert done.exit_code == 0
    assert "4 files and folders skipped, as .dlpignore says." in done.output
    assert len(found(".", "--no-exceptions")) == 6


@pytest.mark.parametrize(
    ("pattern", "ignored", "kept"),
    [
        ("*.csv", ("a.csv", "x/y/a.csv"), ("a.csvx", "csv")),
        ("/a.csv", ("a.csv",), ("x/a.csv",)),
        ("x/a.csv", ("x/a.csv",), ("y/x/a.csv",)),
        ("x/", ("x/a.csv", "y/x/b"), ()),
        ("**/data/*.json", ("data/a.json", "x/y/data/b.json"), ("data/x/c.json",)),
        ("x/**", ("x/a", "x/y/z"), ("y/x/a",)),
        ("a?[0-9].txt", ("ab1.txt",), ("a1.txt", "abc.txt")),
        ("\\#a", ("#a",), ("a",)),
    ],
)
def test_patterns_are_those_of_gitignore(
    here: Path, pattern: str, ignored: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    (here / ".dlpignore").write_text(f"{pattern}\n")
    (here / ".gitignore").write_text(f"{pattern}\n")
    ignore = IgnoreFiles(here)
    names = {*ignored, *kept}
    assert {name for name in names if ignore.ignores(Path(name), is_folder=False)} == set(ignored)
    # What git itself says of them.
    git("init", "-q")
    said = subprocess.run(
        ["git", "check-ignore", "--no-index", *sorted(names)], capture_output=True, text=True, check=False
    )
    assert {line.strip('"') for line in said.stdout.splitlines()} == set(ignored)


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git as nobody in particular: without the configuration of this machine."""
    known = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *arguments], env=own | known, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_commit_with_a_secret_is_refused_until_it_is_accepted(here: Path) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert (hook["id"], hook["language"]) == ("platform-assets-dlp", "python")
    program, *arguments = hook["entry"].split()
    assert program == "platform-assets"
    assert git("init", "-q").returncode == 0
    # What pre-commit does: the entry with the staged files.
    command = " ".join([f"'{sys.executable}' -m platform_assets.cli", *arguments, "--baseline accepted.json"])
    script = here / ".git" / "hooks" / "pre-commit"
    script.write_text(
        "#!/bin/sh\n"
        f"git diff --cached --name-only -z --diff-filter=ACMR | PYTHONPATH='{ROOT}' xargs -0 {command}\n"
    )
    script.chmod(0o700)
    assert run("clean.txt", "--baseline", "accepted.json", "--accept").exit_code == 0
    git("add", "clean.txt", "accepted.json")
    assert git("commit", "-q", "-m", "clean").returncode == 0
    git("add", "contacts.py")
    refused = git("commit", "-q", "-m", "with an address")
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "contacts.py" in said
    assert "EMAIL_ADDRESS" in said
    assert MAIL not in said
    run("contacts.py", "--baseline", "accepted.json", "--accept")
    git("add", "accepted.json")
    assert git("commit", "-q", "-m", "with an accepted address").returncode == 0
    assert git("log", "--format=%s").stdout.split("\n")[:2] == ["with an accepted address", "clean"]
