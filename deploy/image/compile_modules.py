"""Compile the modules whose files are listed on standard input, into the folder PYTHONPYCACHEPREFIX.

This is a process of its own, started with a fixed hash seed: what a compiled module looks like depends, byte
by byte, on what else is in the process. The sources are not looked at again when the platform runs: an image
does not change.
"""

import py_compile
import sys

for line in sys.stdin:
    py_compile.compile(
        line.rstrip("\n"), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
