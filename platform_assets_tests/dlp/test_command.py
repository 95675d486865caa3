"""`dlp scan` says what it finds, and by its exit code whether; `dlp explain` why. Neither repeats a value."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from platform_assets.dlp.command import app as dlp_app
from platform_assets_tests.fixtures.gcs import GcsServer, gcs_server
from platform_assets_tests.fixtures.s3 import S3Server

__all__ = ["gcs_server"]

MAIL = "gwen.harper@company-mail.com"


def card(seed: int) -> str:
    """A card number of 16 digits with a right check digit, made up at run time."""
    digits = [4, *random.Random(seed).choices(range(10), k=14)]
    doubled = [digit * 2 - 9 * (digit > 4) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, digits)) + str(-sum(doubled) % 10)


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(dlp_app, list(arguments), input=given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text(
        "id,credit_card\n" + "".join(f"{number},{card(number)}\n" for number in range(20))
    )
    (tmp_path / "note.txt").write_text(f"first line\nsecond line\nwrite to {MAIL} please\n")
    (tmp_path / "clean.txt").write_text("nothing to see here\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(f"mail {MAIL}\n")
    return tmp_path


def test_a_folder_with_findings_exits_with_1_and_shows_where_they_are(folder: Path) -> None:
    done = run("scan", str(folder))
    assert done.exit_code == 1
    lines = [line for line in done.output.splitlines() if "CREDIT_CARD_NUMBER" in line]
    assert len(lines) == 1
    assert "VERY_LIKELY" in lines[0]
    assert "20" in lines[0].split()
    assert "row 1, column credit_card" in lines[0]
    (mail,) = [line for line in done.output.splitlines() if "EMAIL_ADDRESS" in line]
    assert "line 3" in mail
    assert "3 objects inspected; 2 with findings." in done.output


def test_a_clean_file_exits_with_0(folder: Path) -> None:
    assert run("scan", str(folder / "clean.txt")).exit_code == 0


def test_what_is_not_there_exits_with_2(folder: Path) -> None:
    done = run("scan", str(folder / "no-such-file"))
    assert done.exit_code == 2
    assert "there is no such file or folder" in done.output


def test_a_wrong_info_type_is_one_sentence_and_exits_with_2(folder: Path) -> None:
    done = run("scan", str(folder), "--info-types", "NO_SUCH_TYPE")
    assert done.exit_code == 2
    assert "NO_SUCH_TYPE" in done.output
    assert "Traceback" not in done.output


def test_what_is_looked_for_and_how_sure_it_has_to_be_can_be_chosen(folder: Path) -> None:
    done = run("scan", str(folder), "--info-types", "email_address", "--format", "json")
    counts = {Path(one["name"]).name: set(one["counts"]) for one in json.loads(done.stdout)["results"]}
    assert counts == {"people.csv": set(), "note.txt": {"EMAIL_ADDRESS"}, "clean.txt": set()}
    shape_only = folder / "shape.txt"
    shape_only.write_text("My credit card number is 1111 2222 3333 4445\n")
    assert run("scan", str(shape_only), "--info-types", "CREDIT_CARD_NUMBER").exit_code == 1
    chosen = ("--info-types", "CREDIT_CARD_NUMBER", "--min-likelihood", "likely")
    assert run("scan", str(shape_only), *chosen).exit_code == 0


@pytest.mark.parametrize("format_", ["table", "json", "sarif"])
def test_no_value_is_ever_repeated(folder: Path, format_: str) -> None:
    done = run("scan", str(folder), "--format", format_)
    assert done.exit_code == 1
    for value in (MAIL, *(card(number) for number in range(20))):
        assert value not in done.output


def test_json_has_status_coverage_and_places(folder: Path) -> None:
    done = run("scan", str(folder / "note.txt"), "--format", "json")
    (one,) = json.loads(done.stdout)["results"]
    (finding,) = [one for one in one["findings"] if one["info_type"] == "EMAIL_ADDRESS"]
    assert (one["status"], one["coverage"]["parts_inspected"]) == ("INSPECTED", 1)
    start, end = finding["byte_range"]
    assert (folder / "note.txt").read_bytes()[start:end] == MAIL.encode()
    assert finding["line"] == 3


def test_sarif_points_to_lines_and_reports_what_was_not_read(folder: Path) -> None:
    (folder / "cut.parquet").write_bytes(b"PAR1" + bytes(100))
    done = run("scan", str(folder), "--format", "sarif")
    log = json.loads(done.stdout)
    (one,) = log["runs"]
    assert log["version"] == "2.1.0"
    rules = [rule["id"] for rule in one["tool"]["driver"]["rules"]]
    mails = [result for result in one["results"] if result["ruleId"] == "EMAIL_ADDRESS"]
    assert mails[0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert rules[mails[0]["ruleIndex"]] == "EMAIL_ADDRESS"
    (note,) = one["invocations"][0]["toolExecutionNotifications"]
    assert "cut.parquet: unreadable" in note["message"]["text"]


def test_what_was_not_inspected_in_full_is_said_and_counts_where_strict(folder: Path) -> None:
    broken = folder / "cut.json"
    broken.write_text('[{"a": 1}, {"a"')
    done = run("scan", str(broken))
    assert (done.exit_code, "cut.json: partial: TRUNCATED" in done.output) == (0, True)
    assert run("scan", str(broken), "--strict").exit_code == 2


def test_standard_input_is_inspected() -> None:
    assert run("scan", "-", given=f"mail {MAIL}\n".encode()).exit_code == 1


def test_objects_of_a_bucket_are_inspected(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for name, value in s3_server.storage_options.items():
        monkeypatch.setenv(name, value)
    client = s3_server.client()
    bucket = "dlp-command"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3_server.region})
    for file in ("people.csv", "note.txt", "clean.txt"):
        client.upload_fileobj(io.BytesIO((folder / file).read_bytes()), bucket, f"in/{file}")
    done = run("scan", f"s3://{bucket}/in", "--format", "json")
    found = {one["name"]: set(one["counts"]) for one in json.loads(done.stdout)["results"]}
    assert "CREDIT_CARD_NUMBER" in found[f"s3://{bucket}/in/people.csv"]
    assert found[f"s3://{bucket}/in/clean.txt"] == set()
    assert run("scan", f"s3://{bucket}/in/clean.txt").exit_code == 0
    missing = run("scan", "s3://no-such-bucket-here/x")
    assert missing.exit_code == 2
    assert s3_server.secret_access_key not in missing.output


def configured(folder: Path, options: str) -> Path:
    """A configuration whose lake is reached in this way."""
    file = folder / "platform.conf"
    shipped = Path(__file__).parents[2] / "config" / "platform.conf"
    file.write_text(
        f'include file("{shipped}")\nstate_dir = state\nlake.storage_options = null\n'
        f"lake.storage_options {{ {options} }}\n"
    )
    return file


def test_buckets_are_reached_as_the_platform_reaches_its_lake(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for file in ("note.txt", "clean.txt"):
        s3_server.client().put_object(Bucket=s3_bucket, Key=f"in/{file}", Body=(folder / file).read_bytes())
    given = (
        f'AWS_ENDPOINT_URL = "{s3_server.endpoint_url}", AWS_REGION = {s3_server.region}, '
        f'AWS_ACCESS_KEY_ID = "{s3_server.access_key_id}", GOOGLE_SERVICE_ACCOUNT = "/no/such/file", '
        'AWS_SECRET_ACCESS_KEY = "secret://env/KEY_OF_THE_LAKE", GOOGLE_TOKEN = "secret://env/NO_SUCH_TOKEN"'
    )
    monkeypatch.setenv("PLATFORM_CONFIG", str(configured(folder, given)))
    monkeypatch.setenv("KEY_OF_THE_LAKE", s3_server.secret_access_key)
    done = run("scan", f"s3://{s3_bucket}/in", "--format", "json")
    found = {one["name"]: set(one["counts"]) for one in json.loads(done.stdout)["results"]}
    assert found[f"s3://{s3_bucket}/in/clean.txt"] == set()
    assert "EMAIL_ADDRESS" in found[f"s3://{s3_bucket}/in/note.txt"]

    def refused(place: str, *words: str) -> None:
        done = run("scan", place)
        said = [line for line in done.output.splitlines() if "inspected;" not in line]
        assert (done.exit_code, len(said)) == (2, 1)
        assert all(word in said[0] for word in words), said[0]
        assert s3_server.secret_access_key not in done.output

    refused(f"s3://{s3_bucket}/in/missing.txt", "there is no object of this name")
    refused("s3://no-such-bucket-here/x", "no-such-bucket-here/x cannot be listed", "NoSuchBucket")
    monkeypatch.setenv("KEY_OF_THE_LAKE", "another")
    refused(f"s3://{s3_bucket}/in/", "cannot be listed", "SignatureDoesNotMatch")
    refused(f"s3://{s3_bucket}/in/note.txt", "cannot be accessed", "what the credentials may do")
    monkeypatch.delenv("KEY_OF_THE_LAKE")
    refused(f"s3://{s3_bucket}/in", "secret://env/KEY_OF_THE_LAKE", "is not set")


def test_a_bucket_of_google_is_reached_as_the_platform_reaches_its_lake(
    gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    bucket = gcs_server.create_bucket()
    gcs_server.put(bucket, "in/note.txt", (folder / "note.txt").read_bytes())
    given = ", ".join(f'{name} = "{value}"' for name, value in gcs_server.options.items())
    monkeypatch.setenv("PLATFORM_CONFIG", str(configured(folder, f"AWS_REGION = nowhere, {given}")))
    done = run("scan", f"gs://{bucket}/in")
    assert (done.exit_code, "EMAIL_ADDRESS" in done.output) == (1, True)
    assert run("scan", f"gs://{bucket}-not/in").exit_code == 2


def test_without_a_configuration_buckets_are_reached_as_their_vendors_tools_do(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    s3_server.client().put_object(Bucket=s3_bucket, Key="clean.txt", Body=b"nothing to see here")
    elsewhere = folder / "installed" / "platform_assets" / "settings.py"
    monkeypatch.setattr("platform_assets.settings.__file__", str(elsewhere))
    monkeypatch.delenv("PLATFORM_CONFIG", raising=False)
    monkeypatch.chdir(folder)
    for name, value in s3_server.storage_options.items():
        monkeypatch.setenv(name, value)
    assert run("scan", f"s3://{s3_bucket}").exit_code == 0


def test_a_mistake_in_the_configuration_is_told_before_anything_is_inspected(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PLATFORM_CONFIG", str(configured(folder, "AWS_SECRET_ACCESS_KEY = open")))
    done = run("scan", str(folder / "note.txt"), "s3://anything/at-all")
    assert done.exit_code == 2
    assert "lake.storage_options.AWS_SECRET_ACCESS_KEY" in done.output
    assert "EMAIL_ADDRESS" not in done.output
    assert run("scan", str(folder / "clean.txt")).exit_code == 0


def test_explain_says_what_speaks_for_a_value_and_what_against_it() -> None:
    done = run("explain", "--near", "credit card", given=card(1).encode())
    assert done.exit_code == 0
    assert "CREDIT_CARD_NUMBER: found, VERY_LIKELY" in done.output
    assert card(1) not in done.output
    wrong = card(1)[:-1] + str((int(card(1)[-1]) + 1) % 10)
    assert "CREDIT_CARD_NUMBER: not found" in run("explain", wrong).output
    assert "The value has the form of no info type." in run("explain", "plain").output


def test_it_runs_as_a_command_and_reads_what_a_hook_gives_it(folder: Path) -> None:
    program = "from platform_assets.dlp.command import app as dlp_app; dlp_app()"
    done = subprocess.run(
        [sys.executable, "-c", program, "scan", "note.txt", "clean.txt"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "note.txt" in done.stdout
    assert MAIL not in done.stdout + done.stderr


def test_what_could_not_be_inspected_at_all_is_no_clean_file(folder: Path) -> None:
    locked = folder / "locked.parquet"
    locked.write_bytes(b"PARE" + bytes(50) + b"PARE")
    done = run("scan", str(locked))
    assert (done.exit_code, "locked.parquet: unreadable: ENCRYPTED" in done.output) == (2, True)


def test_a_file_that_nobody_can_open_leaves_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnError(Exception):
        pass

    opened = Path.open

    def poisoned(self: Path, *args: Any, **options: Any) -> Any:
        if self.name == "note.txt":
            raise OwnError("in here")
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", poisoned)
    done = run("scan", str(folder), "--format", "json")
    results = {Path(one["name"]).name: one for one in json.loads(done.stdout)["results"]}
    assert (done.exit_code, results["note.txt"]["status"]) == (1, "UNREADABLE")
    assert "OwnError" in results["note.txt"]["reason"]
    assert results["people.csv"]["counts"]
