"""Exit with 0 if the webserver on this machine answers: the image's health check."""

import os
import sys
import urllib.request

port = os.environ.get("DAGSTER_PORT", "3000")
with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
    sys.exit(answer.status != 200)
