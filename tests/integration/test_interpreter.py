"""A machine for which there is no machine code: the Python executor runs the same rows."""

import os
import subprocess
import sys

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World

WITHOUT_CODE = "import pycontainer.init.machine; pycontainer.init.machine.CODES.clear(); "
SUPERVISOR = (
    WITHOUT_CODE + "from pycontainer.supervisor import main, monitorlink; "
    "monitorlink._BOOT = monitorlink._BOOT.replace('from pycontainer.monitor', "
    + repr(WITHOUT_CODE)
    + " + 'from pycontainer.monitor'); main.main()"
)


WALLS = (
    "payload caps calls families umount /proc/kallsyms umount /proc/sys mount proc:/tmp/p mount sysfs:/tmp/s pivot; "
    "payload fds | cut -d' ' -f1; payload take inotify; ls /dev; cut -d' ' -f1-3 /proc/mounts; readlink /proc/self/cwd"
)


def walls(world: World) -> list[str]:
    """Return what root inside meets, in both profiles, as first process and through exec."""
    shown = []
    for profile in ("app", "system"):
        world.ok("run", "-d", "--name", profile, "--profile", profile, IMAGE, "payload", "sleep", "0")
        shown.append(world.ok("exec", profile, "sh", "-c", WALLS))
        shown.append(world.ok("run", "--rm", "--profile", profile, IMAGE, "sh", "-c", WALLS))
        world.ok("rm", "-f", profile)
    return shown


def test_containers_without_machine_code(own_world: World) -> None:
    world = own_world
    by_machine_code = walls(world)
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services with machine code are gone")
    argv = world.network.inside.argv(sys.executable, "-c", SUPERVISOR, "--root", world.root)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as supervisor:
        poll_until(lambda: os.path.exists(world.paths.supervisor_socket), what="it listens")
        assert walls(world) == by_machine_code  # PS-01, SEC-01, CAP-01, FD-01, RES-04
        assert world.ok("run", "--rm", "-u", "www", IMAGE, "sh", "-c", "id -u; hostname; echo $$").split()[::2] == [
            "33",
            "1",
        ]
        assert world.cli("run", "--rm", IMAGE, "no-such-program").exit_code == 127
        world.ok("run", "-d", "--name", "web", "-p", "8092:80", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
        assert "Hello" in world.network.inside.http_get_soon("http://127.0.0.1:8092/")
        assert world.cli("exec", "web", "sh", "-c", "exit 5").exit_code == 5
        assert "reaper" in world.refused(125, "run", "--rm", "--init", IMAGE, "true")
        world.close()
        assert supervisor.wait(10) == 0
