"""Many lives of a container; the host is exactly as before. LK-01, LK-04.

PYCONTAINER_TEST_CYCLES says how many (200).
"""

import os

from tests.integration.conftest import IMAGE
from tests.support.world import World

CYCLES = int(os.environ.get("PYCONTAINER_TEST_CYCLES", "200"))


def supervisor_use(world: World) -> tuple[int, int, int]:
    """Return descriptors, threads and resident KiB of the supervisor."""
    pid = world.supervisor_pid()
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]), int(fields["VmRSS"].split()[0])


def cycle(world: World, number: int) -> None:
    name = f"cycle-{number}"
    world.ok("run", "-d", "--name", name, "-m", "64M", "-p", "8080:80", IMAGE, "payload", "sleep", "0")
    assert world.ok("exec", name, "payload", "out", str(number)) == str(number)
    world.ok("stop", "-t", "0", name)
    world.ok("rm", name)


def test_cycles_leave_nothing(world: World) -> None:
    """LK-01: the autouse fixture compares the host; here the supervisor itself: descriptors, threads, memory."""
    with world.forking():
        for number in range(20):
            cycle(world, number)
        descriptors, threads, resident = supervisor_use(world)
        for number in range(20, CYCLES):
            cycle(world, number)
        after = supervisor_use(world)
    assert abs(after[0] - descriptors) <= 2
    assert after[1] == threads
    assert after[2] < resident * 1.10


def test_stubborn_containers_are_removed(world: World) -> None:
    """LK-04: daemons, double forks, ignored signals."""
    for command in (
        ("payload", "ignore", "15", "daemon", "sleep", "0"),
        ("sh", "-c", "payload daemon daemon sleep 0; exec payload ignore 15 sleep 0"),
        ("sh", "-c", "mount -t tmpfs x /tmp; unshare -m sleep 1000 & exec payload sleep 0"),
    ):
        world.ok("run", "-d", "--name", "stubborn", IMAGE, *command)
        world.ok("rm", "-f", "stubborn", timeout_seconds=15)
