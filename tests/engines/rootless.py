"""Podman of a user without rights, who has a range of ids from /etc/subuid, in a machine of its own.

Podman makes the user namespace and calls the runtime in it, as root there. It has no cgroups on a host of version 1.
"""

import os
import shutil
from pathlib import Path

from tests.engines.machine import Machine
from tests.engines.podman import IMAGE, PAUSE
from tests.engines.recipes import recipe
from tests.support.hostns import HostNetwork
from tests.support.world import Result

USER, NAME = 65011, "engine"
RANGE = 300000

_SETTINGS = f"""
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"
netns = "none"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "{PAUSE}"
"""

_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{home}/storage"
runroot = "/run/user/{user}/storage"
"""


class RootlessPodman:
    """The command as the user calls it, and a machine for it."""

    def __init__(self, network: HostNetwork, runtime: str) -> None:
        self.machine = Machine(network)
        self.runtime = runtime
        self.home = f"{self.machine.directory}/home"

    def start(self, tarball: Path) -> None:
        """Make the machine, the user and its image, and what Podman makes once: its namespaces, which a process holds."""
        self.machine.start()
        os.chmod(self.machine.directory, 0o711)
        for name, line in (
            ("passwd", f"{NAME}:x:{USER}:{USER}::{self.home}:/bin/sh\n"),
            ("group", f"{NAME}:x:{USER}:\n"),
            ("subuid", f"{NAME}:{RANGE}:65536\n"),
            ("subgid", f"{NAME}:{RANGE}:65536\n"),
        ):
            with open(self.machine.path(f"/etc/{name}"), "a") as file:
                file.write(line)
        self.machine.write(
            "/etc/containers/containers.conf.d/pycontainer.conf", recipe("containers.conf", self.runtime)
        )
        self.machine.write("/etc/containers/containers.conf.d/tests.conf", _SETTINGS)
        self.machine.write(f"{self.home}/.config/containers/storage.conf", _STORAGE.format(home=self.home, user=USER))
        shutil.copy(tarball, f"{self.home}/rootfs.tar")
        self.machine.ok("mkdir", "-p", f"/run/user/{USER}")
        self.machine.ok("chown", "-R", f"{USER}:{USER}", self.home, f"/run/user/{USER}")
        self.machine.ok("chmod", "700", f"/run/user/{USER}")
        self.machine.ok("chmod", "1777", "/dev/shm")
        path = ("--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin")  # `kube play` gives none of its own
        for image, change in ((IMAGE, path), (PAUSE, ("--change", 'ENTRYPOINT ["/bin/payload", "sleep", "0"]'))):
            self.ok("import", *change, f"{self.home}/rootfs.tar", image, timeout_seconds=120)
        assert self.ok("run", "--rm", IMAGE, "echo", "warm") == "warm"
        self.clear()
        self.machine.wait_without("conmon")

    def argv(self, *arguments: str) -> tuple[str, ...]:
        become = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--")
        environment = ("env", "-C", self.home, f"HOME={self.home}", f"USER={NAME}", f"XDG_RUNTIME_DIR=/run/user/{USER}",
                       f"TMPDIR={self.home}")  # fmt: skip
        return (*become, *environment, "podman", *arguments)

    def cli(self, *arguments: str, timeout_seconds: float = 60) -> Result:
        return self.machine.run(*self.argv(*arguments), timeout_seconds=timeout_seconds)

    def ok(self, *arguments: str, timeout_seconds: float = 60) -> str:
        return self.machine.ok(*self.argv(*arguments), timeout_seconds=timeout_seconds)

    def ids_of(self, container: str) -> tuple[str, str]:
        """Return user and group of a container's first process as the machine counts."""
        pid = self.ok("inspect", "--format", "{{.State.Pid}}", container)
        with open(self.machine.path(f"/proc/{pid}/status")) as file:
            found = {line.split()[0]: line.split()[1] for line in file if line.startswith(("Uid:", "Gid:"))}
        return found["Uid:"], found["Gid:"]

    def clear(self) -> None:
        self.ok("rm", "--all", "--force", "--time=0")

    def close(self) -> None:
        self.machine.close()
