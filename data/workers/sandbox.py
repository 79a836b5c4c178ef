"""Take the network from a process that decodes untrusted files."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
"""Flags of unshare(2), which Python has from 3.12 on."""


def leave_network() -> bool:
    """Move this process into a network namespace of its own, which has no interface.

    A flaw in a decoder that lets a file run code then cannot send data anywhere. Call it before any
    thread is started: without privileges, Linux allows it to processes with one thread only. Files
    are read and written as before.

    Returns:
        Whether the process has no network now. False on other systems than Linux, and where
        namespaces are forbidden, as in some containers.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    # Root would lose its rights on files of others.
    if user == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # The process keeps its user, which would be `nobody` in the new user namespace.
    with suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True
