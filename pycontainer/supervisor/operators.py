"""Who may drive the runtime: root, and the members of one group if an administrator names it.

    /etc/pycontainer/operator-group      one line, the group's name or number; root's alone to write. No file: no group

A member can mount any directory of the host into a container of his: he is root by another name, as with Docker's group.
Who connects is asked of the kernel, by the ids that the process had then; the modes of the socket (0660) and of its
directory (0750) say the same, and everything else in there stays root's alone.
"""

import grp
import os

from pycontainer.errors import NotPermitted
from pycontainer.linux.sockets import peer_groups, peer_ids
from pycontainer.paths import HostPaths
from pycontainer.record import read_own

_MAX_BYTES = 256


class Operators:
    """Root, and the group `gid` if there is one; `problem` says why there is none although one was asked for."""

    __slots__ = ("gid", "group", "problem")

    def __init__(self, group: str = "", gid: int | None = None, problem: str = "") -> None:
        self.group, self.gid, self.problem = group, gid, problem

    def describe(self) -> str:
        """Say in words who may connect."""
        if self.gid is not None:
            return f"root, group '{self.group}'"
        return f"root ({self.problem})" if self.problem else "root"

    def check(self, sock_fd: int) -> None:
        """Raise NotPermitted unless who connected `sock_fd` is one of them."""
        uid, gid = peer_ids(sock_fd)
        if uid in (0, os.geteuid()):
            return
        if self.gid is None:
            raise NotPermitted(f"user {uid} may not control containers", hint="run as root")
        if self.gid != gid and self.gid not in peer_groups(sock_fd):
            raise NotPermitted(
                f"user {uid} may not control containers: not in group '{self.group}'",
                hint="run as root; who was added to the group has it from the next login on",
            )

    def open_up(self, directory: str, socket_path: str) -> None:
        """Give the socket and its directory to the group, or take them back from one that was there before."""
        gid = self.gid if self.gid is not None else os.getegid()
        os.chown(directory, os.geteuid(), gid)
        os.chmod(directory, 0o750)
        os.chmod(socket_path, 0o600)  # first, or another group could get in for a moment
        os.chown(socket_path, os.geteuid(), gid)
        if self.gid is not None:
            os.chmod(socket_path, 0o660)


def load_operators(paths: HostPaths) -> Operators:
    """Read which group it is. A file that is damaged, or names no group, opens nothing: root alone, and `problem`."""
    try:
        name = read_own(paths.operator_group_file, _MAX_BYTES).decode().strip()
        gid = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else grp.getgrnam(name).gr_gid
    except FileNotFoundError:
        return Operators()
    except (OSError, ValueError, KeyError) as error:
        reason = "no such group" if isinstance(error, KeyError) else getattr(error, "strerror", None) or str(error)
        return Operators(problem=f"no group: '{paths.operator_group_file}': {reason}")
    return Operators(name, gid)
