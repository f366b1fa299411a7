"""What on this machine forbids user namespaces, in words for whoever may change it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_FORBIDDERS = {
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone=1"),
    "/proc/sys/user/max_user_namespaces": ("0", "user.max_user_namespaces=10000"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("1", "kernel.apparmor_restrict_unprivileged_userns=0"),
}


def forbidden_by() -> str:
    """Which setting of this machine forbids user namespaces, and what helps."""
    for file, (bad, setting) in _FORBIDDERS.items():
        with suppress(OSError):
            if Path(file).read_text().strip() == bad:
                return f"As root, allow them with `sysctl -w {setting}`, or run the command as root or with sudo."
    if os.geteuid() == 0:
        what = "This is root already, so a container, a security module or a chroot is in the way."
        return f"{what} In a chroot, make its root folder a mount point first (mount --bind FOLDER FOLDER)."
    return "No sysctl forbids them, so a container or a security module does: run the command as root or with sudo."
