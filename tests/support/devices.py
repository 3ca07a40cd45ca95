"""Device nodes for tests, and a look through the eyes of a cgroup alone: no user namespace, no nodev, root of the host."""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

from pycontainer.controllers.devices import DEFAULT
from pycontainer.linux import loopdevices
from tests.support.world import World, unique_name

# Well-known nodes that no container may use unless granted; never the watchdog (10:130), which an open arms.
FORBIDDEN = (
    *(("c", 1, minor) for minor in (1, 2, 4, 6, 11, 12)),  # mem kmem port core kmsg oldmem
    *(("c", 4, minor) for minor in (0, 1, 64)),  # tty0 tty1 ttyS0
    *(("c", 5, minor) for minor in (1, 3)),  # console ttyprintk
    *(("c", 7, minor) for minor in (0, 128)),  # vcs vcsa
    # psaux rtc nvram hwrng microcode tun cuse uinput mcelog hpet fuse kvm btrfs-control autofs mapper/control
    *(("c", 10, m) for m in (1, 135, 144, 183, 184, 200, 203, 223, 227, 228, 229, 232, 234, 235, 236)),
    *(("c", 10, minor) for minor in (237, 238, 241, 242, 259)),  # loop-control vhost-net vhost-vsock rfkill dma_latency
    *(("c", 13, minor) for minor in (0, 32, 63, 64)),  # input: js0 mouse0 mice event0
    *(
        ("c", major, 0)
        for major in (14, 21, 29, 81, 89, 90, 108, 116, 153, 180, 188, 189, 195, 202, 203, 226, 247, 250)
    ),
    *(("b", major, 0) for major in (1, 2, 3, 7, 8, 9, 11, 43, 179, 202, 252, 253, 254, 259)),  # disks, ram, floppy, nbd
    *(("b", 8, minor) for minor in (1, 2)),  # partitions
)
HARMLESS = (("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 0), ("c", 5, 2))
BASICS = [str(rule) for rule in DEFAULT]
CONTENT = b"granted to one"
FOREVER = ("payload", "sleep", "0")

Node = tuple[str, int, int]


def make_nodes(directory: str, nodes: Iterable[Node]) -> dict[str, Node]:
    """Make a node of each that all may open; return path -> node."""
    made = {f"{directory}/{kind}-{major}-{minor}": (kind, major, minor) for kind, major, minor in nodes}
    for path, (kind, major, minor) in made.items():
        os.mknod(path, 0o666 | (stat.S_IFCHR if kind == "c" else stat.S_IFBLK), os.makedev(major, minor))
        os.chmod(path, 0o666)
    return made


def opened_in(directory: str, attempts: Iterable[tuple[str, int]]) -> list[str]:
    """Open each (path, flags) in a child of ours that has joined the cgroup `directory`; return `ok` or the error's name."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open(f"{directory}/cgroup.procs", "w") as file:
                file.write("0")
            os.write(write_fd, " ".join(_open(path, flags) for path, flags in attempts).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_fd)
    with open(read_fd) as file:
        text = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, f"nobody could join {directory}"
    return text.split()


def _open(path: str, flags: int) -> str:
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


@contextlib.contextmanager
def loop_device(directory: str) -> Iterator[str]:
    """Give the path of a block device whose file in `directory` begins with CONTENT."""
    image_fd = os.open(f"{directory}/image", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(image_fd, CONTENT.ljust(1 << 20, b"\0"))
        device_fd = loopdevices.attach(image_fd)
    finally:
        os.close(image_fd)
    try:
        yield f"/dev/loop{os.minor(os.fstat(device_fd).st_rdev)}"
    finally:
        os.close(device_fd)


def running(world: World, *options: str) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, "busybox", *FOREVER)
    return name


def cgroup_of(world: World, name: str) -> str:
    """Return a directory that takes processes, of a running container, where the policy is held or inherited."""
    return _cgroup_of(world.inspect(name))


def policy(world: World, name: str) -> list[str]:
    return list(world.inspect(name)["security"]["devices"])


def rule(device: str, access: str) -> str:
    """Return the line that grants a loop device."""
    return f"b 7:{os.minor(os.stat(device).st_rdev)} {access}"


def check_grant(world: World, owner: str, other: str, device: str) -> None:
    """The owner, which has it as /dev/xvda, reads the device and cannot write it; the other can do neither.

    What `exec` starts is held as the first process is.
    """
    records = {record["name"]: record for record in json.loads(world.ok("inspect", owner, other))}
    assert records[owner]["security"]["devices"] == [*BASICS, rule(device, "r")]
    assert records[other]["security"]["devices"] == BASICS
    attempts = [(device, flags) for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)]
    assert opened_in(_cgroup_of(records[owner]), attempts) == ["ok", "EPERM", "EPERM"]
    assert opened_in(_cgroup_of(records[other]), attempts) == ["EPERM"] * 3
    script = f"dd if=/dev/xvda bs={len(CONTENT)} count=1 2>/dev/null; echo; payload write /dev/xvda"
    assert world.ok("exec", owner, "sh", "-c", script) == f"{CONTENT.decode()}\n/dev/xvda: EPERM"


def _cgroup_of(record: dict[str, Any]) -> str:
    paths = record["cgroup"]["paths"]
    directory = str(paths.get("devices") or paths["memory"])  # v2 has one directory
    delegated = f"{directory}/payload"  # of a system instance: who joins has to land there
    return delegated if os.path.isdir(delegated) else directory
