"""Ask pip-audit about every locked package; known vulnerabilities fail, and so does an audit of nothing.

A machine that is offline, or behind a mirror of packages, cannot reach the vulnerability service. That fails
too, unless AUDIT_OFFLINE=allowed says that a warning is enough.

A finding is left out only by its line in IGNORED, for as long as no version without it exists.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Identifier -> why it is left out. Empty is how it should be.
IGNORED: dict[str, str] = {}


def ask(*arguments: str) -> list[dict[str, Any]] | None:
    """Return pip-audit's answer for each package; None without an answer."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "15", *arguments]
    for identifier in IGNORED:
        command += ["--ignore-vuln", identifier]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        print("pip-audit:", (answer.stderr.strip().splitlines() or ["no answer"])[-1])
        return None
    return packages


def audited(packages: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the packages that the service knows."""
    return [package for package in packages or () if "skip_reason" not in package]


def is_reachable() -> bool:
    """Ask about a package that every vulnerability service knows: pip-audit's own, of the installed version.

    Raises:
        subprocess.CalledProcessError: pip-audit itself does not run.
    """
    subprocess.run([sys.executable, "-m", "pip_audit", "--version"], capture_output=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder, "requirements.txt")
        requirement.write_text(f"pip-audit=={version('pip-audit')}\n")
        return bool(audited(ask("--requirement", str(requirement), "--no-deps")))


def main(lock: str) -> int:
    """Audit a lock file; return the exit code."""
    packages = ask("--requirement", lock, "--require-hashes")
    known = audited(packages)
    findings = [
        f"{package['name']} {package['version']}: {finding['id']}, "
        f"fixed in {', '.join(finding['fix_versions']) or 'no version yet'}"
        for package in known
        for finding in package.get("vulns", [])
    ]
    for identifier, reason in IGNORED.items():
        print(f"left out: {identifier}: {reason}")
    if findings:
        print("Known vulnerabilities:", *findings, sep="\n  ")
        return 1
    if known:
        print(f"No known vulnerabilities in {len(known)} locked packages.")
        if skipped := [package["name"] for package in packages or () if package not in known]:
            print("Not audited, because the service does not know them:", ", ".join(skipped))
        return 0
    if is_reachable():
        print(f"NOT AUDITED: the service answers, but for no package of {lock}. Check the lock.")
        return 1
    print("NOT AUDITED: the vulnerability service cannot be reached. Known vulnerabilities are not excluded.")
    if os.environ.get("AUDIT_OFFLINE") == "allowed":
        return 0
    print("Run the audit with access to the service, or set AUDIT_OFFLINE=allowed to continue without it.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
