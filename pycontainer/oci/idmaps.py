"""Id maps of a user namespace: written for a child, by us or by newuidmap(1), or held for a mount. user_namespaces(7)"""

import os

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import new_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.config import IdMap


def write(pid: int, uid_maps: "list[IdMap]", gid_maps: "list[IdMap]") -> None:
    """Write the maps of the user namespace that `pid` is the first in.

    Without the right to map what is asked for, the set-id helpers are asked, who go by /etc/subuid and /etc/subgid.
    """
    for kind, maps in (("uid", uid_maps), ("gid", gid_maps)):
        try:
            # Who maps its own group alone has to give setgroups up, CVE-2014-8989; with newgidmap nobody has to.
            if kind == "gid" and os.geteuid() and sum(m.count for m in maps) == 1:
                _write(f"/proc/{pid}/setgroups", "deny")
            _write(f"/proc/{pid}/{kind}_map", "".join(f"{m.inside} {m.outside} {m.count}\n" for m in maps))
        except PermissionError:
            _ask_helper(f"new{kind}map", pid, maps)


def namespace_for(uid_maps: "list[IdMap]", gid_maps: "list[IdMap]") -> int:
    """Return a descriptor of a user namespace with these maps, in which nobody is."""
    return new_user_namespace(lambda pid: write(pid, uid_maps, gid_maps))


def of_namespace(userns_fd: int) -> "tuple[list[IdMap], list[IdMap]]":
    """Return the maps of users and groups of a user namespace, as seen from ours."""
    from pycontainer.oci.config import IdMap

    def lines(path: str) -> "list[IdMap]":
        with open(path) as file:
            return [IdMap(*map(int, line.split())) for line in file]

    found: list[tuple[list[IdMap], list[IdMap]]] = []
    os.close(
        new_user_namespace(
            lambda pid: found.append((lines(f"/proc/{pid}/uid_map"), lines(f"/proc/{pid}/gid_map"))),
            joined_fd=userns_fd,
        )
    )
    return found[0]


def _write(path: str, content: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content.encode())
    finally:
        os.close(fd)


def _ask_helper(program: str, pid: int, maps: "list[IdMap]") -> None:
    words = [str(number) for each in maps for number in (each.inside, each.outside, each.count)]
    try:
        status = os.spawnvp(os.P_WAIT, program, [program, str(pid), *words])
    except FileNotFoundError:
        status = 127
    if status == 127:
        raise StartFailed(f"no {program} to map ids with: install uidmap, or run as root", step="ids")
    if status:
        raise StartFailed(f"{program} refused the id map: look at /etc/subuid and /etc/subgid", step="ids")
