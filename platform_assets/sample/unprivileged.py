"""Script that runs a command as an unprivileged account; root processes use it to run PostgreSQL.

It is a script instead of `preexec_fn`, because running Python between fork and exec can deadlock in a process
with threads. Called as `python -I -S unprivileged.py UID GID CAPABILITIES COMMAND [ARGUMENT ...]`.
CAPABILITIES is a comma-separated list of Linux capability numbers. The first capability that this process has
is kept, so that the command can reach its files below a directory such as /root. `-` keeps none.
"""

from __future__ import annotations

import os
import sys

_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION = 0x20080522
EXIT_CODE = 126
"""Exit code if the account could not be assumed or the command could not run; the reason is on stderr."""


def _keep(capability_numbers: list[int]) -> bool:
    """Reduce this process to the first listed capability that it has, and pass it on to the command.

    Without NO_SETUID_FIXUP the kernel would drop the capability on leaving root. `access()`, which PostgreSQL
    uses to check that it can run its own binaries, would also ignore it.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low words, then high words
    if libc.capget(header, sets) != 0:
        return False
    chosen = next((number for number in capability_numbers if sets[1] >> number & 1), None)
    if chosen is None or libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0) != 0:
        return False
    _leave_root(int(sys.argv[1]), int(sys.argv[2]))
    only = (ctypes.c_uint32 * 6)(*[1 << chosen] * 3, 0, 0, 0)
    if libc.capset(header, only) != 0:
        raise OSError(ctypes.get_errno(), "capset refused to drop the other capabilities")
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, chosen, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the ambient capability")
    return True


def _leave_root(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main() -> None:
    """Switch to the account and execute the command; on failure, exit with EXIT_CODE."""
    uid, gid, capabilities, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    try:
        if capabilities == "-" or not _keep([int(number) for number in capabilities.split(",")]):
            _leave_root(uid, gid)
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"could not run {command[0]} as uid {uid}: {error}\n")
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
