"""Who may drive the runtime: root, the members of one group if an administrator names it, and the users of tenants.

    /etc/pycontainer/operator-group      one line, the group's name or number; root's alone to write. No file: no group
    /etc/pycontainer/tenant-groups.yaml  whose users may connect, for what is their own tenant's (people.py)

A member of the operators' group can mount any directory of the host into a container of his: he is root by another name, as
with Docker's group. What a tenant's user may do, authorise.py says. Who connects is asked of the kernel, by the ids that the
process had then; the modes of the socket (0660) and of its directory (0750) say the same, with a list of the tenants' groups,
and everything else in there stays root's alone.
"""

import contextlib
import errno
import grp
import os

from pycontainer.errors import NotPermitted
from pycontainer.linux.acl import set_group_rights
from pycontainer.linux.sockets import peer_groups, peer_ids
from pycontainer.paths import HostPaths
from pycontainer.record import read_own
from pycontainer.supervisor import log
from pycontainer.supervisor.caller import Caller
from pycontainer.supervisor.people import People, load_people, signature

_MAX_BYTES = 256
_GROUPS = "/etc/group"  # where a number that a group had may be another one's
_SEARCH, _CONNECT = 0o1, 0o6  # rights: through a directory, to a socket


class Operators:
    """Root, and the group `gid` if there is one; `problem` says why there is none although one was asked for."""

    __slots__ = ("_people_file", "_people_seen", "_places", "gid", "group", "people", "problem")

    def __init__(self, group: str = "", gid: int | None = None, problem: str = "", people_file: str = "") -> None:
        self.group, self.gid, self.problem = group, gid, problem
        self.people = People()
        self._people_file = people_file
        self._people_seen: tuple[tuple[int, ...], ...] = ()
        self._places: tuple[str, str] | None = None
        self.refresh()

    def describe(self) -> str:
        """Say in words who may connect."""
        problem = "; ".join(filter(None, (self.problem, self.people.problem)))
        said = "root" if self.gid is None else f"root, group '{self.group}'"
        if people := self.people.describe():
            said += f"; {people}"
        return f"{said} ({problem})" if problem else said

    @property
    def has_others(self) -> bool:
        """Tell whether somebody may connect who could not start a supervisor."""
        return self.gid is not None or bool(self.people.callers)

    def caller(self, sock_fd: int) -> Caller | None:
        """Return for whom it acts who connected `sock_fd`: None for the host; raise NotPermitted if for nobody."""
        uid, gid = peer_ids(sock_fd)
        if uid in (0, os.geteuid()):
            return None
        if self.gid is None and not self.people.callers:
            raise NotPermitted(f"user {uid} may not control containers", hint="run as root")
        groups = (gid, *peer_groups(sock_fd))
        if self.gid in groups:
            return None
        callers = self.people.of(groups)
        if len(callers) > 1:
            tenants = " and ".join(repr(tenant) for tenant in sorted(callers))
            raise NotPermitted(
                f"user {uid} is in groups of tenants {tenants}: nobody can tell for whom this is",
                hint="use an account of one tenant's groups alone; setpriv and sg run a command with fewer",
            )
        if callers:
            return callers.popitem()[1]
        where = f"group '{self.group}'" if self.gid is not None else "a group that may"
        raise NotPermitted(
            f"user {uid} may not control containers: not in {where}",
            hint="run as root; who was added to the group has it from the next login on",
        )

    def refresh(self) -> None:
        """Look whether the file of the tenants' groups, or those of the host, changed; what they say holds from here on."""
        if not self._people_file:
            return
        seen = signature(self._people_file), signature(_GROUPS)
        if seen == self._people_seen:
            return
        self.people = load_people(self._people_file)
        if self._places is not None:
            self._list_people()
        if self.people.problem:
            log.say(self.people.problem)
        self._people_seen = seen

    def open_up(self, directory: str, socket_path: str) -> None:
        """Give the socket and its directory to the groups, or take them back from those that were there before."""
        gid = self.gid if self.gid is not None else os.getegid()
        self._places = directory, socket_path
        os.chown(directory, os.geteuid(), gid)
        set_group_rights(socket_path, 0o600, {})  # first, or another group could get in for a moment
        os.chown(socket_path, os.geteuid(), gid)
        self._list_people()

    def _list_people(self) -> None:
        assert self._places is not None
        directory, socket_path = self._places
        mode = 0o600 if self.gid is None else 0o660
        gids = [gid for gid in self.people.callers if gid != self.gid]
        try:
            set_group_rights(directory, 0o750, dict.fromkeys(gids, _SEARCH))
            set_group_rights(socket_path, mode, dict.fromkeys(gids, _CONNECT))
        except OSError as error:  # nobody gets in by half of the list
            reason = error.strerror
            if error.errno == errno.EOPNOTSUPP:
                reason = f"the file system of '{directory}' has no access control lists"
            self.people = People(problem=f"no users of tenants: {reason}")
            with contextlib.suppress(OSError):
                set_group_rights(directory, 0o750, {})
                set_group_rights(socket_path, mode, {})


def load_operators(paths: HostPaths) -> Operators:
    """Read who it is. A file that is damaged, or names no group, opens nothing: root alone, and `problem`."""
    people = paths.tenant_groups_file
    try:
        name = read_own(paths.operator_group_file, _MAX_BYTES).decode().strip()
        gid = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else grp.getgrnam(name).gr_gid
    except FileNotFoundError:
        return Operators(people_file=people)
    except (OSError, ValueError, KeyError) as error:
        reason = "no such group" if isinstance(error, KeyError) else getattr(error, "strerror", None) or str(error)
        return Operators(problem=f"no group: '{paths.operator_group_file}': {reason}", people_file=people)
    return Operators(name, gid, people_file=people)
