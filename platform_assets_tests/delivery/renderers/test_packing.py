"""Files packed into archives, and encrypted to OpenPGP keys."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from platform_assets.delivery.interfaces import DeliveryError
from platform_assets_tests.delivery.renderers.rendering import Kitchen, files
from platform_assets_tests.fixtures.patience import PATIENCE

pysequoia = pytest.importorskip("pysequoia", reason="the extra `delivery` is not installed")

SALES = pa.table({"n": range(5_000), "t": [f"text {n}" for n in range(5_000)]})


def test_an_archive_holds_all_files_with_the_time_of_the_delivery(kitchen: Kitchen) -> None:
    found = kitchen.one(["zip"], files(("2026/a.txt", b"a" * 100_000), ("b.txt", b"")))
    assert (found.name, found.content_type, found.size) == (
        "customers.zip",
        "application/zip",
        len(found.content),
    )
    archive = zipfile.ZipFile(io.BytesIO(found.content))
    assert archive.testzip() is None
    assert {one: archive.read(one) for one in archive.namelist()} == {
        "2026/a.txt": b"a" * 100_000,
        "b.txt": b"",
    }
    assert {one.date_time for one in archive.infolist()} == {(2026, 1, 31, 23, 30, 4)}
    assert len(found.content) < 1_000


def test_parts_are_packed_and_their_rows_counted(kitchen: Kitchen) -> None:
    found = kitchen.one([{"csv": {"split": {"rows": 3_000}}}, "zip"], SALES)
    assert found.rows == 5_000
    assert zipfile.ZipFile(io.BytesIO(found.content)).namelist() == [
        "customers-0001.csv",
        "customers-0002.csv",
    ]


def test_equal_data_give_equal_archives(tmp_path: Path) -> None:
    first, second = (Kitchen(tmp_path / name).one(["csv", "zip"], SALES) for name in ("one", "two"))
    assert first.content == second.content


@pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "a//b", "a\\b"])
def test_a_name_that_leads_out_of_the_archive_is_refused(kitchen: Kitchen, name: str) -> None:
    with pytest.raises(DeliveryError, match="cannot be packed"):
        kitchen.render(["zip"], files((name, b"")))


def test_two_files_of_one_name_are_refused(kitchen: Kitchen) -> None:
    with pytest.raises(DeliveryError, match=r"Two files are called A\.txt"):
        kitchen.render(["zip"], files(("a.txt", b""), ("A.txt", b"")))


@dataclass(frozen=True)
class Gpg:
    """GnuPG with a key ring of its own."""

    home: Path

    def run(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--pinentry-mode", "loopback"]
        environment = {"PATH": os.environ["PATH"], "LANG": "C", "HOME": str(self.home)}
        return subprocess.run(
            [*command, *arguments],
            input=data,
            env=environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    def new_key(self, name: str, folder: Path, passphrase: str = "") -> tuple[Path, Path]:
        """Make a key; return the files of its public and its secret part."""
        made = self.run(
            "--passphrase", passphrase, "--quick-generate-key", name, "future-default", "default", "never"
        )
        assert made.returncode == 0, made.stderr
        public, secret = folder / f"{name}.pub.asc", folder / f"{name}.sec.asc"
        public.write_bytes(self.run("--armor", "--export", name).stdout)
        secret.write_bytes(
            self.run("--passphrase", passphrase, "--armor", "--export-secret-keys", name).stdout
        )
        return public, secret


@pytest.fixture
def gpg() -> Iterator[Gpg]:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed: apt-get install gnupg")
    # The path of the agent's socket may have about a hundred characters.
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    home.chmod(0o700)
    yield Gpg(home)
    subprocess.run(
        ["gpgconf", "--homedir", str(home), "--kill", "all"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("armor", [False, True])
def test_gpg_decrypts_what_is_encrypted_to_its_key(
    kitchen: Kitchen, gpg: Gpg, tmp_path: Path, armor: bool
) -> None:
    anna, _ = gpg.new_key("anna@example.org", tmp_path)
    other = pysequoia.Tsk.generate("Bert <bert@example.org>")
    bert = tmp_path / "bert.asc"
    bert.write_text(str(other.extract_certificate()))
    options = {"keys": [str(anna), str(bert)], "armor": armor}
    found = kitchen.one(["csv", "gzip", {"openpgp": options}], SALES)
    assert found.name == ("customers.csv.gz.asc" if armor else "customers.csv.gz.pgp")
    assert found.rows == 5_000
    assert found.content.startswith(b"-----BEGIN PGP MESSAGE-----") == armor
    plain = kitchen.one(["csv", "gzip"], SALES).content
    decrypted = gpg.run("--decrypt", data=found.content)
    assert decrypted.returncode == 0, decrypted.stderr
    assert decrypted.stdout == plain
    assert bytes(pysequoia.decrypt(found.content, other.decryptor()).bytes) == plain


def test_gpg_verifies_the_signature(
    kitchen: Kitchen, gpg: Gpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, secret = gpg.new_key("platform@example.org", tmp_path, "a passphrase of tests")
    monkeypatch.setenv("SIGNING_PASSPHRASE", "a passphrase of tests")
    sign = {"key": f"secret://file{secret}", "passphrase": "secret://env/SIGNING_PASSPHRASE"}
    found = kitchen.one([{"openpgp": {"keys": [str(public)], "sign": sign}}], files(("a.txt", b"signed")))
    decrypted = gpg.run("--passphrase", "a passphrase of tests", "--decrypt", data=found.content)
    assert decrypted.stdout == b"signed"
    assert b"Good signature" in decrypted.stderr


def _keys(tmp_path: Path) -> Any:
    made = pysequoia.Tsk.generate("Anna <anna@example.org>")
    (tmp_path / "anna.asc").write_text(str(made.extract_certificate()))
    return made


def test_nothing_plain_is_left_in_the_folder(kitchen: Kitchen, tmp_path: Path) -> None:
    _keys(tmp_path)
    kitchen.render([{"openpgp": {"keys": [str(tmp_path / "anna.asc")]}}], files(("a.txt", b"very secret")))
    left = [path for path in kitchen.workshop.folder.iterdir() if b"very secret" in path.read_bytes()]
    assert left == []


def test_a_key_that_cannot_encrypt_is_refused(kitchen: Kitchen, tmp_path: Path) -> None:
    key = tmp_path / "key.asc"

    def render() -> None:
        kitchen.render([{"openpgp": {"keys": [str(key)]}}], files(("a.txt", b"x")))

    with pytest.raises(DeliveryError, match=r"key file .*key\.asc cannot be read: No such file"):
        render()
    key.write_text("no key")
    with pytest.raises(DeliveryError, match=r"key file .*key\.asc (cannot be read|has no public key)"):
        render()
    made = _keys(tmp_path)
    certificate = made.extract_certificate()
    revoked = pysequoia.Cert.from_bytes(bytes(certificate) + bytes(certificate.revoke(made.certifier())))
    key.write_text(str(revoked))
    with pytest.raises(DeliveryError, match=r"The key of Anna <anna@example.org> in .* was revoked"):
        render()


def test_an_expired_key_is_refused(kitchen: Kitchen, gpg: Gpg, tmp_path: Path) -> None:
    made = gpg.run(
        *("--faked-system-time", "20200101T000000", "--passphrase", ""),
        *("--quick-generate-key", "old@example.org", "future-default", "default", "1d"),
    )
    assert made.returncode == 0, made.stderr
    key = tmp_path / "old.asc"
    key.write_bytes(gpg.run("--armor", "--export", "old@example.org").stdout)
    with pytest.raises(DeliveryError, match=r"The key of old@example.org in .* expired on 2020-01-02"):
        kitchen.render([{"openpgp": {"keys": [str(key)]}}], files(("a.txt", b"x")))


def test_a_wrong_passphrase_does_not_sign_and_is_not_told(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _keys(tmp_path)
    monkeypatch.setenv("SIGNING_KEY", "this is no key")
    sign = {"key": "secret://env/SIGNING_KEY"}
    with pytest.raises(DeliveryError, match="The key secret://env/SIGNING_KEY cannot sign") as caught:
        kitchen.render(
            [{"openpgp": {"keys": [str(tmp_path / "anna.asc")], "sign": sign}}], files(("a.txt", b"x"))
        )
    assert "this is no key" not in str(caught.value)
