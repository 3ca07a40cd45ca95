"""Coming up, and the monitor."""

import os
import signal
from collections.abc import Iterator

from tests.failpoints.common import IMAGE, RICH, created, drop_volumes, is_there, remove, running, works
from tests.support.deaths import kill_supervisor
from tests.support.poll import poll_until
from tests.support.world import World


def come_up(world: World) -> Iterator[tuple[str, ...]]:
    """What runs, what has ended meanwhile, what waits for its next start, what is half made and half removed."""
    running(world, *RICH)
    running(world, name="ended", command=("payload", "sleep", "0"))
    running(world, "--rm", name="brief", command=("payload", "sleep", "0"))
    created(world, name="whole")
    pid = world.inspect("one")["pid"]
    ended, brief = (world.inspect(name)["pid"] for name in ("ended", "brief"))
    kill_supervisor(world)
    for each in (ended, brief):
        os.kill(each, signal.SIGKILL)
        poll_until(lambda each=each: not os.path.exists(f"/proc/{each}"), what="its end")  # type: ignore[misc]
    os.makedirs(f"{world.paths.containers_dir}/{'a' * 12}/rootfs")
    os.makedirs(f"{world.paths.containers_dir}/.removed-{'b' * 12}/rootfs")
    yield ("ps",)
    assert world.inspect("one")["pid"] == pid
    works(world, "one")
    assert world.status("ended") == "stopped"
    works(world, "whole")
    poll_until(lambda: not is_there(world, "brief"), what="the removal that was promised")
    remove(world, "one", "ended", "brief", "whole")
    drop_volumes(world, "named")


def start_by_a_monitor(world: World) -> Iterator[tuple[str, ...]]:
    created(world, *RICH)
    yield ("start", "one")
    assert world.status("one") in ("created", "stopped", "running")
    works(world, "one")
    remove(world, "one")
    drop_volumes(world, "named")


def end_by_a_monitor(world: World) -> Iterator[tuple[str, ...]]:
    yield ("run", "-d", "--name", "one", *RICH, IMAGE, "payload", "exit", "3")
    world.wait_for_status("one", "stopped")
    assert world.inspect("one")["exit_code"] in (3, None)  # what nobody can know is not made up
    remove(world, "one")
    drop_volumes(world, "named")
