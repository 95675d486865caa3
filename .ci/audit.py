"""Ask pip-audit about every locked package: findings fail; a service out of reach is said to be so.

A finding is left out only by its line in IGNORED, for as long as no version without it exists.
"""

import json
import subprocess
import sys
from typing import Any

# Identifier -> why it is left out. Empty is how it should be.
IGNORED: dict[str, str] = {}


def ask(lock: str) -> list[dict[str, Any]]:
    """Give what pip-audit says of each package of a lock file; nothing where it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--disable-pip", "--require-hashes"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    for identifier in IGNORED:
        command += ["--ignore-vuln", identifier]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        print("pip-audit:", (answer.stderr.strip().splitlines() or ["no answer"])[-1])
        return []
    return packages


def main(lock: str) -> int:
    """Audit a lock file; give the exit code."""
    packages = ask(lock)
    findings = [
        f"{package['name']} {package['version']}: {finding['id']}, "
        f"mended in {', '.join(finding['fix_versions']) or 'no version yet'}"
        for package in packages
        for finding in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    audited = len(packages) - len(skipped)
    for identifier, reason in IGNORED.items():
        print(f"left out: {identifier}: {reason}")
    if findings:
        print("Known vulnerabilities:", *findings, sep="\n  ")
        return 1
    if not audited:
        print("NOT AUDITED: the vulnerability service could not be asked; nothing is known either way.")
    else:
        print(f"No known vulnerabilities in {audited} locked packages.")
        if skipped:
            print("Not audited, as the service does not know them:", ", ".join(skipped))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
