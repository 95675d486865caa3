"""Plan deploy/terraform/aws with its example of variables, on a local AWS: `make plan-example`."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from platform_assets_tests.fixtures.aws import prepared, running_aws
from platform_assets_tests.fixtures.terraform import copied


def main() -> int:
    """Print the plan; 1 where Terraform or its provider is missing."""
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-plan-"))
    try:
        terraform = copied(folder, "aws", "aws")
        with running_aws() as aws:
            prepared(terraform, aws, terraform.folder / "terraform.tfvars.example").stream(
                "plan", "-input=false"
            )
    except pytest.skip.Exception as missing:
        print(missing, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
