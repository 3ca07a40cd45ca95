"""A file system that root inside mounts and never answers: it keeps the one request that asks it, for a while; nobody else.

FUSE alone refuses the host's root (it is not of that user namespace); an overlay of it asks in the name of who mounted it.
"""

import os
import subprocess

import pytest

from tests.integration.conftest import IMAGE
from tests.integration.test_bad_input import one_clear_line
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, process_commands

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse")

NO_ANSWER = "a file system that container 'web' has mounted does not answer"
LAYERS = "mkdir -p /low /fuse /over && payload stall /fuse && mount -t overlay -o lowerdir=/fuse:/low over"


def begin(world: World, script: str, *options: str) -> None:
    """Start container `web`, which mounts what `script` says and lives on."""
    needed = ("--profile", "system", "--device", "/dev/fuse", "--entrypoint", "")
    lives = ("sh", "-c", f"{script} || exit 1; echo ready; exec sleep 1000")
    world.ok("run", "-d", "--name", "web", *needed, *options, IMAGE, *lives)
    poll_until(lambda: "ready" in world.ok("logs", "web"), what="it has mounted it")


def workers() -> list[str]:
    return [command for _, command in process_commands() if "pycontainer.runtime.look_worker" in command]


def refused(process: "subprocess.Popen[bytes]", code: int = 125) -> None:
    out, errors = process.communicate(timeout=60 * SLOWNESS)
    assert (process.returncode, out) == (code, b""), errors
    assert one_clear_line(errors.decode()) == f"pycontainer: {NO_ANSWER}"


def goes_on(world: World) -> None:
    """Check that all else works, on the same container as well."""
    assert "web" in world.ok("ps") and "web" in world.ok("inspect", "web")
    world.ok("run", "--rm", IMAGE, "true")
    world.ok("set", "--pids-limit", "100", "web")
    assert "sleep 1000" in world.ok("top", "web")


@pytest.mark.parametrize("mode", ["", "silent:"])
def test_fuse_over_etc(world: World, mode: str) -> None:
    """PATH-07: it is not even asked; a name is unknown then, root is root."""
    begin(world, f"payload stall {mode}/etc")
    assert world.ok("exec", "web", "echo", "inside") == "inside"
    assert "unknown user 'daemon'" in one_clear_line(world.cli("exec", "-u", "daemon", "web", "true").stderr)
    goes_on(world)
    world.ok("rm", "-f", "web")


@pytest.mark.parametrize("where", ["/etc", "/"])
def test_an_overlay_of_it(world: World, where: str) -> None:
    """PATH-07: over /etc, or as the root that the first process went to."""
    if where == "/":
        begin(world, f"{LAYERS} /over && exec payload chroot /over out ready sleep 0")
    else:
        begin(world, f"{LAYERS} /etc")
    asked = [world.popen("exec", "web", "echo", "never") for _ in range(4)]
    poll_until(lambda: len(workers()) == 4, what="four requests ask it")
    if where == "/etc":
        goes_on(world)
    refused(world.popen("exec", "web", "true"))  # four that wait are enough
    for process in asked:
        refused(process)
    world.ok("stop", "-t", "0", "web")
    poll_until(lambda: not workers(), what="the workers are gone with the container")
    world.ok("rm", "web")


def test_an_overlay_of_it_over_dev(world: World) -> None:
    """PATH-07: a terminal is not looked for where that could wait."""
    begin(world, f"{LAYERS} /dev")
    refused(world.popen("exec", "-t", "web", "true"))
    goes_on(world)
    world.ok("rm", "-f", "web")


def test_a_program_on_it(own_world: World) -> None:
    """PATH-07: what the new process itself waits for ends with the client, or after a while, and keeps no reload.

    A request is waited for, and whoever made it is told; the monitor becomes another program while a check still waits.
    """
    world = own_world
    begin(world, f"{LAYERS} /over", "-w", "/over/there", "--health-cmd", "true", "--health-interval", "1s")
    waiting = [
        world.popen("exec", "web", "true"),
        world.popen("exec", "-w", "/", "-e", "PATH=/fuse:/bin", "web", "true"),
    ]
    poll_until(lambda: len(world.ok("top", "web").splitlines()) > 5, what="both and the check are on their way")
    goes_on(world)
    assert world.ok("service", "reload").startswith("the service is version ")
    for process in waiting:
        out, errors = process.communicate(timeout=60 * SLOWNESS)
        assert (process.returncode, out) == (125, b"")
        assert one_clear_line(errors.decode()).endswith("the program is not executed within 30 seconds")
    poll_until(lambda: len(world.ok("top", "web").splitlines()) > 3, what="the next check is on its way")
    assert world.ok("service", "reload").startswith("the service is version ")
    assert len(world.ok("top", "web").splitlines()) > 3
    goes_on(world)
    world.ok("rm", "-f", "web")


def test_a_copy_of_it(world: World, tmp_path: object) -> None:
    """PATH-07: a copy that waits for it ends with a word, or when the client leaves."""
    begin(world, f"{LAYERS} /over")
    with open(f"{tmp_path}/large", "wb") as file:
        file.truncate(4 << 20)
    copying, left = (world.popen("cp", "web:/over/there", f"{tmp_path}/x") for _ in range(2))
    into = world.popen("cp", f"{tmp_path}/large", "web:/over/there")
    left.kill()
    left.communicate()
    goes_on(world)
    refused(copying, 5)
    refused(into, 5)
    world.ok("rm", "-f", "web")


def test_after_a_restart_of_the_supervisor(own_world: World) -> None:
    """PATH-07, FLT-03: a root that it did not make itself is looked into by a worker alone."""
    world = own_world
    begin(world, "true")
    assert world.ok("exec", "-u", "nobody", "web", "id", "-un") == "nobody"
    world.ok("service", "stop")
    assert world.ok("exec", "-u", "nobody", "web", "id", "-un") == "nobody"
    assert "unknown user 'nosuch'" in one_clear_line(world.cli("exec", "-u", "nosuch", "web", "true").stderr)
    world.ok("rm", "-f", "web")


def test_files_that_are_mounted_over(world: World, tmp_path: object) -> None:
    """PATH-07: a volume over /etc is as good as a file of the image."""
    with open(f"{tmp_path}/passwd", "w") as file:
        file.write("someone:x:77:77::/home:/bin/sh\n")
    world.ok("run", "-d", "--name", "web", "-v", f"{tmp_path}/passwd:/etc/passwd", IMAGE, "payload", "sleep", "0")
    assert world.ok("exec", "-u", "someone", "web", "sh", "-c", "id -u; echo $HOME") == "77\n/home"
    world.ok("rm", "-f", "web")
