#!/bin/sh
# Resolve the dependencies again and write both lock files. Called as: lock.sh UV [PYPROJECT], in the folder for the locks.
set -eu
uv=$1 pyproject=${2:-pyproject.toml}
compile() {
  "$uv" pip compile "$pyproject" --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-header \
    --no-annotate --no-strip-extras --no-emit-index-url --no-emit-find-links --group build "$@"
}
compile --output-file requirements.lock
compile --extra aws --extra celery --extra delivery --extra gcp --extra kubernetes --extra notebook --extra openlineage \
  --extra postgres --extra sail --extra snowflake --extra spark --extra dev \
  --constraint requirements.lock --output-file requirements-dev.lock
