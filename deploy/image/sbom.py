"""Print the image's bill of materials: CycloneDX 1.6, as JSON, the same bytes for the same packages.

It lists the Python packages of this environment, the interpreter, and the packages of Debian below it, each
with its version, its package URL and, where its metadata has one, its licence.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

PROJECT = "platform-assets"


def python_packages() -> Iterator[dict[str, Any]]:
    """Yield the packages of this environment, the project itself left out."""
    found = {re.sub(r"[-_.]+", "-", one.name).lower(): one for one in distributions()}
    for name in sorted(found.keys() - {PROJECT}):
        yield component(
            name, found[name].version, f"pkg:pypi/{name}@{quote(found[name].version)}", licence(found[name])
        )


def licence(distribution: Distribution) -> str:
    """Return a package's licence as its metadata names it; empty if it does not, or gives a whole text."""
    expression = distribution.metadata.get("License-Expression") or distribution.metadata.get("License") or ""
    return expression if len(expression) < 80 and "\n" not in expression else ""


def debian_packages(status: Path) -> Iterator[dict[str, Any]]:
    """Yield the installed packages of dpkg's list."""
    if not status.exists():
        return
    for paragraph in status.read_text().strip().split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if fields["Status"] == "install ok installed":
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            url = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
            yield component(name, version, url, "")


def component(name: str, version: str, url: str, licensed: str) -> dict[str, Any]:
    """Return a component of the bill."""
    licences = {"licenses": [{"license": {"name": licensed}}]} if licensed else {}
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url, **licences}


def bill(at: datetime) -> dict[str, Any]:
    """Return the whole bill, dated."""
    (own,) = (one for one in distributions() if one.name == PROJECT)
    version = platform.python_version()
    interpreter = component("python", version, f"pkg:generic/python@{version}", "PSF-2.0")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": at.isoformat(),
            "component": {
                "type": "application",
                "bom-ref": PROJECT,
                "name": PROJECT,
                "version": own.version,
                "purl": f"pkg:pypi/{PROJECT}@{own.version}",
            },
        },
        "components": [interpreter, *python_packages(), *debian_packages(Path("/var/lib/dpkg/status"))],
    }


if __name__ == "__main__":
    date = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    json.dump(bill(date), sys.stdout, indent=1)
