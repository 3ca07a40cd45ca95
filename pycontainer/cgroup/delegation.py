"""A cgroup that root inside may arrange as it likes, beneath the one that holds our limits. cgroup-v2.rst, Delegation

    ID/                 ours: limits on v2, and how many cgroups may lie beneath; nothing in it belongs to the container
    └── payload/        where its cgroup namespace begins; its root owns the directory and what the kernel says may be
        └── ...         handed over: to make cgroups below, to move processes between them, to pass controllers on

A process cannot be moved out: that takes the right to write to cgroup.procs of ID, where both ways meet. v1 has no such
thing, so on a hybrid host this lies in the v2 tree, which has no controllers there.
"""

import os

from pycontainer.cgroup.base import read_file, write_file

PAYLOAD = "payload"
SHOWN = "memory.max"
_HANDED_OVER = "/sys/kernel/cgroup/delegate"  # since Linux 4.15
# A Debian with a user's session has some 40, seven levels deep. Each takes kernel memory, and time when it is removed.
_DESCENDANTS_MAX, _DEPTH_MAX = 1024, 32
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def delegate(directory: str, owner: int, handed_over: str = _HANDED_OVER) -> str:
    """Make the delegated cgroup below `directory` and give it to the host id `owner`; return its path."""
    write_file(f"{directory}/cgroup.max.descendants", str(_DESCENDANTS_MAX))
    write_file(f"{directory}/cgroup.max.depth", str(_DEPTH_MAX))
    payload = f"{directory}/{PAYLOAD}"
    os.mkdir(payload, 0o755)
    os.chown(payload, owner, owner)
    for name in read_file(handed_over).split():
        try:
            os.chown(f"{payload}/{name}", owner, owner)
        except FileNotFoundError:
            pass  # of a controller that is not here
    return payload


def show_limit(directory: str) -> None:
    """Let programs inside see the cap on memory, which they ask of the top of what they see: a JVM sizes its heap by it.

    It is a page more than the cap of `directory`, so that this one is hit, counted and acted on as anywhere else.
    """
    shown = f"{directory}/{PAYLOAD}/{SHOWN}"
    if os.path.exists(shown):
        limit = read_file(f"{directory}/{SHOWN}").strip()
        write_file(shown, limit if limit == "max" else str(int(limit) + _PAGE_BYTES))


def landing(directory: str, beside: int, procfs: str = "/proc") -> str:
    """Return where a process that joins has to be put: the cgroup below `directory` in which process `beside` lives.

    That is one that can hold processes. The payload itself cannot as soon as an init has passed controllers on. Without
    `beside`, or when it lives elsewhere: the payload; where nothing was handed over: `directory`.
    """
    payload = f"{directory}/{PAYLOAD}"
    if not os.path.isdir(payload):
        return directory
    if beside:
        for line in read_file(f"{procfs}/{beside}/cgroup").splitlines():
            # Names below ours are chosen inside, but neither "..", nor with a slash or a line break: the kernel's.
            _, found, below = line.partition(f"/{os.path.basename(directory)}/{PAYLOAD}")
            if line.startswith("0::") and found and below[:1] in ("", "/"):
                return payload + below
    return payload
